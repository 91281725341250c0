"""Writes tests/vectors/protocol.json: what docs/protocol.md says, in bytes, with every secret fixed.

    python -m tests.vectors.generate                  write it again: the same, as long as the protocol is
    python -m tests.vectors.generate --to FILE        write it elsewhere
    python -m tests.vectors.generate --fresh          with new outputs of what cannot be made twice

The library makes them. That they are right is shown by a client that was written without it, see
tests/vectors/test_second_vectors.py.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import vector_pieces as pieces
import vector_talk as talk
from vector_fixed import NOW, Recorded, fixed, urandom_of

from ztsession.client.installed import InstalledSession
from ztsession.handshake.keys import DhKeyPair
from ztsession.hazmat import hmac_sha256
from ztsession.tickets import installation
from ztsession.tickets.installation import InstallAnswer, InstallRequest
from ztsession.tickets.secrets import answer_key, request_key, segment_secret
from ztsession.tickets.ticket import Ticket, TicketBody, _context, _signed
from ztsession.wire.signature import Signed
from ztsession.wire.text import token_to_text

FILE = Path(__file__).resolve().parent / "protocol.json"
Vector = dict[str, Any]

HANDLE, NOW_US, EPOCH_US = 0x0123456789000007, 1_260_000_123, 30_000_000
#: Microseconds after the installation, operation and body of each call.
CALLS = (
    (0, "orders.submit", b""),
    (5, "orders.submit", b"buy 100 XYZ".ljust(23, b".")),
    (29_999_877, "orders.cancel", b"cancel 7".ljust(24, b".")),
    (95_000_000, "orders.submit", bytes(range(256)) * 4),
)


def build(recorded: Recorded) -> Vector:
    """All vectors, section by section."""
    handshake, step_up, session = talk.handshake(recorded)
    renewal, renewed = talk.renewal(recorded, session)
    h = bytes.fromhex(handshake["h_for_evidence"])
    made = installed(session)
    return {
        "about": "Test vectors of ztsession, protocol version 1; see README.md. Binary is in hexadecimal.",
        "canonical": pieces.canonical_cases(),
        "digests": pieces.digests(),
        "frames": pieces.frames(),
        "keys": keys(),
        "certificate": certificate(),
        "cookie": pieces.cookie(),
        "handshake": handshake,
        "evidence": {**evidence(h), "signed_digests": pieces.signed_digests(talk.bound("identity", h))},
        "step_up": step_up,
        "grant": grant(session),
        "ticket": ticket(session),
        "installation": made,
        "key_schedule": key_schedule(made),
        "tokens": tokens(session, made),
        "renewal": renewal,
        "renewed": {"grant": grant(renewed), "ticket": ticket(renewed)},
        "feed": pieces.feed(talk.SIGNING),
        "changes": pieces.changes(),
        "recorded": recorded.taken,
    }


# ---- Who is who


def keys() -> Vector:
    """The long-lived keys of everybody in the conversation."""
    static = DhKeyPair(fixed("authority static"))
    return {
        "root_seed": fixed("root").hex(),
        "root_public": talk.ROOT.public_key.hex(),
        "signing_seed": fixed("signing").hex(),
        "signing_public": talk.SIGNING.public_key.hex(),
        "subject": talk.SUBJECT,
        "subject_seed": talk.IDENTITY.signing_seed.hex(),
        "subject_public": talk.IDENTITY.public_key.hex(),
        "device": talk.DEVICE,
        "device_seed": fixed("device").hex(),
        "client_static_private": talk.IDENTITY.static_private.hex(),
        "client_static_public": talk.CLIENT.public.hex(),
        "authority_static_private": fixed("authority static").hex(),
        "authority_static_public": static.public.hex(),
        "segment_ml_kem_seed": talk.SEGMENT.seed.hex(),
        "segment_x25519_private": talk.SEGMENT.x25519.hex(),
        "segment_public": talk.SEGMENT.public.octets.hex(),
        "now": NOW,
    }


def certificate() -> Vector:
    """The Authority's certificate."""
    return {
        "name": talk.AUTHORITY,
        "not_before": NOW - 3600,
        "not_after": NOW + 30 * 86400,
        "body": Signed.from_bytes(talk.CERTIFICATE).body.hex(),
        "certificate": talk.CERTIFICATE.hex(),
    }


def evidence(h: bytes) -> Vector:
    """What the proof of the handshake is made of."""
    statement = talk.statement(h, fixed("offer nonce"), NOW)
    return {
        "h": h.hex(),
        "identity_binding": talk.bound("identity", h).hex(),
        "posture_binding": talk.bound("posture", h).hex(),
        "mfa_binding": talk.bound("mfa", h).hex(),
        "identity_ed25519": talk.IDENTITY.prove(talk.bound("identity", h)).hex(),
        "posture_nonce": fixed("offer nonce").hex(),
        "posture_measurements": talk.MEASUREMENTS,
        "posture_statement": Signed.from_bytes(statement).body.hex(),
        "posture": statement.hex(),
    }


