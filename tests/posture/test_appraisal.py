"""A device is judged by its own fresh signature and by declared values, and by nothing else."""

from __future__ import annotations

import stat

import pytest

from ztsession.errors import ConfigurationError, EvidenceError, WireError
from ztsession.handshake import binding
from ztsession.posture import Appraisal, DevicePosture, PostureAppraiser, PostureStatement
from ztsession.posture.appraisal import ITEMS
from ztsession.posture.protocol import VerifiedPosture
from ztsession.posture.reference import read_reference
from ztsession.posture.statement import sign_statement
from ztsession.wire import digest, encode
from ztsession.wire.operator_file import read_toml

BINDING, NONCE = bytes(range(32)), bytes(range(32, 64))
NOW = 1_800_000_000.0
PACKAGES, PROGRAM = "ab" * 32, "cd" * 32
HEALTHY = {
    "kernel": "6.1.0-38-amd64",
    "secure_boot": "enabled",
    "disk_encryption": "enabled",
    "packages": PACKAGES,
    "program": PROGRAM,
}
REFERENCE = f"""
[posture]
kernels = ["6.1.0-37-amd64", "6.1.0-38-amd64"]
secure_boot = true
disk_encryption = true
packages = ["{PACKAGES}"]
programs = ["{PROGRAM}"]
"""


def device(name: str, measurements: dict[str, str] | None = None, collected_at: float = NOW) -> DevicePosture:
    found = HEALTHY if measurements is None else measurements
    # A key made of the name, so that the same device can be made twice.
    return DevicePosture(name, digest(name), lambda: found, lambda: collected_at)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "devices.toml"
    file.write_text(device("host-1").registry_entry() + device("host-2").registry_entry() + REFERENCE)
    return file


@pytest.fixture
def appraiser(path):
    return PostureAppraiser(path)


def appraise(appraiser: PostureAppraiser, posture: DevicePosture, **options: object) -> Appraisal:
    return appraiser.appraise(posture.prove(BINDING, NONCE), BINDING, NONCE, now=NOW, **options)


def test_a_healthy_device_is_good_in_all_that_it_states(appraiser):
    """A device that measures what was declared is good in it, and its digest is the written one."""
    appraisal = appraise(appraiser, device("host-1"))
    expected = dict.fromkeys(ITEMS, "good") | dict.fromkeys(("boot", "hardware", "debug"), "unknown")
    assert appraisal.vector == expected
    assert (appraisal.device, appraisal.collected_at) == ("host-1", int(NOW))
    assert appraisal.measurements == HEALTHY
    assert appraisal.digest == digest("posture", encode(expected))
    assert appraiser.devices == ("host-1", "host-2")
    assert appraiser.max_age_s == 600


@pytest.mark.parametrize(
    ("item", "measured", "expected"),
    [
        ("kernel", "6.1.0-37-amd64", "good"),
        ("kernel", "6.1.0-36-amd64", "bad"),
        ("kernel", "", "bad"),
        ("secure_boot", "disabled", "bad"),
        ("disk_encryption", "disabled", "bad"),
        ("packages", "00" * 32, "bad"),
        ("program", "00" * 32, "bad"),
        *[(item, "unknown", "unknown") for item in HEALTHY],
        *[(item, None, "unknown") for item in HEALTHY],
    ],
)
def test_each_item_is_judged_alone(appraiser, item, measured, expected):
    """One item that differs, is unknown, or is not measured, shows in that item, and in the digest."""
    measurements = {**HEALTHY, item: measured}
    if measured is None:
        del measurements[item]
    healthy = appraise(appraiser, device("host-1"))
    appraisal = appraise(appraiser, device("host-1", measurements))
    assert appraisal.vector == {**healthy.vector, item: expected}
    assert (appraisal.digest == healthy.digest) == (expected == "good")


def test_without_a_reference_an_item_is_unknown(path):
    """What the operator did not declare is never good, whatever is measured; the device itself is."""
    path.write_text(device("host-1").registry_entry())
    appraisal = appraise(PostureAppraiser(path), device("host-1"))
    assert appraisal.vector == {**dict.fromkeys(ITEMS, "unknown"), "device": "good"}


def test_a_measured_device_item_means_nothing(appraiser):
    """A device cannot add items of its own to the vector."""
    appraisal = appraise(appraiser, device("host-1", {"device": "bad", "extra": "good"}))
    assert appraisal.vector == {**dict.fromkeys(ITEMS, "unknown"), "device": "good"}


