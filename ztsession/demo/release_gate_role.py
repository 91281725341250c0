"""The release gate's process: it alone can write where production's packages lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ztsession.audit.jsonlines import JsonLinesAudit
from ztsession.demo.calls import Calls
from ztsession.demo.control import Control
from ztsession.demo.release_gate import ReleaseGate
from ztsession.demo.service import open_point
from ztsession.server import StreamServer

__all__ = ["ReleaseGateRole"]


class ReleaseGateRole:
    """Commands: open, counts, close."""

    def open(self, environments: str, audit: str, lab: str, **where: Any) -> dict[str, object]:
        """Make the enforcement point and listen. ``environments``: the directory of their directories;
        ``audit``: a file; ``lab``: its public key in hexadecimal; the rest are arguments of ``open_point``.
        """
        point = open_point("release", **where)
        segment = point.authority.segment("release")
        promote = segment.operation("promote")
        self._log, self._audit = Path(audit), JsonLinesAudit(audit)
        gate = ReleaseGate(segment, promote, Path(environments), lab=bytes.fromhex(lab), audit=self._audit)
        self._calls = Calls(point, promote.full_name, gate.promote)
        self._server = StreamServer(("127.0.0.1", 0), lambda source: self._calls)
        return {"address": self._server.address}

    def counts(self) -> dict[str, object]:
        """What :class:`Calls` counts, and the gate's log."""
        with self._log.open(encoding="utf-8") as log:
            return {**self._calls.counts(), "log": [json.loads(line) for line in log]}

    def close(self) -> None:
        """Stop."""
        self._server.close()
        self._calls.point.close()
        self._audit.close()


if __name__ == "__main__":
    role = ReleaseGateRole()
    Control().serve({"open": role.open, "counts": role.counts, "close": role.close})
