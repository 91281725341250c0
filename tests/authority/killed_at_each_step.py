"""Do something with a state directory again and again, each time killed one system call later.

    killed_at_each_step.py WHAT TEMPLATE WHERE

Copies TEMPLATE to WHERE/0, WHERE/1, ... and prints how many times the work was killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ztsession.audit.jsonlines import JsonLinesAudit
from ztsession.authority.changes import ChangeLog
from ztsession.authority.keys import AuthorityKeys
from ztsession.authority.rotation import Rotation
from ztsession.store.sqlite import SqliteStore

STEPS: dict[str, Callable[[Rotation], Any]] = {
    "rotate_static": Rotation.rotate_static,
    "stage_signing_key": Rotation.stage_signing_key,
    "activate_signing_key": partial(Rotation.activate_signing_key, overlap_s=0),
    "retire_signing_key": partial(Rotation.retire_signing_key, overlap_s=0),
    "withdraw_signing_key": Rotation.withdraw_signing_key,
    "stage_segment_key": partial(Rotation.stage_segment_key, name="orders"),
    "activate_segment_key": partial(Rotation.activate_segment_key, name="orders"),
    "retire_segment_key": partial(Rotation.retire_segment_key, name="orders", overlap_s=0),
    "withdraw_segment_key": partial(Rotation.withdraw_segment_key, name="orders"),
}


def take(what: str, state: Path) -> None:
    """One step, in files as an Authority has them."""
    keys = AuthorityKeys.open(state)
    if what == "open":
        return
    with SqliteStore(state / "authority.sqlite") as store, JsonLinesAudit(state / "audit.jsonl") as audit:
        STEPS[what](Rotation(keys, ChangeLog(store, keys.signing), audit))


def dying_at(number: int) -> None:
    """Kill this process before the system call of this number."""
    left = [number]

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*given: Any, **named: Any) -> Any:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return call(*given, **named)

        return counting

    for name in ("open", "mkdir", "write", "fsync", "link", "rename", "unlink"):
        setattr(os, name, counted(getattr(os, name)))
    # The database writes by itself: before and after it is enough.
    SqliteStore.append_change = counted(SqliteStore.append_change)  # type: ignore[method-assign]


def main(what: str, template: Path, where: Path) -> None:
    """Until it is done alive."""
    number = 0
    while True:
        state = where / str(number)
        shutil.copytree(template, state)
        child = os.fork()
        if child == 0:
            dying_at(number)
            take(what, state)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            shutil.rmtree(state)
            print(number)
            raise SystemExit(os.WEXITSTATUS(status))
        number += 1


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
