"""Identity by OAuth 2.0 access tokens (RFC 9068) of OpenID providers, with proof of possession.

A bearer token is a password that travels: whoever sees one can use it. So a token alone proves nothing here.
It must name a key (``cnf``: RFC 9449 section 6.1, RFC 7800 section 3.2), and the evidence is a signature by
that key over the handshake's binding and the token: what is stolen from a log or a proxy opens nothing, and
what was shown in one handshake fits no other.

The rest is reading. Tokens come from strangers, and many doors have opened because two parsers read one text
differently, or because a header was believed about its own key. So: sizes before parsing, one form of
everything, algorithms and ``typ`` pinned by the operator, keys from the configured place only, and each
issuer with keys of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from ztsession.errors import ConfigurationError, EvidenceError, WireError
from ztsession.identity.jwks import (
    ALGORITHMS,
    JWKS_MAX_BYTES,
    KID_MAX_BYTES,
    FixedJwks,
    JwksCache,
    KeySource,
    base64url,
    from_base64url,
    read_jwks,
    strict_json,
    thumbprint,
)
from ztsession.identity.protocol import BINDING_BYTES, VerifiedIdentity
from ztsession.identity.subjects import SubjectRegistry, oidc_credential
from ztsession.wire import signature as ed25519
from ztsession.wire.digest import digest
from ztsession.wire.names import is_name
from ztsession.wire.operator_file import Table
from ztsession.wire.schema import Message, Octets, OneOf, Text

__all__ = ["TOKEN_MAX_BYTES", "OidcEvidence", "OidcIdentity", "OidcIssuer", "OidcVerifier", "ProofKey"]

TOKEN_MAX_BYTES = 16384
_HEADER_MAX_BYTES = 4096
#: OpenID Connect Core 1.0, section 2: a subject has at most 255 ASCII characters.
_SUBJECT_MAX_BYTES = 255
_ISSUER_MAX_BYTES = 512
_AUDIENCES_MAX = 16
#: NumericDate up to where JSON numbers are exact everywhere.
_LAST_SECOND = 2**53 - 1

#: What the holder of a token signs with.
_PROOF_ALGORITHMS = ("ES256", "EdDSA")
_POINT_BYTES = 65
#: Group order of P-256 (NIST SP 800-186, section 3.2.1.3).
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

#: Headers that would bring keys, or another reading of the rest, along with the token (RFC 7515, RFC 7797).
_REFUSED_HEADERS = ("crit", "b64", "jku", "jwk", "x5u", "x5c", "enc", "zip")


@dataclass(frozen=True)
class OidcEvidence(Message, kind="identity.oidc", max_bytes=17408):
    """A token, the public key that it names, and what that key signed for this handshake.

    ``key`` is an uncompressed P-256 point (65 bytes) or an Ed25519 key (32 bytes). ``signature`` is over
    ``digest("oidc identity", binding, sha256(token))``: r and s of 32 bytes each with s in the lower half of
    the group, over that digest's SHA-256 (ES256); or RFC 8032's 64 bytes (EdDSA).
    """

    token: Annotated[str, Text(TOKEN_MAX_BYTES, 1)]
    algorithm: Annotated[str, OneOf(_PROOF_ALGORITHMS)]
    key: Annotated[bytes, Octets(_POINT_BYTES, 32)]
    signature: Annotated[bytes, Octets.exactly(64)]


@dataclass(frozen=True)
class ProofKey:
    """The key that tokens are bound to. Ask for a token with its :attr:`jkt` or a :meth:`dpop_proof`."""

    _private: ec.EllipticCurvePrivateKey | Ed25519PrivateKey = field(repr=False)

    @classmethod
    def generate(cls, algorithm: str = "ES256") -> Self:
        """Return a fresh key for "ES256" or "EdDSA"."""
        if algorithm not in _PROOF_ALGORITHMS:
            raise ConfigurationError(f"algorithm: expected one of {', '.join(_PROOF_ALGORITHMS)}")
        return cls(
            ec.generate_private_key(ec.SECP256R1()) if algorithm == "ES256" else Ed25519PrivateKey.generate()
        )

    @classmethod
    def from_pem(cls, pem: bytes, password: bytes | None = None) -> Self:
        """Read a PEM private key; ``ConfigurationError`` unless it is one on P-256 or Ed25519."""
        try:
            key = load_pem_private_key(pem, password)
        except Exception:
            raise ConfigurationError("the proof key cannot be read: expected a PEM private key") from None
        if isinstance(key, Ed25519PrivateKey) or (
            isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
        ):
            return cls(key)
        raise ConfigurationError("the proof key must be on P-256 or Ed25519")

    def to_pem(self) -> bytes:
        """Return the private key as unencrypted PEM (PKCS #8), for a file of mode 0600."""
        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def algorithm(self) -> str:
        """ "ES256" or "EdDSA"."""
        return "EdDSA" if isinstance(self._private, Ed25519PrivateKey) else "ES256"

    @property
    def public(self) -> bytes:
        """The public key as in the evidence: a point of 65 bytes, or 32 bytes."""
        public = self._private.public_key()
        if isinstance(public, ec.EllipticCurvePublicKey):
            return public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return public.public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def jwk(self) -> dict[str, str]:
        """The public key as a JWK with its required members only (RFC 7517)."""
        return _jwk(self.algorithm, self.public)

    @property
    def jkt(self) -> str:
        """The key's thumbprint (RFC 7638), for ``dpop_jkt`` (RFC 9449 section 10) or ``cnf.jkt``."""
        return thumbprint(self.jwk)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte JWA signature of ``message``, in its one form."""
        if isinstance(self._private, Ed25519PrivateKey):
            return self._private.sign(message)
        r, s = decode_dss_signature(self._private.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + min(s, _P256_ORDER - s).to_bytes(32, "big")

    def dpop_proof(self, method: str, url: str, *, nonce: str = "") -> str:
        """Return a DPoP proof (RFC 9449 section 4.2) for the request to the token endpoint at ``url``.

        ``nonce`` is the endpoint's ``DPoP-Nonce``, when it asked for one.
        """
        header = {"typ": "dpop+jwt", "alg": self.algorithm, "jwk": self.jwk}
        claims: dict[str, Any] = {"jti": base64url(os.urandom(16)), "htm": method, "htu": url}
        claims |= {"iat": int(time.time())} | ({"nonce": nonce} if nonce else {})
        signed = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
        return f"{signed}.{base64url(self.sign(signed.encode('ascii')))}"


@dataclass(frozen=True)
class OidcIdentity:
    """The client's side: a current access token, the key that it is bound to, and the handshake's own key.

    ``token`` is the compact text, or what returns it for each handshake: tokens end. ``static_private`` is
    the X25519 key, 32 bytes, fresh if not given.
    """

    subject: str
    token: str | Callable[[], str] = field(repr=False)
    key: ProofKey
    static_private: bytes = field(default_factory=lambda: os.urandom(32), repr=False)

    def __post_init__(self) -> None:
        if not is_name(self.subject):
            raise ConfigurationError("subject: expected 1 to 128 characters from A-Z a-z 0-9 . _ : / @ -")
        if len(self.static_private) != 32:
            raise ConfigurationError("static_private: expected 32 bytes")

    def prove(self, binding: bytes) -> bytes:
        """Return evidence for this 32-byte ``binding``; ``WireError`` if the token is over 16384 bytes."""
        token = self.token if isinstance(self.token, str) else self.token()
        signature = self.key.sign(_signed(token, binding))
        return OidcEvidence(token, self.key.algorithm, self.key.public, signature).to_bytes()


@dataclass(frozen=True)
class OidcIssuer:
    """One issuer that is trusted to say who somebody is, and what its tokens must look like.

    A token for several audiences is taken when ours is one of them: the others see it too, but have not the
    key to use it. ``assurance`` says which ``acr`` values are believed, and what for; any other is level 1.
    """

    issuer: str
    audience: str
    keys: KeySource
    algorithms: tuple[str, ...] = ("ES256",)
    typ: str = "at+jwt"
    leeway_s: int = 30
    max_lifetime_s: int = 86400
    assurance: Mapping[str, int] = field(default_factory=dict)

    def check(self, token: _Token, now: float) -> None:
        """Raise ``EvidenceError`` unless this issuer made ``token`` for us and it holds at ``now`` (Unix
        seconds).
        """
        header = token.header
        algorithm, kid = header.get("alg"), header.get("kid")
        if header.get("typ") not in (self.typ, f"application/{self.typ}"):
            raise EvidenceError(f"the token's typ is not {self.typ}")
        if not isinstance(algorithm, str) or algorithm not in self.algorithms:
            raise EvidenceError("the token's algorithm is not one that this issuer may use")
        if not isinstance(kid, str) or not 1 <= len(kid) <= KID_MAX_BYTES:
            raise EvidenceError("the token names no key")
        self.keys.key(kid).verify(algorithm, token.signed, token.signature)
        self._check_audience(token.claims.get("aud"))
        self._check_times(token.claims, now)

    def _check_audience(self, audience: object) -> None:
        named = audience if isinstance(audience, list) else [audience]
        if len(named) > _AUDIENCES_MAX or not all(isinstance(each, str) for each in named):
            raise EvidenceError("the token's audience is malformed")
        if self.audience not in named:
            raise EvidenceError("the token is for another audience")

    def _check_times(self, claims: Mapping[str, Any], now: float) -> None:
        issued_at, ends_at = _seconds(claims, "iat"), _seconds(claims, "exp")
        if not 0 < ends_at - issued_at <= self.max_lifetime_s:
            raise EvidenceError(f"the token does not live for 1 to {self.max_lifetime_s} s")
        if not now < ends_at + self.leeway_s:
            raise EvidenceError("the token has expired")
        not_before = _seconds(claims, "nbf") if "nbf" in claims else issued_at
        if not max(issued_at, not_before) <= now + self.leeway_s:
            raise EvidenceError("the token is not valid yet")


class OidcVerifier:
    """The Authority's side: whom its issuers vouch for, if that one is there and enrolled."""

    kind = OidcEvidence.kind

    def __init__(
        self,
        issuers: Iterable[OidcIssuer],
        subjects: SubjectRegistry,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuers = {each.issuer: each for each in issuers}
        self._subjects, self._clock = subjects, clock

    @classmethod
    def from_table(
        cls,
        table: Table,
        directory: Path,
        subjects: SubjectRegistry,
        *,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Read ``[oidc]`` of ``identity.toml``; ``ConfigurationError`` names the place and what was expected.

        [oidc."https://login.firm.example"]      # as in the tokens' iss
        audience = "ztsession"                   # one of the tokens' aud
        jwks_url = "https://login.firm.example/jwks"   # or jwks = "jwks.json", a file of this directory
        algorithms = ["ES256"]                   # default; asymmetric ones only
        typ = "at+jwt"                           # default, or "JWT"
        leeway_s = 30                            # default, at most 300
        max_lifetime_s = 86400                   # default; exp - iat

        [oidc."https://login.firm.example".assurance]
        "urn:firm:hardware-key" = 3              # acr = level from 1 to 3
        """
        issuers = [_read_issuer(name, each, directory) for name, each in table.tables()]
        if not issuers:
            raise table.error('expected one table or more, [oidc."https://issuer"]')
        return cls(issuers, subjects, clock=clock)

    def verify(self, evidence: bytes, binding: bytes) -> VerifiedIdentity:
        """Return the enrolled subject that made ``evidence`` for ``binding``; ``EvidenceError`` otherwise."""
        try:
            shown = OidcEvidence.from_bytes(evidence)
        except WireError as error:
            raise EvidenceError(f"the identity evidence is malformed: {error}") from None
        # Before any key is asked for: of this handshake, by the one who holds the key that is claimed.
        _check_signature(shown, _signed(shown.token, binding))
        token = _Token.read(shown.token)
        name = token.claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise EvidenceError("the token is of an issuer that is not trusted here")
        issuer.check(token, self._clock())
        _check_confirmation(token.claims.get("cnf"), _jwk(shown.algorithm, shown.key))
        return self._enrolled(issuer, token.claims)

    def _enrolled(self, issuer: OidcIssuer, claims: Mapping[str, Any]) -> VerifiedIdentity:
        named, acr = claims.get("sub"), claims.get("acr")
        if not isinstance(named, str) or not isinstance(acr, str | None):
            raise EvidenceError("the token's sub or acr is not a text")
        if not 1 <= len(named) <= _SUBJECT_MAX_BYTES or not (named.isascii() and named.isprintable()):
            raise EvidenceError(
                f"the token's sub is not 1 to {_SUBJECT_MAX_BYTES} printable ASCII characters"
            )
        credential = oidc_credential(issuer.issuer, named)
        subject = self._subjects.holder(credential)
        if subject is None:
            raise EvidenceError("the token's subject is not enrolled")
        assurance = 1 if acr is None else issuer.assurance.get(acr, 1)
        return subject.identity(assurance, credential, until=claims["exp"])


@dataclass(frozen=True)
class _Token:
    """A compact JWS (RFC 7515 section 7.1) in its parts, none of which is believed yet."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes

    @classmethod
    def read(cls, text: str) -> _Token:
        # Counted before it is split: five parts are an encrypted token, thousands are an attack.
        if text.count(".") != 2 or not text.isascii():
            raise EvidenceError("the token is not a compact JWS")
        header, claims, signature = text.split(".")
        if len(header) > _HEADER_MAX_BYTES:
            raise EvidenceError(f"the token's header is over {_HEADER_MAX_BYTES} bytes")
        token = cls(
            strict_json(from_base64url(header, "the token's header"), "the token's header"),
            strict_json(from_base64url(claims, "the token's body"), "the token's body"),
            f"{header}.{claims}".encode("ascii"),
            from_base64url(signature, "the token's signature"),
        )
        refused = next((name for name in _REFUSED_HEADERS if name in token.header), None)
        if refused is not None:
            raise EvidenceError(f"the token's header has {refused}, which is not taken")
        return token


def _signed(token: str, binding: bytes) -> bytes:
    if len(binding) != BINDING_BYTES:
        raise EvidenceError(f"a binding has {BINDING_BYTES} bytes, not {len(binding)}")
    return digest("oidc identity", binding, hashlib.sha256(token.encode("utf-8", "replace")).digest())


def _check_signature(shown: OidcEvidence, message: bytes) -> None:
    if shown.algorithm == "EdDSA":
        ed25519.verify(shown.key, message, shown.signature)
        return
    r, s = (int.from_bytes(half, "big") for half in (shown.signature[:32], shown.signature[32:]))
    if s > _P256_ORDER // 2:
        raise EvidenceError("the signature is malleable: its s is in the upper half")
    if len(shown.key) != _POINT_BYTES or shown.key[0] != 4:
        raise EvidenceError("a P-256 key is an uncompressed point of 65 bytes")
    try:
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), shown.key)
        point.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except ValueError:
        raise EvidenceError("the key is not a point of P-256") from None
    except InvalidSignature:
        raise EvidenceError("the signature does not hold") from None


def _jwk(algorithm: str, public: bytes) -> dict[str, str]:
    if algorithm == "EdDSA":
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url(public)}
    return {"kty": "EC", "crv": "P-256", "x": base64url(public[1:33]), "y": base64url(public[33:])}


