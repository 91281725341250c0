"""Others can build on the core: a C program on ext/src, and a Cython module on the package's declarations."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ztsession.testing import pair

HERE = Path(__file__).resolve().parent
EXT = HERE.parents[1] / "ext"

SETUP = f"""
from Cython.Build import cythonize
from setuptools import Extension, setup

gate = Extension("gate", ["gate.pyx"], include_dirs=[{str(EXT / "src")!r}])
setup(name="gate", ext_modules=cythonize([gate], include_path=[{str(EXT)!r}]))
"""


def build(*command: str, cwd: Path) -> None:
    """Run a tool of the build; without what a sanitized run preloads, which is not for compilers."""
    kept = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "CFLAGS", "LDFLAGS")}
    done = subprocess.run(
        command, cwd=cwd, env=kept, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def compiler() -> str:
    """The C compiler; a missing one fails where CI is set and skips elsewhere."""
    found = shutil.which("gcc") or shutil.which("cc")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("no C compiler: install Debian's package gcc")
        pytest.skip("no C compiler: install Debian's package gcc")
    return found


def test_a_c_program_signs_and_verifies_on_the_core_alone(tmp_path: Path, compiler: str) -> None:
    """ext/src compiles without warnings into a C program, which accepts, refuses a replay and obeys modes."""
    sources = sorted(str(path) for path in (EXT / "src").glob("*.c"))
    strict = ["-std=c11", "-O2", "-g", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror"]
    checked = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    program = str(tmp_path / "service")
    build(
        compiler,
        *strict,
        *checked,
        f"-I{EXT / 'src'}",
        str(HERE / "service.c"),
        *sources,
        "-o",
        program,
        cwd=tmp_path,
    )
    clean = {"PATH": os.environ["PATH"]}
    done = subprocess.run([program], env=clean, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.stdout.split("\n") == ["OK", "sequence 1", "REPLAYED", "STEP_UP_REQUIRED", "REVOKED", ""]


def test_a_cython_module_verifies_without_the_gil_through_the_declarations(
    tmp_path: Path, compiler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A downstream module that cimports Table accepts each message of a ring once, and no forgery."""
    shutil.copy(HERE / "gate.pyx", tmp_path)
    (tmp_path / "setup.py").write_text(SETUP)
    build(sys.executable, "setup.py", "-q", "build_ext", "--inplace", cwd=tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import gate

    client, point = pair(operations=["orders.submit"])
    bodies = [bytes([n]) * 20 for n in range(8)]
    ring = b"".join(client.sign("orders.submit", body) + body for body in bodies)
    forged = bytes([ring[0]]) + ring[1:47] + bytes([ring[47] ^ 1]) + ring[48:]
    assert gate.count_accepted(point.table, "orders.submit", forged, 20) == 7
    assert gate.count_accepted(point.table, "orders.submit", ring, 20) == 1
    assert gate.count_accepted(point.table, "orders.submit", ring, 20) == 0
    assert point.refused()["BAD_TAG"] == 1
    assert point.refused()["REPLAYED"] == 7 + 8
    point.close()
