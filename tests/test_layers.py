"""The house is built in layers: what stands below knows nothing of what stands above."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ztsession as zts

PACKAGE = Path(zts.__file__).parent
ROOT = PACKAGE.parent

#: From the bottom to the top; rooms in one row may know each other.
LAYERS = (
    (
        "errors",
        "clock",
        "limits",
        "hazmat",
        "_canonical",
        "_limits",
        "_records",
        "_core",
        "_calls",
        "_batch",
        "_scan",
    ),
    ("wire",),
    ("handshake",),
    ("identity", "posture", "mfa"),
    ("policy",),
    ("risk",),
    ("audit",),
    ("tickets",),
    ("store", "bus"),
    ("authority", "enforcement", "client"),
    ("integrations",),
    ("server", "cli", "demo", "testing", "__init__", "__main__"),
)
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
HEAVY = ("cedarpy", "cryptography", "joserfc", "asyncio", "click", "rich", "sqlite3")
SOURCES = sorted(PACKAGE.rglob("*.py"))
ROOMS = {path.name.partition(".")[0] for path in PACKAGE.iterdir()} - {"__init__"}


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """(line, room) of everything of ours that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides what it reaches for"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            room = rest.partition(".")[0]
            if package == "ztsession":
                # What is no room is a name of the package's face.
                yield node.lineno, room if room in ROOMS else "__init__"


def test_imports_point_downward_only():
    """No module imports from a layer above its own, not even within a function."""
    upward = [
        f"{path.relative_to(ROOT)}:{line} imports {room}"
        for path in SOURCES
        for line, room in imported(path)
        if RANK[room] > RANK[room_of(path)]
    ]
    assert upward == []


def test_every_room_has_its_layer():
    """A new directory or module must be given its place before it is used."""
    assert {room_of(path) for path in SOURCES} | ROOMS - {"__pycache__", "py"} <= RANK.keys()
    assert len(RANK) == sum(map(len, LAYERS))


def test_the_face_is_short():
    """ztsession/__init__.py re-exports names and does nothing else, in under 80 lines."""
    lines = (PACKAGE / "__init__.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 80
    assert "import *" not in "\n".join(lines)


def test_importing_the_package_loads_nothing_heavy():
    """Whoever only verifies pays for no policy engine, no event loop, no database and no terminal."""
    script = f"import sys, ztsession; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []
    assert all(hasattr(zts, name) for name in zts.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Autority'"):
        _ = zts.Autority


def test_only_tests_know_of_material_that_is_not_shipped():
    """What is not in the repository is mentioned by tests alone, which then do without it."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("this is no git checkout")
    word = "/".join(("..", "shared"))
    mentioning = []
    for name in tracked.stdout.splitlines():
        path = ROOT / name
        if not name.startswith("tests/") and path.is_file() and word.encode() in path.read_bytes():
            mentioning.append(name)
    assert mentioning == []


def test_each_c_file_is_linked_into_exactly_one_extension(monkeypatch: pytest.MonkeyPatch):
    """Two copies of the core would be two states of what must be one."""
    import Cython.Build
    import setuptools

    given: list[list[str]] = []
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    monkeypatch.setattr(
        Cython.Build, "cythonize", lambda extensions, **_: given.extend(list(e.sources) for e in extensions)
    )
    monkeypatch.chdir(ROOT)
    exec(compile((ROOT / "setup.py").read_text(), "setup.py", "exec"), {"__name__": "setup"})
    linked = sorted(Path(source).name for sources in given for source in sources if source.endswith(".c"))
    assert linked == sorted(path.name for path in (ROOT / "ext" / "src").glob("*.c"))


def test_a_long_file_says_why():
    """Past 500 lines a file gives its reason at the top, in a line that begins with "Long because"."""
    kinds = ("ztsession/**/*.py", "ext/**/*.c", "ext/**/*.h", "ext/**/*.pyx", "ext/**/*.pxd")
    texts = {path: path.read_text(encoding="utf-8") for kind in kinds for path in ROOT.glob(kind)}
    unexplained = [
        f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines"
        for path, text in texts.items()
        if text.count("\n") > 500 and "long because" not in text[:2000].lower()
    ]
    assert unexplained == []
