"""A real TPM 2.0 in software, in a directory of a test, and gone with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ztsession.integrations.tpm2_tools import Tpm2Tools

AK = "0x81010002"


class SoftwareTpm:
    """One swtpm behind a Unix socket. ``tcti`` is how tpm2-tools reach it."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.tcti = directory, f"swtpm:path={directory / 's'}"
        socket, control = directory / "s", directory / "s.ctrl"
        for left in (socket, control):
            left.unlink(missing_ok=True)  # of one that was killed here: it would be taken for this one's
        self._process = subprocess.Popen(
            (
                *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={directory}"),
                *("--server", f"type=unixio,path={socket}", "--ctrl", f"type=unixio,path={control}"),
                *("--flags", "not-need-init,startup-clear"),
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 10
        while not socket.exists():
            assert self._process.poll() is None, "swtpm did not start"
            assert time.monotonic() < until, "swtpm did not start"
            time.sleep(0.002)

    @property
    def tools(self) -> Tpm2Tools:
        return Tpm2Tools(self.tcti)

    def run(self, tool: str, *arguments: object) -> str:
        """Run a program of tpm2-tools in this TPM's directory; what it loads is flushed."""
        environment = {**os.environ, "TPM2TOOLS_TCTI": self.tcti}
        for command in ([f"tpm2_{tool}", *map(str, arguments)], ["tpm2_flushcontext", "-t"]):
            ran = subprocess.run(
                command, cwd=self.directory, env=environment, capture_output=True, text=True, timeout=30
            )
            assert ran.returncode == 0, ran.stderr
            if command[0] != "tpm2_flushcontext":
                said = ran.stdout
        return said

    def extend(self, pcr: int, digest: bytes) -> None:
        self.run("pcrextend", f"{pcr}:sha256={digest.hex()}")

    def pcr(self, index: int) -> bytes:
        """What the TPM itself says is in a register."""
        self.run("pcrread", f"sha256:{index}", "-o", self.directory / "pcr")
        return (self.directory / "pcr").read_bytes()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def software_tpm(directory: Path) -> Iterator[SoftwareTpm]:
    """Start a TPM with its state in ``directory``; skip the test where there is none to start."""
    if shutil.which("swtpm") is None or shutil.which("tpm2_quote") is None:
        pytest.skip("swtpm and tpm2-tools are not installed")
    tpm = SoftwareTpm(directory)
    try:
        yield tpm
    finally:
        tpm.close()
