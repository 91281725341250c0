"""One conversation with every secret fixed: handshake, step-up, renewal, and what each of them is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vector_fixed import NOW, Recorded, RecordingNoise, fixed, is_ciphertext, kem_of

from ztsession.errors import InstallationError
from ztsession.handshake.binding import EvidenceKind, binding, continued
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
)
from ztsession.handshake.renewal import RENEWAL_PROLOGUE, static_key_id
from ztsession.handshake.states import PROLOGUE
from ztsession.handshake.symmetric import hkdf
from ztsession.identity import certificate
from ztsession.identity.ed25519 import Ed25519Identity
from ztsession.mfa.totp import TotpEvidence, code_at
from ztsession.policy.grant import Grant
from ztsession.posture.statement import PostureStatement, sign_statement
from ztsession.tickets.secrets import continued_secret, segment_secret
from ztsession.tickets.segment_key import SegmentKey
from ztsession.tickets.ticket import TicketBody, seal_ticket
from ztsession.wire.signature import SeedSigner

SUBJECT, DEVICE, AUTHORITY = "trader-1", "host-1", "authority"
MEASUREMENTS = {"kernel": "6.1.0-38-amd64", "secure_boot": "enabled"}
IDENTITY = Ed25519Identity(SUBJECT, fixed("subject"), fixed("client static"))
CLIENT, SERVER = DhKeyPair(IDENTITY.static_private), DhKeyPair(fixed("authority static"))
ROOT, SIGNING = SeedSigner(fixed("root")), SeedSigner(fixed("signing"))
SEGMENT = SegmentKey("orders", fixed("segment ML-KEM", 64), fixed("segment X25519"))
CERTIFICATE = certificate.issue(ROOT, SERVER.public, AUTHORITY, NOW - 3600, NOW + 30 * 86400)
TOTP_SECRET, TOTP_STEP = fixed("totp", 20), NOW // 30

Vector = dict[str, Any]


@dataclass
class Granted:
    """A session of the conversation: what it was granted by, and what goes on from it."""

    outcome: Outcome
    h: bytes
    secret: bytes

    @property
    def grant(self) -> Grant:
        """The only grant."""
        return Grant.from_bytes(self.outcome.grants[0])


class Talk:
    """Two sides of one handshake and of the channel after it, and the vector that comes of it."""

    def __init__(self, pattern: str, prologue: bytes, name: str) -> None:
        known = SERVER.public if pattern == "IKhfs" else None
        self._secrets = {
            "client_ephemeral_private": fixed(f"{name} client ephemeral"),
            "authority_ephemeral_private": fixed(f"{name} authority ephemeral"),
            "client_kem_seed": fixed(f"{name} KEM", 64),
        }
        self.client = RecordingNoise(
            pattern,
            initiator=True,
            static_private=IDENTITY.static_private,
            prologue=prologue,
            remote_static=known,
            ephemeral_private_for_testing_only=self._secrets["client_ephemeral_private"],
        )
        self.server = RecordingNoise(
            pattern,
            initiator=False,
            static_private=fixed("authority static"),
            prologue=prologue,
            ephemeral_private_for_testing_only=self._secrets["authority_ephemeral_private"],
        )
        self.vector: Vector = {
            "protocol": f"Noise_{pattern}_25519+MLKEM768_ChaChaPoly_SHA256",
            "prologue": prologue.hex(),
            "client_static_private": IDENTITY.static_private.hex(),
            "authority_static_private": fixed("authority static").hex(),
            **{what: secret.hex() for what, secret in self._secrets.items()},
            "initial_h": self.client.handshake_hash.hex(),
            "messages": [],
        }

    @property
    def kem_seed(self) -> bytes:
        """What the client's KEM key pair is made from."""
        return self._secrets["client_kem_seed"]

    def say(self, payload: bytes) -> bytes:
        """The next handshake message, made by one side and read by the other."""
        number = len(self.vector["messages"])
        pair = (self.client, self.server) if number % 2 == 0 else (self.server, self.client)
        before = [len(side.steps) for side in pair]
        message = pair[0].write_message(payload)
        assert pair[1].read_message(message) == payload
        written, read = (side.steps[n:] for side, n in zip(pair, before, strict=True))
        assert written == read
        self.vector["messages"].append(
            {
                "from": ("client", "authority")[number % 2],
                "payload": payload.hex(),
                "message": message.hex(),
                "steps": written,
            }
        )
        return message

    def open(self) -> tuple[Channel, Channel]:
        """The channel's two ends."""
        ours, theirs = Channel(self.client), Channel(self.server)
        assert ours.session_secret == theirs.session_secret
        keys = hkdf(self.client.chaining_key, b"")
        self.vector |= {
            "h": ours.handshake_hash.hex(),
            "client_key": keys[0].hex(),
            "authority_key": keys[1].hex(),
            "session_secret": ours.session_secret.hex(),
        }
        return ours, theirs


def bound(kind: EvidenceKind, h: bytes) -> bytes:
    """The binding of this client's evidence."""
    return binding(kind, h, CLIENT.public)


def statement(h: bytes, nonce: bytes, at: int) -> bytes:
    """The device's statement."""
    measured = PostureStatement(DEVICE, at, nonce, dict(MEASUREMENTS))
    return sign_statement(measured, fixed("device"), bound("posture", h))


