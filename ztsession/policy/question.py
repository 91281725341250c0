"""One question to the policies, as Cedar is asked it.

A question that is not whole is refused here: a missing posture item, a score that is no number or a word that
nobody says would make a ``forbid`` fail to hold, silently.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ztsession.errors import PolicyError
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.calendar import CLOSED, WEEKDAYS, Moment
from ztsession.policy.catalog import RISKS, Operation, Segment
from ztsession.policy.cedar_schema import POSTURE_ITEMS, POSTURE_VALUES
from ztsession.policy.mentions import Mentions
from ztsession.posture.trust import trust_vector
from ztsession.wire.names import is_name

__all__ = ["Question"]

#: Stands for a name that no policy mentions; no subject or device can have it.
_NOBODY: Final = "*"
#: Stands for a moment that no policy asks for.
_NEVER: Final = Moment(0, WEEKDAYS[0], 0, CLOSED)
_ITEMS: Final = set(POSTURE_ITEMS)
_VALUES: Final = frozenset(POSTURE_VALUES)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about one session, all but the segment and the operation, as far as it is mentioned in
    the policies that are asked: equal ones have equal answers.
    """

    subject: str
    kind: str
    roles: tuple[str, ...]
    desk: str
    posture: tuple[str, ...]
    assurance: int
    risk: str
    device: str
    moment: Moment

    @classmethod
    def ask(
        cls,
        identity: SubjectAttributes,
        *,
        device: str,
        posture: Mapping[str, str],
        assurance: int,
        risk: str,
        moment: Moment | None,
        mentioned: Mentions,
    ) -> Question:
        """Put a question to policies that mention ``mentioned``; PolicyError when it is not whole."""
        if posture.keys() != _ITEMS or not _VALUES.issuperset(posture.values()):
            raise PolicyError(
                f"posture: expected {', '.join(POSTURE_ITEMS)}, each {' | '.join(POSTURE_VALUES)}"
            )
        # A score of NaN compares false with everything, which a forbid would read as "not too high".
        if type(assurance) is not int or not 1 <= assurance <= 3:
            raise PolicyError("assurance: expected an integer from 1 to 3")
        if risk not in RISKS:
            raise PolicyError(f"risk: expected one of {', '.join(RISKS)}")
        if not is_name(device):
            raise PolicyError("device: expected 1 to 128 characters of A-Z a-z 0-9 . _ : / @ -")
        return cls(
            identity.subject if identity.subject in mentioned.subjects else _NOBODY,
            identity.kind,
            tuple(sorted(set(identity.roles))),
            identity.desk,
            tuple([posture[item] for item in POSTURE_ITEMS]),
            assurance,
            risk if mentioned.risk else RISKS[0],
            device if mentioned.device else _NOBODY,
            _NEVER if moment is None else _reduced(moment, mentioned),
        )

    def requests(self, segment: Segment, operations: Sequence[Operation]) -> list[dict[str, Any]]:
        """One of Cedar's requests for each operation."""
        context = json.dumps(self._context())
        return [
            {
                "principal": {"type": "Subject", "id": self.subject},
                "action": {"type": "Action", "id": operation.full_name},
                "resource": {"type": "Segment", "id": segment.name},
                "context": context,
            }
            for operation in operations
        ]

    def entities(self, segment: Segment) -> str:
        """Who asks and about what, as Cedar's JSON."""
        subject = {"roles": list(self.roles), "desk": self.desk, "kind": self.kind}
        about = {"environment": segment.environment}
        return json.dumps(
            [
                {"uid": {"type": "Subject", "id": self.subject}, "attrs": subject, "parents": []},
                {"uid": {"type": "Segment", "id": segment.name}, "attrs": about, "parents": []},
            ]
        )

    def _context(self) -> dict[str, Any]:
        posture, now = dict(zip(POSTURE_ITEMS, self.posture, strict=True)), self.moment
        return {
            "posture": posture,
            "trust": trust_vector(posture),
            "assurance": self.assurance,
            "risk": self.risk,
            "device": self.device,
            "phase": now.phase,
            "time": {"hhmm": now.hhmm, "weekday": now.weekday, "date": now.date},
        }


def _reduced(now: Moment, mentioned: Mentions) -> Moment:
    asked = mentioned.attributes
    # Between two of the minutes that policies compare with, no comparison turns.
    begun = [minute for minute in mentioned.minutes if minute <= now.hhmm]
    return Moment(
        hhmm=max(begun, default=0),
        weekday=now.weekday if "context.time.weekday" in asked else _NEVER.weekday,
        date=now.date if "context.time.date" in asked else _NEVER.date,
        phase=now.phase if mentioned.phase else _NEVER.phase,
    )
