"""What was judged of a subject, and what of it outlives the handshake.

A renewal shows less than the handshake did: it goes on from what is kept here. So this says when everything
was last shown, by which credential, and what evidence that comes next must be made for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from ztsession.authority.assurance import assurance_of
from ztsession.handshake.messages import MAX_SCOPES
from ztsession.identity.key_digests import KEY_DIGESTS_MAX
from ztsession.identity.protocol import VerifiedIdentity
from ztsession.identity.subjects import CREDENTIAL_MAX_BYTES
from ztsession.mfa.protocol import FactorShown
from ztsession.policy.attributes import SubjectAttributes
from ztsession.posture.appraisal import Appraisal
from ztsession.posture.devices import NO_DEVICE
from ztsession.posture.items import ITEMS, WORDS
from ztsession.risk.networks import NETWORK_MAX_BYTES
from ztsession.wire.schema import Integer, ListOf, MapOf, Message, Octets, OneOf, Scope, Text

__all__ = ["Basis", "Judged", "Standing"]

_LAST_SECOND = 2**63 - 1
#: What programs and packages a device runs is kept, because lists of bad ones change while it runs them.
MEASURED = ("program", "packages")
_MEASURED_MAX = 128


@dataclass(frozen=True)
class Judged:
    """Who and on what, as far as the evidence goes; ``authenticated_at`` (Unix seconds) is when the identity
    was proven.
    """

    identity: VerifiedIdentity
    appraisal: Appraisal
    authenticated_at: int
    factor: FactorShown | None = None

    @property
    def device(self) -> str:
        """The device's name, or "none"."""
        return self.appraisal.device or NO_DEVICE

    @property
    def attributes(self) -> SubjectAttributes:
        """The subject as policies see it."""
        who = self.identity
        return SubjectAttributes(who.subject, who.kind, who.roles, who.desk)

    @property
    def assurance(self) -> int:
        """1 to 3, see ``assurance_of``."""
        return assurance_of(self.identity, self.appraisal, self.factor)


@dataclass(frozen=True)
class Standing:
    """Where a client stands after an Outcome, so that more evidence can be put to it.

    ``session`` is empty before anything was granted. ``nonce`` is what the next evidence must be made for and
    ``mark`` the risk engine's count when it was made. Byte strings are 32 bytes but for ``session``, 16.
    """

    judged: Judged
    scopes: tuple[str, ...]
    static_key: bytes
    handshake_hash: bytes
    session_secret: bytes = field(repr=False)
    nonce: bytes
    mark: int
    session: bytes = b""
    supersedes: bytes = b""
    #: The risk engine's count when the first evidence was asked for, which no later nonce makes newer (H21).
    first_mark: int = 0
    #: Of the segments that were granted; "" before any was.
    environment: str = ""
    #: What was shown last ("posture", "factor"), by which signals can be answered.
    shown: frozenset[str] = frozenset()
    #: The address that the client came from last, "" if it has none.
    network: str = ""
    tries: int = 0


@dataclass(frozen=True)
class Basis(Message, kind="session-basis", max_bytes=32768):
    """What the store keeps of a session's evidence; times in Unix seconds, 0 and "" where there is none."""

    credential: Annotated[str, Text(CREDENTIAL_MAX_BYTES)]
    until: Annotated[int, Integer(0, _LAST_SECOND)]
    identity_assurance: Annotated[int, Integer(1, 3)]
    factor: Annotated[str, Text(32)]
    factor_assurance: Annotated[int, Integer(0, 3)]
    authenticated_at: Annotated[int, Integer(0, _LAST_SECOND)]
    scopes: Annotated[list[str], ListOf(Scope(), MAX_SCOPES)]
    handshake_hash: Annotated[bytes, Octets.exactly(32)]
    nonce: Annotated[bytes, Octets.exactly(32)]
    mark: Annotated[int, Integer(0, _LAST_SECOND)]
    #: Which of the device's keys it showed itself by.
    device_key: Annotated[str, Text(64)]
    #: A word for each item, as it was appraised last.
    posture: Annotated[dict[str, str], MapOf(OneOf(ITEMS), OneOf(WORDS), len(ITEMS))]
    environment: Annotated[str, Text(32)]
    #: The address that the client came from.
    network: Annotated[str, Text(NETWORK_MAX_BYTES)]
    #: Digests of what the device runs, by item, as far as it showed them.
    measured: Annotated[
        dict[str, str], MapOf(OneOf(MEASURED), Text(_MEASURED_MAX, min_bytes=1), len(MEASURED))
    ]
    #: When that was measured, and the posture.
    posture_at: Annotated[int, Integer(0, _LAST_SECOND)]
    #: The digests of the subject's keys, see ``VerifiedIdentity.keys``.
    keys: Annotated[list[bytes], ListOf(Octets.exactly(32), KEY_DIGESTS_MAX)]

    @classmethod
    def of(cls, standing: Standing) -> Basis:
        """What is kept of a client's standing."""
        judged = standing.judged
        return cls(
            credential=judged.identity.credential,
            until=judged.identity.until or 0,
            identity_assurance=judged.identity.assurance,
            factor=judged.factor.factor if judged.factor else "",
            factor_assurance=judged.factor.assurance if judged.factor else 0,
            authenticated_at=judged.authenticated_at,
            scopes=list(standing.scopes),
            handshake_hash=standing.handshake_hash,
            nonce=standing.nonce,
            mark=standing.mark,
            device_key=judged.appraisal.key,
            posture=dict(judged.appraisal.vector),
            environment=standing.environment,
            network=standing.network,
            measured={
                item: value
                for item, value in judged.appraisal.measurements.items()
                if item in MEASURED and 0 < len(value) <= _MEASURED_MAX
            },
            posture_at=judged.appraisal.collected_at,
            keys=list(map(bytes.fromhex, judged.identity.keys)),
        )

    @property
    def key_digests(self) -> tuple[str, ...]:
        """:attr:`keys` in hexadecimal."""
        return tuple(each.hex() for each in self.keys)

    @property
    def factor_shown(self) -> FactorShown | None:
        """The second factor that was shown, if any."""
        return FactorShown(self.factor, self.factor_assurance) if self.factor else None
