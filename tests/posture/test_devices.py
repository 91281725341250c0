"""A device has keys of its own, in the operator's file or in the store, and the file is right."""

from __future__ import annotations

import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from eat_makers import BINDING, NONCE, NOW, UEID, cwt, ed, entry, evidence, healthy, p256, pem

from ztsession.errors import ConfigurationError, EvidenceError
from ztsession.posture import DevicePosture, PostureAppraiser
from ztsession.posture.devices import AllDevices, Device, FileDevices, StoredDevices
from ztsession.store.enrolments import SqliteEnrolments
from ztsession.store.sqlite import SqliteStore
from ztsession.wire import digest

RAW = ed("host-1").public_key().public_bytes_raw()
EAT, AK = pem(p256("host-1")), pem(p256("tpm of host-1"))
WHOLE = Device("host-1", RAW, EAT, UEID, AK)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "devices.toml"
    file.write_text(
        entry("host-1", p256("host-1"), f'public_key = "{RAW.hex()}"', f'ueid = "{UEID.hex()}"')
        + f'ak = """\n{AK}"""\n'
        + entry("host-2", ed("host-2"))
        + "[posture]\nkernels = ['6.1']\n"
    )
    return file


@pytest.fixture
def enrolments(tmp_path):
    with contextlib.closing(SqliteStore(tmp_path / "store.sqlite")) as store:
        yield SqliteEnrolments(store)


def test_a_file_gives_its_devices(path):
    """Each device has the keys that stand in the file, and is found by name, UEID and key."""
    devices = FileDevices.read(path)
    found = devices.named("host-1")
    assert found is not None
    assert (found.public_key, found.eat_key, found.ueid, found.ak) == (RAW, EAT, UEID, AK)
    assert devices.names == ("host-1", "host-2")
    assert devices.by_ueid(UEID) == found
    assert [devices.holder(key) for key in found.keys] == [found] * 3
    assert devices.named("host-3") is devices.by_ueid(bytes(16)) is devices.holder("") is None


def test_a_device_survives_the_store(enrolments):
    """A stored device is found again as it was, by name, UEID and key, until it is removed."""
    devices = StoredDevices(enrolments)
    for device in (WHOLE, Device("host-2", eat_key=pem(ed("host-2"))), Device("host-3", ak=pem(p256("3")))):
        devices.enrol(device)
        assert devices.named(device.name) == device
        assert [devices.holder(key) for key in device.keys] == [device] * len(device.keys)
    assert devices.by_ueid(UEID) == WHOLE
    assert devices.remove("host-1")
    assert not devices.remove("host-1")
    assert devices.named("host-1") is devices.by_ueid(UEID) is devices.holder(WHOLE.keys[0]) is None


def test_enrolling_again_replaces(enrolments):
    """After a device got another key, the old one is nobody's, and may be given to another."""
    devices = StoredDevices(enrolments)
    devices.enrol(WHOLE)
    later = Device("host-1", eat_key=pem(ed("later")))
    devices.enrol(later)
    assert devices.named("host-1") == later
    assert all(devices.holder(key) is None for key in WHOLE.keys)
    devices.enrol(Device("host-2", ak=AK, ueid=UEID))
    assert devices.by_ueid(UEID) == devices.named("host-2")


@pytest.mark.parametrize(
    "other",
    [
        Device("host-2", public_key=RAW),
        Device("host-2", eat_key=EAT),
        Device("host-2", ak=AK),
        Device("host-2", ak=EAT),
        Device("host-2", eat_key=AK),
        Device("host-2", eat_key=pem(ed("host-1"))),
        Device("host-2", eat_key=pem(ed("other")), ueid=UEID),
    ],
)
def test_H20_no_two_devices_share_a_key(enrolments, path, other):
    """A key or UEID of one device is refused for another, in the store and across to the file."""
    devices = StoredDevices(enrolments)
    devices.enrol(WHOLE)
    with pytest.raises(ConfigurationError, match="belongs to host-1"):
        devices.enrol(other)
    assert devices.named("host-2") is None
    assert devices.named("host-1") == WHOLE
    devices.remove("host-1")
    renamed = Device("host-5", other.public_key, other.eat_key, other.ueid, other.ak)
    devices.enrol(renamed)
    both = AllDevices(FileDevices.read(path), devices)
    assert both.named("host-5") is None
    assert devices.named("host-5") == renamed
    assert all((found := both.holder(key)) is None or found.name == "host-1" for key in renamed.keys)


def test_the_file_is_right(enrolments, path):
    """Where file and store name a device, the stored keys are nobody's; what only the store has counts."""
    devices = StoredDevices(enrolments)
    devices.enrol(Device("host-1", eat_key=pem(ed("evil")), ueid=bytes(16)))
    devices.enrol(Device("host-7", eat_key=pem(ed("host-7")), ueid=bytes(17)))
    both = AllDevices(FileDevices.read(path), devices)
    assert both.named("host-1") == FileDevices.read(path).named("host-1")
    evil, seven = devices.named("host-1"), devices.named("host-7")
    assert evil is not None and seven is not None  # noqa: PT018
    assert both.holder(evil.keys[0]) is both.by_ueid(bytes(16)) is None
    assert both.named("host-7") == both.holder(seven.keys[0]) == both.by_ueid(bytes(17)) == seven


