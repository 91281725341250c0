"""How a command opens an Authority's keys: with a key file, or with a passphrase that is asked for.

A passphrase is typed and never given as an argument, since arguments are read by every process of a machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ztsession.wire.sealed_file import Unlock

__all__ = ["sealing_with", "unlocking", "unlocking_with"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def unlocking(command: _Command) -> _Command:
    """Give a command the parameters ``unlock_key`` and ``passphrase``, for :func:`unlocking_with`."""
    for option in (
        click.option("--passphrase", is_flag=True, help="Ask for the passphrase that opens the keys."),
        click.option(
            "--unlock-key",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="The key file that opens the keys, if it is not unlock.key in the state directory.",
        ),
    ):
        command = option(command)
    return command


def unlocking_with(unlock_key: Path | None, passphrase: bool, *, new: bool = False) -> Unlock | None:
    """What was asked for; None for the key file in the state directory. ``new``: it is to seal new keys."""
    if passphrase and unlock_key is not None:
        raise click.UsageError("--unlock-key and --passphrase exclude each other")
    if passphrase:
        # What opens nothing yet is typed twice, by whoever types: a slip would shut the keys for good.
        twice = new and sys.stdin.isatty()
        return Unlock.passphrase(
            click.prompt("Passphrase", hide_input=True, err=True, confirmation_prompt=twice)
        )
    return None if unlock_key is None else Unlock.key_file(unlock_key)


def sealing_with(unlock_key: Path | None) -> Unlock:
    """What is to open the keys from now on: a key file, made if it is not there, or a new passphrase."""
    if unlock_key is not None:
        return Unlock.key_file(unlock_key) if unlock_key.exists() else Unlock.make_key_file(unlock_key)
    typed = click.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True)
    return Unlock.passphrase(typed)
