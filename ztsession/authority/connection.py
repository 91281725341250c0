"""One peer's conversation with the Authority, sans-I/O: a message goes in, the answer comes out.

A failed step forgets the handshake; the peer may start another on the same connection. Whoever fails before
message 3 is a stranger and is counted, not audited: a flood of garbage must not become a flood of audit
entries.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from ztsession.errors import ZtsError
from ztsession.handshake.messages import Hello, Offer, Outcome, Proof
from ztsession.handshake.refusal import Refusal
from ztsession.handshake.states import AwaitingProof, start_responder

__all__ = ["Connection", "Presented"]

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


@dataclass(frozen=True)
class Presented:
    """All that a client has shown when message 3 was read, and what it was asked for.

    ``mark`` is the risk engine's count when ``nonce`` was made; byte strings are 32 bytes long.
    """

    hello: Hello
    proof: Proof
    handshake_hash: bytes
    static_key: bytes
    nonce: bytes
    mark: int
    session_secret: bytes = field(repr=False)


class Connection:
    """A transport to the Authority in this process, and what a server runs for each socket."""

    def __init__(
        self,
        static_private: bytes,
        *,
        offer: Callable[[bytes], tuple[Offer, int]],
        admit: Callable[[Presented], Outcome],
        feed: Callable[[bytes], bytes],
        refused: Callable[[], None],
    ) -> None:
        """``offer(nonce)`` gives message 2's payload and the mark; ``admit`` decides or raises; ``feed``
        answers a point; ``refused`` counts a stranger.
        """
        self._static_private = static_private
        self._offer, self._admit, self._feed, self._refused = offer, admit, feed, refused
        self._expected: _Expected | None = None

    def exchange(self, message: bytes) -> bytes:
        """Answer one message: of a handshake, or a point's question for changes. Never raises."""
        expected, self._expected = self._expected, None
        try:
            if expected is not None:
                return self._prove(expected, message)
            if len(message) <= FEED_REQUEST_MAX_BYTES:
                return self._feed(message)
            return self._ask(message)
        except ZtsError as error:
            _log.info("a peer was refused: %s", error)
            self._refused()
            return Refusal(error.reason).to_bytes()
        except Exception:
            # A mistake of ours, or an exhausted machine: the peer learns nothing of it, and nothing was
            # granted.
            _log.exception("a peer could not be answered")
            return Refusal("unavailable").to_bytes()

    def _ask(self, message1: bytes) -> bytes:
        received = start_responder(self._static_private, message1)
        hello = Hello.from_bytes(received.payload)
        nonce = os.urandom(32)
        offer, mark = self._offer(nonce)
        message2, state = received.write(offer.to_bytes())
        self._expected = _Expected(state, hello, nonce, mark)
        return message2

    def _prove(self, expected: _Expected, message3: bytes) -> bytes:
        payload, channel = expected.state.read(message3)
        try:
            outcome = self._admit(
                Presented(
                    expected.hello,
                    Proof.from_bytes(payload),
                    expected.state.handshake_hash,
                    channel.remote_static,
                    expected.nonce,
                    expected.mark,
                    channel.session_secret,
                )
            )
        except ZtsError as error:
            _log.warning("a handshake was refused: %s", error)
            reason = "unavailable" if error.reason == "unavailable" else "refused"
            outcome = Outcome("refused", reason=reason)
        return channel.seal(outcome.encoded)
