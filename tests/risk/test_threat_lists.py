"""Lists of others are read strictly, matched at once, and never forgotten because a file is broken."""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztsession.errors import ConfigurationError
from ztsession.risk.levels import Level
from ztsession.risk.networks import is_in, network_of
from ztsession.risk.threats import entries as entries_module
from ztsession.risk.threats import lists as lists_module
from ztsession.risk.threats.entries import Entries
from ztsession.risk.threats.lines import LINE_MAX_CHARACTERS, read_csv, read_text
from ztsession.risk.threats.lists import ThreatLists
from ztsession.risk.threats.prefixes import PrefixSet
from ztsession.risk.threats.settings import read_settings
from ztsession.risk.threats.stix import read_stix

NOW = 1_800_000_000.0
ONE, TWO = hashlib.sha256(b"1").hexdigest(), hashlib.sha256(b"2").hexdigest()
TEXT = """\
[lists.scanners]
file = "scanners.txt"
format = "text"
of = "addresses"
level = "MEDIUM"
"""


def write(directory: Path, settings: str = TEXT, **files: str) -> Path:
    (directory / "threats.toml").write_text(settings)
    for name, text in files.items():
        (directory / name.replace("_", ".")).write_text(text)
    return directory


def found(lists: ThreatLists, **asked: Any) -> list[tuple[str, str]]:
    return [(match.list, match.entry) for match in lists.match(**asked)]


# ---- Matching


@pytest.mark.parametrize(
    ("address", "entry"),
    [
        ("198.51.100.7", "198.51.100.7"),  # 1: the address itself
        ("198.51.100.8", "198.51.100.0/24"),  # 2: in a network
        ("::ffff:198.51.100.8", "198.51.100.0/24"),  # 3: the same in IPv6 clothes
        ("2001:DB8:0::5", "2001:db8::/48"),  # 4: another spelling
        ("fe80::1%eth0", "fe80::1"),  # 5: a zone says nothing of who came
        ("203.0.113.1", "203.0.113.1"),  # 6: listed as ::ffff:203.0.113.1
        ("198.51.101.1", ""),  # 7: outside
        ("", ""),  # 8: no address
        ("/run/socket", ""),  # 9: no address either
    ],
)
def test_an_address_matches_the_narrowest_network(address: str, entry: str):
    """Whatever spelling an address comes in, it is found in the narrowest network that it lies in."""
    entries = Entries()
    listed = ("198.51.100.0/24", "198.51.100.7", "2001:db8::/48", "2001:db8::/32", "fe80::1")
    for text in (*listed, "::ffff:203.0.113.1"):
        entries.add("addresses", text)
    assert entries.found("addresses", [address]) == [entry] * (entry != "")
    assert entry == "" or entries.holds("addresses", entry)


@given(
    st.lists(st.tuples(st.ip_addresses(), st.integers(16, 128)), max_size=20),
    st.ip_addresses(),
    st.integers(0, 19),
)
def test_networks_by_length_agree_with_each_network_by_itself(
    drawn: list[tuple[Any, int]], address: Any, near: int
):
    """Asking by prefix length finds what asking every network one by one finds."""
    import ipaddress

    networks = [
        network_of(str(ipaddress.ip_network((at, min(length, at.max_prefixlen)), strict=False)))
        for at, length in drawn
        # In IPv6 clothes, an IPv4 network is as wide as what is left of it, and too wide ones are refused.
        if not (at.version == 6 and at.ipv4_mapped and length < 96 + 8)
    ]
    by_length = PrefixSet()
    for network in networks:
        by_length.add(network)
    asked = network_of(str(drawn[near][0] if near < len(drawn) else address))
    holding = [network for network in networks if is_in(asked, network)]
    assert (by_length.holding(asked) in holding) if holding else (by_length.holding(asked) == "")
    assert all(by_length.holds(network) for network in networks)


