"""From evidence to a decision: who, on what, may do what, for how long.

A function of the evidence, the registries and the policies in force; but for a second factor, which is used
up by being shown, nothing is stored here. Whatever does not hold raises, with the exact cause for the audit
log; the peer hears one coarse word.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ztsession.authority.judged import Basis, Judged
from ztsession.errors import EvidenceError, HandshakeError
from ztsession.handshake.binding import binding
from ztsession.handshake.messages import Proof
from ztsession.identity.protocol import IdentityVerifier, VerifiedIdentity
from ztsession.identity.subjects import Subject, SubjectRegistry
from ztsession.mfa.factors import Factors
from ztsession.mfa.protocol import FactorShown
from ztsession.policy.compile import compile_grant
from ztsession.policy.engine import PolicyEngine
from ztsession.policy.grant import Grant
from ztsession.posture.appraisal import Appraisal, PostureAppraiser
from ztsession.posture.devices import NO_DEVICE
from ztsession.risk.detectors.settings import DetectorSettings
from ztsession.risk.rules import RiskRules
from ztsession.store.records import SessionRecord

__all__ = ["Decider"]


class Decider:
    """Judges evidence and compiles grants."""

    def __init__(
        self,
        identities: IdentityVerifier,
        appraiser: PostureAppraiser,
        policies: PolicyEngine,
        *,
        subjects: SubjectRegistry,
        factors: Factors | None = None,
        posture_required: bool,
        risk_rules: RiskRules | None = None,
        detectors: DetectorSettings | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._identities, self._appraiser, self.policies = identities, appraiser, policies
        self._subjects, self.second_factors, self._clock = subjects, factors, clock
        self.required = ["identity", "posture"] if posture_required else ["identity"]
        #: What signals do.
        self.risk_rules = risk_rules or RiskRules()
        #: What counts as too much, and who may report.
        self.detectors = detectors or DetectorSettings()
        #: Counts the changes of the rules that this Authority has seen; it sets it.
        self.version = 1

    # ---- Judging

    def judge(self, proof: Proof, handshake_hash: bytes, static_key: bytes, nonce: bytes) -> Judged:
        """Check all evidence for this handshake; EvidenceError says what does not hold."""
        identity = self._identities.verify(proof.identity, binding("identity", handshake_hash, static_key))
        judged = Judged(identity, Appraisal.unknown(), int(self._clock()))
        return self.add(judged, handshake_hash, static_key, nonce, posture=proof.posture, mfa=proof.mfa)

    def add(
        self,
        judged: Judged,
        handshake_hash: bytes,
        static_key: bytes,
        nonce: bytes,
        *,
        posture: bytes,
        mfa: bytes,
    ) -> Judged:
        """Check more evidence (b"" for none) of a subject that is known already; EvidenceError as above."""
        if posture:
            bound = binding("posture", handshake_hash, static_key)
            # A session stays on the device that it began on: another one is another session (H20).
            known = judged.appraisal.device or None
            appraisal = self._appraiser.appraise(posture, bound, nonce, now=self._clock(), device=known)
            judged = replace(judged, appraisal=appraisal)
        if mfa:
            factor = self._show(judged.identity, mfa, binding("mfa", handshake_hash, static_key))
            # A weaker factor that is shown later does not take away what a stronger one has given.
            if judged.factor is None or factor.assurance > judged.factor.assurance:
                judged = replace(judged, factor=factor)
        return judged

    def known(self, record: SessionRecord, basis: Basis) -> Judged:
        """What still holds of a session's evidence: all of it but the posture. EvidenceError if the subject
        or its credential is not what it was.
        """
        device = "" if record.device == NO_DEVICE else record.device
        appraisal = Appraisal({}, device, key=basis.device_key)
        subject = self._enrolled(basis.credential, record.subject, appraisal)
        identity = subject.identity(
            basis.identity_assurance, basis.credential, basis.until or None, keys=basis.key_digests
        )
        return Judged(identity, appraisal, basis.authenticated_at, basis.factor_shown)

    def still(self, judged: Judged) -> Judged:
        """What was judged before, by what is enrolled now: a subject may have lost a role, or everything,
        since its evidence was looked at. EvidenceError as above.
        """
        who = judged.identity
        subject = self._enrolled(who.credential, who.subject, judged.appraisal)
        return replace(
            judged, identity=subject.identity(who.assurance, who.credential, who.until, keys=who.keys)
        )

    def holder(self, credential: str, name: str) -> Subject:
        """The subject of this name, if the credential is still its own; EvidenceError if not."""
        # Asked by the credential: it may have been given to somebody else meanwhile.
        subject = self._subjects.holder(credential)
        if subject is None or subject.name != name:
            raise EvidenceError("the subject is no longer enrolled with the credential of this session")
        return subject

    def check_device(self, device: str, key: str) -> None:
        """EvidenceError unless the device of this name (not "none") is still enrolled with this key."""
        if not self._appraiser.knows(device, key):
            raise EvidenceError("the device is no longer enrolled with the key of this session")

    def _enrolled(self, credential: str, name: str, shown: Appraisal) -> Subject:
        subject = self.holder(credential, name)
        if shown.device:
            self.check_device(shown.device, shown.key)
        return subject

    def missing(self, judged: Judged) -> list[str]:
        """What must be shown before anything is granted: "posture", "mfa". HandshakeError if it cannot be."""
        missing = self.aged(judged)
        if "posture" in self.required and not judged.appraisal.device:
            missing.append("posture")
        subject = self._subjects.named(judged.identity.subject)
        if subject is not None and subject.mfa and judged.factor is None:
            if not self.factors(judged.identity):
                raise HandshakeError(f"{subject.name} needs a second factor and has none enrolled")
            missing.append("mfa")
        return missing

    def aged(self, judged: Judged) -> list[str]:
        """What has become too old to decide by: "posture", or nothing (H19)."""
        appraisal = judged.appraisal
        old = self._clock() - appraisal.collected_at > self._appraiser.max_age_s
        return ["posture"] if appraisal.device and old else []

    @property
    def posture_max_age_s(self) -> int:
        """How old posture may become."""
        return self._appraiser.max_age_s

    def device_keys(self, device: str) -> tuple[str, ...]:
        """The digests of a device's keys, see ``Device.key_digests``; none of one that is not enrolled."""
        return self._appraiser.key_digests(device)

    def enrolled(self, subject: str) -> bool:
        """Whether a subject of this name is enrolled, in the file or at run time."""
        return self._subjects.named(subject) is not None

    def subject(self, name: str) -> Subject | None:
        """The subject of this name, None if nobody of that name is enrolled."""
        return self._subjects.named(name)

    def owner(self, credential: str) -> Subject | None:
        """The subject that this credential belongs to, None if nobody's."""
        return self._subjects.holder(credential)

    def has_device(self, name: str) -> bool:
        """Whether a device of this name is enrolled, in the file or at run time."""
        return self._appraiser.has(name)

    def factors(self, identity: VerifiedIdentity) -> list[str]:
        """The second factors that this subject has; only people have any."""
        if self.second_factors is None or identity.kind != "human":
            return []
        return list(self.second_factors.enrolled(identity.subject))

    def _show(self, identity: VerifiedIdentity, evidence: bytes, bound: bytes) -> FactorShown:
        if self.second_factors is None or identity.kind != "human":
            raise EvidenceError("second factors are not taken here, or not of this subject")
        return self.second_factors.verify(identity.subject, evidence, bound)

    # ---- Deciding

    def grants(
        self, judged: Judged, session: bytes, scopes: Sequence[str], *, environment: str = ""
    ) -> list[Grant]:
        """What the policies allow of ``scopes``, one grant for each segment in which that is anything.

        All of one environment: ``environment`` if that is given, else the one that is asked for.
        HandshakeError for more than one.
        """
        policy, now = self.policies.current, int(self._clock())
        names = {scope.partition(".")[0] for scope in scopes} & set(policy.catalog.segments)
        environments = {policy.catalog.segment(name).environment for name in names}
        if len(environments | ({environment} - {""})) > 1:
            # Whatever leaks out of a test must be of no use in production.
            told = f"is of {environment}" if environment else "is of one environment"
            raise HandshakeError(
                f"a session {told}, and these were asked for: {', '.join(sorted(environments))}"
            )
        compiled = (
            compile_grant(
                policy,
                policy.catalog,
                segment,
                judged.attributes,
                device=judged.device,
                posture=judged.appraisal.vector,
                posture_digest=judged.appraisal.digest,
                assurance=judged.assurance,
                session=session,
                scopes=scopes,
                issued_at=now,
                version=self.version,
            )
            for segment in sorted(names)
        )
        return [grant for grant in compiled if grant is not None]
