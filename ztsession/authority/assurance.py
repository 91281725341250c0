"""How sure an Authority is of whom it deals with: one level, computed from what was shown.

For people the levels are those of NIST SP 800-63B-4: one factor is AAL1, two are AAL2, and AAL3 needs an
authenticator that cannot be phished or copied. A device's evidence says nothing about who sits in front of
it, so it does not lift a person.

Algorithms and services have no fingers and no memory, and NIST has no levels for them. The same numbers are
used by analogy: one key is 1; the key and an enrolled device's key is 2, because a copied key file alone does
not pass; a device key that its hardware does not give away is 3.
"""

from __future__ import annotations

from ztsession.identity.protocol import VerifiedIdentity
from ztsession.mfa.protocol import FactorShown
from ztsession.posture.appraisal import GOOD, Appraisal

__all__ = ["assurance_of", "level_of"]


def assurance_of(identity: VerifiedIdentity, appraisal: Appraisal, factor: FactorShown | None) -> int:
    """Return the level, 1 to 3, of an identity with this device and, if any, this second factor."""
    return level_of(
        identity.kind,
        identity.assurance,
        0 if factor is None else factor.assurance,
        device=bool(appraisal.device),
        hardware=appraisal.vector.get("hardware") == GOOD,
    )


def level_of(kind: str, identity: int, factor: int, *, device: bool, hardware: bool) -> int:
    """The same from its parts: what the identity and the second factor (0 for none) are worth by themselves,
    whether a device was shown, and whether its key is known not to leave its hardware.
    """
    if kind == "human":
        return max(identity, factor, 1)
    if not device:
        return identity
    return max(identity, 3 if hardware else 2)
