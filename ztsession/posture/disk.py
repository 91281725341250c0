"""Whether the root file system lies on encrypted storage, by walking down to what is below it.

A mount names a block device; a block device may be a mapping over others (LVM, RAID, dm-crypt), each with
its own ``slaves``. Storage counts as encrypted only if every way down meets a dm-crypt mapping: one plain
leg of a mirror gives all of it away.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["disk_encryption"]

_DEPTH_MAX = 8

# What cryptsetup writes for mappings that encipher; it also makes CRYPT-VERITY and CRYPT-INTEGRITY, which
# do not.
_CIPHER_MAPPINGS = tuple(
    f"CRYPT-{kind}-" for kind in ("LUKS1", "LUKS2", "PLAIN", "LOOPAES", "TCRYPT", "BITLK", "FVAULT2")
)


def disk_encryption(root: Path) -> str:
    """Return ``"enabled"`` or ``"disabled"``; ``"unknown"`` where no block device can be found below /."""
    try:
        devices = _devices_below_root(root)
        return "enabled" if all(_encrypted(device, _DEPTH_MAX) for device in devices) else "disabled"
    except (OSError, ValueError):
        return "unknown"


def _devices_below_root(root: Path) -> list[Path]:
    """Return the sysfs directories of the block devices that carry /, at least one."""
    number, source = _root_mount(root)
    if not number.startswith("0:"):
        return [_existing(root / "sys/dev/block" / number)]
    # Btrfs spans devices and shows an anonymous number. The source names one of them, perhaps by a link.
    if not source.startswith("/dev/"):
        raise ValueError("the root file system has no block device")
    name = (root / source.lstrip("/")).resolve().name
    for members in (root / "sys/fs/btrfs").glob("*/devices"):
        if (members / name).exists():
            return [_existing(member) for member in members.iterdir()]
    raise ValueError("the devices of the root file system are not known")


def _root_mount(root: Path) -> tuple[str, str]:
    """Return (major:minor, source) of the mount on /, the latest one if there are several."""
    found: tuple[str, str] | None = None
    for line in (root / "proc/self/mountinfo").read_text("utf-8").splitlines():
        # proc_pid_mountinfo(5): id parent major:minor root mount-point options [tags...] - type source
        # options
        before, _, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if len(fields) >= 6 and len(rest) >= 2 and fields[4] == "/":
            found = fields[2], rest[1]
    if found is None:
        raise ValueError("nothing is mounted on /")
    return found


def _existing(directory: Path) -> Path:
    return directory.resolve(strict=True)


def _encrypted(device: Path, depth: int) -> bool:
    if depth == 0:
        raise ValueError("mappings are nested too deeply")
    mapping = device / "dm/uuid"
    if mapping.exists() and mapping.read_text("ascii").startswith(_CIPHER_MAPPINGS):
        return True
    below = device / "slaves"
    legs = list(below.iterdir()) if below.is_dir() else []
    return bool(legs) and all(_encrypted(_existing(leg), depth - 1) for leg in legs)
