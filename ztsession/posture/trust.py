"""The appraisal in the terms that other verifiers use: the trustworthiness vector of AR4SI.

Policies that speak of "configuration" or "executables" outlive the kind of evidence that a host happens to
give. The vector (draft-ietf-rats-ar4si, section 2.3) has one word for each of eight claims, and is read off
the posture vector by the one table below. Nothing else goes into it, so whatever covers the posture vector
covers this too.

    contraindicated   an item that bears on the claim is bad, whatever the others are
    affirming         all items of one row are good: this row alone suffices
    warning           something is good, but no row is complete
    none              nothing is known, or nothing here measures it

An unknown item completes no row, so it never affirms.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ztsession.posture.items import BAD, GOOD

__all__ = ["AFFIRMING", "CONTRAINDICATED", "NONE", "TRUST_CLAIMS", "TRUST_ROWS", "TRUST_WORDS", "WARNING"]
__all__ += ["trust_vector"]

NONE, AFFIRMING, WARNING, CONTRAINDICATED = "none", "affirming", "warning", "contraindicated"
TRUST_WORDS: Final = (NONE, AFFIRMING, WARNING, CONTRAINDICATED)

#: For each claim the rows of items of which any one, complete and good, affirms it.
TRUST_ROWS: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = MappingProxyType(
    {
        "instance_identity": (("device",),),
        # What a TPM saw of the boot says what a Secure Boot switch says, and more. Without a TPM the switch
        # is worth something only where nobody can step in with a debugger.
        "configuration": (("boot",), ("secure_boot", "debug")),
        "executables": (("kernel", "program", "packages"),),
        "file_system": (("packages",),),
        "hardware": (("hardware",),),
        # Memory that is hidden from the host's owner, and data from elsewhere, are not measured.
        "runtime_opaque": (),
        "storage_opaque": (("disk_encryption",),),
        "sourced_data": (),
    }
)
TRUST_CLAIMS: Final = tuple(TRUST_ROWS)


def trust_vector(posture: Mapping[str, str]) -> dict[str, str]:
    """Return the word for each claim, from a posture vector (a word for each item)."""
    return {claim: _word(rows, posture) for claim, rows in TRUST_ROWS.items()}


def _word(rows: tuple[tuple[str, ...], ...], posture: Mapping[str, str]) -> str:
    bearing = [posture.get(item) for row in rows for item in row]
    if BAD in bearing:
        return CONTRAINDICATED
    if any(all(posture.get(item) == GOOD for item in row) for row in rows):
        return AFFIRMING
    return WARNING if GOOD in bearing else NONE
