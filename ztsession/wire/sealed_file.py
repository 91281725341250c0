"""A file whose secrets are useless to whoever copies it.

Backups, snapshots and broken disks leave the house, and what was written in the clear leaves with them. A
sealed file holds ciphertext (XChaCha20-Poly1305) and says in plain TOML how it opens: with a passphrase, made
dear to guess by Argon2id (RFC 9106), or with a key file of 32 random bytes that is kept elsewhere. What the
file says of itself is authenticated with its content, so that a file cannot be passed off as another one.

What a file asks for is bounded before it is done: a hostile one must not demand 100 GB to be opened.
"""

from __future__ import annotations

import hmac
import os
import re
import stat
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self

from nacl import bindings, pwhash
from nacl.exceptions import CryptoError

from ztsession.errors import ConfigurationError, StoreError
from ztsession.wire import durable
from ztsession.wire.digest import digest
from ztsession.wire.operator_file import Table, read_private_toml

__all__ = ["KEY_FILE", "SealedFile", "Unlock"]

#: The name of the key file that is made beside the data when nobody says otherwise.
KEY_FILE: Final = "unlock.key"

_FORMAT: Final = "ztsession-sealed-1"
_KEY_BYTES, _SALT_BYTES, _NONCE_BYTES = 32, 16, 24
#: NIST SP 800-63B-4, section 3.1.1.2, for a password that stands alone.
_PASSPHRASE_MIN, _PASSPHRASE_MAX = 15, 1024
#: RFC 9106, section 4: three passes over 64 MiB at least, and more where there is more.
_PASSES, _PASSES_MAX = 3, 10
_MEMORY_MIB, _MEMORY_MIN_MIB, _MEMORY_MAX_MIB = 256, 64, 1024
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*={0,2}", re.ASCII)


@dataclass(frozen=True)
class Unlock:
    """What opens a sealed file; make it with ``passphrase``, ``key_file`` or ``default``."""

    kind: str
    _text: str = field(default="", repr=False)
    _path: Path | None = None
    _memory_mib: int = 0
    _make: bool = False

    @classmethod
    def passphrase(cls, text: str, *, memory_mib: int = _MEMORY_MIB) -> Self:
        """A passphrase of 15 to 1024 characters, in whatever form the keyboard composed them (NFC is taken).

        ``memory_mib`` (64 to 1024) is what each guess will cost when a file is made; a file that is there
        says itself. ConfigurationError outside of these bounds.
        """
        text = unicodedata.normalize("NFC", text)
        if not _PASSPHRASE_MIN <= len(text) <= _PASSPHRASE_MAX:
            raise ConfigurationError(
                f"a passphrase: expected {_PASSPHRASE_MIN} to {_PASSPHRASE_MAX} characters, not {len(text)}"
            )
        if not _MEMORY_MIN_MIB <= memory_mib <= _MEMORY_MAX_MIB:
            raise ConfigurationError(
                f"memory_mib: expected {_MEMORY_MIN_MIB} to {_MEMORY_MAX_MIB}, not {memory_mib}"
            )
        return cls("passphrase", _text=text, _memory_mib=memory_mib)

    @classmethod
    def key_file(cls, path: str | os.PathLike[str]) -> Self:
        """A file of exactly 32 random bytes that only its owner may read; it must be there."""
        return cls("key-file", _path=Path(path))

    @classmethod
    def default(cls, directory: str | os.PathLike[str]) -> Self:
        """A key file ``unlock.key`` in ``directory``, made when the first file is sealed with it.

        Key and data then lie side by side: that protects neither from whoever copies the directory. Give
        :meth:`key_file` a place elsewhere (a mounted secret) to keep them apart.
        """
        return cls("key-file", _path=Path(directory) / KEY_FILE, _make=True)

    @classmethod
    def make_key_file(cls, path: str | os.PathLike[str]) -> Self:
        """Make a new key file of mode 0600; ConfigurationError if it exists or cannot be written."""
        try:
            durable.create(Path(path), os.urandom(_KEY_BYTES))
        except OSError as error:
            raise ConfigurationError(f"cannot be written: {error.strerror}", file=os.fspath(path)) from None
        return cls.key_file(path)

    def made(self) -> Unlock:
        """The same, with its key file made if it is one that is made by itself."""
        if self._make and self._path is not None and not self._path.exists():
            self.make_key_file(self._path)
        return self

    def key(self, lock: _Lock) -> bytes:
        """The 32 bytes that open a file with this lock; ConfigurationError when they cannot be had."""
        if lock.kind != self.kind:
            raise ConfigurationError(
                f"opens with a {_SPOKEN[lock.kind]} and a {_SPOKEN[self.kind]} was given: "
                f"give the {_SPOKEN[lock.kind]}"
            )
        if self._path is not None:
            return hmac.digest(_read_key(self._path), digest("sealed file key"), "sha256")
        try:
            return pwhash.argon2id.kdf(
                _KEY_BYTES, self._text.encode(), lock.salt, lock.passes, lock.memory_mib << 20
            )
        except (CryptoError, MemoryError):
            raise ConfigurationError(f"{lock.memory_mib} MiB of memory are needed to open it") from None

    def lock(self) -> _Lock:
        """A fresh lock for a file that this is to open."""
        if self.kind == "key-file":
            return _Lock(self.kind)
        return _Lock(self.kind, os.urandom(_SALT_BYTES), _PASSES, self._memory_mib)

    @property
    def hint(self) -> str:
        """What to do when a file does not open."""
        if self._path is not None:
            return f"{self._path} is not its key file, or it is damaged: find the key file that belongs to it"
        return "the passphrase is another one, or it is damaged: type it again"


