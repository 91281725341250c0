"""New keys in the place of old ones, while everything goes on.

A key that is simply replaced shuts out whoever still trusts the one before. So each goes in steps, with an
overlap between them in which both are good: first the new key is made known, then it works, and at last the
old one ends.

static     works at once, since the root vouches for it; renewals may still go to the old one for a while
signing    staged: announced to the points by the feed, under the signature of the key that they believe;
           activated: tickets and feed answers are signed with it; retired: the old one is believed no more
segments   staged: a file to hand to the segment's points; activated: tickets are sealed to it; retired: no
           point takes what is sealed to the old one, even if it still holds that

Every step is audited, and durable when it returns. Whoever is killed in the middle of one takes it again: a
step that was half done is finished by its repetition and does no harm twice.

A stolen key gets no overlap: stage and activate with ``overlap_s`` a few leases long, and retire with 0.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ztsession.audit.sink import AuditSink
from ztsession.authority.afterwards import Afterwards
from ztsession.authority.changes import ChangeLog
from ztsession.authority.keyring import CURRENT, MADE, NEXT, OLD, Keyring, SegmentPair, spoken
from ztsession.authority.keys import AuthorityKeys
from ztsession.errors import ConfigurationError, EvidenceError
from ztsession.wire.digest import digest
from ztsession.wire.signature import Signer, verify

__all__ = ["KEY_OVERLAP_S", "Rotation"]

#: No session and no ticket lives for longer (the catalog's bound of lifetime_s).
KEY_OVERLAP_S: Final = 86_400


class Rotation:
    """The steps of one Authority's rotations. Thread-safe.

    A step that is not due, or has nothing to work on, is a ConfigurationError. StoreError or AuditError: the
    step was not taken, or in part: take it again. An ``overlap_s`` is in seconds, a day if it is not given.
    """

    def __init__(
        self,
        keys: AuthorityKeys,
        changes: ChangeLog,
        audit: AuditSink,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys, self._changes, self._audit, self._clock = keys, changes, audit, clock
        self._lock = threading.RLock()

    # ---- The static key

    def rotate_static(self, *, overlap_s: int = KEY_OVERLAP_S) -> bytes:
        """Answer handshakes with a new static key from now on, and renewals to the old one for
        ``overlap_s``; returns the new public key, 32 bytes.
        """

        def step(ring: Keyring) -> Keyring:
            after = ring.with_new_static(self._now(), overlap_s)
            self._audit.record("rotation.static", overlap_s=overlap_s)
            return after

        with self._lock:
            self._keys.update(step)
            return self._keys.static_public

    # ---- The signing key

    def stage_signing_key(self, *, signer: Signer | None = None) -> bytes:
        """Make the next signing key and announce it to the points; returns its public key, 32 bytes.

        With ``signer`` it is a key that is kept elsewhere. Give the public key to the points' configuration,
        besides the current one, before it is activated.
        """
        public = b"" if signer is None else self._tried(signer)
        with self._lock:
            staged = self._keys.update(lambda ring: self._with_staged(ring, public)).signing_key(MADE, NEXT)
            if staged.state == MADE:
                self._announce(staged.public)
                self._keys.update(lambda ring: ring.with_signing_told(self._now()))
            return staged.public

    def activate_signing_key(self, *, overlap_s: int = KEY_OVERLAP_S) -> bytes:
        """Sign with the staged key from now on, ``overlap_s`` after it was announced at the earliest.

        A point that has not heard the announcement by then hears its Authority no more until its
        ``ticket_key`` is changed. Returns the public key, 32 bytes.
        """
        with self._lock:
            ring = self._keys.ring
            self._expect_due(ring.signing_key(NEXT).since + overlap_s, "the staged signing key")
            # For points that are given the new key alone: yesterday's tickets are still good.
            self._announce(ring.signing_key(CURRENT).public)
            self._keys.update(self._with_activated)
            return self._keys.signing_public

    def retire_signing_key(self, *, overlap_s: int = KEY_OVERLAP_S) -> bytes:
        """Let no point believe the old signing key any more, ``overlap_s`` after the new one was activated
        at the earliest; returns its public key, 32 bytes. Tickets that it signed are void.
        """
        with self._lock:
            old = self._keys.ring.signing_key(OLD)
            self._expect_due(old.since + overlap_s, "the old signing key")
            return self._end_signing(old.public)

    def withdraw_signing_key(self) -> bytes:
        """Give up the staged signing key; returns its public key, 32 bytes."""
        with self._lock:
            return self._end_signing(self._keys.ring.signing_key(MADE, NEXT).public)

    # ---- A segment's key

    def stage_segment_key(self, name: str) -> Path:
        """Make the next key of a segment; returns the file to hand to its points, besides the one they
        have.
        """

        def step(ring: Keyring) -> Keyring:
            ring.segment(name, CURRENT)
            if any(pair.state == NEXT for pair in ring.segments[name]):
                return ring
            after = ring.with_new_segment(name, self._now())
            self._record("staged", name, after.segment(name, NEXT))
            return after

        with self._lock:
            staged = self._keys.update(step).segment(name, NEXT)
            return self._keys.export_segment(name, staged.key)

    def activate_segment_key(self, name: str) -> None:
        """Seal tickets to the staged key from now on: all of the segment's points must have its file."""

        def step(ring: Keyring) -> Keyring:
            self._record("activated", name, ring.segment(name, NEXT))
            return ring.with_segment_activated(name, self._now())

        with self._lock:
            self._keys.update(step)

    def retire_segment_key(self, name: str, *, overlap_s: int = KEY_OVERLAP_S) -> None:
        """Let the segment's points refuse what is sealed to the old key, ``overlap_s`` after the new one was
        activated at the earliest.
        """
        with self._lock:
            old = self._keys.ring.segment(name, OLD)
            self._expect_due(old.since + overlap_s, f"the old key of segment {name!r}")
            self._end_segment(name, old)

    def withdraw_segment_key(self, name: str) -> None:
        """Give up the staged key of a segment."""
        with self._lock:
            self._end_segment(name, self._keys.ring.segment(name, NEXT))

    # ---- Inside

    def _now(self) -> int:
        return int(self._clock())

    def _expect_due(self, due: int, what: str) -> None:
        if self._clock() < due:
            raise ConfigurationError(
                f"{what}: its overlap lasts until {spoken(due)}; give a shorter overlap_s if it must end now"
            )

    def _tried(self, signer: Signer) -> bytes:
        # Before it is announced: a token that holds another key than it says would leave every point deaf.
        probe = digest("signer probe", os.urandom(32))
        try:
            verify(signer.public_key, probe, signer.sign(probe))
        except EvidenceError as error:
            raise ConfigurationError(f"the Signer does not sign with its public key: {error}") from None
        self._keys.keeps(signer)
        return signer.public_key

    def _with_staged(self, ring: Keyring, public: bytes) -> Keyring:
        staged = next((key for key in ring.signing if key.state in (MADE, NEXT)), None)
        if staged is None:
            # Its end would end the key of now; and one whose end was told is believed never again.
            if public in [key.public for key in ring.signing] or self._changes.has_ended(public):
                raise ConfigurationError(
                    f"the signing key {public.hex()} is or was in use: stage another key"
                )
            after = ring.with_new_signing(self._now(), public)
            self._audit.record("rotation.signing.staged", public=after.signing_key(MADE).public)
            return after
        if public not in (b"", staged.public):
            raise ConfigurationError(f"the signing key {staged.public.hex()} is staged already: withdraw it")
        return ring

    def _with_activated(self, ring: Keyring) -> Keyring:
        self._audit.record("rotation.signing.activated", public=ring.signing_key(NEXT).public)
        return ring.with_signing_activated(self._now())

    def _announce(self, public: bytes) -> None:
        self._changes.publish([self._changes.write_signing_key(public)])

    def _end_signing(self, public: bytes) -> bytes:
        with Afterwards(self._audit) as audit:
            audit.record("rotation.signing.retired", public=public)
            # Told first: a key that is forgotten here and believed there could never be ended.
            self._changes.publish([self._changes.write_retired_key(public)])
            self._keys.update(lambda ring: ring.without_signing(public))
        return public

    def _end_segment(self, name: str, pair: SegmentPair) -> None:
        public = pair.key.public
        with Afterwards(self._audit) as audit:
            audit.record("rotation.segment.retired", segment=name, id=public.key_id)
            self._changes.publish([self._changes.write_retired_key(public.name)])
            self._keys.remove_export(name, pair.key)
            self._keys.update(lambda ring: ring.without_segment(name, public.key_id))

    def _record(self, step: str, name: str, pair: SegmentPair) -> None:
        self._audit.record(f"rotation.segment.{step}", segment=name, id=pair.key.public.key_id)
