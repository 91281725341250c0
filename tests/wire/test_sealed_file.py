"""A sealed file opens with what it was sealed with, says what is wrong otherwise, and gives nothing away."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from pathlib import Path

import pytest

from ztsession.errors import ConfigurationError, StoreError
from ztsession.wire import durable
from ztsession.wire.sealed_file import SealedFile, Unlock

CONTENT = b"what must not be read by others" * 4
PHRASE = "correct horse battery staple"
PURPOSE = "things of a test"


@pytest.fixture
def unlock(tmp_path: Path) -> Unlock:
    return Unlock.make_key_file(tmp_path / "somewhere.key")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "things.sealed"


def opened(path: Path, unlock: Unlock, purpose: str = PURPOSE) -> bytes:
    return SealedFile.open(path, purpose, unlock)[1]


def changed(path: Path, pattern: str, new: str) -> None:
    text, count = re.subn(pattern, new, path.read_text())
    assert count == 1
    path.write_text(text)


def phrase(text: str = PHRASE) -> Unlock:
    return Unlock.passphrase(text, memory_mib=64)


def test_what_was_sealed_comes_out_and_shows_nowhere(path: Path, unlock: Unlock):
    """The file is for its owner, opens with its key file, and holds no byte of the content."""
    SealedFile.create(path, PURPOSE, unlock, CONTENT)
    assert opened(path, unlock) == CONTENT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert CONTENT[:8] not in path.read_bytes()


def test_a_passphrase_opens_and_another_does_not(path: Path):
    """The same passphrase opens in whatever form it was typed; another one is told what to do."""
    composed = unicodedata.normalize("NFC", "Tür und Tor auf und zu")
    SealedFile.create(path, PURPOSE, phrase(composed), CONTENT)
    assert opened(path, phrase(unicodedata.normalize("NFD", composed))) == CONTENT
    with pytest.raises(ConfigurationError, match=r"things\.sealed:\d+: .*passphrase is another one.*type it"):
        opened(path, phrase())


def test_another_key_file_does_not_open(path: Path, unlock: Unlock, tmp_path: Path):
    """Who has the file and not its key has nothing, and is told which key file did not fit."""
    SealedFile.create(path, PURPOSE, unlock, CONTENT)
    other = Unlock.make_key_file(tmp_path / "other.key")
    with pytest.raises(ConfigurationError, match=r"other\.key is not its key file"):
        opened(path, other)
    assert opened(path, unlock) == CONTENT


def test_what_opens_it_must_be_of_its_kind(path: Path, unlock: Unlock, tmp_path: Path):
    """A passphrase for a file with a key file, and the other way round, is told so."""
    SealedFile.create(path, PURPOSE, unlock, CONTENT)
    with pytest.raises(ConfigurationError, match="give the key file"):
        opened(path, phrase())
    other = tmp_path / "other.sealed"
    SealedFile.create(other, PURPOSE, phrase(), CONTENT)
    with pytest.raises(ConfigurationError, match="give the passphrase"):
        opened(other, unlock)


def test_every_character_of_the_file_counts(path: Path, unlock: Unlock):
    """Whatever one character is changed or cut off, the file does not open, and says so in one way."""
    SealedFile.create(path, PURPOSE, unlock, b"short")
    whole = path.read_bytes()
    for at in range(len(whole)):
        for damaged in (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], whole[:at]):
            if damaged.strip() != whole.strip():
                path.write_bytes(damaged)
                with pytest.raises(ConfigurationError):
                    opened(path, unlock)
    path.write_bytes(whole)
    assert opened(path, unlock) == b"short"


def test_a_file_is_not_taken_for_another(path: Path, unlock: Unlock, tmp_path: Path):
    """Neither another name nor another purpose will do, nor does writing the expected one into it help."""
    SealedFile.create(path, PURPOSE, unlock, CONTENT)
    moved = tmp_path / "moved.sealed"
    path.rename(moved)
    with pytest.raises(ConfigurationError, match=r"was sealed under another name than 'moved\.sealed'"):
        opened(moved, unlock)
    changed(moved, "things.sealed", "moved.sealed")
    with pytest.raises(ConfigurationError, match="does not open"):
        opened(moved, unlock)
    changed(moved, "moved.sealed", "things.sealed")
    moved.rename(path)
    with pytest.raises(ConfigurationError, match="expected a file with something else"):
        opened(path, unlock, "something else")
    changed(path, PURPOSE, "something else")
    with pytest.raises(ConfigurationError, match="does not open"):
        opened(path, unlock, "something else")


@pytest.mark.parametrize(
    ("pattern", "demand", "says"),
    [
        (r"memory_mib = \d+", "memory_mib = 102400", "expected an integer from 64 to 1024"),
        (r"memory_mib = \d+", "memory_mib = 8", "expected an integer from 64 to 1024"),
        (r"passes = \d+", "passes = 4000000000", "expected an integer from 3 to 10"),
        (r"passes = \d+", "passes = 1", "expected an integer from 3 to 10"),
        (r"passes = \d+\n", "", "expected an integer from 3 to 10"),
        (r'salt = "[0-9a-f]+"', 'salt = "00"', "expected 32 digits"),
        (r'nonce = "[0-9a-f]+"', 'nonce = "00"', "expected 48 digits"),
        (r'sealed = "[^"]+"', 'sealed = "AAA"', "expected base64"),
        (r'sealed = "[^"]+"', 'sealed = "AB=="', "expected base64"),
        (r'format = "[^"]+"', 'format = "ztsession-sealed-2"', "expected one of ztsession-sealed-1"),
        (r"passes", "parallel = 4\npasses", "parallel: unknown key"),
    ],
)
def test_D7_a_hostile_file_cannot_demand_work(path: Path, pattern: str, demand: str, says: str):
    """Costs out of bounds, and whatever else does not belong there, are refused before a key is derived."""
    SealedFile.create(path, PURPOSE, phrase(), CONTENT)
    assert opened(path, phrase()) == CONTENT
    changed(path, pattern, demand)
    with pytest.raises(ConfigurationError, match=says):
        opened(path, phrase())


def test_a_file_beyond_all_bounds_is_not_read(path: Path, unlock: Unlock):
    """A megabyte is more than any sealed file has."""
    SealedFile.create(path, PURPOSE, unlock, CONTENT)
    changed(path, 'sealed = "', 'sealed = "' + "A" * (1 << 20))
    with pytest.raises(ConfigurationError, match="at most 1048576 bytes"):
        opened(path, unlock)


@pytest.mark.parametrize(("key", "mode", "says"), [(31, 0o600, "32"), (33, 0o600, "32"), (32, 0o640, "0600")])
def test_a_key_file_is_32_bytes_for_its_owner(path: Path, tmp_path: Path, key: int, mode: int, says: str):
    """Another size or a mode that lets others read is refused; a mounted secret of mode 0400 will do."""
    file = tmp_path / "a.key"
    file.write_bytes(os.urandom(key))
    file.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"a.key: expected .*{says}"):
        SealedFile.create(path, PURPOSE, Unlock.key_file(file), CONTENT)
    assert not path.exists()
    file.chmod(0o600)
    file.write_bytes(os.urandom(32))
    file.chmod(0o400)
    SealedFile.create(path, PURPOSE, Unlock.key_file(file), CONTENT)


def test_a_missing_key_file_is_asked_for(path: Path, tmp_path: Path):
    """A key file given elsewhere is not made; the default one is made once, and then must be there."""
    with pytest.raises(ConfigurationError, match="bring it back"):
        SealedFile.create(path, PURPOSE, Unlock.key_file(tmp_path / "no.key"), CONTENT)
    SealedFile.create(path, PURPOSE, Unlock.default(tmp_path), CONTENT)
    assert opened(path, Unlock.default(tmp_path)) == CONTENT
    (tmp_path / "unlock.key").unlink()
    with pytest.raises(ConfigurationError, match=r"unlock\.key cannot be read.*bring it back"):
        opened(path, Unlock.default(tmp_path))
    assert not (tmp_path / "unlock.key").exists()


@pytest.mark.parametrize("text", ["", "fourteen chars", "x" * 1025])
def test_a_passphrase_has_bounds(text: str):
    """Too short is a guess, too long is no passphrase."""
    with pytest.raises(ConfigurationError, match="expected 15 to 1024 characters"):
        Unlock.passphrase(text)
    with pytest.raises(ConfigurationError, match="memory_mib: expected 64 to 1024"):
        Unlock.passphrase(PHRASE, memory_mib=63)


def test_a_sealed_file_is_replaced_and_never_written_over(path: Path, unlock: Unlock):
    """Creating where there is one fails and leaves it; replacing gives new content under a new nonce."""
    file = SealedFile.create(path, PURPOSE, unlock, CONTENT)
    with pytest.raises(ConfigurationError, match="exists already"):
        SealedFile.create(path, PURPOSE, unlock, b"other")
    assert file.read() == CONTENT
    before = path.read_text()
    file.replace(CONTENT)
    assert re.findall("nonce.*", before) != re.findall("nonce.*", path.read_text())
    file.replace(b"new")
    assert opened(path, unlock) == file.read() == b"new"
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []


def test_a_file_can_be_sealed_anew(path: Path, unlock: Unlock):
    """From a key file to a passphrase: the new one opens, the old one does not, nor does an old handle."""
    file = SealedFile.create(path, PURPOSE, unlock, CONTENT)
    again = file.resealed(phrase(), file.read())
    assert opened(path, phrase()) == again.read() == CONTENT
    with pytest.raises(ConfigurationError, match="give the passphrase"):
        opened(path, unlock)
    with pytest.raises(ConfigurationError, match="sealed anew"):
        file.read()


def test_a_disk_that_cannot_be_written_is_told(tmp_path: Path, unlock: Unlock):
    """What could not be written is a StoreError, and nothing is left behind."""
    file = SealedFile.create(tmp_path / "things.sealed", PURPOSE, unlock, CONTENT)
    with pytest.raises(StoreError, match="cannot be written"):
        SealedFile.create(tmp_path / "no" / "things.sealed", PURPOSE, unlock, CONTENT)
    (tmp_path / "things.sealed").unlink()
    (tmp_path / "things.sealed").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        file.replace(CONTENT)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_secrets_do_not_show_in_a_repr(path: Path):
    """Neither what unlocks nor what is unlocked prints its secret."""
    unlock = phrase()
    file = SealedFile.create(path, PURPOSE, unlock, CONTENT)
    assert PHRASE not in repr(unlock) + repr(file)
    assert repr(file._key) not in repr(file)


def test_the_content_is_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A power failure leaves the old file or the whole new one: content, name, directory, in this order."""
    calls = list[str]()

    def noted(name: str) -> None:
        true = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given: (calls.append(name), true(*given))[1])

    for name in ("fsync", "link", "rename", "unlink"):
        noted(name)
    durable.create(tmp_path / "a", b"1")
    assert calls == ["fsync", "link", "unlink", "fsync"]
    calls.clear()
    durable.replace(tmp_path / "a", b"2")
    assert calls == ["fsync", "rename", "fsync"]
    calls.clear()
    durable.remove(tmp_path / "a")
    assert calls == ["unlink", "fsync"]


def test_what_a_crash_left_is_swept(tmp_path: Path):
    """A file that was never finished is removed, and nothing else."""
    for name in (".things.sealed.0011223344556677.unfinished", ".hidden", "things"):
        (tmp_path / name).write_text("x")
    with durable.locked(tmp_path):
        durable.sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".hidden", "things"]
