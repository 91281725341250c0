"""What was granted, read back: out of audit logs, and out of the state of an Authority that may be running.

Logs come from anywhere and are as long as they are, so they are read a line at a time, of bounded length, and
nothing in them is believed for its form. What is no entry is counted and left out. A reader who is told of no
change must also be told how much was not looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ztsession.audit.reading import read_entries
from ztsession.authority.judged import Basis
from ztsession.errors import PolicyError, WireError
from ztsession.identity.subjects import KINDS, SubjectRegistry
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.compile import SCOPES_MAX
from ztsession.policy.grant import Grant
from ztsession.policy.simulate import Held, Recorded
from ztsession.posture.items import ITEMS, WORDS
from ztsession.store.records import SessionRecord
from ztsession.store.sqlite import SqliteStore
from ztsession.wire.names import is_name, is_scope

__all__ = ["Tally", "live_sessions", "logged_sessions"]

_GRANTED: Final = "session.granted"
#: Without these an entry does not tell its question: it was written by an older version.
_QUESTION: Final = frozenset({"kind", "roles", "desk", "posture", "scopes", "decisions"})
#: Unix seconds that calendars can count with.
_TIME_MAX: Final = 2.0**36


@dataclass
class Tally:
    """What was read, and what of it could not be used. ``broken``: lines and records that are not what they
    should be; ``older``: those that an older version wrote, which kept less.
    """

    sessions: int = 0
    broken: int = 0
    older: int = 0


def logged_sessions(paths: Iterable[str | os.PathLike[str]], tally: Tally) -> Iterator[Recorded]:
    """Read the sessions that audit logs say were granted, counting in ``tally``.

    ConfigurationError for a file that cannot be read.
    """
    for path in paths:
        yield from _sessions(read_entries(path), tally)


def live_sessions(
    store: SqliteStore,
    now: float,
    tally: Tally,
    subjects: SubjectRegistry,
    subjects_before: SubjectRegistry | None = None,
) -> Iterator[Recorded]:
    """Read the sessions that live at ``now`` (Unix seconds), counting in ``tally``.

    ``subjects``: who is enrolled by what is tried, ``subjects_before``: by what it is compared with.
    """
    for record in store.live_sessions(int(now)):
        if not record.basis:
            tally.older += 1
            continue
        try:
            session = _live(record, now, subjects, subjects_before or subjects)
        except (WireError, PolicyError):
            tally.broken += 1
            continue
        tally.sessions += 1
        yield session


# ---- Logs


def _sessions(entries: Iterable[dict[str, Any] | None], tally: Tally) -> Iterator[Recorded]:
    for entry in entries:
        if entry is None:
            tally.broken += 1
        elif entry["event"] == _GRANTED:
            if not entry.keys() >= _QUESTION:
                tally.older += 1
                continue
            session = _session(entry)
            if session is None:
                tally.broken += 1
                continue
            tally.sessions += 1
            yield session


def _session(entry: Mapping[str, Any]) -> Recorded | None:
    decisions = entry["decisions"]
    texts = ("subject", "kind", "desk", "device")
    if not all(isinstance(entry.get(name), str) for name in texts) or entry["kind"] not in KINDS:
        return None
    if not _texts(entry["roles"]) or not _texts(entry["scopes"]) or not all(map(is_scope, entry["scopes"])):
        return None
    if not isinstance(decisions, list) or not all(map(_is_decision, decisions)):
        return None
    if not _is_rest(entry) or len(entry["scopes"]) > SCOPES_MAX:
        return None
    try:
        who = SubjectAttributes(entry["subject"], entry["kind"], tuple(entry["roles"]), entry["desk"])
    except PolicyError:
        return None
    return Recorded(
        subject=who.subject,
        identity=who,
        identity_before=who,
        device=entry["device"],
        posture=entry["posture"],
        assurance=entry["assurance"],
        scopes=tuple(entry["scopes"]),
        at=entry["time"],
        held=tuple(Held(segment, (a, b, c), step_up) for segment, a, b, c, step_up in decisions),
    )


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_decision(row: object) -> bool:
    if not isinstance(row, list) or len(row) != 5 or not isinstance(row[0], str):
        return False
    return all(type(bitmap) is int and 0 <= bitmap < 2**64 for bitmap in row[1:])


def _is_rest(entry: Mapping[str, Any]) -> bool:
    posture, at, assurance = entry["posture"], entry.get("time"), entry.get("assurance")
    if not isinstance(posture, dict) or posture.keys() != set(ITEMS) or not _words(posture.values()):
        return False
    if not isinstance(at, int | float) or not 0 <= at <= _TIME_MAX:
        return False
    return is_name(entry["device"]) and type(assurance) is int and 1 <= assurance <= 3


def _words(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) and value in WORDS for value in values)


# ---- The store


def _live(
    record: SessionRecord, now: float, subjects: SubjectRegistry, subjects_before: SubjectRegistry
) -> Recorded:
    basis = Basis.from_bytes(record.basis)
    if basis.posture.keys() != set(ITEMS):
        raise WireError("session-basis.posture: expected a word for each item")
    return Recorded(
        subject=record.subject,
        identity=_enrolled(subjects, basis.credential, record.subject),
        identity_before=_enrolled(subjects_before, basis.credential, record.subject),
        device=record.device,
        posture=basis.posture,
        assurance=record.assurance,
        scopes=tuple(basis.scopes),
        at=now,
        held=tuple(_held(Grant.from_bytes(grant)) for grant in record.grants),
    )


def _enrolled(subjects: SubjectRegistry, credential: str, name: str) -> SubjectAttributes | None:
    # As the Authority asks: a credential may have been given to somebody else meanwhile.
    subject = subjects.holder(credential)
    if subject is None or subject.name != name:
        return None
    return SubjectAttributes(subject.name, subject.kind, subject.roles, subject.desk)


def _held(grant: Grant) -> Held:
    numbers = tuple(sorted((name, row[0]) for name, row in grant.operations.items()))
    normal, restricted, suspended = grant.allowed
    return Held(grant.segment, (normal, restricted, suspended), grant.step_up, numbers)
