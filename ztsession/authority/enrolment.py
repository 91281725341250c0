"""Enrolling and removing while the Authority runs: subjects, devices, second factors.

Letting somebody in changes nothing for the sessions that live. Taking somebody out ends his: whoever removes
a subject or a device means now, not when the last session has run out.
"""

from __future__ import annotations

from collections.abc import Callable

from ztsession.audit.sink import AuditSink
from ztsession.authority.announcing import Announcer
from ztsession.authority.decision import Decider
from ztsession.errors import ConfigurationError
from ztsession.identity.enrolments import Enrolments
from ztsession.identity.subjects import StoredSubjects, Subject
from ztsession.mfa.factors import Factors
from ztsession.posture.devices import Device, StoredDevices

__all__ = ["Enrolment"]


class Enrolment:
    """What an operator, or a program of his, calls. Thread-safe; every change is audited.

    What the operator's files say is not changed here: where both name a subject or a device, the file is
    right.
    """

    def __init__(
        self,
        enrolments: Enrolments,
        audit: AuditSink,
        announcer: Announcer,
        *,
        decider: Callable[[], Decider],
        end_unenrolled: Callable[[], int],
    ) -> None:
        self._subjects, self._devices = StoredSubjects(enrolments), StoredDevices(enrolments)
        self._audit, self._decider, self._end_unenrolled = audit, decider, end_unenrolled
        self._announcer, self._transaction = announcer, enrolments.transaction

    def subject(self, subject: Subject) -> None:
        """Enrol a subject, or replace its enrolment; ConfigurationError for a credential of somebody else.

        Sessions that live by a credential which the subject had, and has no longer, end.
        """
        self._audit.record(
            "subject.enrolled",
            subject=subject.name,
            kind=subject.kind,
            roles=list(subject.roles),
            credentials=list(subject.credentials),
            mfa=subject.mfa,
        )
        with self._transaction():
            before = self._subjects.named(subject.name)
            self._subjects.enrol(subject)
            held = () if before is None else before.credentials
            self._announcer.credentials_changed(subject.name, held, subject.credentials)
        self._end_unenrolled()

    def remove_subject(self, name: str) -> int:
        """Take a subject out, with its second factors; returns how many of its sessions ended with that.

        A subject that the file names too keeps its factors. ConfigurationError when it is not enrolled here,
        but perhaps in the file.
        """
        self._audit.record("subject.removed", subject=name)
        with self._transaction():
            before = self._subjects.named(name)
            if not self._subjects.remove(name):
                raise ConfigurationError(f"no subject {name!r} was enrolled here: is it in subjects.toml?")
            held = () if before is None else before.credentials
            self._announcer.credentials_changed(name, held, ())
        if not self._decider().enrolled(name):
            for factor in ("totp", "webauthn", "recovery"):
                self.factors.remove(name, factor)
        return self._end_unenrolled()

    def device(self, device: Device) -> None:
        """Enrol a device, or replace its enrolment; ConfigurationError for a key or UEID of another.

        Sessions on it that were opened by a key which it had, and has no longer, end.
        """
        self._audit.record("device.enrolled", device=device.name)
        self._devices.enrol(device)
        self._end_unenrolled()

    def remove_device(self, name: str) -> int:
        """Take a device out; returns how many sessions on it ended with that."""
        self._audit.record("device.removed", device=name)
        if not self._devices.remove(name):
            raise ConfigurationError(f"no device {name!r} was enrolled here: is it in devices.toml?")
        return self._end_unenrolled()

    @property
    def factors(self) -> Factors:
        """Second factors, to be enrolled and taken away."""
        factors = self._decider().second_factors
        if factors is None:
            raise ConfigurationError("this Authority takes no second factors")
        return factors
