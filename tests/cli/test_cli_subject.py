"""Subjects are enrolled, removed and listed from the command line, also while the Authority runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import ztsession as zts
from ztsession.authority.keys import AuthorityKeys
from ztsession.cli.commands import ztsession
from ztsession.errors import HandshakeError, SessionEnded
from ztsession.identity.subjects import FileSubjects, StoredSubjects, Subject, ed25519_credential
from ztsession.mfa.factors import Factors
from ztsession.mfa.settings import MfaSettings
from ztsession.store.enrolments import SqliteEnrolments
from ztsession.store.sqlite import SqliteStore
from ztsession.wire.sealed_file import Unlock

ISSUER, SPIFFE = "https://login.firm.example", "spiffe://firm.example/algo-8"
SIGHUP = "send SIGHUP to end its sessions\n"


def run(*arguments: object, typed: str | None = None) -> Result:
    return CliRunner().invoke(ztsession, ["subject", *map(str, arguments)], input=typed)


def said(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: object, status: int = 1) -> str:
    result = run(*arguments)
    assert result.exit_code == status, result.output
    assert not isinstance(result.exception, Exception), result.exception
    return result.output


@pytest.fixture
def other() -> zts.Ed25519Identity:
    return zts.Ed25519Identity.generate("algo-8")


@pytest.fixture
def where(house) -> tuple[object, ...]:
    """A state directory as an Authority leaves it, and the options that name it and the policies."""
    AuthorityKeys.open(house.state)
    SqliteStore(house.state / "authority.sqlite").close()
    return ("--state", house.state, "--policy", house.rules)


@pytest.fixture
def enrolments(house, where):
    with SqliteStore(house.state / "authority.sqlite") as store:
        yield SqliteEnrolments(store)


@pytest.fixture
def stored(enrolments) -> StoredSubjects:
    return StoredSubjects(enrolments)


def key(identity: zts.Ed25519Identity) -> tuple[str, str]:
    return "--public-key", identity.public_key.hex()


def algorithm(where, name: str, *proven: object) -> tuple[object, ...]:
    return ("add", *where, "--name", name, "--kind", "algorithm", *proven)


# ---- A running Authority


def test_who_is_added_connects_at_once_and_who_is_removed_never_again(house, other):
    """No restart lets a subject in or keeps it out; its sessions end with the next reload, as is said."""
    authority, where = house.authority(), ("--state", house.state, "--policy", house.rules)
    with pytest.raises(HandshakeError, match="refused"):
        house.connect(authority, identity=other)
    added = said(*algorithm(where, "algo-8", *key(other), "--role", "trading", "--desk", "rates"))
    assert added == "enrolled: algo-8\n"
    session = house.connect(authority, identity=other)
    removed = said("remove", *where, "--name", "algo-8")
    assert removed.startswith("removed: algo-8\n")
    assert removed.endswith(SIGHUP)
    with pytest.raises(HandshakeError, match="refused"):
        house.connect(authority, identity=other)
    assert authority.session(session.id).subject == "algo-8"
    authority.reload()
    with pytest.raises(SessionEnded):
        authority.session(session.id)


@pytest.mark.parametrize("command", ["add", "remove"])
def test_the_help_says_how_sessions_end(command):
    """Whoever asks for help learns that a running Authority must be told."""
    assert SIGHUP.strip() in " ".join(said(command, "--help").split())


# ---- What is enrolled


def test_everything_that_is_given_is_enrolled(where, stored, other):
    """Kind, roles, desk, second factor and all four ways to prove it are in the state as they were given."""
    proven = (*key(other), "--spiffe-id", SPIFFE, "--dns-name", "Algo-8.Firm.Example")
    proven += ("--oidc-issuer", ISSUER, "--oidc-subject", "00u1x8", "--role", "a", "--role", "b")
    said("add", *where, "--name", "algo-8", "--kind", "human", *proven, "--desk", "rates", "--mfa")
    credentials = (
        ed25519_credential(other.public_key),
        SPIFFE,
        "dns:algo-8.firm.example",
        f"oidc:{ISSUER} 00u1x8",
    )
    whole = Subject("algo-8", "human", ("a", "b"), "rates", credentials, mfa=True)
    assert stored.named("algo-8") == whole
    assert [stored.holder(each) for each in credentials] == [whole] * 4
    said(*algorithm(where, "algo-9", "--dns-name", "algo-9"))
    assert stored.named("algo-9") == Subject("algo-9", "algorithm", credentials=("dns:algo-9",))


KEY = zts.Ed25519Identity.generate("x").public_key.hex()
SPELLINGS = [
    ({"public_key": KEY}, True),
    ({"public_key": KEY.upper()}, False),
    ({"public_key": KEY[:-1]}, False),
    ({"public_key": f" {KEY}"}, False),
    ({"public_key": f"{KEY}\n"}, False),
    ({"public_key": "00" * 32}, False),
    ({"public_key": ""}, False),
    ({"spiffe_id": SPIFFE}, True),
    ({"spiffe_id": "https://firm.example/algo-8"}, False),
    ({"spiffe_id": "spiffe://firm.example"}, False),
    ({"spiffe_id": "spiffe://Firm.example/algo-8"}, False),
    ({"spiffe_id": SPIFFE + "/../x"}, False),
    ({"spiffe_id": ""}, False),
    ({"dns_name": "Algo-8.firm.example"}, True),
    ({"dns_name": "algo 8"}, False),
    ({"dns_name": "https://algo-8.firm.example"}, False),
    ({"dns_name": "algo-8.firm.example."}, False),
    ({"oidc_issuer": "https://", "oidc_subject": "x"}, False),
    ({"dns_name": "аlgo-8"}, False),  # noqa: RUF001 - the first letter is Cyrillic
    ({"dns_name": ""}, False),
    ({"oidc_issuer": ISSUER, "oidc_subject": "00u1x8"}, True),
    ({"oidc_issuer": ISSUER, "oidc_subject": "auth0|a b"}, True),
    ({"oidc_issuer": ISSUER, "oidc_subject": "x" * 255}, True),
    ({"oidc_issuer": ISSUER, "oidc_subject": "x" * 256}, False),
    ({"oidc_issuer": ISSUER, "oidc_subject": ""}, False),
    ({"oidc_issuer": ISSUER, "oidc_subject": "a\nb"}, False),
    ({"oidc_issuer": ISSUER, "oidc_subject": "ä"}, False),
    ({"oidc_issuer": ISSUER}, False),
    ({"oidc_subject": "00u1x8"}, False),
    ({"oidc_issuer": "http://login.firm.example", "oidc_subject": "x"}, False),
    ({"oidc_issuer": "https://login.firm example", "oidc_subject": "x"}, False),
    ({"oidc_issuer": "https://" + "a" * 1010, "oidc_subject": "x"}, False),
    ({}, False),
    ({"dns_name": "a", "oidc_issuer": ISSUER}, False),
    ({"dns_name": "a", "oidc_subject": "x"}, False),
    ({"public_key": KEY, "dns_name": "algo 8"}, False),
]


@pytest.mark.parametrize(("proven", "taken"), SPELLINGS, ids=range(len(SPELLINGS)))
def test_a_credential_means_here_what_it_means_in_the_file(where, stored, tmp_path, proven, taken):
    """What is taken leads to the same credential as in subjects.toml; what is not enrols nothing."""
    options = [word for name, text in proven.items() for word in (f"--{name.replace('_', '-')}", text)]
    result = run(*algorithm(where, "algo-8", *options))
    assert result.exit_code in ((0,) if taken else (1, 2)), result.output
    if not taken:
        assert stored.named("algo-8") is None
        return
    file = tmp_path / "twin.toml"
    file.write_text(
        '[subjects.algo-8]\nkind = "algorithm"\n'
        + "".join(f'{name} = "{text}"\n' for name, text in proven.items())
    )
    assert stored.named("algo-8") == FileSubjects(file).named("algo-8")


@pytest.mark.parametrize(
    ("more", "status", "match"),
    [
        ({"--name": "algo 8"}, 1, "names have"),
        ({"--name": "a" * 129}, 1, "names have"),
        ({"--kind": "robot"}, 2, "robot"),
        ({"--role": "market maker"}, 1, "names have"),
        ({"--desk": "two words"}, 1, "names have"),
    ],
)
def test_L7_a_name_that_cannot_be_is_refused(where, enrolments, more, status, match):
    """Names, roles and desks with blanks or more are refused in a sentence; the same without is enrolled."""
    good = {"--name": "algo-8", "--kind": "service", "--role": "market-maker", "--desk": "rates"}
    words = [word for pair in (good | more).items() for word in pair]
    assert match in refused("add", *where, *words, "--dns-name", "a", status=status)
    assert list(enrolments.all("subject")) == list(enrolments.all("credential")) == []
    said("add", *where, *(word for pair in good.items() for word in pair), "--dns-name", "a")


def test_what_the_file_says_is_not_said_otherwise(house, where, stored, other):
    """Neither a name nor a credential of subjects.toml is enrolled here, and the error names the file."""
    file = house.rules / "subjects.toml"
    assert f"{file}: names algo-7" in refused(*algorithm(where, "algo-7", *key(other)))
    assert "to algo-7" in refused(*algorithm(where, "algo-8", "--dns-name", "a", *key(house.identity)))
    assert (stored.named("algo-7"), stored.named("algo-8")) == (None, None)
    said(*algorithm(where, "algo-8", "--dns-name", "a", *key(other)))


def test_an_enrolment_is_replaced_only_when_asked(where, stored, other):
    """A second add changes nothing; with --replace it does, and tells of sessions by what is gone."""
    said(*algorithm(where, "algo-8", *key(other), "--dns-name", "a"))
    before = stored.named("algo-8")
    assert "--replace" in refused(*algorithm(where, "algo-8", "--dns-name", "b"))
    assert stored.named("algo-8") == before
    more = ("--replace", "--role", "trading")
    assert said(*algorithm(where, "algo-8", *key(other), "--dns-name", "a", *more)) == "enrolled: algo-8\n"
    assert stored.named("algo-8").roles == ("trading",)
    assert said(*algorithm(where, "algo-8", "--dns-name", "a", "--replace")).endswith(SIGHUP)
    assert stored.holder(ed25519_credential(other.public_key)) is None


def test_a_credential_of_another_is_refused(where, stored, other):
    """Two subjects of the state cannot have one credential either, until the first has gone."""
    said(*algorithm(where, "algo-8", *key(other)))
    for replacing in ((), ("--replace",)):
        answer = refused(*algorithm(where, "algo-9", *key(other), "--dns-name", "a", *replacing))
        assert "belongs to algo-8" in answer
        assert stored.named("algo-9") is None
    said("remove", *where, "--name", "algo-8")
    said(*algorithm(where, "algo-9", *key(other)))


# ---- List


def test_list_tells_where_each_comes_from(house, where, stored, other):
    """The file's subjects and the state's, with what is known of each; what has no effect is said."""
    mine = ascii(ed25519_credential(house.identity.public_key))
    first = f"algo-7 (file): algorithm, role trading, desk rates, {mine}\n"
    assert said("list", *where) == first
    stored.enrol(Subject("ada", "human", credentials=("dns:ada",), mfa=True))
    assert said("list", *where) == first + "ada (state): human, second factor demanded, 'dns:ada'\n"
    stored.enrol(Subject("algo-7", "service", ("admin",), credentials=("dns:stranger",)))
    stored.enrol(Subject("eve", "human", credentials=(ed25519_credential(house.identity.public_key),)))
    lines = said("list", *where).splitlines()
    assert lines[0] + "\n" == first
    assert lines[2:] == [
        "algo-7 (state): service, role admin, 'dns:stranger', of no effect: the file says otherwise",
        f"eve (state): human, {mine} (the file gives it to algo-7)",
    ]


def test_A12_a_credential_forges_no_line(where, stored):
    """What a program enrolled is quoted, whatever it is: no line end, escape or look-alike is printed."""
    stored.enrol(
        Subject("eve", "human", credentials=("oidc:https://a x\nada (file): human\x1b[2J\u202e\u0430",))
    )
    assert said("list", *where).splitlines()[1:] == [
        r"eve (state): human, 'oidc:https://a x\nada (file): human\x1b[2J\u202e\u0430'"
    ]


# ---- Remove


def test_who_is_not_enrolled_here_is_not_removed(where, stored):
    """A subject of the file, or nobody's name, is an error that says where to look."""
    for name in ("algo-7", "nobody", ""):
        assert "is it in" in refused("remove", *where, "--name", name)


