"""An attestation key is enrolled if it is restricted and lives in the TPM that the operator trusts."""

from __future__ import annotations

import os
import struct
import subprocess
import time
from dataclasses import replace

import pytest
from software_tpm import AK, SoftwareTpm, software_tpm
from test_tpm_structures import AES, NULL, ecc

from ztsession.errors import ConfigurationError, EvidenceError
from ztsession.identity.enrolments import Enrolments
from ztsession.integrations.tpm2_tools import TpmPosture
from ztsession.posture.devices import Device, StoredDevices
from ztsession.posture.tpm import TpmVerifier
from ztsession.posture.tpm_certificates import read_roots
from ztsession.posture.tpm_enrolment import (
    ANSWER_WITHIN_S,
    Challenge,
    EkCertificate,
    EkFingerprint,
    EkTrust,
    EnrolmentRequest,
    PendingChallenges,
    begin,
    complete,
    ek_fingerprint,
)
from ztsession.posture.tpm_structures import Public
from ztsession.store.enrolments import SqliteEnrolments
from ztsession.store.sqlite import SqliteStore

NOW = 1_800_000_000.0
LOCALCA = """statedir = {0}
signingkey = {0}/signkey.pem
issuercert = {0}/issuercert.pem
certserial = {0}/certserial
"""


@pytest.fixture(scope="module")
def tpm(tmp_path_factory):
    with software_tpm(tmp_path_factory.mktemp("tpm")) as started:
        yield started


@pytest.fixture(scope="module")
def request_1(tpm):
    """What host-1 asks for; its key stays in the TPM."""
    return tpm.tools.create_ak("host-1", AK)


@pytest.fixture
def enrolments(tmp_path):
    with SqliteStore(tmp_path / "authority.sqlite") as store:
        yield SqliteEnrolments(store)


def trusted(asked: EnrolmentRequest) -> EkFingerprint:
    return EkFingerprint(ek_fingerprint(asked.ek_public))


def challenge_of(asked: EnrolmentRequest, trust: EkTrust | None = None) -> Challenge:
    return begin(asked.device, asked.ek_public, asked.ak_public, trust or trusted(asked), now=NOW)


def changed_attributes(public: bytes, attributes: int) -> bytes:
    return public[:6] + struct.pack(">I", attributes) + public[10:]


@pytest.mark.parametrize("kind", ["ecc", "rsa"])
def test_activation_enrols_a_key_that_then_quotes(tpm, tmp_path, enrolments: Enrolments, kind):
    """From request to quote with a real TPM, for either kind of endorsement key."""
    ak = str(tmp_path / "ak.ctx")
    asked = EnrolmentRequest.from_bytes(tpm.tools.create_ak("host-1", ak, kind=kind).to_bytes())
    challenge = challenge_of(asked)
    pem = complete(challenge, tpm.tools.activate(ak, challenge.credential), now=NOW)
    assert pem == tpm.tools.public(ak).pem
    StoredDevices(enrolments).enrol(Device("host-1", ak=pem))
    evidence = TpmPosture("host-1", ak=ak, tcti=tpm.tcti, measure=dict).prove(bytes(32), bytes(32))
    assert TpmVerifier(StoredDevices(enrolments)).verify(evidence, bytes(32), bytes(32)).hardware


def test_the_name_is_the_tpms(tpm, request_1, tmp_path):
    """The Name that a challenge is made for is the one that the TPM computes itself."""
    tpm.run("readpublic", "-c", AK, "-n", tmp_path / "name")
    assert Public.read(request_1.ak_public).name == (tmp_path / "name").read_bytes()


def test_the_fingerprint_is_what_other_programs_print(tpm, request_1, tmp_path):
    """An operator at the machine gets the same digest from tpm2-tools and sha256sum."""
    tpm.run("createek", "-Q", "-c", tmp_path / "ek", "-G", "ecc", "-u", tmp_path / "der", "-f", "der")
    printed = subprocess.run(
        ["sha256sum", tmp_path / "der"], capture_output=True, text=True, check=True
    ).stdout
    assert ek_fingerprint(request_1.ek_public).hex() == printed.split()[0]


