"""How a command works on an Authority's state beside it, whether it runs or not.

What opens a state directory also makes what is missing in it. For a command that would be wrong: in a
directory whose name was mistyped, it would enrol beside the Authority that will ask for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ztsession.errors import ConfigurationError

if TYPE_CHECKING:
    from ztsession.identity.enrolments import Enrolments
    from ztsession.mfa.factors import Factors
    from ztsession.store.sqlite import SqliteStore
    from ztsession.wire.sealed_file import Unlock

__all__ = ["SUBJECTS_FILE", "directories", "enrolments_in", "factors_in", "reading"]

#: The registry's name inside a policy directory.
SUBJECTS_FILE = "subjects.toml"

_Command = TypeVar("_Command", bound=Callable[..., Any])
_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
#: What an Authority leaves in its state directory: its database, and one of the files of its keys.
_DATABASE, _KEYS = "authority.sqlite", ("keys.sealed", "keys.toml")


def directories(policy_for: str) -> Callable[[_Command], _Command]:
    """Give a command the parameters ``state`` and ``policy``; ``policy_for`` names the files it reads."""

    def decorate(command: _Command) -> _Command:
        state = click.option(
            "--state", type=_DIRECTORY, required=True, help="The Authority's state directory."
        )
        about = f"Its policy directory, for {policy_for}."
        policy = click.option("--policy", type=_DIRECTORY, required=True, help=about)
        return state(policy(command))

    return decorate


@contextmanager
def enrolments_in(state: Path) -> Iterator[Enrolments]:
    """Open what was enrolled in a state directory; ConfigurationError if no Authority was served from it."""
    from ztsession.store.enrolments import SqliteEnrolments
    from ztsession.store.sqlite import SqliteStore

    with SqliteStore(_database(state)) as store:
        yield SqliteEnrolments(store)


@contextmanager
def reading(state: Path) -> Iterator[SqliteStore]:
    """Open an Authority's database for reading alone; ConfigurationError as above."""
    from ztsession.store.sqlite import SqliteStore

    with SqliteStore(_database(state), read_only=True) as store:
        yield store


def _database(state: Path) -> Path:
    if not (state / _DATABASE).is_file():
        raise ConfigurationError("expected the state of an Authority that was served before", file=str(state))
    return state / _DATABASE


def factors_in(state: Path, policy: Path, enrolments: Enrolments, unlock: Unlock | None) -> Factors:
    """Everybody's second factors, whose secrets open with the Authority's keys; ConfigurationError when these
    are not there or do not open, or for a mistake in ``mfa.toml``.
    """
    from ztsession.authority.keys import AuthorityKeys
    from ztsession.mfa.factors import Factors
    from ztsession.mfa.settings import MfaSettings

    if not any((state / name).exists() for name in _KEYS):
        raise ConfigurationError("holds no keys of an Authority", file=str(state))
    settings = MfaSettings.from_directory(policy)
    return Factors(enrolments, AuthorityKeys.open(state, unlock=unlock).sealing("mfa"), settings)