_SPOKEN: Final = {"passphrase": "passphrase", "key-file": "key file"}


@dataclass(frozen=True)
class _Lock:
    """What a file says of how it opens: ``kind``, and for a passphrase Argon2id's salt and costs."""

    kind: str
    salt: bytes = b""
    passes: int = 0
    memory_mib: int = 0

    @classmethod
    def read(cls, table: Table) -> _Lock:
        """Read it; ConfigurationError for costs out of bounds."""
        kind = table.word("unlock", tuple(_SPOKEN))
        if kind == "key-file":
            return cls(kind)
        passes = table.integer("passes", 0, low=_PASSES, high=_PASSES_MAX)
        memory_mib = table.integer("memory_mib", 0, low=_MEMORY_MIN_MIB, high=_MEMORY_MAX_MIB)
        return cls(kind, table.octets("salt", _SALT_BYTES), passes, memory_mib)

    def lines(self) -> list[str]:
        """It, as lines of TOML."""
        costs = [f'salt = "{self.salt.hex()}"', f"passes = {self.passes}", f"memory_mib = {self.memory_mib}"]
        return [f'unlock = "{self.kind}"', *(costs if self.kind == "passphrase" else [])]

    def context(self, purpose: str, name: str) -> bytes:
        """What is authenticated besides the content."""
        numbers = (self.passes.to_bytes(8, "big"), self.memory_mib.to_bytes(8, "big"))
        return digest("sealed file", purpose.encode(), name.encode(), self.kind.encode(), self.salt, *numbers)


@dataclass(frozen=True)
class _Box:
    """The ciphertext with its tag, and its nonce."""

    nonce: bytes
    sealed: bytes

    @classmethod
    def read(cls, table: Table) -> _Box:
        """Read it; ConfigurationError for what is none, before anything is derived to open it."""
        text = table.text("sealed")
        if len(text) % 4 or not _BASE64.fullmatch(text) or b64encode(b64decode(text)).decode("ascii") != text:
            raise table.error("expected base64", "sealed")
        return cls(table.octets("nonce", _NONCE_BYTES), b64decode(text))


