"""``ztsession mfa``: second factors of people, enrolled by the operator who has them at the desk.

It works on the Authority's state directory, whether or not the Authority is running. Secrets and codes are
shown once, on this terminal, and are nowhere else in clear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ztsession.cli.failing import telling

if TYPE_CHECKING:
    from ztsession.mfa.factors import Factors

__all__ = ["mfa"]

_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group()
def mfa() -> None:
    """Enrol second factors in an Authority's state."""


def _on_factors(command: Callable[..., None]) -> Callable[..., None]:
    @click.option("--state", type=_DIRECTORY, required=True, help="The Authority's state directory.")
    @click.option("--policy", type=_DIRECTORY, required=True, help="Its policy directory, for mfa.toml.")
    @click.option("--subject", required=True, metavar="NAME", help="Whose factors.")
    @wraps(command)
    def run(state: Path, policy: Path, subject: str, **more: str) -> None:
        with telling(), _opened(state, policy) as factors:
            command(factors, subject, **more)

    return run


@mfa.command("enrol-totp")
@_on_factors
def enrol_totp(factors: Factors, subject: str) -> None:
    """Show a secret for an authenticator app, and ask for its first code; it replaces an older one."""
    offer = factors.enrol_totp(subject)
    click.echo(offer.uri)
    click.echo(f"secret, for typing: {offer.secret}")
    factors.confirm_totp(subject, click.prompt("first code", type=str).strip())
    click.echo("enrolled")


@mfa.command("recovery-codes")
@_on_factors
def recovery_codes(factors: Factors, subject: str) -> None:
    """Print ten new recovery codes; those printed before hold no more."""
    for code in factors.recovery_codes(subject):
        click.echo(code)


@mfa.command("list")
@_on_factors
def held(factors: Factors, subject: str) -> None:
    """Print the subject's factors: id, assurance and state."""
    for each in factors.held(subject):
        click.echo(f"{each.id}: assurance {each.assurance}, {each.state}")


@mfa.command()
@click.option("--factor", required=True, help="totp, recovery, webauthn (all), or an id that list prints.")
@_on_factors
def remove(factors: Factors, subject: str, factor: str) -> None:
    """Take a factor away from a subject."""
    if not factors.remove(subject, factor):
        raise click.ClickException(f"{subject} has no such factor")
    click.echo("removed")


@mfa.command()
@_on_factors
def reset(factors: Factors, subject: str) -> None:
    """Forget the wrong codes that a subject's factors wait for, or are locked by."""
    factors.reset(subject)
    click.echo("reset")


@contextmanager
def _opened(state: Path, policy: Path) -> Iterator[Factors]:
    from ztsession.authority.keys import AuthorityKeys
    from ztsession.mfa.factors import Factors
    from ztsession.mfa.settings import MfaSettings
    from ztsession.store.enrolments import SqliteEnrolments
    from ztsession.store.sqlite import SqliteStore

    # Opened, keys and database would be made: factors enrolled beside the Authority that asks for them.
    if not (state / "authority.sqlite").is_file():
        raise click.ClickException(f"{state}: expected the state of an Authority that was served before")
    settings = MfaSettings.from_directory(policy)
    with SqliteStore(state / "authority.sqlite") as store:
        keys = AuthorityKeys.open(state)
        yield Factors(SqliteEnrolments(store), keys.sealing("mfa"), settings)
