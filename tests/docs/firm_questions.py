"""The firm of docs/examples/firm, and the questions to it that the tables of docs/policy.md ask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo

from pages import ROOT, quoted, tables

from ztsession.identity.subjects import FileSubjects
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.catalog import RISKS, Operation
from ztsession.policy.compile import Case
from ztsession.policy.engine import Decision, PolicySet
from ztsession.posture.items import ITEMS

PAGE = "docs/policy.md"
TEXT = (ROOT / PAGE).read_text("utf-8")
FIRM = ROOT / "docs/examples/firm"
DECISIONS = [
    row
    for rows in tables(PAGE, "who", "asks for", "assurance", "posture", "risk", "when", "answer", "because")
    for row in rows
]
LONDON = ZoneInfo("Europe/London")
#: The week of the page.
DAYS = {day: f"2026-12-{number:02}" for number, day in enumerate(("Tue", "Wed", "Thu", "Fri", "Sat"), 1)}


@cache
def policies() -> PolicySet:
    from ztsession.authority.rules import read_rules

    return read_rules(FIRM).policies.current


@cache
def subjects() -> FileSubjects:
    return FileSubjects(FIRM / "subjects.toml")


def who(name: str) -> SubjectAttributes:
    found = subjects().named(name)
    assert found is not None, name
    return SubjectAttributes(found.name, found.kind, found.roles, found.desk)


def operations() -> Iterator[Operation]:
    for segment in policies().catalog.segments.values():
        yield from segment.operations


def named(full_name: str) -> Operation:
    return policies().catalog.segment(full_name.partition(".")[0]).operation(full_name)


# ---- Questions


def posture_of(cell: str) -> dict[str, str]:
    if cell == "no device":
        return dict.fromkeys(ITEMS, "unknown")
    good = dict.fromkeys(ITEMS, "good")
    if cell == "good":
        return good
    [item], word = quoted(cell), cell.split()[-1]
    assert item in ITEMS
    return good | {item: word}


def moment(cell: str) -> float:
    day, hhmm = cell.rsplit(" ", 1)
    at = f"{DAYS.get(day) or '2026-12-24'} {hhmm}"
    assert day in (*DAYS, "24 Dec")
    return datetime.fromisoformat(at).replace(tzinfo=LONDON).timestamp()


class Question:
    """One row of the page."""

    def __init__(self, row: list[str]) -> None:
        name, [asked], assurance, posture, self.risk, when = row[0], quoted(row[1]), *row[2:6]
        self.who, self.operation, self.assurance = who(name), named(asked), int(assurance)
        self.posture, self.at = posture_of(posture), moment(when)
        self.segment = policies().catalog.segment(self.operation.segment)

    def answer(self) -> str:
        """What the compiled bitmaps say to a call in the mode of this risk."""
        case = Case(policies(), self.who, "host-1", self.posture, self.assurance, [self.operation.full_name])
        compiled, bit, mode = case.compiled(self.segment, self.at), self.operation.bit, RISKS.index(self.risk)
        if not compiled.allowed[0] & bit:
            return "NOT_PERMITTED"
        if compiled.allowed[mode] & bit and not compiled.step_up & bit:
            return "OK"
        return "REAUTH_REQUIRED" if mode == 2 else "STEP_UP_REQUIRED"

    def because(self) -> str:
        """Which policies decide, or which key of the catalog."""
        if self.operation.lacks(self.posture):
            return "catalog: `posture`"
        [decision] = self.decisions([self.operation])
        if decision.allowed and self.operation.assurance > self.assurance:
            return "catalog: `assurance`"
        if decision.allowed and not self.operation.runs_at(self.risk):
            return "catalog: `highest_risk`"
        return ", ".join(f"`{name_of(place)}`" for place in decision.reasons) or "nothing permits it"

    def decisions(self, operations: Sequence[Operation]) -> list[Decision]:
        """What the policies say of operations of the segment, whatever the catalog does."""
        found = policies().decide(
            self.who,
            self.segment,
            operations,
            device="host-1",
            posture=self.posture,
            assurance=self.assurance,
            risk=self.risk,
            at=self.at,
        )
        assert all(decision.errors == () for decision in found)
        return found


@cache
def name_of(place: str) -> str:
    [number] = [i for i, statement in enumerate(policies().statements) if statement.place == place]
    return policies().trees[number].annotations["id"]
