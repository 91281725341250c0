"""Primitives of the core, for those who know what they are doing.

Nothing here checks freshness, replay or permission. The call path uses the same code behind its own checks.
"""

from __future__ import annotations

from ztsession._core import backends, hmac_sha256, sha256

__all__ = ["backends", "hmac_sha256", "sha256"]
