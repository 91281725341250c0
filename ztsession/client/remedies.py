"""What helps a refused session, done once for all threads that were refused, and not too often.

Everything that is done here costs the Authority a handshake or part of one. A client with many threads, whose
session is suspended, must not turn into a flood of handshakes; nor must one for which nothing helps. So one
thread acts while the others wait for what comes of it, two remedies are a pause apart, and the pause doubles
as long as they fail or do not help. Within the pause after a failure nothing is tried: the refusal is final.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final
from weakref import ref

from ztsession.client.keeper import SessionKeeper
from ztsession.client.session import Session
from ztsession.errors import HandshakeError, InstallationError, SessionEnded, TransportError, ZtsError
from ztsession.mfa.protocol import MfaProver
from ztsession.posture.protocol import PostureProver

__all__ = ["Ask", "Remedies"]

#: Asked for a second factor, with the refusal and the session that it hit; None declines.
Ask = Callable[[ZtsError, Session], MfaProver | None]

#: A point that was just started takes tickets once it has heard from its Authority.
_INSTALL_AGAIN_S: Final = 0.25

_log = logging.getLogger("ztsession.client")


class Remedies:
    """The remedies of one kept session. Thread-safe."""

    def __init__(
        self,
        keeper: SessionKeeper,
        *,
        ask: Ask | None,
        posture: PostureProver | None,
        pause_s: float,
        pause_max_s: float,
    ) -> None:
        """``pause_s``: between two remedies; at most ``pause_max_s`` as long as they do not help. The keeper
        is held weakly: a policy keeps these for as long as there is the keeper, and it must not live by that.
        """
        self._kept, self._ask, self._posture = ref(keeper), ask, posture
        self._pause_min_s, self._pause_max_s = pause_s, pause_max_s
        self._pause_s = pause_s
        self._acting = threading.Lock()
        self._count = 0
        self._not_before = 0.0
        self._failure: ZtsError | None = None
        #: What succeeded, and no call has passed since.
        self.unproven: tuple[str, ...] = ()

    @property
    def _keeper(self) -> SessionKeeper:
        keeper = self._kept()
        if keeper is None:
            raise SessionEnded("the keeper is gone")
        return keeper

    @property
    def count(self) -> int:
        """How often something was put right: take it before signing, and give it back in :meth:`help`."""
        return self._count

    def help(self, refusal: ZtsError, rungs: Sequence[str], point: str, since: int) -> Sequence[str]:
        """Do the first of ``rungs`` that succeeds, unless another thread has since ``count`` was ``since``;
        returns those that were tried. Raises what the last of them, or the one before the pause, raised.
        """
        with self._acting:
            if self._count != since:
                return ()
            self._keep_apart()
            # What was proven already, and could not be brought there yet, is brought there first.
            tried = self._climb(refusal, rungs if self._in_force(point) else ("install",), point)
            self._count += 1
            self._failure, self._not_before = None, time.monotonic() + self._pause_min_s
            self.unproven = (*self.unproven, *(rung for rung in tried if rung not in self.unproven))
            return tried

    def helped(self) -> None:
        """A call passed after a remedy."""
        self._pause_s, self.unproven = self._pause_min_s, ()

    def did_not_help(self, refusal: ZtsError, since: int) -> None:
        """A call that was signed when ``count`` was ``since`` was refused after every remedy that there is;
        after a pause they begin anew.
        """
        with self._acting:
            self.unproven = ()
            if self._count == since:
                self._failed(refusal)

    def _keep_apart(self) -> None:
        wait_s = self._not_before - time.monotonic()
        if wait_s > 0 and self._failure is not None:
            raise self._failure
        if wait_s > 0:
            time.sleep(wait_s)

    def _climb(self, refusal: ZtsError, rungs: Sequence[str], point: str) -> Sequence[str]:
        before = self._keeper.session
        for number, rung in enumerate(rungs, 1):
            try:
                self._act(rung, refusal, point)
            except ZtsError as failure:
                _log.warning("%s after %s did not succeed: %s", rung, type(refusal).__name__, failure)
                # A point that cannot be reached, with what was just granted too, is no reason to prove more.
                away = rung == "install" and isinstance(failure, TransportError)
                if away or self._keeper.session is not before or number == len(rungs):
                    self._failed(failure)
                    raise
            else:
                _log.info("%s after %s", rung, type(refusal).__name__)
                return rungs[:number]
        return ()

    def _act(self, rung: str, refusal: ZtsError, point: str) -> None:
        if rung == "install":
            self._install(point)
            return
        before = self._keeper.session
        try:
            if rung == "renew":
                self._keeper.renew()
            elif rung == "step-up":
                self._keeper.step_up(mfa=self._asked(refusal, before, needed=True), posture=self._posture)
            else:
                self._keeper.reauthenticate(mfa=self._asked(refusal, before, needed=False))
        except ZtsError:
            # Another point may have failed to take what is in force here; the keeper tries that one again.
            if self._keeper.session is before or not self._in_force(point):
                raise

    def _asked(self, refusal: ZtsError, session: Session, *, needed: bool) -> MfaProver | None:
        if self._ask is None:
            return None
        prover = self._ask(refusal, session)
        if prover is None and needed and self._posture is None:
            # What was given at connect() would be asked instead.
            raise HandshakeError("a second factor was declined, and there is no posture to show")
        return prover

    def _install(self, point: str) -> None:
        try:
            self._keeper.install_again(point)
        except InstallationError:
            time.sleep(_INSTALL_AGAIN_S)
            self._keeper.install_again(point)

    def _in_force(self, point: str) -> bool:
        return self._keeper.installed(point).grant.session == self._keeper.session.id

    def _failed(self, failure: ZtsError) -> None:
        self._failure, self._not_before = failure, time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, self._pause_max_s)
