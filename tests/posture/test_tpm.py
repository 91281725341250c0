"""A quote of a real (software) TPM is taken for one device, handshake, nonce and statement, and no other."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from software_tpm import AK, SoftwareTpm, software_tpm
from test_event_log import IPL, SEPARATOR, event, head, locality

from ztsession.errors import ConfigurationError, EvidenceError, HandshakeError
from ztsession.integrations.tpm2_tools import Tpm2Tools, TpmPosture
from ztsession.posture.appraisal import PostureAppraiser
from ztsession.posture.devices import FileDevices
from ztsession.posture.statement import PostureStatement
from ztsession.posture.tpm import EVENTS_MAX, TpmEvidence, TpmVerifier, qualifying_data
from ztsession.wire import canonical, digest

BINDING, NONCE = bytes(range(32)), bytes(range(32, 64))
NOW = 1_800_000_000.0
PCRS = (0, 4, 7)
LOG = head() + event(4, IPL, b"boot loader") + event(7, SEPARATOR, bytes(4)) + event(4, SEPARATOR, bytes(4))


@pytest.fixture(scope="module")
def tpm(tmp_path_factory):
    """A TPM that has booted as LOG says, with an attestation key."""
    with software_tpm(tmp_path_factory.mktemp("tpm")) as started:
        for pcr, data in ((4, b"boot loader"), (7, bytes(4)), (4, bytes(4))):
            started.extend(pcr, hashlib.sha256(data).digest())
        started.tools.create_ak("host-1", AK)
        yield started


@pytest.fixture(scope="module")
def other_tpm(tmp_path_factory):
    """Another machine's TPM, in the same state."""
    with software_tpm(tmp_path_factory.mktemp("tpm")) as started:
        started.tools.create_ak("host-2", AK)
        yield started


def ak_pem(tpm: SoftwareTpm, ak: str = AK) -> str:
    return tpm.tools.public(ak).pem


def entry(name: str, pem: str) -> str:
    return f"[devices.\"{name}\"]\nak = '''\n{pem}'''\n"


def posture(tpm: SoftwareTpm, device: str = "host-1", **changed: object) -> TpmPosture:
    given = {"pcrs": PCRS, "tcti": tpm.tcti, "measure": lambda: {"kernel": "6.1.0"}, "clock": lambda: NOW}
    return TpmPosture(device, **{**given, **changed})


@pytest.fixture(scope="module")
def enrolled(tpm, tmp_path_factory):
    """The devices: host-1 with its TPM, and one that has no attestation key."""
    path = tmp_path_factory.mktemp("devices") / "devices.toml"
    statement_key = '[devices."keyless"]\npublic_key = "' + "d75a980182b10ab7d54bfed3c964073a"
    statement_key += '0ee172f3daa62325af021a68f707511a"\n'
    path.write_text(entry("host-1", ak_pem(tpm)) + statement_key)
    return FileDevices.read(path)


@pytest.fixture(scope="module")
def evidence(tpm):
    """Good evidence of host-1, with its event log."""
    log = tpm.directory / "log"
    log.write_bytes(LOG)
    return posture(tpm, event_log_path=log).prove(BINDING, NONCE)


@pytest.fixture
def verifier(enrolled):
    return TpmVerifier(enrolled)


def refused(verifier: TpmVerifier, evidence: bytes, says: str, nonce: bytes = NONCE) -> None:
    with pytest.raises(EvidenceError, match=says):
        verifier.verify(evidence, BINDING, nonce)


def changed(evidence: bytes, **fields: object) -> bytes:
    return replace(TpmEvidence.from_bytes(evidence), **fields).to_bytes()


def ecdsa(r: int, s: int) -> bytes:
    """A TPMT_SIGNATURE of these numbers."""
    return struct.pack(">HHH32sH32s", 0x18, 0x0B, 32, r.to_bytes(32, "big"), 32, s.to_bytes(32, "big"))


