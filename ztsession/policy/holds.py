"""Whether conditions can hold at all: Cedar itself is asked, for every question that could make a difference.

A question for which they hold settles it. That there is none is only said when every question of the domain
was asked and the domain covers the conditions; when there are more than ``QUESTIONS_MAX``, or one could not
be evaluated, the answer is that it was not decided. So "can never hold" is never a guess.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Final

from ztsession.errors import PolicyError
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.catalog import Operation
from ztsession.policy.cedar_schema import groups_of
from ztsession.policy.conditions import PRINCIPAL, TARGET, Clauses, parts, topics
from ztsession.policy.domain import Asked, Domain, covers, nearest_first
from ztsession.policy.engine import PolicySet
from ztsession.policy.mentions import mentions_of
from ztsession.posture.trust import trust_vector

if TYPE_CHECKING:
    import cedarpy
    from cedarpy import pst

__all__ = ["QUESTIONS_MAX", "Holding", "Possible", "as_known"]

#: Questions that are asked about one group of conditions before it is given up.
QUESTIONS_MAX: Final = 50_000
_BATCH: Final = 256


@dataclass(frozen=True)
class Possible:
    """Whether conditions can hold: ``asked`` is a question for which they do, or None; ``decided``: whether
    None means that there is no such question.
    """

    asked: Asked | None
    decided: bool = True

    @property
    def never(self) -> bool:
        """Whether it is certain that they hold for no question."""
        return self.asked is None and self.decided


def as_known(identity: SubjectAttributes) -> dict[str, Any]:
    """A subject as the known part of questions."""
    return {
        "subject": identity.subject,
        "kind": identity.kind,
        "desk": identity.desk,
        "roles": frozenset(identity.roles),
    }


class Holding:
    """Tries the conditions of one policy set's catalog and calendar; remembers what it has tried."""

    def __init__(self, policy: PolicySet, *, questions_max: int = QUESTIONS_MAX) -> None:
        self.domain: Final = Domain(policy.catalog, policy.calendar)
        self._policy, self._most = policy, questions_max
        self._tried: dict[tuple[Clauses, Any], Possible] = {}
        self._targets: dict[Clauses, frozenset[Operation]] = {}

    def possible(self, clauses: Iterable[pst.Clause], known: Asked | None = None) -> Possible:
        """Whether all ``clauses`` can hold together, of questions in which ``known`` is as it is."""
        known = known or {}
        tried = [self._part(part, known) for part in parts(clauses, known.keys())]
        if any(each.never for each in tried):
            return Possible(None)
        found: dict[str, Any] = {}
        for each in tried:
            if each.asked is None:
                return Possible(None, decided=False)
            found |= each.asked
        return Possible(found)

    def targets(self, clauses: Iterable[pst.Clause]) -> frozenset[Operation]:
        """The operations that ``clauses`` do not exclude by those of them that ask about nothing else."""
        what = tuple(clause for clause in clauses if topics([clause]) == {TARGET})
        if what not in self._targets:
            every = [{TARGET: operation} for operation in self.domain.targets]
            answers = _Asking(what, self._policy, self.domain.targets[0]).answers(every)
            pairs = zip(self.domain.targets, answers, strict=True)
            self._targets[what] = frozenset(o for o, a in pairs if a.allowed or a.diagnostics.errors)
        return self._targets[what]

    def _part(self, part: Clauses, known: Asked) -> Possible:
        about = topics(part)
        given = {topic: value for topic, value in known.items() if topic in about}
        key = (part, frozenset(given.items()))
        if key not in self._tried:
            self._tried[key] = self._try(part, given)
        return self._tried[key]

    def _try(self, part: Clauses, given: Asked) -> Possible:
        asking = _Asking(part, self._policy, self.domain.targets[0])
        questions = nearest_first(self.domain.axes(part, given.keys()))
        left, decided = self._most, True
        while batch := [{**question, **given} for question in islice(questions, min(_BATCH, left))]:
            for question, answer in zip(batch, asking.answers(batch), strict=True):
                if answer.allowed:
                    return Possible(question)
                decided = decided and not answer.diagnostics.errors
            left -= len(batch)
        decided = decided and next(questions, None) is None
        return Possible(None, decided and covers(part, given.keys()))


class _Asking:
    """One policy that permits where the conditions hold, and the questions to it.

    They hold nothing that it does not ask about, and no schema: what an evaluation costs is mostly the
    reading of these.
    """

    def __init__(self, part: Clauses, policy: PolicySet, any_operation: Operation) -> None:
        import cedarpy
        from cedarpy import pst

        everything = pst.ScopeAny()
        permit = pst.Template("p", "permit", everything, everything, everything, part, pst.FrozenMap())
        self._policy = cedarpy.PolicySet.from_pst(pst.PolicySet({}, {"p": permit}, ()))
        self._trust = any(path.startswith("context.trust") for path in mentions_of(part).attributes)
        self._catalog, self._calendar, self._any = policy.catalog, policy.calendar, any_operation

    def answers(self, batch: Sequence[Asked]) -> Iterator[cedarpy.AuthzResult]:
        """Cedar's answers, in the order of the questions."""
        import cedarpy

        for _, same in groupby(batch, key=self._who_and_what):
            asked = list(same)
            requests = [self._request(question) for question in asked]
            try:
                entities = cedarpy.Entities.from_json_str(self._entities(asked[0]))
                yield from cedarpy.is_authorized_batch(requests, self._policy, entities)
            except (ValueError, TypeError, RuntimeError) as error:
                raise PolicyError(f"could not be evaluated: {error}") from error

    def _who_and_what(self, question: Asked) -> list[Any]:
        return [question.get(topic) for topic in (*sorted(PRINCIPAL), TARGET)] + [_roles(question)]

    def _request(self, question: Asked) -> dict[str, Any]:
        operation = question.get(TARGET, self._any)
        return {
            "principal": {"type": "Subject", "id": question.get("subject", "another")},
            "action": {"type": "Action", "id": operation.full_name},
            "resource": {"type": "Segment", "id": operation.segment},
            "context": json.dumps(self._context(question)),
        }

    def _context(self, question: Asked) -> dict[str, Any]:
        context = {topic: question[topic] for topic in ("assurance", "risk", "device") if topic in question}
        words = question.items()
        items = {topic.removeprefix("posture."): word for topic, word in words if "posture." in topic}
        context["posture"] = items
        if self._trust:
            context["trust"] = trust_vector(items)
        if "moment" in question:
            now = self._calendar.at(question["moment"])
            context["phase"] = now.phase
            context["time"] = {"hhmm": now.hhmm, "weekday": now.weekday, "date": now.date}
        return context

    def _entities(self, question: Asked) -> str:
        operation = question.get(TARGET, self._any)
        segment = self._catalog.segment(operation.segment)
        subject = {
            "kind": question.get("kind", "human"),
            "desk": question.get("desk", ""),
            "roles": _roles(question),
        }
        groups = [{"type": "Action", "id": group} for group in groups_of(operation)]
        return json.dumps(
            [
                _entity("Subject", question.get("subject", "another"), subject),
                _entity("Segment", segment.name, {"environment": segment.environment}),
                {**_entity("Action", operation.full_name, {}), "parents": groups},
            ]
        )


def _entity(kind: str, name: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {"uid": {"type": kind, "id": name}, "attrs": attributes, "parents": []}


def _roles(question: Asked) -> list[str]:
    tried = [name.removeprefix("role:") for name, has in question.items() if has is True and "role:" in name]
    return sorted({*tried, *question.get("roles", ())})