# ---- What was granted


def grant(session: talk.Granted) -> Vector:
    """A grant, its digests, and the segment's secret."""
    granted = session.grant
    return {
        "grant": granted.encoded.hex(),
        "digest": granted.digest().hex(),
        "profile": granted.profile_digest().hex(),
        "session_secret": session.secret.hex(),
        "segment_secret": segment_secret(session.secret, granted.digest()).hex(),
    }


def ticket(session: talk.Granted) -> Vector:
    """A ticket, outside and inside."""
    encoded = session.outcome.tickets[0]
    outside = Ticket.from_bytes(encoded)
    info = _context(outside.segment, outside.key_id, outside.not_after)
    body = talk.SEGMENT.open(outside.sealed, info)
    signed = _signed(outside.segment, outside.key_id, outside.not_after, outside.sealed)
    return {
        "key_name": talk.SEGMENT.public.name.hex(),
        "info": info.hex(),
        "body": body.hex(),
        "ends_at": TicketBody.from_bytes(body).ends_at,
        "signed": signed.hex(),
        "ticket": encoded.hex(),
    }


def installed(session: talk.Granted) -> Vector:
    """An installation: what the client says, and what the point answers."""
    secret = segment_secret(session.secret, session.grant.digest())
    with urandom_of(installation, fixed("install nonce")):
        request = InstallRequest.make(session.outcome.tickets[0], secret)
    answer = InstallAnswer.make(request, secret, HANDLE, fixed("chain nonce"), NOW_US, EPOCH_US)
    return {
        "segment_secret": secret.hex(),
        "request_key": request_key(secret).hex(),
        "answer_key": answer_key(secret).hex(),
        "request_nonce": request.nonce.hex(),
        "request": request.to_bytes().hex(),
        "handle": f"{HANDLE:016x}",
        "nonce": answer.nonce.hex(),
        "now_us": NOW_US,
        "epoch_length_us": EPOCH_US,
        "answer": answer.to_bytes().hex(),
    }


# ---- Calls


def key_schedule(made: Vector) -> list[Vector]:
    """Chain and key of both directions, for the installation's epoch and the three after it."""
    found = []
    for direction in (0, 1):
        chain = first_chain(made, direction)
        for epoch in range(NOW_US // EPOCH_US, NOW_US // EPOCH_US + 4):
            key = hmac_sha256(chain, b"\x01")
            found.append({"direction": direction, "epoch": epoch, "chain": chain.hex(), "key": key.hex()})
            chain = hmac_sha256(chain, b"\x02")
    return found


def first_chain(made: Vector, direction: int) -> bytes:
    """HKDF-SHA-256 of the segment secret, by the text of the page: the core never shows a key."""
    extracted = hmac_sha256(bytes.fromhex(made["nonce"]), bytes.fromhex(made["segment_secret"]))
    info = b"ztsession v1 chain" + bytes([direction]) + HANDLE.to_bytes(8, "little")
    return hmac_sha256(extracted, info + b"\x01")


def tokens(session: talk.Granted, made: Vector) -> list[Vector]:
    """Calls that the core signs, and a reply to each."""
    answer = InstallAnswer.from_bytes(bytes.fromhex(made["answer"]))
    client = InstalledSession(
        session.grant, bytes.fromhex(made["segment_secret"]), answer, manual_clock_us=NOW_US
    )
    replying = {row["epoch"]: bytes.fromhex(row["key"]) for row in key_schedule(made) if row["direction"]}
    found = []
    for sequence, (after_us, operation, body) in enumerate(CALLS, start=1):
        client.table.set_manual_clock(NOW_US + after_us)
        token = client.sign(operation, body)
        reply_body = hashlib.sha256(body).digest()[: 8 * sequence]
        reply = pieces.reply(token, sequence, NOW_US + after_us, reply_body, replying)
        for made_token, made_body in ((token, body), (reply, reply_body)):
            found.append(
                {
                    **pieces.header_of(made_token),
                    "body": made_body.hex(),
                    "token": made_token.hex(),
                    "text": token_to_text(made_token),
                }
            )
    return found


# ---- The file


def text_of(vectors: Vector) -> str:
    """The file's text."""
    return json.dumps(vectors, indent=1, ensure_ascii=True) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description="Write the test vectors of the protocol.")
    parser.add_argument("--to", type=Path, default=FILE, help="where to, instead of protocol.json")
    parser.add_argument("--fresh", action="store_true", help="take nothing from the protocol.json of before")
    given = parser.parse_args(arguments)
    known = {} if given.fresh else json.loads(FILE.read_text())["recorded"]
    given.to.write_text(text_of(build(Recorded(known, fresh=given.fresh))))


if __name__ == "__main__":
    main()
