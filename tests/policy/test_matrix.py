"""The table of what becomes of a call, as docs/policy.md shows it, put cell by cell to the core.

The page is parsed here and not generated, so that a word changed on it, in the code that writes it or in the
core makes a test fail. Each cell is a real grant of real policies, sealed in a real ticket, installed at a
real point.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from matrix_page import BETWEEN, PAGE, ROOT, TOLD, Told, altered, said

from ztsession import errors
from ztsession._core import VERDICTS
from ztsession.client.installed import InstalledSession
from ztsession.enforcement.point import EnforcementPoint
from ztsession.errors import ConfigurationError
from ztsession.policy import matrix
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.catalog import EFFECTS, RISKS, Catalog
from ztsession.policy.cedar_schema import POSTURE_ITEMS
from ztsession.policy.compile import compile_grant
from ztsession.policy.engine import PolicySet
from ztsession.policy.grant import Grant
from ztsession.policy.matrix import LEASES, MODES, PERMITTED, REFUSED_AT_LOAD, STALES, Cell
from ztsession.risk.levels import Mode
from ztsession.testing import FakeClock, TestAuthority

# ---- The page


def test_the_page_has_a_word_for_every_cell() -> None:
    """Each combination has one row in each table, and what stands there is a verdict or a refusal to load."""
    told = [said(cell) for cell in matrix.cells()]
    assert set(told) <= {*VERDICTS, REFUSED_AT_LOAD}
    called = len(told) - told.count(REFUSED_AT_LOAD)
    assert f"{len(told)} cells, and {called} of them are calls" in PAGE


def test_the_page_names_nothing_that_there_is_not() -> None:
    """No row is about an effect, a risk, a choice or a lease that no operation and no session can have."""
    for table, column, known in (
        (TOLD.holding, "highest risk", RISKS),
        (TOLD.holding, "effect", EFFECTS),
        (TOLD.holding, "permitted", PERMITTED),
        (TOLD.over, "stale", STALES),
        (TOLD.over, "lease", LEASES),
    ):
        assert {word for row in table for word in row[column]} == set(known)


def test_each_mode_stands_under_the_risk_that_brings_it() -> None:
    """The heads of the tables name for each mode the risk for which policies decide it."""
    heads = re.findall(r"^\|.*\| (NORMAL \(.*)\|$", BETWEEN, re.M)
    expected = [f"{mode} (risk {risk})" for mode, risk in zip(MODES, RISKS, strict=False)]
    assert len(heads) == 2
    assert all([cell.strip() for cell in head.split("|")] == [*expected, "REVOKED"] for head in heads)
    assert [Mode[mode].value for mode in MODES] == [0, 1, 2, 3]


def test_the_rule_says_what_the_page_says() -> None:
    """Every cell of the page is the one that ztsession.policy.matrix computes."""
    differing = [cell for cell in matrix.cells() if matrix.verdict(cell) != said(cell)]
    assert differing == []


def test_no_cell_of_the_page_can_be_altered_unnoticed() -> None:
    """Whichever cell of whichever row says something else, the rule and the page differ, or no longer fit."""
    texts = dict(altered())
    assert len(texts) == sum(len(row) for row in (*TOLD.holding, *TOLD.over))
    for text, where in texts.items():
        try:
            told = Told.read(text)
            same = all(told.said(cell) == matrix.verdict(cell) for cell in matrix.cells())
        except ValueError:
            same = False  # a combination with no row, or with two
        assert not same, where


def test_the_page_is_what_make_matrix_writes() -> None:
    """Between the markers stands what would be written: run `make matrix` after a change."""
    sys.path.append(str(ROOT / "tests/docs"))
    from matrix_table import generated, written

    assert written() == generated()


# ---- The core

SECOND = 1_000_000
WHO = SubjectAttributes("algo-7", "algorithm", ("trading",), "rates")
STALE_S = 30
#: The TOML of each choice.
STALE_TEXT = dict(zip(STALES, ("deny", f"{STALE_S}s", "allow"), strict=True))
#: How long a lease has been over, in microseconds, at both ends of each word.
OVER_US = {
    "holds": (-5 * SECOND, 0),
    "just over": (1, STALE_S * SECOND),
    "long over": (STALE_S * SECOND + 1, 1_000 * SECOND),
}
EVERYTHING = "permit (principal, action, resource);\n"
NOTHING_ELSE = 'unless { action == Action::"orders.spare" };\n'
#: Each way in which an operation comes to be permitted as the word says: lines of the catalog, policies.
CAUSES = {
    "permit": (PERMITTED[0], "", EVERYTHING),
    "catalog": (PERMITTED[1], "assurance = 2\n", EVERYTHING),
    "policy": (
        PERMITTED[1],
        "",
        f"{EVERYTHING}forbid (principal, action, resource) when {{ context.assurance < 2 }}\n" + NOTHING_ELSE,
    ),
    "no permit": (PERMITTED[2], "", 'permit (principal, action == Action::"orders.spare", resource);\n'),
    "forbid": (PERMITTED[2], "", f"{EVERYTHING}forbid (principal, action, resource)\n{NOTHING_ELSE}"),
    "posture": (PERMITTED[2], 'posture = ["boot"]\n', EVERYTHING),
}
ALL_CAUSES = pytest.mark.parametrize("cause", CAUSES)


def kinds() -> Iterator[tuple[str, str, str]]:
    """(effect, highest risk, stale) of every operation that a catalog can have."""
    for cell in matrix.cells():
        risky = cell.effect == "risk-increasing" and cell.highest_risk == RISKS[-1]
        if (cell.permitted, cell.lease, cell.mode) == (PERMITTED[0], LEASES[0], MODES[0]) and not risky:
            yield cell.effect, cell.highest_risk, cell.stale


def name_of(effect: str, risk: str, stale: str) -> str:
    return f"orders.{effect}-{risk}-{stale.replace(' ', '')}"


def catalog_text(lines: str) -> str:
    rows = [operation(*kind, lines) for kind in kinds()]
    spare = '[segments.orders.operations.spare]\neffect = "read"\n'
    return "version = 1\n" + "".join(rows) + spare


def operation(effect: str, risk: str, stale: str, lines: str) -> str:
    return (
        f"[segments.{name_of(effect, risk, stale).replace('.', '.operations.')}]\n"
        f'effect = "{effect}"\nhighest_risk = "{risk}"\nstale = "{STALE_TEXT[stale]}"\n{lines}'
    )


def real_grant(policy: PolicySet, at: int) -> Grant:
    grant = compile_grant(
        policy,
        policy.catalog,
        "orders",
        WHO,
        device="host-1",
        posture=dict.fromkeys(POSTURE_ITEMS, "unknown"),
        posture_digest=bytes(32),
        assurance=1,
        session=b"s" * 16,
        scopes=["orders.*"],
        issued_at=at,
    )
    assert grant is not None
    return grant


class Walk:
    """One session with an operation of each kind, and the hand that puts it into every state."""

    def __init__(self, cause: str) -> None:
        self.permitted, lines, policies = CAUSES[cause]
        catalog = Catalog.from_text(catalog_text(lines))
        self.clock = FakeClock()
        self.authority = TestAuthority(catalog.segment("orders"), clock=self.clock.time)
        self.point = EnforcementPoint(
            "orders",
            authority=self.authority,
            capacity=1,
            profiles=1,
            manual_clock=True,
            wall_clock=self.clock.time,
        )
        self.clock.follow(self.point.table)
        assert self.point.maintain()
        grant = real_grant(PolicySet({"a.cedar": policies}, catalog), int(self.clock.time()))
        self.client: InstalledSession = self.authority.connect(self.point, grant, clock=self.clock)

    def states(self, mode: str) -> Iterator[tuple[str, int]]:
        """Put the session in the mode, and then let the lease be what each word says."""
        self.authority.set_mode(self.client.grant.session, Mode[mode])
        for lease, ends in OVER_US.items():
            for over_us in ends:
                self.point.table.set_lease(self.clock.machine_us - over_us)
                yield lease, over_us

    def cells(self, mode: str) -> Iterator[tuple[Cell, str]]:
        """Each cell of the mode, while the session is in its state, and the name of its operation."""
        for lease, _ in self.states(mode):
            for effect, risk, stale in kinds():
                cell = Cell(effect, risk, self.permitted, stale, lease, mode)
                yield cell, name_of(effect, risk, stale)

    @contextmanager
    def mended(self, cell: Cell) -> Iterator[Cell]:
        """For a while, take away what can be taken away of a session's troubles; the cell that it then is."""
        session, deadline_us = self.client.grant.session, self.point.table.lease_deadline_us
        self.authority.set_mode(session, Mode.NORMAL)
        self.point.table.set_lease(self.clock.machine_us + SECOND)
        yield replace(cell, lease="holds", mode="NORMAL")
        self.authority.set_mode(session, Mode[cell.mode])
        self.point.table.set_lease(deadline_us)

    def verdict(self, handler: str, token: bytes) -> str:
        try:
            self.point.verifier(handler)(token, b"body")
        except errors.Denied as denied:
            return denied.verdict
        return "OK"

    def sign(self, name: str) -> bytes:
        return self.client.sign(name, b"body")

    def snapshot(self) -> bytes:
        return self.point.table.snapshot_for_testing_only()


