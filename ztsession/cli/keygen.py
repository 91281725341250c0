"""``ztsession keygen``: keys are made where they will be used; what goes to the operator is the public
entry.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from ztsession.cli.failing import telling
from ztsession.identity.ed25519 import Ed25519Identity
from ztsession.identity.protocol import SubjectKind
from ztsession.posture.device import DevicePosture
from ztsession.wire.sealed_file import Unlock

__all__ = ["keygen"]

_OUT = click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="A new file for the private key, mode 0600."
)


@click.group()
def keygen() -> None:
    """Make a key file, and print the entry that enrols its public half."""


@keygen.command()
@click.argument("name")
@_OUT
@click.option(
    "--kind", type=click.Choice(["algorithm", "human", "service"]), default="algorithm", show_default=True
)
@click.option("--role", "roles", multiple=True, help="A role that policies ask for; may be given again.")
@click.option("--desk", default="", help="The desk that policies ask for.")
def subject(name: str, out: Path, kind: str, roles: tuple[str, ...], desk: str) -> None:
    """Keys of a subject; append what is printed to the Authority's subjects.toml."""
    with telling():
        identity = Ed25519Identity.generate(name)
        entry = identity.registry_entry(cast(SubjectKind, kind), roles=roles, desk=desk)
        identity.to_file(out)
    click.echo(entry, nl=False)


@keygen.command()
@_OUT
def unlock(out: Path) -> None:
    """A key file that opens an Authority's keys; keep it apart from the state directory."""
    with telling():
        Unlock.make_key_file(out)


@keygen.command()
@click.argument("name")
@_OUT
def device(name: str, out: Path) -> None:
    """The key of a device; append what is printed to the Authority's devices.toml."""
    with telling():
        posture = DevicePosture.generate(name)
        posture.to_file(out)
    click.echo(posture.registry_entry(), nl=False)
