"""`make sanitize` runs what it says: a sanitized build, under runtimes that notice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ztsession import _batch, _calls, _core

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif("ZTS_SANITIZED" not in os.environ, reason="`make sanitize` runs this")

# The heap's red zones are only there when Python's own allocator is not in between.
OVERFLOW = "import ctypes; ctypes.memset(ctypes.create_string_buffer(1000), 0, 1001)"


def test_the_extension_modules_are_the_sanitized_ones_of_this_tree() -> None:
    """Every extension module comes from this copy of the tree and is built with both sanitizers."""
    for module in (_core, _calls, _batch):
        file = Path(module.__file__)
        assert file.is_relative_to(ROOT)
        assert b"__asan_report_" in file.read_bytes(), module.__name__
        assert b"__ubsan_handle_" in file.read_bytes(), module.__name__


def test_an_overflow_of_the_heap_ends_the_process() -> None:
    """A write of one byte too many is reported, in this process's environment and in its children's."""
    done = subprocess.run(
        [sys.executable, "-c", OVERFLOW], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
    fine = OVERFLOW.replace("1001", "1000")
    assert subprocess.run([sys.executable, "-c", fine], timeout=60, check=False).returncode == 0
