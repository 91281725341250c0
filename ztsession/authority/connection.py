"""One peer's conversation with the Authority, sans-I/O: a message goes in, the answer comes out.

A failed step forgets the handshake; the peer may start another on the same connection. Whoever fails before
message 3 is a stranger and is counted, not audited: a flood of garbage must not become a flood of audit
entries.

After the outcome the channel stays open. What opens in it is more evidence, and goes on where the handshake
ended; anything else is taken as a first message, and leaves the channel as it was.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ztsession.authority.judged import Standing
from ztsession.bus.feed import FeedRequest
from ztsession.bus.report import SignalReport
from ztsession.errors import HandshakeError, WireError, ZtsError
from ztsession.handshake.channel import Channel
from ztsession.handshake.keys import DhKeyPair
from ztsession.handshake.messages import (
    Hello,
    Offer,
    Outcome,
    Proof,
    Renewal,
    RenewalAnswer,
    RenewalRequest,
    Supplement,
)
from ztsession.handshake.refusal import Refusal
from ztsession.handshake.renewal import read_renewal
from ztsession.handshake.states import AwaitingProof, first_payload, start_responder
from ztsession.wire.schema import kind_of

__all__ = ["Connection", "Desk", "Presented"]

_MESSAGE_MAX_BYTES = 65536

_log = logging.getLogger("ztsession.authority")


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
    #: Where the client is, as its transport says.
    source: str = ""


#: What was decided, and where the client stands then; nowhere if it cannot go on from there.
Decided = tuple[Outcome, Standing | None]


class Desk(Protocol):
    """What a conversation needs of its Authority. ``admit``, ``supplement`` and ``renew`` never raise for a
    client's fault: they decide, and a refusal is a decision.
    """

    def enter(self, source: str, cookie: bytes) -> bytes | None:
        """Let a handshake in (None), or answer it with this message; Overloaded when there is no room."""

    def half_open(self, source: str) -> Callable[[], bool]:
        """Count a client whose proof is awaited; Overloaded if too many. What is returned takes it off the
        count, and says whether it was still in time.
        """

    def static_for(self, key_id: bytes | None) -> DhKeyPair:
        """The static key: the newest, or the one of this id. HandshakeError if none."""

    def offer(self, nonce: bytes) -> tuple[Offer, int]:
        """Message 2's payload, and the risk engine's count."""

    def admit(self, presented: Presented) -> Decided:
        """Decide a handshake whose message 3 has been read."""

    def supplement(self, standing: Standing, supplement: Supplement) -> Decided:
        """Decide again with more evidence."""

    def renew(self, renewal: Renewal, channel: Channel, source: str) -> Decided:
        """Decide a renewal that the owner of ``channel.remote_static`` asks for, from ``source``."""

    def feed(self, request: bytes) -> bytes:
        """Answer an encoded FeedRequest."""

    def report(self, report: bytes) -> bytes:
        """Take an encoded SignalReport."""

    def count_stranger(self) -> None:
        """Somebody was refused who had proven nothing."""


@dataclass(frozen=True)
class _Expected:
    """What was asked of the peer, and when: evidence answers only what had happened by then."""

    state: AwaitingProof
    hello: Hello
    nonce: bytes
    mark: int
    leave: Callable[[], bool]


class Connection:
    """A transport to the Authority in this process, and what a server runs for each peer.

    One message at a time. ``source`` names where the peer is (an address as text), "" for this process;
    ``channel_binding`` names the connection underneath, see ``start_initiator``.
    """

    def __init__(self, desk: Desk, source: str = "", channel_binding: bytes = b"") -> None:
        self._desk, self._source, self.channel_binding = desk, source, channel_binding
        self._expected: _Expected | None = None
        self._open: tuple[Channel, Standing] | None = None

    def exchange(self, message: bytes) -> bytes:
        """Answer one message: of a handshake, a renewal, or a point's question for changes or report. Never
        raises.
        """
        expected, self._expected = self._expected, None
        try:
            if expected is not None:
                if not expected.leave():
                    raise HandshakeError("the proof came too late")
                return self._prove(expected, message)
            return self._continue(message) or self._begin(message)
        except ZtsError as error:
            _log.info("a peer was refused: %s", error)
            self._desk.count_stranger()
            return Refusal(error.reason).to_bytes()
        except Exception:
            # A mistake of ours, or an exhausted machine: the peer learns nothing of it, and nothing was
            # granted.
            _log.exception("a peer could not be answered")
            return Refusal("unavailable").to_bytes()

    @property
    def established(self) -> bool:
        """Whether a channel is open, in which the client may show more."""
        return self._open is not None

    def hang_up(self) -> None:
        """The peer is gone: give its place back."""
        expected, self._expected, self._open = self._expected, None, None
        if expected is not None:
            expected.leave()

    # ---- First messages

    def _begin(self, message: bytes) -> bytes:
        try:
            kind = kind_of(message, max_bytes=_MESSAGE_MAX_BYTES)
        except WireError:
            kind = ""  # Noise, which has no kinds
        if kind == FeedRequest.kind:
            return self._desk.feed(message)
        if kind == SignalReport.kind:
            return self._desk.report(message)
        return self._renew(message) if kind == RenewalRequest.kind else self._ask(message)

    def _ask(self, message1: bytes) -> bytes:
        # Before anything is computed for a stranger (D1).
        hello = Hello.from_bytes(first_payload(message1))
        demand = self._desk.enter(self._source, hello.cookie)
        if demand is not None:
            return demand
        leave = self._desk.half_open(self._source)
        try:
            static = self._desk.static_for(None)
            received = start_responder(static, message1, channel_binding=self.channel_binding)
            nonce = os.urandom(32)
            offer, mark = self._desk.offer(nonce)
            message2, state = received.write(offer.to_bytes())
        except BaseException:
            leave()
            raise
        self._expected = _Expected(state, hello, nonce, mark, leave)
        return message2

    def _prove(self, expected: _Expected, message3: bytes) -> bytes:
        payload, channel = expected.state.read(message3)
        presented = Presented(
            expected.hello,
            Proof.from_bytes(payload),
            expected.state.handshake_hash,
            channel.remote_static,
            expected.nonce,
            expected.mark,
            channel.session_secret,
            self._source,
        )
        decided = self._desk.admit(presented)
        if decided[1] is None:
            # A handshake that is refused leaves the channel that is open as it is.
            return channel.seal(decided[0].encoded)
        return self._answer(channel, decided)

    def _renew(self, message: bytes) -> bytes:
        request = RenewalRequest.from_bytes(message)
        demand = self._desk.enter(self._source, request.cookie)
        if demand is not None:
            return demand
        static = self._desk.static_for(request.key_id)
        read = read_renewal(static, request.noise, channel_binding=self.channel_binding)
        renewal = Renewal.from_bytes(read.payload)
        noise, channel = read.write()
        decided = self._desk.renew(renewal, channel, self._source)
        if decided[1] is None:
            # A renewal that is refused leaves the channel that is open as it is.
            return RenewalAnswer(noise, channel.seal(decided[0].encoded)).to_bytes()
        return RenewalAnswer(noise, self._answer(channel, decided)).to_bytes()

    # ---- In the channel

    def _continue(self, message: bytes) -> bytes | None:
        if self._open is None:
            return None
        channel, standing = self._open
        try:
            plaintext = channel.open(message)
        except HandshakeError:
            return None
        return self._answer(channel, self._desk.supplement(standing, Supplement.from_bytes(plaintext)))

    def _answer(self, channel: Channel, decided: Decided) -> bytes:
        outcome, standing = decided
        self._open = None if standing is None else (channel, standing)
        return channel.seal(outcome.encoded)
