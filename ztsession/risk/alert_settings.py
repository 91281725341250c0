"""The operator's settings for alerts, in ``alerts.toml`` beside the policies.

Alerts always go to the log: a mistake in what else is told must not leave everybody untold. Where a webhook
lies, and the key that its receiver knows it by, are for the operator to say. The key is in a file of its own
that only its owner may read, so that the settings can be shown to anybody.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ztsession.errors import ConfigurationError
from ztsession.identity.jwks_fetch import is_fetchable
from ztsession.risk.levels import Level
from ztsession.wire.names import is_name
from ztsession.wire.operator_file import Table, read_private_bytes, read_toml

__all__ = ["SETTINGS_FILE", "AlertSettings", "WebhookSettings"]

#: The settings' name inside a policy directory; may be absent.
SETTINGS_FILE: Final = "alerts.toml"
WEBHOOKS_MAX: Final = 16

#: Standard Webhooks 1.0, Signature scheme: of 24 to 64 random bytes; here of no fewer than the MAC has.
KEY_MIN_BYTES: Final = 32
KEY_MAX_BYTES: Final = 64
#: The one to sign with from now on, and the one that receivers may still have.
_KEYS_MAX: Final = 2
_SECRET_FILE_MAX_BYTES: Final = 512
_SECRET: Final = re.compile(r"whsec_([A-Za-z0-9+/]+={0,2})", re.ASCII)
_LEVELS: Final = tuple(level.name.lower() for level in Level)


@dataclass(frozen=True)
class WebhookSettings:
    """One webhook. ``url``: https, or http on this machine. ``keys``: one or two of 32 to 64 bytes, each
    signs. ``least``: the level below which it is not told.
    """

    name: str
    url: str
    keys: tuple[bytes, ...] = field(repr=False)
    least: Level = Level.LOW


@dataclass(frozen=True)
class AlertSettings:
    """``log``: the least level that goes to the log."""

    log: Level = Level.LOW
    webhooks: tuple[WebhookSettings, ...] = ()

    @classmethod
    def from_directory(cls, directory: Path) -> AlertSettings:
        """Read ``alerts.toml``; ``ConfigurationError`` names file, line and what was expected."""
        path = directory / SETTINGS_FILE
        if not (path.exists() or path.is_symlink()):
            return cls()
        root = read_toml(path)
        root.allow_only("log", "webhooks")
        log = root.table("log")
        log.allow_only("level")
        webhooks = tuple(_webhook(name, table, directory) for name, table in root.table("webhooks").tables())
        if len(webhooks) > WEBHOOKS_MAX:
            raise root.error(f"expected at most {WEBHOOKS_MAX} webhooks", "webhooks")
        return cls(_level(log), webhooks)


def _webhook(name: str, table: Table, directory: Path) -> WebhookSettings:
    table.allow_only("url", "secret_file", "level")
    if not is_name(name):
        raise table.error("expected a name of 1 to 128 characters from A-Z a-z 0-9 . _ : / @ -")
    url = table.text("url")
    if not is_fetchable(url):
        raise table.error("expected https://host..., or http:// on this very machine", "url")
    return WebhookSettings(name, url, _keys(directory / table.text("secret_file")), _level(table))


def _level(table: Table) -> Level:
    return Level(_LEVELS.index(table.word("level", _LEVELS))) if table.has("level") else Level.LOW


def _keys(path: Path) -> tuple[bytes, ...]:
    lines = read_private_bytes(path, max_bytes=_SECRET_FILE_MAX_BYTES).decode("ascii", "replace").split()
    if not 1 <= len(lines) <= _KEYS_MAX:
        raise ConfigurationError("expected one secret on a line, or two", file=str(path))
    return tuple(_key(line, number, path) for number, line in enumerate(lines, 1))


def _key(text: str, number: int, path: Path) -> bytes:
    found = _SECRET.fullmatch(text)
    try:
        key = base64.b64decode(found.group(1), validate=True) if found else b""
    except ValueError:
        key = b""
    if not KEY_MIN_BYTES <= len(key) <= KEY_MAX_BYTES:
        # Not what stands there: that is meant to be a secret.
        expected = f'"whsec_" and the base64 of {KEY_MIN_BYTES} to {KEY_MAX_BYTES} random bytes'
        raise ConfigurationError(f"expected {expected}", file=str(path), line=number)
    return key
