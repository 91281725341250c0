"""The operator's directory, read as a whole: who may prove what, on which devices, and what follows from it.

All of it is read again at once or not at all, so that no decision is ever made by half of a change.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ztsession.authority.decision import Decider
from ztsession.identity.enrolments import Enrolments
from ztsession.identity.subjects import AllSubjects, FileSubjects, StoredSubjects
from ztsession.identity.verifiers import IdentityVerifiers
from ztsession.mfa.factors import Factors
from ztsession.mfa.settings import MfaSettings
from ztsession.policy.engine import PolicyEngine
from ztsession.posture.appraisal import PostureAppraiser
from ztsession.risk.detectors.settings import DetectorSettings
from ztsession.risk.rules import RiskRules

__all__ = ["read_rules"]


def read_rules(
    directory: Path,
    enrolments: Enrolments | None = None,
    sealing_key: bytes = b"",
    *,
    posture_required: bool = True,
    clock: Callable[[], float] = time.time,
) -> Decider:
    """Read ``subjects.toml``, ``devices.toml``, ``catalog.toml``, ``*.cedar``, and what there is of
    ``identity.toml``, ``mfa.toml``, ``risk.toml`` and ``detectors.toml``; ConfigurationError names file, line
    and what was expected.

    ``enrolments``: those made at run time; None to see whether the files are right. ``sealing_key``: 32 bytes
    for the secrets of second factors.
    """
    stored = [] if enrolments is None else [StoredSubjects(enrolments)]
    subjects = AllSubjects(FileSubjects(directory / "subjects.toml"), *stored)
    settings = MfaSettings.from_directory(directory)
    factors = None if enrolments is None else Factors(enrolments, sealing_key, settings, clock=clock)
    return Decider(
        IdentityVerifiers.from_directory(directory, subjects, clock=clock),
        PostureAppraiser(directory / "devices.toml", enrolments=enrolments),
        PolicyEngine(directory),
        subjects=subjects,
        factors=factors,
        posture_required=posture_required,
        risk_rules=RiskRules.from_directory(directory),
        detectors=DetectorSettings.from_directory(directory),
        clock=clock,
    )
