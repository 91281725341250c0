"""Whose events are believed, how far, and what their identifiers mean: ``ssf.toml`` of the policy directory.

    [transmitters.okta]
    issuer = "https://firm.okta.example"     # as in the SETs' iss
    audience = "https://zts.firm.example"    # one of the SETs' aud
    jwks_url = "https://firm.okta.example/keys"    # or jwks = "okta.json", a file of this directory
    algorithms = ["ES256"]                   # default; asymmetric ones only
    events = ["session-revoked"]             # default: all of CAEP and RISC
    highest = "HIGH"                         # default CRITICAL; what is worse counts as this
    token_sha256 = "64 hexadecimal digits"   # of the bearer token that it pushes with; default: none
    per_s = 100                              # default; pushed SETs a second from one address
    tenant = "123456789"                     # default: any
    critical = ["tenant"]                    # members of a subject that must not be passed over

    [transmitters.okta.subject]              # by format, what an identifier of a user is
    iss_sub = "oidc"                         # default: who has this OpenID credential
    email = "name"                           # it is our name
    opaque = "listed"                        # it stands below

    [transmitters.okta.device]
    opaque = "listed"                        # or "name"; default: none is known

    [transmitters.okta.session]
    opaque = "id"                            # default: the 32 digits of our own session ids

    [transmitters.okta.listed]
    "e9297990-14d2-42ec" = "host-1"

Whoever stands here can stop every desk whose name it can say. So nothing is guessed: no discovery, no
algorithm that was not listed, keys from one place; and ``highest`` bounds what it can do at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from ztsession.identity.oidc_settings import read_algorithms, read_keys
from ztsession.risk.levels import Level
from ztsession.risk.ssf.events import EVENTS
from ztsession.risk.ssf.naming import AS_DEVICE, AS_SESSION, AS_SUBJECT, Naming
from ztsession.risk.ssf.sets import SetIssuer
from ztsession.risk.ssf.subjects import FORMATS, MEMBERS
from ztsession.wire.names import is_name
from ztsession.wire.operator_file import Table, read_toml

__all__ = ["FILE", "SsfSettings", "Transmitter"]

FILE: Final = "ssf.toml"
PER_S: Final = 100
#: "ssf:" and a name must be a name.
_NAME_MAX_BYTES: Final = 64
_LISTED_MAX: Final = 65_536
_KEYS: Final = (
    "issuer",
    "audience",
    "jwks",
    "jwks_url",
    "algorithms",
    "events",
    "highest",
    "token_sha256",
    "per_s",
    "tenant",
    "critical",
    "subject",
    "device",
    "session",
    "listed",
)
#: What only an identifier of one format can be.
_ONLY: Final[Mapping[str, str]] = {"oidc": "iss_sub", "spiffe": "uri"}


@dataclass(frozen=True)
class Transmitter:
    """One transmitter that is believed. ``events``: the names of those that it may send; ``token_digest``:
    the SHA-256 of its bearer token, b"" if it needs none.
    """

    name: str
    sets: SetIssuer
    naming: Naming
    events: frozenset[str] = frozenset(EVENTS)
    highest: Level = Level.CRITICAL
    token_digest: bytes = field(default=b"", repr=False)
    per_s: int = PER_S

    @property
    def source(self) -> str:
        """What its signals have as their source."""
        return f"ssf:{self.name}"


@dataclass(frozen=True)
class SsfSettings:
    """All of them, by name."""

    transmitters: Mapping[str, Transmitter]

    @classmethod
    def from_directory(cls, directory: str | os.PathLike[str]) -> Self:
        """Read ``ssf.toml`` if there is one; ConfigurationError names file, line and what was expected."""
        path = Path(directory) / FILE
        if not (path.exists() or path.is_symlink()):
            return cls({})
        root = read_toml(path)
        # The other direction has a table of its own, and a reader of its own.
        root.allow_only("transmitters", "transmitter")
        found = {
            name: _transmitter(name, table, Path(directory))
            for name, table in root.table("transmitters").tables()
        }
        _check_apart(found.values(), root)
        return cls(found)


def _check_apart(transmitters: Iterable[Transmitter], root: Table) -> None:
    seen: dict[object, str] = {}
    for each in transmitters:
        # Two behind one token, or one issuer to one audience, could each pass for the other.
        for what in filter(None, (each.token_digest, (each.sets.issuer, each.sets.audience))):
            if seen.setdefault(what, each.name) != each.name:
                raise root.error(f"{each.name} has the token, or issuer and audience, of {seen[what]}")


def _transmitter(name: str, table: Table, directory: Path) -> Transmitter:
    table.allow_only(*_KEYS)
    if not is_name(name) or "/" in name or len(name) > _NAME_MAX_BYTES:
        raise table.error(f"expected a name of at most {_NAME_MAX_BYTES} characters A-Z a-z 0-9 . _ : @ -")
    from ztsession.identity.jwks_fetch import is_fetchable

    issuer = table.text("issuer")
    if not is_fetchable(issuer) or "?" in issuer:
        raise table.error("expected the issuer as in its SETs, https://...", "issuer")
    if not table.text("audience"):
        raise table.error("expected the audience that SETs for this Authority name", "audience")
    keys = read_keys(f"{issuer} ({name})", table, directory)
    return Transmitter(
        name,
        SetIssuer(issuer, table.text("audience"), keys, read_algorithms(table)),
        _naming(issuer, table),
        _events(table),
        Level[table.word("highest", tuple(level.name for level in Level))]
        if table.has("highest")
        else Level.CRITICAL,
        table.octets("token_sha256", 32) if table.has("token_sha256") else b"",
        table.integer("per_s", PER_S, low=1, high=100_000),
    )


def _events(table: Table) -> frozenset[str]:
    named = table.texts("events") if table.has("events") else list(EVENTS)
    if not named or not set(named) <= EVENTS.keys():
        raise table.error(f"expected some of {', '.join(EVENTS)}", "events")
    return frozenset(named)


def _naming(issuer: str, table: Table) -> Naming:
    critical = table.texts("critical")
    if not set(critical) <= set(MEMBERS):
        raise table.error(f"expected some of {', '.join(MEMBERS)}", "critical")
    return Naming(
        issuer,
        _ways(table, "subject", AS_SUBJECT) if table.has("subject") else {"iss_sub": "oidc"},
        _ways(table, "device", AS_DEVICE),
        _ways(table, "session", AS_SESSION) if table.has("session") else {"opaque": "id"},
        _listed(table.table("listed")),
        table.text("tenant", ""),
        tuple(critical),
    )


def _ways(table: Table, key: str, words: tuple[str, ...]) -> dict[str, str]:
    ways = table.table(key)
    ways.allow_only(*FORMATS)
    formats = ways.keys()
    found = {kind: ways.word(kind, words) for kind in formats}
    for kind, way in found.items():
        if _ONLY.get(way, kind) != kind:
            raise ways.error(f"only {_ONLY[way]} can be {way}", kind)
    return found


def _listed(table: Table) -> dict[str, str]:
    identifiers = table.keys()
    if len(identifiers) > _LISTED_MAX:
        raise table.error(f"expected at most {_LISTED_MAX} names")
    return {identifier: table.name(identifier) for identifier in identifiers}
