"""What an appraisal speaks of, and the three words it has for each.

There is no fourth word and no default that is better than "unknown": whoever asks for "good" gets a no until
something was declared, measured and found equal.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BAD", "GOOD", "ITEMS", "UNKNOWN", "WORDS"]

GOOD, BAD, UNKNOWN = "good", "bad", "unknown"
WORDS: Final = (GOOD, BAD, UNKNOWN)

#: The keys of every vector, in the order of the policies' schema.
#:
#: ``boot``: a TPM quoted PCRs as declared. ``hardware``: the evidence was signed by a key that does not leave
#: the device's hardware. ``debug``: the debug facilities are off. The others are named as what is measured;
#: ``device`` is the enrolled key itself.
ITEMS: Final = (
    "kernel",
    "secure_boot",
    "disk_encryption",
    "packages",
    "program",
    "device",
    "boot",
    "hardware",
    "debug",
)
