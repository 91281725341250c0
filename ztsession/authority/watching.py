"""Watches the operator's files, and has them read again when they have changed.

By looking at it from time to time and not by asking the kernel: that works on every file system, through the
links by which container platforms exchange a whole directory at once, and cannot lose an event. A change is
taken when the directory has been the same for two looks, so that a deployment of many files is seen when it
is complete; and should it be seen half done all the same, it is as a rule refused, and taken with the next
change.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from ztsession.errors import ConfigurationError, StoreError, ZtsError

__all__ = ["ListWatcher", "PolicyWatcher"]

#: A file's name, and what changes when it is written or exchanged.
_Look = tuple[tuple[str, int, int, int, int], ...]

_log = logging.getLogger("ztsession.authority")


class _Watcher:
    """A thread that looks, and calls ``reload`` after each change of what it sees; ``close()`` it."""

    def __init__(self, what: str, reload: Callable[[], None], every_s: float) -> None:
        if every_s <= 0:
            raise ConfigurationError("every_s: expected a time of more than 0 seconds")
        self._what, self._reload, self._every_s = what, reload, every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ztsession-watcher", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching; what is being read is read to its end."""
        self._stopping.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _look(self) -> object:
        raise NotImplementedError

    def _run(self) -> None:
        taken: object = None
        before: object = None
        while not self._stopping.wait(self._every_s):
            now = self._look()
            if now == before and now != taken and self._take():
                taken = now
            before = now

    def _take(self) -> bool:
        """Whether it is not to be tried again; the same files would be refused again."""
        try:
            self._reload()
        except StoreError as error:
            _log.error("the %s was not taken, it is tried again: %s", self._what, error)
            return False
        except ZtsError as error:
            _log.error("the %s was not taken: %s", self._what, error)
        except Exception:
            # Whatever it was, without this thread no later change would be seen.
            _log.exception("the %s could not be read", self._what)
        return True


class PolicyWatcher(_Watcher):
    """A thread that calls ``reload`` after each change of a directory's files; ``close()`` it."""

    def __init__(self, directory: Path, reload: Callable[[], None], *, every_s: float = 1.0) -> None:
        """Look every ``every_s`` seconds. What is found first counts as changed: nobody knows what came
        before.
        """
        self._directory = directory
        super().__init__("policy directory", reload, every_s)

    def _look(self) -> _Look | None:
        try:
            with os.scandir(self._directory) as entries:
                found = [(entry.name, entry.stat()) for entry in entries if entry.is_file()]
        except OSError as error:
            # Exchanged this very moment, or gone: what is in force stays in force.
            _log.warning("the policy directory cannot be looked at: %s", error.strerror)
            return None
        # The last of them cannot be set by who copies a file, and tells of changed permissions, too.
        return tuple(
            sorted((name, at.st_size, at.st_ino, at.st_mtime_ns, at.st_ctime_ns) for name, at in found)
        )


class ListWatcher(_Watcher):
    """The same for threat lists, which may lie anywhere, and which time alone can change."""

    def __init__(
        self, look: Callable[[], object], reload: Callable[[], None], *, every_s: float = 1.0
    ) -> None:
        """``look`` gives what is another when the lists are to be read again."""
        self._looked_at = look
        super().__init__("set of threat lists", reload, every_s)

    def _look(self) -> object:
        return self._looked_at()
