"""The library makes and takes exactly what tests/vectors/protocol.json says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from vector_fixed import FixedKem
from vector_reading import Vector, octets, valued

from ztsession.errors import HandshakeError, WireError
from ztsession.handshake import noise
from ztsession.handshake.binding import binding, continued
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
    demanded_cookie,
)
from ztsession.handshake.noise import NoiseHandshake, protocol_name
from ztsession.handshake.refusal import Refusal
from ztsession.handshake.renewal import RENEWAL_PROLOGUE, static_key_id
from ztsession.handshake.states import PROLOGUE
from ztsession.wire import canonical
from ztsession.wire.digest import digest
from ztsession.wire.framing import FrameReader, frame

HERE = Path(__file__).resolve().parent
FILE = HERE / "protocol.json"


# ---- The file


def test_the_generator_writes_the_file_that_is_kept(tmp_path: Path) -> None:
    """Run again, in a process of its own, it writes the same bytes: nothing in them is left to chance."""
    again = tmp_path / "protocol.json"
    command = [sys.executable, "-m", "tests.vectors.generate", "--to", str(again)]
    done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert again.read_bytes() == FILE.read_bytes()


def test_the_readme_explains_each_section(vectors: Vector) -> None:
    """Each name at the top of the file has a line in the README, and no other has."""
    lines = (HERE / "README.md").read_text().splitlines()
    explained = [line.split("`")[1] for line in lines if line.startswith("| `")]
    assert explained == [name for name in vectors if name != "about"]


# ---- Encodings


def test_canonical_cases(vectors: Vector) -> None:
    """Each value has its encoding and back; each refused encoding is one of nothing."""
    cases = vectors["canonical"]
    for case in cases["accepted"]:
        value, encoded = valued(case["value"]), bytes.fromhex(case["encoded"])
        assert canonical.encode(value) == encoded
        assert canonical.decode(encoded, max_bytes=4096) == value
    for case in cases["refused"]:
        with pytest.raises(WireError):
            print(case["why"], canonical.decode(bytes.fromhex(case["encoded"]), max_bytes=4096))


def test_digests_and_frames(vectors: Vector) -> None:
    """Labelled digests and frames are the library's."""
    for case in vectors["digests"]:
        assert digest(case["label"], *map(bytes.fromhex, case["parts"])).hex() == case["digest"]
    for case in vectors["frames"]:
        message, framed = octets(case, "message", "frame")
        assert frame(message) == framed
        assert FrameReader().feed(framed) == [message]


def test_what_is_said_before_there_is_a_channel(vectors: Vector) -> None:
    """A demand gives its cookie, which the hello says again; a refusal gives its reason."""
    vector = vectors["cookie"]
    cookie, demand, hello, refusal = octets(vector, "cookie", "demand", "hello", "refusal")
    assert demanded_cookie(demand) == Hello.from_bytes(hello).cookie == cookie
    assert Refusal.from_bytes(refusal).reason == vector["reason"]


# ---- Handshake and renewal

PATTERNS = [("handshake", "XXhfs", PROLOGUE), ("renewal", "IKhfs", RENEWAL_PROLOGUE)]


def side(vector: Vector, pattern: str, role: str) -> NoiseHandshake:
    static, ephemeral, other = octets(
        vector, f"{role}_static_private", f"{role}_ephemeral_private", "authority_static_private"
    )
    known = DhKeyPair(other).public if (pattern, role) == ("IKhfs", "client") else None
    return NoiseHandshake(
        pattern,
        initiator=role == "client",
        static_private=static,
        prologue=bytes.fromhex(vector["prologue"]),
        remote_static=known,
        ephemeral_private_for_testing_only=ephemeral,
    )


@pytest.mark.parametrize(("name", "pattern", "prologue"), PATTERNS)
@pytest.mark.parametrize("role", ["client", "authority"])
def test_each_side_speaks_the_handshake(
    vectors: Vector, name: str, pattern: str, prologue: bytes, role: str
) -> None:
    """One side alone writes exactly its messages, reads the other's, and comes to the same hashes, secret and
    channel.
    """
    vector = vectors[name]
    assert (vector["prologue"], vector["protocol"]) == (prologue.hex(), protocol_name(pattern).decode())
    pair = FixedKem(bytes.fromhex(vector["client_kem_seed"]))
    ciphertext = bytes.fromhex(vectors["recorded"][f"{name} KEM"])
    encapsulated = (ciphertext, pair.decapsulate(ciphertext))
    with (
        patch.object(noise, "KemKeyPair", lambda: pair),
        patch.object(noise, "encapsulate", lambda public: encapsulated),
    ):
        ours = side(vector, pattern, role)
        assert ours.handshake_hash.hex() == vector["initial_h"]
        for said in vector["messages"]:
            payload, message = octets(said, "payload", "message")
            if said["from"] == role:
                assert ours.write_message(payload) == message
            else:
                assert ours.read_message(message) == payload
            assert ours.handshake_hash.hex() == said["steps"][-1]["h"]
    check_channel(Channel(ours), vector, role)


def check_channel(channel: Channel, vector: Vector, role: str) -> None:
    assert channel.handshake_hash.hex() == vector["h"]
    assert channel.session_secret.hex() == vector["session_secret"]
    for said in vector["channel"]:
        plaintext, message = octets(said, "plaintext", "message")
        if said["from"] == role:
            assert channel.seal(plaintext) == message
        else:
            with pytest.raises(HandshakeError):
                channel.open(message[:-1] + bytes([message[-1] ^ 1]))
            assert channel.open(message) == plaintext


def test_what_is_said_in_the_handshake(vectors: Vector) -> None:
    """The payloads are the messages of the page, in their order."""
    said = vectors["handshake"]["messages"] + vectors["handshake"]["channel"]
    payloads = [bytes.fromhex(each.get("payload") or each["plaintext"]) for each in said]
    for kind, payload in zip((Hello, Offer, Proof, Outcome, Supplement, Outcome), payloads, strict=True):
        assert kind.from_bytes(payload).to_bytes() == payload
    proof, evidence = Proof.from_bytes(payloads[2]), vectors["evidence"]
    assert [proof.identity, proof.posture] == octets(evidence, "identity_ed25519", "posture")
    assert Outcome.from_bytes(payloads[3]).status == "step-up"
    granted = Outcome.from_bytes(payloads[5])
    assert granted.grants == octets(vectors["grant"], "grant")
    assert granted.tickets == octets(vectors["ticket"], "ticket")


def test_what_is_said_in_the_renewal(vectors: Vector) -> None:
    """Request, answer and what is in them belong together, and to the session that is renewed."""
    vector = vectors["renewal"]
    request = RenewalRequest.from_bytes(bytes.fromhex(vector["request"]))
    answer = RenewalAnswer.from_bytes(bytes.fromhex(vector["answer"]))
    first, second = (bytes.fromhex(said["message"]) for said in vector["messages"])
    [static] = octets(vectors["keys"], "authority_static_public")
    assert (request.noise, answer.noise, request.key_id) == (first, second, static_key_id(static))
    assert answer.outcome.hex() == vector["channel"][0]["message"]
    renewal = Renewal.from_bytes(bytes.fromhex(vector["messages"][0]["payload"]))
    old = Outcome.from_bytes(bytes.fromhex(vectors["handshake"]["channel"][2]["plaintext"]))
    assert renewal.session == old.session
    h = continued(bytes.fromhex(vectors["step_up"]["h"]), old.nonce)
    assert h.hex() == vector["continued_h"]
    [client] = octets(vectors["keys"], "client_static_public")
    assert binding("posture", h, client).hex() == vector["posture_binding"]
