"""Files that an operator writes and keeps: registries in TOML, private keys readable by their owner only.

A mistake in such a file decides who gets in, so nothing in it is guessed at: unknown keys are errors, and
an error names the file, the line and what was expected. Private keys are never written over an existing
file, and a key file that others could have read is refused, because its secret may be out.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ztsession.errors import ConfigurationError, EvidenceError
from ztsession.wire.names import is_name
from ztsession.wire.signature import PUBLIC_KEY_BYTES, check_public_key

__all__ = [
    "MAX_FILE_BYTES",
    "Table",
    "parse_toml",
    "read_bytes",
    "read_private_bytes",
    "read_private_toml",
    "read_toml",
    "write_private",
]

MAX_FILE_BYTES = 1 << 20


def read_toml(path: str | os.PathLike[str]) -> Table:
    """Return the root table of a TOML file of at most 1 MiB; :class:`ConfigurationError` otherwise."""
    return _parse(Path(path), read_bytes(path, max_bytes=MAX_FILE_BYTES))


def parse_toml(text: str, *, file: str) -> Table:
    """Return the root table of TOML text; errors name ``file`` as its place."""
    return _parse(Path(file), text.encode("utf-8", "surrogatepass"))


def read_private_toml(path: str | os.PathLike[str]) -> Table:
    """Read a TOML file that holds a private key; refuse one that group or others may read or write."""
    return _parse(Path(path), read_private_bytes(path, max_bytes=MAX_FILE_BYTES))


def read_bytes(path: str | os.PathLike[str], *, max_bytes: int) -> bytes:
    """Return what is in a file of at most ``max_bytes``; :class:`ConfigurationError` otherwise."""
    return _read(path, max_bytes, private=False)


def read_private_bytes(path: str | os.PathLike[str], *, max_bytes: int) -> bytes:
    """The same for a file that holds a private key; refuse one that group or others may read or write."""
    return _read(path, max_bytes, private=True)


def write_private(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` to a new file of mode 0600, durably; :class:`ConfigurationError` if the file exists."""
    try:
        # O_EXCL also refuses a link that somebody laid there.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as sink:
                sink.write(text)
                sink.flush()
                os.fsync(sink.fileno())
        except BaseException:
            # Half a key would take the name, and be found out when it is needed.
            os.unlink(path)
            raise
    except OSError as error:
        raise ConfigurationError(f"cannot be written: {error.strerror}", file=os.fspath(path)) from None


