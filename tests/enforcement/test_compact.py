"""The compact map: a dict in behaviour, a fraction of it in memory."""

from __future__ import annotations

import random
import sys

from hypothesis import given
from hypothesis import strategies as st

from ztsession.enforcement.compact import CompactMap

STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "pop", "get"]), st.integers(0, 60), st.integers(0, 2**32 - 1))
)


@given(STEPS)
def test_it_behaves_like_a_dict(steps: list[tuple[str, int, int]]) -> None:
    """Whatever is put, taken out and looked up, the answers are a dict's."""
    ours, plain = CompactMap(), dict[bytes, int]()
    for step, name_number, number in steps:
        name = b"name %d" % name_number
        if step == "put":
            ours.put(name, number)
            plain[name] = number
        elif step == "pop":
            assert ours.pop(name) == plain.pop(name, None)
        assert ours.get(name) == plain.get(name)
        assert (name in ours, len(ours)) == (name in plain, len(plain))


def test_it_survives_many_names_coming_and_going() -> None:
    """Places of names that are gone are used again: the map does not grow with its history."""
    ours, rng = CompactMap(), random.Random(1)
    live: list[bytes] = []
    for number in range(20_000):
        name = rng.randbytes(16)
        ours.put(name, number)
        live.append(name)
        if len(live) > 50:
            ours.pop(live.pop(rng.randrange(len(live))))
    assert all(name in ours for name in live)
    assert len(ours) == len(live) == 50
    assert len(ours._hashes) <= 256


def test_a_name_takes_few_bytes() -> None:
    """A hundred thousand names take less than 40 bytes each."""
    ours = CompactMap()
    for number in range(100_000):
        ours.put(number.to_bytes(16, "big"), number)
    assert (sys.getsizeof(ours._hashes) + sys.getsizeof(ours._numbers)) / 100_000 < 40
