"""Posture by a TPM's quote: a real TPM 2.0 in software, asked through tpm2-tools once for each handshake."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.firm import Enrolment, measured
from benchmarks.handshakes.kind import Kind, NotHere, connecting
from benchmarks.handshakes.operations import Operations
from ztsession.integrations.tpm2_tools import AK_HANDLE, Tpm2Tools, TpmPosture

__all__ = ["quote"]

_NOTE = "the quote is made by the tools: their processor time is nobody's here, and in no column but the wall"


def quote(running: ExitStack) -> Kind:
    """ECDSA by the attestation key in place of the statement's Ed25519; the TPM stops with ``running``."""
    if shutil.which("swtpm") is None or shutil.which("tpm2_quote") is None:
        raise NotHere("swtpm and tpm2-tools are not installed")
    tcti = running.enter_context(_software_tpm())
    Tpm2Tools(tcti).create_ak("host-tpm", AK_HANDLE)
    pem = Tpm2Tools(tcti).public(AK_HANDLE).pem
    enrolment = Enrolment(devices=f"[devices.\"host-tpm\"]\nak = '''\n{pem}'''\n")
    start = connecting(posture=TpmPosture("host-tpm", tcti=tcti, measure=measured))
    least = Operations(ed25519=1, p256=1)
    return Kind("Ed25519, TPM quote (P-256)", "P11 TPM", start, least, enrolment, _NOTE)


@contextmanager
def _software_tpm() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="ztsession-tpm-") as directory:
        socket = Path(directory) / "s"
        process = subprocess.Popen(
            (
                *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={directory}"),
                *("--server", f"type=unixio,path={socket}", "--ctrl", f"type=unixio,path={socket}.ctrl"),
                *("--flags", "not-need-init,startup-clear"),
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _await(process, socket)
            yield f"swtpm:path={socket}"
        finally:
            process.kill()
            process.wait()


def _await(process: subprocess.Popen[bytes], socket: Path) -> None:
    until = time.monotonic() + 10
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > until:
            raise NotHere("swtpm is installed and does not start")
        time.sleep(0.01)
