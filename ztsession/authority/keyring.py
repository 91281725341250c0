"""What the Authority holds as its own, in one value: every key, and how far its rotation has come.

It is one value because it is written as one. A rotation replaces the whole keyring in one step, so that
whoever is killed in the middle comes back with the old one or with the new one, and never with a key that is
half retired. Each step here is a function from a keyring to the next; none of them asks a clock or a disk.

A key is *made* (it exists and nobody was told), *next* (it was told, and does not work yet), *current* (it is
the one that works) or *old* (what it made before is still taken).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

from ztsession.errors import ConfigurationError
from ztsession.handshake.keys import DhKeyPair
from ztsession.tickets.segment_key import MATERIAL_BYTES, SegmentKey
from ztsession.wire.schema import Integer, ListOf, MapOf, Message, Octets, OneOf, Row, Text
from ztsession.wire.signature import public_key

__all__ = ["KEYRING_MAX_BYTES", "Keyring", "SegmentPair", "SigningKey", "StaticKey", "spoken"]

KEYRING_MAX_BYTES: Final = 1 << 18
#: More than this many keys of one kind is a rotation that nobody finishes.
_KEYS_MAX, _SEGMENTS_MAX = 8, 512

MADE, NEXT, CURRENT, OLD = "made", "next", "current", "old"
_STATE: Final = OneOf((MADE, NEXT, CURRENT, OLD))
_SECOND: Final = Integer(0, 2**63 - 1)
_SEED, _SEED_OR_NONE, _PUBLIC = Octets.exactly(32), Octets.exactly(32, or_empty=True), Octets.exactly(32)


@dataclass(frozen=True)
class StaticKey:
    """A static key of the handshake, 32 bytes of X25519; usable until a Unix second, 0 for without end."""

    private: bytes = field(repr=False)
    until: int = 0


@dataclass(frozen=True)
class SigningKey:
    """A key of tickets and feed answers; without a ``seed`` it is kept elsewhere, by a Signer."""

    public: bytes
    seed: bytes = field(repr=False)
    state: str
    since: int


@dataclass(frozen=True)
class SegmentPair:
    """A segment's key pair and how far its rotation has come."""

    key: SegmentKey
    state: str
    since: int


_Entry = TypeVar("_Entry", SigningKey, SegmentPair)


