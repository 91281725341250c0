"""Turns, sizes, nonces and points: what the interpreter refuses, and that a refusal is final."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from ztsession.errors import HandshakeError
from ztsession.handshake import symmetric
from ztsession.handshake.keys import DhKeyPair, check_point
from ztsession.handshake.noise import PATTERNS, NoiseHandshake, protocol_name

CLIENT, SERVER = bytes(range(1, 33)), bytes(range(101, 133))
PRIME = 2**255 - 19
LOW_ORDER = (
    0,
    1,
    PRIME - 1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)


def sides(pattern: str, **options: bytes) -> tuple[NoiseHandshake, NoiseHandshake]:
    known = DhKeyPair(SERVER).public if pattern.startswith("IK") else None
    return (
        NoiseHandshake(pattern, initiator=True, static_private=CLIENT, remote_static=known, **options),
        NoiseHandshake(pattern, initiator=False, static_private=SERVER),
    )


def complete(pattern: str) -> tuple[NoiseHandshake, NoiseHandshake, list[bytes]]:
    writer, reader = initiator, responder = sides(pattern)
    messages = []
    while not writer.finished:
        messages.append(writer.write_message(b"payload"))
        assert reader.read_message(messages[-1]) == b"payload"
        writer, reader = reader, writer
    return initiator, responder, messages


@pytest.mark.parametrize("pattern", PATTERNS)
def test_both_sides_agree(pattern):
    """Every pattern ends with one hash, each other's static keys, crossed ciphers and one exported secret."""
    initiator, responder, _ = complete(pattern)
    assert initiator.handshake_hash == responder.handshake_hash
    assert initiator.remote_static == DhKeyPair(SERVER).public
    assert responder.remote_static == DhKeyPair(CLIENT).public
    assert initiator.export(b"x") == responder.export(b"x") != initiator.export(b"y")
    (a_send, a_receive), (b_send, b_receive) = initiator.split(), responder.split()
    assert b_receive.decrypt(b"", a_send.encrypt(b"", b"there")) == b"there"
    assert a_receive.decrypt(b"", b_send.encrypt(b"", b"back")) == b"back"


def test_the_hybrid_names_and_sizes_are_the_written_ones():
    """Names follow the hybrid extension, and e1 and ekem1 stand where the protocol puts them."""
    assert protocol_name("XX") == b"Noise_XX_25519_ChaChaPoly_SHA256"
    assert protocol_name("XXhfs") == b"Noise_XXhfs_25519+MLKEM768_ChaChaPoly_SHA256"
    assert protocol_name("IKhfs") == b"Noise_IKhfs_25519+MLKEM768_ChaChaPoly_SHA256"
    payload, tag = len(b"payload"), 16
    sizes = {
        "XXhfs": [32 + 1184 + payload, 32 + 1088 + tag + 32 + tag + payload + tag, 32 + tag + payload + tag],
        "IKhfs": [32 + 1184 + tag + 32 + tag + payload + tag, 32 + 1088 + tag + payload + tag],
    }
    for pattern, expected in sizes.items():
        assert [len(message) for message in complete(pattern)[2]] == expected


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_turn_out_of_order_kills_the_handshake(pattern):
    """Reading when it is time to write, or the reverse, is refused, and so is everything after it."""
    initiator, responder = sides(pattern)
    with pytest.raises(HandshakeError, match="turn"):
        responder.write_message(b"")
    with pytest.raises(HandshakeError, match="failed"):
        responder.read_message(initiator.write_message(b""))
    with pytest.raises(HandshakeError, match="not finished"):
        responder.split()


