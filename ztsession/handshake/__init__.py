"""The handshake: hybrid Noise as states that each allow one step, and the messages that travel in it."""

from ztsession.handshake.binding import binding
from ztsession.handshake.channel import Channel
from ztsession.handshake.messages import CookieDemand, Hello, Offer, Outcome, Proof, demanded_cookie
from ztsession.handshake.states import (
    AwaitingOffer,
    AwaitingProof,
    Offered,
    Received,
    start_initiator,
    start_responder,
)

__all__ = [
    "AwaitingOffer",
    "AwaitingProof",
    "Channel",
    "CookieDemand",
    "Hello",
    "Offer",
    "Offered",
    "Outcome",
    "Proof",
    "Received",
    "binding",
    "demanded_cookie",
    "start_initiator",
    "start_responder",
]
