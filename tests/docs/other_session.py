"""Another client, written from docs/protocol.md alone: it connects, steps up and renews.

It is short because it leaves out what a page cannot get wrong: files, threads, timeouts, waiting. Whatever it
does not understand, or cannot check, raises.
"""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import other_client as path
from other_noise import Channel, Initiator, public_of
from other_wire import MalformedError, is_kind, message, read, sign, signed, signed_body

Exchange = Callable[[bytes], bytes]


class RefusedError(Exception):
    """The Authority or the enforcement point says no."""


@dataclass(frozen=True)
class Who:
    """A subject on a device: names, Ed25519 seeds, the X25519 static key, and the root that it pins.

    ``measured`` is what the device says of itself.
    """

    subject: str
    seed: bytes
    static: bytes
    device: str
    device_seed: bytes
    root: bytes
    measured: dict[str, str] = field(default_factory=dict)

    def binding(self, kind: str, h: bytes) -> bytes:
        """What evidence of this kind is bound to."""
        return path.labelled_digest(f"binding {kind}", h, public_of(self.static))

    def identity(self, h: bytes) -> bytes:
        """Ed25519 evidence."""
        said = path.labelled_digest("ed25519 identity", self.binding("identity", h), self.subject.encode())
        return message("identity.ed25519", subject=self.subject, signature=sign(self.seed, said))

    def posture(self, h: bytes, nonce: bytes, collected_at: int | None = None) -> bytes:
        """A statement of this device."""
        statement = message(
            "posture-statement",
            device=self.device,
            collected_at=int(time.time()) if collected_at is None else collected_at,
            nonce=nonce,
            measurements=self.measured,
        )
        return signed(self.device_seed, "posture statement", statement, self.binding("posture", h))


@dataclass
class Session:
    """A granted session and its channel. ``h`` is what later evidence is bound to."""

    channel: Channel
    h: bytes
    secret: bytes
    authority: bytes
    until: int
    outcome: dict[str, Any] = field(default_factory=dict)
    nonce: bytes = b""

    def grant(self, segment: str) -> tuple[dict[str, Any], bytes, bytes]:
        """A segment's grant, its bytes, and its ticket."""
        for data, ticket in zip(self.outcome["grants"], self.outcome["tickets"], strict=True):
            grant = read("grant", data)
            if grant["segment"] == segment:
                return grant, data, ticket
        raise RefusedError(f"nothing was granted in {segment}")


# ---- Handshake


def connect(
    exchange: Exchange,
    who: Who,
    scopes: Sequence[str],
    *,
    supersedes: bytes = b"",
    channel_binding: bytes = b"",
    code: Callable[[], str] | None = None,
) -> Session:
    """Prove everything; ``code`` gives one-time codes, should they be demanded."""
    noise, second = hello(exchange, who, scopes, supersedes, channel_binding, b"")
    if is_kind("cookie-demand", second):
        cookie = read("cookie-demand", second)["cookie"]
        noise, second = hello(exchange, who, scopes, supersedes, channel_binding, cookie)
    offer = read("offer", noise.xx_second(unrefused(second)))
    until = check_certificate(offer["certificate"], who.root, noise.remote_static)
    h = noise.h
    proof = message(
        "proof", identity=who.identity(h), posture=who.posture(h, offer["posture_nonce"]), mfa=b""
    )
    third = noise.xx_third(proof)
    channel = noise.channel()
    assert noise.remote_static is not None
    session = Session(channel, h, channel.session_secret, noise.remote_static, until)
    take(session, channel.receiving.open(unrefused(exchange(third))))
    if session.outcome["status"] == "step-up" and code is not None:
        show(exchange, session, who, code)
    return granted(session)


def hello(
    exchange: Exchange, who: Who, scopes: Sequence[str], supersedes: bytes, binding: bytes, cookie: bytes
) -> tuple[Initiator, bytes]:
    """Send message 1; the answer to it."""
    noise = Initiator(who.static, channel_binding=binding)
    said = message("hello", scopes=list(scopes), supersedes=supersedes, cookie=cookie)
    return noise, exchange(noise.xx_first(said))


def check_certificate(data: bytes, root: bytes, static: bytes | None, now: float | None = None) -> int:
    """Until when the certificate holds, in Unix seconds; MalformedError if it does not."""
    body = read("authority-certificate", signed_body(data, root, "authority certificate"))
    now = time.time() if now is None else now
    if body["static_public"] != static or not body["not_before"] <= now < body["not_after"]:
        raise MalformedError("the certificate is over another key, or does not hold now")
    return int(body["not_after"])


def unrefused(answer: bytes) -> bytes:
    """An answer that is no refusal and no demand."""
    if is_kind("refusal", answer):
        raise RefusedError(read("refusal", answer)["reason"])
    if is_kind("cookie-demand", answer):
        raise RefusedError("busy")
    return answer


def take(session: Session, plaintext: bytes) -> None:
    """Take an outcome."""
    session.outcome = read("outcome", plaintext)
    session.nonce = session.outcome["nonce"]


