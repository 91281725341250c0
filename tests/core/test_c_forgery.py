"""The forgery count in C, and the proof that it would show a weak comparison."""

from __future__ import annotations

import math
from pathlib import Path

from c_programs import build, run

COUNT, SEED = 1_000_000, 20_260_101
WEAK = (
    "zts_bytes.h",
    "return ((zts_load64(a) ^ zts_load64(b)) | (zts_load64(a + 8) ^ zts_load64(b + 8))) == 0;",
    "return a[5] == b[5];",
)


def accepted(program: Path) -> int:
    result = run(program, COUNT, SEED)
    assert result.returncode == 0, result.stderr
    return int(result.stdout)


def test_a_million_forged_tags(tmp_path: Path) -> None:
    """Of a million random tags not one is accepted."""
    assert accepted(build(tmp_path, "forgery", "-O3")) == 0


def test_a_comparison_of_8_bits_is_counted(tmp_path: Path) -> None:
    """With a comparison of 8 bits, 1 in 256 is accepted, within three standard deviations."""
    share = 1 / 256
    sigma = math.sqrt(COUNT * share * (1 - share))
    assert abs(accepted(build(tmp_path, "forgery", "-O3", mutations=(WEAK,))) - COUNT * share) < 3 * sigma
