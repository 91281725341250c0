"""What a how-to page does beside its Python: it writes files, and types commands into a shell."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
from pathlib import Path

__all__ = ["append", "console", "same", "write"]

#: The command that an installed ztsession has, by the Python that runs the page; a sanitizer's runtime, if
#: there is one, is for that Python and not for the other programs.
_ZTSESSION = f'ztsession() {{ LD_PRELOAD="$PRELOADED" "{sys.executable}" -m ztsession "$@"; }}\n'


def write(path: str, text: str) -> None:
    """Lay down a file."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def append(path: str, text: str) -> None:
    """Add to a file."""
    with Path(path).open("a") as file:
        file.write("\n" + text)


def console(text: str) -> None:
    """Type every line after ``$``, and compare what is printed with the lines that follow it.

    ``> `` goes on with a command, ``...`` stands for anything; a command may fail only if the page shows it.
    """
    commands: list[tuple[list[str], list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            commands.append(([line[2:]], []))
        elif line.startswith("> ") and not commands[-1][1]:
            commands[-1][0].append(line[2:])
        else:
            commands[-1][1].append(line)
    for typed, shown in commands:
        _type("\n".join(typed), "".join(f"{line}\n" for line in shown))


def same(shown: str, printed: str) -> bool:
    """Whether the page shows what was printed; ``...`` stands for anything."""
    return doctest.OutputChecker().check_output(shown, printed, doctest.ELLIPSIS)


def _type(command: str, shown: str) -> None:
    sys.stdout.flush()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", _ZTSESSION + command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=60,
        env={**os.environ, "LC_ALL": "C", "LD_PRELOAD": "", "PRELOADED": os.environ.get("LD_PRELOAD", "")},
    )
    if not same(shown, done.stdout) or (done.returncode != 0) != shown.startswith("Error: "):
        raise SystemExit(f"$ {command}\nprinted:\n{done.stdout}\nthe page shows:\n{shown}")