def granted(session: Session) -> Session:
    """The session, if it is one."""
    outcome = session.outcome
    if outcome["status"] != "granted":
        raise RefusedError(f"{outcome['status']} {outcome['reason']} {outcome['missing']}")
    grants = [read("grant", data) for data in outcome["grants"]]
    if len(outcome["tickets"]) != len(grants) or len({g["segment"] for g in grants}) != len(grants):
        raise MalformedError("one ticket and one grant for each segment")
    for grant in grants:
        check_grant(grant, outcome["session"])
    return session


def check_grant(grant: dict[str, Any], session: bytes) -> None:
    """What holds between the fields of a grant."""
    rows, (normal, restricted, suspended) = grant["operations"], grant["allowed"]
    known = 0
    for name, (index, max_age_us, _, _) in rows.items():
        if not name.startswith(grant["segment"] + ".") or known >> index & 1:
            raise MalformedError("an operation of another segment, or an index twice")
        if max_age_us > grant["epoch_length_us"]:
            raise MalformedError("a max_age_us over the epoch")
        known |= 1 << index
    nested = not (normal & ~known or restricted & ~normal or suspended & ~restricted)
    if not nested or grant["step_up"] & ~normal or grant["idle_s"] > grant["lifetime_s"]:
        raise MalformedError("bitmaps that do not lie within each other, or times")
    if 0 < grant["until"] <= grant["issued_at"]:
        raise MalformedError("a grant that is over before it begins")
    if any(after & ~now for after, now in zip(grant["lasting"], grant["allowed"], strict=True)):
        raise MalformedError("what lasts is more than what is allowed at first")
    if grant["session"] != session:
        raise MalformedError("a grant of another session")


# ---- Going on


def continued(h: bytes, nonce: bytes) -> bytes:
    """What stands for h in the bindings of later evidence."""
    return path.labelled_digest("continued", h, nonce)


def step_up(exchange: Exchange, session: Session, who: Who, code: Callable[[], str]) -> Session:
    """Ask for a fresh nonce, then show a code; the session that takes this one's place."""
    going = replace(session)
    supplement(exchange, going, b"", b"")
    show(exchange, going, who, code)
    return granted(going)


def show(exchange: Exchange, session: Session, who: Who, code: Callable[[], str]) -> None:
    """Show a one-time code, and what else was demanded; again while there is a nonce, three times in all."""
    missing, factors = session.outcome["missing"], session.outcome["factors"]
    for _ in range(3):
        if "totp" not in factors:
            raise RefusedError(f"other factors are wanted: {factors}")
        h, nonce = continued(session.h, session.nonce), session.nonce
        posture = who.posture(h, nonce) if "posture" in missing else b""
        supplement(exchange, session, posture, message("mfa.totp", code=code()))
        if session.outcome["status"] != "refused":
            session.secret = path.expand(session.secret, "continued", nonce)
            return
        if not session.nonce:
            raise RefusedError(session.outcome["reason"])


def supplement(exchange: Exchange, session: Session, posture: bytes, mfa: bytes) -> None:
    """Send a supplement and take its outcome."""
    said = message("supplement", scopes=[], posture=posture, mfa=mfa)
    answer = unrefused(exchange(session.channel.sending.seal(said)))
    take(session, session.channel.receiving.open(answer))


def renew(exchange: Exchange, session: Session, who: Who, *, channel_binding: bytes = b"") -> Session:
    """Go on in one round trip; ``session`` is as the outcome that granted it left it."""
    if not time.time() < session.until:
        raise MalformedError("the Authority's certificate has expired")
    posture = who.posture(continued(session.h, session.outcome["nonce"]), session.outcome["nonce"])
    payload = message("renewal", session=session.outcome["session"], scopes=[], posture=posture)
    noise, answer = ask_renewal(exchange, session, who, payload, channel_binding, b"")
    if is_kind("cookie-demand", answer):
        cookie = read("cookie-demand", answer)["cookie"]
        noise, answer = ask_renewal(exchange, session, who, payload, channel_binding, cookie)
    fields = read("renewal-answer", unrefused(answer))
    if noise.ik_second(fields["noise"]):
        raise MalformedError("message 2 of a renewal has no payload")
    channel = noise.channel()
    new = Session(channel, channel.h, channel.session_secret, session.authority, session.until)
    take(new, channel.receiving.open(fields["outcome"]))
    return granted(new)


def ask_renewal(
    exchange: Exchange, session: Session, who: Who, payload: bytes, binding: bytes, cookie: bytes
) -> tuple[Initiator, bytes]:
    """Send message 1 of a renewal; the answer to it."""
    noise = Initiator(who.static, authority=session.authority, channel_binding=binding)
    key_id = path.labelled_digest("static key", session.authority)[:8]
    request = message("renewal-request", key_id=key_id, noise=noise.ik_first(payload), cookie=cookie)
    return noise, exchange(request)


def totp(secret: str, at: float) -> str:
    """The code of six digits (RFC 6238) of a secret in base32."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    mac = hmac.digest(key, (int(at) // 30).to_bytes(8, "big"), "sha1")
    start = mac[-1] & 15
    return f"{(int.from_bytes(mac[start : start + 4], 'big') & 0x7FFFFFFF) % 10**6:06}"
