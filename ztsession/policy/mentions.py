"""What a set of policies asks about, and so what its answers can depend on.

Most policies never name a subject, nor look at the clock. Then two subjects of the same roles and desk have
the same answers, and an answer holds at any time. Knowing that for certain, from the policies' own text, is
what lets one evaluation serve thousands of sessions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ztsession.policy.cedar_tree import nodes, path_of

__all__ = ["Mentions", "mentions_of"]

HHMM: Final = "context.time.hhmm"


@dataclass(frozen=True, slots=True)
class Mentions:
    """What policies ask about. ``subjects``: those that are named; ``attributes``: paths like "context.risk";
    ``minutes``: hhmm at which a comparison with the time of day can turn.
    """

    subjects: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    minutes: frozenset[int] = frozenset()

    @property
    def risk(self) -> bool:
        """Whether the session's risk is asked for."""
        return "context.risk" in self.attributes

    @property
    def device(self) -> bool:
        """Whether the device's name is asked for."""
        return "context.device" in self.attributes

    @property
    def phase(self) -> bool:
        """Whether the phase of the trading day is asked for."""
        return "context.phase" in self.attributes

    @property
    def time(self) -> bool:
        """Whether an answer can change with time."""
        return self.phase or any(path.startswith("context.time.") for path in self.attributes)

    def __or__(self, other: Mentions) -> Mentions:
        return Mentions(
            self.subjects | other.subjects, self.attributes | other.attributes, self.minutes | other.minutes
        )


def mentions_of(trees: Iterable[object]) -> Mentions:
    """Read what policies, given as their syntax trees, ask about."""
    found = Mentions()
    for node in (node for tree in trees for node in nodes(tree)):
        found |= _mention(node)
    return found


def _mention(node: object) -> Mentions:
    from cedarpy import pst

    if isinstance(node, pst.EntityUid) and str(node.type) == "Subject":
        return Mentions(subjects=frozenset({node.id}))
    if isinstance(node, pst.GetAttr):
        return Mentions(attributes=frozenset({path_of(node)} - {""}))
    if isinstance(node, pst.BinaryOp) and HHMM in (path_of(node.left), path_of(node.right)):
        compared = [side.value for side in (node.left, node.right) if isinstance(side, pst.LongLit)]
        # `<=` and `==` turn when the minute is over, the others when it begins.
        return Mentions(minutes=frozenset(m for hhmm in compared for m in (hhmm, _after(hhmm))))
    return Mentions()


def _after(hhmm: int) -> int:
    minute = (hhmm // 100 * 60 + hhmm % 100 + 1) % (24 * 60)
    return minute // 60 * 100 + minute % 60
