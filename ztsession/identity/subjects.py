"""Who is enrolled: subjects, what the firm knows about them, and the credentials that prove each.

There are two registries, a file that the operator writes and a table that fills while the Authority runs.
Where both name a subject the file is right, because whoever can write the table should not thereby be able to
change what the operator said.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated, Protocol, cast

from ztsession.errors import ConfigurationError, EvidenceError
from ztsession.identity.enrolments import Enrolments
from ztsession.identity.oidc_name import SUBJECT_MAX_BYTES, is_issuer, is_subject
from ztsession.identity.protocol import SubjectKind, VerifiedIdentity
from ztsession.wire.names import is_name
from ztsession.wire.operator_file import Table, read_toml
from ztsession.wire.schema import Flag, ListOf, Message, Name, OneOf, Text

__all__ = [
    "CREDENTIAL_MAX_BYTES",
    "KINDS",
    "AllSubjects",
    "FileSubjects",
    "StoredSubjects",
    "Subject",
    "SubjectRegistry",
    "ed25519_credential",
    "oidc_credential",
]

KINDS: tuple[SubjectKind, ...] = ("algorithm", "human", "service")
CREDENTIAL_MAX_BYTES = 1024
_CREDENTIALS_MAX, _ROLES_MAX = 8, 64


@dataclass(frozen=True)
class Subject:
    """One enrolled subject. ``credentials`` are the texts that ``VerifiedIdentity.credential`` explains;
    ``mfa``: no session without a second factor.
    """

    name: str
    kind: SubjectKind
    roles: tuple[str, ...] = ()
    desk: str = ""
    credentials: tuple[str, ...] = ()
    mfa: bool = False

    def __post_init__(self) -> None:
        named = (self.name, *self.roles, *([self.desk] if self.desk else []))
        if not all(map(is_name, named)):
            raise ConfigurationError("subject: names have 1 to 128 characters from A-Z a-z 0-9 . _ : / @ -")
        if self.kind not in KINDS:
            raise ConfigurationError(f"kind: expected one of {', '.join(KINDS)}")
        if self.mfa and self.kind != "human":
            raise ConfigurationError("mfa: expected only of humans, nobody else has a second factor to show")
        # The evidence names the subject and not the key: a second one would never be asked for.
        if sum(each.startswith(ed25519_credential(b"")) for each in self.credentials) > 1:
            raise ConfigurationError("credentials: expected at most one Ed25519 key")

    def identity(
        self, assurance: int, credential: str, until: int | None = None, *, keys: tuple[str, ...] = ()
    ) -> VerifiedIdentity:
        """Return what it means that ``credential`` was proven at this assurance (1 to 3), by ``keys``."""
        return VerifiedIdentity(
            self.name, self.kind, self.roles, self.desk, assurance, credential, until, keys
        )

    def to_bytes(self) -> bytes:
        """The canonical form, for the store; WireError when something is too long."""
        return _SubjectForm(
            self.name, self.kind, list(self.roles), self.desk, list(self.credentials), self.mfa
        ).to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Subject:
        """Read the canonical form."""
        form = _SubjectForm.from_bytes(data)
        kind = cast(SubjectKind, form.sort)
        return cls(form.name, kind, tuple(form.roles), form.desk, tuple(form.credentials), form.mfa)


class SubjectRegistry(Protocol):
    """Finds subjects."""

    def named(self, name: str) -> Subject | None:
        """The subject of this name, None if nobody of that name is enrolled."""

    def holder(self, credential: str) -> Subject | None:
        """The subject that this credential belongs to, None if nobody's."""


