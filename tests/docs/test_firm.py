"""The firm of docs/examples/firm is what docs/policy.md tells of it, and decides as the page's tables say."""

from __future__ import annotations

import re
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest
from firm_questions import (
    DECISIONS,
    FIRM,
    PAGE,
    TEXT,
    Question,
    moment,
    name_of,
    operations,
    policies,
    subjects,
    who,
)
from pages import quoted, table

import ztsession as zts
from ztsession.errors import HandshakeError, NotPermitted, ReauthRequired, Replayed
from ztsession.policy.catalog import RISKS
from ztsession.policy.compile import compile_grant
from ztsession.policy.grant import Grant
from ztsession.policy.matrix import MODES, Cell, verdict
from ztsession.posture.items import ITEMS

pytest.importorskip("cedarpy", reason="policies need ztsession[authority]")

# ---- What the firm is

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def told(pattern: str) -> list[int]:
    """The numbers that the page says in a sentence, in words or in digits."""
    [found] = re.findall(pattern, " ".join(TEXT.split()))
    words = (found,) if isinstance(found, str) else found
    return [int(word) if word.isdigit() else NUMBERS.index(word) for word in words]


def test_the_firm_has_what_the_page_counts() -> None:
    """Desks, algorithms, people, services, segments, operations and policies are as many as it says."""
    known = [who(name) for name in subjects().names]
    algorithms = [each for each in known if each.kind == "algorithm"]
    roles = Counter(role for each in known if each.kind == "human" for role in each.roles)
    assert told(r"It has (\w+) desks: rates, equities and fx") == [3]
    assert {each.desk for each in algorithms} == {"rates", "equities", "fx"}
    counted = Counter(each.desk for each in algorithms)
    assert told(r"It has (\w+) algorithms, (\w+) on rates, (\w+) on equities and (\w+) on fx") == [
        len(algorithms),
        *(counted[desk] for desk in ("rates", "equities", "fx")),
    ]
    assert told(r"fx; (\w+) traders, ada, ben and chloe, one on each desk") == [roles["trading"]]
    assert [who(name).desk for name in ("ada", "ben", "chloe")] == ["rates", "equities", "fx"]
    assert (roles["supervision"], who("rosa").roles) == (1, ("supervision",))
    assert (roles["release-manager"], who("remy").roles) == (1, ("release-manager",))
    assert told(r"and (\w+) services, the feed handler") == [sum(each.kind == "service" for each in known)]
    catalog = policies().catalog
    assert told(r"in (\w+) segments with (\w+) operations") == [
        len(catalog.segments),
        sum(1 for _ in operations()),
    ]
    assert told(r"who may ask it: (\w+) policies") == [len(policies().statements)]
    segments = {
        quoted(row[0])[0]: quoted(row[1])[0]
        for row in table(PAGE, "segment", "environment", "what is asked there")
    }
    assert segments == {name: segment.environment for name, segment in catalog.segments.items()}
    assert catalog.environments == ("test", "prod")


def test_each_file_of_the_firm_is_told() -> None:
    """The table of the firm's files has each of them, and no other."""
    files = {path.name if path.suffix == ".toml" else f"*{path.suffix}" for path in FIRM.iterdir()}
    assert {quoted(row[0])[0] for row in table(PAGE, "file", "says")} == files


def test_every_policy_has_a_name_and_a_reason() -> None:
    """Each has an @id of its own, and each file begins with a comment; so does each policy but those that are
    like the one before.
    """
    ids = [tree.annotations["id"] for tree in policies().trees]
    assert len(set(ids)) == len(ids)
    alike = {"equities-desk", "fx-desk"}
    for path in FIRM.glob("*.cedar"):
        for before, name in re.findall(r'^(.*)\n@id\("([^"]+)"\)', path.read_text("utf-8"), re.M):
            assert before.startswith("// ") or name in alike, name


def test_the_firm_has_an_operation_of_every_kind() -> None:
    """Every effect, class, risk, assurance and choice of stale is in the catalog, and a promotion."""
    every = list(operations())
    assert {each.effect for each in every} == {"read", "risk-reducing", "risk-increasing"}
    assert {each.data_class for each in every} == {"public", "internal", "confidential", "restricted"}
    assert {each.highest_risk for each in every} == set(RISKS)
    assert {each.assurance for each in every} == {1, 2, 3}
    assert {0, 0xFFFF_FFFF} < {each.stale_ms for each in every}
    assert {each.ordered for each in every} == {False, True}
    assert [each.full_name for each in every if each.promotes_from == "test"] == ["release.promote"]
    assert any(each.posture for each in every)


