"""The handshake as types: a state offers exactly the step that may come next, and is used up by it.

There is no flag to check and no order to remember: a client that has not read the offer has nothing to
write its proof with. A step that fails uses its state up as well, so an attacker gets one try for each
handshake, and the honest side starts again with fresh keys. The pattern is always XXhfs: XX because the
client's key stays hidden from strangers, hfs because traffic recorded today must stay closed to a quantum
computer later.

    client                                        Authority
    start_initiator -> AwaitingOffer   message 1   start_responder -> Received
    .read -> Offered                   message 2   .write -> AwaitingProof
    .write -> Channel                  message 3   .read -> Channel
"""

from __future__ import annotations

import hmac

from ztsession.errors import HandshakeError
from ztsession.handshake.channel import Channel
from ztsession.handshake.keys import DH_BYTES, KEM_PUBLIC_BYTES, DhKeyPair
from ztsession.handshake.noise import NoiseHandshake, Unforkable

__all__ = [
    "PROLOGUE",
    "AwaitingOffer",
    "AwaitingProof",
    "HeldHandshake",
    "Offered",
    "Received",
    "first_payload",
    "other_static",
    "start_initiator",
    "start_responder",
]

#: Names the protocol and its version: peers of different versions do not understand a word of each other
#: (H6).
PROLOGUE = b"ztsession v1 handshake"

_PATTERN = "XXhfs"


def start_initiator(
    static_private: bytes, payload: bytes, *, channel_binding: bytes = b""
) -> tuple[bytes, AwaitingOffer]:
    """Begin a handshake as the client: returns message 1 and the state that awaits its answer.

    ``static_private`` is 32 bytes. ``payload`` travels in the clear. ``channel_binding`` names the connection
    underneath (for TLS, RFC 9266); both sides must give the same, or message 2 does not open (H22).
    """
    noise = _begin(static_private, initiator=True, channel_binding=channel_binding)
    return noise.write_message(payload), AwaitingOffer(noise)


def first_payload(message1: bytes) -> bytes:
    """The payload of message 1, read off it before any work is done: from anybody, in the clear."""
    return message1[DH_BYTES + KEM_PUBLIC_BYTES :]


def start_responder(
    static_private: bytes | DhKeyPair, message1: bytes, *, channel_binding: bytes = b""
) -> Received:
    """Take message 1 as the Authority, whose static key is 32 bytes or the pair made of them.

    This hashes and looks at a point; agreement and encapsulation wait for :meth:`Received.write`, so that a
    flood of first messages can be met with cookies.
    """
    noise = _begin(static_private, initiator=False, channel_binding=channel_binding)
    return Received(noise, noise.read_message(message1))


class HeldHandshake(Unforkable):
    """A state: holds the handshake until one step takes it."""

    def __init__(self, noise: NoiseHandshake) -> None:
        super().__init__()
        self._held = [noise]
        self._handshake_hash = noise.handshake_hash

    def _take(self) -> NoiseHandshake:
        self._check_process()
        try:
            # One operation, so that of two threads one gets it.
            return self._held.pop()
        except IndexError:
            raise HandshakeError("this handshake state has been used already") from None


class AwaitingOffer(HeldHandshake):
    """The client has sent message 1."""

    def read(self, message2: bytes) -> Offered:
        """Take message 2; :class:`HandshakeError` if it is not the answer to our message 1."""
        noise = self._take()
        payload = noise.read_message(message2)
        return Offered(noise, payload, other_static(noise))


class Offered(HeldHandshake):
    """The client knows the Authority's static key and what is asked of it; the key is not yet trusted.

    Check the certificate in ``payload`` over ``remote_static`` before writing anything.
    """

    def __init__(self, noise: NoiseHandshake, payload: bytes, remote_static: bytes) -> None:
        super().__init__(noise)
        self._payload, self._remote_static = payload, remote_static

    @property
    def payload(self) -> bytes:
        """The payload of message 2."""
        return self._payload

    @property
    def remote_static(self) -> bytes:
        """The responder's static public key, 32 bytes."""
        return self._remote_static

    @property
    def handshake_hash(self) -> bytes:
        """h after message 2, which evidence is bound to."""
        return self._handshake_hash

    def write(self, payload: bytes) -> tuple[bytes, Channel]:
        """Return message 3, and the channel that is open once the peer has accepted it."""
        noise = self._take()
        return noise.write_message(payload), Channel(noise)


class Received(HeldHandshake):
    """The Authority has read message 1, of which nothing is authentic yet."""

    def __init__(self, noise: NoiseHandshake, payload: bytes) -> None:
        super().__init__(noise)
        self._payload = payload

    @property
    def payload(self) -> bytes:
        """The payload of message 1: from anybody, in the clear."""
        return self._payload

    def write(self, payload: bytes) -> tuple[bytes, AwaitingProof]:
        """Return message 2 and the state that awaits message 3."""
        noise = self._take()
        return noise.write_message(payload), AwaitingProof(noise)


class AwaitingProof(HeldHandshake):
    """The Authority has sent message 2; only the one who made message 1 can go on."""

    @property
    def handshake_hash(self) -> bytes:
        """h after message 2, which evidence is bound to."""
        return self._handshake_hash

    def read(self, message3: bytes) -> tuple[bytes, Channel]:
        """Take message 3: its payload, and the channel, whose ``remote_static`` is the client's key."""
        noise = self._take()
        payload = noise.read_message(message3)
        other_static(noise)
        return payload, Channel(noise)


def _begin(static_private: bytes | DhKeyPair, *, initiator: bool, channel_binding: bytes) -> NoiseHandshake:
    return NoiseHandshake(
        _PATTERN,
        initiator=initiator,
        static_private=static_private,
        prologue=PROLOGUE + channel_binding,
    )


def other_static(noise: NoiseHandshake) -> bytes:
    """The peer's static key, 32 bytes; HandshakeError if it is our own."""
    # A peer with our own key is ourselves, led in a circle by somebody in the middle (H5).
    remote = noise.remote_static
    if remote is None or hmac.compare_digest(remote, noise.local_static):
        raise HandshakeError("the peer presents our own static key")
    return remote
