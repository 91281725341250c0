"""Fresh interpreters, for what one process cannot measure of itself."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.native import ROOT

__all__ = ["run_python"]


def run_python(*arguments: str) -> str:
    """Run this interpreter on this checkout with ``arguments``; its standard output."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout
