from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from ztsession.errors import PolicyError
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.catalog import Catalog
from ztsession.policy.cedar_schema import POSTURE_ITEMS, TRUST_CLAIMS
from ztsession.policy.engine import Decision, PolicyEngine, PolicySet

EXAMPLE = Path(__file__).parent / "example"
ALGORITHM = SubjectAttributes("algo-7", "algorithm", ("trading",), "rates")
TRADER = SubjectAttributes("ada", "human", (), "rates")

PERMIT_ALL = "permit (principal, action, resource);\n"


def ask(
    policy: PolicySet,
    who: SubjectAttributes,
    operation: str,
    posture: dict[str, str],
    assurance: int = 1,
    device: str = "host-1",
) -> Decision:
    segment = policy.catalog.segment(operation.partition(".")[0])
    [decision] = policy.decide(
        who, segment, [segment.operation(operation)], device=device, posture=posture, assurance=assurance
    )
    return decision


def test_L1_what_no_policy_permits_is_denied(policy: PolicySet, healthy: dict[str, str]) -> None:
    """The default is no: a subject that no permit names gets nothing, one that is named gets its own."""
    nobody = SubjectAttributes("algo-8", "algorithm", ("reporting",), "rates")
    assert ask(policy, nobody, "orders.submit", healthy) == Decision(False)
    assert ask(policy, ALGORITHM, "orders.submit", healthy) == Decision(True, ("trading.cedar:2",))


def test_L1_an_empty_policy_permits_nothing(catalog: Catalog, healthy: dict[str, str]) -> None:
    """A policy file of comments alone loads, and denies everything."""
    assert not ask(
        PolicySet({"a.cedar": "// nothing\n"}, catalog), ALGORITHM, "orders.submit", healthy
    ).allowed
    assert ask(PolicySet({"a.cedar": PERMIT_ALL}, catalog), ALGORITHM, "orders.submit", healthy).allowed


def test_L2_forbid_wins_over_permit(policy: PolicySet, healthy: dict[str, str]) -> None:
    """A forbid decides although a permit applies, and only for what it names."""
    drifted = healthy | {"kernel": "bad"}
    assert ask(policy, ALGORITHM, "orders.submit", drifted) == Decision(False, ("trading.cedar:20",))
    assert ask(policy, ALGORITHM, "orders.cancel", drifted).allowed
    assert ask(policy, ALGORITHM, "orders.submit", healthy).allowed


@pytest.mark.parametrize(
    ("condition", "line", "words"),
    [
        (
            'true &&\n  context.posture.kernl == "bad"',
            3,
            ("posture.kernl", "expected", "kernel | secure_boot"),
        ),
        ('principal.rolls.contains("x")', 2, ("rolls", "expected", "principal.roles")),
        ("context.score > 0", 2, ("score", "expected", "context.assurance")),
        ('context.assurance == "1"', 1, ("Long and String",)),
        ("true &&\n context has mfa && context.mfa", 3, ("`has`", "expected")),
        ('context.posture.kernel == "Bad"', 2, ("'Bad'", "expected one of good, bad, unknown")),
        ('"Bad" == context.posture.kernel', 2, ("'Bad'", "expected one of good, bad, unknown")),
        ('["bad",\n"awful"].contains(context.posture.kernel)', 3, ("'awful'", "expected one of")),
        ('context.risk == "High"', 2, ("'High'", "never true of risk", "expected one of low, medium, high")),
        ('context.phase == "open"', 2, ("'open'", "no phases in calendar.toml")),
        ('context.time.weekday == "Mon"', 2, ("'Mon'", "expected one of mon, tue")),
        ('principal.kind == "robot"', 2, ("'robot'", "expected one of algorithm, human, service")),
        ('resource.environment == "Prod"', 2, ("'Prod'", "expected one of prod")),
        ("context.time.hhmm < 960", 2, ("context.time.hhmm", "0 to 2359, like 930")),
        ("context.time.hhmm < 2400", 2, ("context.time.hhmm", "0 to 2359, like 930")),
        ("context.time.hhmm > -60", 2, ("context.time.hhmm", "0 to 2359, like 930")),
        ("context.time.hhmm + 1 < 930", 2, ("context.time.hhmm", "a comparison with a time of day")),
        ("context.time.date <= 20261131", 2, ("context.time.date", "a date, like 20261231")),
        ("context.time.date * 2 == 3", 2, ("context.time.date", "a comparison")),
        ("context.time == context.time", 2, ("context.time", "expected hhmm, weekday or date")),
        ("[context].contains(context)", 2, ("not all of it at once",)),
        ('context.trust.configuration == "Affirming"', 2, ("'Affirming'", "expected one of none, affirming")),
    ],
)
def test_L3_attribute_that_does_not_exist_is_refused_at_load(
    catalog: Catalog, condition: str, line: int, words: tuple[str, ...]
) -> None:
    """A misspelling in a forbid is an error with file, line and expectation, not a hole."""
    text = f"forbid (principal, action, resource)\nwhen {{ {condition} }};\n"
    with pytest.raises(PolicyError) as caught:
        PolicySet({"a.cedar": PERMIT_ALL, "b.cedar": text}, catalog)
    assert (caught.value.file, caught.value.line) == ("b.cedar", line)
    for word in words:
        assert word in str(caught.value)


