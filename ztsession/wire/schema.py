"""Messages as frozen dataclasses whose fields say what they may hold.

A message from outside is one canonical map with exactly the declared fields, the protocol version ``v``
and its own ``kind``. A field too many is as wrong as one too few: what a reader would silently ignore, an
attacker could fill. The bounds stand beside the types, and are checked when a message is made, so a
:class:`Message` that exists is a valid one, whichever side made it.

    @dataclass(frozen=True)
    class Ping(Message, kind="ping"):
        nonce: Annotated[bytes, Octets.exactly(32)]
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Protocol, Self, get_type_hints, runtime_checkable

from ztsession.errors import WireError
from ztsession.wire import canonical
from ztsession.wire.names import is_name, is_scope

__all__ = [
    "VERSION",
    "Flag",
    "Integer",
    "ListOf",
    "MapOf",
    "Message",
    "Name",
    "Octets",
    "OneOf",
    "Row",
    "Rule",
    "Scope",
    "Text",
    "kind_of",
]

VERSION = 1


@dataclass(frozen=True)
class Message:
    """The base of every message; subclasses are frozen dataclasses with ``Annotated[type, rule]`` fields."""

    #: The word that tells messages apart; set by ``class X(Message, kind="x")``.
    kind: ClassVar[str] = ""
    #: Encoded size limit; a subclass may lower it with ``max_bytes=``. The default fits one transport
    #: message.
    max_bytes: ClassVar[int] = 65519

    def __init_subclass__(cls, *, kind: str, max_bytes: int | None = None) -> None:
        super().__init_subclass__()
        cls.kind = kind
        if max_bytes is not None:
            cls.max_bytes = max_bytes

    def __post_init__(self) -> None:
        self._check()

    def to_bytes(self) -> bytes:
        """Return the canonical encoding; :class:`WireError` if a field no longer fits its rule."""
        # A list inside may have been changed since the message was made.
        self._check()
        values = {name: getattr(self, name) for name in _rules(type(self))}
        data = canonical.encode({"v": VERSION, "kind": self.kind, **values})
        if len(data) > self.max_bytes:
            raise WireError(f"{self.kind}: {len(data)} bytes are over the limit of {self.max_bytes}")
        return data

    @cached_property
    def encoded(self) -> bytes:
        """The canonical encoding, made once: for a message that is sent, stored and hashed."""
        return self.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read one message of this kind; :class:`WireError` naming the field for anything else."""
        values = canonical.decode(data, max_bytes=cls.max_bytes)
        if type(values) is not dict:
            raise WireError(f"{cls.kind}: expected a map")
        _expect(values, cls.kind, "v", VERSION)
        _expect(values, cls.kind, "kind", cls.kind)
        declared = _rules(cls)
        for name in values:
            if name not in declared:
                raise WireError(f"{cls.kind}: unknown field {name[:64]!r}")
        for name in declared:
            if name not in values:
                raise WireError(f"{cls.kind}.{name}: missing")
        message = cls(**values)
        # There is one canonical form, and the reader takes no other: this is it.
        message.__dict__["encoded"] = data
        return message

    def _check(self) -> None:
        for name, rule in _rules(type(self)).items():
            rule.check(getattr(self, name), f"{self.kind}.{name}")


def kind_of(data: bytes, *, max_bytes: int) -> str:
    """Return the kind that an encoded message claims, to choose its reader by; :class:`WireError` if none.

    The fields are left to the reader that is chosen. But the bytes are read strictly here, too: this is the
    first look at what a stranger sent, and a plain reader would allocate what a few bytes claim.
    """
    values = canonical.decode(data, max_bytes=max_bytes)
    kind = values.get("kind") if type(values) is dict else None
    if type(kind) is not str:
        raise WireError("message says no kind")
    return kind


@runtime_checkable
class Rule(Protocol):
    """What one field may hold."""

    def check(self, value: object, where: str) -> None:
        """Raise :class:`WireError` beginning with ``where`` unless ``value`` fits; never quote it."""


@dataclass(frozen=True)
class Text:
    """Text of ``min_bytes`` to ``max_bytes`` bytes of UTF-8."""

    max_bytes: int
    min_bytes: int = 0

    def check(self, value: object, where: str) -> None:
        """Raise unless ``value`` is text of such a length."""
        # A character takes at most 4 bytes: the first test bounds the work of the second.
        if (
            type(value) is not str
            or len(value) > self.max_bytes
            or not self.min_bytes <= len(value.encode("utf-8", "surrogatepass")) <= self.max_bytes
        ):
            raise WireError(f"{where}: expected text of {self.min_bytes} to {self.max_bytes} bytes")


@dataclass(frozen=True)
class Name:
    """A subject's or device's name, see :func:`~ztsession.wire.names.is_name`; empty if ``optional``."""

    optional: bool = False

    def check(self, value: object, where: str) -> None:
        """Raise unless ``value`` is a name."""
        if type(value) is not str or not (is_name(value) or (self.optional and value == "")):
            raise WireError(f"{where}: expected a name of 1 to 128 characters from A-Z a-z 0-9 . _ : / @ -")


