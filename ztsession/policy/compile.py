"""From policies to bitmaps: every question that a session may ask is answered here, once, before it is asked.

For each mode the grant gets one bitmap, decided for the risk that puts a session in that mode. An operation
that would be allowed if only the subject had shown more assurance is kept apart as step-up: the enforcement
point can then say what would help, instead of a plain no. Step-up never reaches into the worse modes: a
session in trouble is not the place for rights that were not fully earned.

What depends on time is decided again for each moment at which the answer could be another. From the first one
on at which it is another, the grant holds only what is allowed at all of them. So a bit never outlives the
hour for which it was given, and what does not depend on the hour outlives it: after the close orders can
still be cancelled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from ztsession.errors import PolicyError
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.catalog import RISKS, Catalog, Operation, Segment
from ztsession.policy.engine import PolicySet
from ztsession.policy.grant import Grant
from ztsession.policy.tighten import Less
from ztsession.wire.names import is_scope

__all__ = ["ASSURANCE_MAX", "SCOPES_MAX", "Case", "Compiled", "compile_grant", "wanted"]

ASSURANCE_MAX: Final = 3
SCOPES_MAX: Final = 256
#: Moments that are looked at for one grant; if there are more of them, nothing in it lasts.
CHANGES_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Compiled:
    """The answers for one session and segment: bitmaps for NORMAL, RESTRICTED and SUSPENDED, and what of
    NORMAL wants more assurance first.
    """

    allowed: tuple[int, int, int]
    step_up: int

    @property
    def less(self) -> Less:
        """The same, to be taken together with others."""
        return Less(self.allowed, self.step_up)


@dataclass(frozen=True)
class Case:
    """One session before the policies: who, on what, how sure; and what it asks for.

    ``posture``: a word for each item; ``scopes``: "segment.operation" or "segment.*". PolicyError, also of
    the methods, for what cannot be asked or evaluated.
    """

    policy: PolicySet
    identity: SubjectAttributes
    device: str
    posture: Mapping[str, str]
    assurance: int
    scopes: Sequence[str]

    def compiled(self, segment: Segment, at: float) -> Compiled:
        """The answers in one segment at ``at`` (Unix seconds)."""
        asked = wanted(segment, self.scopes)
        fit = [o for o in asked if not o.lacks(self.posture)]
        now = self._permitted(segment, fit, at)
        modes = [_bits(o for o in now if o.assurance <= self.assurance)]
        for risk in RISKS[1:]:
            # Each mode is a step down: what the better one refuses is not asked for again.
            left = [o for o in now if o.bit & modes[-1] and o.runs_at(risk)]
            depends = self.policy.mentions.risk
            modes.append(_bits(self._permitted(segment, left, at, risk=risk) if depends else left))
        # Asked twice only where the answer could differ: evaluation is most of what a handshake costs.
        refused = [o for o in fit if o not in now] if self.assurance < ASSURANCE_MAX else []
        later = self._permitted(segment, refused, at, assurance=ASSURANCE_MAX)
        ready, restricted, suspended = modes
        step_up = _bits([*now, *later]) & ~ready
        return Compiled((ready | step_up, restricted, suspended), step_up)

    def lasting(self, segment: Segment, now: float, before: float, compiled: Compiled) -> tuple[int, Less]:
        """When the answers in ``segment`` cease to be ``compiled``, in Unix seconds (0: not before
        ``before``), and what holds at every moment until then.
        """
        policy, until, left = self.policy, 0, compiled.less
        changes = policy.calendar.changes(now, before, policy.mentions)
        for looked_at, moment in enumerate(islice(changes, CHANGES_MAX), start=1):
            later = self.compiled(segment, moment) if looked_at < CHANGES_MAX else _NOTHING
            until = until or (int(moment) if later != compiled else 0)
            left &= later.less
        return until, left

    def _permitted(
        self,
        segment: Segment,
        operations: Sequence[Operation],
        at: float,
        *,
        risk: str = RISKS[0],
        assurance: int = 0,
    ) -> list[Operation]:
        if not operations:
            return []
        decisions = self.policy.decide(
            self.identity,
            segment,
            operations,
            device=self.device,
            posture=self.posture,
            assurance=assurance or self.assurance,
            risk=risk,
            at=at,
        )
        return [o for o, decision in zip(operations, decisions, strict=True) if decision.allowed]


_NOTHING: Final = Compiled((0, 0, 0), 0)


def compile_grant(
    policy: PolicySet,
    catalog: Catalog,
    segment: str,
    identity: SubjectAttributes,
    *,
    device: str,
    posture: Mapping[str, str],
    posture_digest: bytes,
    assurance: int,
    session: bytes,
    scopes: Sequence[str],
    issued_at: int,
    version: int = 1,
) -> Grant | None:
    """Compile one session's grant for ``segment``; None when nothing in it is allowed, not even by stepping
    up.

    ``session``: 16 bytes; ``posture_digest``: 32 bytes; ``scopes``: "segment.operation" or "segment.*";
    ``issued_at``: unix seconds; ``version``: of the rules. Raises PolicyError when the question is malformed
    or cannot be evaluated, and ConfigurationError when the catalog has no such segment.
    """
    if policy.catalog.digest != catalog.digest:
        raise PolicyError("the policies were loaded for another version of the catalog")
    table = catalog.segment(segment)
    case = Case(policy, identity, device, posture, assurance, scopes)
    compiled = case.compiled(table, issued_at)
    if not compiled.allowed[0]:
        return None
    until, left = case.lasting(table, issued_at, issued_at + table.lifetime_s, compiled)
    # What wants a step-up at some later time and none now cannot be told to do so then: it is gone.
    lost = left.step_up & ~compiled.step_up
    return Grant(
        session=session,
        subject=identity.subject,
        device=device,
        segment=segment,
        environment=table.environment,
        catalog=table.digest,
        policy=policy.digest,
        version=version,
        posture=posture_digest,
        assurance=assurance,
        operations={
            o.full_name: [o.index, o.max_age_us, o.stale_ms, int(o.ordered)] for o in table.operations
        },
        allowed=list(compiled.allowed),
        step_up=compiled.step_up,
        epoch_length_us=table.epoch_length_s * 1_000_000,
        lifetime_s=table.lifetime_s,
        idle_s=table.idle_s,
        until=until,
        lasting=[bits & ~lost for bits in left.allowed],
        issued_at=issued_at,
    )


def wanted(segment: Segment, scopes: Sequence[str]) -> list[Operation]:
    """The operations of ``segment`` that ``scopes`` name; a scope that names nothing here asks for nothing
    here.
    """
    if len(scopes) > SCOPES_MAX or not all(is_scope(scope) for scope in scopes):
        raise PolicyError(f"scopes: expected at most {SCOPES_MAX} of the form segment.operation or segment.*")
    everything = f"{segment.name}.*" in scopes
    return [o for o in segment.operations if everything or o.full_name in scopes]


def _bits(operations: Iterable[Operation]) -> int:
    bitmap = 0
    for operation in operations:
        bitmap |= operation.bit
    return bitmap
