"""One change of a decision, as it travels to every enforcement point.

A change can only take away for as long as it is believed: it narrows bitmaps, or puts a session in a mode.
(The one that gives announces a signing key, and keys are taken from signed answers alone.) Its number is what
makes loss visible. The numbers of one Authority have no gap, so a point that sees one missing knows that
something was decided which it has not heard, and stops trusting what it holds. A heartbeat says "nothing
new": it carries the number of the last change and takes none of its own, and so shows a loss even when all is
quiet.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Final

from ztsession.errors import WireError
from ztsession.wire.schema import Integer, ListOf, Message, Octets, OneOf

__all__ = ["CHANGE_MAX_BYTES", "Change"]

CHANGE_MAX_BYTES: Final = 320

_U64: Final = 2**64 - 1
_REVOKED: Final = 3
_KINDS: Final = (
    "mode",
    "revoke",
    "retire",
    "narrow",
    "tighten",
    "signing-key",
    "retire-key",
    "heartbeat",
)


@dataclass(frozen=True)
class Change(Message, kind="change", max_bytes=CHANGE_MAX_BYTES):
    """One change; make it with the class method of its kind.

    ``what``: "mode" | "revoke" | "retire" | "narrow" | "tighten" | "signing-key" | "retire-key" |
    "heartbeat".
    ``number``: from 1, 0 while not numbered.
    ``session``: 16 bytes or none. ``mode``: 0 NORMAL .. 3 REVOKED. ``profile``: a grant's profile_digest (32
    bytes) or none. ``allowed``: three u64 bitmaps. ``sent_at``: unix microseconds by the Authority's clock,
    to measure delay by and never to decide by. ``key``: an Ed25519 public key, or the name of a segment's key
    (32 bytes) or none. ``step_up``: a u64 bitmap. Fields that a kind of change does not use are empty or 0.
    """

    number: Annotated[int, Integer(0, 2**63 - 1)]
    what: Annotated[str, OneOf(_KINDS)]
    session: Annotated[bytes, Octets.exactly(16, or_empty=True)] = b""
    mode: Annotated[int, Integer(0, _REVOKED)] = 0
    profile: Annotated[bytes, Octets.exactly(32, or_empty=True)] = b""
    allowed: Annotated[list[int], ListOf(Integer(0, _U64), 3, 3)] = field(default_factory=lambda: [0, 0, 0])
    sent_at: Annotated[int, Integer(0, _U64)] = 0
    key: Annotated[bytes, Octets.exactly(32, or_empty=True)] = b""
    step_up: Annotated[int, Integer(0, _U64)] = 0

    @classmethod
    def set_mode(cls, session: bytes, mode: int, *, number: int = 0, sent_at: int = 0) -> Change:
        """Put one session in NORMAL, RESTRICTED or SUSPENDED."""
        return cls(number, "mode", session=session, mode=int(mode), sent_at=sent_at)

    @classmethod
    def revoke(cls, session: bytes, *, number: int = 0, sent_at: int = 0) -> Change:
        """End one session for good."""
        return cls(number, "revoke", session=session, mode=_REVOKED, sent_at=sent_at)

    @classmethod
    def retire(cls, session: bytes, *, number: int = 0, sent_at: int = 0) -> Change:
        """End one session that was renewed, once the messages that are under way have arrived."""
        return cls(number, "retire", session=session, sent_at=sent_at)

    @classmethod
    def narrow(cls, profile: bytes, allowed: list[int], *, number: int = 0, sent_at: int = 0) -> Change:
        """Intersect the bitmaps of every session whose grant has this profile with ``allowed``, also of those
        to come.
        """
        return cls(number, "narrow", profile=profile, allowed=list(allowed), sent_at=sent_at)

    @classmethod
    def tighten(
        cls,
        profile: bytes,
        allowed: list[int],
        step_up: int,
        *,
        session: bytes = b"",
        number: int = 0,
        sent_at: int = 0,
    ) -> Change:
        """Rules have changed: intersect the bitmaps of the sessions of this profile with ``allowed``, or of
        ``session`` alone, and demand a step-up for ``step_up``, too. Sessions to come have other profiles.
        """
        return cls(
            number,
            "tighten",
            session=session,
            profile=profile,
            allowed=list(allowed),
            step_up=step_up,
            sent_at=sent_at,
        )

    @classmethod
    def signing_key(cls, key: bytes, *, number: int = 0, sent_at: int = 0) -> Change:
        """Announce that this public key signs tickets and feed answers, too, now or from some time on."""
        return cls(number, "signing-key", key=key, sent_at=sent_at)

    @classmethod
    def retire_key(cls, key: bytes, *, number: int = 0, sent_at: int = 0) -> Change:
        """End a key for good: a signing key by itself, a segment's key by its 32-byte name."""
        return cls(number, "retire-key", key=key, sent_at=sent_at)

    @classmethod
    def heartbeat(cls, *, number: int, sent_at: int = 0) -> Change:
        """Say that ``number`` is still the last change."""
        return cls(number, "heartbeat", sent_at=sent_at)

    def numbered(self, number: int, *, sent_at: int) -> Change:
        """The same change with the number that the store gave it."""
        return replace(self, number=number, sent_at=sent_at)

    def _check(self) -> None:
        super()._check()
        used = _USED[self.what]
        for name, empty in _EMPTY.items():
            if name not in used and getattr(self, name) != empty:
                raise WireError(f"change.{name}: not used by {self.what!r}, expected nothing")
        for name in used - _MAY_BE_EMPTY[self.what]:
            if not getattr(self, name):
                raise WireError(f"change.{name}: needed by {self.what!r}")
        # One way to say each thing: "mode REVOKED" would be a second way to revoke, that code could forget.
        expected = {"mode": range(_REVOKED), "revoke": (_REVOKED,)}.get(self.what, (0,))
        if self.mode not in expected:
            raise WireError(f"change.mode: {self.mode} does not go with {self.what!r}")


_USED: Final[dict[str, frozenset[str]]] = {
    "mode": frozenset({"session"}),
    "revoke": frozenset({"session"}),
    "retire": frozenset({"session"}),
    "narrow": frozenset({"profile", "allowed"}),
    "tighten": frozenset({"session", "profile", "allowed", "step_up"}),
    "signing-key": frozenset({"key"}),
    "retire-key": frozenset({"key"}),
    "heartbeat": frozenset(),
}
_EMPTY: Final[dict[str, object]] = {
    "session": b"",
    "profile": b"",
    "allowed": [0, 0, 0],
    "key": b"",
    "step_up": 0,
}
_MAY_BE_EMPTY: Final = dict.fromkeys(_KINDS, frozenset({"allowed"})) | {
    "tighten": frozenset({"session", "allowed", "step_up"})
}
