"""Transmitters of security events for the tests: honest ones by way of joserfc, dishonest ones by hand."""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from joserfc import jwk, jws

from ztsession.risk.signals import Signal
from ztsession.risk.ssf.naming import LiveSession

NOW = 1_900_000_000
FIRM, OTHER = "https://idp.firm.example", "https://idp.other.example"
AUDIENCE = "https://zts.firm.example"
CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
RISC = "https://schemas.openid.net/secevent/risc/event-type/"
SSF = "https://schemas.openid.net/secevent/ssf/event-type/"
USER = {"format": "email", "email": "algo-7@firm.example"}
HOST = {"format": "complex", "device": {"format": "opaque", "id": "mdm-0001"}}
SESSION = bytes(range(16))

_numbers = count(1)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def as_json(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


class Issuer:
    """One transmitter's issuer with one signing key."""

    def __init__(self, name: str = FIRM, *, algorithm: str = "ES256", kid: str = "k1") -> None:
        self.name, self.algorithm, self.kid = name, algorithm, kid
        kind = {"ES256": ("EC", "P-256"), "ES384": ("EC", "P-384"), "EdDSA": ("OKP", "Ed25519")}
        made: Any = kind.get(algorithm, ("RSA", 2048))
        self.key: Any = jwk.generate_key(*made, {"kid": kid, "use": "sig", "alg": algorithm})

    @property
    def jwks(self) -> bytes:
        return as_json({"keys": [self.key.as_dict(private=False)]})

    def header(self, **changed: Any) -> dict[str, Any]:
        return _changed({"alg": self.algorithm, "kid": self.kid, "typ": "secevent+jwt"}, changed)

    def claims(self, event: str = "", members: Any = None, **changed: Any) -> dict[str, Any]:
        """What an honest SET says; None takes a claim out."""
        events = {event or CAEP + "session-presented": {} if members is None else members}
        honest = {"iss": self.name, "aud": AUDIENCE, "iat": NOW, "jti": f"jti-{next(_numbers)}"}
        return _changed({**honest, "sub_id": USER, "events": events}, changed)

    def set(self, event: str = "", members: Any = None, **changed: Any) -> bytes:
        """An honest SET, made by joserfc."""
        return self.signed(self.header(), self.claims(event, members, **changed))

    def signed(self, header: dict[str, Any], claims: Any) -> bytes:
        """These claims (or bytes) under this header, signed by joserfc."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # EdDSA has a newer name
            registry = jws.JWSRegistry(algorithms=[header["alg"]], strict_check_header=False)
            return jws.serialize_compact(header, as_json(claims), self.key, registry=registry).encode()

    def crafted(self, header: Any, claims: Any) -> bytes:
        """Whatever header and claims, really signed by this issuer."""
        signed = f"{b64(as_json(header))}.{b64(as_json(claims))}"
        model = jws.JWSRegistry.algorithms[self.algorithm]
        return f"{signed}.{b64(model.sign(signed.encode(), self.key))}".encode()


def write_settings(directory: Path, issuer: Issuer, more: str = "", *, name: str = "idp") -> None:
    """``ssf.toml`` with one transmitter, whose keys are in a file beside it."""
    (directory / f"{name}.json").write_bytes(issuer.jwks)
    (directory / "ssf.toml").write_text(
        f"""[transmitters.{name}]
issuer = "{issuer.name}"
audience = "{AUDIENCE}"
jwks = "{name}.json"
algorithms = ["{issuer.algorithm}"]
{more or NAMING.replace("idp", name)}"""
    )


NAMING = """
[transmitters.idp.subject]
email = "listed"
iss_sub = "oidc"

[transmitters.idp.device]
opaque = "listed"

[transmitters.idp.listed]
"algo-7@firm.example" = "algo-7"
"mdm-0001" = "host-1"
"""


@dataclass
class House:
    """Who is enrolled, in the place of an Authority."""

    subjects: set[str] = field(default_factory=lambda: {"algo-7", "algo-8"})
    devices: set[str] = field(default_factory=lambda: {"host-1", "host-2"})
    credentials: Mapping[str, str] = field(default_factory=dict)
    #: id, subject, device, when it was authenticated
    live: list[tuple[bytes, str, str, int]] = field(default_factory=list)
    #: Those that are over, and not forgotten.
    over: set[bytes] = field(default_factory=lambda: {SESSION})

    def has_subject(self, name: str) -> bool:
        return name in self.subjects

    def has_device(self, name: str) -> bool:
        return name in self.devices

    def owner(self, credential: str) -> str:
        return self.credentials.get(credential, "")

    def has_session(self, session: bytes) -> bool:
        return session in self.over or any(session == each[0] for each in self.live)

    def sessions(self, subjects: Collection[str], devices: Collection[str]) -> Iterator[LiveSession]:
        for session, subject, device, at in self.live:
            if (not subjects or subject in subjects) and (not devices or device in devices):
                yield LiveSession(session, at)


class Applied(list[Signal]):
    """Takes signals, or fails as it is told."""

    failing: Exception | None = None

    def __call__(self, signal: Signal) -> None:
        if self.failing is not None:
            raise self.failing
        self.append(signal)

    @property
    def told(self) -> list[tuple[str, str, tuple[str, str], bool]]:
        return [(each.kind, each.level.name, each.target, each.withdraws) for each in self]


def _changed(honest: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (honest | changed).items() if value is not None}