def test_digests_match_in_either_case_and_nothing_else_does():
    """A digest is its 32 bytes; what is no digest, such as "unknown", is in no list."""
    entries = Entries()
    entries.add("programs", ONE.upper())
    assert entries.found("programs", [ONE, TWO, "unknown", ONE[:-1], ""]) == [ONE]
    assert entries.found("packages", [ONE]) == []
    assert entries.found("keys", [ONE]) == []


def test_one_line_cannot_shut_everybody_out():
    """A network that is wider than any provider's is refused, and its list with it."""
    for text in ("0.0.0.0/0", "128.0.0.0/1", "::/0", "2000::/3"):
        with pytest.raises(ConfigurationError, match=r"list:2: expected a network of /"):
            read_text(f"198.51.100.7\n{text}\n".encode(), "addresses", file="list")
    assert len(read_text(b"10.0.0.0/8\n2001::/16\n", "addresses", file="list")) == 2


# ---- Text


def test_text_has_one_entry_a_line():
    """Blank lines and comments are left out, line ends of either kind are taken, and a byte order mark."""
    data = "\ufeff# scanners\r\n198.51.100.7 # seen twice\r\n\n  2001:db8::/48\n".encode()
    assert len(read_text(data, "addresses", file="list")) == 2


@pytest.mark.parametrize(
    ("of", "text", "line", "expected"),
    [
        ("addresses", "198.51.100.7\nnonsense\n", 2, "an address or a network"),  # 1
        ("addresses", "198.51.100.7/24\n", 1, "an address or a network"),  # 2: which is it?
        (
            "addresses",
            "198.51.100.07\n",
            1,
            "an address or a network",
        ),  # 3: octal for some
        ("addresses", "198.51.100.7,198.51.100.8\n", 1, "an address or a network"),  # 4: another format
        ("addresses", "<html>try again later</html>\n", 1, "an address or a network"),  # 5: an error page
        ("programs", f"{ONE}\n{ONE[:-2]}\n", 2, "a SHA-256 digest of 64"),  # 6: another algorithm
        ("programs", f"{ONE}  /usr/bin/evil\n", 1, "a SHA-256 digest of 64"),  # 7
        ("addresses", "# nothing\n\n", None, "at least one entry"),  # 8: a download that failed
        ("addresses", "198.51.100.7\n" + "#" * (LINE_MAX_CHARACTERS + 1), 2, "a line of at most"),  # 9
        ("addresses", "198.51.100.7\u2028198.51.100.8\n", 1, "an address or a network"),  # 10: no line end
    ],
)
def test_a_line_that_is_no_entry_refuses_the_list(of: str, text: str, line: int | None, expected: str):
    """Nothing is skipped: the error names file, line and what was expected."""
    where = "list: " if line is None else f"list:{line}: "
    with pytest.raises(ConfigurationError, match=f"^{where}expected {expected}"):
        read_text(text.encode(), of, file="list")


def test_text_that_is_no_utf_8_is_refused():
    """The line of the first byte that does not fit is named."""
    with pytest.raises(ConfigurationError, match="list:2: expected UTF-8"):
        read_text(b"198.51.100.7\n\xff\n", "addresses", file="list")


def test_D7_entries_are_bounded(monkeypatch: pytest.MonkeyPatch):
    """A list of more entries than the limit is refused at the first that is too many."""
    monkeypatch.setattr(entries_module, "ENTRIES_MAX", 3)
    with pytest.raises(ConfigurationError, match="list:4: expected at most 3 entries"):
        read_text(b"192.0.2.1\n" * 5, "addresses", file="list")
    assert len(read_text(b"192.0.2.1\n" * 3, "addresses", file="list")) == 3


# ---- CSV


def test_csv_is_read_by_the_name_of_a_column():
    """Quotes and comments are as RFC 4180 and the world have them; other columns are not looked at."""
    data = b'# today\nfirst_seen,"ip",note\n"2026-01-01",198.51.100.7,"a, b"\n2026,"2001:db8::/48",\n'
    entries = read_csv(data, "addresses", "ip", file="list")
    assert len(entries) == 2
    assert entries.found("addresses", ["2001:db8::1"]) == ["2001:db8::/48"]


