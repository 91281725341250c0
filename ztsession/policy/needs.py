"""What would help: every change of the question that turns a refusal into a permission, and no more of it
than that takes.

First each kind of change is tried alone, from the smallest to the largest, then what two of them do together,
and so on; a way is not told again with something added to it. All of it is asked of the policies, so what is
told here holds, for as long as nothing else changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, islice, product
from typing import TYPE_CHECKING, Final

from ztsession.policy.asked import Asked
from ztsession.policy.attributes import ROLES_MAX
from ztsession.policy.calendar import Calendar
from ztsession.policy.catalog import RISKS
from ztsession.policy.cedar_tree import nodes, path_of
from ztsession.policy.compile import ASSURANCE_MAX
from ztsession.policy.explanation import Need
from ztsession.posture.items import GOOD, ITEMS
from ztsession.wire.names import is_name

if TYPE_CHECKING:
    from cedarpy import pst

__all__ = ["HORIZON_S", "needs_of"]

#: How far ahead a better time is looked for.
HORIZON_S: Final = 7 * 86_400
#: Moments that are looked at, roles that are tried, and changes that are asked about in all, so that a search
#: ends whatever the policies are. What the subject can show is asked about before these can run out.
MOMENTS_MAX: Final = 512
ROLES_TRIED_MAX: Final = 16
TRIED_MAX: Final = 2048

_ROLE_TESTS: Final = ("contains", "contains_any", "contains_all")


def needs_of(asked: Asked, trees: Sequence[pst.Template]) -> tuple[Need, ...]:
    """The ways in which ``asked`` would be allowed; ``trees``: the policies whose roles are worth a try."""
    if asked.outcome == "allowed":
        return ()
    by_kind = _candidates(asked, trees)
    found, budget = list[Need](), iter(range(TRIED_MAX))
    for count in range(1, len(by_kind) + 1):
        for kinds in combinations(by_kind, count):
            if any(set(need.kinds) <= set(kinds) for need in found):
                continue
            tried = map(_together, product(*(by_kind[kind] for kind in kinds)))
            affordable = (need for need, _ in zip(tried, budget, strict=False))
            way = next((need for need in affordable if _helps(asked, need)), None)
            found += [] if way is None else [_smallest(asked, way)]
    return tuple(found)


def _candidates(asked: Asked, trees: Sequence[pst.Template]) -> dict[str, list[Need]]:
    levels = range(asked.assurance + 1, ASSURANCE_MAX + 1)
    lacking = tuple(item for item in ITEMS if asked.posture[item] != GOOD)
    better = reversed(RISKS[: RISKS.index(asked.risk)])
    by_kind = {
        "assurance": [Need(assurance=level) for level in levels],
        "posture": [Need(posture=lacking)] if lacking else [],
        "risk": [Need(risk=risk) for risk in better],
        "role": [Need(role=role) for role in islice(_roles(asked, trees), ROLES_TRIED_MAX)],
        "time": list(_moments(asked)),
    }
    return {kind: needs for kind, needs in by_kind.items() if needs}


def _moments(asked: Asked) -> Iterator[Need]:
    calendar, known = asked.policy.calendar, {asked.moment}
    changes = calendar.changes(asked.at, asked.at + HORIZON_S, asked.policy.mentions)
    for at in map(int, islice(changes, MOMENTS_MAX)):
        moment = asked.changed(Need(at=at)).moment
        # A moment that looks to the policies like an earlier one is not asked about again.
        if moment not in known:
            known.add(moment)
            yield Need(at=at, local=_local(calendar, at))


def _local(calendar: Calendar, at: int) -> str:
    moment = calendar.at(at)
    day, hour, minute = str(moment.date), *divmod(moment.hhmm, 100)
    return f"{day[:4]}-{day[4:6]}-{day[6:]} {hour:02}:{minute:02} {calendar.timezone}"


def _roles(asked: Asked, trees: Sequence[pst.Template]) -> Iterator[str]:
    """The roles that policies ask for and the subject does not have."""
    from cedarpy import pst

    tests = [node for node in nodes(trees) if isinstance(node, pst.BinaryOp) and node.op in _ROLE_TESTS]
    asked_for = [node.right for node in tests if path_of(node.left) == "principal.roles"]
    words = dict.fromkeys(node.value for node in nodes(asked_for) if isinstance(node, pst.StringLit))
    if len(asked.identity.roles) < ROLES_MAX:
        yield from (word for word in words if is_name(word) and word not in asked.identity.roles)


def _together(needs: Sequence[Need]) -> Need:
    return Need(
        assurance=max(need.assurance for need in needs),
        posture=next((need.posture for need in needs if need.posture), ()),
        risk="".join(need.risk for need in needs),
        at=max(need.at for need in needs),
        local="".join(need.local for need in needs),
        role="".join(need.role for need in needs),
    )


def _helps(asked: Asked, need: Need) -> bool:
    return asked.changed(need).outcome == "allowed"


def _smallest(asked: Asked, need: Need) -> Need:
    """The same with the fewest items of posture that suffice."""
    sizes = range(1, len(need.posture) + 1)
    fewer = (replace(need, posture=items) for size in sizes for items in combinations(need.posture, size))
    return next((less for less in fewer if _helps(asked, less)), need)
