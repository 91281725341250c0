"""The names of subjects and devices: short, printable, ASCII.

Names are compared, logged and put into policies. A newline in a name forges a log line and a look-alike
letter forges a person (A12, L7), so neither can be in a name at all.
"""

from __future__ import annotations

import re

__all__ = ["MAX_NAME_BYTES", "is_name", "is_scope"]

MAX_NAME_BYTES = 128

_NAME = re.compile(r"[A-Za-z0-9._:/@-]{1,128}", re.ASCII)
_SCOPE = re.compile(r"[A-Za-z0-9_-]{1,63}\.(?:[A-Za-z0-9_-]{1,63}|\*)", re.ASCII)


def is_name(value: str) -> bool:
    """Say whether ``value`` is 1 to 128 characters of ``A-Z a-z 0-9 . _ : / @ -``."""
    return _NAME.fullmatch(value) is not None


def is_scope(value: str) -> bool:
    """Say whether ``value`` names one operation (``orders.submit``) or a whole segment (``orders.*``)."""
    return _SCOPE.fullmatch(value) is not None