def test_H20_another_tpm_cannot_answer(request_1, tmp_path_factory):
    """A challenge for one TPM is closed to another, even one that has a key of its own to show."""
    with software_tpm(tmp_path_factory.mktemp("tpm")) as other:
        other.tools.create_ak("host-1", AK)
        with pytest.raises(ConfigurationError, match="for another TPM or another key"):
            other.tools.activate(AK, challenge_of(request_1).credential)


def test_H20_a_key_of_another_tpm_is_not_activated(tpm, request_1, tmp_path_factory):
    """A host that names a foreign key beside its own endorsement key cannot open the challenge."""
    with software_tpm(tmp_path_factory.mktemp("tpm")) as other:
        foreign = other.tools.create_ak("host-1", AK)
    mixed = replace(request_1, ak_public=foreign.ak_public)
    with pytest.raises(ConfigurationError, match="for another TPM or another key"):
        tpm.tools.activate(AK, challenge_of(mixed).credential)
    assert open_sessions(tpm) == ""
    challenge = challenge_of(request_1)
    assert tpm.tools.activate(AK, challenge.credential) == challenge.secret


def open_sessions(tpm: SoftwareTpm) -> str:
    """A TPM has room for a few; one that stays is missing from the next who wants to activate a key."""
    return tpm.run("getcap", "handles-saved-session") + tpm.run("getcap", "handles-loaded-session")


def test_a_secret_of_another_challenge_is_refused(tpm, request_1):
    """Each challenge has a secret of its own, and takes no other."""
    first, second = challenge_of(request_1), challenge_of(request_1)
    answer = tpm.tools.activate(AK, first.credential)
    for wrong in (b"", bytes(32), answer[:31], answer + b"\0"):
        with pytest.raises(EvidenceError, match="is not the secret"):
            complete(first, wrong, now=NOW)
    with pytest.raises(EvidenceError, match="is not the secret"):
        complete(second, answer, now=NOW)
    assert complete(first, answer, now=NOW) == Public.read(request_1.ak_public).pem


@pytest.mark.parametrize(("after_s", "taken"), [(ANSWER_WITHIN_S - 1, True), (ANSWER_WITHIN_S, False)])
def test_a_challenge_expires(request_1, after_s, taken):
    """It can be answered for an hour; a time that is no number is too late."""
    challenge = challenge_of(request_1)
    with pytest.raises(EvidenceError, match="expired"):
        complete(challenge, challenge.secret, now=float("nan"))
    if taken:
        complete(challenge, challenge.secret, now=NOW + after_s)
    else:
        with pytest.raises(EvidenceError, match="expired"):
            complete(challenge, challenge.secret, now=NOW + after_s)


def test_a_pending_challenge_is_answered_once(request_1, enrolments: Enrolments):
    """A wrong answer leaves it, the right one takes it away, and a new one replaces an older one."""
    pending = PendingChallenges(enrolments)
    with pytest.raises(EvidenceError, match="no challenge is pending"):
        pending.take("host-1", bytes(32), now=NOW)
    older, challenge = challenge_of(request_1), challenge_of(request_1)
    pending.keep(older)
    pending.keep(challenge)
    before = list(enrolments.all(Challenge.kind))
    for wrong in (older.secret, bytes(32)):
        with pytest.raises(EvidenceError, match="is not the secret"):
            pending.take("host-1", wrong, now=NOW)
    assert list(enrolments.all(Challenge.kind)) == before
    assert pending.take("host-1", challenge.secret, now=NOW) == challenge.ak
    with pytest.raises(EvidenceError, match="no challenge is pending"):
        pending.take("host-1", challenge.secret, now=NOW)


def test_a_challenge_does_not_show_its_secret(request_1):
    """The secret is in no log that prints a challenge."""
    challenge = challenge_of(request_1)
    assert challenge.secret.hex() not in repr(challenge)
    assert repr(challenge.secret) not in repr(challenge)
    assert challenge.secret not in challenge.credential