def granted(recorded: Recorded, name: str, secret: bytes, h: bytes, at: int, assurance: int) -> Granted:
    """The outcome that grants a session, and its ticket."""
    session = fixed(f"{name} session", 16)
    grant = Grant(
        session=session,
        subject=SUBJECT,
        device=DEVICE,
        segment="orders",
        environment="prod",
        catalog=fixed("catalog"),
        policy=fixed("policy"),
        version=1,
        posture=fixed("posture"),
        assurance=assurance,
        operations={"orders.submit": [0, 2_000_000, 0, 0], "orders.cancel": [1, 2_000_000, 2**32 - 1, 1]},
        allowed=[3, 2, 0],
        step_up=0,
        epoch_length_us=30_000_000,
        lifetime_s=43200,
        idle_s=900,
        until=0,
        lasting=[3, 2, 0],
        issued_at=at,
    )
    ends_at = NOW + 43200
    body = TicketBody(
        grant.encoded,
        segment_secret(secret, grant.digest()),
        started_at=at,
        issuer=AUTHORITY,
        ends_at=ends_at,
    )
    ticket = seal_ticket(body, "orders", RecordedSeal(recorded, f"{name} ticket"), ends_at, SIGNING)
    outcome = Outcome(
        "granted",
        session=session,
        tickets=[ticket],
        grants=[grant.encoded],
        assurance=assurance,
        lifetime_s=ends_at - at,
        factors=["totp"],
        nonce=fixed(f"{name} nonce"),
    )
    return Granted(outcome, h, secret)


class RecordedSeal:
    """In the place of the segment's public key: gives a ciphertext that was recorded."""

    def __init__(self, recorded: Recorded, name: str) -> None:
        self._recorded, self._name, self.key_id = recorded, name, SEGMENT.public.key_id

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """What was recorded, if it opens to this."""

        def fits(sealed: bytes) -> bool:
            try:
                return SEGMENT.open(sealed, context) == plaintext
            except InstallationError:
                return False

        return self._recorded.take(self._name, fits, lambda: SEGMENT.public.seal(plaintext, context))


# ---- The conversation


def handshake(recorded: Recorded) -> tuple[Vector, Vector, Granted]:
    """Handshake and step-up: their vectors, and the session that was granted."""
    talk = Talk("XXhfs", PROLOGUE, "handshake")
    nonce = fixed("offer nonce")
    with kem_of(talk.kem_seed, lambda make: recorded.take("handshake KEM", is_ciphertext, make)):
        talk.say(Hello(["orders.*"]).to_bytes())
        talk.say(Offer(CERTIFICATE, ["identity", "posture"], nonce).to_bytes())
        h = talk.client.handshake_hash
        identity = IDENTITY.prove(bound("identity", h))
        talk.say(Proof(identity, statement(h, nonce, NOW)).to_bytes())
    ours, theirs = talk.open()
    talk.vector["h_for_evidence"] = h.hex()
    demanded = Outcome("step-up", missing=["mfa"], factors=["totp"], nonce=fixed("step-up nonce"))
    code = TotpEvidence(code_at(TOTP_SECRET, "sha1-6", TOTP_STEP)).to_bytes()
    secret = continued_secret(ours.session_secret, demanded.nonce)
    session = granted(recorded, "step-up", secret, h, NOW + 5, 2)
    said = [
        sealed(theirs, ours, "authority", demanded.to_bytes()),
        sealed(ours, theirs, "client", Supplement(mfa=code).to_bytes()),
        sealed(theirs, ours, "authority", session.outcome.to_bytes()),
    ]
    step_up = {
        "nonce": demanded.nonce.hex(),
        "h": h.hex(),
        "continued_h": continued(h, demanded.nonce).hex(),
        "mfa_binding": bound("mfa", continued(h, demanded.nonce)).hex(),
        "totp_secret": TOTP_SECRET.hex(),
        "totp_step": TOTP_STEP,
        "session_secret_before": ours.session_secret.hex(),
        "session_secret": secret.hex(),
    }
    talk.vector["channel"] = said
    return talk.vector, step_up, session


def renewal(recorded: Recorded, old: Granted) -> tuple[Vector, Granted]:
    """The renewal of a session: its vector, and the session that takes its place."""
    talk = Talk("IKhfs", RENEWAL_PROLOGUE, "renewal")
    h, nonce = continued(old.h, old.outcome.nonce), old.outcome.nonce
    posture = statement(h, nonce, NOW + 600)
    with kem_of(talk.kem_seed, lambda make: recorded.take("renewal KEM", is_ciphertext, make)):
        first = talk.say(Renewal(old.outcome.session, [], posture).to_bytes())
        second = talk.say(b"")
    ours, theirs = talk.open()
    new = granted(recorded, "renewal", ours.session_secret, ours.handshake_hash, NOW + 600, 2)
    said = sealed(theirs, ours, "authority", new.outcome.to_bytes())
    key_id = static_key_id(SERVER.public)
    talk.vector |= {
        "key_id": key_id.hex(),
        "continued_h": h.hex(),
        "posture_binding": bound("posture", h).hex(),
        "channel": [said],
        "request": RenewalRequest(key_id, first).to_bytes().hex(),
        "answer": RenewalAnswer(second, bytes.fromhex(said["message"])).to_bytes().hex(),
    }
    return talk.vector, new


def sealed(sender: Channel, receiver: Channel, who: str, plaintext: bytes) -> Vector:
    """The next transport message in one direction."""
    message = sender.seal(plaintext)
    assert receiver.open(message) == plaintext
    return {"from": who, "plaintext": plaintext.hex(), "message": message.hex()}
