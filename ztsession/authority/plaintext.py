"""Keys of an Authority from before they were sealed: taken over once, and removed.

They were a ``keys.toml`` with three seeds in the clear, and one file for each segment. The segments' files
stay, since enforcement points of this machine may read them where they lie.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from ztsession.authority.keyring import CURRENT, Keyring, SegmentPair, SigningKey, StaticKey
from ztsession.errors import ConfigurationError
from ztsession.tickets.segment_key import SegmentKey
from ztsession.wire.operator_file import read_private_toml
from ztsession.wire.signature import public_key

__all__ = ["PLAIN_FILE", "belongs_to", "taken_over"]

PLAIN_FILE: Final = "keys.toml"
_SEEDS: Final = ("root", "static", "signing")

_log = logging.getLogger("ztsession.authority")


def taken_over(directory: Path, now: int) -> Keyring:
    """A keyring of the keys that lie in ``directory`` in the clear; ConfigurationError for a damaged one."""
    root, static, signing = _read(directory / PLAIN_FILE)
    _log.warning(
        "%s: the keys are sealed from now on; a backup may hold them in the clear: rotate them",
        directory,
    )
    fresh = Keyring.fresh(now)
    return Keyring(
        public_key(root),
        root,
        fresh.sealing,
        (StaticKey(static),),
        (SigningKey(public_key(signing), signing, CURRENT, now),),
        {path.stem: (_segment(path, now),) for path in sorted((directory / "segments").glob("*.toml"))},
    )


def belongs_to(plain: Path, ring: Keyring) -> None:
    """ConfigurationError unless the plain file is the one that ``ring`` was taken over from."""
    root, _, _ = _read(plain)
    if public_key(root) != ring.root_public:
        raise ConfigurationError("holds other keys than keys.sealed beside it: remove one", file=str(plain))


def _read(plain: Path) -> tuple[bytes, bytes, bytes]:
    table = read_private_toml(plain)
    table.allow_only(*_SEEDS)
    root, static, signing = (table.octets(name, 32) for name in _SEEDS)
    return root, static, signing


def _segment(path: Path, now: int) -> SegmentPair:
    key = SegmentKey.from_file(path)
    if key.segment != path.stem:
        raise ConfigurationError(
            f"is the key of segment {key.segment!r}, expected {path.stem!r}", file=str(path)
        )
    return SegmentPair(key, CURRENT, now)
