"""A client written without the library comes to everything in tests/vectors/protocol.json by itself."""

from __future__ import annotations

import base64
import hashlib
import hmac

import other_client as path
import pytest
from other_calls import Installed
from other_noise import BrokenError, Initiator, public_of
from other_session import Who, check_certificate, check_grant, continued, totp
from other_wire import MalformedError, decode, encode, frame, message, read, signed_body, verified
from vector_reading import Vector, octets, valued


@pytest.fixture(scope="module")
def who(vectors: Vector) -> Who:
    keys = vectors["keys"]
    names = ("subject_seed", "client_static_private", "device_seed", "root_public")
    seed, static, device_seed, root = octets(keys, *names)
    measured = vectors["evidence"]["posture_measurements"]
    return Who(keys["subject"], seed, static, keys["device"], device_seed, root, measured)


# ---- Encodings


def test_canonical_cases(vectors: Vector) -> None:
    """Each value has its encoding and back; each refused encoding is one of nothing."""
    cases = vectors["canonical"]
    for case in cases["accepted"]:
        assert encode(valued(case["value"])).hex() == case["encoded"]
        assert decode(bytes.fromhex(case["encoded"])) == valued(case["value"])
    for case in cases["refused"]:
        with pytest.raises(MalformedError):
            print(case["why"], decode(bytes.fromhex(case["encoded"])))


def test_digests_and_frames(vectors: Vector) -> None:
    """Labelled digests and frames are the page's."""
    for case in vectors["digests"]:
        parts = map(bytes.fromhex, case["parts"])
        assert path.labelled_digest(case["label"], *parts).hex() == case["digest"]
    for case in vectors["frames"]:
        assert frame(bytes.fromhex(case["message"])).hex() == case["frame"]


def test_what_is_said_before_there_is_a_channel(vectors: Vector) -> None:
    """Demand and refusal are read, and the hello that answers is written."""
    vector = vectors["cookie"]
    cookie, demand, hello, refusal = octets(vector, "cookie", "demand", "hello", "refusal")
    assert read("cookie-demand", demand) == {"cookie": cookie}
    assert read("refusal", refusal) == {"reason": vector["reason"]}
    said = decode(hello)
    assert message("hello", scopes=said["scopes"], supersedes=said["supersedes"], cookie=cookie) == hello


# ---- Handshake and renewal


def begun(vector: Vector, authority: bytes | None) -> Initiator:
    private, ephemeral, seed = octets(
        vector, "client_static_private", "client_ephemeral_private", "client_kem_seed"
    )
    noise = Initiator(private, authority=authority, ephemeral=ephemeral, kem_seed=seed)
    assert noise.h.hex() == vector["initial_h"]
    return noise


def check_steps(noise: Initiator, said: Vector) -> None:
    """Hash, chaining key and key after each token of the message that was just made or read."""
    ours, noise.trace = noise.trace, []
    named = [
        {name: value.hex() if isinstance(value, bytes) else value for name, value in step.items()}
        for step in ours
    ]
    assert named == said["steps"]


def check_channel(noise: Initiator, vector: Vector) -> None:
    channel = noise.channel()
    assert channel.session_secret.hex() == vector["session_secret"]
    assert (channel.h.hex(), channel.sending.key.hex()) == (vector["h"], vector["client_key"])
    assert channel.receiving.key.hex() == vector["authority_key"]
    for said in vector["channel"]:
        plaintext, sealed = octets(said, "plaintext", "message")
        if said["from"] == "client":
            assert channel.sending.seal(plaintext) == sealed
        else:
            with pytest.raises(BrokenError):
                channel.receiving.open(sealed[:-1] + bytes([sealed[-1] ^ 1]))
            assert channel.receiving.open(sealed) == plaintext


def test_the_handshake(vectors: Vector, who: Who) -> None:
    """The client's messages come out byte by byte, evidence included, and so does every step in between."""
    vector, keys = vectors["handshake"], vectors["keys"]
    first, second, third = vector["messages"]
    noise = begun(vector, None)
    hello = message("hello", scopes=["orders.*"], supersedes=b"", cookie=b"")
    assert [hello, noise.xx_first(hello)] == octets(first, "payload", "message")
    check_steps(noise, first)
    offer = read("offer", noise.xx_second(bytes.fromhex(second["message"])))
    check_steps(noise, second)
    assert check_certificate(offer["certificate"], who.root, noise.remote_static, keys["now"]) > keys["now"]
    h = noise.h
    assert h.hex() == vector["h_for_evidence"]
    posture = who.posture(h, offer["posture_nonce"], keys["now"])
    proof = message("proof", identity=who.identity(h), posture=posture, mfa=b"")
    assert [proof, noise.xx_third(proof)] == octets(third, "payload", "message")
    check_steps(noise, third)
    check_channel(noise, vector)


