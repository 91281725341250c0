"""From evidence to a decision: who, on what, may do what, for how long.

A pure function of the evidence, the registries and the policies in force; nothing is stored here. Whatever
does not hold raises, with the exact cause for the audit log; the peer hears one coarse word.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ztsession.errors import EvidenceError
from ztsession.handshake.binding import binding
from ztsession.handshake.messages import Proof
from ztsession.identity.protocol import IdentityVerifier, VerifiedIdentity
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.compile import compile_grant
from ztsession.policy.engine import PolicyEngine
from ztsession.policy.grant import Grant
from ztsession.posture.appraisal import Appraisal, PostureAppraiser

__all__ = ["Decider", "Judged"]

#: Proven by a second thing besides the subject's key: the enrolled device's.
ASSURANCE_WITH_DEVICE = 2
#: Stands where no device was shown; policies see its posture as unknown throughout.
NO_DEVICE = "none"


@dataclass(frozen=True)
class Judged:
    """Who and on what, as far as the evidence goes."""

    identity: VerifiedIdentity
    appraisal: Appraisal

    @property
    def device(self) -> str:
        """The device's name, or "none"."""
        return self.appraisal.device or NO_DEVICE

    @property
    def assurance(self) -> int:
        """NIST SP 800-63B-4 level, 1 to 3."""
        return max(self.identity.assurance, ASSURANCE_WITH_DEVICE if self.appraisal.device else 1)


class Decider:
    """Judges evidence and compiles grants."""

    def __init__(
        self,
        identities: IdentityVerifier,
        appraiser: PostureAppraiser,
        policies: PolicyEngine,
        *,
        posture_required: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._identities, self._appraiser, self.policies = identities, appraiser, policies
        self._clock = clock
        self.required = ["identity", "posture"] if posture_required else ["identity"]

    def judge(self, proof: Proof, handshake_hash: bytes, static_key: bytes, nonce: bytes) -> Judged:
        """Check all evidence for this handshake; EvidenceError says what does not hold."""
        identity = self._identities.verify(proof.identity, binding("identity", handshake_hash, static_key))
        if proof.posture:
            bound = binding("posture", handshake_hash, static_key)
            appraisal = self._appraiser.appraise(proof.posture, bound, nonce, now=self._clock())
        elif "posture" in self.required:
            raise EvidenceError("posture evidence is required and none was given")
        else:
            appraisal = Appraisal.unknown()
        return Judged(identity, appraisal)

    def grants(self, judged: Judged, session: bytes, scopes: Sequence[str]) -> list[Grant]:
        """What the policies allow of ``scopes``, one grant for each segment in which that is anything."""
        policy = self.policies.current
        who = judged.identity
        attributes = SubjectAttributes(who.subject, who.kind, who.roles, who.desk)
        compiled = (
            compile_grant(
                policy,
                policy.catalog,
                segment,
                attributes,
                device=judged.device,
                posture=judged.appraisal.vector,
                posture_digest=judged.appraisal.digest,
                assurance=judged.assurance,
                session=session,
                scopes=scopes,
                issued_at=int(self._clock()),
            )
            for segment in sorted(
                {scope.partition(".")[0] for scope in scopes} & set(policy.catalog.segments)
            )
        )
        return [grant for grant in compiled if grant is not None]
