"""The demo's binary messages."""

from __future__ import annotations

import pytest

from ztsession.demo.messages import (
    LAYOUTS,
    CancelOrder,
    CorrectQuote,
    LookOrder,
    Message,
    NewOrder,
    OrderReply,
    OverrideOrder,
    Quote,
    ReplaceOrder,
    SettleOrder,
    Side,
    Status,
    Subscribe,
    decode,
    encode,
    join,
    split,
)
from ztsession.errors import WireError

EXAMPLES: list[Message] = [
    NewOrder(Side.ASK, 2**64 - 1, -1, 2**32 - 1, b"AAAAAAAA", b"B" * 16, b"C" * 8),
    ReplaceOrder(7, 5_850_000, 100, b"AAAAAAAA", b"B" * 16),
    CancelOrder(7, b"AAAAAAAA", b"B" * 16),
    OrderReply(Status.REFUSED, 5, 7, 2**37 - 1, 5_850_000, 100),
    Subscribe(256, 10_000_000, b"AAAAAAAA", b"B" * 16),
    Quote(118_496, 5_859_400, 5_853_300, 200, 18, b"AAAAAAAA"),
    LookOrder(7, b"AAAAAAAA", b"B" * 16),
    OverrideOrder(Side.BID, 2**64 - 1, 2**63 - 1, 1_000_000, b"AAAAAAAA", b"B" * 16, b"C" * 8),
    SettleOrder(2**64 - 1, b"AAAAAAAA", b"B" * 16),
    CorrectQuote(118_496, 5_859_400, -1, b"AAAAAAAA", b"B" * 16),
]


def test_every_layout_has_40_to_100_bytes() -> None:
    """Each message fits what an order message is said to be."""
    sizes = {layout.message.__name__: layout.form.size for layout in LAYOUTS}
    assert all(40 <= size <= 100 for size in sizes.values()), sizes


def test_every_kind_is_laid_out_once() -> None:
    """A first byte stands for one message and a message has one first byte."""
    assert (
        len({layout.kind for layout in LAYOUTS})
        == len({layout.message for layout in LAYOUTS})
        == len(LAYOUTS)
    )
    assert {type(message) for message in EXAMPLES} == {layout.message for layout in LAYOUTS}


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_messages_come_back_as_they_went(message: Message) -> None:
    """What is encoded decodes to the same message, of the same type."""
    back = decode(encode(message))
    assert back == message
    assert type(back) is type(message)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_messages_of_another_length_are_refused(message: Message) -> None:
    """One byte less or more than the layout is no message."""
    body = encode(message)
    for wrong in (body[:-1], body + b"\0", b""):
        with pytest.raises(WireError):
            decode(wrong)


def test_unknown_kinds_are_refused() -> None:
    """A first byte that no layout has is refused, alone and in a frame."""
    with pytest.raises(WireError, match="unknown kind"):
        decode(bytes([99]) + bytes(63))
    with pytest.raises(WireError, match="unknown kind"):
        split(bytes(48) + bytes([99]) + bytes(63))


def test_fields_that_do_not_fit_are_refused() -> None:
    """A quantity over 32 bits is an error and not another quantity."""
    with pytest.raises(WireError, match="NewOrder"):
        encode(NewOrder(Side.BID, 1, 1, 2**32, b"", b"", b""))


def test_frames_come_apart_as_they_were_joined() -> None:
    """Messages of different lengths in one frame are cut where they end."""
    pairs = [(bytes([number]) * 48, encode(message)) for number, message in enumerate(EXAMPLES)]
    assert split(join(pairs)) == pairs
    assert split(b"") == []


def test_frames_that_are_cut_short_are_refused() -> None:
    """Whatever is missing at a frame's end, nothing of it is used."""
    whole = join([(bytes(48), encode(EXAMPLES[0])), (bytes(48), encode(EXAMPLES[2]))])
    ends = {len(encode(EXAMPLES[0])) + 48, len(whole)}
    for length in range(1, len(whole)):
        if length not in ends:
            with pytest.raises(WireError):
                split(whole[:length])
