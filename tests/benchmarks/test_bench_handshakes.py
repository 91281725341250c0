"""The benchmarks of whole handshakes measure what they say; no figure is judged here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numpy", reason="the benchmarks' own packages are not installed (extra: bench)")
pytest.importorskip("matplotlib", reason="the benchmarks' own packages are not installed (extra: bench)")

import numpy as np

from benchmarks.firm import Firm
from benchmarks.handshakes import eat, factors, oidc, plain, tpm, x509
from benchmarks.handshakes.costs import Costs
from benchmarks.handshakes.kind import Conversation, Kind, NotHere
from benchmarks.rows.flood import _Flood
from benchmarks.rows.handshake import _kinds
from benchmarks.rows.renewal import gaps_of
from ztsession.errors import EvidenceError

ROOT = Path(__file__).resolve().parents[2]
P11 = [f"P11 {way}" for way in ("first", "again", "X.509", "EAT", "TPM", "TOTP", "renewal")]
OTHERS = ["handshakes OIDC", "handshakes WebAuthn"]


@dataclass(frozen=True)
class Report:
    """What one run left behind."""

    found: dict[str, Any]
    printed: str
    out: Path

    def row(self, key: str) -> dict[str, Any]:
        return next(row for row in self.found["rows"] if row["row"] == key)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    out = tmp_path_factory.mktemp("bench")
    command = [sys.executable, "-m", "benchmarks", "--quick", "--out", str(out)]
    command += ["--rows", "P11,handshakes,flood,RENEWAL"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return Report(json.loads((out / "bench.json").read_text()), done.stdout, out)


@pytest.fixture(scope="module")
def skipped(report: Report) -> set[str]:
    """Words for the ways that this machine cannot go; the report has a sentence for each."""
    return {note.split(", ")[1].split(":")[0] for note in report.found["notes"]}


def test_each_way_to_a_session_is_a_row(report: Report, skipped: set[str]) -> None:
    """Those of P11 have its target, the others none, and each stands beside its own bare operations."""
    keys = [row["row"] for row in report.found["rows"]]
    expected = [key for key in [*P11, *OTHERS] if key.split(" ")[1] not in skipped]
    assert [key for key in keys if key.startswith(("P11", "handshakes"))] == expected
    for key in expected:
        row = report.row(key)
        assert (row["target"], row["met"] is None) == (("<= 1.5 ms", False) if key in P11 else (None, True))
        assert row["ratio"] == pytest.approx(row["median"] / row["beside_median"])
    assert "3 P-256" in report.row("P11 X.509")["beside"]


def test_the_costs_are_told_for_both_sides_and_the_wire(report: Report) -> None:
    """A handshake has four messages, a renewal two, a second factor two more, and all have a wall time."""
    by_name = {each["name"]: each for each in report.found["handshakes"]}
    messages = {name: each["messages"] for name, each in by_name.items()}
    assert messages["Ed25519, statement"] == 4
    assert messages["renewal, statement"] == 2
    assert all(
        count == (6 if ", then " in name else 4) for name, count in messages.items() if "ren" not in name
    )
    for each in by_name.values():
        assert each["conversations"] == report.found["plan"]["handshakes"]
        assert 0 < each["authority_ms"] < each["authority_wall_ms"] < each["wall_ms"]
        assert each["client_ms"] > 0
        # Each side sends a key of the hybrid exchange, or what is encapsulated to it.
        assert min(each["up"], each["down"]) > 1100


def test_the_table_of_costs_is_markdown(report: Report) -> None:
    """It is printed as lines that a page can take as they are: one width, one line for each way."""
    lines = [line for line in report.printed.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(report.found["handshakes"])
    assert {line.count("|") for line in lines} == {7}
    assert lines[1] == "|---|---|---|---|---|---|"
    assert all(f"| {each['name']} |" in report.printed for each in report.found["handshakes"])


def test_no_call_is_refused_while_a_session_is_renewed(report: Report) -> None:
    """Refused calls are counted, not timed, so here the figure itself is certain; the gaps are told."""
    refused = report.row("renewal refused")
    assert (refused["median"], refused["met"]) == (0, True)
    assert int(refused["note"].split(", ")[1].split(" ")[0].replace(",", "")) > 0
    series = {one["name"]: one for one in report.found["series"]}
    renewals = report.found["plan"]["renewals"]
    assert len(series["a renewal while calls run"]["values"]) == renewals
    assert len(series["a renewal, nothing else running"]["values"]) == renewals
    longest, usual = report.row("renewal gap max"), report.row("renewal gap p99.9")
    assert longest["median"] >= usual["median"] > 0
    assert longest["beside_median"] >= usual["beside_median"] > 0


def test_a_demand_for_a_cookie_stands_beside_a_full_answer(report: Report) -> None:
    """The ratio says how much dearer the full answer is; an exchange of keys alone is in the same rounds."""
    row = report.row("flood")
    assert row["ratio"] == pytest.approx(row["beside_median"] / row["median"])
    assert "demands a second" in row["note"]
    assert any("X25519 exchange alone" in one["name"] for one in report.found["series"])


def test_rows_without_a_target_make_no_picture_and_no_other_rows(tmp_path: Path) -> None:
    """A run of the flood alone has its one row, in the table with empty columns, and nothing to draw."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "benchmarks", "--quick", "--out", str(tmp_path), "--rows", "flood"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert [row["row"] for row in json.loads((tmp_path / "bench.json").read_text())["rows"]] == ["flood"]
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]


