"""The receiver: a SET comes in, signals are in force, and only then is it acknowledged.

A transmitter forgets what was acknowledged. So an event is applied, durably, before anybody hears that it
was; killed in between, it comes again and is known by its name (the source, and the digest of its ``jti``).
What cannot be stored is not acknowledged. What is in force and could not be written to the audit log is,
because sending it again would change neither.

An event about nobody that is enrolled here is acknowledged, counted, and forgotten: a transmitter tells of
all its users, and an error for each of ours that is not would make it give up the stream. It is not audited,
because whoever fills the log with strangers keeps its readers busy.

The order in which events come is not the one in which they happened (a failed delivery is repeated). So what
takes something back counts only if nothing newer was said against the same; and the other way round. Repeats
are known for two days, so a taking-back that is older than one is refused: shown again, it would undo what
was said since. What is against somebody may come a week late, and is worth having even then.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ztsession.errors import AuditError, EventRefused
from ztsession.risk.levels import Level
from ztsession.risk.signals import Signal
from ztsession.risk.ssf.events import Meaning, against, meaning_of, short_name
from ztsession.risk.ssf.names import STREAM_UPDATED, VERIFICATION
from ztsession.risk.ssf.naming import Enrolled
from ztsession.risk.ssf.sets import INVALID_REQUEST, LEEWAY_S, SecurityEvent, read_event
from ztsession.risk.ssf.settings import SsfSettings, Transmitter
from ztsession.risk.ssf.streams import Streams

__all__ = ["ACCESS_DENIED", "OUTCOMES", "SignalReceiver"]

ACCESS_DENIED: Final = "access_denied"
#: What became of a SET: signals; nobody here is meant, or what is newer was said; nothing to be done for an
#: event that is not known or about the stream; and those that were not acknowledged.
OUTCOMES: Final = ("applied", "nobody", "outdated", "noted", "refused", "unavailable")

#: Less than the store remembers a signal's name.
WITHDRAWAL_MAX_AGE_S: Final = 86_400
EVENT_MAX_AGE_S: Final = 7 * 86_400
REMEMBERED_MAX: Final = 65_536
_EVIDENCE_MAX_BYTES: Final = 256

_log = logging.getLogger("ztsession.ssf")

_Target = tuple[str, str]


class SignalReceiver:
    """Takes SETs of the transmitters in ``ssf.toml``, however they are delivered. Thread-safe."""

    def __init__(
        self,
        settings: SsfSettings,
        enrolled: Enrolled,
        apply: Callable[[Signal], object],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``apply``: puts a signal in force, durably and once for each of its names, before it returns:
        ``Authority.signal``. ``clock`` gives Unix seconds.
        """
        self._settings, self._enrolled, self._apply, self._clock = settings, enrolled, apply, clock
        self._order, self._lock, self._counts = _Order(), threading.Lock(), Counter[tuple[str, str]]()
        #: What transmitters say of their streams, and the proofs that these work.
        self.streams = Streams()

    @property
    def transmitters(self) -> Mapping[str, Transmitter]:
        """Who is believed now."""
        return self._settings.transmitters

    def replace(self, settings: SsfSettings) -> None:
        """From the next SET on these hold."""
        self._settings = settings

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """How many SETs there were, by transmitter and outcome out of ``OUTCOMES``."""
        with self._lock:
            return dict(self._counts)

    def receive(self, name: str, data: bytes) -> str:
        """Take one SET of the transmitter of this name; on return it may be acknowledged, and what it means
        is in force. Returns an outcome out of ``OUTCOMES``.

        EventRefused: it will never be taken, and the peer may hear ``err``. StoreError and KeysUnavailable:
        nothing of it is sure, let it come again.
        """
        transmitter = self.transmitters.get(name)
        if transmitter is None:
            raise EventRefused(ACCESS_DENIED, "no transmitter of this name is known")
        try:
            outcome = self._taken(transmitter, data)
        except EventRefused as error:
            self._count(name, "refused")
            raise error from None
        except Exception:
            self._count(name, "unavailable")
            raise
        self._count(name, outcome)
        return outcome

    def _taken(self, transmitter: Transmitter, data: bytes) -> str:
        try:
            claims = transmitter.sets.authenticated(data)
        except EventRefused as error:
            # Anybody can cause this, as often as he likes.
            _log.debug("a SET for %s was refused: %s", transmitter.name, error)
            raise
        try:
            event = read_event(claims, self._clock())
            return self._done(transmitter, event)
        except EventRefused as error:
            _log.warning("a SET of %s was refused: %s", transmitter.name, _plain(str(error)))
            raise

    def _done(self, transmitter: Transmitter, event: SecurityEvent) -> str:
        if event.type in (VERIFICATION, STREAM_UPDATED):
            self.streams.take(transmitter.name, event)
            return "noted"
        name = short_name(event.type)
        if not name:
            return "noted"
        if name not in transmitter.events:
            raise EventRefused(ACCESS_DENIED, f"{name} is not taken from this transmitter")
        meaning = meaning_of(event)
        self._check_age(event, meaning)
        targets = self._targets(transmitter, event, meaning)
        if not targets:
            return "nobody"
        signals = [self._signal(transmitter, event, meaning, target) for target in targets]
        # One at a time: between the look at the order and what is in force nothing may come.
        with self._order.lock:
            return self._in_force(event, signals)

    def _in_force(self, event: SecurityEvent, signals: list[Signal]) -> str:
        outcome = "outdated"
        for signal in signals:
            if self._order.is_outdated(signal, event.issued_at):
                continue
            try:
                self._apply(signal)
            except AuditError as error:
                _log.error(
                    "%s of %s is in force and not in the audit log: %s", signal.id, signal.source, error
                )
            self._order.said(signal, event.issued_at)
            outcome = "applied"
        return outcome

    def _check_age(self, event: SecurityEvent, meaning: Meaning) -> None:
        limit_s = WITHDRAWAL_MAX_AGE_S if meaning.withdraws else EVENT_MAX_AGE_S
        if event.issued_at < self._clock() - limit_s:
            raise EventRefused(INVALID_REQUEST, f"the SET is older than {limit_s} s")

    def _targets(self, transmitter: Transmitter, event: SecurityEvent, meaning: Meaning) -> list[_Target]:
        naming, principal = transmitter.naming, event.principal
        if not naming.is_ours(principal):
            return []
        match against(meaning, event):
            case "subject":
                return [("subject", name) for name in naming.subjects(principal, self._enrolled)]
            case "device":
                return [("device", name) for name in naming.devices(principal, self._enrolled)]
            case "sessions":
                # Who has authenticated since is not meant; by whose clock, a minute does not matter.
                until = event.issued_at + LEEWAY_S
                found = naming.sessions(principal, self._enrolled, until)
                return [("session", session.hex()) for session in found]
        return []

    def _signal(
        self, transmitter: Transmitter, event: SecurityEvent, meaning: Meaning, target: _Target
    ) -> Signal:
        kind, name = target
        level = meaning.level if meaning.withdraws else min(meaning.level, transmitter.highest)
        return Signal(
            _id_of(event.jti, target),
            meaning.kind,
            Level(level),
            transmitter.source,
            _time_of(event),
            subject=name if kind == "subject" else "",
            device=name if kind == "device" else "",
            session=bytes.fromhex(name) if kind == "session" else b"",
            withdraws=meaning.withdraws,
            evidence=_evidence(event),
        )

    def _count(self, name: str, outcome: str) -> None:
        with self._lock:
            self._counts[name, outcome] += 1


