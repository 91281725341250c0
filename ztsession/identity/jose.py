"""JSON, base64url and thumbprints as JOSE has them (RFC 7515, RFC 7638, RFC 8259), each in its one reading.

Two readers who take different things from one text are how a token gets past the one that checks it and means
something else to the one that acts on it. So what has several forms, or is read in several ways, is refused.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from ztsession.errors import EvidenceError

__all__ = ["base64url", "from_base64url", "strict_json", "thumbprint"]

_DIGITS_MAX = 20


def strict_json(data: bytes, what: str) -> dict[str, Any]:
    """Return the JSON object (RFC 8259) in ``data``, whose size the caller has bounded.

    ``EvidenceError`` also for what parsers read in different ways: a name twice, numbers that are not finite
    or of more than 20 digits, another encoding than UTF-8.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_each_once,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_finite,
        )
    except (ValueError, RecursionError):
        raise EvidenceError(f"{what} is not JSON of one reading") from None
    if type(value) is not dict:
        raise EvidenceError(f"{what} is not a JSON object")
    return value


def base64url(data: bytes) -> str:
    """Return ``data`` in base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_base64url(text: object, what: str) -> bytes:
    """Return the bytes of ``text``, which must be their only base64url form; ``EvidenceError`` otherwise."""
    if isinstance(text, str) and re.fullmatch(r"[A-Za-z0-9_-]*", text, re.ASCII) and len(text) % 4 != 1:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        # The last character may carry bits that belong to no byte: then there are several forms.
        if base64url(data) == text:
            return data
    raise EvidenceError(f"{what} is not base64url without padding")


def thumbprint(jwk: Mapping[str, str]) -> str:
    """Return the SHA-256 thumbprint of a JWK's required members (RFC 7638 section 3), 43 characters."""
    form = json.dumps(dict(jwk), sort_keys=True, separators=(",", ":"))
    return base64url(hashlib.sha256(form.encode("ascii")).digest())


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice")
    return members


def _integer(text: str) -> int:
    if len(text) > _DIGITS_MAX:
        raise ValueError("too many digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not a finite number")
    return value