def test_the_renewal(vectors: Vector, who: Who) -> None:
    """Likewise for a renewal, whose posture evidence is bound to the session that it goes on from."""
    vector, old = vectors["renewal"], vectors["handshake"]
    [static] = octets(vectors["keys"], "authority_static_public")
    outcome = read("outcome", bytes.fromhex(old["channel"][2]["plaintext"]))
    h = continued(bytes.fromhex(old["h_for_evidence"]), outcome["nonce"])
    posture = who.posture(h, outcome["nonce"], vectors["keys"]["now"] + 600)
    payload = message("renewal", session=outcome["session"], scopes=[], posture=posture)
    noise = begun(vector, static)
    first = noise.ik_first(payload)
    check_steps(noise, vector["messages"][0])
    key_id = path.labelled_digest("static key", static)[:8]
    request = message("renewal-request", key_id=key_id, noise=first, cookie=b"")
    assert [key_id, request] == octets(vector, "key_id", "request")
    answer = read("renewal-answer", bytes.fromhex(vector["answer"]))
    assert noise.ik_second(answer["noise"]) == b""
    check_steps(noise, vector["messages"][1])
    assert answer["outcome"].hex() == vector["channel"][0]["message"]
    check_channel(noise, vector)


# ---- Evidence


def test_the_evidence(vectors: Vector, who: Who) -> None:
    """Bindings, signatures and what other kinds of evidence are made over follow from the page."""
    vector, keys = vectors["evidence"], vectors["keys"]
    h, nonce = octets(vector, "h", "posture_nonce")
    assert public_of(who.static).hex() == keys["client_static_public"]
    for kind in ("identity", "posture", "mfa"):
        assert who.binding(kind, h).hex() == vector[f"{kind}_binding"]
    assert who.identity(h).hex() == vector["identity_ed25519"]
    assert who.posture(h, nonce, keys["now"]).hex() == vector["posture"]


def test_what_other_evidence_is_made_over(vectors: Vector) -> None:
    """The digests of certificates, tokens, attestations and quotes follow from the page."""
    vector = vectors["evidence"]["signed_digests"]
    bound, leaf, nonce, statement = octets(vector, "binding", "x509_leaf", "posture_nonce", "tpm_statement")
    token = hashlib.sha256(vector["oidc_token"].encode()).digest()
    events = encode([[pcr, bytes.fromhex(event)] for pcr, event in vector["tpm_events"]])
    made = {
        "x509": path.labelled_digest("x509 identity", bound, leaf),
        "oidc": path.labelled_digest("oidc identity", bound, token),
        "eat": path.labelled_digest("posture eat", bound, nonce),
        "tpm": path.labelled_digest("posture tpm", bound, nonce, statement),
        "tpm_event_log": path.labelled_digest("posture event log", events),
    }
    assert {name: value.hex() for name, value in made.items()}.items() <= vector.items()


def test_the_certificate(vectors: Vector) -> None:
    """It is read as what stands beside it."""
    vector = vectors["certificate"]
    [root] = octets(vectors["keys"], "root_public")
    body = signed_body(bytes.fromhex(vector["certificate"]), root, "authority certificate")
    assert body.hex() == vector["body"]
    said = read("authority-certificate", body)
    assert {name: said[name] for name in ("name", "not_before", "not_after")}.items() <= vector.items()


def test_the_step_up(vectors: Vector, who: Who) -> None:
    """The supplement is made from the secret of the codes, and the session secret goes on."""
    vector = vectors["step_up"]
    h, nonce, before = octets(vector, "h", "nonce", "session_secret_before")
    assert continued(h, nonce).hex() == vector["continued_h"]
    assert who.binding("mfa", continued(h, nonce)).hex() == vector["mfa_binding"]
    assert path.expand(before, "continued", nonce).hex() == vector["session_secret"]
    code = totp(base64.b32encode(bytes.fromhex(vector["totp_secret"])).decode(), vector["totp_step"] * 30)
    said = message("supplement", scopes=[], posture=b"", mfa=message("mfa.totp", code=code))
    assert said.hex() == vectors["handshake"]["channel"][1]["plaintext"]


