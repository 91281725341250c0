"""Carries a conversation over a transport, blocking or not."""

from __future__ import annotations

from typing import TypeVar

from ztsession.client.conversation import Conversation
from ztsession.client.transport import AsyncTransport, Transport

__all__ = ["drive", "drive_async"]

_T = TypeVar("_T")


def drive(conversation: Conversation[_T], transport: Transport) -> _T:
    """Exchange messages until the conversation is over; returns what it came to."""
    try:
        message = next(conversation)
        while True:
            message = conversation.send(transport.exchange(message))
    except StopIteration as over:
        result: _T = over.value
        return result


async def drive_async(conversation: Conversation[_T], transport: AsyncTransport) -> _T:
    """The same in an event loop."""
    try:
        message = next(conversation)
        while True:
            message = conversation.send(await transport.exchange(message))
    except StopIteration as over:
        result: _T = over.value
        return result
