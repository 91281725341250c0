"""The client's side of an Entity Attestation Token: what makes tokens on this host, asked once a handshake.

The attester is the platform's own, in firmware, a secure element or an agent, and knows nothing of
handshakes. All that it is told is the nonce to put into ``eat_nonce``; the nonce covers the handshake, the
client's key and the Authority's challenge, so the token is good for nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from ztsession.errors import ConfigurationError
from ztsession.posture.eat_claims import eat_nonce
from ztsession.posture.eat_cwt import EatCwtEvidence
from ztsession.posture.eat_jwt import EatJwtEvidence
from ztsession.wire.names import is_name

__all__ = ["EatPosture"]


@dataclass(frozen=True)
class EatPosture:
    """Asks ``attest`` for a token with this 32-byte ``eat_nonce``.

    It returns the bytes of a CWT, or with ``form="jwt"`` the text of a JWT, whose ``eat_nonce`` is the nonce
    in base64url without padding. ``device`` is the name that the Authority knows this host by.
    """

    device: str
    attest: Callable[[bytes], bytes | str] = field(repr=False)
    form: Literal["cwt", "jwt"] = "cwt"

    def __post_init__(self) -> None:
        if not is_name(self.device):
            raise ConfigurationError("device: expected 1 to 128 characters from A-Z a-z 0-9 . _ : / @ -")
        if self.form not in ("cwt", "jwt"):
            raise ConfigurationError("form: expected cwt or jwt")

    def prove(self, binding: bytes, nonce: bytes) -> bytes:
        """Return evidence for this binding and nonce (32 bytes each).

        ``ConfigurationError`` when the attester returns something else than a token of the form;
        ``WireError`` when the token is over 24000 bytes.
        """
        token = self.attest(eat_nonce(binding, nonce))
        if self.form == "cwt" and isinstance(token, bytes):
            return EatCwtEvidence(self.device, token).to_bytes()
        if self.form == "jwt" and isinstance(token, str):
            return EatJwtEvidence(self.device, token).to_bytes()
        raise ConfigurationError(f"attest: expected {'bytes' if self.form == 'cwt' else 'text'}")
