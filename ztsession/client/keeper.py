"""Keeps a session fresh without a pause: the new keys are in place before the old ones go.

    keeper = SessionKeeper(session, {"orders": lambda: SocketTransport.connect(address)})
    submit = keeper.signer("orders.submit")
    with keeper:
        token = submit(body)

A renewal gets a new session, installs it at every point, and only then lets the signers use it. The old keys
stay good at the points for the protocol's overlap, so a token that was signed a moment before the change is
still taken. What cannot be renewed is authenticated in full; that has no overlap, and calls may be refused
until it is done.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from ztsession.client.installed import InstalledSession
from ztsession.client.session import Session
from ztsession.client.transport import Transport
from ztsession.errors import ConfigurationError, HandshakeError, SessionEnded
from ztsession.limits import OVERLAP_S, POSTURE_MAX_AGE_S
from ztsession.mfa.protocol import MfaProver
from ztsession.posture.protocol import PostureProver

__all__ = ["KeptSigner", "SessionKeeper"]

#: Half of the time for which posture evidence is good: one failed renewal does not make it old.
RENEW_EVERY_S = POSTURE_MAX_AGE_S / 2
_RETRY_MIN_S, _RETRY_MAX_S = 1.0, 30.0

_log = logging.getLogger("ztsession.client")


class KeptSigner:
    """The call ``(body) -> token`` (48 bytes) of one operation, by whichever installation is in force."""

    __slots__ = ("_sign",)

    def __init__(self, sign: Callable[[bytes], bytes]) -> None:
        self._sign = sign

    def __call__(self, body: bytes) -> bytes:
        """Sign one call; raises as ``InstalledSession.sign``."""
        return self._sign(body)


class SessionKeeper:
    """A session that is renewed in time, and its installations. Thread-safe.

    ``points``: how to reach each enforcement point, by segment; several points of one segment are told apart
    by what follows a slash ("orders/2"). ``dial`` opens a connection to the Authority for each renewal; by
    default the session's own is used.
    """

    def __init__(
        self,
        session: Session,
        points: Mapping[str, Callable[[], Transport]],
        *,
        dial: Callable[[], Transport] | None = None,
        renew_every_s: float = RENEW_EVERY_S,
    ) -> None:
        """Install the session at every point. TransportError or InstallationError when one refuses."""
        if renew_every_s <= 0:
            raise ConfigurationError("renew_every_s: expected a time of more than 0 seconds")
        self._session, self._points, self._dial = session, dict(points), dial
        self._renew_every_s = renew_every_s
        self._lock = threading.RLock()
        self._signers: dict[tuple[str, str], KeptSigner] = {}
        self._leaving: list[tuple[float, InstalledSession]] = []
        #: Points that the session of today is not installed at, because they did not answer.
        self._owed: set[str] = set()
        #: Those among them that did not answer the last time: they are tried last.
        self._away: set[str] = set()
        self._renew_at = self._next_renewal()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._installed = {name: self._install(session, name) for name in self._points}

    @property
    def session(self) -> Session:
        """The session in force."""
        return self._session

    def installed(self, point: str) -> InstalledSession:
        """The installation in force at one point; another one after each renewal."""
        try:
            return self._installed[point]
        except KeyError:
            raise ConfigurationError(f"no point {point!r} is kept, only {', '.join(self._points)}") from None

    def signer(self, operation: str, point: str | None = None) -> KeptSigner:
        """The call ``(body) -> token`` for one operation at ``point``, by default the one named as the
        operation's segment; it stays good over renewals.
        """
        name = point or operation.partition(".")[0]
        with self._lock:
            sign = self.installed(name).signer(operation)
            return self._signers.setdefault((name, operation), KeptSigner(sign))

    def renew(self) -> Session:
        """Put a fresh session in force everywhere, now; returns it.

        Raises what kept a point from taking it; the others use it then, and that point is tried again by the
        next call, or by the thread. SessionEnded when the keeper is closed.
        """
        with self._lock:
            return self._put_in_force(self._renewed)

    def step_up(
        self,
        *,
        mfa: MfaProver | None = None,
        posture: PostureProver | None = None,
        scopes: Sequence[str] = (),
    ) -> Session:
        """Show more, as :meth:`Session.step_up` does, and put the session that comes of it in force.

        Step up here and not on :attr:`session`: of that one the keeper would not hear. Raises as that and as
        :meth:`renew`.
        """
        with self._lock:
            return self._put_in_force(lambda: self._session.step_up(mfa=mfa, posture=posture, scopes=scopes))

    def reauthenticate(self, *, mfa: MfaProver | None = None) -> Session:
        """Prove everything anew, as :meth:`Session.reauthenticate` does, and put what comes of it in force.

        The old keys end before the new ones are installed, whatever made this necessary: calls in between are
        refused. Raises as that and as :meth:`renew`.
        """
        with self._lock:
            return self._put_in_force(lambda: self._session.reauthenticate(self._dialled(), mfa=mfa))

    def install_again(self, point: str) -> InstalledSession:
        """Present the ticket in force to one point once more: it was started anew, or forgot the session.

        TransportError or InstallationError when it does not take it, SessionEnded when the keeper is closed.
        """
        with self._lock:
            self._check_open()
            self.installed(point)
            self._replace(point, self._install(self._session, point))
            self._owed.discard(point)
            self._away.discard(point)
            return self._installed[point]

    def __enter__(self) -> Self:
        """Renew from time to time, in a thread of its own, until :meth:`close`."""
        self._thread = threading.Thread(target=self._run, name="ztsession-keeper", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.close()

    def close(self) -> None:
        """Stop renewing, and wipe every key that is held; signing raises SessionEnded from here on."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            for installed in [*self._installed.values(), *(old for _, old in self._leaving)]:
                installed.close()
            self._leaving = []

    # ---- Inside

    def _check_open(self) -> None:
        if self._stopping.is_set():
            raise SessionEnded("the keeper is closed")

    def _put_in_force(self, step: Callable[[], Session]) -> Session:
        self._check_open()
        self._let_go()
        self._session = step()
        self._renew_at = self._next_renewal()
        self._owed = set(self._points)
        self._settle()
        return self._session

    def _next_renewal(self) -> float:
        # Also when time alone changes what is allowed: counted from when the grant was made, since the clocks
        # of two machines need not agree. That was told rounded down, so the hour is over then.
        hours = [grant.until - grant.issued_at for grant in self._session.grants.values() if grant.until]
        return time.monotonic() + min([self._renew_every_s, *hours])

    def _dialled(self) -> Transport | None:
        return None if self._dial is None else self._dial()

    def _renewed(self) -> Session:
        over = self._dialled()
        try:
            return self._session.renew(over)
        except HandshakeError as error:
            _log.warning("the session was not renewed and is authenticated in full: %s", error)
            return self._session.reauthenticate(over)

    def _settle(self) -> None:
        failed: Exception | None = None
        # The overlap runs: nobody waits for one who did not answer the last time.
        for name in sorted(self._owed, key=lambda name: (name in self._away, name)):
            try:
                self._replace(name, self._install(self._session, name))
                self._owed.discard(name)
                self._away.discard(name)
            except Exception as error:
                # Whatever a way to one point raises, the others get their keys.
                _log.warning("the renewed session is not installed at %s yet: %s", name, error)
                self._away.add(name)
                failed = failed or error
        if failed is not None:
            raise failed

    def _install(self, session: Session, name: str) -> InstalledSession:
        return session.install(self._points[name](), name.partition("/")[0])

    def _replace(self, name: str, fresh: InstalledSession) -> None:
        signs = {at: fresh.signer(at[1]) for at in self._signers if at[0] == name}
        old, self._installed[name] = self._installed[name], fresh
        for at, sign in signs.items():
            self._signers[at]._sign = sign
        self._leaving.append((time.monotonic() + OVERLAP_S, old))

    def _let_go(self) -> None:
        now = time.monotonic()
        for until, old in self._leaving:
            if until <= now:
                old.close()
        self._leaving = [(until, old) for until, old in self._leaving if now < until]

    def _run(self) -> None:
        pause_s = max(0.0, self._renew_at - time.monotonic())
        retry_s = _RETRY_MIN_S
        while not self._stopping.wait(pause_s):
            try:
                self._once()
            except Exception as error:
                # A way that the program gave may raise anything, and without this thread the keys run out.
                _log.warning("the session could not be renewed, trying again in %.0f s: %s", retry_s, error)
                pause_s, retry_s = min(retry_s, self._renew_every_s), min(2 * retry_s, _RETRY_MAX_S)
            else:
                pause_s, retry_s = max(0.0, self._renew_at - time.monotonic()), _RETRY_MIN_S

    def _once(self) -> None:
        with self._lock:
            due = time.monotonic() >= self._renew_at
            try:
                if self._owed:
                    self._settle()
            finally:
                # One point that is gone for good must not keep the others from fresh keys.
                if due:
                    self.renew()
