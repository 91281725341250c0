"""``python -m ztsession`` is the command ``ztsession``."""

from __future__ import annotations

from ztsession.cli import main

if __name__ == "__main__":
    main()
