"""One operation of one session put to the policies, and the same with something about it changed.

What would help is not read off the policies, which is guessing: the question is changed, and asked again, the
way in which a handshake asks it. So an answer here and a bit of a grant cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.calendar import Moment
from ztsession.policy.catalog import RISKS, Operation, Segment
from ztsession.policy.compile import Case, Compiled
from ztsession.policy.engine import Decision, PolicySet
from ztsession.policy.explanation import MODES, Need
from ztsession.policy.mentions import HHMM, Mentions
from ztsession.policy.question import Question

__all__ = ["Asked"]

#: What a question leaves out unless it is mentioned.
_ATTRIBUTES: Final = (
    "context.risk",
    "context.device",
    "context.phase",
    HHMM,
    "context.time.weekday",
    "context.time.date",
)


@dataclass(frozen=True)
class Asked:
    """Who asks for what, on what, how sure, at which risk (a word of ``RISKS``) and when (Unix seconds)."""

    policy: PolicySet
    segment: Segment
    operation: Operation
    identity: SubjectAttributes
    device: str
    posture: Mapping[str, str]
    assurance: int
    risk: str
    at: float

    def changed(self, need: Need) -> Asked:
        """The same, with what ``need`` says."""
        who, role = self.identity, need.role
        return replace(
            self,
            identity=replace(who, roles=(*who.roles, role)) if role else who,
            posture={**self.posture, **dict.fromkeys(need.posture, "good")},
            assurance=need.assurance or self.assurance,
            risk=need.risk or self.risk,
            at=need.at or self.at,
        )

    @property
    def outcome(self) -> str:
        """ "allowed", "step-up" or "denied": what a grant made for this would say in the mode of its risk."""
        if MODES[RISKS.index(self.risk)] in self.modes:
            return "allowed"
        # Step-up never reaches into the worse modes.
        ahead = self.risk == RISKS[0] and self._compiled.step_up & self.operation.bit
        return "step-up" if ahead else "denied"

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes in which it may run without anything more."""
        compiled, bit = self._compiled, self.operation.bit
        ready = (compiled.allowed[0] & ~compiled.step_up, *compiled.allowed[1:])
        return tuple(mode for mode, bitmap in zip(MODES, ready, strict=True) if bitmap & bit)

    @cached_property
    def _compiled(self) -> Compiled:
        scopes = (self.operation.full_name,)
        case = Case(self.policy, self.identity, self.device, self.posture, self.assurance, scopes)
        return case.compiled(self.segment, self.at)

    def decided(self) -> tuple[str, Decision]:
        """What the policies say, and at which risk: the first, from low to that of the session, at which they
        refuse, because what a better mode refuses no worse one allows.
        """
        for risk in RISKS[: RISKS.index(self.risk) + 1]:
            [decision] = self.policy.decide(
                self.identity,
                self.segment,
                [self.operation],
                device=self.device,
                posture=self.posture,
                assurance=self.assurance,
                risk=risk,
                at=self.at,
            )
            if not decision.allowed:
                break
        return risk, decision

    def question(self) -> Question:
        """All of it as Cedar is asked, with nothing left out that no policy mentions; PolicyError when it is
        not whole.
        """
        moment = self.policy.calendar.at(self.at)
        subject, minute = frozenset({self.identity.subject}), frozenset({moment.hhmm})
        return self._question(moment, Mentions(subject, frozenset(_ATTRIBUTES), minute))

    @property
    def moment(self) -> Moment:
        """What the policies can tell of its time: at equal ones they decide alike."""
        return self._question(self.policy.calendar.at(self.at), self.policy.mentions).moment

    def _question(self, moment: Moment, mentioned: Mentions) -> Question:
        return Question.ask(
            self.identity,
            device=self.device,
            posture=self.posture,
            assurance=self.assurance,
            risk=self.risk,
            moment=moment,
            mentioned=mentioned,
        )