# ---- That each way is the one it is called


@pytest.fixture(scope="module")
def firm() -> Iterator[tuple[Firm, dict[str, Kind]]]:
    """A firm with every way that this machine can go."""
    with ExitStack() as opened:
        kinds = {}
        for name, make in {
            "X.509": x509.certificates,
            "OIDC": oidc.access_token,
            "EAT": eat.attestation_token,
            "TPM": lambda: tpm.quote(opened),
            "TOTP": factors.one_time_code,
            "WebAuthn": factors.webauthn,
            "renewal": plain.renewal,
        }.items():
            try:
                kinds[name] = make()
            except NotHere:
                continue
        yield opened.enter_context(Firm([kind.enrolment for kind in kinds.values()])), kinds


def _granted(firm: Firm, run: Conversation) -> dict[str, Any]:
    """What the audit log says of the session that came out."""
    run(firm.authority.connection())
    lines = (firm.house.state / "audit.jsonl").read_text().splitlines()
    return next(
        said for line in reversed(lines) if (said := json.loads(line)).get("event") == "session.granted"
    )


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("X.509", {"credential": x509.SPIFFE_ID, "device": "host-1"}),
        ("OIDC", {"credential": f"oidc:{oidc.ISSUER} 00u1x8", "device": "host-1"}),
        ("EAT", {"subject": "algo-7", "device": "host-eat"}),
        ("TPM", {"subject": "algo-7", "device": "host-tpm"}),
        ("TOTP", {"subject": "ada", "factor": "totp", "assurance": 2}),
        ("WebAuthn", {"subject": "grace", "factor": "webauthn", "assurance": 3}),
        ("renewal", {"subject": "algo-7", "renewed": True}),
    ],
)
def test_each_way_shows_what_it_is_called_again_and_again(
    firm: tuple[Firm, dict[str, Kind]], name: str, shown: dict[str, Any]
) -> None:
    """The Authority's own audit log names the credential, device or factor, in the second run as well."""
    opened, kinds = firm
    if name not in kinds:
        pytest.skip(f"{name} needs something that is not installed")
    prepare = kinds[name].start(opened)
    for _ in range(2):
        said = _granted(opened, prepare())
        assert {what: said.get(what) for what in shown} == shown


def test_a_way_that_this_machine_cannot_go_is_told_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a software TPM there is a sentence in place of the row, and all other rows are there."""
    monkeypatch.setenv("PATH", "/nowhere")
    with ExitStack() as opened:
        kinds, notes = _kinds(opened, with_others=False)
    assert "handshakes, TPM: not measured, swtpm and tpm2-tools are not installed." in notes
    rows = {kind.row for kind in kinds}
    assert "P11 TPM" not in rows
    assert {"P11 first", "P11 again", "P11 X.509", "P11 renewal"} <= rows


def test_costs_are_of_one_conversation_each() -> None:
    """Bytes and messages are counted anew for each, and one that comes to nothing is not counted."""
    with Firm() as firm, Firm() as other:
        costs, prepare = Costs("plain"), plain.again().start(firm)
        for _ in range(2):
            costs.add(prepare(), firm.authority.connection())
        assert costs.messages.values == [4, 4]
        assert costs.up.values[0] == costs.up.values[1]
        with pytest.raises(EvidenceError):
            costs.add(prepare(), other.authority.connection())
        assert len(costs.authority.values) == len(costs.up.values) == 2


def test_a_flood_that_meets_no_cookie_is_not_measured() -> None:
    """What is taken for a demand is looked at before anything is timed."""
    with Firm() as firm, pytest.raises(RuntimeError, match="not met with cookies"):
        _Flood(firm.authority, 1).check()


def test_a_gap_belongs_to_the_renewal_that_it_touches() -> None:
    """Also one that begins before a renewal or ends after it; all others count as without one."""
    accepted = np.array([0, 10, 20, 50, 60, 70, 100, 110])
    during, without = gaps_of(accepted, [(22, 48), (65, 75)])
    assert [list(each) for each in during] == [[30], [10, 30]]
    assert [list(each) for each in without] == [[10], [10]]
