"""P11: what a full handshake costs the Authority, and how long its messages are.

The client runs in the same process, so only the two calls in which the Authority answers are timed, in
processor time of this thread. Waiting for the disk (store and audit are durable before a session is granted)
is no processor time and is told apart. Beside it stands what cannot be saved: the asymmetric operations of
such a handshake, called directly.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Collection

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from nacl.signing import SigningKey

from benchmarks.firm import Firm
from benchmarks.measure import Series
from benchmarks.plan import Plan
from benchmarks.result import Findings, Row
from ztsession.client import Transport

__all__ = ["measure"]

_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
GRANT_BYTES = 800


def measure(plan: Plan, wanted: Collection[str], say: Callable[[str], None]) -> Findings:
    """Handshakes for one segment and for two, and the bare operations, in turn."""
    first = Series("Authority's CPU, full handshake, policies evaluated", "ms")
    one = Series("Authority's CPU, full handshake, of a subject that comes back", "ms")
    two = Series("Authority's CPU, full handshake, two segments", "ms")
    waited = Series("Authority's wall time, one segment", "ms")
    least = Series("the asymmetric operations alone (cryptography, PyNaCl)", "ms")
    operations = _Operations()
    with Firm() as firm:
        timed = _Timed(firm.authority.connection())
        firm.connect(timed, "orders.*", "md.*")
        for number in range(plan.handshakes):
            say(f"handshake {number + 1} of {plan.handshakes}")
            _run(firm, timed, ("orders.*", "md.*"))
            two.values.append(timed.cpu_ms)
            firm.authority.decider.policies.current.forget_decisions()
            _run(firm, timed, ("orders.*",))
            first.values.append(timed.cpu_ms)
            _run(firm, timed, ("orders.*",))
            one.values.append(timed.cpu_ms)
            waited.values.append(timed.wall_ms)
            least.values.append(operations.once_ms())
    note = f"messages {timed.sizes} bytes; wall {statistics.median(waited.values):.2f} ms"
    rows = [Row("P11 first", first.name, first, least, note=note), Row("P11 again", one.name, one, least)]
    return Findings(rows, [first, one, two, waited, least])


def _run(firm: Firm, timed: _Timed, scopes: tuple[str, ...]) -> None:
    timed.clear()
    firm.connect(timed, *scopes)


class _Timed:
    """A transport that counts what the peer behind it spends on answers."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.clear()

    def clear(self) -> None:
        self.cpu_ms = self.wall_ms = 0.0
        self.sizes: list[int] = []

    def exchange(self, message: bytes) -> bytes:
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        answer = self._inner.exchange(message)
        self.cpu_ms += (time.thread_time_ns() - cpu) / 1e6
        self.wall_ms += (time.perf_counter_ns() - wall) / 1e6
        self.sizes += [len(message), len(answer)]
        return answer


class _Operations:
    """A key pair and three X25519 exchanges, one ML-KEM encapsulation, two signatures checked, one ticket
    sealed and signed.
    """

    def __init__(self) -> None:
        self._peer = X25519PrivateKey.generate().public_key().public_bytes_raw()
        self._kem = MLKEM768PrivateKey.generate().public_key()
        self._kem_bytes = self._kem.public_bytes_raw()
        self._signing = SigningKey.generate()
        self._message = os.urandom(200)
        self._signature = self._signing.sign(self._message).signature
        self._grant = os.urandom(GRANT_BYTES)
        self._segment = hpke.MLKEM768X25519PublicKey(self._kem, X25519PublicKey.from_public_bytes(self._peer))

    def once_ms(self) -> float:
        """Processor time of all of them, once."""
        start = time.thread_time_ns()
        private = X25519PrivateKey.generate()
        for _ in range(3):
            private.exchange(X25519PublicKey.from_public_bytes(self._peer))
        MLKEM768PublicKey.from_public_bytes(self._kem_bytes).encapsulate()
        for _ in range(2):
            self._signing.verify_key.verify(self._message, self._signature)
        self._signing.sign(_SUITE.encrypt(self._grant, self._segment, b""))
        return (time.thread_time_ns() - start) / 1e6