@dataclass(slots=True)
class _Said:
    """When the newest was issued of what is against somebody, and of what takes it back; -1 for never."""

    against: int = -1
    back: int = -1


class _Order:
    """The newest that each source has said of a kind about a target; what is oldest is forgotten first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._said = OrderedDict[tuple[str, str, _Target], _Said]()

    def is_outdated(self, signal: Signal, issued_at: int) -> bool:
        said = self._said.get(_about(signal), _NOTHING)
        return issued_at < (said.against if signal.withdraws else said.back)

    def said(self, signal: Signal, issued_at: int) -> None:
        said = self._said.setdefault(_about(signal), _Said())
        if signal.withdraws:
            said.back = max(said.back, issued_at)
        else:
            said.against = max(said.against, issued_at)
        self._said.move_to_end(_about(signal))
        if len(self._said) > REMEMBERED_MAX:
            self._said.popitem(last=False)


_NOTHING: Final = _Said()


def _about(signal: Signal) -> tuple[str, str, _Target]:
    return signal.source, signal.kind, signal.target


def _id_of(jti: str, target: _Target) -> str:
    # A jti may be any text; and one event may hit several, each by a signal of its own.
    state = hashlib.sha256(jti.encode("utf-8", "surrogatepass"))
    state.update(b"\0" + ":".join(target).encode())
    return state.hexdigest()


def _time_of(event: SecurityEvent) -> float:
    # Some transmitters count it in milliseconds. And what had happened only after it was told could not be
    # taken back by what was told next: signals are held against each other by this time.
    return float(min(event.members.get("event_timestamp", event.issued_at), event.issued_at))


def _evidence(event: SecurityEvent) -> dict[str, str]:
    told = {"event": short_name(event.type), "jti": event.jti}
    for name in ("reason_admin", "risk_reason", "reason"):
        if text := _reason(event.members.get(name)):
            told["reason"] = text
            break
    return {name: _plain(text) for name, text in told.items()}


def _reason(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("en") or next(iter(value.values()), "")
    return value if isinstance(value, str) else ""


def _plain(text: str) -> str:
    cut = text[:_EVIDENCE_MAX_BYTES]
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in cut)
