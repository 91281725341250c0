"""An Authority with the example policy, and clients that connect to it, in this process."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import ztsession
from benchmarks.native import ROOT
from ztsession.client import Transport

__all__ = ["Firm"]

EXAMPLE = ROOT / "tests" / "policy" / "example"


class Firm:
    """One subject with an Ed25519 key, one enrolled device, one Authority with its real store and audit
    log.
    """

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="ztsession-bench-")
        root = Path(self._directory.name)
        policy = root / "policy"
        shutil.copytree(EXAMPLE, policy)
        self.identity = ztsession.Ed25519Identity.generate("algo-7")
        # Measured once: in earnest that happens on another machine, and would only empty this one's caches.
        measured = ztsession.DevicePosture.generate("host-1").measure()
        device = ztsession.DevicePosture.generate("host-1")
        self.device = dataclasses.replace(device, measure=lambda: measured)
        subject = self.identity.registry_entry("algorithm", roles=("trading",), desk="rates")
        (policy / "subjects.toml").write_text(subject, encoding="utf-8")
        (policy / "devices.toml").write_text(self.device.registry_entry() + "\n[posture]\n", encoding="utf-8")
        self.authority = ztsession.Authority.open(root / "state", policy=policy)

    def connect(self, transport: Transport, *scopes: str) -> ztsession.Session:
        """One full handshake with identity and signed posture."""
        return ztsession.connect(
            transport, identity=self.identity, posture=self.device, root=self.authority.root, scopes=scopes
        )

    def __enter__(self) -> Self:
        """The firm itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the Authority and remove its state."""
        self.authority.close()
        self._directory.cleanup()
