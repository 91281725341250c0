"""The operator's word on the device management: whose events are believed, how far, and whom it means.

It can have a host asked for evidence. To stop one for good, or to speak of people, is not for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

__all__ = ["MANAGEMENT", "believe"]

#: What the device management is called here.
MANAGEMENT: Final = "mdm"

_KEYS: Final = f"{MANAGEMENT}.json"


def believe(policy: Path, told: Mapping[str, Any]) -> None:
    """Write ``ssf.toml``, and the keys beside it, into the policy directory; ``told``: what the device
    management shows, "issuer", "audience", "keys" (of a JWKS) and "assets" (its numbers by our names).
    """
    issuer, audience = json.dumps(told["issuer"]), json.dumps(told["audience"])
    assets = [f"{json.dumps(asset)} = {json.dumps(name)}" for name, asset in told["assets"].items()]
    lines = [
        f"[transmitters.{MANAGEMENT}]",
        f"issuer = {issuer}",
        f"audience = {audience}",
        f'jwks = "{_KEYS}"',
        'algorithms = ["ES256"]',
        'events = ["device-compliance-change"]',
        'highest = "MEDIUM"',
        f"[transmitters.{MANAGEMENT}.device]",
        'opaque = "listed"',
        f"[transmitters.{MANAGEMENT}.listed]",
        *assets,
    ]
    (policy / "ssf.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (policy / _KEYS).write_text(json.dumps({"keys": told["keys"]}), encoding="utf-8")
