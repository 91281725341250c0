"""Shows fresh posture in time, and at once when something has happened to the device.

    with SessionKeeper(session, points) as keeper, Attester(keeper):
        ...

A keeper renews from time to time, and each renewal measures anew. That leaves minutes in which a program may
have been exchanged and the Authority knows nothing of it. An attester looks at the device every second, which
costs next to nothing, and has the keeper renew when something differs: the Authority then judges what is
there now. It does not judge itself, and it reports what speaks against it as readily as what does not.

Something may differ at each look: a file that is written all the time, packages that are installed one by
one, on a thousand hosts at once. So after some news in a row the rest is told together, every ten seconds.
"""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Self

from ztsession.client.keeper import RENEW_EVERY_S, SessionKeeper
from ztsession.client.session import Session
from ztsession.errors import ConfigurationError
from ztsession.posture.watching import DeviceWatch

__all__ = ["Attester"]

LOOK_EVERY_S = 1.0
_RETRY_MIN_S, _RETRY_MAX_S = 1.0, 30.0
#: So many times news is told at once; each is to be had again after that time.
_AT_ONCE_MAX, _APART_S = 5, 10.0

_log = logging.getLogger("ztsession.client")


class Attester:
    """Has a keeper show fresh posture. Thread-safe; a context manager runs it in a thread of its own.

    It may be used beside the keeper's own thread or in its place.
    """

    def __init__(
        self,
        keeper: SessionKeeper,
        watch: DeviceWatch | None = None,
        *,
        every_s: float = RENEW_EVERY_S,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """``watch``: what looks at this device, by default at its root directory and the running program.
        ``every_s``: how long the posture of a session is left alone, by default half of the time for which it
        is good; one attestation that fails does not make it old.
        """
        if every_s <= 0 or look_every_s <= 0:
            raise ConfigurationError("every_s, look_every_s: expected times of more than 0 seconds")
        self._keeper, self._watch = keeper, DeviceWatch() if watch is None else watch
        self._every_s, self._look_every_s = every_s, look_every_s
        self._lock = threading.Lock()
        #: Something happened that the Authority has not been shown the outcome of, or it was time.
        self._news, self._owed = False, False
        self._at_once, self._counted_at = float(_AT_ONCE_MAX), time.monotonic()
        self._known, self._due_at = keeper.session, time.monotonic() + every_s
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def look(self) -> tuple[str, ...]:
        """Look at the device, and attest if something has happened since the last look (what, out of
        :data:`ztsession.posture.watching.CHANGES`), if it was time, or if it failed the last time. When
        something happens again and again, some of it is attested together, later.

        Raises what :meth:`SessionKeeper.renew` does; the next look tries again.
        """
        with self._lock:
            happened = self._watch.look()
            if happened:
                _log.warning("showing posture anew, because of: %s", ", ".join(happened))
            self._news, self._owed = self._news or bool(happened), self._owed or self._is_due()
            tell = self._news and self._may_at_once()
            if tell or self._owed:
                self._attest()
            if tell:
                # What that has set off is answered by what is asked for afterwards.
                self._attest()
                self._news, self._at_once = False, self._at_once - 1
            return happened

    def attest(self) -> Session:
        """Show fresh posture now, whatever has happened; returns the session that came of it."""
        with self._lock:
            self._owed = True
            return self._attest()

    def __enter__(self) -> Self:
        """Look again and again, in a thread, until :meth:`close`."""
        self._thread = threading.Thread(target=self._run, name="ztsession-attester", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.close()

    def close(self) -> None:
        """Stop looking; the keeper and its session are left as they are."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    # ---- Inside

    def _attest(self) -> Session:
        session = self._keeper.renew()
        self._owed = False
        self._settle(session)
        return session

    def _may_at_once(self) -> bool:
        now = time.monotonic()
        again = (now - self._counted_at) / _APART_S
        self._at_once, self._counted_at = min(_AT_ONCE_MAX, self._at_once + again), now
        return self._at_once >= 1

    def _is_due(self) -> bool:
        if self._keeper.session is not self._known:
            # Renewed by somebody else, and measured anew with that.
            self._settle(self._keeper.session)
        return time.monotonic() >= self._due_at

    def _settle(self, session: Session) -> None:
        self._known, self._due_at = session, time.monotonic() + self._every_s

    def _run(self) -> None:
        pause_s, retry_s = self._look_every_s, _RETRY_MIN_S
        while not self._stopping.wait(pause_s):
            try:
                self.look()
            except Exception as error:
                # Whatever a point or the way there raises, without this thread nobody looks any more.
                _log.warning("posture could not be shown anew, trying again in %.0f s: %s", retry_s, error)
                pause_s, retry_s = retry_s, min(2 * retry_s, _RETRY_MAX_S)
            else:
                pause_s, retry_s = self._look_every_s, _RETRY_MIN_S
