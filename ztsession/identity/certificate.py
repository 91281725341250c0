"""The Authority's certificate: a root key that the client pins says which static key is the Authority's.

The root stays offline and the static key is replaced from time to time; the client needs to know the root
alone. A certificate is one signed message about one key, with no chain, no extensions and no algorithm
field to confuse.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Annotated

from ztsession.errors import EvidenceError, WireError
from ztsession.wire.schema import Integer, Message, Name, Octets
from ztsession.wire.signature import Signed, Signer

__all__ = ["Certificate", "issue", "verify"]

_LABEL = "authority certificate"
_LAST_SECOND = 2**63 - 1


@dataclass(frozen=True)
class Certificate(Message, kind="authority-certificate", max_bytes=512):
    """What the root says, in Unix seconds: from ``not_before`` on, and no longer at ``not_after``."""

    name: Annotated[str, Name()]
    static_public: Annotated[bytes, Octets.exactly(32)]
    not_before: Annotated[int, Integer(0, _LAST_SECOND)]
    not_after: Annotated[int, Integer(0, _LAST_SECOND)]


def issue(root: Signer, static_public: bytes, name: str, not_before: int, not_after: int) -> bytes:
    """Return a certificate over ``static_public`` (X25519, 32 bytes), signed by the root.

    ``not_before`` and ``not_after`` are Unix seconds, the latter excluded. ``ValueError`` if there is no
    time between.
    """
    if not_before >= not_after:
        raise ValueError("a certificate needs not_before < not_after")
    body = Certificate(name, static_public, not_before, not_after).to_bytes()
    return Signed.make(root, _LABEL, body).to_bytes()


def verify(certificate: bytes, pinned_root_public: bytes, static_public: bytes, now: float) -> Certificate:
    """Return what ``certificate`` says if it holds for this static key at ``now`` (Unix seconds).

    ``EvidenceError`` says exactly why not: malformed, not signed by the pinned root, over another key,
    not yet or no longer valid.
    """
    try:
        signed = Signed.from_bytes(certificate)
        # The signature first: nothing that a stranger wrote is read.
        said = Certificate.from_bytes(signed.check(pinned_root_public, _LABEL))
    except WireError as error:
        raise EvidenceError(f"the Authority's certificate is malformed: {error}") from None
    except EvidenceError as error:
        raise EvidenceError(f"the Authority's certificate is not from the pinned root: {error}") from None
    if not hmac.compare_digest(said.static_public, static_public):
        raise EvidenceError("the Authority's certificate is over another static key than the peer's")
    if now < said.not_before:
        raise EvidenceError(
            f"the Authority's certificate is not valid before {said.not_before}, it is {now:.0f}"
        )
    if not now < said.not_after:
        raise EvidenceError(f"the Authority's certificate expired at {said.not_after}, it is {now:.0f}")
    return said
