"""A scan reads counters that others write to, in slots that others take: no interpreter between them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from c_programs import SANITIZED, build, run

ROUNDS = 20_000

SANITIZED_RUN = os.environ.get("ZTS_SANITIZED") == "1"
ITS_OWN = "the program has no part of the instrumented build in it: the plain run is the same"

#: The gap between reading whose slot it is and what was counted, wide enough that its session changes.
SLOW_READ = (
    "zts_scan.c",
    "        r->mode = ZTS_GET(slot->mode);\n",
    """        extern int usleep(unsigned);
        (void)usleep(20);
        r->mode = ZTS_GET(slot->mode);
""",
)
READ_ONCE = ("zts_scan.c", "if (ZTS_LIKELY(ZTS_GET(slot->revision) == revision))\n", "")
CHARGED_ON = ("zts_scan.c", "if (m->handle != r.handle)", "if (!m->handle)")
WIDE = ("zts_scan.c", "fresh[v] = r->refused[v] - m->refused[v];", "fresh[v] = r->refused[v];")


@pytest.mark.parametrize("flags", [("-O3",), SANITIZED], ids=["fast", "sanitized"])
def test_a_scan_charges_each_session_with_its_own(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """While sessions come and go, none is charged with another's calls, and one that stays with all of its
    own once.
    """
    result = run(build(tmp_path, "scan", *flags), ROUNDS)
    assert result.returncode == 0, result.stderr
    counted = {name: int(number) for name, number in re.findall(r"(\w+) (\d+)", result.stdout)}
    assert min(counted.values()) > 100


@pytest.mark.skipif(SANITIZED_RUN, reason=ITS_OWN)
def test_a_scan_under_a_race_checker(tmp_path: Path) -> None:
    """The same shows no race."""
    program = build(tmp_path, "scan", "-O2", "-g", "-fsanitize=thread", "-Wno-tsan")
    result = run(program, ROUNDS // 10)
    assert "ThreadSanitizer" not in result.stderr, result.stderr[:4000]
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(SANITIZED_RUN, reason=ITS_OWN)
@pytest.mark.parametrize("mutations", [(SLOW_READ,), (SLOW_READ, READ_ONCE)], ids=["whole", "without"])
def test_a_reading_counts_only_if_the_slot_stayed_what_it_was(
    tmp_path: Path, mutations: tuple[tuple[str, str, str], ...]
) -> None:
    """However slow the reading is, it is one session's; without the second look at the revision it would be
    two's.
    """
    result = run(build(tmp_path, "scan", "-O3", mutations=mutations), ROUNDS // 4)
    assert result.returncode == (1 if READ_ONCE in mutations else 0), result.stderr


@pytest.mark.skipif(SANITIZED_RUN, reason=ITS_OWN)
@pytest.mark.parametrize("mutation", [CHARGED_ON, WIDE], ids=["not begun anew", "no difference"])
def test_what_is_remembered_belongs_to_a_handle(tmp_path: Path, mutation: tuple[str, str, str]) -> None:
    """Without the memory that begins with the session, or without the difference, counts come out wrong."""
    assert run(build(tmp_path, "scan", "-O3", mutations=(mutation,)), 10).returncode == 1
