"""The decisions that are out there: what each live session was granted, and what that rests on.

Kept in memory and not read from the store, because a change of the rules must not wait for a hundred thousand
rows. It holds no secrets, and nothing that the store does not hold, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ztsession.authority.judged import Basis
from ztsession.policy.grant import Grant
from ztsession.policy.tighten import EVERYTHING, Less
from ztsession.posture.devices import NO_DEVICE
from ztsession.posture.items import ITEMS, UNKNOWN
from ztsession.store.records import SessionRecord

__all__ = ["Bearer", "Follower", "HeldProfile", "LiveGrants", "Session", "Tightening"]


class Tightening(NamedTuple):
    """What is taken from all sessions of a profile (32 bytes), or from ``session`` (16 bytes) alone."""

    profile: bytes
    session: bytes
    less: Less


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who some sessions are of, and what was shown: what their decisions rest on, but for the device's name.

    Sessions that agree in all of it share one object, and ``is`` tells it from any other.
    """

    credential: str
    subject: str
    identity_assurance: int
    factor_assurance: int
    has_device: bool
    posture: tuple[str, ...]
    scopes: tuple[str, ...]


class Session(NamedTuple):
    """One live session; ``profiles``: the digests (32 bytes) of its decisions."""

    bearer: Bearer
    device: str
    device_key: str
    profiles: tuple[bytes, ...]


@dataclass(slots=True)
class HeldProfile:
    """One decision that sessions share, as it is in force by now."""

    segment: str
    environment: str
    rows: Mapping[str, list[int]]
    held: Less
    #: When the hour is over that the grant itself tells (Unix seconds, 0 for never), and what lasts then.
    until: int
    lasting: Less
    sessions: int = 0


class Follower(Protocol):
    """Hears of every session that begins and ends, under the Authority's lock."""

    def add(self, record: SessionRecord, basis: Basis) -> None:
        """A session was granted, or was live when the Authority began."""

    def remove(self, session: bytes) -> None:
        """A session (16-byte id) is over."""


class LiveGrants:
    """Not thread-safe: the Authority holds its lock."""

    def __init__(self) -> None:
        #: Others who keep something of each session.
        self.followers: list[Follower] = []
        self._sessions: dict[bytes, Session] = {}
        self._profiles: dict[bytes, HeldProfile] = {}
        #: What was taken from one session alone, by session and profile.
        self._own: dict[tuple[bytes, bytes], Less] = {}
        self._bearers: dict[Bearer, Bearer] = {}

    def __len__(self) -> int:
        """How many sessions are known."""
        return len(self._sessions)

    def __contains__(self, session: bytes) -> bool:
        return session in self._sessions

    def add(self, record: SessionRecord, basis: Basis, grants: Iterable[Grant]) -> None:
        """A session was granted, or was live when the Authority began."""
        bearer = Bearer(
            credential=basis.credential,
            subject=record.subject,
            identity_assurance=basis.identity_assurance,
            factor_assurance=basis.factor_assurance,
            has_device=record.device != NO_DEVICE,
            posture=tuple(basis.posture.get(item, UNKNOWN) for item in ITEMS),
            scopes=tuple(basis.scopes),
        )
        self._sessions[record.id] = Session(
            self._bearers.setdefault(bearer, bearer),
            record.device,
            basis.device_key,
            tuple(self._hold(grant) for grant in grants),
        )
        for follower in self.followers:
            follower.add(record, basis)

    def remove(self, session: bytes) -> None:
        """A session (16-byte id) is over."""
        for follower in self.followers:
            follower.remove(session)
        found = self._sessions.pop(session, None)
        for digest in found.profiles if found is not None else ():
            self._own.pop((session, digest), None)
            self._profiles[digest].sessions -= 1
            if not self._profiles[digest].sessions:
                del self._profiles[digest]
        if len(self._bearers) > 2 * len(self._sessions) + 64:
            self._bearers = {each.bearer: each.bearer for each in self._sessions.values()}

    def sessions(self) -> Iterable[tuple[bytes, Session]]:
        """Each session by its id."""
        return self._sessions.items()

    def profile(self, digest: bytes) -> HeldProfile:
        """The profile of this digest that some session has."""
        return self._profiles[digest]

    def held(self, session: bytes, digest: bytes) -> Less:
        """What one session still has of one of its profiles."""
        return self._own.get((session, digest), EVERYTHING) & self._profiles[digest].held

    def pass_hours(self, now: float) -> None:
        """What grants themselves give until an hour is gone when that is over at ``now`` (Unix seconds)."""
        for profile in self._profiles.values():
            if 0 < profile.until <= now:
                profile.held &= profile.lasting

    def took(self, tightened: Iterable[Tightening]) -> None:
        """What the review asked for is in force."""
        for digest, session, less in tightened:
            profile = self._profiles.get(digest)
            if profile is None:
                continue
            if session:
                self._own[session, digest] = self._own.get((session, digest), EVERYTHING) & less
            else:
                profile.held &= less

    def _hold(self, grant: Grant) -> bytes:
        digest = grant.profile_digest()
        profile = self._profiles.get(digest)
        if profile is None:
            held = Less.of(grant.allowed, grant.step_up)
            lasting = Less.of(grant.lasting)
            profile = HeldProfile(
                grant.segment, grant.environment, grant.operations, held, grant.until, lasting
            )
            self._profiles[digest] = profile
        profile.sessions += 1
        return digest
