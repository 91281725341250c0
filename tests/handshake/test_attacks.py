"""The handshake part of the attack catalogue: each attack fails, and the same exchange without it passes."""

from __future__ import annotations

import os

import pytest

from ztsession.errors import EvidenceError, HandshakeError
from ztsession.handshake import AwaitingOffer, AwaitingProof, binding, start_initiator, start_responder
from ztsession.handshake import keys as handshake_keys
from ztsession.handshake.keys import DhKeyPair, KemKeyPair, encapsulate
from ztsession.handshake.noise import NoiseHandshake, protocol_name
from ztsession.handshake.states import PROLOGUE
from ztsession.handshake.symmetric import SymmetricState
from ztsession.wire.signature import public_key, sign, verify

CLIENT, SERVER, MALLORY = bytes(range(1, 33)), bytes(range(101, 133)), bytes(range(201, 233))
ALICE_SEED = b"a" * 32


def exchange(client: bytes = CLIENT, server: bytes = SERVER) -> tuple[AwaitingOffer, AwaitingProof, bytes]:
    message1, awaiting_offer = start_initiator(client, b"hello")
    message2, awaiting_proof = start_responder(server, message1).write(b"offer")
    return awaiting_offer, awaiting_proof, message2


def finish(awaiting_offer: AwaitingOffer, awaiting_proof: AwaitingProof, message2: bytes) -> bool:
    message3, ours = awaiting_offer.read(message2).write(b"proof")
    payload, theirs = awaiting_proof.read(message3)
    return payload == b"proof" and ours.session_secret == theirs.session_secret


def test_H1_evidence_from_another_handshake_does_not_hold():
    """Evidence that a false Authority collected is bound to that handshake and fails at the true one."""
    to_mallory, mallory, offer = exchange(server=MALLORY)
    offered = to_mallory.read(offer)
    to_server, server, offer = exchange(client=MALLORY)
    relayed = to_server.read(offer)
    signed = sign(ALICE_SEED, binding("identity", offered.handshake_hash, DhKeyPair(CLIENT).public))
    verify(
        public_key(ALICE_SEED),
        binding("identity", mallory.handshake_hash, DhKeyPair(CLIENT).public),
        signed,
    )
    message3, _ = relayed.write(signed)
    payload, channel = server.read(message3)
    with pytest.raises(EvidenceError):
        verify(
            public_key(ALICE_SEED),
            binding("identity", server.handshake_hash, channel.remote_static),
            payload,
        )


def test_H2_evidence_is_bound_to_the_key_that_gets_the_session():
    """In one and the same handshake, evidence for another static key or of another kind does not hold."""
    _, server, _ = exchange()
    h, alice = server.handshake_hash, DhKeyPair(CLIENT).public
    signed = sign(ALICE_SEED, binding("identity", h, alice))
    verify(public_key(ALICE_SEED), binding("identity", h, alice), signed)
    for other in (binding("identity", h, DhKeyPair(MALLORY).public), binding("posture", h, alice)):
        with pytest.raises(EvidenceError):
            verify(public_key(ALICE_SEED), other, signed)


def test_H3_a_replayed_message_1_yields_nothing():
    """A replayed message 1 gets another message 2, and the recorded message 3 does not answer that one."""
    message1, client = start_initiator(CLIENT, b"hello")
    message2, server = start_responder(SERVER, message1).write(b"offer")
    replay2, replayed = start_responder(SERVER, message1).write(b"offer")
    assert replay2[:32] != message2[:32]
    message3, ours = client.read(message2).write(b"proof")
    with pytest.raises(HandshakeError, match="authenticate"):
        replayed.read(message3)
    _, theirs = server.read(message3)
    assert ours.session_secret == theirs.session_secret


def test_H4_a_replay_after_the_responder_restarts_yields_nothing():
    """A recorded exchange played at a restarted responder with the same key fails at message 3."""
    message1, client = start_initiator(CLIENT, b"hello")
    message2, server = start_responder(SERVER, message1).write(b"offer")
    message3, _ = client.read(message2).write(b"proof")
    server.read(message3)
    # The static key is all that survives a restart.
    restarted = start_responder(SERVER, message1)
    _, awaiting = restarted.write(b"offer")
    with pytest.raises(HandshakeError, match="authenticate"):
        awaiting.read(message3)
    assert finish(*exchange())


def test_H5_reflected_messages_are_refused():
    """A peer's own message sent back to it, as any later message, is refused."""
    message1, client = start_initiator(CLIENT, b"x" * 4000)
    with pytest.raises(HandshakeError, match="reflection"):
        client.read(message1)
    client, server, message2 = exchange()
    with pytest.raises(HandshakeError):
        server.read(message2)
    client.read(message2)