@dataclass(frozen=True)
class Table:
    """One table of a TOML file, that remembers where it stands; repr shows the place and no values."""

    _file: _Source
    _path: tuple[str, ...]
    _values: dict[str, Any]

    def __repr__(self) -> str:
        return f"Table({self._file.path}, {'.'.join(self._path)})"

    def error(self, message: str, key: str | None = None) -> ConfigurationError:
        """Return (not raise) an error at this table, or at its ``key``."""
        path = self._path if key is None else (*self._path, key)
        named = f"{'.'.join(path)}: " if path else ""
        return ConfigurationError(named + message, file=str(self._file.path), line=self._file.line_of(path))

    def allow_only(self, *keys: str) -> None:
        """Raise if the table has a key besides these."""
        for key in self._values:
            if key not in keys:
                raise self.error(f"unknown key, expected one of {', '.join(keys)}", key)

    def has(self, key: str) -> bool:
        """Say whether the table has this key."""
        return key in self._values

    def keys(self) -> tuple[str, ...]:
        """Return every key of the table, in the order in which they stand there."""
        return tuple(self._values)

    def text(self, key: str, default: str | None = None, *, expected: str = "text") -> str:
        """Return the text at ``key``; ``expected`` is what an error says of it."""
        value = self._values.get(key, default)
        if not isinstance(value, str):
            raise self.error(f"expected {expected}", key)
        return value

    def name(self, key: str) -> str:
        """Return the subject's or device's name at ``key``."""
        value = self.text(key)
        if not is_name(value):
            raise self.error("expected 1 to 128 characters from A-Z a-z 0-9 . _ : / @ -", key)
        return value

    def word(self, key: str, words: tuple[str, ...]) -> str:
        """Return the text at ``key``, which is one of ``words``."""
        value = self.text(key)
        if value not in words:
            raise self.error(f"expected one of {', '.join(words)}", key)
        return value

    def texts(self, key: str) -> list[str]:
        """Return the list of texts at ``key``; an empty list if there is none."""
        value = self._values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error("expected a list of texts", key)
        return value

    def integer(self, key: str, default: int, *, low: int, high: int) -> int:
        """Return the integer at ``key``, from ``low`` to ``high``."""
        value = self._values.get(key, default)
        if type(value) is not int or not low <= value <= high:
            expected = f"an integer from {low} to {high}" if low < high else f"{key} = {low}"
            raise self.error(f"expected {expected}", key)
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Return the true or false at ``key``."""
        value = self._values.get(key, default)
        if not isinstance(value, bool):
            raise self.error("expected true or false", key)
        return value

    def octets(self, key: str, size_bytes: int) -> bytes:
        """Return the bytes that ``key`` gives in hexadecimal."""
        # bytes.fromhex would also take blanks; a key has one spelling.
        value = self._values.get(key)
        if not isinstance(value, str) or not re.fullmatch(f"[0-9a-f]{{{2 * size_bytes}}}", value):
            raise self.error(f"expected {2 * size_bytes} digits of lower-case hexadecimal", key)
        return bytes.fromhex(value)

    def public_key(self, key: str) -> bytes:
        """Return the Ed25519 public key that ``key`` gives in hexadecimal, 32 bytes."""
        value = self.octets(key, PUBLIC_KEY_BYTES)
        try:
            check_public_key(value)
        except EvidenceError as error:
            raise self.error(f"expected an Ed25519 public key: {error}", key) from None
        return value

    def table(self, key: str) -> Table:
        """Return the table at ``key``; an empty one if there is none."""
        value = self._values.get(key, {})
        if not isinstance(value, dict):
            raise self.error("expected a table", key)
        return Table(self._file, (*self._path, key), value)

    def tables(self) -> Iterator[tuple[str, Table]]:
        """Return each key and its table, all keys being tables."""
        for key in self._values:
            yield key, self.table(key)

    def holders(self) -> Iterator[tuple[str, Table]]:
        """Return each name and its table; a name must be one, and a ``public_key`` belong to one name."""
        owner: dict[bytes, str] = {}
        for name, table in self.tables():
            if not is_name(name):
                raise table.error("expected a name of 1 to 128 characters from A-Z a-z 0-9 . _ : / @ -")
            other = (
                owner.setdefault(table.public_key("public_key"), name) if table.has("public_key") else name
            )
            if other != name:
                # Two behind one key could each pass for the other.
                raise table.error(f"expected a key of its own, {other} has the same", "public_key")
            yield name, table


def _read(path: str | os.PathLike[str], max_bytes: int, *, private: bool) -> bytes:
    try:
        with Path(path).open("rb") as source:
            # Of the open file, so that it cannot be exchanged between the look and the reading.
            mode = stat.S_IMODE(os.fstat(source.fileno()).st_mode)
            if private and mode & 0o077:
                raise ConfigurationError(
                    f"holds a private key: expected mode 0600, not {mode:04o}", file=os.fspath(path)
                )
            data = source.read(max_bytes + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", file=os.fspath(path)) from None
    if len(data) > max_bytes:
        raise ConfigurationError(f"expected at most {max_bytes} bytes", file=os.fspath(path))
    return data


def _parse(path: Path, data: bytes) -> Table:
    try:
        text = data.decode("utf-8")
        return Table(_Source(path, text), (), tomllib.loads(text))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError("expected UTF-8 text", file=str(path), line=line) from None
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        at = int(found.group(1)) if found else None
        raise ConfigurationError(f"expected TOML: {error}", file=str(path), line=at) from None
    except (ValueError, RecursionError):
        # What the reader itself cannot bear: nesting without end, a number of thousands of digits.
        raise ConfigurationError("expected TOML of less depth or shorter numbers", file=str(path)) from None


@dataclass(frozen=True, repr=False)
class _Source:
    """The text of a file, kept to find the line of a key when something is wrong with it."""

    path: Path
    text: str

    def line_of(self, wanted: tuple[str, ...]) -> int | None:
        """Return the line where the key first stands, else the nearest table around it, else None."""
        best: tuple[int, int] | None = None
        table: tuple[str, ...] = ()
        for number, line in enumerate(self.text.splitlines(), 1):
            header = line.lstrip().startswith("[")
            here = _key_path(line if header else line.partition("=")[0] + "= 0")
            if here is None:
                continue
            table, here = (here, here) if header else (table, table + here)
            # A longer name also declares the tables it passes through: [subjects.a] is where subjects begins.
            common = min(len(here), len(wanted))
            if here[:common] == wanted[:common] and (best is None or common > best[0]):
                best = (common, number)
        return None if best is None else best[1]


def _key_path(line: str) -> tuple[str, ...] | None:
    try:
        value: Any = tomllib.loads(line)
    except (ValueError, RecursionError):
        return None
    path: list[str] = []
    while isinstance(value, dict) and len(value) == 1:
        key, value = next(iter(value.items()))
        path.append(key)
    return tuple(path) or None
