"""A person's authenticator app: a secret, scanned off the operator's screen, and the codes that show it."""

from __future__ import annotations

import time
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyotp import TOTP

__all__ = ["Authenticator"]

_STEP_S, _STEP_ENDS_S = 30, 1.0


class Authenticator:
    """Without a secret until it has scanned one."""

    def scan(self, uri: str) -> str:
        """Take the secret in; the code that shows it has arrived."""
        import pyotp

        parsed = pyotp.parse_uri(uri)
        assert isinstance(parsed, pyotp.TOTP)  # noqa: S101 - the Authority offers no other
        self._app: TOTP = parsed
        # A code is good once. With the one that has just gone by, the present one is left for the step-up.
        left_s = _STEP_S - time.time() % _STEP_S
        if left_s < _STEP_ENDS_S:
            time.sleep(left_s)
        return self._app.at(int(time.time()) - _STEP_S)

    def code(self) -> str:
        """The present code."""
        return self._app.now()

    def wrong_code(self) -> str:
        """One that is none."""
        now_s = int(time.time())
        right = {self._app.at(now_s + _STEP_S * step) for step in range(-2, 3)}
        return next(code for code in map("{:06}".format, count()) if code not in right)