@pytest.fixture
def walk(cause: str) -> Walk:
    return Walk(cause)


@ALL_CAUSES
@pytest.mark.parametrize("mode", MODES)
def test_every_cell_of_the_page_is_what_the_core_answers(walk: Walk, mode: str) -> None:
    """Whatever an operation is and its session's state, a call is answered as the page says."""
    answered = [(cell, walk.verdict(name, walk.sign(name))) for cell, name in walk.cells(mode)]
    assert [(cell, word) for cell, word in answered if word != said(cell)] == []
    assert len({cell for cell, _ in answered}) == len(answered) // 2 == 3 * sum(1 for _ in kinds())


def test_every_cell_is_walked() -> None:
    """The causes, the modes and the leases of the walk come to all cells but those that no catalog has."""
    walked = {
        Cell(*kind[:2], permitted, kind[2], lease, mode)
        for kind in kinds()
        for permitted, _, _ in CAUSES.values()
        for lease in OVER_US
        for mode in MODES
    }
    unwalked = set(matrix.cells()) - walked
    assert {said(cell) for cell in unwalked} == {REFUSED_AT_LOAD}
    assert REFUSED_AT_LOAD not in {said(cell) for cell in walked}


@pytest.mark.parametrize("lines", sorted({lines for _, lines, _ in CAUSES.values()}))
@pytest.mark.parametrize("stale", STALES)
def test_what_the_page_says_is_refused_at_load_is_refused(stale: str, lines: str) -> None:
    """An operation that increases risk cannot be declared for the worst one, only for the one before."""
    with pytest.raises(ConfigurationError, match="cannot run in a suspended session"):
        Catalog.from_text("version = 1\n" + operation("risk-increasing", "high", stale, lines))
    Catalog.from_text("version = 1\n" + operation("risk-increasing", "medium", stale, lines))
    Catalog.from_text("version = 1\n" + operation("risk-reducing", "high", stale, lines))


