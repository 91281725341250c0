"""The encrypted channel that a finished handshake leaves behind.

Messages carry no numbers: each side counts, so a message that is lost, repeated, reordered or reflected
simply does not open. One that does not open changes nothing, and the caller decides whether to hang up.
"""

from __future__ import annotations

import threading

from ztsession.errors import HandshakeError
from ztsession.handshake.noise import NoiseHandshake, Unforkable
from ztsession.handshake.symmetric import MAX_MESSAGE_BYTES, TAG_BYTES

__all__ = ["MAX_PLAINTEXT_BYTES", "SESSION_LABEL", "Channel"]

#: The largest plaintext that one transport message carries.
MAX_PLAINTEXT_BYTES = MAX_MESSAGE_BYTES - TAG_BYTES

SESSION_LABEL = b"ztsession v1 session"


class Channel(Unforkable):
    """Both directions of one session's control traffic; safe to share between threads, not across a fork."""

    def __init__(self, handshake: NoiseHandshake) -> None:
        super().__init__()
        self._send, self._receive = handshake.split()
        # Two threads at one counter would use one nonce twice.
        self._sending, self._receiving = threading.Lock(), threading.Lock()
        self._session_secret = handshake.export(SESSION_LABEL)
        self._handshake_hash = handshake.handshake_hash
        remote = handshake.remote_static
        if remote is None:
            raise HandshakeError("the handshake ended without the peer's static key")
        self._remote_static = remote

    @property
    def session_secret(self) -> bytes:
        """32 bytes that only the two sides know, from which the keys of every segment descend."""
        return self._session_secret

    @property
    def handshake_hash(self) -> bytes:
        """The final h, 32 bytes: the same on both sides, and on no other channel."""
        return self._handshake_hash

    @property
    def remote_static(self) -> bytes:
        """The peer's X25519 static public key, 32 bytes, which it has proven to hold."""
        return self._remote_static

    def seal(self, plaintext: bytes) -> bytes:
        """Return the next transport message; at most ``MAX_PLAINTEXT_BYTES`` of plaintext."""
        self._check_process()
        if len(plaintext) > MAX_PLAINTEXT_BYTES:
            raise HandshakeError(f"the plaintext is over {MAX_PLAINTEXT_BYTES} bytes")
        with self._sending:
            return self._send.encrypt(b"", plaintext)

    def open(self, message: bytes) -> bytes:
        """Return the plaintext of the peer's next message; :class:`HandshakeError` otherwise."""
        self._check_process()
        if len(message) > MAX_MESSAGE_BYTES:
            raise HandshakeError(f"the message is over {MAX_MESSAGE_BYTES} bytes")
        with self._receiving:
            return self._receive.decrypt(b"", message)
