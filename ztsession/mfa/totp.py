"""One-time codes from a clock (RFC 6238): which step of 30 seconds a code belongs to, if any.

A code is not bound to the handshake. It is a few digits that a person reads off a screen; mixing the binding
into it would need the secret on the machine that is not trusted with it. It is safe here all the same: the
code travels only inside the encrypted channel of this handshake, to an Authority whose certificate was
checked before, and it is used up there. Nobody in between sees it, and whoever sees it later comes too late.
What remains is a person who types a code into a look-alike program, which is why a code lifts a session to
assurance 2 at most and WebAuthn, which signs the binding itself, to 3.

Used up means: the step of each accepted code is greater than the last one's. So the code before the last is
refused even if it was never used, and a code cannot win a race against itself.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b32encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final

from ztsession.errors import EvidenceError, WireError
from ztsession.mfa.codes import WRONG
from ztsession.mfa.settings import TotpProfile
from ztsession.wire.schema import Message

if TYPE_CHECKING:
    from pyotp import TOTP

__all__ = ["STEP_S", "Digits", "TotpEvidence", "code_at", "matched_step", "secret_bytes", "uri"]

STEP_S: Final = 30
#: Steps before and after the present one whose codes are taken: clocks differ, and typing takes time.
WINDOW: Final = 1

_DIGITS: Final = {"sha1-6": 6, "sha256-8": 8}
_HASH: Final = {"sha1-6": hashlib.sha1, "sha256-8": hashlib.sha256}
_STEP_MAX: Final = 2**53
# [0-9] and not \d, which takes the digits of every script: one code, one spelling.
_CODE = re.compile("[0-9]{6}|[0-9]{8}")


@dataclass(frozen=True)
class Digits:
    """A code of 6 or 8 ASCII digits."""

    def check(self, value: object, where: str) -> None:
        """Raise :class:`WireError` unless ``value`` is such a code."""
        if type(value) is not str or _CODE.fullmatch(value) is None:
            raise WireError(f"{where}: expected 6 or 8 digits")


@dataclass(frozen=True)
class TotpEvidence(Message, kind="mfa.totp", max_bytes=64):
    """The code that a person read off."""

    code: Annotated[str, Digits()] = field(repr=False)


def secret_bytes(profile: TotpProfile) -> int:
    """How many bytes a new secret has: the hash's output length (RFC 4226, section 4; at least 160 bits)."""
    return _HASH[profile]().digest_size


def matched_step(code: str, secret: bytes, profile: TotpProfile, now_s: float, last_step: int) -> int:
    """Return the step (Unix seconds // 30) that ``code`` belongs to, to be kept as the next ``last_step``.

    ``EvidenceError`` if no step of the window has this code, or only one that is not after ``last_step``
    (RFC 6238, section 5.2). All steps are computed and compared, whichever fits.
    """
    found = -1
    for step in _window(now_s):
        # The latest of several, so that an equal code of an earlier step is used up with it.
        if hmac.compare_digest(code_at(secret, profile, step).encode(), code.encode()):
            found = step
    if found < 0:
        raise EvidenceError(WRONG)
    if found <= last_step:
        raise EvidenceError("the code's step is used up already")
    return found


def code_at(secret: bytes, profile: TotpProfile, step: int) -> str:
    """Return the code of one step."""
    return _totp(secret, profile).generate_otp(step)


def uri(secret: bytes, profile: TotpProfile, subject: str, issuer: str) -> str:
    """Return the ``otpauth://`` URI that authenticator apps take, for example as a QR code."""
    return _totp(secret, profile).provisioning_uri(name=subject, issuer_name=issuer)


def _window(now_s: float) -> range:
    if not 0 <= now_s < _STEP_MAX:
        raise EvidenceError("no code holds at such a time")
    present = int(now_s) // STEP_S
    return range(max(0, present - WINDOW), present + WINDOW + 1)


def _totp(secret: bytes, profile: TotpProfile) -> TOTP:
    from pyotp import TOTP

    return TOTP(b32encode(secret).decode(), digits=_DIGITS[profile], digest=_HASH[profile], interval=STEP_S)