def quoted(tpm: SoftwareTpm, statement: PostureStatement, device: str = "host-1") -> bytes:
    """Evidence over a statement that no honest host would make, quoted by its TPM all the same."""
    said = statement.to_bytes()
    data = qualifying_data(BINDING, NONCE, said)
    attest, signature, values = tpm.tools.quote(AK, "ecdsa", PCRS, data)
    rows = [[pcr, value] for pcr, value in zip(PCRS, values, strict=True)]
    return TpmEvidence(device, said, attest, signature, rows, []).to_bytes()


def test_a_quote_shows_registers_and_the_statement(tpm, verifier, evidence):
    """What is measured is the statement, the registers as the TPM holds them, and the event log's digest."""
    shown = verifier.verify(evidence, BINDING, NONCE)
    rows = TpmEvidence.from_bytes(evidence).events
    assert (shown.device, shown.collected_at, shown.hardware) == ("host-1", int(NOW), True)
    assert shown.measurements == {
        "kernel": "6.1.0",
        **{f"pcr.{pcr}": tpm.pcr(pcr).hex() for pcr in PCRS},
        "event_log": digest("posture event log", canonical.encode(rows)).hex(),
    }
    assert [pcr for pcr, _ in rows] == [4, 7, 4]


def test_without_a_log_there_is_no_measurement_of_it(tpm, verifier):
    """Evidence without events says nothing of the log, so that nothing can be found good about it."""
    shown = verifier.verify(posture(tpm).prove(BINDING, NONCE), BINDING, NONCE)
    assert set(shown.measurements) == {"kernel", "pcr.0", "pcr.4", "pcr.7"}


@pytest.mark.parametrize(("kind", "scheme"), [("rsa", "rsassa"), ("rsa", "rsapss")])
def test_rsa_keys_quote_too(tpm, tmp_path, enrolled, kind, scheme):
    """An RSA attestation key of 2048 bits is taken with either padding, and no other key for it."""
    tpm.run("createek", "-Q", "-c", tmp_path / "ek", "-G", kind, "-u", tmp_path / "ek.pub")
    made = ("-C", tmp_path / "ek", "-c", tmp_path / "ak", "-G", kind, "-g", "sha256", "-s", scheme)
    tpm.run("createak", "-Q", *made)
    ak = str(tmp_path / "ak")
    (tmp_path / "devices.toml").write_text(entry("host-1", ak_pem(tpm, ak)))
    verifier = TpmVerifier(FileDevices.read(tmp_path / "devices.toml"))
    evidence = posture(tpm, ak=ak).prove(BINDING, NONCE)
    assert verifier.verify(evidence, BINDING, NONCE).hardware
    refused(verifier, posture(tpm).prove(BINDING, NONCE), "expected RSA of its size")
    refused(TpmVerifier(enrolled), evidence, "expected ECDSA on P-256")
    short = TpmEvidence.from_bytes(evidence).signature
    short = short[:4] + (255).to_bytes(2, "big") + short[7:]
    refused(verifier, changed(evidence, signature=short), "expected RSA of its size")
    flipped = bytearray(TpmEvidence.from_bytes(evidence).signature)
    flipped[-1] ^= 1
    refused(verifier, changed(evidence, signature=bytes(flipped)), "does not hold")


def test_H19_a_quote_for_another_nonce_is_refused(verifier, evidence):
    """Evidence that was good for an earlier nonce is not for a later one."""
    refused(verifier, evidence, "another handshake, nonce or statement", nonce=bytes(32))
    assert verifier.verify(evidence, BINDING, NONCE).device == "host-1"


def test_H19_a_statement_inside_that_answers_another_nonce_is_refused(tpm, verifier):
    """A fresh quote does not freshen the statement that it covers."""
    refused(verifier, quoted(tpm, PostureStatement("host-1", 1, bytes(32), {})), "answers another nonce")
    verifier.verify(quoted(tpm, PostureStatement("host-1", 1, NONCE, {})), BINDING, NONCE)


def test_H19_an_old_measurement_is_refused_by_the_appraiser(tpm, tmp_path, evidence):
    """The time in the statement is shown to the appraiser, which refuses what is older than it allows."""
    (tmp_path / "devices.toml").write_text(entry("host-1", ak_pem(tpm)))
    appraiser = PostureAppraiser(tmp_path / "devices.toml")
    assert appraiser.appraise(evidence, BINDING, NONCE, now=NOW + 600).vector["hardware"] == "good"
    with pytest.raises(EvidenceError, match="601 s old"):
        appraiser.appraise(evidence, BINDING, NONCE, now=NOW + 601)


