"""The trust vector says of eight claims what the items say, and never more."""

from __future__ import annotations

from itertools import product

import pytest

from ztsession.posture import Appraisal
from ztsession.posture.items import ITEMS, WORDS
from ztsession.posture.protocol import VerifiedPosture
from ztsession.posture.reference import Reference
from ztsession.posture.trust import TRUST_CLAIMS, TRUST_WORDS, trust_vector

UNKNOWN = dict.fromkeys(ITEMS, "unknown")
NOTHING = dict.fromkeys(TRUST_CLAIMS, "none")
CLAIMS = "instance_identity configuration executables file_system hardware runtime_opaque storage_opaque"


def test_there_are_the_eight_claims_of_AR4SI():
    """The claims have the names of the draft, in its order."""
    assert " ".join(TRUST_CLAIMS) == f"{CLAIMS} sourced_data"
    assert trust_vector(UNKNOWN) == NOTHING


@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [
        ("device", "", {"instance_identity": "affirming"}),
        ("", "device", {"instance_identity": "contraindicated"}),
        ("secure_boot", "", {"configuration": "warning"}),
        ("debug", "", {"configuration": "warning"}),
        ("secure_boot debug", "", {"configuration": "affirming"}),
        ("boot", "", {"configuration": "affirming"}),
        ("boot", "debug", {"configuration": "contraindicated"}),
        ("boot", "secure_boot", {"configuration": "contraindicated"}),
        ("secure_boot debug", "boot", {"configuration": "contraindicated"}),
        ("kernel", "", {"executables": "warning"}),
        ("kernel program", "", {"executables": "warning"}),
        ("kernel program packages", "", {"executables": "affirming", "file_system": "affirming"}),
        ("kernel packages", "program", {"executables": "contraindicated", "file_system": "affirming"}),
        ("kernel program", "packages", {"executables": "contraindicated", "file_system": "contraindicated"}),
        ("hardware", "", {"hardware": "affirming"}),
        ("disk_encryption", "", {"storage_opaque": "affirming"}),
        ("", "disk_encryption", {"storage_opaque": "contraindicated"}),
    ],
)
def test_each_item_bears_on_its_claim(good, bad, expected):
    """The items that are good and bad, all others unknown, give these claims and leave the others at none."""
    items = dict.fromkeys(good.split(), "good") | dict.fromkeys(bad.split(), "bad")
    assert trust_vector(UNKNOWN | items) == NOTHING | expected


def test_an_unknown_item_never_makes_a_claim_better():
    """Over all vectors: taking a good item's proof away never raises a claim, and nothing unknown affirms."""
    rank = {word: place for place, word in enumerate(("contraindicated", "none", "warning", "affirming"))}
    bearing = ("kernel", "packages", "program", "secure_boot", "boot", "debug")
    for words in product(WORDS, repeat=len(bearing)):
        vector = UNKNOWN | dict(zip(bearing, words, strict=True))
        trust = trust_vector(vector)
        assert set(trust.values()) <= set(TRUST_WORDS)
        for item in (item for item in bearing if vector[item] == "good"):
            less = trust_vector(vector | {item: "unknown"})
            assert all(rank[less[claim]] <= rank[trust[claim]] for claim in TRUST_CLAIMS)


@pytest.mark.parametrize("item", ITEMS)
@pytest.mark.parametrize("shown", ["unknown", None])
def test_unknown_is_never_good_in_any_item(item, shown):
    """An item that was declared and not measured, or measured as unknown, is unknown, whatever it is."""
    everything = dict.fromkeys(ITEMS, frozenset({"x", "disabled"}))
    reference = Reference(everything, {"pcr.7": frozenset({"00" * 32})})
    measured = dict.fromkeys(ITEMS, "x") | {"debug": "disabled", "pcr.7": "00" * 32}
    whole = reference.compare(VerifiedPosture("host-1", 0, measured, hardware=True))
    assert whole == dict.fromkeys(ITEMS, "good")
    name = {"boot": "pcr.7"}.get(item, item)
    less = {**measured, name: shown} if shown else {key: measured[key] for key in measured if key != name}
    vector = reference.compare(VerifiedPosture("host-1", 0, less, hardware=item != "hardware"))
    if item == "device":
        # The signature says it, not a measurement; without evidence nothing says it.
        assert Appraisal.unknown().vector["device"] == "unknown"
    else:
        assert vector[item] == "unknown"
    assert vector["boot"] == ("unknown" if item in ("boot", "hardware") else "good")


def test_what_nobody_declared_is_never_good():
    """Without reference values all measurements together give what needs none: device, hardware, debug."""
    measured = dict.fromkeys(ITEMS, "x") | {"debug": "disabled", "pcr.7": "00" * 32, "event_log": "00" * 32}
    vector = Reference().compare(VerifiedPosture("host-1", 0, measured, hardware=True))
    assert vector == UNKNOWN | dict.fromkeys(("device", "hardware", "debug"), "good")


def test_the_digest_covers_the_trust_vector():
    """Appraisals that differ in a trust claim differ in their digests; the vector cannot be changed."""
    seen: dict[bytes, dict[str, str]] = {}
    for words in product(WORDS, repeat=4):
        appraisal = Appraisal(dict(zip(("kernel", "device", "boot", "debug"), words, strict=True)))
        assert seen.setdefault(appraisal.digest, dict(appraisal.trust)) == appraisal.trust
    assert len(seen) == 81
    with pytest.raises(TypeError):
        Appraisal.unknown().trust["hardware"] = "affirming"  # type: ignore[index]