def test_L3_posture_and_assurance_must_be_whole(policy: PolicySet, healthy: dict[str, str]) -> None:
    """A missing posture item, an unheard-of value and a score that is no number are refused."""
    short = {item: value for item, value in healthy.items() if item != "kernel"}
    for posture in (short, healthy | {"kernel": "Good"}, healthy | {"mood": "good"}):
        with pytest.raises(PolicyError, match="posture"):
            ask(policy, ALGORITHM, "orders.submit", posture)
    for assurance in (float("nan"), 0, 4, True, "2"):
        with pytest.raises(PolicyError, match="assurance"):
            ask(policy, ALGORITHM, "orders.submit", healthy, assurance)  # type: ignore[arg-type]
    assert ask(policy, ALGORITHM, "orders.submit", healthy, 3).allowed


def test_policies_see_the_trust_vector_of_the_posture(catalog: Catalog, healthy: dict[str, str]) -> None:
    """context.trust follows from context.posture: the same question with a worse item has another answer."""
    text = """permit (principal, action, resource) when {
        context.trust.configuration == "affirming" && context.trust.executables == "affirming" &&
        context.trust.sourced_data == "none" };"""
    policy = PolicySet({"a.cedar": text}, catalog)
    assert ask(policy, ALGORITHM, "orders.submit", healthy).allowed
    for item in ("kernel", "boot", "debug"):
        assert not ask(policy, ALGORITHM, "orders.submit", healthy | {item: "bad"}).allowed
    unproven = healthy | {"boot": "unknown", "debug": "unknown"}
    assert not ask(policy, ALGORITHM, "orders.submit", unproven).allowed
    assert not ask(policy, ALGORITHM, "orders.submit", dict.fromkeys(healthy, "unknown")).allowed


def test_L3_every_claim_of_the_trust_vector_can_be_asked(catalog: Catalog) -> None:
    """Each claim and each item has its name in the schema, and a misspelt one is refused at load."""
    for record, names in (("trust", TRUST_CLAIMS), ("posture", POSTURE_ITEMS)):
        for name in names:
            PolicySet({"a.cedar": PERMIT_ALL + asking(f"context.{record}.{name}")}, catalog)
        with pytest.raises(PolicyError, match="hardwear"):
            PolicySet({"a.cedar": PERMIT_ALL + asking(f"context.{record}.hardwear")}, catalog)


def asking(attribute: str) -> str:
    return f"forbid (principal, action, resource) when {{ {attribute} == {attribute} }};"


def test_L4_error_in_a_forbid_denies(catalog: Catalog, healthy: dict[str, str]) -> None:
    """Where Cedar would skip a failing forbid and allow, the answer is no; where nothing fails, it is yes."""
    overflow = "forbid (principal, action, resource) when { context.assurance * 9223372036854775807 < 0 };\n"
    policy = PolicySet({"a.cedar": PERMIT_ALL + overflow}, catalog)
    assert ask(policy, ALGORITHM, "orders.submit", healthy, assurance=1).allowed
    denied = ask(policy, ALGORITHM, "orders.submit", healthy, assurance=2)
    assert not denied.allowed
    assert denied.reasons == ("a.cedar:1",)
    assert "a.cedar:2" in denied.errors[0]
    assert "overflow" in denied.errors[0]


