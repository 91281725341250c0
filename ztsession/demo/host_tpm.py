"""A TPM for the demo's clearing host, in software: swtpm, in a directory of that host and gone with it.

It stands in for a chip, and only that: everything above it (enrolment, quotes, their verification) is what
runs with a chip. A real boot measures itself before anybody is asked; here the host extends its own
registers, so what the demo shows is what follows from a register's value, and not that firmware can be
trusted to fill it in.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from ztsession.errors import ConfigurationError
from ztsession.hazmat import sha256
from ztsession.integrations.tpm2_tools import Tpm2Tools

__all__ = ["BOOT_PCRS", "HostTpm", "what_is_missing"]

#: What is quoted: firmware, boot manager, Secure Boot policy (TCG PC Client Platform TPM Profile, 4.6).
BOOT_PCRS = (0, 4, 7)

# Short and relative: the path of a socket has 107 characters at most, and directories for tests are deep.
_SOCKET = "tpm"
_STARTS_WITHIN_S = 10.0
_PR_SET_PDEATHSIG = 1


def what_is_missing() -> str:
    """In a sentence what would have to be installed; "" where a software TPM can be started."""
    needed = {"swtpm": "swtpm", "tpm2_quote": "tpm2-tools", "tpm2_pcrextend": "tpm2-tools"}
    missing = sorted({package for program, package in needed.items() if shutil.which(program) is None})
    return f"install {' and '.join(missing)} to see it" if missing else ""


class HostTpm:
    """One swtpm with its state in the present directory. ``tcti`` is how tpm2-tools reach it."""

    tcti = f"swtpm:path={_SOCKET}"

    def __init__(self) -> None:
        """Start it; ConfigurationError when it does not come up. To be called from the main thread."""
        self._process = subprocess.Popen(
            (
                *("swtpm", "socket", "--tpm2", "--tpmstate", "dir=."),
                *("--server", f"type=unixio,path={_SOCKET}"),
                *("--ctrl", f"type=unixio,path={_SOCKET}.ctrl"),
                *("--flags", "not-need-init,startup-clear"),
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,
        )
        self._wait()

    @property
    def tools(self) -> Tpm2Tools:
        """The library's way to it."""
        return Tpm2Tools(self.tcti)

    def boot(self) -> None:
        """Measure what a boot would, one stage into each register."""
        for pcr in BOOT_PCRS:
            self.extend(pcr, f"approved stage {pcr}")

    def extend(self, pcr: int, what: str) -> None:
        """Measure one thing more into a register; there is no way back but another start."""
        ran = subprocess.run(
            ["tpm2_pcrextend", f"{pcr}:sha256={sha256(what.encode()).hex()}"],
            env={**os.environ, "TPM2TOOLS_TCTI": self.tcti},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=10,
            check=False,
        )
        if ran.returncode:
            raise ConfigurationError(f"PCR {pcr} of the software TPM could not be extended")

    def end(self) -> int:
        """Stop it; its exit status."""
        self._process.terminate()
        try:
            return self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _wait(self) -> None:
        until_s = time.monotonic() + _STARTS_WITHIN_S
        while not Path(_SOCKET).exists():
            if self._process.poll() is not None or time.monotonic() > until_s:
                self.end()
                raise ConfigurationError("swtpm did not start")
            time.sleep(0.002)


def _die_with_parent() -> None:
    # A parent that is killed with SIGKILL cleans nothing up, so the kernel is asked to (prctl(2), Linux).
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
