"""Second factors are enrolled for subjects that there are, with whatever opens the Authority's keys."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result

from ztsession.authority.keys import AuthorityKeys
from ztsession.cli.commands import ztsession
from ztsession.identity.subjects import StoredSubjects, Subject
from ztsession.store.enrolments import SqliteEnrolments
from ztsession.store.sqlite import SqliteStore
from ztsession.wire.sealed_file import Unlock

PHRASE = "correct horse battery staple"
ADA = Subject("ada", "human", credentials=("dns:ada.firm.example",))


@pytest.fixture
def enrolments(house):
    """What is enrolled in a state directory as an Authority leaves it."""
    AuthorityKeys.open(house.state)
    with SqliteStore(house.state / "authority.sqlite") as store:
        yield SqliteEnrolments(store)


def run(house, name: str, subject: str, *more: object, typed: str = "") -> Result:
    where = ("--state", house.state, "--policy", house.rules, "--subject", subject)
    return CliRunner().invoke(ztsession, ["mfa", name, *map(str, (*where, *more))], input=typed)


@pytest.mark.parametrize(("command", "typed"), [("enrol-totp", "000000\n"), ("recovery-codes", "")])
def test_nobody_gets_a_factor_who_is_not_enrolled(house, enrolments, command, typed):
    """A name that neither file nor state knows is refused, naming both; whoever is in either is not."""
    refused = run(house, command, "ada", typed=typed)
    assert refused.exit_code == 1
    assert f"no subject 'ada' is in {house.rules / 'subjects.toml'}" in refused.output
    assert f"none was enrolled in {house.state}" in refused.output
    assert "secret" not in refused.output
    assert all(list(enrolments.all(f"mfa.{kind}.record")) == [] for kind in ("totp", "recovery"))
    StoredSubjects(enrolments).enrol(ADA)
    with (house.rules / "subjects.toml").open("a") as file:
        file.write('[subjects.grace]\nkind = "human"\ndns_name = "grace.firm.example"\n')
    for known in ("ada", "grace"):
        result = run(house, command, known, typed=typed)
        assert ("secret, for typing" if typed else "-") in result.output
        assert "no subject" not in result.output


def test_what_is_left_of_a_subject_that_is_gone_can_be_taken_away(house, enrolments):
    """Looking, resetting and removing ask nobody whether the subject is still enrolled."""
    StoredSubjects(enrolments).enrol(ADA)
    assert run(house, "recovery-codes", "ada").exit_code == 0
    StoredSubjects(enrolments).remove("ada")
    assert "10 left" in run(house, "list", "ada").output
    assert run(house, "reset", "ada").output == "reset\n"
    assert run(house, "remove", "ada", "--factor", "recovery").output == "removed\n"
    assert run(house, "list", "ada").output == "ada has no second factor\n"


def test_keys_open_with_a_passphrase_or_a_file_elsewhere(house, enrolments, tmp_path):
    """What opens the keys now is asked for or named; the key file of before opens nothing any more."""
    StoredSubjects(enrolments).enrol(ADA)
    elsewhere = tmp_path / "elsewhere.key"
    AuthorityKeys.open(house.state).reseal(Unlock.make_key_file(elsewhere))
    assert run(house, "recovery-codes", "ada").exit_code == 1
    assert len(run(house, "recovery-codes", "ada", "--unlock-key", elsewhere).output.split()) == 10
    unlock = Unlock.key_file(elsewhere)
    AuthorityKeys.open(house.state, unlock=unlock).reseal(Unlock.passphrase(PHRASE, memory_mib=64))
    assert "passphrase" in run(house, "list", "ada").output
    listed = run(house, "list", "ada", "--passphrase", typed=PHRASE + "\n")
    assert (listed.exit_code, "10 left" in listed.output, PHRASE in listed.output) == (0, True, False)
    assert run(house, "list", "ada", "--passphrase", "--unlock-key", elsewhere).exit_code == 2


def test_no_keys_are_made_beside_a_database(house, enrolments):
    """A state that has lost its keys is told so; new ones would open nothing that was kept."""
    StoredSubjects(enrolments).enrol(ADA)
    for name in ("keys.sealed", "unlock.key"):
        (house.state / name).unlink()
    assert "holds no keys" in run(house, "recovery-codes", "ada").output
    assert not (house.state / "keys.sealed").exists()


@pytest.mark.parametrize(("command", "typed"), [("enrol-totp", "000000\n"), ("recovery-codes", "")])
def test_a_program_gets_no_second_factor(house, enrolments, command, typed):
    """Only people have one to show: an algorithm is refused, and told from a name that is not there."""
    result = run(house, command, "algo-7", typed=typed)
    assert (result.exit_code, "secret" in result.output) == (1, False)
    assert "algo-7 is of kind algorithm: only humans have second factors" in result.output
    assert all(list(enrolments.all(f"mfa.{kind}.record")) == [] for kind in ("totp", "recovery"))


def test_who_mistypes_a_name_is_not_told_that_it_was_done(house, enrolments):
    """Reset of somebody without a factor fails and writes nothing; a list of none says so."""
    StoredSubjects(enrolments).enrol(ADA)
    for name in ("ada", "adda"):
        result = run(house, "reset", name)
        assert (result.exit_code, result.output) == (1, f"Error: {name} has no second factor\n")
        listed = run(house, "list", name)
        assert (listed.exit_code, listed.stdout, listed.stderr) == (0, "", f"{name} has no second factor\n")
    assert all(list(enrolments.all(f"mfa.{kind}.record")) == [] for kind in ("totp", "recovery"))
    assert run(house, "recovery-codes", "ada").exit_code == 0
    assert run(house, "reset", "ada").output == "reset\n"
