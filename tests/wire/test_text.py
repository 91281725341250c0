"""Tokens as text: one spelling each."""

from __future__ import annotations

import base64
import os

import pytest

from ztsession.errors import WireError
from ztsession.testing import pair
from ztsession.wire.text import token_from_text, token_to_text


def test_a_token_survives_its_text() -> None:
    """Text is 64 characters of base64url, and the token that comes back verifies."""
    client, point = pair()
    text = token_to_text(client.sign("orders.submit", b"buy"))
    assert len(text) == 64
    assert point.verifier("orders.submit")(token_from_text(text), b"buy").sequence == 1
    token = os.urandom(48)
    assert token_to_text(token) == base64.urlsafe_b64encode(token).decode().rstrip("=")
    point.close()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A" * 63,
        "A" * 65,
        "A" * 63 + "=",
        "A" * 63 + "+",
        "A" * 63 + "/",
        " " + "A" * 63,
        "A" * 64 + "\n",
        "\uff21" * 64,
        None,
        b"A" * 64,
    ],
)
def test_other_spellings_are_refused(text: object) -> None:
    """Wrong lengths, padding, the other alphabet, white space, look-alike letters and bytes are refused."""
    with pytest.raises(WireError):
        token_from_text(text)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 47, 49])
def test_only_a_whole_token_has_a_text(size: int) -> None:
    """Anything but 48 bytes is refused."""
    with pytest.raises(WireError):
        token_to_text(bytes(size))
