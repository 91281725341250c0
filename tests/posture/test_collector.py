"""The measurements read real file shapes, and say unknown wherever they cannot tell."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import pytest

from ztsession.posture.collector import (
    collect,
    disk_encryption,
    kernel_release,
    package_set,
    program_digest,
    running_program,
    secure_boot,
)
from ztsession.wire import digest

EFI = "sys/firmware/efi/efivars"
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
SHIM = "605dab50-e046-4300-abb6-3dd810dd8b23"


def put(root: Path, name: str, content: str | bytes) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def link(root: Path, name: str, target: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def test_an_empty_tree_is_unknown_in_everything(tmp_path):
    """Where nothing can be read, nothing is known, and nothing is good."""
    assert set(collect(tmp_path, program=(tmp_path / "absent",)).values()) == {"unknown"}


def test_this_host_can_be_measured():
    """On the running host every item is a text, and kernel and program are known."""
    found = collect()
    assert set(found) == {"kernel", "secure_boot", "disk_encryption", "packages", "program", "debug"}
    assert found["kernel"] == Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert found["program"] == program_digest(*running_program())
    assert len(found["program"]) == 64


@pytest.mark.parametrize(
    ("content", "expected"),
    [("6.1.0-38-amd64\n", "6.1.0-38-amd64"), ("", "unknown"), ("x" * 257, "unknown"), (b"\xff", "unknown")],
)
def test_the_kernel_release_is_read(tmp_path, content, expected):
    """The release is what the kernel says, without its line end."""
    put(tmp_path, "proc/sys/kernel/osrelease", content)
    assert kernel_release(tmp_path) == expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({f"SecureBoot-{GLOBAL}": b"\x06\0\0\0\x01"}, "enabled"),
        ({f"SecureBoot-{GLOBAL}": b"\x06\0\0\0\x01", f"SetupMode-{GLOBAL}": b"\x06\0\0\0\0"}, "enabled"),
        ({f"SecureBoot-{GLOBAL}": b"\x06\0\0\0\0"}, "disabled"),
        ({f"SecureBoot-{GLOBAL}": b"\x06\0\0\0\x01", f"SetupMode-{GLOBAL}": b"\x06\0\0\0\x01"}, "disabled"),
        ({f"SecureBoot-{GLOBAL}": b"\x06\0\0\0\x01", f"MokSBStateRT-{SHIM}": b"\x06\0\0\0\x01"}, "disabled"),
        ({f"SecureBoot-{GLOBAL}": b"\x01"}, "unknown"),
        ({f"SecureBoot-{GLOBAL}": b"\x06\0\0\0\x02"}, "unknown"),
        ({f"SecureBoot-{GLOBAL}": b"\x06\0\0\0\x01", f"SetupMode-{GLOBAL}": b""}, "unknown"),
        ({f"SetupMode-{GLOBAL}": b"\x06\0\0\0\0"}, "unknown"),
    ],
)
def test_secure_boot_is_read_from_the_firmware(tmp_path, variables, expected):
    """Secure Boot counts only when on, out of setup mode, and not switched off in shim."""
    for name, content in variables.items():
        put(tmp_path, f"{EFI}/{name}", content)
    assert secure_boot(tmp_path) == expected


MOUNTS = "22 28 0:21 / /proc rw,nosuid - proc proc rw\n28 1 {} / / rw,relatime shared:1 - {} rw\n"


def block(
    root: Path, number: str, name: str, *, uuid: str | None = None, slaves: tuple[str, ...] = ()
) -> None:
    device = f"sys/devices/virtual/block/{name}"
    put(root, f"{device}/dev", number + "\n")
    if uuid is not None:
        put(root, f"{device}/dm/uuid", uuid + "\n")
    (root / device / "slaves").mkdir()
    for slave in slaves:
        link(root, f"{device}/slaves/{slave}", f"../../{slave}")
    link(root, f"sys/dev/block/{number}", f"../../devices/virtual/block/{name}")
    link(root, f"sys/class/block/{name}", f"../../devices/virtual/block/{name}")


LUKS = "CRYPT-LUKS2-0123456789abcdef0123456789abcdef-root"


def plain(root: Path) -> None:
    put(root, "proc/self/mountinfo", MOUNTS.format("259:2", "ext4 /dev/nvme0n1p2"))
    block(root, "259:2", "nvme0n1p2")


def luks(root: Path) -> None:
    put(root, "proc/self/mountinfo", MOUNTS.format("254:0", "ext4 /dev/mapper/root"))
    block(root, "259:2", "nvme0n1p2")
    block(root, "254:0", "dm-0", uuid=LUKS, slaves=("nvme0n1p2",))


def lvm_on_luks(root: Path) -> None:
    put(root, "proc/self/mountinfo", MOUNTS.format("254:1", "xfs /dev/mapper/vg-root"))
    block(root, "259:2", "nvme0n1p2")
    block(root, "254:0", "dm-0", uuid=LUKS, slaves=("nvme0n1p2",))
    block(root, "254:1", "dm-1", uuid="LVM-abc", slaves=("dm-0",))


def lvm_on_plain(root: Path) -> None:
    put(root, "proc/self/mountinfo", MOUNTS.format("254:1", "xfs /dev/mapper/vg-root"))
    block(root, "259:2", "nvme0n1p2")
    block(root, "254:1", "dm-1", uuid="LVM-abc", slaves=("nvme0n1p2",))


def mirror_with_a_plain_leg(root: Path) -> None:
    put(root, "proc/self/mountinfo", MOUNTS.format("9:0", "ext4 /dev/md0"))
    block(root, "259:2", "nvme0n1p2")
    block(root, "259:4", "nvme1n1p2")
    block(root, "254:0", "dm-0", uuid=LUKS, slaves=("nvme0n1p2",))
    block(root, "9:0", "md0", slaves=("dm-0", "nvme1n1p2"))


def verity(root: Path) -> None:
    put(root, "proc/self/mountinfo", MOUNTS.format("254:0", "erofs /dev/mapper/usr"))
    block(root, "259:2", "nvme0n1p2")
    block(root, "254:0", "dm-0", uuid="CRYPT-VERITY-0123-usr", slaves=("nvme0n1p2",))


def btrfs_on_luks(root: Path) -> None:
    put(root, "proc/self/mountinfo", MOUNTS.format("0:25", "btrfs /dev/mapper/root"))
    block(root, "254:0", "dm-0", uuid=LUKS)
    put(root, "dev/dm-0", "")
    link(root, "dev/mapper/root", "../dm-0")
    link(root, "sys/fs/btrfs/1234/devices/dm-0", "../../../../devices/virtual/block/dm-0")


def btrfs_with_a_plain_member(root: Path) -> None:
    btrfs_on_luks(root)
    block(root, "259:4", "nvme1n1p2")
    link(root, "sys/fs/btrfs/1234/devices/nvme1n1p2", "../../../../devices/virtual/block/nvme1n1p2")


def btrfs_without_sysfs(root: Path) -> None:
    put(root, "proc/self/mountinfo", MOUNTS.format("0:25", "btrfs /dev/mapper/root"))


def container(root: Path) -> None:
    put(root, "proc/self/mountinfo", MOUNTS.format("0:52", "overlay overlay"))


def no_root_mount(root: Path) -> None:
    put(root, "proc/self/mountinfo", "22 28 0:21 / /proc rw - proc proc rw\nnonsense\n")


def circle(root: Path) -> None:
    put(root, "proc/self/mountinfo", MOUNTS.format("254:1", "ext4 /dev/dm-1"))
    block(root, "254:1", "dm-1", uuid="LVM-abc", slaves=("dm-1",))


def missing_device(root: Path) -> None:
    put(root, "proc/self/mountinfo", MOUNTS.format("254:1", "ext4 /dev/dm-1"))


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (plain, "disabled"),
        (luks, "enabled"),
        (lvm_on_luks, "enabled"),
        (lvm_on_plain, "disabled"),
        (mirror_with_a_plain_leg, "disabled"),
        (verity, "disabled"),
        (btrfs_on_luks, "enabled"),
        (btrfs_with_a_plain_member, "disabled"),
        (btrfs_without_sysfs, "unknown"),
        (container, "unknown"),
        (no_root_mount, "unknown"),
        (circle, "unknown"),
        (missing_device, "unknown"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_disk_encryption_is_found_below_the_root_mount(tmp_path, build, expected):
    """Only storage whose every way down meets a cipher counts as encrypted."""
    build(tmp_path)
    assert disk_encryption(tmp_path) == expected


def test_a_later_mount_on_root_counts(tmp_path):
    """If something was mounted over /, what is on top is what is measured."""
    luks(tmp_path)
    block(tmp_path, "259:9", "nvme9n1")
    with (tmp_path / "proc/self/mountinfo").open("a") as mounts:
        mounts.write("40 28 259:9 / / rw - ext4 /dev/nvme9n1 rw\n")
    assert disk_encryption(tmp_path) == "disabled"


BASH = """\
Package: bash
Essential: yes
Status: install ok installed
Architecture: amd64
Version: 5.2.15-2+b9
Description: GNU Bourne Again SHell
 Bash is an sh-compatible command language interpreter.
 .
 Version: 9.9 stands here as text only.