def factors_of(house, enrolments) -> Factors:
    return Factors(enrolments, AuthorityKeys.open(house.state).sealing("mfa"), MfaSettings())


def test_second_factors_go_with_their_subject(house, where, enrolments, stored):
    """Whoever is given the name one day does not inherit the codes of the one before; others keep theirs."""
    factors = factors_of(house, enrolments)
    for name in ("ada", "bob"):
        stored.enrol(Subject(name, "human", credentials=(f"dns:{name}",)))
        factors.recovery_codes(name)
    said("remove", *where, "--name", "ada")
    assert (factors.enrolled("ada"), factors.enrolled("bob")) == ((), ("recovery",))


def test_a_subject_that_the_file_names_too_keeps_its_factors(house, where, enrolments, stored):
    """What is removed is the state's word for it; that the file still enrols it is said."""
    stored.enrol(Subject("algo-7", "human", credentials=("dns:a",)))
    factors_of(house, enrolments).recovery_codes("algo-7")
    assert said("remove", *where, "--name", "algo-7").endswith("there it is still enrolled\n")
    assert stored.named("algo-7") is None
    assert factors_of(house, enrolments).enrolled("algo-7") == ("recovery",)


def test_who_has_no_factors_is_removed_without_the_keys(house, where, stored):
    """Keys that do not open here keep no algorithm enrolled."""
    stored.enrol(Subject("algo-8", "algorithm", credentials=("dns:a",)))
    (house.state / "unlock.key").unlink()
    assert said("remove", *where, "--name", "algo-8").startswith("removed: algo-8\n")