def test_a_finished_handshake_takes_no_more_messages():
    """After the last message neither side reads or writes another."""
    initiator, responder, messages = complete("XXhfs")
    with pytest.raises(HandshakeError, match="finished"):
        responder.read_message(messages[0])
    with pytest.raises(HandshakeError, match="finished"):
        initiator.write_message(b"")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_truncation_is_refused(pattern):
    """No message cut at any place is taken for a whole one, apart from the open payload of the first."""
    for number in range(len(PATTERNS[pattern])):
        size = len(complete(pattern)[2][number])
        for keep in sorted({0, 1, 31, 32, 33, 47, 48, 1215, 1216, size // 2, size - 8, size - 1}):
            if keep >= size or (number == 0 and pattern.startswith("XX") and keep >= size - len(b"payload")):
                continue
            writer, reader = sides(pattern)
            for _ in range(number):
                reader.read_message(writer.write_message(b"payload"))
                writer, reader = reader, writer
            with pytest.raises(HandshakeError):
                reader.read_message(writer.write_message(b"payload")[:keep])


def test_messages_have_the_size_limit_of_noise():
    """65,535 bytes pass; one more is refused before any work, in both directions."""
    room = symmetric.MAX_MESSAGE_BYTES - 32
    initiator, responder = sides("XX")
    message = initiator.write_message(bytes(room))
    assert len(message) == 65535
    assert responder.read_message(message) == bytes(room)
    initiator, responder = sides("XX")
    with pytest.raises(HandshakeError, match="over 65535"):
        initiator.write_message(bytes(room + 1))
    with pytest.raises(HandshakeError, match="over 65535"):
        responder.read_message(message + b"x")


def test_the_last_nonce_is_an_error_and_no_wrap():
    """Counter values up to 2**64 - 2 work; the reserved one is refused in both directions."""
    key = bytes(32)
    sender, receiver = symmetric.CipherState(key), symmetric.CipherState(key)
    sender._counter = receiver._counter = 2**64 - 2
    assert receiver.decrypt(b"", sender.encrypt(b"", b"last")) == b"last"
    with pytest.raises(HandshakeError, match="nonce"):
        sender.encrypt(b"", b"one more")
    with pytest.raises(HandshakeError, match="nonce"):
        receiver.decrypt(b"", bytes(32))


def test_a_bad_message_does_not_move_the_nonce():
    """A message that does not open leaves the counter, so that the true one still opens."""
    key = bytes(32)
    sender, receiver = symmetric.CipherState(key), symmetric.CipherState(key)
    message = sender.encrypt(b"ad", b"text")
    for bad in (b"", message[:-1], message + b"x", bytes(len(message))):
        with pytest.raises(HandshakeError, match="authenticate"):
            receiver.decrypt(b"ad", bad)
    assert receiver.decrypt(b"ad", message) == b"text"


@pytest.mark.parametrize("u", LOW_ORDER)
def test_H8_low_order_points_are_refused(u):
    """Each point whose order divides 8 is refused as an ephemeral key; X25519 itself agrees on which."""
    point = u.to_bytes(32, "little")
    with pytest.raises(ValueError, match="shared key"):
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(point))
    _, responder = sides("XXhfs")
    with pytest.raises(HandshakeError, match="low order"):
        responder.read_message(point + bytes(1184))
    with pytest.raises(HandshakeError, match="low order"):
        DhKeyPair(CLIENT).agree(point)


def test_H8_a_low_order_static_key_is_refused():
    """A low-order point is refused as a static key as well, whether told beforehand or received encrypted."""
    with pytest.raises(HandshakeError, match="low order"):
        NoiseHandshake("IK", initiator=True, static_private=CLIENT, remote_static=bytes(32))
    initiator, responder = sides("XX")
    responder._static.__dict__["public"] = bytes(32)
    responder.read_message(initiator.write_message(b""))
    with pytest.raises(HandshakeError, match="low order"):
        initiator.read_message(responder.write_message(b""))


@pytest.mark.parametrize(
    "u", [PRIME, PRIME + 1, PRIME + 9, 2**255 - 1, 2**255, 2**255 + 9, 2**256 - 1], ids=lambda u: f"{u:x}"[:6]
)
def test_H9_non_canonical_points_are_refused(u):
    """A coordinate of p or more, or with the top bit set, is refused; a canonical one passes."""
    with pytest.raises(HandshakeError, match="canonical"):
        check_point(u.to_bytes(32, "little"))
    _, responder = sides("XXhfs")
    with pytest.raises(HandshakeError, match="canonical"):
        responder.read_message(u.to_bytes(32, "little") + bytes(1184))
    check_point((9).to_bytes(32, "little"))


def test_a_malformed_kem_key_is_refused():
    """An encapsulation key with coefficients over the modulus is refused when it would be used."""
    initiator, responder = sides("XXhfs")
    message = initiator.write_message(b"")
    responder.read_message(message[:32] + b"\xff" * 1184)
    with pytest.raises(HandshakeError, match="encapsulation key"):
        responder.write_message(b"")


def test_remote_static_is_given_exactly_where_the_pattern_needs_it():
    """IK's initiator must know the responder's key, and XX must not be told one."""
    with pytest.raises(HandshakeError, match="needs"):
        NoiseHandshake("IK", initiator=True, static_private=CLIENT)
    with pytest.raises(HandshakeError, match="learns"):
        NoiseHandshake("XX", initiator=True, static_private=CLIENT, remote_static=DhKeyPair(SERVER).public)
    with pytest.raises(HandshakeError, match="32 bytes"):
        NoiseHandshake("XX", initiator=True, static_private=b"short")
