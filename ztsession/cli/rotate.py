"""``ztsession authority keys``, ``rotate``, ``reseal`` and ``export-segment``: the Authority's own keys.

A rotation takes the state directory of an Authority that does not run; one that does holds its audit log, and
the command says so. A running one is rotated by the program that it runs in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ztsession.cli.failing import telling
from ztsession.cli.unlocking import sealing_with, unlocking, unlocking_with
from ztsession.errors import ConfigurationError

if TYPE_CHECKING:
    from ztsession.audit.jsonlines import JsonLinesAudit
    from ztsession.authority.keys import AuthorityKeys
    from ztsession.authority.rotation import Rotation
    from ztsession.store.sqlite import SqliteStore

__all__ = ["export_segment", "keys", "reseal", "rotate"]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_STEPS = ("stage", "activate", "retire", "withdraw")
_STEP = click.argument("step", type=click.Choice(_STEPS))
_OVERLAP = click.option(
    "--overlap-s",
    type=click.IntRange(0, 366 * 86400),
    default=86400,
    show_default=True,
    help="Seconds for which old and new are both good.",
)


def _on_state(command: _Command) -> _Command:
    state = click.option(
        "--state", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True
    )
    return state(unlocking(command))


@click.command()
@_on_state
def keys(state: Path, unlock_key: Path | None, passphrase: bool) -> None:
    """List the Authority's keys and how far each has come; no secrets."""
    from ztsession.authority.keys import AuthorityKeys

    with telling():
        found = AuthorityKeys.open(_with_keys(state), unlock=unlocking_with(unlock_key, passphrase))
        click.echo("\n".join(found.ring.told()))


@click.group()
def rotate() -> None:
    """Put new keys in the place of old ones, while sessions go on."""


@rotate.command()
@_OVERLAP
@_on_state
def static(state: Path, unlock_key: Path | None, passphrase: bool, overlap_s: int) -> None:
    """The static key of the handshake; clients notice nothing."""
    with _rotation(state, unlock_key, passphrase) as rotation:
        click.echo(f"static key: {rotation.rotate_static(overlap_s=overlap_s).hex()}")


@rotate.command()
@_STEP
@_OVERLAP
@_on_state
def signing(step: str, state: Path, unlock_key: Path | None, passphrase: bool, overlap_s: int) -> None:
    """The key of tickets and feed answers: stage; then give the points the new ticket key, too; then
    activate, and at last retire the old one. Withdraw gives up what was staged.
    """
    with _rotation(state, unlock_key, passphrase) as rotation:
        key = {
            "stage": rotation.stage_signing_key,
            "activate": lambda: rotation.activate_signing_key(overlap_s=overlap_s),
            "retire": lambda: rotation.retire_signing_key(overlap_s=overlap_s),
            "withdraw": rotation.withdraw_signing_key,
        }[step]()
        click.echo(f"ticket key: {key.hex()}")


@rotate.command()
@click.argument("name")
@_STEP
@_OVERLAP
@_on_state
def segment(
    name: str, step: str, state: Path, unlock_key: Path | None, passphrase: bool, overlap_s: int
) -> None:
    """A segment's key: stage; then hand the printed file to all of its points; then activate, and at last
    retire the old one. Withdraw gives up what was staged.
    """
    with _rotation(state, unlock_key, passphrase) as rotation:
        if step == "stage":
            click.echo(f"key file, for enforcement points: {rotation.stage_segment_key(name)}")
        elif step == "activate":
            rotation.activate_segment_key(name)
        elif step == "retire":
            rotation.retire_segment_key(name, overlap_s=overlap_s)
        else:
            rotation.withdraw_segment_key(name)


@rotate.command()
@click.argument("step", type=click.Choice(_STEPS[:3]))
@_OVERLAP
@_on_state
def sets(step: str, state: Path, unlock_key: Path | None, passphrase: bool, overlap_s: int) -> None:
    """The key of what other systems are told: stage publishes the next one beside it; then activate, and at
    last retire the old one.
    """
    from ztsession.authority.set_keys import SetKeys

    with _parts(state, unlock_key, passphrase) as (found, store, audit):
        set_keys = SetKeys(found, store, audit)
        if step == "stage":
            kid = set_keys.stage()
        elif step == "activate":
            kid = set_keys.activate(overlap_s=overlap_s)
        else:
            kid = set_keys.retire(overlap_s=overlap_s)
        click.echo(f"kid: {kid}")


@click.command()
@click.option(
    "--new-unlock-key",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Open with this key file from now on, made if it is not there; else a new passphrase is asked for.",
)
@_on_state
def reseal(state: Path, unlock_key: Path | None, passphrase: bool, new_unlock_key: Path | None) -> None:
    """Make the keys open with something else. Remove the old key file afterwards."""
    from ztsession.authority.keys import AuthorityKeys

    with telling():
        found = AuthorityKeys.open(_with_keys(state), unlock=unlocking_with(unlock_key, passphrase))
        found.reseal(sealing_with(new_unlock_key))


@click.command("export-segment")
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new file of mode 0600.")
@_on_state
def export_segment(name: str, out: Path, state: Path, unlock_key: Path | None, passphrase: bool) -> None:
    """Write the key of a segment to a file, to be handed to its enforcement points."""
    from ztsession.authority.keys import AuthorityKeys

    with telling():
        found = AuthorityKeys.open(_with_keys(state), unlock=unlocking_with(unlock_key, passphrase))
        if name not in found.ring.segments:
            raise ConfigurationError(f"no ticket was made for a segment {name!r} yet: {_known(found.ring)}")
        found.segment(name).to_file(out)


@contextmanager
def _rotation(state: Path, unlock_key: Path | None, passphrase: bool) -> Iterator[Rotation]:
    from ztsession.authority.changes import ChangeLog
    from ztsession.authority.rotation import Rotation

    with _parts(state, unlock_key, passphrase) as (found, store, audit):
        yield Rotation(found, ChangeLog(store, found.signing), audit)


@contextmanager
def _parts(
    state: Path, unlock_key: Path | None, passphrase: bool
) -> Iterator[tuple[AuthorityKeys, SqliteStore, JsonLinesAudit]]:
    from ztsession.audit.jsonlines import JsonLinesAudit
    from ztsession.authority.keys import AuthorityKeys
    from ztsession.store.sqlite import SqliteStore

    with (
        telling(),
        # The log first: whoever has it is the only one here.
        JsonLinesAudit(_with_keys(state) / "audit.jsonl") as audit,
        SqliteStore(state / "authority.sqlite") as store,
    ):
        found = AuthorityKeys.open(state, unlock=unlocking_with(unlock_key, passphrase))
        yield found, store, audit


def _with_keys(state: Path) -> Path:
    if not any((state / name).exists() for name in ("keys.sealed", "keys.toml")):
        raise ConfigurationError("holds no keys of an Authority", file=str(state))
    return state


def _known(ring: Any) -> str:
    return ", ".join(sorted(ring.segments)) or "there is none"
