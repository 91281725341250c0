"""The client's side: asking a person for a second factor when the Authority wants one.

Nothing is asked for that the subject has not enrolled, and nothing is kept: a code goes from the person into
the evidence of this handshake and is forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ztsession.errors import EvidenceError, WireError
from ztsession.mfa.protocol import MfaProver
from ztsession.mfa.recovery import RecoveryEvidence, as_typed
from ztsession.mfa.totp import TotpEvidence
from ztsession.mfa.webauthn import WebAuthnEvidence

if TYPE_CHECKING:
    from fido2.client import WebAuthnClient

__all__ = ["AnyOf", "RecoveryProver", "TotpProver", "WebAuthnProver"]


class AnyOf:
    """Several provers in order of preference; the first that can show its factor is taken."""

    def __init__(self, *provers: MfaProver) -> None:
        self._provers = provers

    def prove(self, binding: bytes, factors: Sequence[str]) -> bytes:
        """Return the first evidence that is shown, b"" if none is."""
        return next((shown for each in self._provers if (shown := each.prove(binding, factors))), b"")


class TotpProver:
    """A person who reads a one-time code; ``ask`` returns what was typed, "" to decline."""

    def __init__(self, ask: Callable[[], str]) -> None:
        self._ask = ask

    def prove(self, binding: bytes, factors: Sequence[str]) -> bytes:
        """Return the code as evidence; ``EvidenceError`` if it cannot be one."""
        if "totp" not in factors or not (code := re.sub(r"\s", "", self._ask())):
            return b""
        try:
            return TotpEvidence(code).to_bytes()
        except WireError:
            raise EvidenceError("a one-time code has 6 or 8 digits") from None


class RecoveryProver:
    """A person with a list of recovery codes; ``ask`` returns what was typed, "" to decline."""

    def __init__(self, ask: Callable[[], str]) -> None:
        self._ask = ask

    def prove(self, binding: bytes, factors: Sequence[str]) -> bytes:
        """Return the code as evidence; ``EvidenceError`` if it cannot be one."""
        if "recovery" not in factors or not (code := as_typed(self._ask())):
            return b""
        try:
            return RecoveryEvidence(code).to_bytes()
        except WireError:
            raise EvidenceError("a recovery code has 24 characters of a-z 2-7") from None


class WebAuthnProver:
    """An authenticator. ``sign`` gets the 32-byte challenge and returns an assertion, or None to decline.

    An assertion is a :class:`WebAuthnEvidence` or fido2's ``AuthenticationResponse``.
    """

    def __init__(self, sign: Callable[[bytes], Any]) -> None:
        self._sign = sign

    @classmethod
    def from_client(
        cls, client: WebAuthnClient, rp_id: str, credential_ids: Sequence[bytes] = ()
    ) -> WebAuthnProver:
        """Ask a fido2 client, for one of these credentials or for any that the authenticator knows.

        An authenticator that nobody touches, or that is none of ours, declines.
        """
        return cls(lambda challenge: _asked(client, _request(challenge, rp_id, credential_ids)))

    def prove(self, binding: bytes, factors: Sequence[str]) -> bytes:
        """Return an assertion over ``binding`` as evidence."""
        if "webauthn" not in factors or (shown := self._sign(binding)) is None:
            return b""
        try:
            return (shown if isinstance(shown, WebAuthnEvidence) else _evidence(shown)).to_bytes()
        except WireError as error:
            raise EvidenceError(f"the authenticator's answer is out of bounds: {error}") from None


def _request(challenge: bytes, rp_id: str, credential_ids: Sequence[bytes]) -> Any:
    from fido2 import webauthn as w

    key = w.PublicKeyCredentialType.PUBLIC_KEY
    return w.PublicKeyCredentialRequestOptions(
        challenge=challenge,
        rp_id=rp_id,
        allow_credentials=[w.PublicKeyCredentialDescriptor(type=key, id=each) for each in credential_ids]
        or None,
        user_verification=w.UserVerificationRequirement.REQUIRED,
    )


def _asked(client: WebAuthnClient, request: Any) -> Any:
    from fido2.client import ClientError

    try:
        return client.get_assertion(request).get_response(0)
    except ClientError as error:
        if error.code in (ClientError.ERR.TIMEOUT, ClientError.ERR.DEVICE_INELIGIBLE):
            return None
        raise EvidenceError(f"the authenticator gave no assertion: {error.code.name}") from None


def _evidence(answer: Any) -> WebAuthnEvidence:
    # Of fido2's subclasses of bytes, the bare bytes.
    response = answer.response
    return WebAuthnEvidence(
        bytes(answer.raw_id),
        bytes(response.authenticator_data),
        bytes(response.client_data),
        bytes(response.signature),
    )
