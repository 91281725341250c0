"""The interpreter agrees with the published vectors, message by message, in both roles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ztsession.errors import HandshakeError
from ztsession.handshake.noise import NoiseHandshake

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "noise-25519-chachapoly-sha256.json"
PATTERNS = ("XX", "IK")


def load(pattern: str) -> dict:
    if not VECTORS.exists():
        pytest.skip("the published Noise vectors are not beside this checkout")
    name = f"Noise_{pattern}_25519_ChaChaPoly_SHA256"
    (vector,) = [v for v in json.loads(VECTORS.read_text())["vectors"] if v["protocol_name"] == name]
    return vector


def side(vector: dict, pattern: str, role: str) -> NoiseHandshake:
    remote = vector.get(f"{role}_remote_static")
    return NoiseHandshake(
        pattern,
        initiator=role == "init",
        static_private=bytes.fromhex(vector[f"{role}_static"]),
        prologue=bytes.fromhex(vector[f"{role}_prologue"]),
        remote_static=None if remote is None else bytes.fromhex(remote),
        ephemeral_private_for_testing_only=bytes.fromhex(vector[f"{role}_ephemeral"]),
    )


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("role", ["init", "resp"])
def test_each_role_speaks_the_vector(pattern, role):
    """One side alone writes exactly the vector's bytes and reads the other side's, transport included."""
    vector = load(pattern)
    ours = side(vector, pattern, role)
    send = receive = None
    transported = 0
    for number, message in enumerate(vector["messages"]):
        payload, ciphertext = bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"])
        writing = (number % 2 == 0) == (role == "init")
        if ours.finished and send is None:
            send, receive = ours.split()
        if send is None:
            done = ours.write_message(payload) if writing else ours.read_message(ciphertext)
        else:
            done = send.encrypt(b"", payload) if writing else receive.decrypt(b"", ciphertext)
        transported += send is not None
        assert done == (ciphertext if writing else payload)
    assert transported == 2


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_changed_vector_is_refused(pattern):
    """The vector's second message with its last byte changed does not open."""
    vector = load(pattern)
    initiator = side(vector, pattern, "init")
    initiator.write_message(bytes.fromhex(vector["messages"][0]["payload"]))
    message = bytearray.fromhex(vector["messages"][1]["ciphertext"])
    message[-1] ^= 1
    with pytest.raises(HandshakeError, match="authenticate"):
        initiator.read_message(bytes(message))