@pytest.mark.parametrize(
    ("text", "where", "expected"),
    [
        ("address\n198.51.100.7\n", "list:1: ", "a header with one column 'ip'"),  # 1
        ("ip,ip\n198.51.100.7,198.51.100.8\n", "list:1: ", "a header with one column 'ip'"),  # 2
        ("ip,note\n198.51.100.7\n", "list:2: ", "2 fields, as in the header, not 1"),  # 3
        ('ip\n"198.51.100.7\n"\n', "list:2: ", "one row of CSV on one line"),  # 4: an open quote
        ('ip\n"198.51.100.7"x\n', "list:2: ", "one row of CSV on one line"),  # 5
        ("ip\nnonsense\n", "list:2: ", "an address or a network"),  # 6
        ("ip\n", "list: ", "at least one entry"),  # 7
    ],
)
def test_csv_that_could_be_read_in_two_ways_is_refused(text: str, where: str, expected: str):
    """The error names file, line and what was expected."""
    with pytest.raises(ConfigurationError, match=f"^{where}expected {expected}"):
        read_csv(text.encode(), "addresses", "ip", file="list")


# ---- STIX


def indicator(pattern: str, **changed: Any) -> dict[str, Any]:
    return {
        "type": "indicator",
        "spec_version": "2.1",
        "id": f"indicator--{uuid.uuid4()}",
        "created": "2026-01-01T00:00:00.000Z",
        "modified": "2026-01-01T00:00:00.000Z",
        "pattern": pattern,
        "pattern_type": "stix",
        "valid_from": "2026-01-01T00:00:00Z",
        **changed,
    }


def stix(*objects: Any, now: float = NOW) -> Any:
    pytest.importorskip("stix2", reason="STIX needs ztsession[stix]")
    bundle = {"type": "bundle", "id": f"bundle--{uuid.uuid4()}", "objects": list(objects)}
    return read_stix(json.dumps(bundle).encode(), file="bundle", now=now)


def test_stix_says_addresses_programs_and_keys():
    """Equalities and ORs of them are taken from indicators; other objects and properties are passed by."""
    bundle = stix(
        {"type": "identity", "id": f"identity--{uuid.uuid4()}", "name": "a vendor"},
        indicator("[ipv4-addr:value = '198.51.100.0/24' OR ipv6-addr:value = '2001:db8::1']"),
        indicator(f"([(file:hashes.'SHA-256' = '{ONE}')] OR [file:hashes.'SHA-256' = '{TWO}'])", x_vendor=1),
        indicator(f"[x509-certificate:hashes.'SHA-256' = '{ONE}']"),
    )
    assert (len(bundle.entries), bundle.not_understood, bundle.changes_at) == (5, 0, math.inf)
    assert bundle.entries.found("addresses", ["198.51.100.9"]) == ["198.51.100.0/24"]
    assert bundle.entries.found("programs", [ONE, TWO]) == [ONE, TWO]
    assert bundle.entries.found("keys", [ONE, TWO]) == [ONE]


@pytest.mark.parametrize(
    "pattern",
    [
        "[ipv4-addr:value != '198.51.100.7']",  # 1
        "[ipv4-addr:value NOT = '198.51.100.7']",  # 2
        "[ipv4-addr:value IN ('198.51.100.7', '198.51.100.8')]",  # 3
        "[ipv4-addr:value LIKE '198.51.100.%']",  # 4
        "[ipv4-addr:value = '198.51.100.7'] REPEATS 5 TIMES WITHIN 60 SECONDS",  # 5
        "[ipv4-addr:value = '198.51.100.7'] FOLLOWEDBY [file:name = 'x']",  # 6
        "[ipv4-addr:value = '198.51.100.7'] AND [file:name = 'x']",  # 7
        f"[file:hashes.'SHA-256' = '{ONE}' AND file:name = 'x']",  # 8
        f"[file:hashes.'SHA-256' = '{ONE}' OR file:name = 'x']",  # 9: one half is not what was meant
        "[network-traffic:dst_port = 22]",  # 10
    ],
)
def test_a_pattern_that_says_more_is_left_out_as_a_whole(pattern: str):
    """What is more than an equality, or an OR of such, is counted as not understood and matches nothing."""
    bundle = stix(indicator(pattern), indicator("[ipv4-addr:value = '192.0.2.1']"))
    assert (len(bundle.entries), bundle.not_understood) == (1, 1)
    assert bundle.entries.found("addresses", ["198.51.100.7"]) == []


