"""The operator's part: a directory for each process, with what that process is to know and no more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

__all__ = ["Stage"]


class Stage:
    """The files of one run, below a directory that goes away with it."""

    def __init__(self, base: Path) -> None:
        self.logs, self.state, self.policy = base / "logs", base / "authority", base / "policy"
        self._services = {"orders": base / "gateway", "market-data": base / "market-data"}
        for directory in (self.logs, self.policy, *self._services.values()):
            directory.mkdir(mode=0o700)
        for source in files("ztsession.demo").joinpath("policy").iterdir():
            (self.policy / source.name).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")

    def enrol(self, subject: str, device: str, measured: Mapping[str, str]) -> None:
        """Write the registries; what was measured now is what is approved from here on."""
        approved = [
            f"{key} = {json.dumps([measured[item]])}\n"
            for key, item in (("kernels", "kernel"), ("programs", "program"))
            # Where the host cannot be measured there is nothing to compare with, and the item stays unknown.
            if measured[item] != "unknown"
        ]
        (self.policy / "subjects.toml").write_text(subject, encoding="utf-8")
        (self.policy / "devices.toml").write_text(
            "".join([device, "\n[posture]\n", *approved]), encoding="utf-8"
        )

    def service(self, segment: str, authority: Mapping[str, Any]) -> dict[str, Any]:
        """Hand a service its segment's key file, the catalog, and where and who the Authority is."""
        home = self._services[segment]
        # copy() keeps the mode: a key file that others may read would be refused.
        key = shutil.copy(authority["segment_keys"][segment], home / "segment-key.toml")
        catalog = shutil.copy(self.policy / "catalog.toml", home)
        return {
            "authority": authority["address"],
            "catalog": str(catalog),
            "key": str(key),
            "ticket_key": authority["ticket_key"],
        }
