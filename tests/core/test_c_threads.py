"""Threads on one table with no interpreter between them: ThreadSanitizer sees what the GIL would hide."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from c_programs import SANITIZED, build, run

#: Each round is 384 operations of each verifying thread: 3,000,000 in all.
ROUNDS = 7_813

SANITIZED_RUN = os.environ.get("ZTS_SANITIZED") == "1"
ITS_OWN = "the program has no part of the instrumented build in it: the plain run is the same"

PLAIN_STORE = (
    "zts_replay.h",
    """    } while (!atomic_compare_exchange_weak_explicit(word, &seen, next, memory_order_acq_rel,
                                                    memory_order_relaxed));
    return 1;
}

/* "Ordered\"""",
    # The gap between load and store, made wide enough that a busy machine's threads meet in it.
    """    } while (0);
    extern int sched_yield(void);
    if (sequence % 8 == 0) (void)sched_yield();
    atomic_store_explicit(word, next, memory_order_release);
    return 1;
}

/* "Ordered\"""",
)


def counts(output: str) -> dict[str, int]:
    return {name: int(number) for name, number in re.findall(r"(\w+) (\d+)", output)}


@pytest.mark.skipif(SANITIZED_RUN, reason=ITS_OWN)
def test_T17_threads_under_a_race_checker(tmp_path: Path) -> None:
    """Three million operations a thread, with sessions, modes, limits and epochs changing, show no race
    and no error.
    """
    program = build(tmp_path, "threads", "-O2", "-g", "-fsanitize=thread", "-Wno-tsan")
    result = run(program, ROUNDS)
    assert "ThreadSanitizer" not in result.stderr, result.stderr[:4000]
    assert result.returncode == 0, result.stderr
    done = counts(result.stdout)
    assert done["verifier"] >= 3_000_000
    assert done["epochs"] > 300
    assert min(done["churn"], done["control"]) > 1_000


@pytest.mark.skipif(SANITIZED_RUN, reason=ITS_OWN)
def test_T17_threads_at_full_speed(tmp_path: Path) -> None:
    """The same without the checker, as it is shipped."""
    result = run(build(tmp_path, "threads", "-O3"), ROUNDS)
    assert result.returncode == 0, result.stderr
    assert counts(result.stdout)["verifier"] >= 3_000_000


@pytest.mark.skipif(SANITIZED_RUN, reason=ITS_OWN)
def test_T17_a_window_without_its_exchange_is_caught(tmp_path: Path) -> None:
    """With the replay window's exchange replaced by a plain store, the same program finds a token
    accepted twice.
    """
    program = build(tmp_path, "threads", "-O3", mutations=(PLAIN_STORE,))
    result = run(program, ROUNDS)
    assert result.returncode == 1
    assert "atomic_load(&accepted[i]) == 1" in result.stderr


#: The gap between choosing the decision to read and reading it, made wide enough that its writer gets in.
SLOW_LOOK = (
    "zts_passage.h",
    "    const zts_profile *profile = p->profile;\n",
    """    const zts_profile *profile = p->profile;
    for (int i = 0; i < 4 && p->header.operation == 30; i++) (void)sched_yield();
""",
)
LOOK_ONCE = (
    "zts_passage.h",
    "return has_ended(p) ? ZTS_REVOKED : DECIDE_AGAIN;",
    "{\n        if (has_ended(p)) return ZTS_REVOKED;\n    }",
)


@pytest.mark.skipif(SANITIZED_RUN, reason=ITS_OWN)
@pytest.mark.parametrize("mutations", [(SLOW_LOOK,), (SLOW_LOOK, LOOK_ONCE)], ids=["whole", "without"])
def test_T18_what_is_taken_from_one_session_during_verify(
    tmp_path: Path, mutations: tuple[tuple[str, str, str], ...]
) -> None:
    """A call whose session gets a lesser decision while it is looked at is decided by one of the two, never
    by a third that has come to lie in the same place; without the second look that would happen.
    """
    result = run(build(tmp_path, "threads", "-O3", mutations=mutations), ROUNDS // 4)
    assert result.returncode == (1 if LOOK_ONCE in mutations else 0), result.stderr
    assert ("ZTS_NOT_PERMITTED" in result.stderr) == (LOOK_ONCE in mutations)


#: The gap between counting the holders of a decision and becoming one, wide enough that another gets in.
SLOW_HOLD = (
    "zts_profile.c",
    "        /* Another came or went",
    "        extern int sched_yield(void);\n        (void)sched_yield();\n        /* Another came or went",
)
TRY_ONCE = (
    "zts_profile.c",
    "} while (!atomic_compare_exchange_weak(&p->references, &n, n + 1));",
    "if (!atomic_compare_exchange_strong(&p->references, &n, n + 1)) return 0;\n    } while (0);",
)


@pytest.mark.skipif(SANITIZED_RUN, reason=ITS_OWN)
@pytest.mark.parametrize("mutations", [(SLOW_HOLD,), (SLOW_HOLD, TRY_ONCE)], ids=["whole", "without"])
def test_R3_narrowing_while_sessions_come_and_go(
    tmp_path: Path, mutations: tuple[tuple[str, str, str], ...]
) -> None:
    """What is taken from a decision is taken although another session of it begins or ends at that moment;
    were it tried once only, it would be lost.
    """
    program = build(tmp_path, "narrowing", "-O3", mutations=mutations)
    result = run(program, 10_000)
    for _ in range(20):
        # Two threads have to meet to lose it, which they do less often where the cores are busy.
        if TRY_ONCE in mutations and result.returncode == 0:
            result = run(program, 10_000)
    assert result.returncode == (1 if TRY_ONCE in mutations else 0), result.stderr
    assert ("zts_table_narrow" in result.stderr) == (TRY_ONCE in mutations)


@pytest.mark.parametrize("flags", [("-O3",), SANITIZED], ids=["fast", "sanitized"])
def test_D9_a_writer_stuck_inside_a_slot(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """A decision made while a writer is stuck waits for it, or ends the session; it is never lost."""
    result = run(build(tmp_path, "stuck", *flags))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("flags", [("-O3",), SANITIZED], ids=["fast", "sanitized"])
def test_T13_the_machine_sleeps(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """Sleep is folded into session time once, keeps what a client learned, and ages tokens."""
    result = run(build(tmp_path, "suspend", *flags))
    assert result.returncode == 0, result.stderr
