"""detectors.toml is read as strictly as any file of the operator's, and says what its keys are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from ztsession.errors import ConfigurationError
from ztsession.risk.detectors.off_hours import UsualHours
from ztsession.risk.detectors.settings import DETECTORS_FILE, DetectorSettings, Source
from ztsession.risk.levels import Level
from ztsession.risk.signals import Signal
from ztsession.wire.signature import SeedSigner

KEY = SeedSigner(b"k" * 32).public_key.hex()
OTHER = SeedSigner(b"o" * 32).public_key.hex()

EVERYTHING = f"""
[scan]
every_ms = 250
burst_s = 30

[order-rate]
factor = 20
min_per_s = 5
window_ms = 500
memory_s = 60
warm_up_s = 10
level = "HIGH"

[denials]
count = 9
level = "MEDIUM"

[replay]
count = 8
level = "LOW"

[strangers]
count = 7
within_s = 6

[off-hours]
level = "HIGH"

[off-hours.human]
from = "07:30"
until = "19:00"
days = ["mon", "fri"]
phases = ["continuous"]

[off-hours.service]

[concurrency]
kinds = ["human"]
level = "CRITICAL"

[posture-silence]
max_age_s = 77
level = "LOW"

[lateral-movement]
segments = 3
operations = 4
within_s = 5
level = "MEDIUM"

[sources.gateway]
public_key = "{KEY}"
kinds = ["replay"]
highest = "HIGH"
segments = ["orders"]
"""


def read(tmp_path: Path, text: str) -> DetectorSettings:
    (tmp_path / DETECTORS_FILE).write_text(text)
    return DetectorSettings.from_directory(tmp_path)


def test_without_the_file_the_defaults_hold(tmp_path: Path) -> None:
    """No file, and an empty one, are the same; a link that leads nowhere is a missing file."""
    assert DetectorSettings.from_directory(tmp_path) == DetectorSettings() == read(tmp_path, "")
    (tmp_path / DETECTORS_FILE).unlink()
    (tmp_path / DETECTORS_FILE).symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        DetectorSettings.from_directory(tmp_path)


def test_every_key_has_its_effect(tmp_path: Path) -> None:
    """Each key of the file is one field, and nothing is left at its default."""
    settings = read(tmp_path, EVERYTHING)
    expected = DetectorSettings(
        every_ms=250,
        burst_s=30,
        rate_factor=20,
        rate_min_per_s=5,
        rate_window_ms=500,
        rate_memory_s=60,
        rate_warm_up_s=10,
        rate_level=Level.HIGH,
        denials=9,
        denials_level=Level.MEDIUM,
        replays=8,
        replay_level=Level.LOW,
        strangers=7,
        strangers_within_s=6,
        hours={
            "human": UsualHours(730, 1900, ("mon", "fri"), ("continuous",)),
            "service": UsualHours(),
        },
        hours_level=Level.HIGH,
        concurrency_kinds=("human",),
        concurrency_level=Level.CRITICAL,
        posture_max_age_s=77,
        posture_level=Level.LOW,
        lateral_segments=3,
        lateral_operations=4,
        lateral_within_s=5,
        lateral_level=Level.MEDIUM,
        sources={"gateway": Source("gateway", bytes.fromhex(KEY), ("replay",), Level.HIGH, ("orders",))},
    )
    assert settings == expected
    default = DetectorSettings()
    same = [name for name in vars(settings) if getattr(settings, name) == getattr(default, name)]
    assert same == []


SOURCE = f'[sources.s]\npublic_key = "{KEY}"\nkinds = ["replay"]\nsegments = ["orders"]\n'


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("[order_rate]\n", 1, "unknown key, expected one of scan, order-rate"),
        ("[order-rate]\nfaktor = 3\n", 2, "unknown key, expected one of factor"),
        ("[order-rate]\nfactor = 1\n", 2, "an integer from 2"),
        ("[order-rate]\nfactor = 2.5\n", 2, "an integer from 2"),
        ('[replay]\nlevel = "high"\n', 2, "expected one of LOW, MEDIUM, HIGH, CRITICAL"),
        ("[strangers]\nlevel = 1\n", 2, "unknown key, expected one of count, within_s"),
        ("[off-hours.robot]\n", 1, "unknown key, expected one of algorithm"),
        ('[off-hours.human]\nfrom = "7:00"\n', 2, "a time like '09:30'"),
        ('[off-hours.human]\nfrom = "24:00"\n', 2, "a time like '09:30'"),
        ('[off-hours.human]\nuntil = "24:01"\n', 2, "a time like '09:30'"),
        ('[off-hours.human]\nfrom = "08:00"\nuntil = "08:00"\n', 3, "another time than from"),
        ("[off-hours.human]\ndays = []\n", 2, "some of mon"),
        ('[off-hours.human]\ndays = ["monday"]\n', 2, "some of mon"),
        ('[off-hours.human]\nphases = ["a b"]\n', 2, "phases of calendar.toml"),
        ('[concurrency]\nkinds = ["robot"]\n', 2, "some of algorithm, human, service"),
        ("[lateral-movement]\nsegments = 1\n", 2, "an integer from 2"),
        (SOURCE.replace("[sources.s]", '[sources."point:orders"]'), 1, "in the Authority's own process"),
        (SOURCE.replace("[sources.s]", '[sources."authority:x"]'), 1, "in the Authority's own process"),
        (SOURCE.replace("[sources.s]", '[sources."a b"]'), 1, "a name of 1 to 128 characters"),
        (SOURCE.replace('["replay"]', "[]"), 3, "at least one name"),
        (SOURCE.replace('["orders"]', '["a b"]'), 4, "at least one name"),
        (SOURCE + "key = 1\n", 5, "unknown key"),
        (SOURCE.replace(KEY, "00" * 32), 2, "an Ed25519 public key"),
        (SOURCE.replace(f'public_key = "{KEY}"\n', ""), 1, "64 digits"),
        (SOURCE + SOURCE.replace("[sources.s]", "[sources.t]"), 6, "a key of its own, s has the same"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, line: int, expected: str) -> None:
    """File, line, and what was expected."""
    with pytest.raises(ConfigurationError, match=expected) as caught:
        read(tmp_path, text)
    assert caught.value.file == str(tmp_path / DETECTORS_FILE)
    assert caught.value.line == line


def test_how_many_sources_there_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their number is bounded."""
    monkeypatch.setattr("ztsession.risk.detectors.settings.SOURCES_MAX", 1)
    read(tmp_path, SOURCE)
    with pytest.raises(ConfigurationError, match="at most 1 sources"):
        read(tmp_path, SOURCE + SOURCE.replace("[sources.s]", "[sources.t]").replace(KEY, OTHER))


