"""The demo's binary messages: fixed layouts of 40 to 100 bytes, declared here and nowhere else.

A trading protocol knows the size of a message from its first byte, so a reader never searches and never
allocates by a stranger's word. All numbers are little-endian; prices are dollars x 10,000; texts are padded
with zero bytes. Each message travels behind its own 48-byte token, which authenticates every byte of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from struct import Struct, error
from typing import Final, NamedTuple

from ztsession.errors import WireError
from ztsession.limits import PROTOCOL_VERSION, TOKEN_BYTES

__all__ = [
    "LAYOUTS",
    "REASONS",
    "CancelOrder",
    "CorrectQuote",
    "Kind",
    "LookOrder",
    "Message",
    "NewOrder",
    "OrderReply",
    "OverrideOrder",
    "Quote",
    "ReplaceOrder",
    "SettleOrder",
    "Side",
    "Status",
    "Subscribe",
    "decode",
    "encode",
    "is_signed",
    "join",
    "split",
]


class Side(IntEnum):
    """Which side of the book an order is on."""

    BID = 1
    ASK = 2


class Status(IntEnum):
    """What became of an order message, as far as the gateway's book is concerned."""

    DONE = 0
    NO_SUCH_ORDER = 1
    REFUSED = 2


#: What a peer is told of a refusal, by number: never more than what would help it. The exact verdict stays
#: in the gateway.
REASONS: Final = ("", "refused", "malformed", "expired", "unavailable", "step-up-required", "reauth-required")


class NewOrder(NamedTuple):
    """Algorithm to gateway: put an order into the book."""

    side: int
    order_id: int
    price: int
    quantity: int
    instrument: bytes
    account: bytes
    strategy: bytes


class ReplaceOrder(NamedTuple):
    """Algorithm to gateway: give a live order another price and quantity."""

    order_id: int
    price: int
    quantity: int
    instrument: bytes
    account: bytes


class CancelOrder(NamedTuple):
    """Algorithm to gateway: take an order out of the book."""

    order_id: int
    instrument: bytes
    account: bytes


class LookOrder(NamedTuple):
    """Trader or clearing to gateway: tell price and quantity of a live order."""

    order_id: int
    instrument: bytes
    account: bytes


class OverrideOrder(NamedTuple):
    """Trader to gateway: put an order into the book that is past what the desk's limits let through."""

    side: int
    order_id: int
    price: int
    quantity: int
    instrument: bytes
    account: bytes
    desk: bytes


class SettleOrder(NamedTuple):
    """Clearing to gateway: an order is done with, and its account is charged."""

    order_id: int
    instrument: bytes
    account: bytes


class OrderReply(NamedTuple):
    """Gateway to whoever called. ``answers`` is the sequence of the call that this replies to; ``reason`` one
    of REASONS.
    """

    status: int
    reason: int
    order_id: int
    answers: int
    price: int
    quantity: int


class Subscribe(NamedTuple):
    """Algorithm to market data: publish ``credit`` states, from number ``first`` (counted from 0) on."""

    credit: int
    first: int
    instrument: bytes
    account: bytes


class CorrectQuote(NamedTuple):
    """Desk to market data: state ``number`` was published wrongly, these are its prices."""

    number: int
    ask: int
    bid: int
    instrument: bytes
    account: bytes


class Quote(NamedTuple):
    """Market data to its subscriber: one top-of-book state."""

    number: int
    ask: int
    bid: int
    ask_size: int
    bid_size: int
    instrument: bytes


Message = (
    NewOrder
    | ReplaceOrder
    | CancelOrder
    | OrderReply
    | Subscribe
    | Quote
    | LookOrder
    | OverrideOrder
    | SettleOrder
    | CorrectQuote
)


class Kind(IntEnum):
    """The first byte of a message."""

    NEW_ORDER = 1
    REPLACE_ORDER = 2
    CANCEL_ORDER = 3
    ORDER_REPLY = 4
    SUBSCRIBE = 5
    QUOTE = 6
    LOOK_ORDER = 7
    OVERRIDE_ORDER = 8
    SETTLE_ORDER = 9
    CORRECT_QUOTE = 10


class Layout(NamedTuple):
    """One message on the wire."""

    kind: Kind
    message: type[Message]
    form: Struct


#: Kind first, then the fields in the order of the classes above; ``x`` is padding.
LAYOUTS: Final = (
    Layout(Kind.NEW_ORDER, NewOrder, Struct("<BB6xQqI4x8s16s8s")),
    Layout(Kind.REPLACE_ORDER, ReplaceOrder, Struct("<B7xQqI4x8s16s")),
    Layout(Kind.CANCEL_ORDER, CancelOrder, Struct("<B7xQ8s16s")),
    Layout(Kind.ORDER_REPLY, OrderReply, Struct("<BBB5xQQqI4x")),
    Layout(Kind.SUBSCRIBE, Subscribe, Struct("<B3xIQ8s16s")),
    Layout(Kind.QUOTE, Quote, Struct("<B7xQqqII8s")),
    Layout(Kind.LOOK_ORDER, LookOrder, Struct("<B7xQ8s16s")),
    Layout(Kind.OVERRIDE_ORDER, OverrideOrder, Struct("<BB6xQqI4x8s16s8s")),
    Layout(Kind.SETTLE_ORDER, SettleOrder, Struct("<B7xQ8s16s")),
    Layout(Kind.CORRECT_QUOTE, CorrectQuote, Struct("<B7xQqq8s16s")),
)

_OF_KIND: Final = {int(layout.kind): layout for layout in LAYOUTS}
_OF_MESSAGE: Final = {layout.message: layout for layout in LAYOUTS}


def encode(message: Message) -> bytes:
    """The bytes of a message; WireError when a field does not fit its place."""
    layout = _OF_MESSAGE[type(message)]
    try:
        return layout.form.pack(layout.kind, *message)
    except error as wrong:
        raise WireError(f"{layout.message.__name__}: {wrong}") from None


def decode(body: bytes) -> Message:
    """The message of these bytes; WireError for an unknown kind or a wrong size."""
    layout = _layout(body, 0)
    if len(body) != layout.form.size:
        raise WireError(f"{layout.message.__name__}: {len(body)} bytes, expected {layout.form.size}")
    return layout.message._make(layout.form.unpack(body)[1:])


def join(signed: Iterable[tuple[bytes, bytes]]) -> bytes:
    """One frame of many (token, body) pairs: a write to a socket costs far more than a token."""
    return b"".join([part for pair in signed for part in pair])


def split(frame: bytes) -> list[tuple[bytes, bytes]]:
    """Cut a frame into its (token, body) pairs; WireError when it does not come out even.

    Nothing is believed yet: the first byte of a body only says where the body would end.
    """
    pairs: list[tuple[bytes, bytes]] = []
    at, end = 0, len(frame)
    while at < end:
        body = at + TOKEN_BYTES
        after = body + _layout(frame, body).form.size
        if after > end:
            raise WireError("frame: its last message is cut short")
        pairs.append((frame[at:body], frame[body:after]))
        at = after
    return pairs


def is_signed(frame: bytes) -> bool:
    """Whether a frame carries signed messages; else it is a ticket to install, a map that begins with no
    such byte.
    """
    return frame[:1] == bytes([PROTOCOL_VERSION])


def _layout(data: bytes, at: int) -> Layout:
    layout = _OF_KIND.get(data[at]) if at < len(data) else None
    if layout is None:
        raise WireError("message: unknown kind")
    return layout
