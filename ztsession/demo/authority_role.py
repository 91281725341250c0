"""The Authority's process: decides on handshakes over a socket, and on the director's word takes signals.

The operator sits beside it. What the director asks about sessions it asks here, because the Authority knows
what it granted, and whoever it granted it to only says so.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import ztsession as zts
from ztsession.demo.control import Control
from ztsession.demo.enrolling import Enrolling
from ztsession.server import StreamServer

__all__ = ["AuthorityRole"]

#: What is told of a granted session.
_TOLD = (
    *("session", "subject", "device", "assurance", "credential", "factor", "posture", "renewed"),
    *("environment", "version"),
)


class AuthorityRole:
    """Commands: open, offer_totp, confirm_totp, challenge_tpm, enrol_tpm, signal, audit, refusals, granted,
    standing, close.
    """

    def open(self, state: str, policy: str) -> dict[str, object]:
        """Open the Authority and listen; what others need to know of it, and where the segments' key files
        are.
        """
        self._audit = Path(state) / "audit.jsonl"
        self._authority = zts.Authority.open(state, policy=policy)
        self._enrolling = Enrolling(Path(state), Path(policy), self._authority.keys)
        self._server = StreamServer(("127.0.0.1", 0), self._authority.connection)
        return {
            "address": self._server.address,
            "root": self._authority.root.hex(),
            "ticket_key": self._authority.ticket_key.hex(),
            "segment_keys": {
                name: str(self._authority.segment_key_file(name))
                for name in self._authority.decider.policies.current.catalog.segments
            },
        }

    # ---- The operator

    def offer_totp(self, subject: str) -> str:
        """What the subject's authenticator app is to scan."""
        return self._enrolling.offer_totp(subject)

    def confirm_totp(self, subject: str, code: str) -> None:
        """The first code that the app shows."""
        self._enrolling.confirm_totp(subject, code)

    def challenge_tpm(self, request: str, fingerprint: str) -> str:
        """A challenge for the TPM of a request; all in hexadecimal."""
        return self._enrolling.challenge_tpm(bytes.fromhex(request), bytes.fromhex(fingerprint)).hex()

    def enrol_tpm(self, device: str, answer: str) -> None:
        """Let the device's TPM in, whose answer this is."""
        self._enrolling.enrol_tpm(device, bytes.fromhex(answer))

    # ---- Detectors

    def signal(self, device: str) -> dict[str, object]:
        """A detector reports that the device's posture drifted: MEDIUM, which restricts its sessions."""
        given_ns = time.monotonic_ns()
        drift = zts.Signal(
            f"drift-{device}", "posture-drift", zts.Level.MEDIUM, "edr", time.time(), device=device
        )
        changes = self._authority.signal(drift)
        return {"given_ns": given_ns, "modes": [change.after.name for change in changes]}

    # ---- What it knows

    def audit(self) -> dict[str, int]:
        """How many entries of each kind the audit log holds."""
        return Counter(entry["event"] for entry in self._entries())

    def refusals(self) -> list[str]:
        """Why handshakes, and evidence in their channels, were refused: the exact causes, in order."""
        return [entry["cause"] for entry in self._entries() if entry["event"] == "handshake.refused"]

    def granted(self, subject: str) -> list[dict[str, object]]:
        """Every session that the subject was granted, in order, as the audit log has it."""
        found = [
            entry
            for entry in self._entries()
            if entry["event"] == "session.granted" and entry["subject"] == subject
        ]
        return [{name: entry[name] for name in _TOLD} for entry in found]

    def standing(self, subject: str) -> list[list[object]]:
        """The subject's live sessions: id, assurance, mode."""
        live = [record for record in self._authority.sessions() if record.subject == subject]
        return [[record.id.hex(), record.assurance, zts.Mode(record.mode).name] for record in live]

    def close(self) -> None:
        """Stop listening, close the state."""
        self._server.close()
        self._enrolling.close()
        self._authority.close()

    def _entries(self) -> list[dict[str, Any]]:
        with self._audit.open(encoding="utf-8") as log:
            return [json.loads(line) for line in log]


if __name__ == "__main__":
    role = AuthorityRole()
    Control().serve(
        {
            "open": role.open,
            "offer_totp": role.offer_totp,
            "confirm_totp": role.confirm_totp,
            "challenge_tpm": role.challenge_tpm,
            "enrol_tpm": role.enrol_tpm,
            "signal": role.signal,
            "audit": role.audit,
            "refusals": role.refusals,
            "granted": role.granted,
            "standing": role.standing,
            "close": role.close,
        }
    )
