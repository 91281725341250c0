"""The library takes what tests/vectors/protocol.json decides: evidence, grants, tickets, tokens, changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from vector_reading import Vector, octets

from ztsession.bus.change import Change
from ztsession.bus.feed import FeedRequest, read_answer
from ztsession.client.installed import InstalledSession
from ztsession.errors import BadTag, EvidenceError, InstallationError, WireError
from ztsession.handshake.binding import binding, continued
from ztsession.handshake.messages import Supplement
from ztsession.identity import certificate
from ztsession.identity.ed25519 import Ed25519Verifier
from ztsession.identity.subjects import FileSubjects
from ztsession.mfa.totp import TotpEvidence, matched_step
from ztsession.policy.grant import Grant
from ztsession.posture.appraisal import PostureAppraiser
from ztsession.tickets.installation import InstallAnswer, InstallRequest
from ztsession.tickets.secrets import continued_secret, segment_secret
from ztsession.tickets.segment_key import SegmentKey
from ztsession.tickets.ticket import open_ticket
from ztsession.wire.signature import public_key
from ztsession.wire.text import token_from_text

# ---- Evidence


def test_the_certificate_holds(vectors: Vector) -> None:
    """The pinned root's certificate is over the Authority's key, in its time and for no other root."""
    vector, keys = vectors["certificate"], vectors["keys"]
    [encoded] = octets(vector, "certificate")
    root, static, other = octets(keys, "root_public", "authority_static_public", "signing_public")
    said = certificate.verify(encoded, root, static, keys["now"])
    assert (said.name, said.not_before, said.not_after) == (
        vector["name"],
        vector["not_before"],
        vector["not_after"],
    )
    for wrong in ((other, static, keys["now"]), (root, other, keys["now"]), (root, static, said.not_after)):
        with pytest.raises(EvidenceError):
            certificate.verify(encoded, *wrong)


def test_the_evidence_holds_for_its_binding(vectors: Vector, tmp_path: Path) -> None:
    """Identity and posture are taken for their bindings, and for no other's."""
    vector, keys = vectors["evidence"], vectors["keys"]
    h, identity, posture, nonce = octets(vector, "h", "identity_ed25519", "posture", "posture_nonce")
    [client] = octets(keys, "client_static_public")
    bound = {kind: binding(kind, h, client) for kind in ("identity", "posture", "mfa")}
    assert {f"{kind}_binding": each.hex() for kind, each in bound.items()}.items() <= vector.items()
    (tmp_path / "subjects.toml").write_text(
        f'[subjects.{keys["subject"]}]\nkind = "human"\npublic_key = "{keys["subject_public"]}"\n'
    )
    verifier = Ed25519Verifier(FileSubjects(tmp_path / "subjects.toml"))
    assert verifier.verify(identity, bound["identity"]).subject == keys["subject"]
    appraiser = PostureAppraiser(device_file(tmp_path, keys))
    shown = appraiser.appraise(posture, bound["posture"], nonce, now=keys["now"])
    assert (shown.device, dict(shown.measurements)) == (keys["device"], vector["posture_measurements"])
    with pytest.raises(EvidenceError):
        verifier.verify(identity, bound["posture"])
    with pytest.raises(EvidenceError):
        appraiser.appraise(posture, bound["identity"], nonce, now=keys["now"])


def device_file(directory: Path, keys: Vector) -> Path:
    public = public_key(bytes.fromhex(keys["device_seed"])).hex()
    (directory / "devices.toml").write_text(f'[devices.{keys["device"]}]\npublic_key = "{public}"\n')
    return directory / "devices.toml"


def test_the_step_up(vectors: Vector) -> None:
    """The code is the secret's, its binding continues the handshake's hash, and the secret goes on."""
    vector = vectors["step_up"]
    h, nonce, secret = octets(vector, "h", "nonce", "totp_secret")
    [client] = octets(vectors["keys"], "client_static_public")
    assert continued(h, nonce).hex() == vector["continued_h"]
    assert binding("mfa", continued(h, nonce), client).hex() == vector["mfa_binding"]
    [supplement] = octets(vectors["handshake"]["channel"][1], "plaintext")
    code = TotpEvidence.from_bytes(Supplement.from_bytes(supplement).mfa).code
    assert matched_step(code, secret, "sha1-6", vectors["keys"]["now"], 0) == vector["totp_step"]
    before, after = octets(vector, "session_secret_before", "session_secret")
    assert before.hex() == vectors["handshake"]["session_secret"]
    assert continued_secret(before, nonce) == after


# ---- What was granted