def test_no_evidence_is_unknown_in_everything(appraiser):
    """The appraisal of no evidence names no device and is unknown throughout, and cannot be changed."""
    appraisal = Appraisal.unknown()
    assert appraisal.vector == dict.fromkeys(ITEMS, "unknown")
    assert appraisal.device == ""
    assert appraisal.digest != appraise(appraiser, device("host-1")).digest
    with pytest.raises(TypeError):
        appraisal.vector["device"] = "good"  # type: ignore[index]


@pytest.mark.parametrize(
    ("age_s", "refused"),
    [
        (0, None),
        (600, None),
        (601, "old"),
        (10**9, "old"),
        (-60, None),
        (-61, "future"),
        (-(10**9), "future"),
    ],
)
def test_H19_stale_evidence_is_refused(appraiser, age_s, refused):
    """Evidence older than the limit, or too far ahead of time, is refused; within the limits it passes."""
    posture = device("host-1", collected_at=NOW - age_s)
    if refused is None:
        assert appraise(appraiser, posture).device == "host-1"
    else:
        with pytest.raises(EvidenceError, match=refused):
            appraise(appraiser, posture)


def test_H19_the_limit_is_the_operators(path):
    """max_age_s of the file replaces the default of 600."""
    path.write_text(device("host-1").registry_entry() + "[posture]\nmax_age_s = 10\n")
    appraiser = PostureAppraiser(path)
    appraise(appraiser, device("host-1", collected_at=NOW - 10))
    with pytest.raises(EvidenceError, match="at most 10 s"):
        appraise(appraiser, device("host-1", collected_at=NOW - 11))


def test_H24_a_timestamp_from_the_future_locks_nobody_out(appraiser):
    """After evidence from the future was refused, the same device passes with a right clock."""
    with pytest.raises(EvidenceError, match="future"):
        appraise(appraiser, device("host-1", collected_at=NOW + 10**6))
    assert appraise(appraiser, device("host-1")).device == "host-1"


def test_a_time_that_is_no_number_is_refused(appraiser):
    """If the Authority's clock gave NaN, evidence would be refused and not admitted."""
    evidence = device("host-1").prove(BINDING, NONCE)
    with pytest.raises(EvidenceError):
        appraiser.appraise(evidence, BINDING, NONCE, now=float("nan"))


def test_H19_another_nonce_is_refused(appraiser):
    """Evidence that answers the nonce of another handshake is refused."""
    evidence = device("host-1").prove(BINDING, NONCE)
    with pytest.raises(EvidenceError, match="nonce"):
        appraiser.appraise(evidence, BINDING, bytes(32), now=NOW)


def test_H20_posture_from_another_handshake_or_key_is_refused(appraiser):
    """A healthy device's evidence, taken to another handshake, client key or kind, does not hold."""
    h, key = bytes(32), bytes(range(32))
    right = binding("posture", h, key)
    evidence = device("host-1").prove(right, NONCE)
    assert appraiser.appraise(evidence, right, NONCE, now=NOW).device == "host-1"
    for wrong in (binding("posture", key, key), binding("posture", h, h), binding("identity", h, key)):
        with pytest.raises(EvidenceError, match="does not hold"):
            appraiser.appraise(evidence, wrong, NONCE, now=NOW)


def test_H20_a_device_cannot_pass_for_another(appraiser):
    """A statement that names another device, an unknown device, or not the device of before, is refused."""
    forged = DevicePosture("host-1", digest("host-2"), lambda: HEALTHY, lambda: NOW)
    with pytest.raises(EvidenceError, match="does not hold"):
        appraise(appraiser, forged)
    with pytest.raises(EvidenceError, match="does not hold"):
        appraise(appraiser, device("host-3"))
    with pytest.raises(EvidenceError, match="another device"):
        appraise(appraiser, device("host-2"), device="host-1")
    assert appraise(appraiser, device("host-1"), device="host-1").device == "host-1"


def test_the_stand_in_key_enrols_no_device(appraiser):
    """Even a signature by the key that stands in for unknown devices is refused."""
    posture = DevicePosture("host-9", digest("no device"), lambda: HEALTHY, lambda: NOW)
    with pytest.raises(EvidenceError, match="not enrolled"):
        appraise(appraiser, posture)


def test_H14_a_device_taken_out_is_refused_after_reload(appraiser, path):
    """A device that the operator removed is refused once the file is read again; the other stays."""
    appraise(appraiser, device("host-1"))
    path.write_text(device("host-2").registry_entry() + REFERENCE)
    appraiser.reload()
    with pytest.raises(EvidenceError):
        appraise(appraiser, device("host-1"))
    assert appraise(appraiser, device("host-2")).device == "host-2"


