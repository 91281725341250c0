"""The operator's part: a directory for each process, with what that process is to know and no more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from ztsession.demo.believing import believe
from ztsession.demo.certification import Certification

__all__ = ["Stage"]


class Stage:
    """The files of one run, below a directory that goes away with it."""

    def __init__(self, base: Path) -> None:
        self.logs, self.state, self.policy = base / "logs", base / "authority", base / "policy"
        self.clearing = base / "clearing"
        self._services = {
            "orders": base / "gateway",
            "market-data": base / "market-data",
            "lab": base / "lab",
            "release": base / "release-gate",
        }
        self.release_log = self._services["release"] / "audit.jsonl"
        #: Where packages lie, a directory for each environment.
        self.environments = base / "environments"
        homes = (self.logs, self.policy, self.clearing, *self._services.values(), self.environments)
        for directory in (*homes, self.environments / "test", self.environments / "prod"):
            directory.mkdir(mode=0o700)
        for source in files("ztsession.demo").joinpath("policy").iterdir():
            (self.policy / source.name).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")

    def enrol(
        self,
        parties: Iterable[Mapping[str, Any]],
        *,
        sources: Iterable[Mapping[str, str]],
        management: Mapping[str, Any],
    ) -> None:
        """Write the registries; what was measured now is what is approved from here on.

        A party has "measured", and may have "subject" and "device" (TOML) and "pcrs" (digests by register).
        ``sources`` report what they find, each with "source", "public_key" (hexadecimal) and "segment";
        ``management``: the device management, see :func:`~ztsession.demo.believing.believe`.
        """
        known = list(parties)
        measured = [party["measured"] for party in known]
        boot = [f"{pcr} = {json.dumps([value])}\n" for party in known for pcr, value in _pcrs(party)]
        posture = ["\n[posture]\n", *_approved(measured), *(["\n[posture.pcrs]\n"] if boot else []), *boot]
        subjects, devices = (
            [party[what] for party in known if what in party] for what in ("subject", "device")
        )
        (self.policy / "subjects.toml").write_text("\n".join(subjects), encoding="utf-8")
        (self.policy / "devices.toml").write_text("\n".join(devices) + "".join(posture), encoding="utf-8")
        believe(self.policy, management)
        with (self.policy / "detectors.toml").open("a", encoding="utf-8") as detectors:
            detectors.writelines(map(_source, sources))

    def certify(self, request: str, spiffe_id: str) -> list[str]:
        """Have a service's key certified, and let the Authority know whom to believe; the chain, DER in
        hexadecimal.
        """
        authority = Certification()
        domain = spiffe_id.removeprefix("spiffe://").partition("/")[0]
        (self.policy / "roots.pem").write_bytes(authority.root_pem)
        (self.policy / "identity.toml").write_text(
            f'[x509]\nroots = ["roots.pem"]\ntrust_domains = [{json.dumps(domain)}]\n', encoding="utf-8"
        )
        return authority.issue(request, spiffe_id)

    def watched_service(self, segment: str, authority: Mapping[str, Any]) -> dict[str, Any]:
        """The same as :meth:`service`, and what counts as too much."""
        home = self._services[segment]
        shutil.copy(self.policy / "detectors.toml", home)
        return {**self.service(segment, authority), "detectors": str(home)}

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


def _source(source: Mapping[str, str]) -> str:
    """What a service may say: all that it can find by itself, about its own segment, and never the worst."""
    kinds = json.dumps(["behaviour", "order-rate", "posture-silence", "replay", "threat"])
    return (
        f"\n[sources.{source['source']}]\npublic_key = {json.dumps(source['public_key'])}\n"
        f'kinds = {kinds}\nhighest = "MEDIUM"\nsegments = {json.dumps([source["segment"]])}\n'
    )


def _pcrs(party: Mapping[str, Any]) -> list[tuple[str, str]]:
    return list(party.get("pcrs", {}).items())


def _approved(measured: list[Mapping[str, str]]) -> list[str]:
    found = {
        key: sorted({each[item] for each in measured if each[item] != "unknown"})
        for key, item in (("kernels", "kernel"), ("programs", "program"))
    }
    # Where the host cannot be measured there is nothing to compare with, and the item stays unknown.
    return [f"{key} = {json.dumps(values)}\n" for key, values in found.items() if values]
