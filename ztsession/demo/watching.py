"""Detectors beside a service: what they find goes to the Authority, signed with a key of the service's own.

The service tells them what it alone knows of a refusal, which is off the path of every call that passes.
"""

from __future__ import annotations

import os
from pathlib import Path

from ztsession import EnforcementPoint, RemoteAuthority
from ztsession.enforcement.reporting import remote_report
from ztsession.enforcement.watch import Watch
from ztsession.errors import Denied
from ztsession.risk.detectors.settings import DetectorSettings
from ztsession.risk.detectors.standard import StandardDetectors
from ztsession.wire.signature import SeedSigner

__all__ = ["Watching"]


class Watching:
    """The standard detectors of one service, which reports as ``source``."""

    def __init__(self, source: str) -> None:
        """Make the key; nothing is watched yet."""
        self.source, self._signer = source, SeedSigner(os.urandom(32))

    def entry(self, segment: str) -> dict[str, str]:
        """Who reports, the key that verifies it (hexadecimal of 32 bytes), and about which segment."""
        public_key = self._signer.public_key.hex()
        return {"source": self.source, "public_key": public_key, "segment": segment}

    def begin(self, point: EnforcementPoint, authority: RemoteAuthority, settings: Path) -> None:
        """Look at ``point`` from time to time, and report to ``authority``; ``settings``: a directory with
        ``detectors.toml``.
        """
        chosen = DetectorSettings.from_directory(settings)
        self._detectors = StandardDetectors(chosen)
        report = remote_report(authority, point, self._signer)
        self._watch = Watch(point, self._detectors, report=report, settings=chosen, source=self.source)

    def refused(self, peer: str, token: bytes, denied: Denied) -> None:
        """A call with this token was refused; ``peer``: the address that it came from."""
        self._detectors.strangers.refused(peer, denied)
        self._detectors.denials.refused(token, denied)

    def close(self) -> None:
        """Watch no more."""
        self._watch.close()