def test_H20_another_tpms_quote_is_refused(other_tpm, verifier):
    """A TPM cannot quote under the name of a device that is enrolled with another."""
    refused(verifier, posture(other_tpm).prove(BINDING, NONCE), "signature does not hold")


@pytest.mark.parametrize("name", ["stranger", "keyless"])
def test_H20_a_device_without_this_key_is_refused(tpm, verifier, name):
    """A name that is not enrolled, or has no attestation key, shows nothing."""
    refused(verifier, posture(tpm, name).prove(BINDING, NONCE), "does not hold")


def test_H20_a_key_that_is_not_enrolled_is_refused_whatever_it_signs(verifier, monkeypatch, evidence):
    """Even were the stand-in key of strangers known, its signature would enrol nobody."""
    stand_in = ec.generate_private_key(ec.SECP256R1())
    monkeypatch.setattr("ztsession.posture.tpm._nobody", stand_in.public_key)
    claim = TpmEvidence.from_bytes(evidence)
    r, s = decode_dss_signature(stand_in.sign(claim.attest, ec.ECDSA(SHA256())))
    signature = ecdsa(r, s)
    refused(verifier, changed(evidence, device="stranger", signature=signature), "not enrolled")


def test_H20_a_statement_of_another_device_inside_is_refused(tpm, verifier):
    """A host cannot speak for another one inside its own quote."""
    refused(verifier, quoted(tpm, PostureStatement("host-2", 1, NONCE, {})), "another device's")


def test_H20_another_enrolled_device_cannot_take_the_name(tpm, other_tpm, tmp_path):
    """Of two enrolled hosts neither can send the other's evidence under its own name."""
    path = tmp_path / "devices.toml"
    path.write_text(entry("host-1", ak_pem(tpm)) + entry("host-2", ak_pem(other_tpm)))
    verifier = TpmVerifier(FileDevices.read(path))
    evidence = posture(other_tpm, "host-2").prove(BINDING, NONCE)
    assert verifier.verify(evidence, BINDING, NONCE).device == "host-2"
    refused(verifier, changed(evidence, device="host-1"), "does not hold")


@pytest.mark.parametrize("binding", [bytes(32), BINDING[::-1]])
def test_H1_H2_a_quote_for_another_handshake_or_key_is_refused(verifier, evidence, binding):
    """The binding is of one handshake and one client's key, and the quote covers it."""
    with pytest.raises(EvidenceError, match="another handshake"):
        verifier.verify(evidence, binding, NONCE)
    assert verifier.verify(evidence, BINDING, NONCE).device == "host-1"


def test_H15_each_flipped_byte_is_refused(verifier, evidence):
    """There is no byte of the evidence that could be another."""
    for position in range(len(evidence)):
        flipped = bytearray(evidence)
        flipped[position] ^= 1 << position % 8
        with pytest.raises(EvidenceError):
            verifier.verify(bytes(flipped), BINDING, NONCE)
    assert verifier.verify(evidence, BINDING, NONCE).device == "host-1"


