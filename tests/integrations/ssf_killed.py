"""Receive one SET with a state directory again and again, each time killed one step later.

    ssf_killed.py TEMPLATE WHERE POLICY SET

Copies TEMPLATE to WHERE/0, WHERE/1, ...; WHERE/N.acknowledged is there if the SET was acknowledged before the
kill. Prints how many times it was killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ztsession as zts
from ztsession.integrations.ssf import signal_receiver
from ztsession.store.sqlite import SqliteStore


def dying_at(number: int) -> None:
    """Kill this process before the step of this number: a system call, or a statement of the database."""
    left = [number]

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*given: Any, **named: Any) -> Any:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return call(*given, **named)

        return counting

    for name in ("open", "write", "fsync"):
        setattr(os, name, counted(getattr(os, name)))
    for name in ("execute", "_commit"):
        setattr(SqliteStore, name, counted(getattr(SqliteStore, name)))


def receive(number: int, state: Path, rules: Path, data: bytes) -> None:
    authority = zts.Authority.open(state, policy=rules)
    receiver = signal_receiver(authority, rules)
    dying_at(number)
    receiver.receive("idp", data)
    Path(f"{state}.acknowledged").touch()
    # What comes after the answer may be killed, too.
    os.write(2, b"")


def main(template: Path, where: Path, rules: Path, data: bytes) -> None:
    """Until it is done alive."""
    number = 0
    while True:
        state = where / str(number)
        shutil.copytree(template, state)
        child = os.fork()
        if child == 0:
            receive(number, state, rules, data)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            print(number)
            raise SystemExit(os.WEXITSTATUS(status))
        number += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]).read_bytes())