def _check_confirmation(confirmation: object, jwk: dict[str, str]) -> None:
    if not isinstance(confirmation, dict) or len(confirmation) != 1:
        # A bearer token; or one with a further condition, which must not be passed over.
        raise EvidenceError("the token is not bound to a key by exactly one of cnf.jkt and cnf.jwk")
    named = confirmation.get("jwk")
    if isinstance(named, dict) and "d" not in named:
        holds = {name: named.get(name) for name in jwk} == jwk
    else:
        holds = confirmation.get("jkt") == thumbprint(jwk)
    if not holds:
        raise EvidenceError("the token is bound to another key")


def _seconds(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    if type(value) is not int or not 0 <= value <= _LAST_SECOND:
        raise EvidenceError(f"the token's {name} is not a whole number of seconds")
    return value


def _read_issuer(name: str, table: Table, directory: Path) -> OidcIssuer:
    known = ("audience", "jwks", "jwks_url", "algorithms", "typ", "leeway_s", "max_lifetime_s", "assurance")
    table.allow_only(*known)
    plain = name.isascii() and name.isprintable() and " " not in name and len(name) <= _ISSUER_MAX_BYTES
    if not plain or not name.startswith("https://") or name == "https://":
        raise table.error("expected the issuer as in its tokens, https://...")
    if not table.text("audience"):
        raise table.error("expected the audience that tokens for this Authority name", "audience")
    return OidcIssuer(
        name,
        table.text("audience"),
        _read_keys(name, table, directory),
        _read_algorithms(table),
        table.word("typ", ("at+jwt", "JWT")) if table.has("typ") else "at+jwt",
        table.integer("leeway_s", 30, low=0, high=300),
        table.integer("max_lifetime_s", 86400, low=1, high=30 * 86400),
        _read_assurance(table.table("assurance")),
    )


def _read_algorithms(table: Table) -> tuple[str, ...]:
    algorithms = table.texts("algorithms") if table.has("algorithms") else ["ES256"]
    if not algorithms or not set(algorithms) <= ALGORITHMS.keys():
        raise table.error(f"expected some of {', '.join(sorted(ALGORITHMS))}", "algorithms")
    return tuple(algorithms)


def _read_assurance(table: Table) -> dict[str, int]:
    return {acr: table.integer(acr, 0, low=1, high=3) for acr in table._values}


def _read_keys(issuer: str, table: Table, directory: Path) -> KeySource:
    if table.has("jwks") == table.has("jwks_url"):
        raise table.error("expected either jwks, a file of this directory, or jwks_url")
    if table.has("jwks"):
        return _read_key_file(table, directory)
    from ztsession.identity.jwks_fetch import fetcher, is_fetchable

    url = table.text("jwks_url")
    if not is_fetchable(url):
        raise table.error("expected https://..., or http://127.0.0.1... on this machine", "jwks_url")
    try:
        return JwksCache(fetcher(url), name=issuer)
    except ConfigurationError as error:
        raise table.error(str(error), "jwks_url") from None


def _read_key_file(table: Table, directory: Path) -> KeySource:
    name = table.text("jwks")
    path = directory / name
    if path.parent != directory or path.name != name:
        raise table.error("expected the name of a file in this directory", "jwks")
    try:
        with path.open("rb") as source:
            return FixedJwks(read_jwks(source.read(JWKS_MAX_BYTES + 1)))
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", file=str(path)) from None
    except EvidenceError as error:
        raise ConfigurationError(str(error), file=str(path)) from None