def test_H20_a_stored_device_takes_no_name_of_the_file(enrolments, path):
    """Evidence of a device of the store is accepted under its own name and not under one of the file's."""
    devices = StoredDevices(enrolments)
    devices.enrol(Device("host-7", eat_key=pem(p256("host-7"))))
    devices.enrol(Device("host-2", eat_key=pem(p256("evil"))))
    appraiser = PostureAppraiser(path, enrolments=enrolments)

    def appraise(key: str, named: str) -> str:
        token = evidence(cwt(p256(key), healthy()), named)
        return appraiser.appraise(token, BINDING, NONCE, now=NOW).device

    assert appraise("host-7", "host-7") == "host-7"
    with pytest.raises(EvidenceError):
        appraise("evil", "host-2")
    # What was enrolled or removed counts at once.
    devices.remove("host-7")
    with pytest.raises(EvidenceError):
        appraise("host-7", "host-7")
    with pytest.raises(EvidenceError):
        PostureAppraiser(path).appraise(
            evidence(cwt(p256("evil"), healthy()), "host-2"), BINDING, NONCE, now=NOW
        )


def test_a_stored_device_may_state(enrolments, path):
    """The store serves our own statement too."""
    posture = DevicePosture("host-8", digest("host-8"), lambda: {"kernel": "6.1"}, lambda: NOW)
    StoredDevices(enrolments).enrol(Device("host-8", posture.public_key))
    appraiser = PostureAppraiser(path, enrolments=enrolments)
    appraisal = appraiser.appraise(posture.prove(BINDING, NONCE), BINDING, NONCE, now=NOW)
    assert (appraisal.device, appraisal.vector["kernel"]) == ("host-8", "good")


SMALL_ORDER = (
    Ed25519PublicKey.from_public_bytes(bytes(32))
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
P384 = pem(ec.generate_private_key(ec.SECP384R1()))
SHORT_RSA, LONG_RSA = (pem(rsa.generate_private_key(65537, bits)) for bits in (1024, 2048))
PRIVATE = ec.generate_private_key(ec.SECP256R1()).private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "a way to prove it"),
        ({"ueid": UEID}, "a way to prove it"),
        ({"public_key": bytes(32)}, "Ed25519 public key"),
        ({"public_key": RAW[:31]}, "Ed25519 public key"),
        ({"eat_key": "x"}, "PEM"),
        ({"eat_key": ""}, "PEM"),
        ({"eat_key": "é"}, "PEM"),
        ({"eat_key": PRIVATE.decode()}, "PEM"),
        ({"eat_key": EAT + "\n" * 2048}, "at most 2048"),
        ({"eat_key": SMALL_ORDER}, "Ed25519 public key"),
        ({"eat_key": P384}, "EC P-256"),
        ({"eat_key": LONG_RSA}, "P-256 or Ed25519"),
        ({"ak": SHORT_RSA}, "2048 to 4096"),
        ({"ak": pem(ed("host-1"))}, "attestation key"),
        ({"eat_key": EAT, "ueid": bytes(6)}, "7 to 33"),
        ({"eat_key": EAT, "ueid": bytes(34)}, "7 to 33"),
        ({"eat_key": EAT, "ak": EAT}, "key of its own"),
        ({"public_key": RAW, "eat_key": pem(ed("host-1"))}, "key of its own"),
    ],
)
def test_a_device_that_cannot_be_is_none(given, why):
    """A weak, misplaced or doubled key makes no device; an RSA key of 2048 bits is one for a TPM."""
    with pytest.raises(ConfigurationError, match=why):
        Device("host-1", **given)
    assert Device("host-1", ak=LONG_RSA).keys
    with pytest.raises(ConfigurationError, match="device"):
        Device("a b", RAW)


def test_the_name_that_stands_for_no_device_is_no_devices(tmp_path):
    """A device called "none" would pass for no device: its sessions would outlive its enrolment."""
    with pytest.raises(ConfigurationError, match="stands for no device"):
        Device("none", RAW)
    assert Device("None", RAW).name == "None"
    file = tmp_path / "devices.toml"
    file.write_text(f'[devices.none]\npublic_key = "{RAW.hex()}"\n')
    with pytest.raises(ConfigurationError, match=r"devices\.toml:1: devices\.none: .*stands for no device"):
        PostureAppraiser(file)


HERE = '[devices.a]\neat_key = """\n' + pem(p256("a")) + '"""\n'


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("[devices.a]\n", 1, "a way to prove it"),
        ('[devices.a]\nueid = "0102030405060708"\n', 1, "a way to prove it"),
        ('[devices.a]\neat_key = "x"\n', 2, "eat_key: expected a public key"),
        (HERE + 'ueid = "01"\n', 8, "14 to 66 digits"),
        (HERE + 'ueid = "0102030405060708 "\n', 8, "14 to 66 digits"),
        (HERE + 'ueid = "010203040506070G"\n', 8, "14 to 66 digits"),
        (HERE + "ak = 7\n", 8, "expected text"),
        (HERE + 'serial = "7"\n', 8, "unknown key"),
        (HERE + HERE.replace("devices.a", "devices.b"), 8, "a key of its own, a has the same"),
        (HERE + f'ak = "{LONG_RSA[:20]}"\n', 8, "PEM"),
    ],
)
def test_a_wrong_file_is_reported(tmp_path, text, line, why):
    """A mistake names file, line and expectation."""
    file = tmp_path / "devices.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=why) as caught:
        PostureAppraiser(file)
    assert (caught.value.file, caught.value.line) == (str(file), line)


def test_two_devices_of_a_file_have_two_UEIDs(tmp_path):
    """A UEID that stands twice is refused at its second place."""
    file, ueid = tmp_path / "devices.toml", f'ueid = "{UEID.hex()}"'
    file.write_text(entry("a", p256("a"), ueid) + entry("b", p256("b"), ueid))
    with pytest.raises(ConfigurationError, match="a UEID of its own, a has the same"):
        FileDevices.read(file)
    file.write_text(entry("a", p256("a"), ueid) + entry("b", p256("b")))
    assert FileDevices.read(file).names == ("a", "b")
