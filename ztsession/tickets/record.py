"""What either end knows of one installation besides what its table holds."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Installation"]


@dataclass(frozen=True, slots=True)
class Installation:
    """Who is behind a handle. ``session`` is the Authority's 16-byte id; ``profile`` the 32-byte digest of
    the decision.
    """

    session: bytes
    subject: str
    device: str
    assurance: int
    profile: bytes