def test_L4_what_failed_is_told_once(
    catalog: Catalog, healthy: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """However often it is asked, the log has one line of each failure and no other; it is handed on once."""
    failing = PERMIT_ALL + "forbid (principal, action, resource) when { context.assurance * %d < 0 };"
    policy = PolicySet({"a.cedar": failing % (2**63 - 1)}, catalog)
    for _ in range(3):
        assert not ask(policy, ALGORITHM, "orders.submit", healthy, assurance=2).allowed
    [line] = [record.getMessage() for record in caplog.records if "a policy failed" in record.getMessage()]
    assert "a.cedar:2" in line
    assert [error in line for error in policy.take_failures()] == [True]
    assert policy.take_failures() == []
    sound = PolicySet({"a.cedar": failing % 2}, catalog)
    assert ask(sound, ALGORITHM, "orders.submit", healthy, assurance=2).allowed
    assert sound.take_failures() == []


def test_L5_every_version_has_its_own_digest(catalog: Catalog) -> None:
    """A changed text, a moved file and a changed catalog each give another digest; equals give the same."""
    other = Catalog.from_text('version = 1\n[segments.orders.operations.submit]\neffect = "read"\n')
    versions = [
        PolicySet({"a.cedar": PERMIT_ALL}, catalog),
        PolicySet({"a.cedar": PERMIT_ALL + "\n"}, catalog),
        PolicySet({"b.cedar": PERMIT_ALL}, catalog),
        PolicySet({"a.cedar": PERMIT_ALL}, other),
    ]
    assert len({version.digest for version in versions}) == len(versions)
    assert PolicySet({"a.cedar": PERMIT_ALL}, catalog).digest == versions[0].digest
    assert all(len(version.digest) == 32 for version in versions)


def test_reload_puts_a_good_version_in_force(tmp_path: Path, healthy: dict[str, str]) -> None:
    """After a reload new decisions follow the new text; a version taken before still decides as it did."""
    directory = shutil.copytree(EXAMPLE, tmp_path / "policy")
    engine = PolicyEngine(directory)
    before = engine.current
    (directory / "halt.cedar").write_text("forbid (principal, action, resource);\n")
    assert engine.reload() is engine.current
    assert not ask(engine.current, ALGORITHM, "orders.submit", healthy).allowed
    assert ask(before, ALGORITHM, "orders.submit", healthy).allowed


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("trading.cedar", "permit (principal, action,, resource);", "trading.cedar:1"),
        ("trading.cedar", 'permit (principal, action == Action::"orders.nope", resource);', "orders.nope"),
        ("catalog.toml", "version = 2\n", "version = 1"),
    ],
)
def test_broken_version_is_refused_and_the_old_one_stays(
    tmp_path: Path, healthy: dict[str, str], file: str, text: str, told: str
) -> None:
    """A reload that fails changes nothing: same object, same digest, same decisions."""
    directory = shutil.copytree(EXAMPLE, tmp_path / "policy")
    engine = PolicyEngine(directory)
    before = engine.current
    (directory / file).write_text(text)
    with pytest.raises(PolicyError, match=told):
        engine.reload()
    assert engine.current is before
    assert ask(engine.current, ALGORITHM, "orders.submit", healthy).allowed


def test_L6_reload_during_decisions_never_mixes_versions(tmp_path: Path, healthy: dict[str, str]) -> None:
    """While versions alternate, each decision agrees with the version whose digest it was made under."""
    directory = shutil.copytree(EXAMPLE, tmp_path / "policy")
    engine = PolicyEngine(directory)
    open_digest = engine.current.digest
    stop = threading.Event()
    seen: set[tuple[bool, bool]] = set()

    def decide() -> None:
        while not stop.is_set():
            policy = engine.current
            allowed = ask(policy, ALGORITHM, "orders.submit", healthy).allowed
            seen.add((policy.digest == open_digest, allowed))

    workers = [threading.Thread(target=decide) for _ in range(2)]
    for worker in workers:
        worker.start()
    halt = directory / "halt.cedar"
    for _ in range(15):
        halt.write_text("forbid (principal, action, resource);\n")
        engine.reload()
        halt.unlink()
        engine.reload()
    stop.set()
    for worker in workers:
        worker.join()
    assert (True, True) in seen
    assert seen <= {(True, True), (False, False)}


