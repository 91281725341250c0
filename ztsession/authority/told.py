"""What threat lists have said, kept so that it is said once and can be taken back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, NamedTuple

from ztsession.errors import StoreError, WireError
from ztsession.risk.levels import Level
from ztsession.risk.signals import Signal
from ztsession.wire.schema import Integer, ListOf, Message, Name, OneOf, Row, Text

__all__ = ["KIND", "Key", "Listed", "Told", "read_told", "told_bytes"]

KIND: Final = "threat"

#: (source, kind of target, name).
Key = tuple[str, str, str]

_TARGETS: Final = ("subject", "device", "network")
_TOLD_MAX: Final = 1 << 20
_ROW: Final = Row((Name(), Integer(0, 3), Name(), Text(64), OneOf(_TARGETS), Text(128), Name()))


class Listed(NamedTuple):
    """One list (by its signals' ``source``) has an ``entry`` that a subject, a device or a network met."""

    source: str
    level: Level
    of: str
    entry: str
    target: str
    name: str

    @property
    def key(self) -> Key:
        """A list says one thing of a target, by whatever entry."""
        return self.source, self.target, self.name


class Told(NamedTuple):
    """What was said, and the id of the signal that said it."""

    listed: Listed
    id: str

    def signal(self, now: float) -> Signal:
        """The signal that says it, at ``now`` (Unix seconds)."""
        return self._signal(now, self.id, withdraws=False)

    def withdrawal(self, now: float) -> Signal:
        """The signal that takes it back."""
        return self._signal(now, f"{self.id}.over", withdraws=True)

    def _signal(self, now: float, id: str, *, withdraws: bool) -> Signal:
        at = self.listed
        target: dict[str, Any] = {at.target: at.name}
        evidence = {"of": at.of, "entry": at.entry}
        return Signal(id, KIND, at.level, at.source, now, withdraws=withdraws, evidence=evidence, **target)


def told_bytes(told: Mapping[Key, Told]) -> bytes:
    """The canonical form, for the store."""
    return _ToldForm([_row(each) for each in told.values()]).to_bytes()


def read_told(data: bytes) -> dict[Key, Told]:
    """Read the canonical form, or b"" for nothing; StoreError if it is damaged."""
    try:
        rows = [] if not data else _ToldForm.from_bytes(data).rows
    except WireError as error:
        raise StoreError(f"what threat lists have said cannot be read: {error}") from None
    told = [Told(Listed(row[0], Level(row[1]), *row[2:6]), row[6]) for row in rows]
    return {each.listed.key: each for each in told}


@dataclass(frozen=True)
class _ToldForm(Message, kind="threats-told", max_bytes=1 << 28):
    rows: Annotated[list[Any], ListOf(_ROW, _TOLD_MAX)]


def _row(told: Told) -> list[Any]:
    source, level, *rest = told.listed
    return [source, int(level), *rest, told.id]