# ---- What it decides


def test_there_are_decisions_of_every_sort() -> None:
    """The tables of the page have all answers, every policy of the firm, and everybody's kind."""
    assert len(DECISIONS) >= 45
    assert {row[6] for row in DECISIONS} == {"OK", "NOT_PERMITTED", "STEP_UP_REQUIRED", "REAUTH_REQUIRED"}
    named_there = {name for row in DECISIONS for name in quoted(row[7])}
    ids = {tree.annotations["id"] for tree in policies().trees}
    assert ids <= named_there
    assert named_there - ids == {"assurance", "posture", "highest_risk"}


@pytest.mark.parametrize("row", DECISIONS, ids=lambda row: " ".join(row[:7]).replace("`", ""))
def test_the_firm_decides_as_the_page_says(row: list[str]) -> None:
    """The answer is the one that the compiled bitmaps give, and its reason what the policies name."""
    question = Question(row)
    assert [question.answer(), question.because()] == row[6:]


@pytest.mark.parametrize("row", DECISIONS, ids=lambda row: " ".join(row[:7]).replace("`", ""))
def test_the_decisions_are_cells_of_the_table_of_calls(row: list[str]) -> None:
    """What the page says of one call is what it says of all calls of its kind while the lease holds."""
    question = Question(row)
    low = Question([*row[:4], RISKS[0], *row[5:]])
    permitted = {"OK": "at its assurance", "STEP_UP_REQUIRED": "at a higher one", "NOT_PERMITTED": "never"}
    operation, mode = question.operation, MODES[RISKS.index(question.risk)]
    # The one policy of the firm that looks at risk.
    highest = RISKS[0] if question.because() == "`restricted-data`" else operation.highest_risk
    cell = Cell(operation.effect, highest, permitted[low.answer()], "deny", "holds", mode)
    assert verdict(cell) == row[6]


@pytest.mark.parametrize("name", ["rates-mm-1", "equities-arb-1", "fx-hedger-1", "ada", "ben", "chloe"])
@pytest.mark.parametrize("when", ["Tue 10:15", "Tue 16:35", "Sat 03:00", "24 Dec 13:00"])
def test_cancelling_is_always_possible(name: str, when: str) -> None:
    """Whoever trades cancels: on any host, at any assurance, at any risk; what increases risk he may not
    always.
    """
    refused = 0
    for assurance in ("1", "2", "3"):
        for posture in ("good", "no device", *(f"`{item}` bad" for item in ITEMS)):
            for risk in RISKS:
                desk = who(name).desk
                for operation in (f"{desk}-cancel", "cancel-all"):
                    row = [name, f"`orders.{operation}`", assurance, posture, risk, when]
                    assert Question(row).answer() == "OK"
                row[1] = f"`orders.{desk}-submit`"
                refused += Question(row).answer() != "OK"
    assert refused


def test_no_forbid_speaks_of_what_reduces_risk() -> None:
    """As cancel.cedar claims: whoever asks in whatever state, no forbid holds for what reduces risk, and some
    do for everything else.
    """
    effects = {str(t.annotations["id"]): str(t.effect).lower() for t in policies().trees}
    forbids = {name for name, effect in effects.items() if "forbid" in effect}
    states = {(*row[2:4], risk, row[5]) for row in DECISIONS for risk in RISKS}
    held: dict[str, set[str]] = {"read": set(), "risk-reducing": set(), "risk-increasing": set()}
    for name in ("rates-mm-1", "ada", "rosa", "remy"):
        for state in states:
            for segment in policies().catalog.segments.values():
                first = Question([name, f"`{segment.operations[0].full_name}`", *state])
                for operation, decision in zip(
                    segment.operations, first.decisions(segment.operations), strict=True
                ):
                    held[operation.effect] |= forbids & set(map(name_of, decision.reasons))
    assert held["risk-reducing"] == set()
    assert held["read"] | held["risk-increasing"] == forbids


# ---- When it ends


