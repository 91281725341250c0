"""One call at a time and its answer: both ends of a service that has one operation.

The token travels in front of the message, and the answer's token in front of the answer. Who is refused gets
one coarse word without a token, and may not believe it: nothing is done on the strength of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import ztsession as zts
from ztsession.demo.messages import is_signed
from ztsession.demo.promotion import Answer
from ztsession.demo.service import handle_in
from ztsession.errors import Denied, WireError
from ztsession.integrations.stream import SocketTransport
from ztsession.limits import TOKEN_BYTES
from ztsession.wire.schema import Message

__all__ = ["CallLine", "Calls"]


class Calls:
    """The service's end: verifies, has the call handled, signs the answer, and counts."""

    def __init__(
        self, point: zts.EnforcementPoint, operation: str, handler: Callable[[zts.SessionView, bytes], Answer]
    ) -> None:
        self.point = point
        self.verdicts: Counter[str] = Counter()
        self.installations: Counter[str] = Counter()

        @point.protect(operation)
        def answered(session: zts.SessionView, body: bytes) -> bytes:
            answer = handler(session, body).to_bytes()
            return point.sign_reply(session, answer) + answer

        self._answered = answered

    def exchange(self, message: bytes) -> bytes:
        """A call, or a ticket to install."""
        if not is_signed(message):
            answer = self.point.exchange(message)
            self.installations["REFUSED" if handle_in(answer) is None else "OK"] += 1
            return answer
        try:
            signed: bytes = self._answered(message[:TOKEN_BYTES], message[TOKEN_BYTES:])
        except Denied as denied:
            self.verdicts[denied.verdict] += 1
            return denied.reason.encode()
        self.verdicts["OK"] += 1
        return signed

    def counts(self) -> dict[str, dict[str, int]]:
        """Verdicts, installations, and the core's own count of refusals."""
        return {
            "verdicts": dict(self.verdicts),
            "installations": dict(self.installations),
            "core": {name: n for name, n in self.point.refused().items() if n},
        }


class CallLine:
    """The client's end, over one connection."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._transport = SocketTransport.connect(address)

    def install(self, session: zts.Session, segment: str) -> None:
        """Call by this session from here on."""
        self._installed = session.install(self._transport, segment)

    def call(self, operation: str, message: Message) -> Answer | None:
        """Sign and send; see :meth:`send`."""
        return self.send(self.signed(operation, message))

    def signed(self, operation: str, message: Message) -> bytes:
        """The frame of one call, to be sent here or elsewhere, once or more often."""
        body = message.to_bytes()
        return self._installed.sign(operation, body) + body

    def send(self, frame: bytes) -> Answer | None:
        """The answer to a signed call, None for whatever is no verified answer to this very one."""
        reply = self._transport.exchange(frame)
        try:
            self._installed.open_reply(reply[:TOKEN_BYTES], reply[TOKEN_BYTES:])
            answer = Answer.from_bytes(reply[TOKEN_BYTES:])
        except (Denied, WireError):
            return None
        return answer if answer.answers == int.from_bytes(frame[16:24], "little") else None
