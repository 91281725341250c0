"""The release gate: the only way from one environment into the next, for one package at a time.

That the caller may promote at all was decided before any of this is reached, by token. What is left to the
gate is which package: the one that lies in the environment below, byte for byte, and that the lab has signed
for. Both are looked at here and not by whoever asks, because a package can change after its test, and a test
can have been another package's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ztsession import SessionView
from ztsession.audit.sink import AuditSink
from ztsession.demo.packages import read_package
from ztsession.demo.promotion import LAB_RUN_LABEL, Answer, LabRun, Promotion
from ztsession.errors import EvidenceError, ZtsError
from ztsession.hazmat import sha256
from ztsession.policy.catalog import Operation, Segment
from ztsession.wire import durable
from ztsession.wire.signature import Signed

__all__ = ["ReleaseGate"]

_CAUSE_MAX: Final = 512


class ReleaseGate:
    """Handles promotions that are verified already; each is in the gate's own audit log, done or refused."""

    def __init__(
        self, segment: Segment, operation: Operation, environments: Path, *, lab: bytes, audit: AuditSink
    ) -> None:
        """``environments``: a directory that has one for each environment; ``lab``: the public key that signs
        test runs, 32 bytes of Ed25519.
        """
        # From where to where is the catalog's to say, as for the policies.
        self._way = (operation.promotes_from, segment.environment)
        self._source, self._target = (environments / name for name in self._way)
        self._lab, self._audit = lab, audit

    def promote(self, session: SessionView, body: bytes) -> Answer:
        """Let one package through, or refuse; the caller learns which, and the log why."""
        who = {"session": session.session, "subject": session.subject, "device": session.device}
        try:
            asked = Promotion.from_bytes(body)
            package = self._tested(asked)
        except ZtsError as error:
            self._audit.record("release.refused", **who, cause=str(error)[:_CAUSE_MAX])
            return Answer(session.sequence, "refused", b"")
        # First into the log: what cannot be written down does not happen.
        self._audit.record(
            "release.promoted",
            **who,
            artifact=asked.artifact,
            sha256=asked.sha256,
            source=asked.source,
            target=asked.target,
        )
        durable.replace(self._target / asked.artifact, package)
        return Answer(session.sequence, "done", b"")

    def _tested(self, asked: Promotion) -> bytes:
        if (asked.source, asked.target) != self._way:
            raise EvidenceError(f"expected a promotion from {self._way[0]} to {self._way[1]}")
        run = LabRun.from_bytes(Signed.from_bytes(asked.evidence).check(self._lab, LAB_RUN_LABEL))
        if (run.artifact, run.sha256, run.environment) != (asked.artifact, asked.sha256, asked.source):
            raise EvidenceError("the test run was another package's")
        if run.faults or not run.states:
            raise EvidenceError(f"the test run found {run.faults} faults in {run.states} states")
        package = read_package(self._source / asked.artifact)
        if sha256(package) != asked.sha256:
            raise EvidenceError(f"what lies in {self._way[0]} is not the package that was tested")
        return package