@pytest.mark.parametrize(
    ("changed", "allowed"),
    [
        ({}, True),
        ({"level": Level.LOW}, True),
        ({"withdraws": True}, True),
        ({"level": Level.HIGH}, False),
        ({"kind": "operator"}, False),
        ({"source": "other"}, False),
        ({"evidence": {"segment": "risk"}}, False),
        ({"evidence": {}}, False),
        ({"session": b"", "subject": "ada"}, False),
        ({"session": b"", "device": "host-1", "level": Level.LOW}, False),
        ({"session": b"", "network": "192.0.2.1"}, False),
        ({"session": b"", "network": "192.0.2.1", "level": Level.LOW}, True),
    ],
)
def test_what_a_source_may_say(changed: dict[str, object], allowed: bool) -> None:
    """Its own name, its kinds, up to its level, about its segments, of sessions; of addresses a note."""
    source = Source("gateway", bytes.fromhex(KEY), ("replay",), Level.MEDIUM, ("orders",))
    values: dict[str, object] = {
        "id": "1",
        "kind": "replay",
        "level": Level.MEDIUM,
        "source": "gateway",
        "time": 1.0,
        "session": b"s" * 16,
        "evidence": {"segment": "orders"},
    }
    assert source.allows(Signal(**(values | changed))) == allowed  # type: ignore[arg-type]