"""
ZLIB = "Package: zlib1g\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:1.2.13.dfsg-1\n"
GONE = "Package: old\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n"
HALF = "Package: half\nStatus: install reinstreq half-installed\nArchitecture: amd64\nVersion: 1\n"
STATUS = "var/lib/dpkg/status"


def test_the_dpkg_set_is_the_installed_packages(tmp_path):
    """The digest covers name, version and architecture of what is installed, in any order, and no more."""
    put(tmp_path, STATUS, "\n".join([BASH, ZLIB, GONE, HALF]))
    expected = digest(
        "posture packages", b"dpkg", b"bash=5.2.15-2+b9/amd64", b"zlib1g=1:1.2.13.dfsg-1/amd64"
    ).hex()
    assert package_set(tmp_path) == expected
    put(tmp_path, STATUS, "\n".join([ZLIB, BASH]) + "\n\n")
    assert package_set(tmp_path) == expected
    put(tmp_path, STATUS, "\n".join([ZLIB, BASH.replace("b9", "b8")]))
    assert package_set(tmp_path) not in (expected, "unknown")
    put(tmp_path, STATUS, ZLIB)
    assert package_set(tmp_path) not in (expected, "unknown")


@pytest.mark.parametrize("content", ["", GONE, "Package: x\nStatus: install ok installed\n\n", b"\xff\xfe"])
def test_a_broken_dpkg_database_is_unknown(tmp_path, content):
    """A database without packages, with half an entry, or with foreign bytes tells nothing."""
    put(tmp_path, STATUS, content)
    assert package_set(tmp_path) == "unknown"


def rpm(path: Path, headers: list[str], packages: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
        db.execute(
            "CREATE TABLE 'Sha1header' (key 'TEXT' NOT NULL, hnum INTEGER NOT NULL, idx INTEGER NOT NULL)"
        )
        db.executemany("INSERT INTO Packages (blob) VALUES (?)", [(b"header",)] * packages)
        db.executemany("INSERT INTO Sha1header VALUES (?, 1, 0)", [(header,) for header in headers])
    db.close()


@pytest.mark.parametrize("name", ["usr/lib/sysimage/rpm/rpmdb.sqlite", "var/lib/rpm/rpmdb.sqlite"])
def test_the_rpm_set_is_the_header_digests(tmp_path, name):
    """The digest covers the sorted header digests of all packages, and reading leaves no trace."""
    rpm(tmp_path / name, ["b" * 40, "a" * 40], 2)
    before = (tmp_path / name).read_bytes()
    assert package_set(tmp_path) == digest("posture packages", b"rpm", b"a" * 40, b"b" * 40).hex()
    assert (tmp_path / name).read_bytes() == before
    assert [path.name for path in (tmp_path / name).parent.iterdir()] == ["rpmdb.sqlite"]


def test_a_doubtful_rpm_database_is_unknown(tmp_path):
    """A package without digest, a database in the middle of a change, or no database, tells nothing."""
    path = tmp_path / "var/lib/rpm/rpmdb.sqlite"
    rpm(path, ["a" * 40], 2)
    assert package_set(tmp_path) == "unknown"
    path.unlink()
    rpm(path, ["a" * 40], 1)
    assert package_set(tmp_path) != "unknown"
    put(tmp_path, "var/lib/rpm/rpmdb.sqlite-wal", b"pages")
    assert package_set(tmp_path) == "unknown"
    (tmp_path / "var/lib/rpm/rpmdb.sqlite-wal").unlink()
    path.write_bytes(b"no database")
    assert package_set(tmp_path) == "unknown"


def test_the_program_is_the_digest_of_its_files(tmp_path):
    """Each file counts, in order; one that cannot be read makes the program unknown."""
    put(tmp_path, "python", b"interpreter")
    put(tmp_path, "main.py", b"script")
    first, second = tmp_path / "python", tmp_path / "main.py"
    parts = [hashlib.sha256(content).digest() for content in (b"interpreter", b"script")]
    assert program_digest(first, second) == digest("posture program", *parts).hex()
    assert program_digest(second, first) not in (program_digest(first, second), "unknown")
    assert program_digest(first, tmp_path / "absent") == "unknown"
    assert program_digest() == "unknown"
