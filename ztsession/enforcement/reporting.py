"""What a watch in another process than its Authority's reports with."""

from __future__ import annotations

from collections.abc import Callable

from ztsession.bus.report import ReportSink, SignalReport, check_answer
from ztsession.enforcement.point import EnforcementPoint
from ztsession.risk.signals import Signal
from ztsession.wire.signature import Signer

__all__ = ["remote_report"]


def remote_report(authority: ReportSink, point: EnforcementPoint, signer: Signer) -> Callable[[Signal], None]:
    """A ``report`` for :class:`~ztsession.enforcement.watch.Watch`, whose ``source`` is then the name that
    the operator has registered in ``detectors.toml`` with the public key of ``signer``.

    ``authority``: the RemoteAuthority that ``point`` has. The call returns when the signal is in force, and
    raises TransportError or StoreError when that is not certain.
    """

    def report(signal: Signal) -> None:
        made = SignalReport.make(signal, signer)
        check_answer(authority.report(made.to_bytes()), made, point.authority_keys)

    return report