def test_H5_talking_to_oneself_is_refused():
    """A party that is led in a circle to its own static key refuses on both ends."""
    client, server, message2 = exchange(client=SERVER, server=SERVER)
    with pytest.raises(HandshakeError, match="our own static key"):
        client.read(message2)
    plain = NoiseHandshake("XXhfs", initiator=True, static_private=SERVER, prologue=PROLOGUE)
    message2, server = start_responder(SERVER, plain.write_message(b"")).write(b"")
    plain.read_message(message2)
    with pytest.raises(HandshakeError, match="our own static key"):
        server.read(plain.write_message(b""))


@pytest.mark.parametrize("prologue", [b"ztsession v0 handshake", b"ztsession v2 handshake", b""])
def test_H6_another_version_is_not_understood(prologue):
    """A peer that speaks another version fails at message 2, with nothing negotiated."""
    other = NoiseHandshake("XXhfs", initiator=False, static_private=SERVER, prologue=prologue)
    message1, client = start_initiator(CLIENT, b"")
    other.read_message(message1)
    with pytest.raises(HandshakeError, match="authenticate"):
        client.read(other.write_message(b""))
    same = NoiseHandshake("XXhfs", initiator=False, static_private=SERVER, prologue=PROLOGUE)
    message1, client = start_initiator(CLIENT, b"")
    same.read_message(message1)
    assert client.read(same.write_message(b"offer")).payload == b"offer"


def test_H7_a_plain_XX_peer_is_refused_in_both_roles():
    """A peer without the hybrid does not get past its first answer, whichever side it is on."""
    plain = NoiseHandshake("XX", initiator=False, static_private=SERVER, prologue=PROLOGUE)
    message1, client = start_initiator(CLIENT, b"")
    plain.read_message(message1)
    with pytest.raises(HandshakeError):
        client.read(plain.write_message(b"x" * 2000))
    plain = NoiseHandshake("XX", initiator=True, static_private=CLIENT, prologue=PROLOGUE)
    # Long enough that the payload is taken for e1.
    received = start_responder(SERVER, plain.write_message(b"\0" * 2000))
    message2, _ = received.write(b"")
    with pytest.raises(HandshakeError):
        plain.read_message(message2)
    plain = NoiseHandshake("XX", initiator=True, static_private=CLIENT, prologue=PROLOGUE)
    short = plain.write_message(b"")
    with pytest.raises(HandshakeError, match="cut short"):
        start_responder(SERVER, short)


def test_H7_stripping_or_exchanging_the_kem_fails():
    """Cutting e1 out, putting another e1 in, or cutting ekem1 out, each ends the handshake."""
    message1, client = start_initiator(CLIENT, b"hello")
    with pytest.raises(HandshakeError, match="cut short"):
        start_responder(SERVER, message1[:32] + message1[32 + 1184 :])
    exchanged = message1[:32] + KemKeyPair().public + message1[32 + 1184 :]
    message2, _ = start_responder(SERVER, exchanged).write(b"")
    with pytest.raises(HandshakeError, match="authenticate"):
        client.read(message2)
    client, _, message2 = exchange()
    with pytest.raises(HandshakeError):
        client.read(message2[:32] + message2[32 + 1088 + 16 :])


def hostile_answer(message1: bytes, *, honest: bool) -> bytes:
    """Write message 2 by hand as a responder that answers with a KEM ciphertext of its choice."""
    state = SymmetricState(protocol_name("XXhfs"))
    state.mix_hash(PROLOGUE)
    remote, kem = message1[:32], message1[32 : 32 + 1184]
    for part in (remote, kem, message1[32 + 1184 :]):
        state.mix_hash(part)
    ephemeral, static = DhKeyPair.generate(), DhKeyPair(SERVER)
    state.mix_hash(ephemeral.public)
    state.mix_key(ephemeral.agree(remote))
    ciphertext, secret = encapsulate(kem)
    if not honest:
        ciphertext = ciphertext[:-1] + bytes([ciphertext[-1] ^ 1])
    sent = state.encrypt_and_hash(ciphertext)
    state.mix_key(secret)
    sent_static = state.encrypt_and_hash(static.public)
    state.mix_key(static.agree(remote))
    return ephemeral.public + sent + sent_static + state.encrypt_and_hash(b"offer")


def test_H10_a_tampered_kem_ciphertext_is_refused():
    """A wrong ciphertext fails even when properly encrypted; by the same hand, the right one passes."""
    message1, client = start_initiator(CLIENT, b"hello")
    assert client.read(hostile_answer(message1, honest=True)).payload == b"offer"
    message1, client = start_initiator(CLIENT, b"hello")
    with pytest.raises(HandshakeError, match="authenticate"):
        client.read(hostile_answer(message1, honest=False))


def flipped(message: bytes, position: int) -> bytes:
    return message[:position] + bytes([message[position] ^ 1 << position % 8]) + message[position + 1 :]


def test_H15_message_1_with_any_byte_changed_fails():
    """Whatever byte of message 1 is changed on its way, the client refuses the answer to it."""
    size = len(start_initiator(CLIENT, b"hello")[0])
    for position in range(size):
        message1, client = start_initiator(CLIENT, b"hello")
        with pytest.raises(HandshakeError):
            client.read(start_responder(SERVER, flipped(message1, position)).write(b"offer")[0])


