"""Builds the C test programs from the core's own sources, unchanged or with one defence taken out of a
copy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES, PROGRAMS = ROOT / "ext" / "src", ROOT / "tests" / "c"
#: Memory errors and undefined behaviour end the program.
SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")

#: A preloaded sanitizer of the interpreter's would meet the program's own.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}

FLAGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter")


def build(
    directory: Path, program: str, *flags: str, mutations: tuple[tuple[str, str, str], ...] = ()
) -> Path:
    """The path of the built program. ``mutations``: (file, old text, new text), each of which must be
    found once.
    """
    sources = SOURCES
    if mutations:
        sources = directory / f"{program}-sources"
        shutil.copytree(SOURCES, sources)
    for file, old, new in mutations:
        text = (sources / file).read_text()
        assert text.count(old) == 1, f"{file} does not have this text once: {old}"
        (sources / file).write_text(text.replace(old, new))
    output = directory / program
    files = [str(PROGRAMS / f"{program}.c"), *map(str, sorted(sources.glob("*.c")))]
    subprocess.run(
        ["gcc", *FLAGS, *flags, f"-I{sources}", f"-I{PROGRAMS}", *files, "-o", str(output), "-lpthread"],
        check=True,
        env=ENVIRONMENT,
    )
    return output


def run(program: Path, *arguments: object, timeout_s: float = 280) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env=ENVIRONMENT,
    )