@pytest.mark.parametrize("numbers", [(0, 0), (1, 1), (2**256 - 1, 1)])
def test_a_signature_that_does_not_hold_ends_it(verifier, evidence, numbers):
    """No part of the evidence is used when the signature over it is bad, however well the rest fits."""
    refused(verifier, changed(evidence, signature=ecdsa(*numbers)), "signature does not hold")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: [[0, bytes(31) + b"\1"], *rows[1:]], "other values"),
        (lambda rows: rows[:-1], "other registers"),
        (lambda rows: [*rows, [8, bytes(32)]], "other registers"),
        (lambda rows: [[1, rows[0][1]], *rows[1:]], "other registers"),
        (lambda rows: [rows[1], rows[0], rows[2]], "other registers"),
        (lambda rows: [rows[0], rows[0], *rows[1:]], "other registers"),
    ],
)
def test_wrong_registers_are_refused(verifier, evidence, change, says):
    """What is reported must be exactly what was quoted: these registers, in this order, with these values."""
    rows = TpmEvidence.from_bytes(evidence).pcrs
    refused(verifier, changed(evidence, pcrs=change(rows)), says)
    assert changed(evidence, pcrs=rows) == evidence


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows[:-1], "does not replay to the quoted value of PCR 4"),
        (lambda rows: [*rows, rows[1]], "does not replay to the quoted value of PCR 7"),
        (lambda rows: [rows[2], rows[1], rows[0]], "does not replay to the quoted value of PCR 4"),
        (lambda rows: [*rows, [9, bytes(32)]], "PCR 9, which is not quoted"),
        (lambda rows: [*rows, [0, bytes(32)]], "does not replay to the quoted value of PCR 0"),
    ],
)
def test_an_event_log_that_does_not_replay_is_refused(verifier, evidence, change, says):
    """Events that were left out, added, swapped, or belong to no quoted register are no log of this boot."""
    rows = TpmEvidence.from_bytes(evidence).events
    refused(verifier, changed(evidence, events=change(rows)), says)


def test_a_log_of_one_register_alone_has_another_digest(verifier, evidence):
    """A log may be cut to whole registers, and is then another log."""
    rows = TpmEvidence.from_bytes(evidence).events
    whole = verifier.verify(evidence, BINDING, NONCE).measurements["event_log"]
    part = verifier.verify(changed(evidence, events=[rows[1]]), BINDING, NONCE).measurements["event_log"]
    assert part != whole


@pytest.mark.parametrize("name", ["pcr.7", "pcr.23", "pcr.", "event_log", "event_log.x"])
def test_a_statement_cannot_claim_what_only_the_tpm_gives(tpm, verifier, name):
    """The kernel's word for a register, or for the event log, is refused even inside a good quote."""
    refused(verifier, quoted(tpm, PostureStatement("host-1", 1, NONCE, {name: "00" * 32})), "only the TPM")


def test_H20_a_statement_in_a_quote_does_not_say_that_nobody_debugs_it(tpm, verifier):
    """It stays the kernel's word, and for itself it counts no more than in a statement alone."""
    for said, believed in (("disabled", {}), ("enabled", {"debug": "enabled"})):
        evidence = quoted(tpm, PostureStatement("host-1", 1, NONCE, {"debug": said}))
        shown = verifier.verify(evidence, BINDING, NONCE).measurements
        assert {name: word for name, word in shown.items() if name == "debug"} == believed


@pytest.mark.parametrize("tool", ["gettime", "certify"])
def test_another_attestation_of_the_same_key_is_no_quote(tpm, tmp_path, verifier, evidence, tool):
    """What the same key truly attests of a clock or of a key is not read as registers."""
    claim = TpmEvidence.from_bytes(evidence)
    if tool == "gettime":
        data = qualifying_data(BINDING, NONCE, claim.statement).hex()
        tpm.run(
            "gettime",
            "-c",
            AK,
            "-q",
            data,
            "--attestation",
            tmp_path / "a",
            "-o",
            tmp_path / "s",
            "-f",
            "tss",
        )
    else:
        tpm.run(
            "certify",
            "-c",
            AK,
            "-C",
            AK,
            "-g",
            "sha256",
            "-o",
            tmp_path / "a",
            "-s",
            tmp_path / "s",
            "-f",
            "tss",
        )
    attest, signature = (tmp_path / "a").read_bytes(), (tmp_path / "s").read_bytes()
    refused(verifier, changed(evidence, attest=attest, signature=signature), "is no quote")


def test_a_quote_of_another_bank_is_refused(tpm, tmp_path, verifier, evidence):
    """Registers of the SHA-1 bank are not taken for those of SHA-256."""
    data = qualifying_data(BINDING, NONCE, TpmEvidence.from_bytes(evidence).statement).hex()
    for selection, says in (("sha1:0,4,7", "expected SHA256"), ("sha256:0,4,7+sha1:0", "number of banks")):
        outputs = ("-m", tmp_path / "a", "-s", tmp_path / "s", "-f", "tss")
        tpm.run("quote", "-Q", "-c", AK, "-l", selection, "-q", data, "-g", "sha256", *outputs)
        attest, signature = (tmp_path / "a").read_bytes(), (tmp_path / "s").read_bytes()
        refused(verifier, changed(evidence, attest=attest, signature=signature), says)


