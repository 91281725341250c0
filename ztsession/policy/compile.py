"""From policies to bitmaps: every question that a session may ask is answered here, once, before it is asked.

For each mode the grant gets one bitmap. An operation that would be allowed if only the subject had shown more
assurance is kept apart as step-up: the enforcement point can then say what would help, instead of a plain no.
The worse modes are taken from NORMAL by what operations do, and step-up never reaches into them: a session in
trouble is not the place for rights that were not fully earned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from ztsession.errors import PolicyError
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.catalog import Catalog, Operation, Segment
from ztsession.policy.engine import PolicySet
from ztsession.policy.grant import Grant
from ztsession.wire.names import is_scope

__all__ = ["ASSURANCE_MAX", "SCOPES_MAX", "compile_grant", "wanted"]

ASSURANCE_MAX: Final = 3
SCOPES_MAX: Final = 256


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
) -> Grant | None:
    """Compile one session's grant for ``segment``; None when nothing in it is allowed, not even by stepping
    up.

    ``session``: 16 bytes; ``posture_digest``: 32 bytes; ``scopes``: "segment.operation" or "segment.*";
    ``issued_at``: unix seconds. Raises PolicyError when the question is malformed or cannot be evaluated, and
    ConfigurationError when the catalog has no such segment.
    """
    if policy.catalog.digest != catalog.digest:
        raise PolicyError("the policies were loaded for another version of the catalog")
    table = catalog.segment(segment)
    asked = wanted(table, scopes)
    ask = partial(_permitted, policy, table, identity=identity, device=device, posture=posture)
    now = ask(asked, assurance=assurance)
    ready = _bits(o for o in now if o.assurance <= assurance)
    # Asked twice only where the answer could differ: evaluation is most of what a handshake costs.
    refused = [o for o in asked if o not in now] if assurance < ASSURANCE_MAX else []
    later = ask(refused, assurance=ASSURANCE_MAX) if refused else []
    step_up = _bits([*now, *later]) & ~ready
    if not ready | step_up:
        return None
    return Grant(
        session=session,
        subject=identity.subject,
        device=device,
        segment=segment,
        catalog=table.digest,
        policy=policy.digest,
        posture=posture_digest,
        assurance=assurance,
        operations={
            o.full_name: [o.index, o.max_age_us, o.stale_ms, int(o.ordered)] for o in table.operations
        },
        allowed=_modes(table, ready, step_up),
        step_up=step_up,
        epoch_length_us=table.epoch_length_s * 1_000_000,
        lifetime_s=table.lifetime_s,
        idle_s=table.idle_s,
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


def _permitted(
    policy: PolicySet,
    segment: Segment,
    operations: Sequence[Operation],
    *,
    identity: SubjectAttributes,
    device: str,
    posture: Mapping[str, str],
    assurance: int,
) -> list[Operation]:
    decisions = policy.decide(
        identity, segment, operations, device=device, posture=posture, assurance=assurance
    )
    return [o for o, decision in zip(operations, decisions, strict=True) if decision.allowed]


def _modes(segment: Segment, ready: int, step_up: int) -> list[int]:
    gentle = ready & _bits(o for o in segment.operations if o.effect in ("risk-reducing", "read"))
    always = gentle & _bits(o for o in segment.operations if o.always_allowed)
    return [ready | step_up, gentle, always]


def _bits(operations: Iterable[Operation]) -> int:
    bitmap = 0
    for operation in operations:
        bitmap |= operation.bit
    return bitmap