def test_H15_message_2_with_any_byte_changed_fails():
    """Whatever byte of message 2 is changed on its way, the client refuses it."""
    message1, client = start_initiator(CLIENT, b"hello")
    size = len(start_responder(SERVER, message1).write(b"offer")[0])
    for position in range(size):
        client, _, message2 = exchange()
        with pytest.raises(HandshakeError):
            client.read(flipped(message2, position))


def test_H15_message_3_and_the_channel_with_any_byte_changed_fail():
    """Whatever byte of message 3 or of a channel message is changed on its way, the Authority refuses it."""
    client, _, message2 = exchange()
    size = len(client.read(message2).write(b"proof")[0])
    for position in range(size):
        client, server, message2 = exchange()
        message3, _ = client.read(message2).write(b"proof")
        with pytest.raises(HandshakeError):
            server.read(flipped(message3, position))
    client, server, message2 = exchange()
    message3, ours = client.read(message2).write(b"proof")
    _, theirs = server.read(message3)
    sealed = ours.seal(b"renew")
    for position in range(len(sealed)):
        with pytest.raises(HandshakeError):
            theirs.open(flipped(sealed, position))
    assert theirs.open(sealed) == b"renew"


def test_H16_with_the_clients_key_nobody_can_play_another_server():
    """A thief of the client's static key, without the server's, cannot answer as that server."""
    message1, client = start_initiator(CLIENT, b"hello")
    thief = NoiseHandshake("XXhfs", initiator=False, static_private=CLIENT, prologue=PROLOGUE)
    thief.read_message(message1)
    # It can claim the server's public key, but not agree with it.
    thief._static.__dict__["public"] = DhKeyPair(SERVER).public
    with pytest.raises(HandshakeError, match="authenticate"):
        client.read(thief.write_message(b"offer"))
    client, _, message2 = exchange()
    assert client.read(message2).remote_static == DhKeyPair(SERVER).public


STUCK = bytes(range(64))


def no_entropy(_size: int) -> bytes:
    raise OSError("no entropy")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (no_entropy, "failed"),
        (lambda size: STUCK[: size - 1], "too few"),
        (lambda _size: b"", "too few"),
        (bytes, "constant"),
    ],
    ids=["error", "short", "empty", "constant"],
)
def test_H17_a_failing_random_source_stops_the_handshake(monkeypatch, source, expected):
    """Neither side sends anything when the random source fails, and the failed step is not tried again."""
    message1, _ = start_initiator(CLIENT, b"")
    responder = start_responder(SERVER, message1)
    with monkeypatch.context() as patch:
        patch.setattr(handshake_keys.os, "urandom", source)
        with pytest.raises(HandshakeError, match=expected):
            start_initiator(CLIENT, b"")
        with pytest.raises(HandshakeError, match=expected):
            responder.write(b"")
    with pytest.raises(HandshakeError, match="used already"):
        responder.write(b"")
    assert finish(*exchange())


def test_H17_a_random_source_that_repeats_itself_is_refused(monkeypatch):
    """The same answer twice in a row is taken for a source that is stuck; the first of them was plausible."""
    with monkeypatch.context() as patch:
        patch.setattr(handshake_keys.os, "urandom", lambda size: STUCK[:size])
        assert handshake_keys.draw_random(32) == STUCK[:32]
        with pytest.raises(HandshakeError, match="twice"):
            start_initiator(CLIENT, b"")
    assert finish(*exchange())


def test_H17_no_ephemeral_key_is_used_twice():
    """A hundred handshakes of both roles use two hundred different ephemeral and a hundred KEM keys."""
    seen, kem = set(), set()
    for _ in range(100):
        message1, _ = start_initiator(CLIENT, b"")
        message2, _ = start_responder(SERVER, message1).write(b"")
        seen |= {message1[:32], message2[:32]}
        kem.add(message1[32 : 32 + 1184])
    assert (len(seen), len(kem)) == (200, 100)


def test_H22_another_channel_binding_is_refused():
    """A handshake relayed from one connection onto another fails at message 2; on its own it passes."""
    for theirs, passes in [(b"tls-1", True), (b"tls-2", False), (b"", False)]:
        message1, client = start_initiator(CLIENT, b"", channel_binding=b"tls-1")
        message2, _ = start_responder(SERVER, message1, channel_binding=theirs).write(b"")
        if passes:
            client.read(message2)
        else:
            with pytest.raises(HandshakeError, match="authenticate"):
                client.read(message2)


def test_H1_the_binding_is_the_written_digest():
    """The binding covers its kind, the hash after message 2 and the client's key, and has 32 bytes."""
    h, key = os.urandom(32), os.urandom(32)
    kinds = {binding(kind, h, key) for kind in ("identity", "posture", "mfa")}
    assert len(kinds) == 3
    assert all(len(each) == 32 for each in kinds)
    assert binding("identity", key, h) not in kinds
