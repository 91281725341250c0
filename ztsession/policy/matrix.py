"""What becomes of a call, in every combination of what an operation is and what state its session is in.

The core decides each call with a few bits and two times. What those come to is written here a second time, as
a rule that a person can read: docs/policy.md prints it as a table, and the tests put every cell of that table
to the core. So nobody has to believe the table, and no change of the core can leave it behind.

It speaks of calls that are authentic and fresh. Others are refused before any of this is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

from ztsession.policy.catalog import EFFECTS, RISKS

__all__ = ["LEASES", "MODES", "PERMITTED", "REFUSED_AT_LOAD", "STALES", "Cell", "cells", "tables", "verdict"]

#: A mode follows from the risk of the same place in ``RISKS``; the last one is the end of a session.
MODES: Final = ("NORMAL", "RESTRICTED", "SUSPENDED", "REVOKED")
#: At which assurance catalog and policies allow the operation to this session.
PERMITTED: Final = ("at its assurance", "at a higher one", "never")
#: What an operation's ``stale`` says.
STALES: Final = ("deny", "a time", "allow")
#: A lease that is over: by no more than the time that ``stale`` gives in the row of times, or by more.
LEASES: Final = ("holds", "just over", "long over")
#: The catalog has no such operation, so there is no call.
REFUSED_AT_LOAD: Final = "refused at load"

_AS_ABOVE: Final = "as above"


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination; each field is a word of ``EFFECTS``, ``RISKS``, ``PERMITTED``, ``STALES``, ``LEASES``
    or ``MODES``.
    """

    effect: str
    highest_risk: str
    permitted: str
    stale: str
    lease: str
    mode: str


def cells() -> Iterator[Cell]:
    """Every combination there is."""
    for words in product(EFFECTS, RISKS, PERMITTED, STALES, LEASES, MODES):
        yield Cell(*words)


def verdict(cell: Cell) -> str:
    """The protocol's word for what an authentic, fresh call is answered in this cell."""
    if cell.effect == "risk-increasing" and cell.highest_risk == RISKS[-1]:
        return REFUSED_AT_LOAD
    if cell.mode == MODES[-1]:
        return "REVOKED"
    # Both go the same way: each word of a lease is outlived by the choice of its place and those after it.
    if LEASES.index(cell.lease) > STALES.index(cell.stale):
        return "STALE"
    if cell.permitted == "never":
        return "NOT_PERMITTED"
    runs = MODES.index(cell.mode) <= RISKS.index(cell.highest_risk)
    if runs and cell.permitted == "at its assurance":
        return "OK"
    # The word says what would help.
    return "REAUTH_REQUIRED" if cell.mode == "SUSPENDED" else "STEP_UP_REQUIRED"


# ---- The table of the page


def tables() -> str:
    """Two tables in Markdown from which every cell follows: while the lease holds, and after it."""
    risks = [f"{mode} (risk {risk})" for mode, risk in zip(MODES, RISKS, strict=False)]
    modes = [*risks, MODES[-1]]
    first = _table(["highest risk", "effect", "permitted", *modes], _holding())
    return f"{first}\n{_table(['`stale`', 'lease', *modes], _over())}"


def _holding() -> Iterator[list[str]]:
    for risk in RISKS:
        of = {
            effect: [_row(Cell(effect, risk, p, "deny", "holds", "")) for p in PERMITTED]
            for effect in EFFECTS
        }
        for effects in _alike(EFFECTS, of):
            rows = dict(zip(PERMITTED, of[effects[0]], strict=True))
            for permitted in _alike(PERMITTED, rows):
                yield [_code([risk]), _code(effects), ", ".join(permitted), *rows[permitted[0]]]


def _over() -> Iterator[list[str]]:
    for stale in STALES:
        rows = {lease: [_changed(stale, lease, mode) for mode in MODES] for lease in LEASES}
        for leases in _alike(LEASES, rows):
            word = stale if stale == "a time" else _code([stale])
            yield [word, ", ".join(leases), *rows[leases[0]]]


def _row(cell: Cell) -> list[str]:
    return [verdict(replace(cell, mode=mode)) for mode in MODES]


def _changed(stale: str, lease: str, mode: str) -> str:
    """What all calls in this mode are answered, if that is another word than while the lease holds."""
    now = [cell for cell in cells() if (cell.stale, cell.lease, cell.mode) == (stale, lease, mode)]
    now = [cell for cell in now if verdict(cell) != REFUSED_AT_LOAD]
    if all(verdict(cell) == verdict(replace(cell, lease="holds")) for cell in now):
        return _AS_ABOVE
    [word] = {verdict(cell) for cell in now}
    return word


def _alike(words: Sequence[str], rows: dict[str, list[str]] | dict[str, list[list[str]]]) -> list[list[str]]:
    """The words in groups of equal rows, in order."""
    groups: list[list[str]] = []
    for word in words:
        group = next((group for group in groups if rows[group[0]] == rows[word]), None)
        if group is None:
            groups.append([word])
        else:
            group.append(word)
    return groups


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(line)} |\n" for line in (head, *rows)]
    return "".join([lines[0], "|---" * len(head), "|\n", *lines[1:]])