class FileSubjects:
    """The subjects of a TOML file.

    [subjects."algo-7"]
    kind = "algorithm"            # or "human", "service"
    roles = ["market-maker"]
    desk = "rates"
    public_key = "64 hexadecimal digits"                     # Ed25519
    spiffe_id = "spiffe://firm.example/algo-7"               # X.509 with a SPIFFE ID
    dns_name = "algo-7.firm.example"                         # X.509 with a DNS name
    oidc_issuer = "https://login.firm.example"               # OIDC, with
    oidc_subject = "00u1x8"
    mfa = true                                               # a second factor is demanded, default false
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read the file; ``ConfigurationError`` names file, line and what was expected."""
        self._path = path
        self._subjects, self._holders = _read_subjects(path)

    def reload(self) -> None:
        """Read the file again; on ``ConfigurationError`` the subjects known before stay as they were."""
        self._subjects, self._holders = _read_subjects(self._path)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all subjects."""
        return tuple(self._subjects)

    def named(self, name: str) -> Subject | None:
        """The subject of this name."""
        return self._subjects.get(name)

    def holder(self, credential: str) -> Subject | None:
        """The subject that this credential belongs to."""
        return self._holders.get(credential)


class StoredSubjects:
    """The subjects that were enrolled while the Authority runs."""

    def __init__(self, enrolments: Enrolments) -> None:
        self._enrolments = enrolments

    def named(self, name: str) -> Subject | None:
        """The subject of this name."""
        found = self._enrolments.get("subject", name)
        return None if found is None else Subject.from_bytes(found[1])

    def holder(self, credential: str) -> Subject | None:
        """The subject that this credential belongs to."""
        found = self._enrolments.get("credential", credential)
        return None if found is None else self.named(found[1].decode("ascii"))

    def enrol(self, subject: Subject) -> None:
        """Enrol a subject, or replace its enrolment; ConfigurationError for a credential of somebody else."""
        data = subject.to_bytes()
        with self._enrolments.transaction():
            for credential in subject.credentials:
                other = self.holder(credential)
                if other is not None and other.name != subject.name:
                    raise ConfigurationError(f"the credential {credential!r} belongs to {other.name}")
            self.remove(subject.name)
            self._enrolments.put("subject", subject.name, data, expected=0)
            for credential in subject.credentials:
                self._enrolments.put("credential", credential, subject.name.encode("ascii"), expected=0)

    def remove(self, name: str) -> bool:
        """End an enrolment; False when there was none. Sessions that live are not touched."""
        with self._enrolments.transaction():
            subject = self.named(name)
            if subject is None:
                return False
            for credential in subject.credentials:
                self._enrolments.remove("credential", credential)
            return self._enrolments.remove("subject", name)


class AllSubjects:
    """Several registries as one; of two that name a subject the first is right."""

    def __init__(self, *registries: SubjectRegistry) -> None:
        self._registries = registries

    def named(self, name: str) -> Subject | None:
        """The subject of this name."""
        return next((found for each in self._registries if (found := each.named(name)) is not None), None)

    def holder(self, credential: str) -> Subject | None:
        """The subject that this credential belongs to."""
        found = next((s for each in self._registries if (s := each.holder(credential)) is not None), None)
        # A later registry must not lend a name of an earlier one to another credential.
        return found if found is not None and self.named(found.name) == found else None


@dataclass(frozen=True)
class _SubjectForm(Message, kind="subject", max_bytes=16384):
    name: Annotated[str, Name()]
    sort: Annotated[str, OneOf(KINDS)]
    roles: Annotated[list[str], ListOf(Name(), _ROLES_MAX)]
    desk: Annotated[str, Name(optional=True)]
    credentials: Annotated[list[str], ListOf(Text(CREDENTIAL_MAX_BYTES, 1), _CREDENTIALS_MAX)]
    mfa: Annotated[bool, Flag()]


def ed25519_credential(public_key: bytes) -> str:
    """The credential text of an Ed25519 public key (32 bytes)."""
    return f"ed25519:{public_key.hex()}"


def oidc_credential(issuer: str, subject: str) -> str:
    """The credential text of an OpenID subject: an issuer has no blank in it, so no two pairs look alike."""
    return f"oidc:{issuer} {subject}"


def _read_subjects(path: str | os.PathLike[str]) -> tuple[dict[str, Subject], dict[str, Subject]]:
    root = read_toml(path)
    root.allow_only("subjects")
    subjects: dict[str, Subject] = {}
    holders: dict[str, Subject] = {}
    for name, table in root.table("subjects").holders():
        subject = subjects[name] = _read_subject(name, table)
        for credential in subject.credentials:
            other = holders.setdefault(credential, subject)
            if other is not subject:
                raise table.error(f"has the same credential as {other.name}: {credential}")
    return subjects, holders


def _read_subject(name: str, table: Table) -> Subject:
    ways = ("public_key", "spiffe_id", "dns_name", "oidc_issuer")
    table.allow_only("kind", "roles", "desk", "mfa", "oidc_subject", *ways)
    roles = table.texts("roles")
    if not all(map(is_name, roles)):
        raise table.error("expected names from A-Z a-z 0-9 . _ : / @ -", "roles")
    desk = table.name("desk") if table.text("desk", "") else ""
    credentials = _read_credentials(table)
    if not credentials:
        raise table.error(f"expected a way to prove it: one or more of {', '.join(ways)}")
    kind = cast(SubjectKind, table.word("kind", KINDS))
    if kind != "human" and table.flag("mfa", False):
        raise table.error("expected only of humans, nobody else has a second factor to show", "mfa")
    return Subject(name, kind, tuple(roles), desk, tuple(credentials), table.flag("mfa", False))


def _read_credentials(table: Table) -> list[str]:
    credentials = []
    if table.has("public_key"):
        credentials.append(ed25519_credential(table.public_key("public_key")))
    if table.has("spiffe_id"):
        credentials.append(_read_spiffe_id(table))
    if table.has("dns_name"):
        credentials.append(_read_dns_name(table))
    if table.has("oidc_issuer") or table.has("oidc_subject"):
        credentials.append(_read_oidc_names(table))
    if any(len(text.encode()) > CREDENTIAL_MAX_BYTES for text in credentials):
        raise table.error(f"expected credentials of at most {CREDENTIAL_MAX_BYTES} bytes")
    return credentials


def _read_spiffe_id(table: Table) -> str:
    from ztsession.identity.x509_name import trust_domain_of

    try:
        trust_domain_of(table.text("spiffe_id"))
    except EvidenceError:
        raise table.error(
            "expected spiffe://trust-domain/path, the domain in lower case", "spiffe_id"
        ) from None
    return table.text("spiffe_id")


def _read_dns_name(table: Table) -> str:
    from ztsession.identity.x509_name import is_host_name

    if not is_host_name(table.text("dns_name")):
        raise table.error("expected one host's name, such as algo-7.firm.example", "dns_name")
    return f"dns:{table.text('dns_name').lower()}"


def _read_oidc_names(table: Table) -> str:
    issuer, subject = table.text("oidc_issuer"), table.text("oidc_subject")
    if not is_issuer(issuer):
        raise table.error("expected the issuer as in its tokens, https://...", "oidc_issuer")
    if not is_subject(subject):
        expected = f"expected the subject as in tokens, 1 to {SUBJECT_MAX_BYTES} printable ASCII characters"
        raise table.error(expected, "oidc_subject")
    return oidc_credential(issuer, subject)