def test_another_language_of_patterns_is_not_understood():
    """Sigma, Snort and others are counted, and not guessed at."""
    bundle = stix(indicator("alert ip any any", pattern_type="snort"))
    assert (len(bundle.entries), bundle.not_understood) == (0, 1)


def test_stix_counts_while_it_is_valid():
    """An indicator counts from valid_from until valid_until, and what was read says when that changes."""
    one = indicator("[ipv4-addr:value = '192.0.2.1']", valid_until="2027-01-15T08:00:10Z")  # NOW + 10
    two = indicator("[ipv4-addr:value = '192.0.2.2']", valid_from="2027-01-15T08:00:05Z")  # NOW + 5
    seen = []
    for ahead_s in (-1, 0, 4.9, 5, 9.9, 10):
        bundle = stix(one, two, now=NOW + ahead_s)
        listed = [name for name in ("192.0.2.1", "192.0.2.2") if bundle.entries.holds("addresses", name)]
        seen.append(([name[-1] for name in listed], bundle.changes_at - NOW))
    first, both, second = (["1"], 5.0), (["1", "2"], 10.0), (["2"], math.inf)
    assert seen == [first, first, first, both, both, second]


def test_the_last_version_of_an_indicator_counts():
    """What was revoked or changed by a later version is not taken from an earlier one, in whatever order."""
    old = indicator("[ipv4-addr:value = '192.0.2.1']")
    taken_back = old | {"revoked": True, "modified": "2026-01-02T00:00:00.000Z"}
    moved = indicator("[ipv4-addr:value = '192.0.2.2']")
    moved_on = moved | {"pattern": "[ipv4-addr:value = '192.0.2.3']", "modified": "2026-01-02T00:00:00.000Z"}
    same_time = indicator("[ipv4-addr:value = '192.0.2.4']")
    objects = [old, taken_back, moved, moved_on, same_time, same_time | {"revoked": True}]
    for order in (objects, objects[::-1]):
        bundle = stix(*order)
        assert len(bundle.entries) == 1
        assert bundle.entries.holds("addresses", "192.0.2.3")


DEEP = "[" + "(" * 9 + "ipv4-addr:value = '192.0.2.1'" + ")" * 9 + "]"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"pattern": "[ipv4-addr:value = '192.0.2.1'"}, "an indicator of STIX 2.1"),  # 1: no pattern
        ({"valid_until": "2020-01-01T00:00:00Z"}, "an indicator of STIX 2.1"),  # 2: ends before it begins
        ({"spec_version": "2.0"}, "an indicator of STIX 2.1 with a pattern"),  # 3
        ({"pattern": 7}, "an indicator of STIX 2.1 with a pattern"),  # 4
        ({"pattern": "[ipv4-addr:value = 'nonsense']"}, "an address or a network"),  # 5
        ({"pattern": f"[ipv4-addr:value = '{'1' * 5000}']"}, "a pattern of at most 4096"),  # 6
        (
            {"pattern": "[" + "(" * 9 + "ipv4-addr:value = '192.0.2.1'" + ")" * 9 + "]"},
            "a pattern of at",
        ),  # 7
        ({"modified": "yesterday"}, "an indicator of STIX 2.1"),  # 8
    ],
)
def test_D7_an_indicator_that_is_wrong_refuses_the_bundle(changed: dict[str, Any], expected: str):
    """The error names the file, the object and what was expected."""
    wrong = indicator("[ipv4-addr:value = '192.0.2.1']") | changed
    with pytest.raises(ConfigurationError, match=f"^bundle: '{wrong['id']}': expected {expected}"):
        stix(wrong)