@ALL_CAUSES
@pytest.mark.parametrize("mode", MODES)
def test_T26_a_refused_call_keeps_its_sequence_and_an_accepted_one_does_not(walk: Walk, mode: str) -> None:
    """In every cell: a refusal moves nothing, and the same token is then taken once its cause is gone, if
    that can go; what was accepted is a replay the second time.
    """
    refused = 0
    for cell, name in walk.cells(mode):
        token, before = walk.sign(name), walk.snapshot()
        word = walk.verdict(name, token)
        assert word == said(cell)
        if word == "OK":
            assert walk.verdict(name, token) == "REPLAYED", cell
            continue
        refused += 1
        assert walk.snapshot() == before, cell
        if mode != "REVOKED":
            with walk.mended(cell) as better:
                assert walk.verdict(name, token) == said(better), cell
                again = "REPLAYED" if said(better) == "OK" else said(better)
                assert walk.verdict(name, token) == again, cell
    assert refused


@pytest.mark.parametrize("cause", ["permit"])
@pytest.mark.parametrize("mode", MODES[:-1])
def test_T25_a_token_for_one_operation_runs_no_other(walk: Walk, mode: str) -> None:
    """In each mode, a token given to any handler but its own is refused and moves nothing; its own then takes
    it, if the mode lets it run.
    """
    ran = 0
    lease, _ = next(walk.states(mode))
    for effect, risk, stale in kinds():
        own = name_of(effect, risk, stale)
        word = said(Cell(effect, risk, walk.permitted, stale, lease, mode))
        token, before = walk.sign(own), walk.snapshot()
        for other in set(walk.point.table.operations) - {own}:
            assert walk.verdict(other, token) == ("WRONG_OPERATION" if word == "OK" else word)
            assert walk.snapshot() == before
        assert walk.verdict(own, token) == word
        ran += word == "OK"
    assert ran
