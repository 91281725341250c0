"""The Authority's process: decides on handshakes over a socket, and on the director's word takes signals."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import ztsession as zts
from ztsession.demo.control import Control
from ztsession.server import StreamServer

__all__ = ["AuthorityRole"]


class AuthorityRole:
    """Commands: open, signal, audit."""

    def open(self, state: str, policy: str) -> dict[str, object]:
        """Open the Authority and listen; what others need to know of it, and where the segments' key files
        are.
        """
        self._audit = Path(state) / "audit.jsonl"
        self._authority = zts.Authority.open(state, policy=policy)
        self._server = StreamServer(("127.0.0.1", 0), self._authority.connection)
        return {
            "address": self._server.address,
            "root": self._authority.root.hex(),
            "ticket_key": self._authority.ticket_key.hex(),
            "segment_keys": {
                name: str(self._authority.segment_key_file(name)) for name in ("orders", "market-data")
            },
        }

    def signal(self, device: str) -> dict[str, object]:
        """A detector reports that the device's posture drifted: MEDIUM, which restricts its sessions."""
        given_ns = time.monotonic_ns()
        drift = zts.Signal("drift-1", "posture-drift", zts.Level.MEDIUM, "edr", time.time(), device=device)
        changes = self._authority.signal(drift)
        return {"given_ns": given_ns, "modes": [change.after.name for change in changes]}

    def audit(self) -> dict[str, int]:
        """How many entries of each kind the audit log holds."""
        with self._audit.open(encoding="utf-8") as log:
            return Counter(str(json.loads(line)["event"]) for line in log)

    def close(self) -> None:
        """Stop listening, close the state."""
        self._server.close()
        self._authority.close()


if __name__ == "__main__":
    role = AuthorityRole()
    control = Control()
    control.serve({"open": role.open, "signal": role.signal, "audit": role.audit, "close": role.close})
