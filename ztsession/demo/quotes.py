"""Where top-of-book states come from: a file of real ones, or a seeded generator.

A file is input like any other, so it is read with bounds and refused with the line that is wrong: a price
with a slipped column would otherwise be signed, verified and traded on.
"""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from ztsession.errors import ConfigurationError

__all__ = ["STATES_MAX", "STATES_MIN", "TICK", "TopOfBook", "generated_states", "read_states"]

#: One cent, in dollars x 10,000.
TICK: Final = 100

#: With fewer the market might not move at all.
STATES_MIN: Final = 200
STATES_MAX: Final = 10_000_000
_LINE_MAX_BYTES: Final = 256
_PRICE_MAX: Final = 10**12
_SIZE_MAX: Final = 2**32 - 1


class TopOfBook(NamedTuple):
    """The best ask and bid: prices in dollars x 10,000, sizes in shares."""

    ask: int
    ask_size: int
    bid: int
    bid_size: int


def read_states(path: Path, *, at_most: int = STATES_MAX) -> Iterator[TopOfBook]:
    """The states of a CSV file, plain or ``.gz``: ask price, ask size, bid price, bid size, no header.

    ConfigurationError names the file and line, and what was expected.
    """
    number = 0
    try:
        with _open(path) as lines:
            for number, line in enumerate(_bounded(lines), 1):
                if number > at_most:
                    return
                yield _state(line, str(path), number)
    except (OSError, EOFError, zlib.error) as error:
        # A damaged archive breaks off in the middle; an unreadable file, at the beginning.
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"cannot be read: {why}", file=str(path), line=number + 1) from None


def generated_states(seed: int, count: int) -> Iterator[TopOfBook]:
    """A random walk of ``count`` states, the same for the same seed."""
    # Market data to play with, not a secret.
    chance = random.Random(seed)  # noqa: S311
    bid, spread = 5_850_000, 3 * TICK
    for _ in range(count):
        move = chance.random()
        if move < 0.25:
            bid += TICK * chance.choice((-2, -1, 1, 2))
        elif move < 0.45:
            spread = TICK * chance.randint(1, 12)
        bid = max(bid, 100 * TICK)
        yield TopOfBook(bid + spread, 100 * chance.randint(1, 20), bid, 100 * chance.randint(1, 20))


def _open(path: Path) -> BufferedIOBase:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _bounded(lines: BufferedIOBase) -> Iterator[bytes]:
    return islice(iter(lambda: lines.readline(_LINE_MAX_BYTES), b""), STATES_MAX)


def _state(line: bytes, file: str, number: int) -> TopOfBook:
    cells = line.strip().split(b",")
    # isdigit of bytes: ASCII digits alone, where int() would also take blanks, signs and underscores.
    if len(cells) != 4 or not all(cell.isdigit() and len(cell) <= 15 for cell in cells):
        message = "expected four whole numbers: ask price, ask size, bid price, bid size"
        raise ConfigurationError(message, file=file, line=number)
    state = TopOfBook(*map(int, cells))
    if not 0 < state.bid <= state.ask <= _PRICE_MAX:
        message = "expected a bid price above 0 and not above the ask price"
        raise ConfigurationError(message, file=file, line=number)
    if max(state.ask_size, state.bid_size) > _SIZE_MAX:
        raise ConfigurationError(f"expected sizes of at most {_SIZE_MAX}", file=file, line=number)
    return state
