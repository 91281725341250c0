"""The questions that are worth asking of conditions: every value at which something in them can turn.

Of what has few words (kinds, risk, posture, assurance, the catalog) all are tried. Of what can be anything
(a role, a desk, a device) those are tried that the conditions name, and one that they do not: to conditions
that only compare with what they name, all others are alike. Of time, each moment is tried at which a
comparison or the phase turns, on days of every sort that the calendar and the conditions know.

Conditions that do more than compare with names, such as `principal.desk == context.device`, are not
*covered*: what holds for no question here might still hold for one that is not here, and whoever asks must
not take it for impossible.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta
from itertools import combinations, product
from typing import TYPE_CHECKING, Any, Final

from ztsession.identity.subjects import KINDS
from ztsession.policy.calendar import WEEKDAYS, Calendar
from ztsession.policy.catalog import RISKS, Catalog, Operation
from ztsession.policy.cedar_tree import nodes, path_of
from ztsession.policy.conditions import TARGET, topics
from ztsession.policy.mentions import Mentions, mentions_of
from ztsession.posture.items import BAD, GOOD, UNKNOWN
from ztsession.wire.names import is_name

if TYPE_CHECKING:
    from cedarpy import pst

__all__ = ["Asked", "Domain", "covers", "named_in", "nearest_first"]

#: One question: a value for each topic, and under "role:NAME" whether the subject has that role.
Asked = Mapping[str, Any]

_OPEN: Final = {"roles": "principal.roles", "desk": "principal.desk", "device": "context.device"}
#: Stand for whatever is not named. They share no letter, so no pattern with a letter in it matches both.
_OTHERS: Final = ("another", "0")
#: What a pattern can be compared with.
_MATCHED: Final = ("desk", "device")
_DATE: Final = "context.time.date"
#: The clock is past the first and will not reach the last.
_FIRST_DAY, _LAST_DAY = date(2000, 1, 1), date(9000, 1, 1)
_BEGIN: Final = datetime(2000, 1, 2, tzinfo=UTC)
#: So many days on both sides of a day of its own hold every weekday that is not of its own.
_AROUND: Final = timedelta(days=9)


class Domain:
    """The values of every topic, for one catalog and calendar."""

    def __init__(self, catalog: Catalog, calendar: Calendar) -> None:
        self._calendar = calendar
        self._targets = tuple(o for segment in catalog.segments.values() for o in segment.operations)
        self._moments: dict[tuple[Mentions, tuple[int, ...]], tuple[float, ...]] = {}

    @property
    def targets(self) -> tuple[Operation, ...]:
        """Everything that can be asked for, in the order of the catalog."""
        return self._targets

    def axes(
        self, clauses: Sequence[pst.Clause], known: AbstractSet[str] = frozenset()
    ) -> dict[str, tuple[Any, ...]]:
        """The values to try of all that ``clauses`` ask about and that is not ``known``; the best come
        first, as far as anything is better for whoever asks.
        """
        found: dict[str, tuple[Any, ...]] = {}
        for topic in sorted(topics(clauses) - known):
            if topic == "roles":
                found |= {f"role:{name}": (True, False) for name in _values(clauses, topic)}
            else:
                found[topic] = self._axis(clauses, topic)
        return found

    def _axis(self, clauses: Sequence[pst.Clause], topic: str) -> tuple[Any, ...]:
        if topic.startswith("posture."):
            return (GOOD, UNKNOWN, BAD)
        if topic == "moment":
            return self._turns(clauses)
        if topic == "desk":
            return tuple(dict.fromkeys([*_values(clauses, topic), ""]))
        if topic == "device":
            return _values(clauses, topic)
        fixed: dict[str, tuple[Any, ...]] = {
            "kind": KINDS,
            "assurance": (3, 2, 1),
            "risk": RISKS,
            TARGET: self._targets,
        }
        names = sorted(name for name in mentions_of(clauses).subjects if is_name(name))
        return fixed[topic] if topic in fixed else _with_others(names, _OTHERS[:1])

    def _turns(self, clauses: Sequence[pst.Clause]) -> tuple[float, ...]:
        dates = tuple(sorted(_dates_in(clauses)))
        mentioned = mentions_of(clauses)
        key = (mentioned, dates)
        if key not in self._moments:
            self._moments[key] = tuple(_turns(self._calendar, mentioned, dates))
        return self._moments[key]


def nearest_first(axes: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of values once: first that of all the best, then those that differ from it in one,
    in two, and so on.
    """
    best = {name: values[0] for name, values in axes.items()}
    movable = [name for name, values in axes.items() if len(values) > 1]
    for moved in range(len(movable) + 1):
        for names in combinations(movable, moved):
            for values in product(*(axes[name][1:] for name in names)):
                yield {**best, **dict(zip(names, values, strict=True))}


def named_in(clauses: Iterable[pst.Clause], topic: str) -> tuple[str, ...]:
    """The roles, desks or devices that ``clauses`` name, as far as anybody can be called so, sorted."""
    return tuple(sorted(name for name in _literals(clauses, topic) if is_name(name)))