@pytest.mark.parametrize("name", ["\u0430da", "ada\n", "ada ", "", "a" * 129, "\uff41da", "ada\u200b"])
def test_L7_look_alike_names_are_refused(name: str) -> None:
    """A name outside the small ASCII alphabet cannot be a subject, a kind, a role or a desk."""
    with pytest.raises(PolicyError, match="subject"):
        SubjectAttributes(name, "human")
    with pytest.raises(PolicyError, match="kind"):
        SubjectAttributes("ada", name)
    with pytest.raises(PolicyError, match="role"):
        SubjectAttributes("ada", "human", (name,))
    if name:
        with pytest.raises(PolicyError, match="desk"):
            SubjectAttributes("ada", "human", (), name)
    assert SubjectAttributes("ada", "human", ("a",), "rates").desk == "rates"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('permit (principal == Subject::"\u0430da", action, resource);', 1),
        ('\n\npermit (principal, action, resource) when { principal.desk == "ra\u202etes" };', 3),
        ("// fine: é\n// not fine: \u202e\n" + PERMIT_ALL, 2),
    ],
)
def test_L7_look_alike_policy_text_is_refused(catalog: Catalog, text: str, line: int) -> None:
    """Letters outside ASCII stand in comments alone, and invisible direction marks nowhere."""
    with pytest.raises(PolicyError, match=r"U\+") as caught:
        PolicySet({"a.cedar": text}, catalog)
    assert caught.value.line == line
    assert PolicySet({"a.cedar": "// fine: é\n" + PERMIT_ALL}, catalog).digest


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("// one\n\npermit (principal, action, resource)\nwhen { true }", 3, "end of input"),
        (PERMIT_ALL + "permit (principal == ?principal, action, resource);", 2, "slots"),
        (PERMIT_ALL + "permit (principal is User, action, resource);", 2, "expected Subject, Segment"),
        (PERMIT_ALL + ";", 2, "unexpected token"),
        ("permit (principal, action, resource) when { " + "true || " * 150 + "false };", 1, "nesting"),
    ],
)
def test_broken_policy_is_named_with_file_and_line(catalog: Catalog, text: str, line: int, told: str) -> None:
    """Syntax errors, templates and unknown types point at the statement that holds them."""
    with pytest.raises(PolicyError, match=told) as caught:
        PolicySet({"a.cedar": text}, catalog)
    assert (caught.value.file, caught.value.line) == ("a.cedar", line)


@pytest.mark.parametrize(
    "condition",
    [
        "(" * 100_000 + "true" + ")" * 100_000,
        "[" * 2_000 + "1" + "]" * 2_000 + " == 1",
        " && ".join(["context.assurance == 1"] * 100_000),
        "if context.assurance == 1 then true else " * 2_000 + "true",
        "1 + " * 2_000 + "1 == 2",
        "context" + ".a" * 20_000 + " == 1",
        "context" + '["a"]' * 20_000 + " == 1",
    ],
    ids=["brackets", "sets", "and", "if", "sum", "attributes", "indices"],
)
def test_a_policy_that_is_nested_too_deep_does_not_end_the_process(catalog: Catalog, condition: str) -> None:
    """What would exhaust the parser's stack is refused before it is parsed."""
    deep = "\n" + PERMIT_ALL + "permit (principal, action, resource)\nwhen { " + condition + " };"
    with pytest.raises(PolicyError, match=r"a\.cedar:3: expected at most 500 brackets and operators"):
        PolicySet({"a.cedar": deep}, catalog)


def test_width_is_no_depth(catalog: Catalog) -> None:
    """A long list and brackets in a text are no nesting."""
    many = ", ".join(f'Subject::"a.b-{n}"' for n in range(1_000))
    condition = f'context.device != "{"(" * 600}" && [{many}].contains(principal)'
    text = f"permit (principal, action, resource) when {{ {condition} }};"
    assert len(PolicySet({"a.cedar": text}, catalog).statements) == 1


