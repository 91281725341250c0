"""Zero-trust continuous verification inside trading systems, at perimeter latency.

A handshake binds identity, device posture and policy into a session; every call then carries a 48-byte token
that is verified in well under a microsecond; risk signals change the answer to the very next call.

    authority = zts.Authority.open("state/", policy="policy/")
    point = zts.EnforcementPoint("orders", authority=authority)

    @point.protect("orders.submit")
    def submit(session, body): ...

Names load what they need when they are first used: importing this package stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

try:
    from ztsession._core import MODES, VERDICTS
except ModuleNotFoundError as missing:
    if not (missing.name or "").startswith("ztsession._"):
        raise
    raise ImportError(
        "ztsession's compiled core is missing: install a wheel, or run `python setup.py build_ext --inplace`"
    ) from missing

from ztsession import errors
from ztsession._calls import Protected, SessionView, Signer, Verifier
from ztsession.errors import Denied, ZtsError

if TYPE_CHECKING:
    from ztsession.authority import Authority
    from ztsession.client import InstalledSession, Session, SessionKeeper, connect, connect_async
    from ztsession.enforcement import EnforcementPoint, RemoteAuthority
    from ztsession.identity import Ed25519Identity
    from ztsession.posture import DevicePosture
    from ztsession.risk.levels import Level, Mode
    from ztsession.risk.signals import Signal

__version__ = "0.1.0"

__all__ = [
    "MODES",
    "VERDICTS",
    "Authority",
    "Denied",
    "DevicePosture",
    "Ed25519Identity",
    "EnforcementPoint",
    "InstalledSession",
    "Level",
    "Mode",
    "Protected",
    "RemoteAuthority",
    "Session",
    "SessionKeeper",
    "SessionView",
    "Signal",
    "Signer",
    "Verifier",
    "ZtsError",
    "connect",
    "connect_async",
    "errors",
]

_HOMES = {"Authority": "authority", "Level": "risk.levels", "Mode": "risk.levels", "Signal": "risk.signals"}
_HOMES |= {"EnforcementPoint": "enforcement", "RemoteAuthority": "enforcement", "connect": "client"}
_HOMES |= dict.fromkeys(("InstalledSession", "Session", "SessionKeeper", "connect_async"), "client")
_HOMES |= {"Ed25519Identity": "identity", "DevicePosture": "posture"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ztsession' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"ztsession.{_HOMES[name]}"), name)
    return value