@dataclass(frozen=True)
class Scope:
    """One operation or a whole segment, see :func:`ztsession.wire.names.is_scope`."""

    def check(self, value: object, where: str) -> None:
        """Raise unless ``value`` is a scope."""
        if type(value) is not str or not is_scope(value):
            raise WireError(f'{where}: expected "segment.operation" or "segment.*"')


@dataclass(frozen=True)
class OneOf:
    """One word out of ``words``."""

    words: tuple[str, ...]

    def check(self, value: object, where: str) -> None:
        """Raise unless ``value`` is one of the words."""
        if type(value) is not str or value not in self.words:
            raise WireError(f"{where}: expected one of {', '.join(self.words)}")


@dataclass(frozen=True)
class Octets:
    """Bytes of ``min_bytes`` to ``max_bytes``; or, with ``or_empty``, none at all."""

    max_bytes: int
    min_bytes: int = 0
    or_empty: bool = False

    @classmethod
    def exactly(cls, size_bytes: int, *, or_empty: bool = False) -> Octets:
        """Return the rule for a field of one fixed size."""
        return cls(size_bytes, size_bytes, or_empty)

    def check(self, value: object, where: str) -> None:
        """Raise unless ``value`` is bytes of such a length."""
        if type(value) is bytes:
            if self.min_bytes <= len(value) <= self.max_bytes or (self.or_empty and not value):
                return
            raise WireError(f"{where}: {len(value)} bytes, expected {self._expected()}")
        raise WireError(f"{where}: expected {self._expected()} bytes")

    def _expected(self) -> str:
        size = (
            str(self.max_bytes)
            if self.min_bytes == self.max_bytes
            else f"{self.min_bytes} to {self.max_bytes}"
        )
        return size + (" or 0" if self.or_empty else "")


@dataclass(frozen=True)
class Integer:
    """An integer from ``low`` to ``high``, both included; a bool is none."""

    low: int
    high: int

    def check(self, value: object, where: str) -> None:
        """Raise unless ``value`` is such an integer."""
        if type(value) is not int or not self.low <= value <= self.high:
            raise WireError(f"{where}: expected an integer from {self.low} to {self.high}")


@dataclass(frozen=True)
class Flag:
    """True or False."""

    def check(self, value: object, where: str) -> None:
        """Raise unless ``value`` is a bool."""
        if type(value) is not bool:
            raise WireError(f"{where}: expected true or false")


@dataclass(frozen=True)
class ListOf:
    """At most ``max_items`` items that each fit ``item``."""

    item: Rule
    max_items: int
    min_items: int = 0

    def check(self, value: object, where: str) -> None:
        """Raise unless ``value`` is such a list."""
        if type(value) is not list or not self.min_items <= len(value) <= self.max_items:
            raise WireError(f"{where}: expected a list of {self.min_items} to {self.max_items} items")
        for position, item in enumerate(value):
            self.item.check(item, f"{where}[{position}]")


@dataclass(frozen=True)
class Row:
    """A list of fixed length whose places have rules of their own."""

    places: tuple[Rule, ...]

    def check(self, value: object, where: str) -> None:
        """Raise unless ``value`` is such a list."""
        if type(value) is not list or len(value) != len(self.places):
            raise WireError(f"{where}: expected a list of {len(self.places)} items")
        for position, (rule, item) in enumerate(zip(self.places, value, strict=True)):
            rule.check(item, f"{where}[{position}]")


@dataclass(frozen=True)
class MapOf:
    """A map of at most ``max_items`` entries whose keys and values fit ``key`` and ``item``."""

    key: Rule
    item: Rule
    max_items: int

    def check(self, value: object, where: str) -> None:
        """Raise unless ``value`` is such a map."""
        if type(value) is not dict or len(value) > self.max_items:
            raise WireError(f"{where}: expected a map of at most {self.max_items} entries")
        for key, item in value.items():
            self.key.check(key, f"{where} (a key)")
            self.item.check(item, f"{where}[{key!r}]")


_RULES: dict[type, dict[str, Rule]] = {}


def _rules(cls: type[Message]) -> dict[str, Rule]:
    # At first use, because the names in the annotations exist only once the whole module has been read.
    known = _RULES.get(cls)
    if known is None:
        known = _RULES[cls] = _declared_rules(cls)
    return known


def _declared_rules(cls: type[Message]) -> dict[str, Rule]:
    hints: dict[str, Any] = get_type_hints(cls, include_extras=True)
    found: dict[str, Rule] = {}
    for each in fields(cls):
        rules = [extra for extra in getattr(hints[each.name], "__metadata__", ()) if isinstance(extra, Rule)]
        if len(rules) != 1:
            raise TypeError(f"{cls.__name__}.{each.name} needs exactly one rule")
        found[each.name] = rules[0]
    return found


def _expect(values: dict[str, object], kind: str, name: str, expected: int | str) -> None:
    value = values.pop(name, None)
    if type(value) is not type(expected) or value != expected:
        raise WireError(f"{kind}.{name}: expected {expected!r}")