# ---- What was granted


def test_grants_and_tickets(vectors: Vector) -> None:
    """A client comes to the segment secret from the grant's bytes; a point finds the signature good."""
    [signing, segment] = octets(vectors["keys"], "signing_public", "segment_public")
    for granted, sealed in (
        (vectors["grant"], vectors["ticket"]),
        (vectors["renewed"]["grant"], vectors["renewed"]["ticket"]),
    ):
        encoded, secret = octets(granted, "grant", "session_secret")
        grant = read("grant", encoded)
        check_grant(grant, grant["session"])
        assert hashlib.sha256(encoded).hexdigest() == granted["digest"]
        assert path.segment_secret(secret, encoded).hex() == granted["segment_secret"]
        ticket = read("ticket", bytes.fromhex(sealed["ticket"]))
        name = path.labelled_digest("segment key", segment)
        head = (ticket["segment"].encode(), ticket["key_id"], ticket["not_after"].to_bytes(8, "big"))
        over = path.labelled_digest("ticket", *head, ticket["sealed"])
        assert (name.hex(), name[:8], over.hex()) == (sealed["key_name"], ticket["key_id"], sealed["signed"])
        assert path.labelled_digest("ticket seal", *head).hex() == sealed["info"]
        assert verified(signing, over, ticket["signature"])


def test_the_installation(vectors: Vector) -> None:
    """The request is made and the answer checked."""
    vector = vectors["installation"]
    [secret, nonce] = octets(vector, "segment_secret", "request_nonce")
    [ticket] = octets(vectors["ticket"], "ticket")
    mac = path.install_request_mac(secret, ticket, nonce)
    assert message("install", ticket=ticket, nonce=nonce, mac=mac).hex() == vector["request"]
    said = read("installed", bytes.fromhex(vector["answer"]))
    handle, now_us, epoch_us = int(vector["handle"], 16), vector["now_us"], vector["epoch_length_us"]
    assert (said["handle"], said["now_us"], said["epoch_length_us"]) == (handle, now_us, epoch_us)
    made = path.install_answer_mac(secret, ticket, nonce, said["nonce"], handle, now_us, epoch_us)
    assert hmac.compare_digest(made, said["mac"])


def test_the_key_schedule_and_the_tokens(vectors: Vector) -> None:
    """Each key and each token follows from the segment secret, and a reply is taken once."""
    made = vectors["installation"]
    [secret, nonce] = octets(made, "segment_secret", "nonce")
    handle, first = int(made["handle"], 16), made["now_us"] // made["epoch_length_us"]
    for row in vectors["key_schedule"]:
        key = path.token_key(secret, nonce, row["direction"], handle, row["epoch"] - first)
        assert key.hex() == row["key"]
    said = read("installed", bytes.fromhex(made["answer"]))
    client = Installed(read("grant", bytes.fromhex(vectors["grant"]["grant"])), secret, said)
    for vector in vectors["tokens"]:
        body, token = octets(vector, "body", "token")
        numbers = [vector[name] for name in ("flags", "operation", "epoch")]
        key = path.token_key(secret, nonce, vector["flags"], handle, vector["epoch"] - first)
        again = path.token(key, *numbers, handle, vector["sequence"], vector["issued_at"], body)
        assert again == token
        if vector["flags"]:
            client.check(token, body)
            with pytest.raises(BrokenError):
                client.check(token, body)


# ---- Feed


def test_the_feed_and_its_changes(vectors: Vector) -> None:
    """The question is made, the answer's signature holds, and each change reads as what stands beside it."""
    vector = vectors["feed"]
    [signing, nonce] = octets({**vectors["keys"], **vector}, "signing_public", "nonce")
    asked = {name: vector[name] for name in ("segment", "after", "wait_ms")}
    assert message("feed-request", nonce=nonce, **asked).hex() == vector["request"]
    body = signed_body(bytes.fromhex(vector["answer"]), signing, "feed answer")
    said = read("feed-answer", body)
    assert (said["nonce"], said["after"], said["complete"]) == (nonce, vector["after"], True)
    assert [change.hex() for change in said["changes"]] == [c["change"] for c in vectors["changes"][1:7]]
    for change in vectors["changes"]:
        told = read("change", bytes.fromhex(change["change"]))
        shown = {name: value.hex() if isinstance(value, bytes) else value for name, value in told.items()}
        assert shown.items() <= change.items()