def test_H15_evidence_with_any_bit_changed_is_refused(appraiser):
    """Whatever bit of the evidence is flipped, it is refused."""
    evidence = device("host-1").prove(BINDING, NONCE)
    for position in range(len(evidence) * 8):
        changed = bytearray(evidence)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(EvidenceError):
            appraiser.appraise(bytes(changed), BINDING, NONCE, now=NOW)
    assert appraiser.appraise(evidence, BINDING, NONCE, now=NOW).device == "host-1"


@pytest.mark.parametrize("evidence", [b"", b"\x80", bytes(40000)])
def test_malformed_evidence_is_refused(appraiser, evidence):
    """Bytes that are no evidence are refused as malformed."""
    with pytest.raises(EvidenceError, match="malformed"):
        appraiser.appraise(evidence, BINDING, NONCE, now=NOW)


def test_statements_are_bounded(appraiser):
    """Too many, too long, or mistyped measurements make no statement."""
    for measurements in ({f"m{n}": "" for n in range(33)}, {"kernel": "x" * 257}, {"k" * 65: ""}, {"": ""}):
        with pytest.raises(WireError, match="measurements"):
            PostureStatement("host-1", 0, NONCE, measurements)
    with pytest.raises(WireError, match="nonce"):
        PostureStatement("host-1", 0, NONCE[:31], {})
    largest = {f"{n:064}": "x" * 256 for n in range(32)}
    evidence = sign_statement(PostureStatement("host-1", int(NOW), NONCE, largest), digest("host-1"), BINDING)
    assert appraiser.appraise(evidence, BINDING, NONCE, now=NOW).device == "host-1"


KEY = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ('[devices.a]\npublic_key = "abc"\n', 2, "64 digits"),
        (f'[devices.a]\npublic_key = "{"0" * 64}"\n', 2, "an Ed25519 public key"),
        (f'[devices."a b"]\npublic_key = "{KEY}"\n', 1, "a name"),
        (f'[devices.a]\npublic_key = "{KEY}"\nowner = "x"\n', 3, "unknown key"),
        (f'[devices.a]\npublic_key = "{KEY}"\n[devices.b]\npublic_key = "{KEY}"\n', 4, "a key of its own"),
        ("[posture]\nkernel = []\n", 2, "unknown key"),
        ("[posture]\nkernels = []\n", 2, "at least one"),
        ('[posture]\nkernels = ["unknown"]\n', 2, "at least one"),
        ("[posture]\nkernels = [6]\n", 2, "list of texts"),
        ("[posture]\nsecure_boot = false\n", 2, "true"),
        ('[posture]\nsecure_boot = "yes"\n', 2, "true or false"),
        ("[posture]\nmax_age_s = 0\n", 2, "from 1 to"),
        ("[subjects.a]\n", 1, "unknown key"),
    ],
)
def test_a_wrong_file_is_reported_and_changes_nothing(appraiser, path, text, line, expected):
    """A mistake names file, line and expectation, and what was in force stays."""
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=expected) as caught:
        appraiser.reload()
    assert (caught.value.file, caught.value.line) == (str(path), line)
    assert appraise(appraiser, device("host-1")).vector["kernel"] == "good"


def test_devices_survive_their_file(tmp_path):
    """A device read back from its file signs with the same key, and the file is the owner's alone."""
    posture, path = DevicePosture.generate("host-1"), tmp_path / "device.key"
    posture.to_file(path)
    assert DevicePosture.from_file(path) == posture
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="0600"):
        DevicePosture.from_file(path)


# ---- The boot, which only a TPM can show

SEVEN, OTHER, LOG = "07" * 32, "77" * 32, "ee" * 32
PCRS = f'[posture.pcrs]\n0 = ["{"00" * 32}", "{"01" * 32}"]\n7 = ["{SEVEN}"]\n'
BOOTED = {"pcr.0": "01" * 32, "pcr.7": SEVEN, "event_log": LOG}


def boot(tmp_path, text: str, measured: dict[str, str], hardware: bool = True) -> str:
    file = tmp_path / "boot.toml"
    file.write_text(text)
    reference = read_reference(read_toml(file).table("posture"))
    return reference.compare(VerifiedPosture("host-1", 0, measured, hardware))["boot"]


