"""Identity by an access token of an issuer whose keys lie in a file, bound to a key of the client's."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from typing import Any

from benchmarks.firm import Enrolment
from benchmarks.handshakes.kind import Kind, connecting
from benchmarks.handshakes.operations import Operations
from ztsession.identity.oidc import OidcIdentity, ProofKey

__all__ = ["access_token"]

ISSUER, AUDIENCE, KID = "https://login.firm.example", "ztsession", "k1"


def access_token() -> Kind:
    """ES256 for the token and ES256 for the binding; the posture is a statement."""
    issuer, holder = ProofKey.generate(), ProofKey.generate()
    identity = OidcIdentity("algo-9", _token(issuer, holder), holder)
    subject = '[subjects."algo-9"]\nkind = "algorithm"\nroles = ["trading"]\ndesk = "rates"\n'
    enrolment = Enrolment(
        subjects=f'{subject}oidc_issuer = "{ISSUER}"\noidc_subject = "00u1x8"\n',
        identity=f'[oidc."{ISSUER}"]\naudience = "{AUDIENCE}"\njwks = "jwks.json"\n',
        files={"jwks.json": _json({"keys": [{**issuer.jwk, "kid": KID, "use": "sig", "alg": "ES256"}]})},
    )
    least = Operations(ed25519=1, p256=2)
    return Kind("OIDC (ES256, bound), statement", "handshakes OIDC", connecting(identity), least, enrolment)


def _token(issuer: ProofKey, holder: ProofKey) -> str:
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "sub": "00u1x8",
        "aud": AUDIENCE,
        "client_id": "algo",
        "jti": "1",
    }
    claims |= {"iat": now, "exp": now + 12 * 3600, "cnf": {"jkt": holder.jkt}}
    header = {"alg": "ES256", "kid": KID, "typ": "at+jwt"}
    signed = f"{_base64url(_json(header))}.{_base64url(_json(claims))}"
    return f"{signed}.{_base64url(issuer.sign(signed.encode('ascii')))}"


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
