"""``ztsession policy``: a policy directory is checked, and tried, before it is put in force."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import click

from ztsession.cli.explain import explain
from ztsession.cli.graph import graph
from ztsession.cli.lint import lint
from ztsession.cli.simulate import simulate
from ztsession.errors import ConfigurationError
from ztsession.identity.subjects import AllSubjects, FileSubjects
from ztsession.identity.verifiers import IdentityVerifiers
from ztsession.mfa.settings import MfaSettings
from ztsession.policy.catalog import Catalog
from ztsession.policy.engine import CATALOG_FILE, PolicyEngine
from ztsession.posture.appraisal import PostureAppraiser
from ztsession.risk.detectors.settings import DetectorSettings
from ztsession.risk.rules import RiskRules
from ztsession.risk.ssf.outgoing_settings import TransmitterSettings
from ztsession.risk.ssf.settings import SsfSettings
from ztsession.risk.threats.lists import ThreatLists

__all__ = ["policy"]


@click.group()
def policy() -> None:
    """Work with policy directories."""


for command in (explain, graph, lint, simulate):
    policy.add_command(command)


@policy.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
def check(directory: Path) -> None:
    """Load everything in it as an Authority would; print what is wrong as FILE:LINE: WHAT."""
    said, wrong = [], 0
    for part in _PARTS:
        try:
            said.append(part(directory))
        except ConfigurationError as error:
            click.echo(str(error), err=True)
            wrong += 1
    click.echo("\n".join(said))
    if wrong:
        raise SystemExit(1)


def _catalog(directory: Path) -> str:
    catalog = Catalog.load(directory / CATALOG_FILE)
    operations = sum(len(segment.operations) for segment in catalog.segments.values())
    named = f"{len(catalog.segments)} segments, {operations} operations"
    return f"catalog: {named}, digest {catalog.digest.hex()}"


def _policies(directory: Path) -> str:
    # The policies are checked against the catalog; a broken catalog has been told already.
    try:
        Catalog.load(directory / CATALOG_FILE)
    except ConfigurationError:
        return "policies: not checked, since the catalog does not load"
    return f"policies: digest {PolicyEngine(directory).current.digest.hex()}"


def _subjects(directory: Path) -> str:
    return f"subjects: {len(FileSubjects(directory / 'subjects.toml').names)}"


def _devices(directory: Path) -> str:
    return f"devices: {len(PostureAppraiser(directory / 'devices.toml').devices)}"


def _identities(directory: Path) -> str:
    kinds = IdentityVerifiers.from_directory(directory, AllSubjects()).kinds
    return f"identities: {', '.join(kind.removeprefix('identity.') for kind in kinds)}"


def _factors(directory: Path) -> str:
    settings = MfaSettings.from_directory(directory)
    return f"second factors: totp, recovery{', webauthn' if settings.rp_id else ''}"


def _risk(directory: Path) -> str:
    return f"risk: {len(RiskRules.from_directory(directory).kinds)} kinds of signals"


def _threats(directory: Path) -> str:
    lists = ThreatLists.read(directory, now=time.time()).lists
    entries = sum(len(each.entries) for each in lists.values())
    return f"threats: {len(lists)} lists, {entries} entries"


def _detectors(directory: Path) -> str:
    return f"detectors: {len(DetectorSettings.from_directory(directory).sources)} sources of reports"


def _events(directory: Path) -> str:
    known = SsfSettings.from_directory(directory).transmitters
    told = TransmitterSettings.from_directory(directory)
    receivers = 0 if told is None else len(told.receivers)
    return f"events of others: {len(known)} transmitters, {receivers} receivers"


_PARTS: Final = (
    *(_catalog, _policies, _subjects, _devices, _identities, _factors),
    *(_risk, _threats, _detectors, _events),
)
