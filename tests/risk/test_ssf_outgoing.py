"""The transmitter's settings and its subjects: what is taken, what is refused, and whom an event is about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ztsession.errors import ConfigurationError, WireError
from ztsession.risk.kinds import DEFAULT_KINDS
from ztsession.risk.ssf.names import CAEP
from ztsession.risk.ssf.outgoing import OUTGOING, RISK_REASONS, session_revoked
from ztsession.risk.ssf.outgoing_settings import TransmitterSettings
from ztsession.risk.ssf.outgoing_subjects import (
    SUBJECT_MAX_CHARS,
    complex_matches,
    complex_subject,
    keys_of,
    read_subject,
)
from ztsession.risk.ssf.settings import SsfSettings

DIGEST = "0123456789abcdef" * 4
GOOD = f"""\
[transmitter]
issuer = "https://zt.firm.example:8443/desk/one"
default_subjects = "NONE"
[transmitter.receivers.siem]
digest = "{DIGEST}"
audience = ["https://siem.example", "siem"]
push_hosts = ["siem.example", "10.0.0.7:8443"]
events = ["session-revoked"]
[transmitters.idp]
issuer = "of the other direction, and its reader's business"
"""


def read(directory: Path, text: str) -> TransmitterSettings | None:
    (directory / "ssf.toml").write_text(text)
    return TransmitterSettings.from_directory(directory)


def test_settings_are_read(tmp_path: Path):
    """Issuer, default, and of each receiver who it is, what it may hear, and where it may be pushed to."""
    settings = read(tmp_path, GOOD)
    assert settings is not None
    assert (settings.issuer, settings.all_subjects) == ("https://zt.firm.example:8443/desk/one", False)
    siem = settings.receivers["siem"]
    assert (siem.digest, siem.audience) == (DIGEST, ("https://siem.example", "siem"))
    assert siem.events == (CAEP + "session-revoked",)
    assert siem.push_hosts == {"siem.example:443", "10.0.0.7:8443"}
    assert DIGEST not in repr(settings)


def test_both_directions_live_in_one_file(tmp_path: Path):
    """Each reader takes its own table, and passes over that of the other alone."""
    ours = GOOD[: GOOD.index("[transmitters.idp]")]
    assert read(tmp_path, ours) is not None
    assert SsfSettings.from_directory(tmp_path).transmitters == {}
    (tmp_path / "ssf.toml").write_text(ours + "[receivers]\n")
    for reader in (TransmitterSettings, SsfSettings):
        with pytest.raises(ConfigurationError, match="receivers: unknown key"):
            reader.from_directory(tmp_path)


def test_without_a_table_there_is_nothing_to_read(tmp_path: Path):
    """No file, and a file of the other direction alone, are no transmitter; all of it is the default."""
    assert TransmitterSettings.from_directory(tmp_path) is None
    assert read(tmp_path, '[transmitters.idp]\nissuer = "x"\n') is None
    least = GOOD.replace('default_subjects = "NONE"\n', "").replace('events = ["session-revoked"]\n', "")
    settings = read(tmp_path, least)
    assert settings is not None
    assert settings.all_subjects
    assert settings.receivers["siem"].events == tuple(CAEP + each for each in OUTGOING)


@pytest.mark.parametrize(
    ("number", "old", "new", "line"),
    [
        (1, "https://zt", "http://zt", 2),
        (2, "/desk/one", "/desk/one/", 2),
        (3, "/desk/one", "/desk?one", 2),
        (4, "//zt.firm", "//ZT.firm", 2),
        (5, "//zt.firm", "//a@zt.firm", 2),
        (6, '"NONE"', '"SOME"', 3),
        (7, DIGEST, DIGEST[:-1], 5),
        (8, DIGEST, DIGEST.upper(), 5),
        (9, '["https://siem.example", "siem"]', "[]", 6),
        (10, '"siem"]', '"si\\nem"]', 6),
        (11, "10.0.0.7:8443", "https://siem.example", 7),
        (12, "10.0.0.7:8443", "*.example", 7),
        (13, "10.0.0.7:8443", "siem.example:0", 7),
        (14, "session-revoked", "session-presented", 8),
        (15, '["session-revoked"]', "[]", 8),
        (16, "events =", "event =", 8),
        (17, "default_subjects", "default_subject", 3),
        (18, "[transmitters.idp]", "[transmiters.idp]", 9),
        (19, "receivers.siem", 'receivers."si em"', 4),
    ],
)
def test_mistakes_are_found_with_their_line(tmp_path: Path, number: int, old: str, new: str, line: int):
    """What does not fit is refused, and so is every key that is not known."""
    assert old in GOOD
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, GOOD.replace(old, new))
    assert caught.value.line == line, (number, str(caught.value))
    assert DIGEST not in str(caught.value)


def test_receivers_have_tokens_of_their_own(tmp_path: Path):
    """Two behind one token would be one; and without any there is nobody to tell."""
    table = f'[transmitter.receivers.crm]\ndigest = "{DIGEST}"\naudience = ["crm"]\n'
    with pytest.raises(ConfigurationError, match="a token of its own for each"):
        read(tmp_path, GOOD + table)
    with pytest.raises(ConfigurationError, match="expected 1 to 64 tables"):
        read(tmp_path, '[transmitter]\nissuer = "https://a.example"\n')


def test_every_kind_has_its_coarse_reason():
    """None of the kinds that are known from the start is told as its own name."""
    assert RISK_REASONS.keys() == DEFAULT_KINDS.keys()
    assert RISK_REASONS.keys().isdisjoint(RISK_REASONS.values())
    event = session_revoked({}, 1, by="policy", reason="a kind of the operator's own")
    assert "operator's own" not in json.dumps(dict(event.members))


EVENT = complex_subject("https://zt.example", session=bytes(16), user="ada", device="host-1")
USER = {"format": "iss_sub", "iss": "https://zt.example", "sub": "ada"}
DEVICE = {"format": "opaque", "id": "host-1"}
OTHER = {"format": "opaque", "id": "host-2"}
TENANT = {"format": "opaque", "id": "firm"}


@pytest.mark.parametrize(
    ("number", "subject", "matches"),
    [
        (1, {"user": USER}, True),
        (2, {"user": USER, "device": DEVICE}, True),
        (3, {"user": USER, "device": OTHER}, False),
        (4, {"device": OTHER}, False),
        (5, {"tenant": TENANT}, True),
        (6, {"tenant": TENANT, "user": {**USER, "sub": "bob"}}, False),
        (7, {"user": {**USER, "iss": "https://else.example"}}, False),
    ],
)
def test_complex_subjects_match_in_all_that_both_have(number: int, subject: Any, matches: bool):
    """What one of the two does not say decides nothing."""
    text = read_subject({"format": "complex", **subject})
    assert complex_matches(text, EVENT) is matches, number


def test_a_simple_subject_is_found_in_every_part_of_an_event():
    """The order of its members does not matter, and everything else does."""
    keys = keys_of(EVENT)
    for subject in (USER, DEVICE, {"format": "opaque", "id": "00" * 16}):
        assert read_subject(dict(reversed(subject.items()))) in keys
    for subject in (OTHER, {**USER, "sub": "Ada"}, {"format": "email", "email": "ada"}):
        assert read_subject(subject) not in keys


def test_a_device_that_is_none_is_not_told():
    """Who came without a device has none in the event either."""
    assert complex_subject("https://zt.example", user="ada", device="none").keys() == {"format", "user"}


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (1, None),
        (2, "ada"),
        (3, {}),
        (4, {"format": "opaque"}),
        (5, {"format": "opaque", "id": ""}),
        (6, {"format": "opaque", "id": 7}),
        (7, {"format": "opaque", "id": "x", "more": "x"}),
        (8, {"format": ["opaque"], "id": "x"}),
        (9, {"format": "aliases", "identifiers": []}),
        (10, {"format": "complex"}),
        (11, {"format": "complex", "pet": DEVICE}),
        (12, {"format": "complex", "user": {"format": "complex", "user": USER}}),
        (13, {"format": "opaque", "id": "x" * SUBJECT_MAX_CHARS}),
    ],
)
def test_other_subjects_are_refused(number: int, value: Any):
    """What could be read in two ways, or is of a format that is not known."""
    with pytest.raises(WireError, match="subject: expected"):
        read_subject(value)
