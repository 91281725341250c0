"""The operator's settings for second factors, in ``mfa.toml`` beside the policies.

Without the file, codes work and WebAuthn does not: for which relying party an authenticator signs, and from
which origins, decides whether a look-alike page can use it, so nothing is taken for granted there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from ztsession.wire.operator_file import Table, read_toml

__all__ = ["SETTINGS_FILE", "MfaSettings", "TotpProfile"]

#: The settings' name inside a policy directory; may be absent.
SETTINGS_FILE = "mfa.toml"

#: Hash and number of digits of a one-time code; each step is 30 seconds.
TotpProfile = Literal["sha1-6", "sha256-8"]

_PROFILES = ("sha1-6", "sha256-8")
_ORIGINS_MAX = 16
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_RP_ID = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*", re.ASCII)
_ORIGIN = re.compile(rf"(https?)://({_LABEL}(?:\.{_LABEL})*)(?::[1-9][0-9]{{0,4}})?", re.ASCII)
# A colon would end the issuer within an otpauth label.
_ISSUER = re.compile(r"[A-Za-z0-9 ._-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class MfaSettings:
    """``rp_id`` is the WebAuthn relying party's domain ("": no WebAuthn), ``origins`` are exact origins.

    ``issuer`` is what an authenticator app shows beside the code; ``totp`` is what new secrets are made for.
    """

    rp_id: str = ""
    origins: tuple[str, ...] = ()
    issuer: str = "ztsession"
    totp: TotpProfile = "sha1-6"

    @classmethod
    def from_directory(cls, directory: Path) -> MfaSettings:
        """Read ``mfa.toml``; ``ConfigurationError`` names file, line and what was expected."""
        path = directory / SETTINGS_FILE
        if not path.exists():
            return cls()
        root = read_toml(path)
        root.allow_only("rp_id", "origins", "issuer", "totp")
        rp_id = _rp_id(root)
        totp = root.word("totp", _PROFILES) if root.has("totp") else cls.totp
        return cls(rp_id, _origins(root, rp_id), _issuer(root), cast(TotpProfile, totp))


def _rp_id(root: Table) -> str:
    rp_id = root.text("rp_id", "")
    if rp_id and not _RP_ID.fullmatch(rp_id):
        raise root.error('expected a domain in lower case, such as "trading.example"', "rp_id")
    return rp_id


def _origins(root: Table, rp_id: str) -> tuple[str, ...]:
    origins = root.texts("origins")
    if bool(origins) != bool(rp_id):
        raise root.error("expected rp_id and origins together", "origins" if origins else "rp_id")
    if len(origins) > _ORIGINS_MAX:
        raise root.error(f"expected at most {_ORIGINS_MAX} origins", "origins")
    for origin in origins:
        if not _fits(origin, rp_id):
            raise root.error(
                f'expected origins such as "https://{rp_id}" or of a subdomain, without a path', "origins"
            )
    return tuple(origins)


def _fits(origin: str, rp_id: str) -> bool:
    parts = _ORIGIN.fullmatch(origin)
    if parts is None:
        return False
    scheme, host = parts.groups()
    # A secure context, as browsers have it: TLS, or this very machine.
    secure = scheme == "https" or host == "localhost"
    return secure and (host == rp_id or host.endswith("." + rp_id))


def _issuer(root: Table) -> str:
    issuer = root.text("issuer", MfaSettings.issuer)
    if not _ISSUER.fullmatch(issuer):
        raise root.error("expected 1 to 64 characters from A-Z a-z 0-9 . _ - and blank", "issuer")
    return issuer
