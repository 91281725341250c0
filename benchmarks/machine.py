"""What the figures were taken on, and what else the machine was doing."""

from __future__ import annotations

import os
import platform
import ssl
import time
from typing import Any

import ztsession
from benchmarks.native import library

__all__ = ["describe", "one_line", "pin"]


def pin() -> int | None:
    """Keep this process and its children on one processor, if the system lets us; which one."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    # The last one: the first is where many systems handle their interrupts.
    chosen = max(os.sched_getaffinity(0))
    try:
        os.sched_setaffinity(0, {chosen})
    except OSError:
        return None
    return chosen


def describe(pinned: int | None) -> dict[str, Any]:
    """Processor, versions, back end, and the load at this moment."""
    from cryptography import __version__ as cryptography_version
    from cryptography.hazmat.backends.openssl import backend as openssl

    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "pinned_to": pinned,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "openssl": ssl.OPENSSL_VERSION,
        "cryptography": f"{cryptography_version} with {openssl.openssl_version_text()}",
        "ztsession": ztsession.__version__,
        "backend": library().floor_backend().decode("ascii"),
        "load_before": os.getloadavg()[0],
        "taken_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def one_line(machine: dict[str, Any]) -> str:
    """For the head of the table."""
    pinned = "not pinned" if machine["pinned_to"] is None else f"pinned to processor {machine['pinned_to']}"
    return (
        f"{machine['processor']} ({machine['processors']} processors, {pinned}), {machine['kernel']}, "
        f"{machine['python']}, {machine['openssl']}, "
        f"ztsession {machine['ztsession']} with {machine['backend']}"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as info:
            fields = dict(
                line.split(":", 1) for line in info.read().split("\n\n")[0].splitlines() if ":" in line
            )
    except OSError:
        return platform.machine()
    known = {name.strip(): value.strip() for name, value in fields.items()}
    family = f"family {known['cpu family']} model {known['model']}" if "cpu family" in known else ""
    return f"{known.get('model name', platform.machine())} {family}".strip()