def test_D7_bombs_are_refused_before_they_are_parsed(verifier, evidence):
    """Too long, too many, too deep, cut anywhere: an EvidenceError each time, and no other exception."""
    claim = TpmEvidence.from_bytes(evidence)
    given = {"v": 1, "kind": claim.kind, "device": "host-1", "statement": claim.statement}
    given |= {"attest": claim.attest, "signature": claim.signature, "pcrs": claim.pcrs, "events": []}
    assert verifier.verify(canonical.encode(given), BINDING, NONCE).device == "host-1"
    bombs = [
        {"attest": bytes(1025)},
        {"signature": bytes(1025)},
        {"statement": bytes(6001)},
        {"pcrs": [[0, bytes(32)]] * 25},
        {"pcrs": []},
        {"pcrs": [[24, bytes(32)]]},
        {"pcrs": [[0, bytes(33)]]},
        {"pcrs": [0]},
        {"events": [[0, bytes(32)]] * (EVENTS_MAX + 1)},
        {"events": [[0, "x"]]},
        {"events": [[0, bytes(32), 0]]},
        {"more": 1},
    ]
    for bomb in bombs:
        refused(verifier, canonical.encode(given | bomb), "malformed")
    for hostile in (b"", bytes(24577), b"\x97" * 24576, b"\xdf\xff\xff\xff\xff" + bytes(64)):
        refused(verifier, hostile, "malformed")
    for length in range(0, len(evidence), 7):
        refused(verifier, evidence[:length], "malformed")


def test_the_longest_evidence_fits():
    """Everything at its longest together stays under the limit of all posture evidence."""
    row = [23, b"\xff" * 32]
    longest = TpmEvidence("d" * 128, bytes(6000), bytes(1024), bytes(1024), [row] * 24, [row] * EVENTS_MAX)
    assert len(longest.to_bytes()) <= TpmEvidence.max_bytes == 24576


def test_a_boot_that_changed_shows_in_the_session(tpm, house):
    """The same host connects before and after a register is extended: its boot is good, and then bad."""
    expected = "".join(f'{pcr} = ["{tpm.pcr(pcr).hex()}"]\n' for pcr in PCRS)
    rules = house.rules / "devices.toml"
    rules.write_text(
        entry("host-1", ak_pem(tpm)) + "[posture]\nkernels = ['6.1.0']\n[posture.pcrs]\n" + expected
    )
    authority = house.authority()
    prover = TpmPosture("host-1", pcrs=PCRS, tcti=tpm.tcti, measure=lambda: {"kernel": "6.1.0"})
    house.connect(authority, posture=prover)
    tpm.extend(0, hashlib.sha256(b"something else").digest())
    house.connect(authority, posture=prover)
    entries = [json.loads(line) for line in (house.state / "audit.jsonl").read_text().splitlines()]
    vectors = [found for entry in entries if (found := posture_of(entry))]
    assert [(each["boot"], each["hardware"], each["kernel"]) for each in vectors] == [
        ("good", "good", "good"),
        ("bad", "good", "good"),
    ]


def posture_of(entry: dict[str, object]) -> dict[str, str] | None:
    """The posture in an audit entry, wherever the entry keeps it."""
    for value in [entry, *entry.values()]:
        if isinstance(value, dict) and isinstance(value.get("posture"), dict):
            return value["posture"]
    return None


def test_H20_a_session_of_another_tpm_is_not_granted(tpm, other_tpm, house):
    """A stolen identity on another machine gets no session, even with that machine's own TPM."""
    (house.rules / "devices.toml").write_text(entry("host-1", ak_pem(tpm)))
    authority = house.authority()
    prover = TpmPosture("host-1", pcrs=PCRS, tcti=other_tpm.tcti, measure=dict)
    with pytest.raises(HandshakeError):
        house.connect(authority, posture=prover)
    assert authority.sessions() == []
    house.connect(authority, posture=replace(prover, tcti=tpm.tcti))
    assert len(authority.sessions()) == 1


