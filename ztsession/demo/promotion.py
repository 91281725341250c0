"""What is asked of the lab and of the release gate, and what the lab has to say of a package.

A package is what its SHA-256 says, and its name only what it is called: the name can stand for other bytes a
moment later. Names become names of files, so they are of an alphabet in which none leads out of a directory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from ztsession.errors import WireError
from ztsession.wire.schema import Integer, Message, Octets, OneOf, Text

__all__ = ["LAB_RUN_LABEL", "Answer", "Artifact", "LabRun", "Promotion", "Trial"]

#: What the lab's signature is over, beside the run: nothing else that this key signs can pass for one.
LAB_RUN_LABEL: Final = "demo lab run"
EVIDENCE_MAX_BYTES: Final = 1024

_ARTIFACT: Final = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
_ENVIRONMENT: Final = Text(32, min_bytes=1)
_COUNT: Final = Integer(0, 2**32 - 1)


@dataclass(frozen=True)
class Artifact:
    """The rule for a package's name: 1 to 32 characters a-z, 0-9 and -, the first a letter."""

    def check(self, value: object, where: str) -> None:
        """Raise WireError unless ``value`` is such a name."""
        if type(value) is not str or not _ARTIFACT.fullmatch(value):
            raise WireError(f"{where}: expected 1 to 32 characters a-z, 0-9 and -, the first a letter")


@dataclass(frozen=True)
class Trial(Message, kind="demo.trial", max_bytes=256):
    """To the lab: run the package of this name, if it is the one that has this digest."""

    artifact: Annotated[str, Artifact()]
    sha256: Annotated[bytes, Octets.exactly(32)]


@dataclass(frozen=True)
class LabRun(Message, kind="demo.lab-run", max_bytes=512):
    """What the lab has seen of one package: so many recorded ``states``, and ``faults`` among its answers."""

    artifact: Annotated[str, Artifact()]
    sha256: Annotated[bytes, Octets.exactly(32)]
    environment: Annotated[str, _ENVIRONMENT]
    states: Annotated[int, _COUNT]
    faults: Annotated[int, _COUNT]


@dataclass(frozen=True)
class Promotion(Message, kind="demo.promotion", max_bytes=2048):
    """To the gate: put this package into ``target``, as it lies in ``source``; ``evidence`` is the encoded
    ``Signed`` LabRun.
    """

    artifact: Annotated[str, Artifact()]
    sha256: Annotated[bytes, Octets.exactly(32)]
    source: Annotated[str, _ENVIRONMENT]
    target: Annotated[str, _ENVIRONMENT]
    evidence: Annotated[bytes, Octets(EVIDENCE_MAX_BYTES)]

    @classmethod
    def from_text(cls, text: Mapping[str, str]) -> Promotion:
        """Out of a person's form, bytes in hexadecimal."""
        sha256, evidence = bytes.fromhex(text["sha256"]), bytes.fromhex(text["evidence"])
        return cls(text["artifact"], sha256, text["source"], text["target"], evidence)


@dataclass(frozen=True)
class Answer(Message, kind="demo.answer", max_bytes=2048):
    """Of either: what became of the call of sequence ``answers``; of the lab with the ``Signed`` LabRun."""

    answers: Annotated[int, Integer(0, 2**63 - 1)]
    outcome: Annotated[str, OneOf(("done", "refused"))]
    evidence: Annotated[bytes, Octets(EVIDENCE_MAX_BYTES)]