@pytest.mark.parametrize(
    ("changed", "without_log", "with_log"),
    [
        ({}, "good", "good"),
        ({"pcr.0": "00" * 32}, "good", "good"),
        ({"pcr.4": OTHER}, "good", "good"),
        ({"pcr.7": OTHER}, "bad", "bad"),
        ({"pcr.7": None}, "unknown", "unknown"),
        ({"pcr.7": "unknown"}, "unknown", "unknown"),
        ({"pcr.7": None, "pcr.0": OTHER}, "bad", "bad"),
        ({"event_log": OTHER}, "good", "bad"),
        ({"event_log": None}, "good", "unknown"),
        ({"event_log": None, "pcr.7": OTHER}, "bad", "bad"),
    ],
)
def test_the_boot_is_good_when_every_declared_register_is(tmp_path, changed, without_log, with_log):
    """One register that differs is bad, one that was not quoted unknown; others do not matter."""
    measured = {name: value for name, value in {**BOOTED, **changed}.items() if value is not None}
    logged = f'[posture]\nevent_logs = ["{LOG}", "{"ef" * 32}"]\n' + PCRS
    assert boot(tmp_path, PCRS, measured) == without_log
    assert boot(tmp_path, logged, measured) == with_log


def test_without_declared_registers_the_boot_is_unknown(tmp_path):
    """Whatever was quoted, what nobody declared is not good."""
    assert boot(tmp_path, "[posture]\nsecure_boot = true\n", BOOTED) == "unknown"


def test_H20_software_cannot_state_registers(tmp_path, path):
    """The values that would be good from a TPM say nothing in a statement that a key in a file has signed."""
    assert boot(tmp_path, PCRS, BOOTED, hardware=False) == "unknown"
    assert boot(tmp_path, PCRS, BOOTED, hardware=True) == "good"
    path.write_text(device("host-1").registry_entry() + PCRS)
    appraisal = appraise(PostureAppraiser(path), device("host-1", HEALTHY | BOOTED | {"hardware": "good"}))
    assert (appraisal.vector["boot"], appraisal.vector["hardware"]) == ("unknown", "unknown")
    assert appraisal.trust["hardware"] == "none"


def test_H20_software_cannot_state_its_debug_facilities(path):
    """A kernel's word that nobody debugs it says nothing; its word that somebody does is believed."""
    appraiser = PostureAppraiser(path)
    for word, debug, configuration in (
        ("disabled", "unknown", "warning"),
        ("enabled", "bad", "contraindicated"),
    ):
        appraisal = appraise(appraiser, device("host-1", HEALTHY | {"debug": word}))
        assert (appraisal.vector["debug"], appraisal.trust["configuration"]) == (debug, configuration)
        assert appraisal.vector["secure_boot"] == "good"


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        (f'[posture.pcrs]\n7 = ["{SEVEN}"]\n16 = ["{SEVEN}"]\n', 3, "any program"),
        (f'[posture.pcrs]\n23 = ["{SEVEN}"]\n', 2, "any program"),
        ("[posture.pcrs]\n", 1, "at least one PCR"),
        (f'[posture.pcrs]\n24 = ["{SEVEN}"]\n', 2, "unknown key"),
        (f'[posture.pcrs]\n07 = ["{SEVEN}"]\n', 2, "unknown key"),
        ("[posture.pcrs]\n7 = []\n", 2, "at least one digest"),
        (f'[posture.pcrs]\n7 = "{SEVEN}"\n', 2, "list of texts"),
        (f'[posture.pcrs]\n7 = ["{OTHER[:-1]}"]\n', 2, "64 digits"),
        ('[posture.pcrs]\n7 = ["unknown"]\n', 2, "64 digits"),
        (f'[posture.pcrs]\n7 = ["{LOG.upper()}"]\n', 2, "64 digits"),
        (f'[posture]\nevent_logs = ["{LOG}"]\n', 2, "adds up to"),
        ("[posture]\nevent_logs = []\n" + PCRS, 2, "at least one digest"),
    ],
)
def test_a_wrong_boot_policy_is_reported(tmp_path, text, line, expected):
    """A mistake in the registers or the event logs names file, line and expectation."""
    file = tmp_path / "boot.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=expected) as caught:
        PostureAppraiser(file)
    assert (caught.value.file, caught.value.line) == (str(file), line)


def test_private_keys_are_not_printed():
    """The repr of a device shows its name only."""
    assert repr(device("host-1")) == "DevicePosture(device='host-1')"


@pytest.mark.parametrize("name", ["", "a b", 'x"]', "a" * 129])
def test_odd_names_are_no_devices(name):
    """A name that could forge a line cannot be made into a device."""
    with pytest.raises(ConfigurationError, match="device"):
        DevicePosture.generate(name)


def test_the_default_measures_this_host(tmp_path):
    """Without a measure of one's own, the running host is measured at the present time."""
    posture = DevicePosture.generate("host-1")
    path = tmp_path / "devices.toml"
    path.write_text(posture.registry_entry())
    now = posture.clock()
    appraisal = PostureAppraiser(path).appraise(posture.prove(BINDING, NONCE), BINDING, NONCE, now=now + 1)
    assert abs(appraisal.collected_at - now) < 60
