"""From a decision to a session: decide, record (audit and store, durably), publish; in this order.

What cannot be recorded is not granted. A session that takes another's place ends that other one: at once if
everything was proven anew, because the old one may be in bad hands; after a short overlap if the session is
merely renewed, so that messages under way still arrive. It never ends later than it would have without: a
renewal moves no absolute end (K8).
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ztsession.audit.sink import AuditSink
from ztsession.authority.announcing import Announcer
from ztsession.authority.changes import ChangeLog
from ztsession.authority.decision import Decider
from ztsession.authority.judged import Basis, Standing
from ztsession.authority.keys import AuthorityKeys
from ztsession.authority.live import LiveGrants
from ztsession.bus.change import Change
from ztsession.errors import EvidenceError, HandshakeError, WireError
from ztsession.handshake.messages import Outcome
from ztsession.limits import OVERLAP_S
from ztsession.policy.grant import Grant
from ztsession.risk.engine import RiskEngine
from ztsession.risk.levels import Mode
from ztsession.risk.session import SessionRisk
from ztsession.store.records import SessionRecord
from ztsession.store.sqlite import SqliteStore
from ztsession.tickets.secrets import segment_secret
from ztsession.tickets.ticket import TicketBody, seal_ticket

__all__ = ["Granting"]

#: Ends that may be kept of sessions that are over, before it is worth a look at which these are.
_ENDS_SPARE = 256


@dataclass(frozen=True)
class _Replaced:
    """The session that ends for the new one; ``renewed``: with an overlap, and its signals stay.

    ``line``: the ids of all that end at once, if it is not.
    """

    record: SessionRecord
    renewed: bool
    line: tuple[bytes, ...] = ()


class Granting:
    """Makes sessions. Not thread-safe: the Authority holds its lock."""

    def __init__(
        self,
        name: str,
        keys: AuthorityKeys,
        store: SqliteStore,
        audit: AuditSink,
        changes: ChangeLog,
        risk: RiskEngine,
        live: LiveGrants,
        announcer: Announcer,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._name, self._keys, self._store, self._audit = name, keys, store, audit
        self._changes, self._risk, self._live, self._clock = changes, risk, live, clock
        self._announcer = announcer
        now = int(clock())
        #: Called with where a client stands, before anything is decided by that; each gives where it stands
        #: then.
        self.before: list[Callable[[Standing], Standing]] = []
        self._ends = [(record.expires_at, record.id) for record in store.live_sessions(now)]
        #: Sessions in their overlap, and those that renewed them.
        self._overlapping: dict[bytes, bytes] = {}
        for old in store.renewed_sessions(now - OVERLAP_S):
            self._overlapping[old.id] = old.superseded_by or b""
            self._ends.append((now + OVERLAP_S, old.id))
        heapq.heapify(self._ends)

    def grant(self, decider: Decider, standing: Standing) -> tuple[Outcome, Standing]:
        """Grant a new session for what a client has shown, with what it needs to go on from there.

        ``standing.session`` is the session that it renews, ``standing.supersedes`` one that it replaces with
        full evidence. Raises what speaks against it; then nothing has changed.
        """
        for look in self.before:
            standing = look(standing)
        judged, session, now = standing.judged, os.urandom(16), int(self._clock())
        replaced = self._replaced(standing)
        grants = decider.grants(judged, session, standing.scopes, environment=standing.environment)
        if not grants:
            wanted = ", ".join(standing.scopes)
            raise HandshakeError(f"the policies allow {judged.identity.subject} none of {wanted}")
        risk = self._watch(session, standing, replaced)
        try:
            if risk.mode >= Mode.SUSPENDED:
                raise HandshakeError(
                    f"the session would begin {risk.mode.name}: {self._risk.explain(session)}"
                )
            granted = replace(
                standing,
                session=session,
                nonce=os.urandom(32),
                mark=self._risk.mark(),
                environment=grants[0].environment,
                tries=0,
            )
            record = _record(granted, grants, risk, now)
            outcome = self._outcome(decider, granted, record, grants)
            self._write(standing, granted, record, grants, replaced)
        except BaseException:
            self._risk.close(session)
            raise
        heapq.heappush(self._ends, (record.expires_at, session))
        self._live.add(record, Basis.of(granted), grants)
        if replaced is not None:
            self._let_go(replaced, session, now)
        return outcome, granted

    def end_expired(self, now: float) -> None:
        """Stop watching the risk of sessions that are over at ``now`` (Unix seconds)."""
        while self._ends and self._ends[0][0] <= now:
            over = heapq.heappop(self._ends)[1]
            self._overlapping.pop(over, None)
            self._close(over)
        if len(self._ends) > 4 * len(self._risk) + _ENDS_SPARE:
            # Of sessions that were renewed or revoked: what is over before its time must not pile up (D6).
            self._ends = [end for end in self._ends if self._risk.watches(end[1])]
            heapq.heapify(self._ends)

    def line(self, session: bytes) -> tuple[bytes, ...]:
        """A session (16-byte id) and all whose keys live by the same evidence: the one that it goes on in by
        now, and those in their overlap. Else one renewal more would be a way out of every revocation.
        """
        last = session
        while (record := self._store.get_session(last)) is not None and record.superseded_by is not None:
            last = record.superseded_by
        line = dict.fromkeys((session, last))
        # Several may have followed each other within the overlap.
        while more := [old for old, new in self._overlapping.items() if new in line and old not in line]:
            line |= dict.fromkeys(more)
        return tuple(each for each in line if each == session or not self._is_over(each))

    # ---- The session that ends

    def _replaced(self, standing: Standing) -> _Replaced | None:
        renewed = bool(standing.session)
        wanted = standing.session or standing.supersedes
        old = self._store.get_session(wanted) if wanted else None
        if old is None:
            if renewed:
                raise HandshakeError("the session to renew is not known any more")
            return None  # expired so long ago that nothing is known of it, or none was named
        # The same subject with the same handshake key: nobody can end another's session by claiming to renew
        # it.
        if (old.subject, old.static_key) != (standing.judged.identity.subject, standing.static_key):
            raise EvidenceError("the session to supersede is not this client's")
        if renewed and (old.mode >= Mode.SUSPENDED or old.superseded_by is not None):
            raise HandshakeError(f"the session cannot be renewed, it is {_state(old)}")
        if renewed:
            return _Replaced(old, renewed)
        # A thief may have renewed it meanwhile: what he has goes with it.
        line = tuple(each for each in self.line(old.id) if not self._is_over(each))
        return _Replaced(old, renewed, line) if line else None

    def _is_over(self, session: bytes) -> bool:
        record = self._store.get_session(session)
        return record is None or record.mode == Mode.REVOKED

    def _watch(self, session: bytes, standing: Standing, replaced: _Replaced | None) -> SessionRisk:
        judged = standing.judged
        if replaced is not None and replaced.renewed:
            old = replaced.record.id
            return self._risk.renew(
                session, old, mark=standing.mark, shown=standing.shown, network=standing.network
            )
        who, device = judged.identity.subject, judged.device
        first, more = standing.first_mark, (standing.mark, standing.shown)
        return self._risk.open(session, who, device, mark=first, network=standing.network, more=more)

    def _let_go(self, replaced: _Replaced, session: bytes, now: int) -> None:
        if replaced.renewed:
            self._overlapping[replaced.record.id] = session
            # Signals must still reach it for as long as its keys are good.
            heapq.heappush(self._ends, (now + OVERLAP_S, replaced.record.id))
        for over in replaced.line:
            self._close(over)

    def _close(self, session: bytes) -> None:
        self._risk.close(session)
        self._live.remove(session)

    # ---- The new one

    def _outcome(
        self, decider: Decider, granted: Standing, record: SessionRecord, grants: Sequence[Grant]
    ) -> Outcome:
        factors = decider.factors(granted.judged.identity)
        try:
            outcome = Outcome(
                "granted",
                session=record.id,
                tickets=[self._ticket(grant, granted, record) for grant in grants],
                grants=list(record.grants),
                assurance=record.assurance,
                lifetime_s=record.expires_at - record.started_at,
                missing=["mfa"] if factors and any(grant.step_up for grant in grants) else [],
                factors=factors,
                nonce=granted.nonce,
            )
            _ = outcome.encoded
        except WireError as error:
            # Known before anything is written, or a session would exist that its client never hears of.
            raise HandshakeError(
                f"the grants do not fit one message, ask for less at once: {error}"
            ) from None
        return outcome

    def _ticket(self, grant: Grant, granted: Standing, record: SessionRecord) -> bytes:
        secret = segment_secret(granted.session_secret, grant.digest())
        ends_at = _ends_at(granted, grant)
        body = TicketBody(grant.encoded, secret, record.started_at, self._name, ends_at)
        to = self._keys.segment(grant.segment).public
        return seal_ticket(body, grant.segment, to, ends_at, self._keys.signing)

    def _write(
        self,
        asked: Standing,
        granted: Standing,
        record: SessionRecord,
        grants: Sequence[Grant],
        replaced: _Replaced | None,
    ) -> None:
        judged = granted.judged
        self._audit.record(
            "session.granted",
            session=record.id,
            subject=record.subject,
            kind=judged.identity.kind,
            roles=list(judged.identity.roles),
            desk=judged.identity.desk,
            credential=judged.identity.credential,
            device=record.device,
            assurance=record.assurance,
            factor=judged.factor.factor if judged.factor else "",
            network=granted.network,
            posture=dict(judged.appraisal.vector),
            policy=grants[0].policy,
            version=grants[0].version,
            environment=granted.environment,
            scopes=list(granted.scopes),
            # Enough to ask the same question of other policies later, and to compare the answer.
            decisions=[[grant.segment, *grant.allowed, grant.step_up] for grant in grants],
            supersedes=replaced.record.id if replaced else b"",
            renewed=replaced is not None and replaced.renewed,
            ends_at=record.expires_at,
            # Enough to come to the same risk again.
            marks=[granted.first_mark, asked.mark],
            shown=sorted(granted.shown),
            at_us=self._risk.clock[1],
        )
        self._changes.publish(self._keep(record, replaced))

    def _keep(self, record: SessionRecord, replaced: _Replaced | None) -> list[Change]:
        changes = []
        with self._store.transaction():
            self._store.put_session(record)
            if record.mode != Mode.NORMAL:
                changes.append(self._changes.write_mode(record.id, Mode(record.mode)))
            if replaced is not None and replaced.renewed:
                # Who renews all day leaves many of these until the session's end, and grants are long.
                self._store.put_session(replace(replaced.record, superseded_by=record.id, grants=()))
                changes.append(self._changes.write_retire(replaced.record.id))
            self._announcer.established(record, replaced.record if replaced and replaced.renewed else None)
            for over in replaced.line if replaced is not None else ():
                self._announcer.revoked(over, by="user")
                self._store.set_mode(over, Mode.REVOKED)
                changes.append(self._changes.write_mode(over, Mode.REVOKED))
        return changes


def _record(granted: Standing, grants: Sequence[Grant], risk: SessionRisk, now: int) -> SessionRecord:
    for grant in grants:
        # A ticket that is over would be of no use to anybody, and its client would learn of it at the point.
        if _ends_at(granted, grant) <= now:
            raise HandshakeError(
                f"the session is past its absolute end in segment {grant.segment}: everything must be proven "
                "anew, or the session renewed without it"
            )
    judged = granted.judged
    return SessionRecord(
        id=granted.session,
        subject=judged.identity.subject,
        device=judged.device,
        static_key=granted.static_key,
        assurance=judged.assurance,
        mode=risk.mode,
        started_at=now,
        expires_at=max(_ends_at(granted, grant) for grant in grants),
        grants=tuple(grant.encoded for grant in grants),
        risk=risk.to_bytes(),
        basis=Basis.of(granted).to_bytes(),
    )


def _ends_at(granted: Standing, grant: Grant) -> int:
    judged = granted.judged
    ends_at = judged.authenticated_at + grant.lifetime_s
    return ends_at if judged.identity.until is None else min(ends_at, judged.identity.until)


def _state(old: SessionRecord) -> str:
    return "renewed already" if old.superseded_by is not None else Mode(old.mode).name
