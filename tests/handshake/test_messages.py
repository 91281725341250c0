"""The handshake's payloads have bounds, and the largest of each fits where it travels."""

from __future__ import annotations

import pytest

from ztsession.errors import WireError
from ztsession.handshake import CookieDemand, Hello, Offer, Outcome, Proof, demanded_cookie
from ztsession.handshake.channel import MAX_PLAINTEXT_BYTES
from ztsession.handshake.states import start_initiator, start_responder

EXAMPLES = [
    Hello(["orders.*", "market-data.subscribe"], bytes(16), b"cookie"),
    CookieDemand(bytes(32)),
    Offer(b"certificate", ["posture"], bytes(32)),
    Proof(b"identity", b"posture", b""),
    Outcome("granted", "", bytes(16), [b"ticket"], [b"grant"], 2, 43200, []),
    Outcome("refused", "refused"),
    Outcome("step-up", "step-up-required", missing=["mfa"]),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: message.kind)
def test_every_payload_comes_back(message):
    """Each payload decodes to itself and to no other kind."""
    assert type(message).from_bytes(message.to_bytes()) == message
    for other in {type(example) for example in EXAMPLES} - {type(message)}:
        with pytest.raises(WireError):
            other.from_bytes(message.to_bytes())


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Hello([]), "scopes"),
        (lambda: Hello(["orders"]), "scopes"),
        (lambda: Hello(["a.b"] * 65), "scopes"),
        (lambda: Hello(["a.b"], bytes(15)), "supersedes"),
        (lambda: Hello(["a.b"], b"", bytes(65)), "cookie"),
        (lambda: Offer(b"", [], bytes(32)), "certificate"),
        (lambda: Offer(b"c", ["x"] * 9, bytes(32)), "required"),
        (lambda: Offer(b"c", [], bytes(31)), "posture_nonce"),
        (lambda: Proof(bytes(24577)), "identity"),
        (lambda: Outcome("maybe"), "status"),
        (lambda: Outcome("granted", assurance=4), "assurance"),
        (lambda: Outcome("granted", session=bytes(15)), "session"),
        (lambda: Outcome("granted", lifetime_s=-1), "lifetime_s"),
    ],
)
def test_bounds_hold(make, field):
    """A field out of its bounds makes no message."""
    with pytest.raises(WireError, match=rf"\.{field}"):
        make()


def test_the_largest_payloads_fit_their_messages():
    """The largest Hello, Offer and Proof fit Noise messages, and an Outcome is bounded by the channel."""
    largest = Proof(bytes(24576), bytes(24576), bytes(8192)).to_bytes()
    hello = Hello([f"{'s' * 63}.{'o' * 63}"] * 64, bytes(16), bytes(64)).to_bytes()
    offer = Offer(bytes(2048), ["r" * 32] * 8, bytes(32)).to_bytes()
    message1, client = start_initiator(bytes(range(32)), hello)
    message2, server = start_responder(bytes(range(1, 33)), message1).write(offer)
    message3, _ = client.read(message2).write(largest)
    assert server.read(message3)[0] == largest
    assert Outcome.max_bytes <= MAX_PLAINTEXT_BYTES
    with pytest.raises(WireError, match="over the limit"):
        Outcome("granted", tickets=[bytes(16384)] * 5).to_bytes()


def test_a_cookie_demand_is_told_from_message_2():
    """The client finds the cookie in a demand, and finds none in a message 2 or in nonsense."""
    assert demanded_cookie(CookieDemand(b"c" * 32).to_bytes()) == b"c" * 32
    message1, _ = start_initiator(bytes(range(32)), b"")
    message2, _ = start_responder(bytes(range(1, 33)), message1).write(b"")
    assert demanded_cookie(message2) is None
    assert demanded_cookie(b"nonsense") is None