@pytest.mark.parametrize(
    "data",
    [
        b"198.51.100.7\n",  # 1
        b"[]",  # 2
        b'{"type": "indicator"}',  # 3
        b'{"type": "bundle", "objects": 3}',  # 4
        b'{"type": "bundle", "type": "bundle", "objects": []}',  # 5: two readings
        b'{"type": "bundle", "objects": ' + b"[" * 100_000,  # 6
    ],
)
def test_D7_what_is_no_bundle_is_refused(data: bytes):
    """Another format, two readings and depth without end are refused in a sentence."""
    with pytest.raises(ConfigurationError, match=r"^bundle: expected a STIX bundle"):
        read_stix(data, file="bundle", now=NOW)


def test_D7_bundles_are_bounded(monkeypatch: pytest.MonkeyPatch):
    """Bytes and indicators are counted before anything is parsed."""
    monkeypatch.setattr("ztsession.risk.threats.stix.INDICATORS_MAX", 2)
    with pytest.raises(ConfigurationError, match="at most 2 indicators"):
        stix(*[indicator("[ipv4-addr:value = '192.0.2.1']")] * 3)
    monkeypatch.setattr("ztsession.risk.threats.stix.STIX_MAX_BYTES", 10)
    with pytest.raises(ConfigurationError, match="at most 10 bytes"):
        stix()


# ---- Settings


@pytest.mark.parametrize(
    ("changed", "line", "expected"),
    [
        ('format = "text"', 3, 'format = "json"'),  # 1
        ('of = "addresses"', 4, 'of = "names"'),  # 2
        ('level = "MEDIUM"', 5, 'level = "bad"'),  # 3
        ('level = "MEDIUM"', 6, 'level = "MEDIUM"\ncolumn = "ip"'),  # 4: only CSV has columns
        ('format = "text"', 1, 'format = "csv"'),  # 5: no column
        ('format = "text"', 4, 'format = "stix"'),  # 6: a bundle says it itself
        ('level = "MEDIUM"', 6, 'level = "MEDIUM"\nlevels = 3'),  # 7
        ("[lists.scanners]", 1, '[lists."two words"]'),  # 8
        ("[lists.scanners]", 1, "[list.scanners]"),  # 9
    ],
)
def test_settings_are_read_strictly(tmp_path: Path, changed: str, line: int, expected: str):
    """Every mistake is an error that names file and line."""
    write(tmp_path, TEXT.replace(changed, expected))
    with pytest.raises(ConfigurationError, match=rf"threats\.toml:{line}: "):
        read_settings(tmp_path)


def test_without_the_file_there_are_no_lists(tmp_path: Path):
    """Who has no lists need not write a file; nothing matches then."""
    lists = ThreatLists.read(tmp_path, now=NOW)
    assert (lists.lists, lists.failed, lists.changes_at) == ({}, {}, math.inf)
    assert lists.match(addresses=["198.51.100.7"], keys=[ONE]) == []


# ---- All lists


THREE = (
    TEXT
    + """
[lists.programs]
file = "programs.csv"
format = "csv"
of = "programs"
column = "sha256"
level = "HIGH"

[lists.vendor]
file = "vendor.json"
format = "stix"
level = "CRITICAL"
"""
)


def test_every_list_that_has_it_is_told(tmp_path: Path):
    """A match says which list, how bad it is, what was met and by which entry."""
    pytest.importorskip("stix2", reason="STIX needs ztsession[stix]")
    vendor = {"type": "bundle", "objects": [indicator("[ipv4-addr:value = '198.51.100.7']")]}
    write(
        tmp_path,
        THREE,
        scanners_txt="198.51.100.0/24\n",
        programs_csv=f"sha256\n{ONE}\n",
        vendor_json=json.dumps(vendor),
    )
    lists = ThreatLists.read(tmp_path, now=NOW)
    matches = lists.match(addresses=["198.51.100.7"], programs=[TWO, ONE], keys=[ONE], packages=[ONE])
    assert [(each.source, each.level, each.of, each.entry) for each in matches] == [
        ("list:scanners", Level.MEDIUM, "addresses", "198.51.100.0/24"),
        ("list:programs", Level.HIGH, "programs", ONE),
        ("list:vendor", Level.CRITICAL, "addresses", "198.51.100.7"),
    ]
    assert lists.holds("scanners", "addresses", "198.51.100.0/24")
    assert not lists.holds("scanners", "addresses", "198.51.100.7")
    assert not lists.holds("gone", "addresses", "198.51.100.0/24")


