"""A host's TPM is enrolled from the command line, with files that are carried between two machines."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ztsession.cli.commands import ztsession
from ztsession.errors import HandshakeError
from ztsession.integrations.tpm2_tools import AK_HANDLE, TpmPosture
from ztsession.posture.devices import Device, StoredDevices
from ztsession.posture.tpm_enrolment import Challenge
from ztsession.store.enrolments import SqliteEnrolments
from ztsession.store.sqlite import SqliteStore

sys.path.append(str(Path(__file__).parents[1] / "posture"))
from software_tpm import software_tpm

PCRS = (0, 7)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(ztsession, ["device", *map(str, arguments)])


def said(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code in (1, 2), result.output
    assert not isinstance(result.exception, Exception), result.exception
    return result.output


@pytest.fixture(scope="module")
def tpm(tmp_path_factory):
    with software_tpm(tmp_path_factory.mktemp("tpm")) as started:
        yield started


@pytest.fixture(scope="module")
def asked(tpm, tmp_path_factory):
    """The request of host-9, and the fingerprint that its operator reads off the screen."""
    request = tmp_path_factory.mktemp("host") / "request"
    printed = said("tpm-key", "host-9", "--tcti", tpm.tcti, "--out", request)
    assert "its certificate: the TPM has none" in printed
    return request, re.search(r"endorsement key, SHA-256: ([0-9a-f]{64})\n", printed)[1]


@pytest.fixture
def served(house):
    """An Authority that runs, and the options that name its directories."""
    (house.rules / "devices.toml").write_text("")
    authority = house.authority()
    return authority, ("--state", house.state, "--policy", house.rules)


def answered(served, asked, tpm, tmp_path: Path) -> Path:
    """Carry the challenge to the host and its answer back."""
    challenge, answer = tmp_path / "challenge", tmp_path / "answer"
    request, fingerprint = asked
    given = ("--request", request, "--ek-fingerprint", fingerprint, "--out", challenge)
    assert said("tpm-challenge", *served[1], *given) == "a challenge for host-9\n"
    said("tpm-activate", "--challenge", challenge, "--tcti", tpm.tcti, "--out", answer)
    return answer


def stored(house) -> Device | None:
    with SqliteStore(house.state / "authority.sqlite") as store:
        return StoredDevices(SqliteEnrolments(store)).named("host-9")


def test_four_steps_enrol_a_host_of_a_running_authority(house, served, asked, tpm, tmp_path):
    """After the last step the host connects by a quote, with no restart; after remove it is a stranger."""
    authority, where = served
    answer = answered(served, asked, tpm, tmp_path)
    posture = TpmPosture("host-9", pcrs=PCRS, tcti=tpm.tcti, measure=dict)
    with pytest.raises(HandshakeError, match="refused"):
        house.connect(authority, posture=posture)
    assert said("tpm-enrol", "host-9", *where, "--answer", answer) == "enrolled: host-9\n"
    house.connect(authority, posture=posture)
    assert [record.device for record in authority.sessions()] == ["host-9"]
    assert said("remove", "host-9", "--state", house.state) == "removed\n"
    with pytest.raises(HandshakeError, match="refused"):
        house.connect(authority, posture=posture)
    assert "no device host-9" in refused("remove", "host-9", "--state", house.state)


def test_an_answer_enrols_once(house, served, asked, tpm, tmp_path):
    """A second use of an answer, or an answer without a challenge, enrols nothing."""
    answer = answered(served, asked, tpm, tmp_path)
    assert "no challenge is pending" in refused("tpm-enrol", "host-8", *served[1], "--answer", answer)
    said("tpm-enrol", "host-9", *served[1], "--answer", answer)
    enrolled = stored(house)
    assert "no challenge is pending" in refused("tpm-enrol", "host-9", *served[1], "--answer", answer)
    assert stored(house) == enrolled == Device("host-9", ak=tpm.tools.public(AK_HANDLE).pem)


def test_a_wrong_answer_enrols_nothing(house, served, asked, tpm, tmp_path):
    """The challenge stays pending, and the right answer is still taken."""
    answer, wrong = answered(served, asked, tpm, tmp_path), tmp_path / "wrong"
    wrong.write_bytes(bytes(32))
    assert "is not the secret" in refused("tpm-enrol", "host-9", *served[1], "--answer", wrong)
    assert stored(house) is None
    said("tpm-enrol", "host-9", *served[1], "--answer", answer)


def test_a_device_of_the_file_is_not_touched(house, served, asked, tpm, tmp_path):
    """For a device of devices.toml the line to add is printed, and it makes the file say what was proven."""
    answer = answered(served, asked, tpm, tmp_path)
    file = house.rules / "devices.toml"
    entry = '[devices."host-9"]\npublic_key = "' + house.device.public_key.hex() + '"\n'
    file.write_text(entry)
    printed = said("tpm-enrol", "host-9", *served[1], "--answer", answer)
    assert stored(house) is None
    file.write_text(entry + printed)
    served[0].reload()
    house.connect(served[0], posture=TpmPosture("host-9", pcrs=PCRS, tcti=tpm.tcti, measure=dict))


def test_a_key_of_another_device_is_refused(house, served, asked, tpm, tmp_path):
    """A key that devices.toml gives to one host is not enrolled for another, and the challenge stays."""
    answer = answered(served, asked, tpm, tmp_path)
    pem = tpm.tools.public(AK_HANDLE).pem
    (house.rules / "devices.toml").write_text(f"[devices.host-3]\nak = '''\n{pem}'''\n")
    assert "belongs to host-3" in refused("tpm-enrol", "host-9", *served[1], "--answer", answer)
    assert stored(house) is None
    with SqliteStore(house.state / "authority.sqlite") as store:
        assert [name for name, _ in SqliteEnrolments(store).all(Challenge.kind)] == ["host-9"]


def test_a_device_keeps_its_other_keys(house, served, asked, tpm, tmp_path):
    """Enrolling the TPM of a device that is enrolled already adds to what is known of it."""
    with SqliteStore(house.state / "authority.sqlite") as store:
        StoredDevices(SqliteEnrolments(store)).enrol(Device("host-9", house.device.public_key))
    answer = answered(served, asked, tpm, tmp_path)
    said("tpm-enrol", "host-9", *served[1], "--answer", answer)
    assert stored(house) == Device("host-9", house.device.public_key, ak=tpm.tools.public(AK_HANDLE).pem)


@pytest.mark.parametrize(
    ("trust", "says"),
    [
        ((), "either --ek-fingerprint or --ek-roots"),
        (("--ek-fingerprint", "xyz"), "64 hexadecimal digits"),
        (("--ek-fingerprint", "00" * 32), "another fingerprint"),
        (("--ek-roots", __file__), "expected certificates in PEM"),
    ],
)
def test_a_challenge_needs_a_reason_to_trust_the_tpm(house, served, asked, tmp_path, trust, says):
    """Without a fingerprint that fits or roots to go by, there is neither a file nor a challenge."""
    out = tmp_path / "challenge"
    assert says in refused("tpm-challenge", *served[1], "--request", asked[0], *trust, "--out", out)
    assert not out.exists()
    with SqliteStore(house.state / "authority.sqlite") as store:
        assert list(SqliteEnrolments(store).all(Challenge.kind)) == []


def test_files_are_never_overwritten(served, asked, tmp_path):
    """A file that is there stays, and no challenge is made for it."""
    out = tmp_path / "challenge"
    out.write_text("precious")
    given = ("--request", asked[0], "--ek-fingerprint", asked[1], "--out", out)
    assert "cannot be written" in refused("tpm-challenge", *served[1], *given)
    assert out.read_text() == "precious"


@pytest.mark.parametrize(("name", "out"), [("two words", "new"), ("host-8", "taken"), ("host-8", "no/where")])
def test_no_key_is_left_in_a_tpm_that_no_request_speaks_of(tpm, tmp_path, name, out):
    """A name that is none, or a file that cannot be made, is told before there is a key."""
    (tmp_path / "taken").write_text("precious")
    handle = ("--ak", "0x81010009", "--tcti", tpm.tcti)
    assert "Error" in refused("tpm-key", name, *handle, "--out", tmp_path / out)
    assert "0x81010009" not in tpm.run("getcap", "handles-persistent").lower()
    assert (tmp_path / "taken").read_text() == "precious"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("digits", ["ab" * 31, "ab" * 33, "", "no"])
def test_a_fingerprint_has_64_digits(served, asked, tmp_path, digits):
    """What cannot be a fingerprint is not called another one."""
    given = ("--request", asked[0], "--ek-fingerprint", digits, "--out", tmp_path / "out")
    assert "64 hexadecimal digits" in refused("tpm-challenge", *served[1], *given)


def test_hostile_files_are_refused_in_a_sentence(served, asked, tpm, tmp_path):
    """Garbage in place of a request, a challenge or an answer is an error and no traceback."""
    garbage, out = tmp_path / "garbage", tmp_path / "out"
    garbage.write_bytes(b"\xff" * 5000)
    given = ("--request", garbage, "--ek-fingerprint", asked[1], "--out", out)
    assert "Error" in refused("tpm-challenge", *served[1], *given)
    assert "another TPM" in refused("tpm-activate", "--challenge", garbage, "--tcti", tpm.tcti, "--out", out)
    assert not out.exists()


def test_a_state_that_no_authority_made_is_refused(served, tmp_path):
    """A directory without a database is not given one."""
    where = ("--state", tmp_path, "--policy", served[1][3])
    answer = tmp_path / "answer"
    answer.write_bytes(bytes(32))
    assert "was served before" in refused("tpm-enrol", "host-9", *where, "--answer", answer)
    assert not (tmp_path / "authority.sqlite").exists()


def test_one_default_handle():
    """What the command line offers by default is where the prover looks by default."""
    assert f"[default: {AK_HANDLE}]" in said("tpm-key", "--help")