def covers(clauses: Sequence[pst.Clause], known: AbstractSet[str] = frozenset()) -> bool:
    """Whether clauses that hold for no question of the domain hold for none at all."""
    asked = topics(clauses) - known
    return all(_is_plain(clauses, topic) for topic in _OPEN if topic in asked)


# ---- Names


def _values(clauses: Sequence[pst.Clause], topic: str) -> tuple[str, ...]:
    return _with_others(named_in(clauses, topic), _OTHERS if topic in _MATCHED else _OTHERS[:1])


def _with_others(names: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    while not set(others).isdisjoint(names):
        others = [other * 2 for other in others]
    return (*names, *others)


def _literals(clauses: Iterable[pst.Clause], topic: str) -> set[str]:
    from cedarpy import pst

    clauses = tuple(clauses)
    found = {text for use in _uses(clauses, topic) for text in use}
    if not _is_plain(clauses, topic):
        # It is compared with something that is not simply written there: anything may help to find out.
        found |= {node.value for node in nodes(clauses) if isinstance(node, pst.StringLit)}
    return found


def _is_plain(clauses: Sequence[pst.Clause], topic: str) -> bool:
    from cedarpy import pst

    path = _OPEN[topic]
    uses = list(_uses(clauses, topic))
    likes = [n for n in nodes(clauses) if isinstance(n, pst.Like) and path_of(n.base) == path]
    # One pattern is tried by a name that fits it and one that does not; of several, no one name may fit all.
    alone = not likes or len(set(map(tuple, uses))) == 1
    return alone and len(uses) == sum(path_of(node) == path for node in nodes(clauses))


def _uses(clauses: Sequence[pst.Clause], topic: str) -> Iterator[Sequence[str]]:
    """For each place at which the attribute is compared with names, the names."""
    path = _OPEN[topic]
    for node in nodes(clauses):
        names = _compared(node, path, many=topic == "roles")
        if names is not None:
            yield names


def _compared(node: object, path: str, *, many: bool) -> Sequence[str] | None:
    from cedarpy import pst

    if isinstance(node, pst.Like) and path_of(node.base) == path:
        return [_filled(node.pattern, "")] + [_filled(node.pattern, other) for other in _OTHERS]
    if isinstance(node, pst.UnaryOp) and node.op == "is_empty" and path_of(node.arg) == path:
        return []
    if not isinstance(node, pst.BinaryOp) or node.op not in _BY_NAME:
        return None
    if path_of(node.left) == path:
        return _texts(node.right, many=many and node.op != "contains")
    if path_of(node.right) == path:
        return _texts(node.left, many=many or node.op == "contains")
    return None


_BY_NAME: Final = ("eq", "not_eq", "contains", "contains_all", "contains_any")


def _texts(node: object, *, many: bool) -> Sequence[str] | None:
    from cedarpy import pst

    elements = node.elements if many and isinstance(node, pst.Set) else () if many else (node,)
    if many and not isinstance(node, pst.Set):
        return None
    texts = [element.value for element in elements if isinstance(element, pst.StringLit)]
    return texts if len(texts) == len(elements) else None


def _filled(pattern: Sequence[object], star: str) -> str:
    from cedarpy import pst

    return "".join(each.value if isinstance(each, pst.Char) else star for each in pattern)


# ---- Moments


def _dates_in(clauses: Sequence[pst.Clause]) -> Iterator[int]:
    from cedarpy import pst

    for node in nodes(clauses):
        if isinstance(node, pst.BinaryOp) and _DATE in (path_of(node.left), path_of(node.right)):
            yield from (side.value for side in (node.left, node.right) if isinstance(side, pst.LongLit))


def _turns(calendar: Calendar, mentioned: Mentions, dates: Sequence[int]) -> Iterator[float]:
    """Unix seconds: one of each sort of moment that policies can tell from others."""
    seen = set()
    asked = mentioned.attributes
    for begin, end in _stretches(calendar, mentioned, dates):
        for at in calendar.changes(begin, end, mentioned):
            now = calendar.at(at)
            sort = (
                now.hhmm,
                now.weekday if "context.time.weekday" in asked else "",
                (sum(day < now.date for day in dates), now.date in dates),
                now.phase if mentioned.phase else "",
            )
            if sort not in seen:
                seen.add(sort)
                yield at


def _stretches(
    calendar: Calendar, mentioned: Mentions, dates: Sequence[int]
) -> Iterator[tuple[float, float]]:
    anchors = {date(2026, 1, 5)}
    anchors |= {date(day // 10_000, day // 100 % 100, day % 100) for day in dates}
    if mentioned.phase:
        own = [*calendar.days, *(day for day in calendar.closed_on if day not in WEEKDAYS)]
        anchors |= {date.fromisoformat(day) for day in own}
    for day in sorted(anchors):
        noon = datetime.combine(min(max(day, _FIRST_DAY), _LAST_DAY), time(12), UTC)
        yield max(noon - _AROUND, _BEGIN).timestamp(), (noon + _AROUND).timestamp()