def test_a_list_that_cannot_be_read_stays_what_it_was(tmp_path: Path):
    """Emptied, broken, deleted: what it said before is in force and the failure is told; others are taken."""
    settings = TEXT + TEXT.replace("scanners", "others")
    write(tmp_path, settings, scanners_txt="198.51.100.7\n", others_txt="192.0.2.1\n")
    lists = ThreatLists.read(tmp_path, now=NOW)
    for broken in ("", "nonsense\n", None):
        (tmp_path / "scanners.txt").unlink()
        if broken is not None:
            (tmp_path / "scanners.txt").write_text(broken)
        (tmp_path / "others.txt").write_text("192.0.2.2\n")
        lists = ThreatLists.read(tmp_path, now=NOW, before=lists)
        assert list(lists.failed) == ["scanners"]
        assert str(tmp_path / "scanners.txt") in str(lists.failed["scanners"])
        assert found(lists, addresses=["198.51.100.7", "192.0.2.1", "192.0.2.2"]) == [
            ("scanners", "198.51.100.7"),
            ("others", "192.0.2.2"),
        ]
    write(tmp_path, settings, scanners_txt="198.51.100.8\n")
    lists = ThreatLists.read(tmp_path, now=NOW, before=lists)
    assert (lists.failed, found(lists, addresses=["198.51.100.7"])) == ({}, [])


def test_at_the_first_reading_there_is_nothing_to_fall_back_on(tmp_path: Path):
    """Without a list that was in force before, one that cannot be read raises."""
    write(tmp_path)
    with pytest.raises(ConfigurationError, match=r"scanners\.txt: cannot be read"):
        ThreatLists.read(tmp_path, now=NOW)
    lists = ThreatLists.read(tmp_path, now=NOW, before=ThreatLists())
    assert (list(lists.failed), lists.lists) == (["scanners"], {})


def test_broken_settings_change_nothing(tmp_path: Path):
    """Which lists there are is not guessed: an error in threats.toml raises, and the old lists live on."""
    write(tmp_path, scanners_txt="198.51.100.7\n")
    lists = ThreatLists.read(tmp_path, now=NOW)
    write(tmp_path, TEXT.replace("MEDIUM", "bad"))
    with pytest.raises(ConfigurationError, match=r"threats\.toml:5: .*expected one of LOW, MEDIUM"):
        ThreatLists.read(tmp_path, now=NOW, before=lists)


def test_what_has_not_changed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A list of a million lines is not read again because another has one line more."""
    settings = TEXT + TEXT.replace("scanners", "others")
    write(tmp_path, settings, scanners_txt="198.51.100.7\n", others_txt="192.0.2.1\n")
    first = ThreatLists.read(tmp_path, now=NOW)
    seen = first.look(tmp_path)
    assert first.look(tmp_path) == seen
    (tmp_path / "others.txt").write_text("192.0.2.1\n192.0.2.2\n")
    assert first.look(tmp_path) != seen
    read: list[str] = []
    text = lists_module._READERS["text"]
    monkeypatch.setattr(
        lists_module, "_READERS", {"text": lambda at, now: (read.append(at.name), text(at, now))[1]}
    )
    second = ThreatLists.read(tmp_path, now=NOW, before=first)
    assert read == ["others"]
    assert second.lists["scanners"] is first.lists["scanners"]
    write(tmp_path, settings.replace("MEDIUM", "HIGH", 1))
    third = ThreatLists.read(tmp_path, now=NOW, before=second)
    assert (read, third.lists["scanners"].settings.level) == (["others", "scanners"], Level.HIGH)
