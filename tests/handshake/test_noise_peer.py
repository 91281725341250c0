"""Another implementation of Noise understands ours, and we understand it."""

from __future__ import annotations

import pytest
from noise.connection import Keypair, NoiseConnection

from ztsession.handshake.keys import DhKeyPair
from ztsession.handshake.noise import NoiseHandshake

OURS, THEIRS = bytes(range(1, 33)), bytes(range(101, 133))
PROLOGUE = b"both say this first"


def peer(pattern: str, *, initiator: bool) -> NoiseConnection:
    other = NoiseConnection.from_name(f"Noise_{pattern}_25519_ChaChaPoly_SHA256".encode())
    if initiator:
        other.set_as_initiator()
    else:
        other.set_as_responder()
    other.set_prologue(PROLOGUE)
    other.set_keypair_from_private_bytes(Keypair.STATIC, THEIRS)
    if initiator and pattern == "IK":
        other.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, DhKeyPair(OURS).public)
    other.start_handshake()
    return other


@pytest.mark.parametrize("pattern", ["XX", "IK"])
@pytest.mark.parametrize("we_begin", [True, False])
def test_a_foreign_peer_completes_the_handshake(pattern, we_begin):
    """With fresh keys, payloads, hash, and transport messages agree with an independent implementation."""
    other = peer(pattern, initiator=not we_begin)
    ours = NoiseHandshake(
        pattern,
        initiator=we_begin,
        static_private=OURS,
        prologue=PROLOGUE,
        remote_static=DhKeyPair(THEIRS).public if we_begin and pattern == "IK" else None,
    )
    our_turn, number = we_begin, 0
    while not ours.finished:
        payload = b"payload %d" % number
        if our_turn:
            assert bytes(other.read_message(ours.write_message(payload))) == payload
        else:
            assert ours.read_message(bytes(other.write_message(payload))) == payload
        our_turn, number = not our_turn, number + 1
    assert other.handshake_finished
    assert ours.handshake_hash == other.get_handshake_hash()
    assert ours.remote_static == DhKeyPair(THEIRS).public
    send, receive = ours.split()
    for number in range(3):
        text = b"transport %d" % number
        assert bytes(other.decrypt(send.encrypt(b"", text))) == text
        assert receive.decrypt(b"", bytes(other.encrypt(text))) == text
