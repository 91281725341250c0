"""The demo as a whole: real processes, and a verdict on them that can turn out either way."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import ztsession
from ztsession.demo.children import Children
from ztsession.demo.director import Options, Outcome, run
from ztsession.demo.expectations import EXPECTATIONS, Expectation, Facts, judge
from ztsession.demo.host_tpm import what_is_missing
from ztsession.demo.refusals import ATTACKS
from ztsession.errors import TransportError

#: Without a software TPM one act is left out.
HAS_TPM = not what_is_missing()
ROLES = 10 if HAS_TPM else 9
WANTED = [each for each in EXPECTATIONS if HAS_TPM or not each.act]

REAL = Path(__file__).parents[3] / "shared" / "data" / "aapl-2012-06-21-top-of-book.csv.gz"
HOME = Path(ztsession.__file__).parent.parent


class Silent:
    def act(self, title: str) -> None:
        pass

    def progress(self, done: int, total: int) -> None:
        pass


def processes(words: str) -> list[str]:
    """Command lines of the processes that run a role of the demo, or are its TPM, in this directory of
    temporary files.
    """
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            environment = path.with_name("environ").read_bytes()
            command = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        ours = "ztsession.demo." in command or command.partition(" ")[0].endswith("swtpm")
        if ours and words.encode() in environment:
            found.append(command)
    return found


@pytest.fixture
def corner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of temporary files of its own, by which the demo's processes are known."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ztsession", "demo", *arguments]


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return run(Options(messages=2000), Silent())


def test_the_demo_runs_from_the_command_line(corner: Path) -> None:
    """It ends by itself with status 0, has shown all there is to show, and leaves nothing behind."""
    summary = corner / "summary.json"
    ran = subprocess.run(
        command("--messages", "2000", "--json", str(summary)),
        cwd=HOME,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    for title in (
        "Messages by verdict",
        "Latency of verify",
        "What a new order costs",
        "What else takes time",
    ):
        assert title in ran.stdout
    assert "What was expected" in ran.stdout
    for verdict in ("OK", "REPLAYED", "BAD_TAG", "STEP_UP_REQUIRED", "WRONG_OPERATION", "REVOKED"):
        assert verdict in ran.stdout
    assert ran.stdout.count("\N{CHECK MARK}") == len(WANTED)
    assert "Everything happened as it should" in ran.stdout
    told = json.loads(summary.read_text())
    assert told["ok"] is True
    assert [finding["sentence"] for finding in told["findings"]] == [e.sentence for e in WANTED]
    assert list(corner.iterdir()) == [summary]
    assert processes(str(corner)) == []


def test_everything_was_seen(outcome: Outcome) -> None:
    """All expectations hold, and what they are held against is no handful of calls."""
    assert outcome.ok, [finding for finding in outcome.findings if not finding.held]
    assert set(outcome.facts["attacks"]) == set(ATTACKS)
    assert sum(attack["attempts"] for attack in outcome.facts["attacks"].values()) > 2000
    assert outcome.facts["latency"]["count"] > 500
    assert sum(outcome.facts["gateway"]["trader stepped up"]["orders.override"].values()) >= 10
    assert min(outcome.facts["accepted"]["trading"].values()) > 50
    assert set(outcome.skipped) == (set() if HAS_TPM else {"clearing"})
    assert outcome.facts["lateral"]["probed"]["probes"] >= 8
    assert {"contained_s", "found_s", "every_ms"} <= outcome.facts["lateral"].keys()
    assert sum(outcome.facts["release"]["at risk"]["verdicts"].values()) >= 1
    assert min(outcome.facts["cost"]["with"], outcome.facts["cost"]["without"]) > 0


def test_an_expectation_that_cannot_hold_makes_it_fail() -> None:
    """One miss among all the hits is a failed run."""
    impossible = Expectation(
        "pigs fly", lambda facts: facts["states"] < 0, lambda facts: str(facts["states"])
    )
    judged = run(Options(messages=400), Silent(), expectations=[*EXPECTATIONS, impossible])
    assert not judged.ok
    assert [finding.sentence for finding in judged.findings if not finding.held] == ["pigs fly"]


def wrong_replay(facts: Facts) -> None:
    facts["attacks"]["replay-orders"]["verdicts"]["OK"] = facts["attacks"]["replay-orders"]["verdicts"].pop(
        "REPLAYED"
    )


def set_to(path: str, value: Any) -> Callable[[Facts], None]:
    *above, last = path.split("/")

    def change(facts: Facts) -> None:
        for key in above:
            facts = facts[key]
        facts[last] = value

    return change


def of_run(**values: Any) -> Callable[[Facts], None]:
    return lambda facts: facts["release"]["tried"]["runs"][0].update(values)


def in_log(name: str, value: str) -> Callable[[Facts], None]:
    return lambda facts: facts["release"]["stepped up"]["log"][0].update({name: value})


def of_report(**values: Any) -> Callable[[Facts], None]:
    def change(facts: Facts) -> None:
        [found] = [each for each in facts["lateral"]["reported"] if each["about"] == "lateral-movement"]
        found.update(values)

    return change


def of_session(**values: Any) -> Callable[[Facts], None]:
    return lambda facts: facts["release"]["granted"][1].update(values)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_to("algorithm/market_data", {"OK": 1999, "BAD_TAG": 1}), "every market-data message"),
        (set_to("market_data/published", 1999), "every market-data message"),
        (set_to("trade_1/outcomes", {"done": 1, "refused": 1}), "first half"),
        (set_to("trade_1_orders/orders.cancel", {}), "first half"),
        (set_to("trade_2_orders", {}), "second half"),
        (set_to("gateway/trading/orders.replace", {"OK": 99, "EXPIRED": 1}), "in the middle of that"),
        (set_to("gateway/trading/orders.look", {"BAD_TAG": 1}), "in the middle of that"),
        (set_to("gateway/trading/orders.submit", {}), "in the middle of that"),
        (set_to("accepted/trading", {"01": 100}), "in the middle of that"),
        (set_to("installed/trading", {}), "in the middle of that"),
        (set_to("renewed", [False, False, False]), "in the middle of that"),
        (set_to("drift/reaction_s", 6.0), "device management's event"),
        (set_to("drift/refused_ns", 0), "device management's event"),
        (set_to("drift/status", 400), "device management's event"),
        (set_to("drift/modes", []), "device management's event"),
        (set_to("drift/modes", ["RESTRICTED", "NORMAL"]), "device management's event"),
        (
            set_to("drift/outcomes/orders.submit", {"step-up-required": 31, "done": 1}),
            "no new order and no replace",
        ),
        (set_to("drift/outcomes/orders.cancel", {"step-up-required": 32}), "cancels still pass"),
        (set_to("drift/outcomes/orders.submit as orders.cancel", {"done": 32}), "signed as a cancel"),
        (set_to("gateway/device bad/orders.submit", {"OK": 1}), "the gateway counted the same"),
        (set_to("gateway/still bad/orders.submit", {"OK": 32}), "re-authenticated on the bad device"),
        (set_to("put_right/status", 503), "called compliant"),
        (set_to("put_right/stood", ["appraiser"]), "called compliant"),
        (set_to("put_right/stands", ["ssf:mdm"]), "called compliant"),
        (set_to("old_session/outcome", "never refused"), "the superseded session is refused"),
        (set_to("attacks/replay-orders/verdicts", {"REPLAYED": 95}), "off the wire are replayed"),
        (wrong_replay, "off the wire are replayed"),
        (set_to("attacks/forge-by-guessing/attempts", 0), "guessed tags"),
        (set_to("attacks/forge-by-guessing/book_unchanged", False), "guessed tags"),
        (set_to("attacks/install-own-segments-ticket/installations", {"OK": 3}), "tickets are presented"),
        (set_to("attacks/pose-as-the-algorithm/authority", {"session.granted": 1}), "poses as the algorithm"),
        (lambda facts: facts["attacks"].pop("replay-orders"), "every attack was carried out"),
        (set_to("gateway/attack/orders.cancel", {"OK": 1}), "accepted nothing during the attack"),
        (set_to("forged_signals/attempts", 0), "are forged in the device management's name"),
        (set_to("forged_signals/events", {"refused": 2}), "are forged in the device management's name"),
        (
            set_to("forged_signals/events", {"refused": 2, "applied": 1}),
            "are forged in the device management's name",
        ),
        (set_to("forged_signals/authority", {"signal": 1}), "are forged in the device management's name"),
        (set_to("forged_signals/stands", [[], ["appraiser"]]), "are forged in the device management's name"),
        (set_to("forged_signals/stands", [["ssf:mdm"]] * 2), "are forged in the device management's name"),
        (set_to("replayed_signals/events", {}), "pushed once more"),
        (set_to("replayed_signals/events", {"refused": 2}), "pushed once more"),
        (set_to("replayed_signals/authority", {"signal": 1, "session.mode": 1}), "pushed once more"),
        (set_to("replayed_signals/stands", [["appraiser"], []]), "pushed once more"),
        (set_to("afterwards/orders.submit", {"refused": 32}), "unharmed"),
        (set_to("gateway/trader by key/orders.override", {"OK": 16}), "with a key alone"),
        (set_to("gateway/trader by key/orders.override", {}), "with a key alone"),
        (set_to("gateway/trader by key/orders.cancel", {"NOT_PERMITTED": 16}), "with a key alone"),
        (set_to("gateway/trader by key/orders.submit", {"OK": 1}), "with a key alone"),
        (set_to("trader/wrong_code/authority", {"session.granted": 1}), "a wrong code is refused"),
        (set_to("trader/wrong_code/causes", []), "a wrong code is refused"),
        (set_to("trader/wrong_code/after", [["00", 2, "NORMAL"]]), "a wrong code is refused"),
        (set_to("trader/wrong_code/before", []), "a wrong code is refused"),
        (
            set_to("gateway/trader after a wrong code/orders.override", {"OK": 16}),
            "a wrong code is refused",
        ),
        (set_to("trader/step_up/authority", {"handshake.refused": 1}), "after a code in the channel"),
        (set_to("trader/granted", []), "after a code in the channel"),
        (set_to("installed/trader stepped up", {"REFUSED": 1}), "after a code in the channel"),
        (
            set_to("gateway/trader stepped up/orders.override", {"OK": 15, "STEP_UP_REQUIRED": 1}),
            "after a code in the channel",
        ),
        (set_to("gateway/trader under the old key/orders.override", {"OK": 16}), "from before the step-up"),
        (set_to("gateway/trader under the old key", {}), "from before the step-up"),
        (set_to("gateway/trader with a used code/orders.override", {"OK": 16}), "the same code"),
        (set_to("trader/same_code/causes", ["the second factor does not hold"]), "the same code"),
        (set_to("trader/same_code/authority", {"session.granted": 2}), "the same code"),
        (set_to("trader/same_code/after", []), "the same code"),
        (set_to("lateral/reported_before", [{"about": "behaviour"}]), "until somebody gets in"),
        (set_to("gateway/probing/orders.look", {"OK": 9}), "every other door shut"),
        (set_to("gateway/probing/orders.settle", {}), "every other door shut"),
        (set_to("lateral/market_data/probing", {"NOT_PERMITTED": 1, "OK": 1}), "every other door shut"),
        (set_to("lateral/probed/probes", 0), "every other door shut"),
        (set_to("lateral/reported", []), "the Authority puts it together"),
        (lambda facts: facts["lateral"]["reported"].pop(0), "the Authority puts it together"),
        (of_report(level="MEDIUM"), "the Authority puts it together"),
        (of_report(subject="trader-1"), "the Authority puts it together"),
        (of_report(source="order-gateway"), "the Authority puts it together"),
        (of_report(action="alert"), "the Authority puts it together"),
        (of_report(evidence=[["segments", "orders"]]), "the Authority puts it together"),
        (set_to("lateral/contained_s", 6.0), "from then on new orders"),
        (set_to("lateral/probed/refused_ns", 0), "from then on new orders"),
        (set_to("lateral/probed/passed", 0), "from then on new orders"),
        (set_to("lateral/modes", ["SUSPENDED"]), "every session of the subject"),
        (set_to("lateral/standing", [["00", 1, "SUSPENDED"], ["01", 1, "NORMAL"]]), "every session of the"),
        (set_to("gateway/probing/orders.replace", {"OK": 32}), "every session of the subject"),
        (set_to("gateway/probing/orders.submit", {"OK": 900}), "every session of the subject"),
        (set_to("gateway/intruder's session/orders.submit", {"OK": 1}), "every session of the subject"),
        (set_to("lateral/market_data/suspended", {"OK": 9}), "every session of the subject"),
        (set_to("lateral/probed/outcomes/orders.cancel", {"refused": 32}), "can still be cancelled"),
        (set_to("lateral/probed/live", 0), "can still be cancelled"),
        (set_to("gateway/probing/orders.cancel", {"REAUTH_REQUIRED": 32}), "can still be cancelled"),
        (set_to("lateral/proven", [False, True]), "to prove everything anew"),
        (set_to("lateral/causes", ["busy", "busy"]), "to prove everything anew"),
        (set_to("lateral/causes", []), "to prove everything anew"),
        (set_to("gateway/proven anew/orders.submit", {"OK": 32}), "to prove everything anew"),
        (set_to("lateral/alerts", []), "the operator is told"),
        (lambda facts: facts["lateral"]["alerts"].extend(facts["lateral"]["alerts"]), "operator is told"),
        (lambda facts: facts["lateral"]["trader"][1].pop(), "another subject"),
        (set_to("lateral/trader", [[["00", 2, "SUSPENDED"]]] * 2), "another subject"),
        (set_to("gateway/trader meanwhile/orders.look", {"REAUTH_REQUIRED": 16}), "another subject"),
        (set_to("lateral/modes_settled", []), "the operator has settled it"),
        (set_to("lateral/modes_settled", ["NORMAL", "NORMAL"]), "the operator has settled it"),
        (set_to("lateral/afterwards/orders.submit", {"done": 31, "refused": 1}), "has settled it"),
        (set_to("gateway/going on/orders.submit", {"OK": 31, "REVOKED": 1}), "has settled it"),
        (set_to("gateway/what he took/orders.submit", {"OK": 1}), "keys that he took"),
        (set_to("gateway/what he took/orders.cancel", {"OK": 900}), "keys that he took"),
        (set_to("release/modes_put_right", []), "the same session promotes again"),
        (set_to("release/put right/verdicts", {"STEP_UP_REQUIRED": 9}), "the same session promotes again"),
        (set_to("release/put right/installations", {"OK": 1}), "the same session promotes again"),
        (set_to("release/put right/prod", {}), "the same session promotes again"),
        (set_to("release/tried/verdicts", {"NOT_PERMITTED": 1}), "tried in the lab"),
        (set_to("release/tried/granted/environment", "prod"), "tried in the lab"),
        (set_to("release/tried/granted/subject", "trader-1"), "tried in the lab"),
        (set_to("release/tried/sha256", "00" * 32), "tried in the lab"),
        (set_to("release/tried/runs", []), "tried in the lab"),
        (of_run(artifact="market-maker-1"), "tried in the lab"),
        (of_run(environment="prod"), "tried in the lab"),
        (of_run(faults=1), "tried in the lab"),
        (of_run(states=0), "tried in the lab"),
        (set_to("release/both environments/causes", []), "of test and of prod"),
        (set_to("release/both environments/causes", ["the signature does not hold"]), "of test and of prod"),
        (set_to("release/test session/installations", {"OK": 1}), "with ticket and token of test"),
        (set_to("release/test session/verdicts", {"NOT_PERMITTED": 1}), "with ticket and token of test"),
        (set_to("release/test session/verdicts", {}), "with ticket and token of test"),
        (set_to("release/test session/prod", {"x": "00"}), "with ticket and token of test"),
        (set_to("release/asked outright/causes", []), "asked for outright"),
        (set_to("release/asked outright/causes", ["busy"]), "asked for outright"),
        (set_to("release/asked outright/prod", {"x": "00"}), "asked for outright"),
        (set_to("release/by key/verdicts", {"OK": 1}), "asked to step up"),
        (set_to("release/by key/installations", {"REFUSED": 1}), "asked to step up"),
        (set_to("release/by key/prod", {"market-maker-2": "00"}), "asked to step up"),
        (set_to("release/by key/log", [{"event": "release.promoted"}]), "asked to step up"),
        (set_to("release/stepped up/verdicts", {"STEP_UP_REQUIRED": 1}), "after the step-up the package"),
        (set_to("release/stepped up/installations", {"REFUSED": 1}), "after the step-up the package"),
        (set_to("release/stepped up/prod", {}), "after the step-up the package"),
        (set_to("release/stepped up/prod", {"market-maker-2": "00"}), "after the step-up the package"),
        (set_to("release/stepped up/log", []), "who promoted it"),
        (lambda facts: facts["release"]["stepped up"]["log"].append({}), "who promoted it"),
        (in_log("event", "release.refused"), "who promoted it"),
        (in_log("session", "00" * 16), "who promoted it"),
        (in_log("subject", "algo-1"), "who promoted it"),
        (in_log("device", "trading-host-1"), "who promoted it"),
        (in_log("sha256", "00" * 32), "who promoted it"),
        (in_log("source", "prod"), "who promoted it"),
        (lambda facts: facts["release"]["granted"].pop(), "who promoted it"),
        (of_session(environment="test"), "who promoted it"),
        (of_session(assurance=1), "who promoted it"),
        (of_session(factor=""), "who promoted it"),
        (of_session(version=0), "who promoted it"),
        (set_to("release/replayed/verdicts", {"OK": 1}), "sent once more"),
        (set_to("release/replayed/verdicts", {"TOO_OLD": 1}), "sent once more"),
        (set_to("release/replayed/log", [{"event": "release.promoted"}]), "sent once more"),
        (set_to("release/replayed/prod", {}), "sent once more"),
        (set_to("release/changed/verdicts", {"OK": 1, "REPLAYED": 1}), "changed after its test"),
        (set_to("release/changed/log", []), "changed after its test"),
        (lambda facts: facts["release"]["changed"]["log"].reverse(), "changed after its test"),
        (
            lambda facts: facts["release"]["changed"]["log"][1].update(event="release.promoted"),
            "changed after its test",
        ),
        (set_to("release/changed/prod", {"market-maker-2": "00"}), "changed after its test"),
        (set_to("release/at risk/verdicts", {"OK": 900}), "the manager's desktop"),
        (set_to("release/at risk/verdicts", {"NOT_PERMITTED": 1}), "the manager's desktop"),
        (set_to("release/modes", []), "the manager's desktop"),
        (set_to("release/modes", ["SUSPENDED"]), "the manager's desktop"),
        (set_to("release/standing", [["00", 2, "NORMAL"]]), "the manager's desktop"),
        (
            set_to("gateway/release manager at risk/orders.cancel", {"OK": 15, "STEP_UP_REQUIRED": 1}),
            "the manager's desktop",
        ),
        (set_to("gateway/release manager at risk/orders.submit", {"OK": 1}), "the manager's desktop"),
        (set_to("algorithm/replies", {"OK": 5, "BAD_TAG": 1}), "every reply"),
        (set_to("core_refusals", {}), "the core counted"),
        (set_to("release/core", {}), "the core counted"),
        (set_to("audit", {}), "the audit log"),
        (set_to("audit/signal", 5), "the audit log"),
        (set_to("audit/session.mode", 1), "the audit log"),
        (set_to("lateral/modes", []), "the audit log"),
        (set_to("exit_statuses/gateway", -9), "every process ended"),
        (set_to("exit_statuses", {}), "every process ended"),
        (set_to("exit_statuses/guest", 0), "every process ended"),
    ],
)
def test_each_expectation_can_fail(outcome: Outcome, change: Callable[[Facts], object], words: str) -> None:
    """Facts that are wrong in one place miss the expectation that is about that place."""
    assert_missed(outcome, change, words)


def hardware(value: str) -> Callable[[Facts], None]:
    return lambda facts: facts["clearing"]["granted"][0]["posture"].update(hardware=value)


@pytest.mark.skipif(not HAS_TPM, reason="swtpm and tpm2-tools are not installed")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_to("clearing/granted", []), "by a quote of an enrolled TPM"),
        (hardware("unknown"), "by a quote of an enrolled TPM"),
        (lambda facts: facts["clearing"]["granted"][0].update(assurance=2), "by a quote of an enrolled TPM"),
        (
            lambda facts: facts["clearing"]["granted"][0].update(credential="spiffe://other.firm/clearing"),
            "by a quote of an enrolled TPM",
        ),
        (set_to("gateway/clearing/orders.settle", {"NOT_PERMITTED": 16}), "on attested hardware alone"),
        (set_to("gateway/clearing/orders.look", {}), "on attested hardware alone"),
        (
            lambda facts: facts["clearing"]["granted"][1]["posture"].update(boot="good"),
            "booted with something else",
        ),
        (lambda facts: facts["clearing"]["granted"].pop(), "booted with something else"),
        (set_to("gateway/clearing, tampered/orders.settle", {"OK": 1}), "settles nothing"),
        (set_to("gateway/clearing, tampered/orders.look", {"REVOKED": 16}), "settles nothing"),
        (set_to("gateway/clearing, as before/orders.settle", {"OK": 900}), "before the reboot is over"),
        (set_to("gateway/clearing, as before/orders.settle", {}), "before the reboot is over"),
        (set_to("exit_statuses/tpm", -9), "every process ended"),
    ],
)
def test_each_expectation_of_the_clearing_act_can_fail(
    outcome: Outcome, change: Callable[[Facts], object], words: str
) -> None:
    """Where the act is played it is judged as strictly as the others."""
    assert_missed(outcome, change, words)


def assert_missed(outcome: Outcome, change: Callable[[Facts], object], words: str) -> None:
    facts = copy.deepcopy(outcome.facts)
    change(facts)
    missed = [finding.sentence for finding in judge(facts, EXPECTATIONS) if not finding.held]
    assert any(words in sentence for sentence in missed), missed


def test_without_a_tpm_one_act_is_skipped_and_said_to_be(corner: Path) -> None:
    """Status 0, a sentence that says what to install, and none of its expectations met or missed."""
    empty, summary = corner / "bin", corner / "summary.json"
    empty.mkdir()
    ran = subprocess.run(
        command("--messages", "400", "--json", str(summary)),
        cwd=HOME,
        env={**os.environ, "PATH": str(empty)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    of = sum(not each.act for each in EXPECTATIONS)
    assert "Skipped: the act of the clearing service; install swtpm and tpm2-tools to see it." in ran.stdout
    assert f"{of} of {of} expectations held, 1 act skipped" in ran.stdout
    assert ran.stdout.count("\N{CHECK MARK}") == of
    assert "SPIFFE" not in ran.stdout
    told = json.loads(summary.read_text())
    assert told["skipped"] == {"clearing": "install swtpm and tpm2-tools to see it"}
    assert len(told["findings"]) == of
    assert processes(str(corner)) == []


def test_an_act_that_was_played_cannot_be_missing_from_the_facts(outcome: Outcome) -> None:
    """Only what is said to be skipped is left out of judgement; what is merely not there is a miss."""
    facts = copy.deepcopy(outcome.facts)
    facts.pop("clearing", None)
    facts["skipped"] = {}
    held = {finding.sentence: finding.held for finding in judge(facts, EXPECTATIONS)}
    assert len(held) == len(EXPECTATIONS)
    assert [held[each.sentence] for each in EXPECTATIONS if each.act].count(False) >= 2


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (b"5859400,200,5853300,18\n" * 300 + b"5859400,200,5853300\n", ":301: expected four whole numbers"),
        (b"5859400,200,5853300,18\n" * 199, ": expected at least 200 states"),
    ],
)
def test_a_wrong_file_is_told_with_its_line(corner: Path, rows: bytes, says: str) -> None:
    """Status 1, one sentence with file and line, and nothing left behind."""
    path = corner / "quotes.csv"
    path.write_bytes(rows)
    ran = subprocess.run(command("--quotes", str(path)), cwd=HOME, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1
    assert f"{path}{says}" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert list(corner.iterdir()) == [path]
    assert processes(str(corner)) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_takes_its_processes_along(corner: Path, number: signal.Signals) -> None:
    """Ctrl-C or a request to terminate in the middle leaves neither processes nor files."""
    started = subprocess.Popen(
        command("--messages", "1000000"),
        cwd=HOME,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert started.stdout is not None
        for line in started.stdout:
            if "quotes around" in line:
                break
        assert len(processes(str(corner))) == ROLES + HAS_TPM
        started.send_signal(number)
        rest = started.stdout.read()
        assert started.wait(20) != 0
    finally:
        started.kill()
        started.wait()
        started.stdout.close()
    assert "Traceback" not in rest
    assert list(corner.iterdir()) == []
    assert processes(str(corner)) == []


def test_killed_it_takes_its_processes_along_too(corner: Path) -> None:
    """A director that could not say goodbye is missed: roles end when their channel does."""
    started = subprocess.Popen(command("--messages", "2000"), cwd=HOME, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    with started.stdout as said:
        for line in said:
            if "quotes around" in line:
                break
        started.kill()
        started.wait()
    deadline = time.monotonic() + 20
    while processes(str(corner)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes(str(corner)) == []


def test_a_role_that_dies_is_told(tmp_path: Path) -> None:
    """Whoever asks a role that is gone hears which one, and its last words."""
    with Children(tmp_path) as children:
        child = children.start("algorithm_role")
        assert child.ask("prepare")["measured"]
        os.kill(child.process.pid, signal.SIGKILL)
        with pytest.raises(TransportError, match="algorithm ended before its time"):
            child.ask("prepare")


@pytest.mark.parametrize("role", ["device_management", "authority", "market_data"])
def test_a_role_that_dies_in_the_middle_ends_the_demo(corner: Path, role: str) -> None:
    """Status 1 and a sentence, whoever it is; no process, no port and no file is left behind."""
    started = subprocess.Popen(
        command("--messages", "20000"), cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert started.stdout is not None
        for line in started.stdout:
            if "quotes around" in line:
                break
        os.kill(process_of(role, str(corner)), signal.SIGKILL)
        _, errors = started.communicate(timeout=60)
    finally:
        started.kill()
        started.communicate()
    assert started.returncode == 1
    assert "Traceback" not in errors
    assert errors.strip()
    assert list(corner.iterdir()) == []
    assert processes(str(corner)) == []


def process_of(role: str, corner: str) -> int:
    """The process id of a role of the demo that has its temporary files here."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            command_line = path.read_bytes().split(b"\0")
            ours = corner.encode() in path.with_name("environ").read_bytes()
            if ours and f"ztsession.demo.{role}_role".encode() in command_line:
                return int(path.parent.name)
    raise AssertionError(f"no process of {role}")


def test_a_recorded_day_is_traded(corner: Path) -> None:
    """All of a real trading day passes, and every state of it is verified."""
    if not REAL.exists():
        pytest.skip("the recorded trading day is not on this machine")
    judged = run(Options(quotes=REAL), Silent())
    assert judged.ok, [finding for finding in judged.findings if not finding.held]
    assert judged.facts["algorithm"]["market_data"] == {"OK": 118_497}
