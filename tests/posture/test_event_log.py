"""The firmware's event log is read to the last byte, and adds up as the TPM does."""

from __future__ import annotations

import hashlib
import re
import shutil
import struct
import subprocess

import pytest

from ztsession.errors import WireError
from ztsession.posture.event_log import LOG_MAX_BYTES, EventLog, replay

SHA1, SHA256 = 0x0004, 0x000B
NO_ACTION, SEPARATOR, POST_CODE, IPL = 3, 4, 1, 13


def head(banks: tuple[tuple[int, int], ...] = ((SHA1, 20), (SHA256, 32)), vendor: bytes = b"") -> bytes:
    body = b"Spec ID Event03\0" + struct.pack("<IBBBBI", 0, 0, 2, 0, 2, len(banks))
    body += b"".join(struct.pack("<HH", *bank) for bank in banks) + bytes([len(vendor)]) + vendor
    return struct.pack("<II20sI", 0, NO_ACTION, bytes(20), len(body)) + body


def event(pcr: int, kind: int, data: bytes, *, digest: bytes | None = None) -> bytes:
    sha256 = hashlib.sha256(data).digest() if digest is None else digest
    sha1 = hashlib.sha1(data).digest() if digest is None else bytes(20)
    digests = struct.pack("<IH20sH32s", 2, SHA1, sha1, SHA256, sha256)
    return struct.pack("<II", pcr, kind) + digests + struct.pack("<I", len(data)) + data


def locality(number: int) -> bytes:
    return event(0, NO_ACTION, b"StartupLocality\0" + bytes([number]), digest=bytes(32))


LOG = (
    head()
    + event(0, POST_CODE, b"firmware")
    + event(4, IPL, b"boot loader")
    + event(7, SEPARATOR, bytes(4))
    + event(4, SEPARATOR, bytes(4))
)
EVENTS = tuple(
    (pcr, hashlib.sha256(data).digest())
    for pcr, data in ((0, b"firmware"), (4, b"boot loader"), (7, bytes(4)), (4, bytes(4)))
)


def test_a_log_is_read_in_order():
    """What comes out is each register and SHA-256 digest, in the order of the log."""
    log = EventLog.read(LOG)
    assert (log.events, log.locality) == (EVENTS, 0)
    assert log.replayable({4, 7}) == [each for each in EVENTS if each[0] != 0]
    assert log.replayable({0, 4, 7}) == list(EVENTS)


def test_replay_extends_from_zero():
    """A register is the digest of its old value and the event, from 32 zero bytes on."""
    first = hashlib.sha256(bytes(32) + EVENTS[1][1]).digest()
    assert replay(EVENTS)[4] == hashlib.sha256(first + EVENTS[3][1]).digest()
    assert set(replay(EVENTS)) == {0, 4, 7}
    assert replay([]) == {}


def test_another_reader_agrees(tmp_path):
    """The program of tpm2-tools computes the same registers from the same log."""
    if shutil.which("tpm2_eventlog") is None:
        pytest.skip("tpm2-tools is not installed")
    (tmp_path / "log").write_bytes(LOG)
    ran = subprocess.run(
        ["tpm2_eventlog", tmp_path / "log"], capture_output=True, text=True, timeout=30, check=True
    )
    sha256 = ran.stdout.rpartition("sha256:")[2]
    told = {int(pcr): bytes.fromhex(value) for pcr, value in re.findall(r"(\d+) *: 0x([0-9a-f]{64})", sha256)}
    assert told == replay(EventLog.read(LOG).events)


def test_what_is_no_action_is_not_extended():
    """Events that only inform are read and left out, whatever register they name."""
    informing = event(0xFFFFFFFF, NO_ACTION, b"vendor", digest=bytes(32))
    assert EventLog.read(LOG + informing + event(4, NO_ACTION, b"x")).events == EVENTS


def test_pcr_0_is_left_out_when_it_did_not_begin_with_zero():
    """After a start from another locality the events of PCR 0, and no others, cannot be replayed."""
    log = EventLog.read(LOG + locality(3))
    assert (log.events, log.locality) == (EVENTS, 3)
    assert log.replayable({0, 4, 7}) == list(EVENTS[1:])
    assert EventLog.read(LOG + locality(0)).replayable({0, 4, 7}) == list(EVENTS)


def test_a_vendors_own_and_other_banks_are_passed_over():
    """A log with SHA-256 alone, or with a vendor's bytes, says the same."""
    alone = head(((SHA256, 32),), b"vendor") + struct.pack("<IIIH", 7, SEPARATOR, 1, SHA256)
    alone += EVENTS[2][1] + struct.pack("<I", 4) + bytes(4)
    assert EventLog.read(alone).events == (EVENTS[2],)


def test_D7_a_log_cut_anywhere_is_refused():
    """Each cut that is not between two events is refused, and none brings out another exception."""
    ends, at = {len(head())}, len(head())
    for data in (b"firmware", b"boot loader", bytes(4), bytes(4)):
        at += 8 + 4 + 2 + 20 + 2 + 32 + 4 + len(data)
        ends.add(at)
    taken = set()
    for length in range(len(LOG) + 1):
        try:
            EventLog.read(LOG[:length])
            taken.add(length)
        except WireError:
            pass
    assert taken == ends


@pytest.mark.parametrize(
    ("log", "says"),
    [
        (b"", "cut short"),
        (bytes(LOG_MAX_BYTES + 1), "expected at most"),
        (bytes(64), "Spec ID"),
        (LOG.replace(b"Event03", b"Event02"), "Spec ID"),
        (head(()), "0 banks"),
        (head(((SHA256, 32),) * 2), "a bank twice"),
        (head(((SHA256, 32), (0x99, 65))), "more than 64 bytes"),
        (head(((SHA1, 20),)), "a SHA-256 bank"),
        (head(((SHA256, 20),)), "a SHA-256 bank"),
        (head(((SHA256, 32), (SHA1, 21))), "a SHA-256 bank"),
        (head()[:-1] + b"\x05", "cut short"),
        (LOG + event(24, SEPARATOR, b""), "register 24"),
        (LOG + struct.pack("<III", 0, IPL, 0xFFFFFFFF), "4294967295 digests"),
        (LOG + event(4, IPL, b"").replace(b"\x0b\x00", b"\x04\x00", 1), "twice"),
        (LOG + event(4, IPL, b"")[:-4] + b"\xff\xff\xff\xff", "cut short"),
        (LOG + event(0, NO_ACTION, b"StartupLocality\0"), "one byte of locality"),
        (LOG + bytes(40), "0 digests"),
    ],
)
def test_D7_a_hostile_log_is_refused_without_work(log, says):
    """Sizes and counts that are not there, second readings and padding are refused in a sentence."""
    with pytest.raises(WireError, match=says):
        EventLog.read(log)
    assert EventLog.read(LOG).events == EVENTS
