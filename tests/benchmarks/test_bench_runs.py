"""The benchmarks work: no figure is judged here, only that it is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numpy", reason="the benchmarks' own packages are not installed (extra: bench)")
pytest.importorskip("itsdangerous", reason="the benchmarks' own packages are not installed (extra: bench)")
pytest.importorskip("matplotlib", reason="the benchmarks' own packages are not installed (extra: bench)")

ROOT = Path(__file__).resolve().parents[2]


def _run(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "benchmarks", "--quick", "--out", str(out), *options]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, str]:
    out = tmp_path_factory.mktemp("bench")
    done = _run(out, "--rows", "P1,P4,P10,P12,P14")
    assert done.returncode == 0, done.stderr
    return json.loads((out / "bench.json").read_text()), out, done.stdout


def test_a_quick_run_reports_the_rows_asked_for_and_no_others(
    report: tuple[dict[str, Any], Path, str],
) -> None:
    """--rows selects; a row with two requirements has two lines."""
    found, _, printed = report
    assert [row["row"] for row in found["rows"]] == ["P1", "P4", "P10 bad tag", "P10 unknown", "P12", "P14"]
    assert found["failed"] == []
    assert all(row["row"] in printed for row in found["rows"])


def test_every_row_tells_figure_spread_neighbour_ratio_and_target(
    report: tuple[dict[str, Any], Path, str],
) -> None:
    """The JSON has what a reader needs to judge a row without the program."""
    for row in report[0]["rows"]:
        low, high = row["quartiles"]
        assert 0 < low <= row["median"] <= high
        assert row["target"]
        assert isinstance(row["met"], bool)
        if row["beside"] is not None:
            assert row["ratio"] == pytest.approx(row["median"] / row["beside_median"])
            assert row["ratio_by_round"] > 0


def test_the_report_names_the_machine_and_keeps_every_round(report: tuple[dict[str, Any], Path, str]) -> None:
    """Machine, versions and back end are told, and the raw values of each round are kept."""
    found = report[0]
    assert {"processor", "python", "openssl", "backend", "load_before", "load_after"} <= set(found["machine"])
    series = {one["name"]: one for one in found["series"]}
    assert len(series["verify"]["values"]) == found["plan"]["rounds"]
    assert "the empty loop" in series
    floors = [one["run"] for one in found["series"] if one["name"].startswith("batch floor")]
    assert floors == ["P1", "P4 P10"]


def test_the_picture_is_a_png(report: tuple[dict[str, Any], Path, str]) -> None:
    """A picture is drawn, with whatever panels the run has figures for."""
    assert (report[1] / "bench.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_revocation_is_refused_at_the_very_next_call(report: tuple[dict[str, Any], Path, str]) -> None:
    """P12 counts calls, not time, so here the figure itself is certain."""
    (row,) = (row for row in report[0]["rows"] if row["row"] == "P12")
    assert row["median"] == 1


def test_each_detector_has_its_row(tmp_path: Path) -> None:
    """A pass over all sessions, and for each detector the way from the counters to the refused call."""
    done = _run(tmp_path, "--rows", "detection")
    assert done.returncode == 0, done.stderr
    rows = [row["row"] for row in json.loads((tmp_path / "bench.json").read_text())["rows"]]
    assert rows == [
        f"detection {name}"
        for name in (
            "scan",
            "order-rate",
            "replay",
            "lateral-movement",
            "off-hours",
            "concurrency",
            "posture-silence",
            "strangers",
        )
    ]


def test_an_unknown_row_is_refused_with_the_list_of_rows(tmp_path: Path) -> None:
    """A typing mistake does not run for minutes to measure nothing."""
    done = _run(tmp_path, "--rows", "P1,P99")
    assert done.returncode == 2
    assert "P1, P2" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_floor_compiles_and_computes_real_hashes() -> None:
    """The two-lane floor gives what the portable back end gives, and every figure is a positive time."""
    from benchmarks.floors import floors
    from benchmarks.native import library
    from benchmarks.plan import QUICK

    assert library().floor_lanes_are_right() == 1
    figures = {floor.name: floor.once() for floor in floors(QUICK)}
    assert len(figures) == 5
    assert all(value > 0 for value in figures.values())


def test_the_fleet_s_tokens_are_accepted_once_each() -> None:
    """Keys derived in C for the clients are the point's keys: every session's token passes, and not twice."""
    from benchmarks.fleet import Fleet

    fleet = Fleet(300)
    batches = fleet.batch()
    material = batches.prepare(300)
    batches.run(material)
    with pytest.raises(RuntimeError, match="not accepted"):
        batches.run(material)
    assert fleet.table.refused()["REPLAYED"] == 300


@pytest.mark.skipif("ZTS_SANITIZED" in os.environ, reason="a peer's library refuses a sanitizer's runtime")
def test_each_peer_accepts_its_own_tokens() -> None:
    """A peer that fails would look fast."""
    from benchmarks.peers import peers

    found = peers(20)
    for loop in found:
        assert loop.once() > 0
    assert len(found) == 12
