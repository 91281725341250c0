"""The same loops under pytest-benchmark: ``pytest benchmarks --benchmark-only``, to compare runs and commits.

Each round gets fresh tokens from the loop's own preparation, which is not timed. Times are of the whole loop;
the number of calls in it is in ``extra_info``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.calls import Calls
from benchmarks.measure import Loop
from benchmarks.peers import peers

CALLS = 20 * 1024
ROUNDS = 10

OURS = (
    "empty",
    "verify",
    "plain",
    "protected",
    "sign",
    "verify_batch",
    "sign_batch",
    "refuse_bad_tags",
    "refuse_unknown",
)


@pytest.fixture(scope="module")
def calls() -> Iterator[Calls]:
    """One session for all of ours."""
    made = Calls()
    yield made
    made.close()


@pytest.mark.parametrize("name", OURS)
def test_ours(benchmark: Any, calls: Calls, name: str) -> None:
    """ztsession's calls."""
    _run(benchmark, getattr(calls, name)(CALLS))


@pytest.mark.parametrize("loop", peers(CALLS // 5), ids=lambda loop: loop.name)
def test_peers(benchmark: Any, loop: Loop) -> None:
    """What others do with the same message."""
    _run(benchmark, loop)


def _run(benchmark: Any, loop: Loop) -> None:
    benchmark.extra_info["calls"] = loop.calls
    benchmark.pedantic(
        loop.run, setup=lambda: ((loop.prepare(loop.calls),), {}), rounds=ROUNDS, warmup_rounds=1
    )
