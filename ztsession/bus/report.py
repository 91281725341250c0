"""How an enforcement point in another process tells its Authority what it has found.

A report goes the way of the point's questions, over any transport. It is signed with a key that the operator
has registered for its source, so whoever carries it can lose or repeat it, and a repetition is a duplicate.
The answer is signed, too: were it not, whoever sits in between could keep each report and say "taken".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Protocol

from ztsession.errors import EvidenceError, TransportError, WireError
from ztsession.risk.signals import SIGNAL_MAX_BYTES, Signal
from ztsession.wire.digest import DIGEST_BYTES, digest
from ztsession.wire.schema import Message, Octets
from ztsession.wire.signature import SIGNATURE_BYTES, Signed, Signer, verify

__all__ = ["ReportAnswer", "ReportSink", "SignalReport", "check_answer"]

_LABEL = "signal report"
_ANSWER_LABEL = "report answer"


@dataclass(frozen=True)
class SignalReport(Message, kind="signal-report", max_bytes=4352):
    """Point to Authority: this signal, by its own source."""

    signal: Annotated[bytes, Octets(SIGNAL_MAX_BYTES, min_bytes=1)]
    signature: Annotated[bytes, Octets.exactly(SIGNATURE_BYTES)]

    @classmethod
    def make(cls, signal: Signal, signer: Signer) -> SignalReport:
        """The report of a signal; StoreError when the key is out of reach."""
        data = signal.to_bytes()
        return cls(data, signer.sign(digest(_LABEL, data)))

    @property
    def name(self) -> bytes:
        """What the answer names it by, 32 bytes."""
        return digest(_LABEL, self.signal)

    def check(self, key: bytes) -> None:
        """EvidenceError unless ``key`` (Ed25519, 32 bytes) signed it."""
        verify(key, digest(_LABEL, self.signal), self.signature)


@dataclass(frozen=True)
class ReportAnswer(Message, kind="report-answer", max_bytes=128):
    """Authority to point: the report of this name is in force."""

    report: Annotated[bytes, Octets.exactly(DIGEST_BYTES)]

    def sign(self, authority: Signer) -> bytes:
        """The form that the Authority signed."""
        return Signed.make(authority, _ANSWER_LABEL, self.to_bytes()).to_bytes()


class ReportSink(Protocol):
    """Where a report goes: a connection to the Authority."""

    def report(self, report: bytes) -> bytes:
        """Answer an encoded SignalReport; TransportError when nobody answers."""


def check_answer(data: bytes, report: SignalReport, authority_keys: tuple[bytes, ...]) -> None:
    """TransportError unless the Authority says that this very report is in force.

    A refusal is nobody's signature, and could be forged by whoever carries it; so it is no answer either.
    """
    try:
        answer = ReportAnswer.from_bytes(Signed.from_bytes(data).check_any(authority_keys, _ANSWER_LABEL))
    except (EvidenceError, WireError) as error:
        raise TransportError(f"the Authority did not take a report: {error}") from None
    if answer.report != report.name:
        raise TransportError("the Authority's answer is to another report")
