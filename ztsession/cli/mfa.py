"""``ztsession mfa``: second factors of people, enrolled by the operator who has them at the desk.

It works on the Authority's state directory, whether or not the Authority is running. Secrets and codes are
shown once, on this terminal, and are nowhere else in clear. Nothing is enrolled for a name that nobody has:
it would wait for whoever is given that name one day.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ztsession.cli.failing import telling
from ztsession.cli.state import SUBJECTS_FILE, directories, enrolments_in, factors_in
from ztsession.cli.unlocking import unlocking, unlocking_with
from ztsession.errors import ConfigurationError, EvidenceError

if TYPE_CHECKING:
    from ztsession.identity.enrolments import Enrolments
    from ztsession.mfa.factors import Factors

__all__ = ["mfa"]


@click.group()
def mfa() -> None:
    """Enrol second factors in an Authority's state."""


def _on_factors(*, enrols: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @directories(f"mfa.toml and {SUBJECTS_FILE}" if enrols else "mfa.toml")
        @click.option("--subject", required=True, metavar="NAME", help="Whose factors.")
        @unlocking
        @wraps(command)
        def run(
            state: Path, policy: Path, subject: str, unlock_key: Path | None, passphrase: bool, **more: str
        ) -> None:
            with telling(), enrolments_in(state) as enrolments:
                if enrols:
                    _check_known(subject, state, policy, enrolments)
                unlock = unlocking_with(unlock_key, passphrase)
                command(factors_in(state, policy, enrolments, unlock), subject, **more)

        return run

    return decorate


@mfa.command("enrol-totp")
@_on_factors(enrols=True)
def enrol_totp(factors: Factors, subject: str) -> None:
    """Show a secret for an authenticator app, and ask for its first code; it replaces an older one."""
    offer = factors.enrol_totp(subject)
    click.echo(offer.uri)
    click.echo(f"secret, for typing: {offer.secret}")
    # Apps show a code in two halves with a blank between, and people type what they see.
    code = re.sub(r"\s", "", click.prompt("first code", type=str))
    try:
        factors.confirm_totp(subject, code)
    except EvidenceError as error:
        raise click.ClickException(f"{error}: no new secret counts, one from before still does") from None
    click.echo("enrolled")


@mfa.command("recovery-codes")
@_on_factors(enrols=True)
def recovery_codes(factors: Factors, subject: str) -> None:
    """Print ten new recovery codes; those printed before hold no more."""
    for code in factors.recovery_codes(subject):
        click.echo(code)


@mfa.command("list")
@_on_factors()
def held(factors: Factors, subject: str) -> None:
    """Print the subject's factors: id, assurance and state."""
    found = factors.held(subject)
    for each in found:
        click.echo(f"{each.id}: assurance {each.assurance}, {each.state}")
    if not found:
        click.echo(_none_of(subject), err=True)


@mfa.command()
@click.option("--factor", required=True, help="totp, recovery, webauthn (all), or an id that list prints.")
@_on_factors()
def remove(factors: Factors, subject: str, factor: str) -> None:
    """Take a factor away from a subject."""
    if not factors.remove(subject, factor):
        raise click.ClickException(f"{subject} has no such factor")
    click.echo("removed")


@mfa.command()
@_on_factors()
def reset(factors: Factors, subject: str) -> None:
    """Forget the wrong codes that a subject's factors wait for, or are locked by."""
    # A mistyped name must not look as if somebody had been let in again.
    if not factors.held(subject):
        raise click.ClickException(_none_of(subject))
    factors.reset(subject)
    click.echo("reset")


def _none_of(subject: str) -> str:
    return f"{subject} has no second factor"


def _check_known(subject: str, state: Path, policy: Path, enrolments: Enrolments) -> None:
    from ztsession.identity.subjects import AllSubjects, FileSubjects, StoredSubjects

    file = policy / SUBJECTS_FILE
    known = AllSubjects(FileSubjects(file), StoredSubjects(enrolments)).named(subject)
    if known is None:
        raise ConfigurationError(f"no subject {subject!r} is in {file}, and none was enrolled in {state}")
    if known.kind != "human":
        raise ConfigurationError(f"{subject} is of kind {known.kind}: only humans have second factors")
