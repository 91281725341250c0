"""One ticket installed at one enforcement point: the client's end of the call path."""

from __future__ import annotations

from typing import Any

from ztsession._batch import sign_batch, verify_batch
from ztsession._calls import SessionView, Signer, Verifier
from ztsession._core import Table
from ztsession.errors import ConfigurationError
from ztsession.policy.grant import Grant
from ztsession.tickets.installation import InstallAnswer
from ztsession.tickets.profile import operation_names, profile_of
from ztsession.tickets.record import Installation

__all__ = ["InstalledSession"]


class InstalledSession:
    """Signs calls and opens replies. Thread-safe; its keys are in the core's memory until :meth:`close`."""

    def __init__(
        self,
        grant: Grant,
        secret: bytes,
        answer: InstallAnswer,
        *,
        manual_clock_us: int | None = None,
        backend: str | None = None,
    ) -> None:
        """Take what the point answered; ``secret`` is the grant's segment secret, 32 bytes."""
        self.grant = grant
        self.table = Table(
            operations=operation_names(grant),
            client=True,
            manual_clock=manual_clock_us is not None,
            backend=backend,
        )
        if manual_clock_us is not None:
            self.table.set_manual_clock(manual_clock_us)
        profile = profile_of(grant)
        # Replies may be rare, and a quiet service is no reason to stop listening: only the session's end is.
        self.handle, _ = self.table.install(
            profile,
            secret,
            answer.nonce,
            Installation(grant.session, grant.subject, grant.device, grant.assurance, profile.digest),
            lifetime_us=grant.lifetime_s * 1_000_000,
            idle_s=grant.lifetime_s,
            handle=answer.handle,
            now_us=answer.now_us,
        )
        self._signers: dict[str, Signer] = {}
        self._replies = Verifier(self.table, None, learns=True)

    def signer(self, operation: str) -> Signer:
        """The bare call ``(body) -> token`` (48 bytes) for one operation: bind it once, call it often."""
        if operation not in self.table.operations:
            names = ", ".join(filter(None, self.table.operations))
            raise ConfigurationError(
                f"the grant for {self.grant.segment!r} knows no {operation!r}, only {names}"
            )
        return self._signers.setdefault(operation, Signer(self.table, self.handle, operation))

    def sign(self, operation: str, body: bytes) -> bytes:
        """The token of one call. SessionEnded when the session is over, SequenceExhausted when it must be
        renewed.
        """
        return (self._signers.get(operation) or self.signer(operation))(body)

    def sign_batch(
        self, operation: str, bodies: Any, *, count: int | None = None, offsets: Any = None
    ) -> bytes:
        """Tokens of many calls, 48 bytes each: ``count`` bodies of one length, or cut by ``offsets`` (n+1
        of 64 bits).
        """
        self.signer(operation)
        return sign_batch(self.table, self.handle, operation, bodies, count=count, offsets=offsets)

    def open_reply(self, token: bytes, body: bytes) -> SessionView:
        """Verify a message from the service; raises a subclass of ``Denied``. Also re-learns the point's
        clock.
        """
        return self._replies(token, body)

    def open_batch(
        self, operation: str, tokens: Any, bodies: Any, offsets: Any = None, out: Any = None
    ) -> Any:
        """Verdict codes for many messages from the service, one byte each, in order; as the point's
        ``verify_batch``. Does not touch the clock: open one message singly from time to time.
        """
        self.signer(operation)
        return verify_batch(self.table, operation, tokens, bodies, offsets, out)

    def close(self) -> None:
        """Wipe the keys; signing raises SessionEnded from here on."""
        self.table.end(self.handle, revoked=False)