def test_grants_and_tickets(vectors: Vector) -> None:
    """The segment opens both tickets, and finds the grants and secrets that the client came to by itself."""
    keys = vectors["keys"]
    segment = SegmentKey("orders", *octets(keys, "segment_ml_kem_seed", "segment_x25519_private"))
    assert segment.public.octets.hex() == keys["segment_public"]
    signing, root = octets(keys, "signing_public", "root_public")
    for vector, sealed in (
        (vectors["grant"], vectors["ticket"]),
        (vectors["renewed"]["grant"], vectors["renewed"]["ticket"]),
    ):
        [ticket] = octets(sealed, "ticket")
        grant, body = open_ticket(ticket, [segment], [signing], keys["now"])
        assert (body.to_bytes().hex(), body.ends_at) == (sealed["body"], sealed["ends_at"])
        assert grant == Grant.from_bytes(bytes.fromhex(vector["grant"]))
        assert (grant.digest().hex(), grant.profile_digest().hex()) == (vector["digest"], vector["profile"])
        [secret] = octets(vector, "session_secret")
        assert segment_secret(secret, grant.digest()) == body.secret
        with pytest.raises(InstallationError):
            open_ticket(ticket, [segment], [root], keys["now"])
    assert vectors["grant"]["session_secret"] == vectors["step_up"]["session_secret"]
    assert vectors["renewed"]["grant"]["session_secret"] == vectors["renewal"]["session_secret"]


def test_the_installation(vectors: Vector) -> None:
    """Request and answer hold under the segment secret, and under no other."""
    vector = vectors["installation"]
    [secret] = octets(vector, "segment_secret")
    assert vector["segment_secret"] == vectors["grant"]["segment_secret"]
    request = InstallRequest.from_bytes(bytes.fromhex(vector["request"]))
    answer = InstallAnswer.from_bytes(bytes.fromhex(vector["answer"]))
    request.check(secret)
    answer.check(request, secret)
    assert (f"{answer.handle:016x}", answer.now_us) == (vector["handle"], vector["now_us"])
    for check in (request.check, lambda other: answer.check(request, other)):
        with pytest.raises(InstallationError):
            check(bytes(32))


def test_the_tokens(vectors: Vector) -> None:
    """The core signs exactly the calls and opens exactly the replies, in their order and their epochs."""
    made = vectors["installation"]
    grant = Grant.from_bytes(bytes.fromhex(vectors["grant"]["grant"]))
    answer = InstallAnswer.from_bytes(bytes.fromhex(made["answer"]))
    [secret] = octets(made, "segment_secret")
    client = InstalledSession(grant, secret, answer, manual_clock_us=0)
    names = {row[0]: name for name, row in grant.operations.items()}
    for vector in vectors["tokens"]:
        body, token = octets(vector, "body", "token")
        client.table.set_manual_clock(vector["issued_at"] - made["now_us"])
        assert token_from_text(vector["text"]) == token
        if vector["flags"]:
            with pytest.raises(BadTag):
                client.open_reply(token, body + b"x")
            view = client.open_reply(token, body)
            assert (view.sequence, view.epoch) == (vector["sequence"], vector["epoch"])
        else:
            assert client.sign(names[vector["operation"]], body) == token
    assert len({vector["epoch"] for vector in vectors["tokens"]}) == 3


# ---- Feed


def test_the_feed(vectors: Vector) -> None:
    """The answer is the Authority's to this very question, and its changes are those of the file."""
    vector = vectors["feed"]
    request = FeedRequest.from_bytes(bytes.fromhex(vector["request"]))
    [answer] = octets(vector, "answer")
    signing, root = octets(vectors["keys"], "signing_public", "root_public")
    news = read_answer(answer, request, [signing])
    told = [change.to_bytes().hex() for change in news.changes]
    assert (news.after, news.complete) == (vector["after"], True)
    assert told == [change["change"] for change in vectors["changes"][1:7]]
    for keys, asked in (([root], request), ([signing], FeedRequest("orders", bytes(32), 1))):
        with pytest.raises(WireError):
            read_answer(answer, asked, keys)


def test_the_changes(vectors: Vector) -> None:
    """Each kind of change reads as the fields beside it, and is written as it was."""
    for vector in vectors["changes"]:
        change = Change.from_bytes(bytes.fromhex(vector["change"]))
        for name in ("number", "what", "mode", "allowed", "sent_at", "step_up"):
            assert getattr(change, name) == vector[name]
        for name in ("session", "profile", "key"):
            assert getattr(change, name).hex() == vector[name]
        assert change.to_bytes().hex() == vector["change"]