def test_what_does_not_open_delays_no_removal(house, where, enrolments, stored):
    """The subject is out though its factors cannot be reached; with the passphrase they go, too."""
    phrase = "correct horse battery staple"
    ada = Subject("ada", "human", credentials=("dns:ada",))
    stored.enrol(ada)
    keys = AuthorityKeys.open(house.state)
    factors = Factors(enrolments, keys.sealing("mfa"), MfaSettings())
    factors.recovery_codes("ada")
    keys.reseal(Unlock.passphrase(phrase, memory_mib=64))
    answer = refused("remove", *where, "--name", "ada")
    assert "removed: ada\n" in answer
    assert "passphrase" in answer
    assert "its second factors are still kept: `ztsession mfa remove` takes them away" in answer
    assert (stored.named("ada"), factors.enrolled("ada")) == (None, ("recovery",))
    stored.enrol(ada)
    result = run("remove", *where, "--name", "ada", "--passphrase", typed=f"{phrase}\n")
    assert (result.exit_code, phrase in result.output, factors.enrolled("ada")) == (0, False, ())


def test_a_mistake_in_the_file_delays_no_removal(house, where, stored):
    """A broken subjects.toml is told after the subject is out, and keeps anybody from being added."""
    stored.enrol(Subject("algo-8", "algorithm", credentials=("dns:a",)))
    (house.rules / "subjects.toml").write_text('[subjects.x]\nkind = 7\ndns_name = "x"\n')
    assert "subjects.toml:2: " in refused("remove", *where, "--name", "algo-8")
    assert stored.named("algo-8") is None
    assert "subjects.toml:2: " in refused(*algorithm(where, "algo-8", "--dns-name", "a"))
    assert stored.named("algo-8") is None


def test_a_directory_that_is_no_state_stays_empty(house, where, tmp_path):
    """A mistyped directory is refused, and nothing is made in it."""
    empty = tmp_path / "elsewhere"
    empty.mkdir()
    wrong = ("--state", empty, "--policy", house.rules)
    for command in (
        algorithm(wrong, "a", "--dns-name", "a"),
        ("remove", *wrong, "--name", "a"),
        ("list", *wrong),
    ):
        assert "was served before" in refused(*command)
    assert list(empty.iterdir()) == []
    assert Path(house.state / "authority.sqlite").is_file()