def test_an_unrestricted_key_is_refused(tpm, request_1, tmp_path):
    """A key that signs whatever it is given could sign a quote that no TPM made."""
    tpm.run("createprimary", "-Q", "-C", "o", "-G", "ecc", "-c", tmp_path / "primary")
    free = ("-G", "ecc:ecdsa-sha256:null", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign")
    tpm.run("create", "-Q", "-C", tmp_path / "primary", *free, "-u", tmp_path / "free.pub")
    asked = replace(request_1, ak_public=(tmp_path / "free.pub").read_bytes())
    with pytest.raises(EvidenceError, match="no restricted signing key"):
        challenge_of(asked)
    challenge_of(request_1)


AK_ATTRIBUTES, EK_ATTRIBUTES = 0x00050072, 0x000300B2


@pytest.mark.parametrize(
    ("bit", "says"),
    [
        (1 << 1, "made in its TPM"),
        (1 << 4, "made in its TPM"),
        (1 << 5, "made in its TPM"),
        (1 << 16, "no restricted signing key"),
        (1 << 17, "no restricted signing key"),
        (1 << 18, "no restricted signing key"),
    ],
)
def test_each_attribute_of_an_attestation_key_counts(request_1, bit, says):
    """With any one of its attributes the other way round a key is none for quotes."""
    assert changed_attributes(request_1.ak_public, AK_ATTRIBUTES) == request_1.ak_public
    asked = replace(request_1, ak_public=changed_attributes(request_1.ak_public, AK_ATTRIBUTES ^ bit))
    with pytest.raises(EvidenceError, match=says):
        challenge_of(asked)


@pytest.mark.parametrize("public", [ecc(scheme=NULL), ecc(symmetric=AES), ecc(scheme=b"\x00\x14\x00\x0b")])
def test_an_attestation_key_signs_by_the_scheme_of_its_kind(request_1, public):
    """A key that leaves its scheme open, has another kind's, or protects others, makes no quotes."""
    with pytest.raises(EvidenceError, match="another scheme"):
        challenge_of(replace(request_1, ak_public=public))
    challenge_of(replace(request_1, ak_public=ecc()))


@pytest.mark.parametrize("bit", [1 << 1, 1 << 4, 1 << 16, 1 << 17, 1 << 18])
def test_each_attribute_of_an_endorsement_key_counts(request_1, bit):
    """An endorsement key decrypts for its TPM and does nothing else."""
    assert changed_attributes(request_1.ek_public, EK_ATTRIBUTES) == request_1.ek_public
    asked = replace(request_1, ek_public=changed_attributes(request_1.ek_public, EK_ATTRIBUTES ^ bit))
    with pytest.raises(EvidenceError, match="endorsement key is"):
        challenge_of(asked)


def test_keys_in_each_others_place_are_refused(request_1):
    """Neither key can stand in for the other."""
    with pytest.raises(EvidenceError, match="endorsement key is no"):
        challenge_of(replace(request_1, ek_public=request_1.ak_public))
    with pytest.raises(EvidenceError, match="attestation key is no"):
        challenge_of(replace(request_1, ak_public=request_1.ek_public))


def test_an_endorsement_key_that_was_not_stated_is_refused(request_1):
    """With another fingerprint, however long, no challenge is made."""
    right = trusted(request_1).expected
    for wrong in (b"", bytes(32), right[:31], right + b"\0"):
        with pytest.raises(EvidenceError, match="another fingerprint"):
            challenge_of(request_1, EkFingerprint(wrong))
    challenge_of(request_1, EkFingerprint(right))


def test_D7_malformed_keys_are_refused(request_1):
    """Garbage in place of a key is an EvidenceError that names which key."""
    for garbage in (b"\0", os.urandom(1024), b"\xff" * 1024, request_1.ak_public + b"\0"):
        with pytest.raises(EvidenceError, match="the attestation key is malformed"):
            challenge_of(replace(request_1, ak_public=garbage))
        with pytest.raises(EvidenceError, match="the endorsement key is malformed"):
            ek_fingerprint(garbage)


@pytest.fixture(scope="module")
def manufactured(tmp_path_factory):
    """A TPM with an RSA endorsement certificate as its maker leaves it, and the maker's CAs."""
    directory, maker = tmp_path_factory.mktemp("tpm"), tmp_path_factory.mktemp("maker")
    (maker / "localca.conf").write_text(LOCALCA.format(maker))
    (maker / "localca.options").write_text("--tpm-manufacturer IBM\n--tpm-model swtpm\n--tpm-version 2\n")
    (maker / "setup.conf").write_text(
        "create_certs_tool = /usr/bin/swtpm_localca\n"
        f"create_certs_tool_config = {maker}/localca.conf\n"
        f"create_certs_tool_options = {maker}/localca.options\n"
    )
    made = (
        "--tpm2",
        "--tpmstate",
        directory,
        "--createek",
        "--create-ek-cert",
        "--config",
        maker / "setup.conf",
    )
    try:
        subprocess.run(("swtpm_setup", *made), capture_output=True, check=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("swtpm_setup is not installed")
    with software_tpm(directory) as started:
        yield started, maker


def test_a_makers_certificate_is_enough(manufactured: tuple[SoftwareTpm, object]):
    """A certificate that a TPM brought along is read out of it and chains to its maker's CAs."""
    tpm, maker = manufactured
    asked = tpm.tools.create_ak("host-1", AK, kind="rsa")
    issuer = read_roots(maker / "issuercert.pem")
    root = read_roots(maker / "swtpm-localca-rootca-cert.pem")
    now = time.time()
    for chain, roots in (([], issuer), (issuer, root)):
        trust = EkCertificate([asked.ek_certificate, *chain], roots)
        challenge = begin("host-1", asked.ek_public, asked.ak_public, trust, now=now)
        assert tpm.tools.activate(AK, challenge.credential) == challenge.secret
    for chain, roots, says in (
        ([asked.ek_certificate], root, "none of the given roots"),
        ([b""], issuer, "malformed"),
        ([], issuer, "1 to 3 certificates"),
    ):
        with pytest.raises(EvidenceError, match=says):
            begin("host-1", asked.ek_public, asked.ak_public, EkCertificate(chain, roots), now=now)


def test_a_certificate_of_another_endorsement_key_is_refused(manufactured, request_1):
    """A true certificate does not vouch for another TPM's key."""
    tpm, maker = manufactured
    asked = tpm.tools.create_ak("host-2", "0x81010003", kind="rsa")
    trust = EkCertificate([asked.ek_certificate], read_roots(maker / "issuercert.pem"))
    with pytest.raises(EvidenceError, match="over another endorsement key"):
        begin("host-1", request_1.ek_public, request_1.ak_public, trust, now=time.time())


def test_the_room_behind_a_certificate_is_not_part_of_it(tmp_path_factory):
    """A maker may leave the certificate in a place that is larger; what follows the DER is left behind."""
    certificate = b"\x30\x82\x01\x00" + bytes(range(256))
    with software_tpm(tmp_path_factory.mktemp("tpm")) as other:
        (other.directory / "padded").write_bytes(certificate + b"\xff" * 40)
        given = ("-C", "o", "-s", 300, "-a", "ownerread|ownerwrite|authread")
        other.run("nvdefine", "0x01c0000a", *given)
        other.run("nvwrite", "0x01c0000a", "-C", "o", "-i", other.directory / "padded")
        assert other.tools.create_ak("host-1", AK).ek_certificate == certificate


def test_a_handle_that_is_taken_says_what_to_do(tpm, request_1):
    """The key that is there stays, and the error names the two ways on."""
    with pytest.raises(ConfigurationError, match="choose another handle, or free it"):
        tpm.tools.create_ak("host-1", AK)
    assert tpm.tools.public(AK).pem == Public.read(request_1.ak_public).pem


def test_a_request_may_have_no_certificate(request_1):
    """A TPM whose maker left no certificate gives an empty one, and a request of its own form."""
    assert request_1.ek_certificate == b""
    assert EnrolmentRequest.from_bytes(request_1.to_bytes()) == request_1