@pytest.mark.parametrize("name", ["*", "", "a b", "\\u{430}da", "a" * 129])
@pytest.mark.parametrize(
    "text",
    [
        "permit (principal == Subject::%s, action, resource);",
        "permit (principal, action, resource)\nwhen { principal == Subject::%s };",
        'permit (principal, action, resource)\nwhen { [Subject::"ada", Subject::%s].contains(principal) };',
    ],
)
def test_L7_a_name_that_no_subject_can_have_is_refused(catalog: Catalog, text: str, name: str) -> None:
    """Whoever writes Subject::"*" means everybody, or a mistake; it names nobody, and is not taken."""
    with pytest.raises(PolicyError, match=r"a\.cedar:\d: no subject can have the name") as caught:
        PolicySet({"a.cedar": PERMIT_ALL + text % f'"{name}"'}, catalog)
    if name == "*":
        assert caught.value.line == 2 + text.count("\n")
    assert PolicySet({"a.cedar": text % '"algo-7"'}, catalog).mentions.subjects >= {"algo-7"}


def test_strings_and_comments_do_not_cut_a_policy(catalog: Catalog, healthy: dict[str, str]) -> None:
    """A semicolon, a slash or a quote inside a string or a comment ends nothing."""
    text = '@id("a; // \\" b") permit (principal, action, resource) // c ; "d\nwhen { 1 == 1 };\n'
    policy = PolicySet({"a.cedar": text + text}, catalog)
    assert ask(policy, ALGORITHM, "orders.submit", healthy).reasons == ("a.cedar:1", "a.cedar:3")


def test_reasons_name_the_right_statement_among_many(catalog: Catalog, healthy: dict[str, str]) -> None:
    """With a dozen policies in two files the deciding one is named by its own file and line."""
    never = 'permit (principal == Subject::"nobody", action, resource);\n'
    files = {"a.cedar": never * 12, "b.cedar": never + PERMIT_ALL}
    assert ask(PolicySet(files, catalog), ALGORITHM, "orders.submit", healthy).reasons == ("b.cedar:2",)


def test_files_that_cannot_be_read_are_policy_errors(tmp_path: Path, catalog: Catalog) -> None:
    """No directory, no policy in it, a file too large or not text: each is told, none loads."""
    with pytest.raises(PolicyError, match="cannot be read"):
        PolicySet.load(tmp_path / "none", catalog)
    with pytest.raises(PolicyError, match=r"expected 1 to 256 files \*\.cedar"):
        PolicySet.load(tmp_path, catalog)
    (tmp_path / "a.cedar").write_bytes(b"//" * (1 << 20))
    with pytest.raises(PolicyError, match="at most"):
        PolicySet.load(tmp_path, catalog)
    (tmp_path / "a.cedar").write_bytes(b"//\n//\xff\n")
    with pytest.raises(PolicyError, match="UTF-8") as caught:
        PolicySet.load(tmp_path, catalog)
    assert caught.value.line == 2


def test_trader_orders_only_with_a_second_factor(policy: PolicySet, healthy: dict[str, str]) -> None:
    """The example's rule on assurance decides from the context of the session."""
    assert not ask(policy, TRADER, "orders.submit", healthy, assurance=1).allowed
    assert ask(policy, TRADER, "orders.submit", healthy, assurance=2).allowed


def test_device_name_is_checked(policy: PolicySet, healthy: dict[str, str]) -> None:
    """A device's name reaches policies only in the one small alphabet."""
    with pytest.raises(PolicyError, match="device"):
        ask(policy, ALGORITHM, "orders.submit", healthy, device="h\u043est")
    assert ask(policy, ALGORITHM, "orders.submit", healthy, device="host").allowed


def test_an_answer_is_kept_and_only_for_the_same_question(policy: PolicySet, healthy: dict[str, str]) -> None:
    """Asked again, an answer is the same; for another posture or another role it is decided anew."""
    segment = policy.catalog.segment("orders")
    good = healthy
    bad = {**good, "program": "bad"}

    def allowed(roles: tuple[str, ...], posture: dict[str, str]) -> list[bool]:
        who = SubjectAttributes("algo-7", "algorithm", roles, "rates")
        said = policy.decide(who, segment, segment.operations, device="host-1", posture=posture, assurance=2)
        return [decision.allowed for decision in said]

    first = [allowed(("trading",), good), allowed(("trading",), bad), allowed((), good)]
    again = [allowed(("trading",), good), allowed(("trading",), bad), allowed((), good)]
    policy.forget_decisions()
    anew = [allowed(("trading",), good), allowed(("trading",), bad), allowed((), good)]
    assert first == again == anew
    assert first[0] != first[1] != first[2]
