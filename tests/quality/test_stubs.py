"""The stubs of the extension modules say what the modules are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
EXTENSIONS = ("canonical", "limits", "records", "core", "calls", "batch", "scan")
MODULES = [f"ztsession._{name}" for name in EXTENSIONS]


def test_stubs_agree_with_the_extension_modules() -> None:
    """stubtest finds nothing that differs, and no entry of its allowlist that is not needed."""
    pytest.importorskip("mypy", reason="install ztsession[quality]; `make lint` does")
    allowed = str(HERE / "stubtest-allowlist.txt")
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "--concise", "--allowlist", allowed, *MODULES],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_says_that_it_is_typed() -> None:
    """Type checkers of other projects find the marker and one stub for each extension module."""
    package = HERE.parents[1] / "ztsession"
    assert (package / "py.typed").is_file()
    assert sorted(stub.stem for stub in package.rglob("*.pyi")) == sorted(m.split(".")[1] for m in MODULES)