@dataclass(frozen=True)
class Keyring:
    """All keys. ``static`` is newest first; in ``signing`` and in each segment exactly one is current."""

    root_public: bytes
    #: Empty when the root is kept elsewhere, by a Signer.
    root_seed: bytes = field(repr=False)
    sealing: bytes = field(repr=False)
    static: tuple[StaticKey, ...]
    signing: tuple[SigningKey, ...]
    segments: Mapping[str, tuple[SegmentPair, ...]]

    @classmethod
    def fresh(cls, now: int, *, root: bytes = b"", signing: bytes = b"") -> Keyring:
        """New keys at ``now`` (Unix seconds); given public keys are those of Signers elsewhere."""
        root_seed = b"" if root else os.urandom(32)
        return cls(
            root or public_key(root_seed),
            root_seed,
            os.urandom(32),
            (StaticKey(os.urandom(32)),),
            (_signing_key(signing, CURRENT, now),),
            {},
        )

    # ---- The static key

    def with_new_static(self, now: int, overlap_s: int) -> Keyring:
        """A new static key; those before it stay usable for ``overlap_s`` more seconds at most."""
        until = now + overlap_s
        kept = [StaticKey(key.private, min(key.until or until, until)) for key in self.static]
        live = [key for key in kept if now < key.until]
        return self._checked(static=(StaticKey(os.urandom(32)), *live))

    # ---- The signing key

    def signing_key(self, *states: str) -> SigningKey:
        """The first signing key in one of these states; ConfigurationError if there is none."""
        return _in(self.signing, states, "signing key")

    def with_new_signing(self, now: int, public: bytes = b"") -> Keyring:
        """A new signing key is made; with ``public`` it is one that a Signer keeps elsewhere."""
        return self._checked(signing=(*self.signing, _signing_key(public, MADE, now)))

    def with_signing_told(self, now: int) -> Keyring:
        """The key that was made has been announced."""
        return self._checked(signing=_moved(self.signing, {MADE: NEXT}, now))

    def with_signing_activated(self, now: int) -> Keyring:
        """What was next is current, and what was current is old."""
        return self._checked(signing=_moved(self.signing, {NEXT: CURRENT, CURRENT: OLD}, now))

    def without_signing(self, public: bytes) -> Keyring:
        """A signing key is forgotten."""
        return self._checked(signing=tuple(key for key in self.signing if key.public != public))

    # ---- The segments' keys

    def segment(self, name: str, *states: str) -> SegmentPair:
        """The first pair of a segment in one of these states; ConfigurationError if there is none."""
        return _in(self.segments.get(name, ()), states, f"key of segment {name!r}")

    def with_first_segment(self, name: str, now: int) -> Keyring:
        """A segment has a pair, if it had none."""
        first = (SegmentPair(SegmentKey.generate(name), CURRENT, now),)
        return self._with_segment(name, self.segments.get(name, first))

    def with_new_segment(self, name: str, now: int) -> Keyring:
        """A new pair for a segment is next."""
        return self._with_segment(
            name, (*self.segments[name], SegmentPair(SegmentKey.generate(name), NEXT, now))
        )

    def with_segment_activated(self, name: str, now: int) -> Keyring:
        """Tickets are sealed to what was next, and what was current is old."""
        return self._with_segment(name, _moved(self.segments[name], {NEXT: CURRENT, CURRENT: OLD}, now))

    def without_segment(self, name: str, key_id: bytes) -> Keyring:
        """A segment's pair is forgotten."""
        kept = tuple(pair for pair in self.segments[name] if pair.key.public.key_id != key_id)
        return self._with_segment(name, kept)

    # ---- As text and as bytes

    def told(self) -> list[str]:
        """Every key and how far it has come, one line each; no secrets."""
        lines = [f"root {self.root_public.hex()}"]
        for static in self.static:
            lines.append(f"static {DhKeyPair(static.private).public.hex()} {_until(static.until)}")
        for signing in self.signing:
            lines.append(f"signing {signing.public.hex()} {signing.state} since {spoken(signing.since)}")
        for name, pairs in sorted(self.segments.items()):
            for pair in pairs:
                key_id = pair.key.public.key_id.hex()
                lines.append(f"segment {name} {key_id} {pair.state} since {spoken(pair.since)}")
        return lines

    def to_bytes(self) -> bytes:
        """The canonical encoding, to be sealed."""
        return _Form(
            self.root_public,
            self.root_seed,
            self.sealing,
            [[key.private, key.until] for key in self.static],
            [[key.public, key.seed, key.state, key.since] for key in self.signing],
            {
                name: [[pair.key.material, pair.state, pair.since] for pair in pairs]
                for name, pairs in self.segments.items()
            },
        ).to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Keyring:
        """Read what :meth:`to_bytes` gave; WireError or ConfigurationError for anything else."""
        form = _Form.from_bytes(data)
        return cls(
            form.root_public,
            form.root_seed,
            form.sealing,
            tuple(StaticKey(*row) for row in form.static),
            tuple(SigningKey(*row) for row in form.signing),
            {
                name: tuple(SegmentPair(SegmentKey.of(name, row[0]), *row[1:]) for row in rows)
                for name, rows in form.segments.items()
            },
        )._checked()

    def _with_segment(self, name: str, pairs: tuple[SegmentPair, ...]) -> Keyring:
        return self._checked(segments={**self.segments, name: pairs})

    def _checked(self, **changed: Any) -> Keyring:
        ring = replace(self, **changed)
        kinds: list[tuple[SigningKey | SegmentPair, ...]] = [ring.signing, *ring.segments.values()]
        for kind in kinds:
            if sum(entry.state == CURRENT for entry in kind) != 1:
                raise ConfigurationError("a keyring: expected exactly one current key of each kind")
        if not ring.static or ring.static[0].until:
            raise ConfigurationError("a keyring: expected a static key without end")
        if max(len(ring.static), *map(len, kinds)) > _KEYS_MAX:
            raise ConfigurationError(
                f"a keyring: at most {_KEYS_MAX} keys of a kind: retire old ones, or give a shorter overlap"
            )
        return ring


@dataclass(frozen=True)
class _Form(Message, kind="authority-keyring", max_bytes=KEYRING_MAX_BYTES):
    root_public: Annotated[bytes, _PUBLIC]
    root_seed: Annotated[bytes, _SEED_OR_NONE] = field(repr=False)
    sealing: Annotated[bytes, _SEED] = field(repr=False)
    static: Annotated[list[list[Any]], ListOf(Row((_SEED, _SECOND)), _KEYS_MAX, 1)] = field(repr=False)
    signing: Annotated[
        list[list[Any]], ListOf(Row((_PUBLIC, _SEED_OR_NONE, _STATE, _SECOND)), _KEYS_MAX, 1)
    ] = field(repr=False)
    segments: Annotated[
        dict[str, list[list[Any]]],
        MapOf(
            Text(32, min_bytes=1),
            ListOf(Row((Octets.exactly(MATERIAL_BYTES), _STATE, _SECOND)), _KEYS_MAX, 1),
            _SEGMENTS_MAX,
        ),
    ] = field(repr=False)


def spoken(second: int) -> str:
    """A Unix second as people write it."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _until(second: int) -> str:
    return f"until {spoken(second)}" if second else "current"


def _signing_key(public: bytes, state: str, now: int) -> SigningKey:
    seed = b"" if public else os.urandom(32)
    return SigningKey(public or public_key(seed), seed, state, now)


def _in(entries: tuple[_Entry, ...], states: tuple[str, ...], what: str) -> _Entry:
    for entry in entries:
        if entry.state in states:
            return entry
    raise ConfigurationError(f"there is no {what} that is {' or '.join(states)}")


def _moved(entries: tuple[_Entry, ...], to: Mapping[str, str], now: int) -> tuple[_Entry, ...]:
    # Only what moves begins anew; how long a key has been old is counted from its own step.
    return tuple(
        replace(entry, state=to[entry.state], since=now) if entry.state in to else entry for entry in entries
    )
