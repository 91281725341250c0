"""P11 and the table of handshakes: what each way to a session costs the Authority, the client and the wire.

The client runs in the same process, so only the calls in which the Authority answers are timed for the rows,
in processor time of this thread. Beside each stands what cannot be saved: the asymmetric operations of such a
handshake, called directly.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack

from benchmarks.firm import Firm
from benchmarks.handshakes import eat, factors, oidc, plain, tpm, x509
from benchmarks.handshakes.costs import Costs
from benchmarks.handshakes.kind import Conversation, Kind, NotHere
from benchmarks.handshakes.listing import listing
from benchmarks.handshakes.operations import Bench
from benchmarks.measure import Series
from benchmarks.plan import Plan
from benchmarks.result import Findings, Row

__all__ = ["measure"]


def measure(plan: Plan, wanted: Collection[str], say: Callable[[str], None]) -> Findings:
    """One conversation of each way and the bare operations, in turn, over and over."""
    with ExitStack() as running:
        kinds, notes = _kinds(running, "handshakes" in wanted)
        field = _Field(running, kinds)
        for number in range(plan.handshakes + 1):
            say(f"handshake {number} of {plan.handshakes}, each of {len(kinds)}" if number else "warming up")
            field.round(counted=number > 0)
        listed = listing([field.costs[kind.name] for kind in kinds], field.state)
    found = Findings(
        [_row(kind, field) for kind in kinds if kind.row.split(" ")[0] in wanted],
        [series for costs in field.costs.values() for series in costs.times] + [*field.least.values()],
        notes=notes,
    )
    found.listings.append(listed)
    return found


def _kinds(running: ExitStack, with_others: bool) -> tuple[list[Kind], list[str]]:
    """The ways that this machine can go, and a sentence for each that it cannot."""
    # The order matters: the subject that comes back asks right after one of the same name was decided.
    makers: list[tuple[str, Callable[[], Kind]]] = [
        ("policies evaluated", plain.first),
        ("a subject that comes back", plain.again),
        ("two segments", plain.two_segments),
        ("X.509", x509.certificates),
        ("EAT", eat.attestation_token),
        ("TPM", lambda: tpm.quote(running)),
        ("TOTP", factors.one_time_code),
        ("renewal", plain.renewal),
    ]
    if with_others:
        makers += [("OIDC", oidc.access_token), ("WebAuthn", factors.webauthn)]
    kinds, notes = list[Kind](), list[str]()
    for name, make in makers:
        try:
            kinds.append(make())
        except NotHere as reason:
            notes.append(f"handshakes, {name}: not measured, {reason}.")
    return kinds, notes


class _Field:
    """The Authorities, and what was measured of each way.

    The way whose policies are evaluated each time has an Authority of its own: to forget what was decided
    would make all others evaluate anew as well.
    """

    def __init__(self, running: ExitStack, kinds: Sequence[Kind]) -> None:
        firm = running.enter_context(Firm([kind.enrolment for kind in kinds]))
        forgetful = running.enter_context(Firm())
        self.state = firm.house.state
        self.costs = {kind.name: Costs(kind.name, kind.note) for kind in kinds}
        self.least = {kind.least: Series(kind.least.name, "ms") for kind in kinds}
        self._bench = Bench()
        self._prepared: list[tuple[Kind, Firm, Callable[[], Conversation]]] = []
        for kind in kinds:
            at = forgetful if kind.row == "P11 first" else firm
            self._prepared.append((kind, at, kind.start(at)))

    def round(self, *, counted: bool) -> None:
        """Everything once; what is not counted warms up."""
        due = set(self.least)
        for kind, firm, prepare in self._prepared:
            costs = self.costs[kind.name] if counted else Costs(kind.name)
            costs.add(prepare(), firm.authority.connection())
            # Right after such a handshake: bare operations in a row would find the caches full of themselves.
            if kind.least in due:
                due.remove(kind.least)
                value = self._bench.once_ms(kind.least)
                if counted:
                    self.least[kind.least].values.append(value)


def _row(kind: Kind, field: _Field) -> Row:
    costs, beside = field.costs[kind.name], field.least[kind.least]
    note = f"wall {costs.wall.median:.2f} ms, of it the Authority's {costs.authority_wall.median:.2f} ms"
    return Row(kind.row, costs.authority.name, costs.authority, beside, note=note)
