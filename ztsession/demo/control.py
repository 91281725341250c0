"""How the director speaks with the roles: one JSON object a line, over a child's standard input and output.

JSON and not pickled objects, because one of the roles is going to be compromised, and whoever unpickles
runs what the sender likes. The end of standard input is the order to stop: however the director ends, no
role outlives it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from ztsession.errors import ZtsError

__all__ = ["Control"]


class Control:
    """A role's end of the channel."""

    def __init__(self) -> None:
        """Take standard output for the channel; whatever else prints goes to standard error from here on."""
        self._orders: TextIO = sys.stdin
        self._answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def serve(self, commands: Mapping[str, Callable[..., object]]) -> None:
        """Run commands as they come, until the director hangs up."""
        for line in self._orders:
            order: dict[str, Any] = json.loads(line)
            command = commands[order.pop("do")]
            try:
                self._say({"done": command(**order)})
            except ZtsError as error:
                self._say({"failed": str(error)})

    def progress(self, **what: object) -> None:
        """Tell how far the running command has come."""
        self._say({"progress": what})

    def _say(self, what: dict[str, object]) -> None:
        self._answers.write(json.dumps(what) + "\n")
        self._answers.flush()
