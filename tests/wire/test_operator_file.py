"""What an operator wrote is read exactly, and an error says where and what was expected."""

from __future__ import annotations

import os
import resource
import stat

import pytest

from ztsession.errors import ConfigurationError
from ztsession.wire.operator_file import (
    read_bytes,
    read_private_bytes,
    read_private_toml,
    read_toml,
    write_private,
)

TEXT = """\
# people
[subjects."algo-7"]
kind = "algorithm"
roles = [
  "a",
  "b",
]
public_key = "00ff"
limit = 3

[posture]
strict = true
"""


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "registry.toml"
    path.write_text(TEXT)
    return read_toml(path)


def test_values_are_read(root):
    """Each accessor gives the value that stands in the file."""
    ((name, table),) = root.table("subjects").tables()
    assert name == "algo-7"
    assert table.word("kind", ("algorithm", "human")) == "algorithm"
    assert table.texts("roles") == ["a", "b"]
    assert table.octets("public_key", 2) == b"\x00\xff"
    assert table.integer("limit", 0, low=0, high=3) == 3
    assert root.table("posture").flag("strict", False) is True
    assert table.text("desk", "none") == "none"
    assert (table.has("kind"), table.has("desk")) == (True, False)
    assert table.keys() == ("kind", "roles", "public_key", "limit")
    assert root.table("absent").keys() == ()


def test_errors_name_file_line_and_expectation(root):
    """A wrong value is reported at its line, with what was expected."""
    ((_, table),) = root.table("subjects").tables()
    cases = [
        (lambda: table.word("kind", ("human",)), 3, "one of human"),
        (lambda: table.octets("public_key", 32), 8, "64 digits"),
        (lambda: table.integer("limit", 0, low=0, high=2), 9, "from 0 to 2"),
        (lambda: table.text("roles"), 4, "text"),
        (lambda: table.texts("kind"), 3, "list of texts"),
        (lambda: table.flag("kind", True), 3, "true or false"),
        (lambda: table.text("desk"), 2, "text"),
        (lambda: table.name("desk"), 2, "text"),
        (lambda: table.table("kind"), 3, "table"),
        (lambda: table.allow_only("kind", "roles", "public_key"), 9, "one of kind"),
        (lambda: root.table("posture").octets("strict", 1), 12, "hexadecimal"),
    ]
    for call, line, expected in cases:
        with pytest.raises(ConfigurationError, match=expected) as caught:
            call()
        assert caught.value.line == line
        assert "registry.toml" in str(caught.value)


def test_what_is_no_toml_is_refused_at_its_line(tmp_path):
    """Broken TOML, broken text and oversized files are refused, with the line where there is one."""
    path = tmp_path / "x.toml"
    for data, line in [(b"a = 1\nb = \n", 2), (b"a = 1\na = 2\n", 2), (b"a = 1\n\n# \xff\n", 3)]:
        path.write_bytes(data)
        with pytest.raises(ConfigurationError) as caught:
            read_toml(path)
        assert caught.value.line == line
    path.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ConfigurationError, match="at most"):
        read_toml(path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_toml(tmp_path / "absent.toml")


def test_private_files_are_for_the_owner_alone(tmp_path):
    """A key file is made with mode 0600, never over another, and is refused once others may touch it."""
    path = tmp_path / "key.toml"
    old = os.umask(0)
    try:
        write_private(path, "a = 1\n")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_private_toml(path).integer("a", 0, low=0, high=9) == 1
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_private(path, "a = 2\n")
    assert path.read_text() == "a = 1\n"
    for mode in (0o640, 0o604, 0o620, 0o601):
        path.chmod(mode)
        with pytest.raises(ConfigurationError, match="0600"):
            read_private_toml(path)


def test_a_private_file_is_written_in_full_or_not_at_all(tmp_path):
    """A disk that fills up in the middle leaves no half a key behind, and no name that is taken."""
    path = tmp_path / "device.key"
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, limit[1]))
    try:
        with pytest.raises(ConfigurationError, match=r"device\.key: cannot be written"):
            write_private(path, 'device = "host-1"\nsigning_seed = "00"\n')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list(tmp_path.iterdir()) == []
    write_private(path, "a = 1\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(ConfigurationError, match="exists"):
        write_private(path, "a = 2\n")
    assert path.read_text() == "a = 1\n"


def test_D7_a_file_that_no_reader_can_take_is_refused_in_a_sentence(tmp_path):
    """Arrays nested without end, or a number of ten thousand digits, are no TOML that is taken here."""
    path = tmp_path / "nested.toml"
    for text in ("a = " + "[" * 100_000, "a = " + "9" * 10_000):
        path.write_text(text)
        with pytest.raises(ConfigurationError, match=r"nested\.toml: expected"):
            read_toml(path)


def test_a_file_is_read_up_to_its_limit(tmp_path):
    """As many bytes as are allowed are read, one more is refused; private bytes are the owner's alone."""
    path = tmp_path / "key.pem"
    path.write_bytes(b"x" * 100)
    path.chmod(0o600)
    for read in (read_bytes, read_private_bytes):
        assert read(path, max_bytes=100) == b"x" * 100
        with pytest.raises(ConfigurationError, match=r"key\.pem: expected at most 99 bytes"):
            read(path, max_bytes=99)
        with pytest.raises(ConfigurationError, match=r"absent: cannot be read"):
            read(tmp_path / "absent", max_bytes=100)
    path.chmod(0o640)
    assert read_bytes(path, max_bytes=100) == b"x" * 100
    with pytest.raises(
        ConfigurationError, match=r"key\.pem: holds a private key: expected mode 0600, not 0640"
    ):
        read_private_bytes(path, max_bytes=100)


def test_a_table_does_not_print_its_values(root):
    """The repr of a table names the place and no value, for it may hold a key."""
    ((_, table),) = root.table("subjects").tables()
    assert "00ff" not in repr(table)
    assert "algo-7" in repr(table)
