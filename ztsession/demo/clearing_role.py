"""The clearing service's process: a name out of a certificate, on a host whose TPM vouches for the boot.

Its key is made here and never leaves; what the firm's CA signs is a request. Its device's key is in the TPM
and could not leave if one wanted. What the kernel says of itself is believed as little as anybody else's
word: that the host was booted with something else is seen in registers that the kernel cannot set back.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

import ztsession as zts
from ztsession.demo.control import Control
from ztsession.demo.host_tpm import BOOT_PCRS, HostTpm
from ztsession.demo.lines import OrderLine
from ztsession.demo.messages import LookOrder, SettleOrder
from ztsession.demo.service import address_of
from ztsession.identity.x509 import X509Identity
from ztsession.integrations.stream import SocketTransport
from ztsession.integrations.tpm2_tools import AK_HANDLE, TpmPosture
from ztsession.posture.collector import collect
from ztsession.posture.tpm_enrolment import ek_fingerprint

__all__ = ["DEVICE", "SPIFFE_ID", "SUBJECT", "ClearingRole"]

SUBJECT, DEVICE, SPIFFE_ID = "clearing", "clearing-host-1", "spiffe://demo.firm/clearing"
_INSTRUMENT, _ACCOUNT = b"DEMO", b"market-making-1"
_SCOPES = ("orders.look", "orders.settle", "orders.refusal")


class ClearingRole:
    """Commands: prepare, activate, connect, work, reboot_tampered, probe_old, close."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._tpm: HostTpm | None = None

    def prepare(self, home: str) -> dict[str, object]:
        """Boot the host, whose directory ``home`` is, and make its attestation key; what an operator and a
        CA need to know.
        """
        os.chdir(home)
        tempfile.tempdir = home
        self._tpm = HostTpm()
        self._tpm.boot()
        asked = self._tpm.tools.create_ak(DEVICE, AK_HANDLE)
        # The scheme of a P-256 key; the values that are read are thereby the TPM's own word.
        _, _, values = self._tpm.tools.quote(AK_HANDLE, "ecdsa", BOOT_PCRS, bytes(32))
        return {
            "measured": collect(),
            "request": self._request(),
            "tpm_request": asked.to_bytes().hex(),
            "ek_fingerprint": ek_fingerprint(asked.ek_public).hex(),
            "pcrs": {pcr: value.hex() for pcr, value in zip(BOOT_PCRS, values, strict=True)},
        }

    def activate(self, credential: str) -> str:
        """Let the TPM read a challenge; the answer, in hexadecimal as the challenge."""
        return self._host.tools.activate(AK_HANDLE, bytes.fromhex(credential)).hex()

    def connect(
        self, chain: Sequence[str], authority: list[Any], gateway: list[Any], root: str
    ) -> dict[str, object]:
        """A session by certificate (DER in hexadecimal, leaf first) and quote, installed at the gateway."""
        self._authority, self._line = address_of(authority), OrderLine(address_of(gateway))
        identity = X509Identity([bytes.fromhex(each) for each in chain], self._key)
        posture = TpmPosture(DEVICE, ak=AK_HANDLE, pcrs=BOOT_PCRS, tcti=self._host.tcti)
        began_ns = time.perf_counter_ns()
        with SocketTransport.connect(self._authority) as line:
            self._session = zts.connect(
                line, identity=identity, posture=posture, root=bytes.fromhex(root), scopes=_SCOPES
            )
        took_ns = time.perf_counter_ns() - began_ns
        self._line.install(self._session)
        return {"took_ns": took_ns}

    def work(self, orders: Sequence[int]) -> None:
        """Look at each of these orders, then settle it."""
        for order_id in orders:
            self._line.send([LookOrder(order_id, _INSTRUMENT, _ACCOUNT)])
            self._line.send([SettleOrder(order_id, _INSTRUMENT, _ACCOUNT)])

    def reboot_tampered(self) -> dict[str, object]:
        """The boot manager is another one; prove everything again and install what that gives."""
        self._host.extend(4, "a boot manager that nobody approved")
        self._old = self._line.installed
        began_ns = time.perf_counter_ns()
        with SocketTransport.connect(self._authority) as line:
            self._session = self._session.reauthenticate(line)
        took_ns = time.perf_counter_ns() - began_ns
        self._line.install(self._session)
        return {"took_ns": took_ns}

    def probe_old(self, seconds: float) -> None:
        """Go on settling with the session of before the reboot, until it is refused."""
        deadline_s = time.monotonic() + seconds
        nothing = SettleOrder(0, _INSTRUMENT, _ACCOUNT)
        while time.monotonic() < deadline_s:
            if self._line.send([nothing], session=self._old) != ["no-such-order"]:
                return

    def close(self) -> int:
        """Switch the TPM off; its exit status."""
        tpm, self._tpm = self._tpm, None
        return 0 if tpm is None else tpm.end()

    @property
    def _host(self) -> HostTpm:
        assert self._tpm is not None  # noqa: S101 - the director prepares first
        return self._tpm

    def _request(self) -> str:
        # No name in it: what the service is called is not for the service to say.
        request = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(self._key, SHA256())
        return request.public_bytes(Encoding.PEM).decode("ascii")


def _terminate() -> None:
    raise SystemExit(143)


if __name__ == "__main__":
    role = ClearingRole()
    # Told to terminate, it still switches its TPM off.
    signal.signal(signal.SIGTERM, lambda *_: _terminate())
    try:
        Control().serve(
            {
                "prepare": role.prepare,
                "activate": role.activate,
                "connect": role.connect,
                "work": role.work,
                "reboot_tampered": role.reboot_tampered,
                "probe_old": role.probe_old,
                "close": role.close,
            }
        )
    finally:
        role.close()
