"""Where clients are received: handshakes, more evidence, renewals; each ends in a decision.

A refusal is a decision like any other: the peer hears one coarse word, the audit log the exact cause, and
nothing of what was begun is left. The same word for every cause, because a peer that can tell "no such
subject" from "wrong code" has learnt something (H23).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from ztsession.audit.sink import AuditSink
from ztsession.authority.connection import Decided, Presented
from ztsession.authority.decision import Decider
from ztsession.authority.gate import Gate
from ztsession.authority.granting import Granting
from ztsession.authority.judged import Basis, Standing
from ztsession.authority.keys import AuthorityKeys
from ztsession.errors import AuditError, EvidenceError, HandshakeError, ZtsError
from ztsession.handshake.binding import continued
from ztsession.handshake.channel import Channel
from ztsession.handshake.keys import DhKeyPair
from ztsession.handshake.messages import Offer, Outcome, Renewal, Supplement
from ztsession.handshake.renewal import static_key_id
from ztsession.risk.engine import RiskEngine
from ztsession.risk.networks import address_of
from ztsession.store.sqlite import SqliteStore
from ztsession.tickets.secrets import continued_secret

__all__ = ["FrontDesk"]

#: How often a client may show wrong evidence in one channel.
TRIES_MAX = 5
#: The certificate lives for thirty days and an Authority may run for longer.
_CERTIFY_AGAIN_S = 86400

_log = logging.getLogger("ztsession.authority")


class FrontDesk:
    """Decides what clients ask for; what a ``Connection`` calls. Thread-safe."""

    def __init__(
        self,
        name: str,
        keys: AuthorityKeys,
        store: SqliteStore,
        audit: AuditSink,
        risk: RiskEngine,
        granting: Granting,
        *,
        decider: Callable[[], Decider],
        feed: Callable[[bytes], bytes],
        report: Callable[[bytes], bytes],
        sweep: Callable[[], None],
        lock: threading.RLock,
        gate: Gate,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``decider`` gives the rules in force; ``sweep`` clears away what is over; ``lock`` is the
        Authority's, for whatever changes sessions.
        """
        self._name, self._keys, self._store, self._audit = name, keys, store, audit
        self._risk, self._granting, self._decider, self.feed = risk, granting, decider, feed
        self._sweep, self.report = sweep, report
        self._lock, self._gate, self._clock = lock, gate, clock
        self._counting = threading.Lock()
        self._strangers = 0
        self._pairs: dict[bytes, DhKeyPair] = {}
        self._certified = self._certify(clock())
        self.enter = gate.enter

    # ---- Before anybody is known

    @property
    def strangers_refused(self) -> int:
        """How many peers were refused before they had proven anything."""
        return self._strangers

    def count_stranger(self) -> None:
        """One more of them; these are not audited."""
        with self._counting:
            self._strangers += 1

    def half_open(self, source: str) -> Callable[[], bool]:
        """Count a client whose proof is awaited; Overloaded if there are too many."""
        token = self._gate.opened(source)
        return lambda: self._gate.closed(token)

    def static_for(self, key_id: bytes | None) -> DhKeyPair:
        """The newest static key, or the one of this id; HandshakeError if that is retired."""
        live = self._keys.statics(self._clock())
        # Made once for each key, and forgotten with it.
        self._pairs = {private: self._pairs.get(private) or DhKeyPair(private) for private in live}
        for pair in self._pairs.values():
            if key_id is None or static_key_id(pair.public) == key_id:
                return pair
        raise HandshakeError("the renewal is for a static key that was retired")

    def offer(self, nonce: bytes) -> tuple[Offer, int]:
        """Who we are and what we want to see, and the risk engine's count."""
        return Offer(self.certificate(), self._decider().required, nonce), self._risk.mark()

    def certificate(self) -> bytes:
        """The root's certificate over the static key, never older than a day."""
        now, (made, static, certificate) = self._clock(), self._certified
        if static != self._keys.static or not made <= now < made + _CERTIFY_AGAIN_S:
            self._certified = self._certify(now)
            certificate = self._certified[2]
        return certificate

    # ---- Decisions

    def admit(self, presented: Presented) -> Decided:
        """Decide a handshake whose message 3 has been read. Granted means: audited and stored already."""
        return self._decided(lambda decider: self._judge(decider, presented), presented.static_key)

    def supplement(self, standing: Standing, supplement: Supplement) -> Decided:
        """Decide again with more evidence; if that does not hold, the client stands where it stood.

        One without evidence asks for a fresh nonce, and for what could be shown.
        """
        if not (supplement.posture or supplement.mfa):
            decider = self._decider()
            factors = decider.factors(standing.judged.identity)
            return self._ask(standing, decider.aged(standing.judged), factors)
        wrong = replace(standing, tries=standing.tries + 1)
        return self._decided(
            lambda decider: self._add(decider, standing, supplement), standing.static_key, wrong
        )

    def renew(self, renewal: Renewal, channel: Channel, source: str) -> Decided:
        """Decide a renewal that the owner of ``channel.remote_static`` asks for, from ``source``."""
        return self._decided(
            lambda decider: self._again(decider, renewal, channel, source), channel.remote_static
        )

    # ---- Judging

    def _judge(self, decider: Decider, presented: Presented) -> Standing:
        hash_, key = presented.handshake_hash, presented.static_key
        judged = decider.judge(presented.proof, hash_, key, presented.nonce)
        return Standing(
            judged=judged,
            scopes=tuple(presented.hello.scopes),
            static_key=key,
            handshake_hash=hash_,
            session_secret=presented.session_secret,
            nonce=presented.nonce,
            mark=presented.mark,
            first_mark=presented.mark,
            supersedes=presented.hello.supersedes,
            network=address_of(presented.source),
        )

    def _add(self, decider: Decider, standing: Standing, shown: Supplement) -> Standing:
        bound = continued(standing.handshake_hash, standing.nonce)
        judged = decider.add(
            standing.judged, bound, standing.static_key, standing.nonce, posture=shown.posture, mfa=shown.mfa
        )
        return replace(
            standing,
            judged=judged,
            scopes=tuple(shown.scopes) or standing.scopes,
            session_secret=continued_secret(standing.session_secret, standing.nonce),
            shown=_shown(posture=bool(shown.posture), mfa=bool(shown.mfa)),
        )

    def _again(self, decider: Decider, renewal: Renewal, channel: Channel, source: str) -> Standing:
        record = self._store.get_session(renewal.session)
        if record is None or record.static_key != channel.remote_static or not record.basis:
            raise EvidenceError("the session to renew is not this client's")
        basis = Basis.from_bytes(record.basis)
        judged = decider.known(record, basis)
        if judged.appraisal.device and not renewal.posture:
            raise EvidenceError("the renewal shows no posture evidence")
        bound = continued(basis.handshake_hash, basis.nonce)
        judged = decider.add(judged, bound, record.static_key, basis.nonce, posture=renewal.posture, mfa=b"")
        return Standing(
            judged=judged,
            scopes=tuple(renewal.scopes or basis.scopes),
            static_key=record.static_key,
            handshake_hash=channel.handshake_hash,
            session_secret=channel.session_secret,
            nonce=basis.nonce,
            mark=basis.mark,
            session=record.id,
            environment=basis.environment,
            shown=_shown(posture=bool(renewal.posture), mfa=False),
            network=address_of(source),
        )

    # ---- Deciding

    def _decided(
        self, judge: Callable[[Decider], Standing], client: bytes, otherwise: Standing | None = None
    ) -> Decided:
        try:
            while True:
                decider = self._decider()
                standing = judge(decider)
                with self._lock:
                    # Not by rules that were replaced while the evidence was looked at (L6).
                    if decider is self._decider():
                        return self._decide(decider, standing)
        except ZtsError as error:
            _log.warning("a client was refused: %s", error)
            return self._refuse(error, client, otherwise)

    def _decide(self, decider: Decider, standing: Standing) -> Decided:
        self._sweep()
        # Whoever was taken out while the evidence was looked at, or since it was shown, is out (H14).
        standing = replace(standing, judged=decider.still(standing.judged))
        factors = decider.factors(standing.judged.identity)
        missing = decider.missing(standing.judged)
        if not missing:
            return self._granting.grant(decider, standing)
        self._audit.record(
            "handshake.step-up",
            subject=standing.judged.identity.subject,
            missing=missing,
            client=standing.static_key,
        )
        return self._ask(standing, missing, factors)

    def _ask(self, standing: Standing, missing: list[str], factors: list[str]) -> Decided:
        asked = replace(standing, nonce=os.urandom(32), mark=self._risk.mark())
        return Outcome("step-up", missing=missing, factors=factors, nonce=asked.nonce), asked

    def _refuse(self, error: ZtsError, client: bytes, otherwise: Standing | None) -> Decided:
        reason = "unavailable" if error.reason == "unavailable" else "refused"
        # Known once the identity has held: who guesses codes is told by whose they are.
        subject = "" if otherwise is None else otherwise.judged.identity.subject
        try:
            self._audit.record("handshake.refused", cause=str(error)[:512], client=client, subject=subject)
        except AuditError as unrecorded:
            _log.error("a refusal is not in the audit log: %s", unrecorded)
            reason = "unavailable"
        if otherwise is None or otherwise.tries >= TRIES_MAX:
            return Outcome("refused", reason=reason), None
        again = replace(otherwise, nonce=os.urandom(32), mark=self._risk.mark())
        return Outcome("refused", reason=reason, nonce=again.nonce), again

    def _certify(self, now: float) -> tuple[float, bytes, bytes]:
        static = self._keys.static
        return now, static, self._keys.certificate(self._name, now, static=static)


def _shown(*, posture: bool, mfa: bool) -> frozenset[str]:
    return frozenset({word for word, was in (("posture", posture), ("factor", mfa)) if was})
