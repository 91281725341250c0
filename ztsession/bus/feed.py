"""How an enforcement point hears from its Authority: it asks what is new, and knows how old the answer is.

The Authority signs each answer over the point's own nonce. So whatever carries it (a function call, a socket,
a broker) can lose, delay, repeat or reorder answers, and can at worst let the lease run out: a repeated
answer has the wrong nonce, a delayed one counts from the moment of asking, and changes are applied in the
order of their numbers without a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Protocol

from ztsession.bus.change import Change
from ztsession.errors import EvidenceError, WireError
from ztsession.wire.schema import Flag, Integer, ListOf, Message, Octets, Text
from ztsession.wire.signature import Signed, Signer

__all__ = ["CHANGES_MAX", "FeedAnswer", "FeedRequest", "FeedSource", "News", "read_answer"]

#: Changes in one answer; a point that is further behind asks again.
CHANGES_MAX = 128
_LABEL = "feed answer"
_NUMBER = Integer(0, 2**63 - 1)


@dataclass(frozen=True)
class FeedRequest(Message, kind="feed-request", max_bytes=256):
    """Point to Authority: changes after number ``after``, please; wait up to ``wait_ms`` for one if there is
    none.
    """

    segment: Annotated[str, Text(32, min_bytes=1)]
    nonce: Annotated[bytes, Octets.exactly(32)]
    after: Annotated[int, _NUMBER]
    wait_ms: Annotated[int, Integer(0, 60_000)] = 0


@dataclass(frozen=True)
class FeedAnswer(Message, kind="feed-answer", max_bytes=32768):
    """Authority to point: the changes after ``after`` in order, and whether that was all (``complete``).

    ``after`` is later than was asked for when what lies between is so old that no session of then still
    lives.
    """

    segment: Annotated[str, Text(32, min_bytes=1)]
    nonce: Annotated[bytes, Octets.exactly(32)]
    after: Annotated[int, _NUMBER]
    changes: Annotated[list[bytes], ListOf(Octets(1024, min_bytes=1), CHANGES_MAX)]
    complete: Annotated[bool, Flag()]

    def sign(self, authority: Signer) -> bytes:
        """The form that the Authority signed."""
        return Signed.make(authority, _LABEL, self.to_bytes()).to_bytes()


class FeedSource(Protocol):
    """Where a point asks: the Authority itself, or a connection to it."""

    def feed(self, request: bytes) -> bytes:
        """Answer an encoded FeedRequest with a signed FeedAnswer; TransportError when nobody answers."""


class News(NamedTuple):
    """What an answer says: ``changes`` follow number ``after`` without a gap; ``complete`` if that is all."""

    after: int
    changes: list[Change]
    complete: bool


def read_answer(data: bytes, request: FeedRequest, authority_keys: Sequence[bytes]) -> News:
    """Read a signed FeedAnswer; WireError unless the Authority gave it to this very request, gaplessly.

    ``authority_keys``: the Ed25519 public keys, any of which may have signed it.
    """
    try:
        answer = FeedAnswer.from_bytes(Signed.from_bytes(data).check_any(authority_keys, _LABEL))
    except EvidenceError as error:
        # Forged, or the point slept through a rotation: only its operator can tell, and must be told.
        raise WireError(
            f"feed answer: not from the Authority: {error}; was its signing key rotated, then give the point "
            "the new one as ticket_key"
        ) from None
    if (answer.segment, answer.nonce) != (request.segment, request.nonce) or answer.after < request.after:
        raise WireError("feed answer: it answers another request")
    changes = [Change.from_bytes(change) for change in answer.changes]
    for expected, change in enumerate(changes, start=answer.after + 1):
        if change.number != expected:
            raise WireError(f"feed answer: change {change.number} where {expected} was expected")
    return News(answer.after, changes, answer.complete)