def test_a_log_that_does_not_fit_is_told_at_the_host(tpm, tmp_path):
    """The host finds out itself, and hears what to try; it sends nothing that would be refused."""
    log = tmp_path / "log"
    prover = posture(tpm, event_log_path=log)
    for content, says in (
        (None, "cannot be read"),
        (b"garbage", "event log"),
        (head() + event(4, IPL, b"another loader"), "does not replay to PCR 4: quote without"),
        (head() + event(7, SEPARATOR, b"") * (EVENTS_MAX + 1), "401 events"),
    ):
        if content is not None:
            log.write_bytes(content)
        with pytest.raises(ConfigurationError, match=says) as told:
            prover.prove(BINDING, NONCE)
        assert told.value.file == str(log)


def test_pcr_0_of_a_log_from_another_locality_is_quoted_without_events(tpm, tmp_path, verifier):
    """A log that cannot be replayed for PCR 0 is sent without it, and the register is quoted all the same."""
    log = tmp_path / "log"
    log.write_bytes(LOG + event(0, IPL, b"firmware") + locality(3))
    shown = verifier.verify(posture(tpm, event_log_path=log).prove(BINDING, NONCE), BINDING, NONCE)
    assert shown.measurements["pcr.0"] == tpm.pcr(0).hex()
    assert "event_log" in shown.measurements


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ak": "0x81010077"}, "ztsession device tpm-key"),
        ({"tcti": "swtpm:path=/nowhere/s"}, "is there a TPM"),
    ],
)
def test_a_tpm_that_cannot_be_used_says_what_to_try(tpm, changes, says):
    """Without the key, or without the TPM, there is an error with a next step, and no evidence."""
    with pytest.raises(ConfigurationError, match=says):
        posture(tpm, **changes).prove(BINDING, NONCE)


def test_a_tpm_without_the_bank_says_so(tmp_path):
    """Where the SHA-256 bank was switched off there is an error with a next step."""
    with software_tpm(tmp_path) as bare:
        bare.tools.create_ak("host-1", AK)
        bare.run("pcrallocate", "sha1:all+sha256:none")
    with software_tpm(tmp_path) as bare, pytest.raises(ConfigurationError, match="SHA-256 bank"):
        posture(bare).prove(BINDING, NONCE)


def test_a_key_that_signs_by_any_scheme_is_no_attestation_key(tpm, tmp_path):
    """The host's side refuses an unrestricted key before anything is quoted."""
    tpm.run("createprimary", "-Q", "-C", "o", "-G", "ecc", "-c", tmp_path / "primary")
    tpm.run("create", "-Q", "-C", tmp_path / "primary", "-G", "ecc", "-c", tmp_path / "free")
    with pytest.raises(ConfigurationError, match="is no attestation key"):
        posture(tpm, ak=str(tmp_path / "free")).prove(BINDING, NONCE)


def test_missing_tools_say_what_to_install(monkeypatch):
    """Where tpm2-tools is not installed, the error says so."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigurationError, match="install tpm2-tools"):
        Tpm2Tools().public(AK)


def test_a_tpm_that_does_not_answer_ends_in_time(tmp_path, monkeypatch):
    """A program that hangs is stopped after the time that it was given."""
    slow = tmp_path / "tpm2_readpublic"
    slow.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    slow.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="took over 0 s"):
        Tpm2Tools(timeout_s=0.05).public(AK)


@pytest.mark.parametrize("pcrs", [(), (1, 0), (0, 0), (24,), (-1, 0)])
def test_registers_are_named_once_and_ascending(pcrs):
    """A choice of registers that no quote could show is refused when it is made."""
    with pytest.raises(ConfigurationError, match="ascending"):
        TpmPosture("host-1", pcrs=pcrs)


def test_nothing_is_left_behind(tpm, tmp_path, monkeypatch):
    """After a quote no file of it remains, and the TPM holds nothing loaded."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    posture(tpm).prove(BINDING, NONCE)
    assert list(tmp_path.iterdir()) == []
    assert tpm.run("getcap", "handles-transient").strip() == ""
    assert Path(tpm.directory).exists()