def grant_of(name: str, segment: str, when: str, assurance: int = 2) -> Grant:
    grant = compile_grant(
        policies(),
        policies().catalog,
        segment,
        who(name),
        device="host-1",
        posture=dict.fromkeys(ITEMS, "good"),
        posture_digest=bytes(32),
        assurance=assurance,
        session=bytes(16),
        scopes=[f"{segment}.*"],
        issued_at=int(moment(when)),
    )
    assert grant is not None
    return grant


def test_grants_are_whole_until_the_page_says() -> None:
    """A grant of Tuesday morning is whole until the hour would change it, and in the lab no hour does."""
    sentence = re.search(
        r"A grant that `([\w-]+)` gets on Tuesday at (\d\d:\d\d) is whole until (\d\d:\d\d), one of "
        r"`([\w-]+)` until (\d\d:\d\d) and one of `(\w+)` until (\d\d:\d\d)",
        " ".join(TEXT.split()),
    )
    assert sentence is not None
    first, begun, *ends = sentence.groups()
    for name, end in zip((first, ends[1], ends[3]), (ends[0], ends[2], ends[4]), strict=True):
        assert grant_of(name, "orders", f"Tue {begun}").until == moment(f"Tue {end}"), name
    assert grant_of("equities-arb-1", "lab", f"Tue {begun}").until == 0


# ---- A real session


@pytest.fixture
def swapped(tmp_path: Path) -> tuple[Path, zts.Ed25519Identity, zts.DevicePosture]:
    """A copy of the firm in which rates-mm-1 and its host have keys that are held here, and where it is
    about noon now.
    """
    directory = tmp_path / "policy"
    shutil.copytree(FIRM, directory)
    identity = zts.Ed25519Identity.generate("rates-mm-1")
    device = zts.DevicePosture("host-rates-1", bytes(range(32)), measure=dict)
    swap(directory / "subjects.toml", identity.subject, identity.public_key)
    swap(directory / "devices.toml", device.device, device.public_key)
    calendar = directory / "calendar.toml"
    text = re.sub(r"^closed_on.*\n", "", calendar.read_text(), flags=re.M)
    # POSIX counts westwards: in Etc/GMT+3 it is three hours earlier than in Greenwich.
    calendar.write_text(text.replace("Europe/London", f"Etc/GMT{time.gmtime().tm_hour - 12:+d}"))
    return directory, identity, device


def swap(path: Path, name: str, public_key: bytes) -> None:
    head, below = path.read_text().split(f'."{name}"]\n')
    changed, count = re.subn(r'public_key = "\w+"', f'public_key = "{public_key.hex()}"', below, count=1)
    assert count == 1
    path.write_text(f'{head}."{name}"]\n{changed}')


def test_an_algorithm_of_the_firm_trades(
    swapped: tuple[Path, zts.Ed25519Identity, zts.DevicePosture], tmp_path: Path
) -> None:
    """A real Authority grants what the page says, and a point lets through its own desk's order, once."""
    directory, identity, device = swapped
    with zts.Authority.open(tmp_path / "state", policy=directory) as authority:

        def connect(*scopes: str) -> zts.Session:
            return zts.connect(
                authority.connection(), identity=identity, posture=device, root=authority.root, scopes=scopes
            )

        with zts.EnforcementPoint("orders", authority=authority, environment="prod") as point:
            session = connect("orders.*", "market-data.*")
            assert (session.segments, session.assurance) == (("market-data", "orders"), 2)
            orders = session.install(point, "orders")
            token = orders.sign("orders.rates-submit", b"buy 100")
            submit = point.verifier("orders.rates-submit")
            assert submit(token, b"buy 100").subject == "rates-mm-1"
            with pytest.raises(Replayed):
                submit(token, b"buy 100")
            with pytest.raises(NotPermitted):
                point.verifier("orders.fx-submit")(orders.sign("orders.fx-submit", b"x"), b"x")
            high = zts.Signal("1", "behaviour", zts.Level.HIGH, "detector", time.time(), session=session.id)
            authority.signal(high)
            with pytest.raises(ReauthRequired):
                submit(orders.sign("orders.rates-submit", b"x"), b"x")
            cancel = point.verifier("orders.rates-cancel")
            assert cancel(orders.sign("orders.rates-cancel", b"1"), b"1").mode == "SUSPENDED"
            with pytest.raises(HandshakeError):
                connect("orders.*", "lab.*")
            assert connect("lab.*").segments == ("lab",)
