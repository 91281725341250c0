"""Where the demo's top-of-book states come from."""

from __future__ import annotations

import gzip
from itertools import pairwise
from pathlib import Path

import pytest

from ztsession.demo.quotes import TopOfBook, generated_states, read_states
from ztsession.errors import ConfigurationError

REAL = Path(__file__).parents[3] / "shared" / "data" / "aapl-2012-06-21-top-of-book.csv.gz"

GOOD = b"5859400,200,5853300,18\n5859100,18,5853300,18\n"
STATES = [TopOfBook(5859400, 200, 5853300, 18), TopOfBook(5859100, 18, 5853300, 18)]


@pytest.mark.parametrize("name", ["quotes.csv", "quotes.csv.gz"])
def test_files_are_read_plain_and_compressed(tmp_path: Path, name: str) -> None:
    """The same rows come out of a CSV file and of its gzip."""
    path = tmp_path / name
    path.write_bytes(gzip.compress(GOOD) if name.endswith(".gz") else GOOD)
    assert list(read_states(path)) == STATES


def test_no_more_is_read_than_was_asked_for(tmp_path: Path) -> None:
    """What lies behind the limit is not even looked at."""
    path = tmp_path / "quotes.csv"
    path.write_bytes(GOOD + b"rubbish\n")
    assert list(read_states(path, at_most=2)) == STATES


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (b"ask,size,bid,size", "four whole numbers"),
        (b"5859400,200,5853300", "four whole numbers"),
        (b"5859400,200,5853300,18,1", "four whole numbers"),
        (b"5859400,-200,5853300,18", "four whole numbers"),
        (b"585.94,200,585.33,18", "four whole numbers"),
        (b"5859400, 200,5853300,18", "four whole numbers"),
        (b"", "four whole numbers"),
        (b"9" * 300, "four whole numbers"),
        (b"5853300,200,5859400,18", "not above the ask price"),
        (b"5859400,200,0,18", "above 0"),
        (b"5859400,4294967296,5853300,18", "sizes of at most"),
    ],
)
def test_malformed_rows_are_refused_with_file_and_line(tmp_path: Path, row: bytes, what: str) -> None:
    """A row that is no state stops the reading, and the error says where it stands."""
    path = tmp_path / "quotes.csv"
    path.write_bytes(GOOD + row + b"\n" + GOOD)
    states = read_states(path)
    assert [next(states), next(states)] == STATES
    with pytest.raises(ConfigurationError, match=what) as error:
        next(states)
    assert (error.value.file, error.value.line) == (str(path), 3)
    assert str(error.value).startswith(f"{path}:3: ")


@pytest.mark.parametrize("cut", ["not gzip", "truncated"])
def test_damaged_archives_are_refused(tmp_path: Path, cut: str) -> None:
    """A file that says .gz and is not, or breaks off, is an error of the file and no traceback."""
    path = tmp_path / "quotes.csv.gz"
    path.write_bytes(GOOD if cut == "not gzip" else gzip.compress(GOOD * 1000)[:-12])
    with pytest.raises(ConfigurationError, match=r"quotes\.csv\.gz"):
        list(read_states(path))


def test_missing_files_are_refused(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(ConfigurationError, match=r"none\.csv"):
        list(read_states(tmp_path / "none.csv"))


def test_the_generator_is_seeded() -> None:
    """The same seed gives the same market, another seed another one."""
    first = list(generated_states(1, 500))
    assert len(first) == 500
    assert list(generated_states(1, 500)) == first
    assert list(generated_states(2, 500)) != first


def test_generated_states_are_markets() -> None:
    """A bid above nothing and below the ask, sizes above nothing, and prices that move."""
    states = list(generated_states(3, 5000))
    assert all(0 < state.bid < state.ask and state.ask_size and state.bid_size for state in states)
    moves = sum(before[:1] != after[:1] for before, after in pairwise(states))
    assert 500 < moves < 4500


def test_a_real_day_is_read_whole() -> None:
    """A recorded trading day has only rows that are taken."""
    if not REAL.exists():
        pytest.skip("the recorded trading day is not on this machine")
    assert sum(1 for _ in read_states(REAL)) == 118_497
