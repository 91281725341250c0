"""Sessions that are refused much more often than their peers: a robust z-score, and nothing to train."""

from statistics import median

from ztsession._scan import CHARGED
from ztsession.risk.detectors.protocol import Finding
from ztsession.risk.levels import Level

#: A mean and a standard deviation would be moved by the very sessions that are looked for. For what is
#: normally distributed 1.4826 times the median absolute deviation is the standard deviation.
TO_DEVIATION = 1.4826


class PeerRefusals:
    """Finds sessions whose share of refused calls is ``limit`` deviations over the median of all that made
    at least ``calls_min`` calls since the last pass; with fewer than ``peers_min`` there is no telling.
    """

    def __init__(self, *, limit=6.0, calls_min=20, peers_min=10, deviation_min=0.01):
        self.limit, self.calls_min, self.peers_min = limit, calls_min, peers_min
        # Among sessions that are never refused, one refusal would be infinitely much.
        self.deviation_min = deviation_min

    def look(self, scan):
        """One finding for each of them, LOW: a statistic is worth a look, and no more."""
        shares, verdicts, refused = {}, len(CHARGED), scan.refused
        for row, accepted in enumerate(scan.accepted):
            denied = sum(refused[row * verdicts : (row + 1) * verdicts])
            if accepted + denied >= self.calls_min:
                shares[row] = denied / (accepted + denied)
        if len(shares) < self.peers_min:
            return
        middle = median(shares.values())
        spread = TO_DEVIATION * median(abs(share - middle) for share in shares.values())
        for row, share in shares.items():
            score = (share - middle) / max(spread, self.deviation_min)
            record = scan.record(row)
            if score >= self.limit and record is not None:
                evidence = {"refused": f"{share:.0%}", "score": f"{score:.1f}"}
                yield Finding("behaviour", Level.LOW, session=record.session, evidence=evidence)
