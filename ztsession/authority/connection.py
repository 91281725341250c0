"""One peer's conversation with the Authority, sans-I/O: a message goes in, the answer comes out.

A failed step forgets the handshake; the peer may start another on the same connection. Whoever fails before
message 3 is a stranger and is counted, not audited: a flood of garbage must not become a flood of audit
entries.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ztsession.errors import ZtsError
from ztsession.handshake.messages import Hello, Offer, Outcome, Proof
from ztsession.handshake.refusal import Refusal
from ztsession.handshake.states import AwaitingProof, start_responder

if TYPE_CHECKING:
    from ztsession.authority.authority import Authority

__all__ = ["Connection"]

#: A feed request is shorter than this, and a message 1 is never.
FEED_REQUEST_MAX_BYTES = 256

_log = logging.getLogger("ztsession.authority")


@dataclass(frozen=True)
class _Expected:
    """What was asked of the peer, and when: evidence answers only what had happened by then."""

    state: AwaitingProof
    hello: Hello
    nonce: bytes
    mark: int


class Connection:
    """A transport to the Authority in this process, and what a server runs for each socket."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._expected: _Expected | None = None

    def exchange(self, message: bytes) -> bytes:
        """Answer one message: of a handshake, or a point's question for changes. Never raises."""
        expected, self._expected = self._expected, None
        try:
            if expected is not None:
                return self._prove(expected, message)
            if len(message) <= FEED_REQUEST_MAX_BYTES:
                return self._authority.feed(message)
            return self._offer(message)
        except ZtsError as error:
            _log.info("a peer was refused: %s", error)
            self._authority.count_stranger()
            return Refusal(error.reason).to_bytes()
        except Exception:
            # A mistake of ours, or an exhausted machine: the peer learns nothing of it, and nothing was
            # granted.
            _log.exception("a peer could not be answered")
            return Refusal("unavailable").to_bytes()

    def _offer(self, message1: bytes) -> bytes:
        received = start_responder(self._authority.keys.static, message1)
        hello = Hello.from_bytes(received.payload)
        nonce, mark = os.urandom(32), self._authority.risk.mark()
        offer = Offer(self._authority.certificate(), self._authority.decider.required, nonce)
        message2, state = received.write(offer.to_bytes())
        self._expected = _Expected(state, hello, nonce, mark)
        return message2

    def _prove(self, expected: _Expected, message3: bytes) -> bytes:
        payload, channel = expected.state.read(message3)
        try:
            outcome = self._authority.admit(
                Proof.from_bytes(payload),
                expected.hello,
                handshake_hash=expected.state.handshake_hash,
                static_key=channel.remote_static,
                nonce=expected.nonce,
                mark=expected.mark,
                session_secret=channel.session_secret,
            )
        except ZtsError as error:
            _log.warning("a handshake was refused: %s", error)
            reason = "unavailable" if error.reason == "unavailable" else "refused"
            outcome = Outcome("refused", reason=reason)
        return channel.seal(outcome.encoded)
