"""The Authority's process: decides on handshakes over a socket, and takes others' signals over HTTP.

The operator sits beside it. What the director asks about sessions it asks here, because the Authority knows
what it granted, and whoever it granted it to only says so.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import ztsession as zts
from ztsession.authority.attesting import SOURCE as APPRAISER
from ztsession.demo.believing import MANAGEMENT
from ztsession.demo.control import Control
from ztsession.demo.door import HttpDoor
from ztsession.demo.enrolling import Enrolling
from ztsession.integrations.asgi import AuthorityApp
from ztsession.integrations.ssf import signal_receiver
from ztsession.integrations.ssf_push import PATH, EventPush
from ztsession.risk.alert import Alert
from ztsession.risk.alert_sinks import CallbackSink
from ztsession.risk.alerts import Alerts
from ztsession.risk.standing import Standing
from ztsession.server import StreamServer

__all__ = ["AuthorityRole"]

#: What is told of a granted session.
_TOLD = (
    *("session", "subject", "device", "assurance", "credential", "factor", "posture", "renewed"),
    *("environment", "version"),
)


class AuthorityRole:
    """Commands: open, offer_totp, confirm_totp, challenge_tpm, enrol_tpm, revoke, resolve, audit, events,
    reported, alerts, modes, stands, refusals, granted, standing, close.
    """

    def __init__(self) -> None:
        #: What the operator was told at once.
        self._told: list[Alert] = []

    def open(self, state: str, policy: str) -> dict[str, object]:
        """Open the Authority and listen; what others need to know of it, and where the segments' key files
        are.
        """
        self._audit = Path(state) / "audit.jsonl"
        self._alerts = Alerts([CallbackSink(self._told.append)])
        self._authority = zts.Authority.open(state, policy=policy, alerts=self._alerts)
        self._enrolling = Enrolling(Path(state), Path(policy), self._authority.keys)
        self._server = StreamServer(("127.0.0.1", 0), self._authority.connection)
        self._receiver = signal_receiver(self._authority, policy)
        self._door = HttpDoor(AuthorityApp(self._authority, doors=[EventPush(self._receiver)]))
        return {
            "address": self._server.address,
            "events": f"{self._door.url}{PATH}{MANAGEMENT}",
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

    def revoke(self, session: str) -> None:
        """End a session (its id, in hexadecimal) for good."""
        self._authority.revoke(bytes.fromhex(session))

    def resolve(self, kind: str, subject: str) -> None:
        """What is said of this kind against a subject is settled."""
        self._authority.resolve(kind, ("subject", subject))

    # ---- What it knows

    def audit(self) -> dict[str, int]:
        """How many entries of each kind the audit log holds, but for what the services report: that comes
        when they have looked, and not when the director asks.
        """
        return Counter(entry["event"] for entry in self._entries() if not _was_found(entry))

    def events(self) -> dict[str, int]:
        """How many events were pushed, by what became of them."""
        return {outcome: n for (_, outcome), n in self._receiver.counts.items()}

    def reported(self) -> list[dict[str, Any]]:
        """What the services have found, and what came of putting it together, as the audit log has it."""
        return [entry for entry in self._entries() if _was_found(entry)]

    def alerts(self) -> list[dict[str, Any]]:
        """What the operator was told."""
        self._alerts.flush()
        return [alert.form() for alert in self._told]

    def modes(self) -> list[str]:
        """What mode sessions were put in, one after the other."""
        return [entry["mode"] for entry in self._entries() if entry["event"] == "session.mode"]

    def stands(self, device: str) -> list[str]:
        """Who has said something against a device that stands."""
        data = self._authority.risk.standing_bytes(("device", device))
        received = Standing().restore(data) if data else ()
        return sorted({each.signal.source for each in received})

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
        self._door.close()
        self._server.close()
        self._enrolling.close()
        self._authority.close()
        self._alerts.close()

    def _entries(self) -> list[dict[str, Any]]:
        with self._audit.open(encoding="utf-8") as log:
            return [json.loads(line) for line in log]


def _was_found(entry: dict[str, Any]) -> bool:
    return entry["event"] == "signal" and not entry["source"].startswith(("ssf:", APPRAISER))


if __name__ == "__main__":
    role = AuthorityRole()
    Control().serve(
        {
            "open": role.open,
            "offer_totp": role.offer_totp,
            "confirm_totp": role.confirm_totp,
            "challenge_tpm": role.challenge_tpm,
            "enrol_tpm": role.enrol_tpm,
            "revoke": role.revoke,
            "resolve": role.resolve,
            "audit": role.audit,
            "events": role.events,
            "reported": role.reported,
            "alerts": role.alerts,
            "modes": role.modes,
            "stands": role.stands,
            "refusals": role.refusals,
            "granted": role.granted,
            "standing": role.standing,
            "close": role.close,
        }
    )
