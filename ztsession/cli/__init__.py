"""The command ``ztsession``: keys, policies, an Authority to serve, and the demo.

What it needs beyond the library is installed by ``pip install ztsession[all]``, and imported only here.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; exits with 0 when all went well, 1 when it did not, 2 for wrong usage."""
    try:
        from ztsession.cli.commands import ztsession
    except ModuleNotFoundError as missing:
        if missing.name not in ("click", "rich"):
            raise
        sys.exit(f"ztsession: the command line needs {missing.name}: pip install 'ztsession[all]'")
    ztsession(prog_name="ztsession")