@dataclass(frozen=True)
class SealedFile:
    """One sealed file that was opened; its key is kept, so that writing asks for no passphrase again."""

    path: Path
    purpose: str
    _unlock: Unlock = field(repr=False)
    _lock: _Lock
    _key: bytes = field(repr=False)

    @classmethod
    def create(cls, path: Path, purpose: str, unlock: Unlock, content: bytes) -> Self:
        """Seal ``content`` into a new file of mode 0600, there in full or not at all.

        ConfigurationError if there is one or the key cannot be had, StoreError if it cannot be written.
        """
        lock = unlock.made().lock()
        file = cls(path, purpose, unlock, lock, unlock.key(lock))
        with _told(path):
            durable.create(path, file._seal(content))
        return file

    @classmethod
    def open(cls, path: Path, purpose: str, unlock: Unlock) -> tuple[Self, bytes]:
        """Return the file and what is in it; ConfigurationError says why it does not open and what to do."""
        table = _table(path, purpose)
        lock, box = _Lock.read(table), _Box.read(table)
        try:
            file = cls(path, purpose, unlock, lock, unlock.key(lock))
        except ConfigurationError as error:
            raise table.error(str(error), "unlock") from None
        return file, file._open(table, box)

    def read(self) -> bytes:
        """What is in the file now, another process may have replaced it; ConfigurationError as for open."""
        table = _table(self.path, self.purpose)
        if _Lock.read(table) != self._lock:
            raise table.error("was sealed anew since it was opened here: open it again")
        return self._open(table, _Box.read(table))

    def replace(self, content: bytes) -> None:
        """Put ``content`` in the file in place of what it held: the old or the new, whatever happens.

        StoreError if it cannot be written.
        """
        with _told(self.path):
            durable.replace(self.path, self._seal(content))

    def resealed(self, unlock: Unlock, content: bytes) -> SealedFile:
        """Seal the file so that from now on it opens with ``unlock`` alone."""
        lock = unlock.made().lock()
        file = replace(self, _unlock=unlock, _lock=lock, _key=unlock.key(lock))
        file.replace(content)
        return file

    def _seal(self, content: bytes) -> bytes:
        # 24 random bytes never come twice, so one key serves for any number of writings.
        nonce = os.urandom(_NONCE_BYTES)
        context = self._lock.context(self.purpose, self.path.name)
        box = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(content, context, nonce, self._key)
        lines = [
            f'format = "{_FORMAT}"',
            f'purpose = "{self.purpose}"',
            f'file = "{self.path.name}"',
            *self._lock.lines(),
            f'nonce = "{nonce.hex()}"',
            f'sealed = "{b64encode(box).decode("ascii")}"',
        ]
        return ("\n".join(lines) + "\n").encode("ascii")

    def _open(self, table: Table, box: _Box) -> bytes:
        context = self._lock.context(self.purpose, self.path.name)
        try:
            return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
                box.sealed, context, box.nonce, self._key
            )
        except (CryptoError, ValueError, TypeError):
            raise table.error(
                f"does not open: {self._unlock.hint}, or restore both from a backup", "sealed"
            ) from None


def _table(path: Path, purpose: str) -> Table:
    table = read_private_toml(path)
    keys = ("format", "purpose", "file", "unlock", "salt", "passes", "memory_mib", "nonce", "sealed")
    table.allow_only(*(keys if table.text("unlock", "") == "passphrase" else keys[:4] + keys[7:]))
    table.word("format", (_FORMAT,))
    if table.text("purpose") != purpose:
        raise table.error(f"expected a file with {purpose}", "purpose")
    if table.text("file") != path.name:
        raise table.error(f"was sealed under another name than {path.name!r}: give it its name back", "file")
    return table


def _read_key(path: Path) -> bytes:
    try:
        with path.open("rb") as source:
            mode = stat.S_IMODE(os.fstat(source.fileno()).st_mode)
            key = source.read(_KEY_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"the key file {path} cannot be read: {error.strerror}; bring it back from where it is kept"
        ) from None
    if mode & 0o077:
        raise ConfigurationError(f"the key file {path}: expected mode 0600 or less, not {mode:04o}")
    if len(key) != _KEY_BYTES:
        raise ConfigurationError(f"the key file {path}: expected exactly {_KEY_BYTES} bytes")
    return key


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise ConfigurationError("exists already, and is not written over", file=str(path)) from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}") from error
