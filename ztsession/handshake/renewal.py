"""Renewal in one round trip, by Noise IKhfs: both sides know each other's static key already.

    client                                          Authority
    start_renewal -> AwaitingRenewal   message 1     read_renewal -> RenewalRead
    .read -> Channel                   message 2     .write -> Channel

The second message has no payload of its own: what is to be said goes through the channel at once, because it
depends on the secret that exists only then.

What the first message carries is encrypted to the Authority's static key and authenticated by the client's,
but it may have been recorded: whoever reads it must not do the same thing twice. With the second message the
fresh ephemeral and KEM secrets of both sides are in, so the new session secret owes nothing to the old one.
"""

from __future__ import annotations

from ztsession.errors import HandshakeError
from ztsession.handshake.channel import Channel
from ztsession.handshake.keys import DhKeyPair
from ztsession.handshake.noise import NoiseHandshake
from ztsession.handshake.states import HeldHandshake, other_static
from ztsession.wire.digest import digest

__all__ = [
    "RENEWAL_PROLOGUE",
    "AwaitingRenewal",
    "RenewalRead",
    "read_renewal",
    "start_renewal",
    "static_key_id",
]

RENEWAL_PROLOGUE = b"ztsession v1 renewal"
KEY_ID_BYTES = 8

_PATTERN = "IKhfs"


def static_key_id(static_public: bytes) -> bytes:
    """8 bytes that say which static key of an Authority (32 bytes) a renewal is for."""
    return digest("static key", static_public)[:KEY_ID_BYTES]


def start_renewal(
    static_private: bytes, authority_static: bytes, payload: bytes, *, channel_binding: bytes = b""
) -> tuple[bytes, AwaitingRenewal]:
    """Begin as the client: message 1, and the state that awaits its answer; keys are 32 bytes each."""
    noise = _begin(static_private, authority_static, initiator=True, channel_binding=channel_binding)
    if noise.local_static == authority_static:
        raise HandshakeError("the peer presents our own static key")
    return noise.write_message(payload), AwaitingRenewal(noise)


def read_renewal(static: DhKeyPair, message1: bytes, *, channel_binding: bytes = b"") -> RenewalRead:
    """Take message 1 as the Authority; HandshakeError unless it was made for this static key."""
    noise = _begin(static, None, initiator=False, channel_binding=channel_binding)
    payload = noise.read_message(message1)
    return RenewalRead(noise, payload, other_static(noise))


class AwaitingRenewal(HeldHandshake):
    """The client has sent message 1."""

    def read(self, message2: bytes) -> Channel:
        """Take message 2; the new channel, or HandshakeError if this does not answer our message 1."""
        noise = self._take()
        noise.read_message(message2)
        return Channel(noise)


class RenewalRead(HeldHandshake):
    """The Authority has read message 1, which the owner of ``remote_static`` made, now or earlier."""

    def __init__(self, noise: NoiseHandshake, payload: bytes, remote_static: bytes) -> None:
        super().__init__(noise)
        self._payload, self._remote_static = payload, remote_static

    @property
    def payload(self) -> bytes:
        """The payload of message 1."""
        return self._payload

    @property
    def remote_static(self) -> bytes:
        """The client's static public key, 32 bytes."""
        return self._remote_static

    def write(self) -> tuple[bytes, Channel]:
        """Return message 2, which has no payload, and the new channel, through which the answer goes."""
        noise = self._take()
        return noise.write_message(b""), Channel(noise)


def _begin(
    static_private: bytes | DhKeyPair, remote_static: bytes | None, *, initiator: bool, channel_binding: bytes
) -> NoiseHandshake:
    return NoiseHandshake(
        _PATTERN,
        initiator=initiator,
        static_private=static_private,
        remote_static=remote_static,
        prologue=RENEWAL_PROLOGUE + channel_binding,
    )
