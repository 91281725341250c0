"""Issuers of access tokens for the tests: honest ones by way of joserfc, dishonest ones by hand."""

from __future__ import annotations

import base64
import json
import warnings
from typing import Any

from joserfc import jwk, jws

from ztsession.identity.oidc import OidcEvidence, ProofKey, _signed

NOW = 1_900_000_000
BINDING = bytes(range(32))
FIRM, OTHER = "https://login.firm.example", "https://login.other.example"
_KINDS = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519", "Ed25519": "Ed25519"}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def as_json(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


class Issuer:
    """One issuer with one signing key."""

    def __init__(self, name: str = FIRM, *, algorithm: str = "ES256", kid: str = "k1") -> None:
        self.name, self.algorithm, self.kid = name, algorithm, kid
        self.key: Any = jwk.generate_key(*_kind(algorithm), {"kid": kid, "use": "sig", "alg": algorithm})

    @property
    def jwk(self) -> dict[str, Any]:
        return dict(self.key.as_dict(private=False))

    def header(self, **changed: Any) -> dict[str, Any]:
        return _changed({"alg": self.algorithm, "kid": self.kid, "typ": "at+jwt"}, changed)

    def claims(self, key: ProofKey, **changed: Any) -> dict[str, Any]:
        """What an honest token for "ztsession" says; None takes a claim out."""
        honest = {"iss": self.name, "sub": "00u1x8", "aud": "ztsession", "client_id": "algo", "jti": "1"}
        return _changed(
            {**honest, "iat": NOW - 60, "exp": NOW + 3600, "cnf": {"jkt": key.jkt}},
            changed,
        )

    def token(self, key: ProofKey, **changed: Any) -> str:
        """An honest token for the holder of ``key``, made by joserfc."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # EdDSA has a newer name
            body = as_json(self.claims(key, **changed))
            return jws.serialize_compact(self.header(), body, self.key, [self.algorithm])

    def crafted(self, header: Any, claims: Any) -> str:
        """Whatever header and claims (bytes, or what JSON is made of), really signed by this issuer."""
        signed = f"{b64(as_json(header))}.{b64(as_json(claims))}"
        model = jws.JWSRegistry.algorithms[self.algorithm]
        return f"{signed}.{b64(model.sign(signed.encode(), self.key))}"


def jwks(*issuers: Issuer) -> bytes:
    return as_json({"keys": [each.jwk for each in issuers]})


def shown(token: str, key: ProofKey, binding: bytes = BINDING) -> bytes:
    """Evidence whose proof is right, whatever the token."""
    return OidcEvidence(token, key.algorithm, key.public, key.sign(_signed(token, binding))).to_bytes()


def _kind(algorithm: str) -> tuple[Any, Any]:
    if algorithm in _KINDS:
        return ("OKP" if "Ed" in algorithm else "EC"), _KINDS[algorithm]
    return "RSA", 2048


def _changed(honest: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (honest | changed).items() if value is not None}
