"""Who is enrolled: a credential has one holder, a name one meaning, and the operator's file is right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ztsession.errors import ConfigurationError, StoreError, WireError
from ztsession.identity import Ed25519Identity
from ztsession.identity.protocol import VerifiedIdentity
from ztsession.identity.subjects import (
    AllSubjects,
    FileSubjects,
    StoredSubjects,
    Subject,
    ed25519_credential,
    oidc_credential,
)
from ztsession.store.enrolments import SqliteEnrolments
from ztsession.store.sqlite import SqliteStore
from ztsession.wire import canonical

KEY, OTHER_KEY = (Ed25519Identity.generate("x").public_key for _ in range(2))
SPIFFE, DNS = "spiffe://firm.example/algo-7", "dns:algo-7.firm.example"
OIDC = oidc_credential("https://login.firm.example", "00u1x8")
EVERY = (ed25519_credential(KEY), SPIFFE, DNS, OIDC)
FULL = Subject("algo-7", "human", ("trading", "hedging"), "rates", EVERY, mfa=True)
FILE = f"""\
[subjects.algo-7]
kind = "human"
roles = ["trading", "hedging"]
desk = "rates"
mfa = true
public_key = "{KEY.hex()}"
spiffe_id = "spiffe://firm.example/algo-7"
dns_name = "Algo-7.Firm.Example"
oidc_issuer = "https://login.firm.example"
oidc_subject = "00u1x8"

[subjects."ada@firm.example"]
kind = "human"
public_key = "{OTHER_KEY.hex()}"
"""
ADA = Subject("ada@firm.example", "human", credentials=(ed25519_credential(OTHER_KEY),))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "subjects.toml"
    written.write_text(FILE)
    return written


@pytest.fixture
def enrolments(tmp_path: Path) -> Iterator[SqliteEnrolments]:
    with SqliteStore(tmp_path / "state.db") as store:
        yield SqliteEnrolments(store)


@pytest.fixture
def stored(enrolments: SqliteEnrolments) -> StoredSubjects:
    return StoredSubjects(enrolments)


def contents(enrolments: SqliteEnrolments) -> list[tuple[str, bytes]]:
    return [each for kind in ("subject", "credential") for each in enrolments.all(kind)]


# ---- One subject


def test_a_subject_says_who_proved_what():
    """The identity has all that is enrolled, and the credential, assurance and end that were proven."""
    assert FULL.identity(2, SPIFFE, 1_900_000_000) == VerifiedIdentity(
        "algo-7", "human", ("trading", "hedging"), "rates", 2, SPIFFE, 1_900_000_000
    )
    assert ADA.identity(1, ADA.credentials[0]).until is None


@pytest.mark.parametrize("subject", [FULL, ADA], ids=["all", "least"])
def test_the_canonical_form_is_read_back(subject):
    """What was written is read back as it was, and in no other form."""
    data = subject.to_bytes()
    assert Subject.from_bytes(data) == subject
    assert Subject.from_bytes(data).to_bytes() == data
    for bad in (data + b"\0", data[:-1], b"", data.replace(b"\xa7subject", b"\xa7sudject", 1)):
        with pytest.raises(WireError):
            Subject.from_bytes(bad)


def test_a_stored_form_is_held_to_the_same_rules():
    """A name, kind or role that no subject could have is refused when it is read, too."""
    honest = canonical.decode(FULL.to_bytes(), max_bytes=16384)
    assert Subject.from_bytes(canonical.encode(honest)) == FULL
    for key, value in (
        ("name", "algo 7"), ("name", ""), ("sort", "robot"), ("roles", ["a\n"]), ("desk", "a b"),
        ("credentials", [""]), ("credentials", ["x" * 1025]), ("mfa", 1), ("more", 1),
    ):  # fmt: skip
        with pytest.raises(WireError):
            Subject.from_bytes(canonical.encode(honest | {key: value}))


@pytest.mark.parametrize(
    "changed",
    [
        {"roles": tuple(f"r{n}" for n in range(65))},
        {"credentials": tuple(f"dns:h{n}" for n in range(9))},
        {"credentials": ("",)},
        {"credentials": ("dns:" + "a" * 1021,)},
    ],
    ids=["roles", "credentials", "none", "long"],
)
def test_what_is_too_much_is_not_written(changed, enrolments):
    """Past 64 roles, 8 credentials or 1024 bytes of one there is no form, and nothing is stored."""
    with pytest.raises(WireError):
        StoredSubjects(enrolments).enrol(replace(ADA, **changed))
    assert contents(enrolments) == []


def test_the_most_that_may_be_is_written(stored):
    """64 roles and 8 credentials, one of 1024 bytes, are stored and found."""
    credentials = (*(f"dns:h{n}" for n in range(7)), "dns:" + "a" * 1020)
    most = replace(ADA, roles=tuple(f"r{n}" for n in range(64)), credentials=credentials)
    stored.enrol(most)
    assert [stored.holder(each) for each in credentials] == [most] * 8


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"name": ""}, "names"),
        ({"name": "ada\n"}, "names"),
        ({"name": "аda"}, "names"),  # noqa: RUF001 - the first letter is Cyrillic
        ({"name": "a" * 129}, "names"),
        ({"roles": ("market maker",)}, "names"),
        ({"roles": ("",)}, "names"),
        ({"desk": "rates\x1b[2J"}, "names"),
        ({"kind": "robot"}, "algorithm, human, service"),
    ],
)
def test_L7_names_that_look_like_others_cannot_be(changed, match):
    """Blanks, line ends, escapes and letters that look alike are in no name, role or desk."""
    with pytest.raises(ConfigurationError, match=match):
        replace(ADA, **changed)
    replace(ADA, name="a" * 128, roles=("market-maker",), desk="rates")


# ---- The operator's file


def test_every_credential_of_the_file_is_found(path):
    """Each way that the file gives a subject leads to it, the DNS name in lower case; nothing else does."""
    subjects = FileSubjects(path)
    assert subjects.names == ("algo-7", "ada@firm.example")
    assert [subjects.named(name) for name in (*subjects.names, "algo-8", "")] == [FULL, ADA, None, None]
    assert [subjects.holder(each) for each in EVERY] == [FULL] * 4
    assert subjects.holder(ed25519_credential(OTHER_KEY)) == ADA
    for other in ("dns:Algo-7.Firm.Example", "algo-7.firm.example", KEY.hex(), SPIFFE + "/", OIDC + " ", ""):
        assert subjects.holder(other) is None


def test_credentials_of_two_kinds_never_look_alike(path):
    """Whatever an operator writes into one way, it is not the credential of another way."""
    for text in ("spiffe://firm.example/algo-7", f"ed25519:{KEY.hex()}", DNS, OIDC):
        path.write_text(f'[subjects.a]\nkind = "service"\ndns_name = "{text}"\n')
        with pytest.raises(ConfigurationError, match="one host's name"):
            FileSubjects(path)
    path.write_text(f'[subjects.a]\nkind = "service"\ndns_name = "{KEY.hex()[:63]}"\n')
    assert FileSubjects(path).named("a").credentials == (f"dns:{KEY.hex()[:63]}",)


HEAD = '[subjects.a]\nkind = "service"\n'
MISTAKES = [
    (1, '[subject.a]\nkind = "service"\n', 1, "unknown key, expected one of subjects"),
    (2, 'subjects = "a"\n', 1, "expected a table"),
    (3, '[subjects."a b"]\nkind = "service"\n', 1, "expected a name"),
    (4, f'[subjects.a]\npublic_key = "{KEY.hex()}"\n', 1, "kind: expected text"),
    (5, f'[subjects.a]\npublic_key = "{KEY.hex()}"\nkind = "robot"\n', 3, "algorithm, human, service"),
    (6, HEAD, 1, "one or more of public_key, spiffe_id, dns_name, oidc_issuer"),
    (7, f'{HEAD}spiffe = "{SPIFFE}"\n', 3, "unknown key"),
    (8, f'{HEAD}public_key = "{KEY.hex().upper()}"\n', 3, "64 digits of lower-case hexadecimal"),
    (9, f'{HEAD}public_key = "{KEY.hex()[:-1]}"\n', 3, "64 digits"),
    (10, f'{HEAD}public_key = "{"00" * 32}"\n', 3, "expected an Ed25519 public key"),
    (11, f'{HEAD}spiffe_id = "https://firm.example/a"\n', 3, "spiffe://trust-domain/path"),
    (12, f"{HEAD}spiffe_id = 7\n", 3, "expected text"),
    (13, f'{HEAD}dns_name = "a b"\n', 3, "one host's name"),
    (14, f'{HEAD}dns_name = ""\n', 3, "one host's name"),
    (15, f'{HEAD}oidc_issuer = "http://login.firm.example"\noidc_subject = "x"\n', 3, "https://..."),
    (16, f'{HEAD}oidc_issuer = "https://login.firm example"\noidc_subject = "x"\n', 3, "https://..."),
    (17, f'{HEAD}oidc_issuer = "https://login.firm.example"\n', 1, "oidc_subject: expected text"),
    (18, f'{HEAD}oidc_subject = "x"\n', 1, "oidc_issuer: expected text"),
    (19, f'{HEAD}spiffe_id = "spiffe://a/{"x" * 1020}"\n', 1, "at most 1024 bytes"),
    (20, f'{HEAD}dns_name = "a"\nroles = "trading"\n', 4, "list of texts"),
    (21, f'{HEAD}dns_name = "a"\nroles = ["market maker"]\n', 4, "expected names"),
    (22, f'{HEAD}dns_name = "a"\ndesk = "two words"\n', 4, "1 to 128 characters"),
    (23, f'{HEAD}dns_name = "a"\nmfa = "yes"\n', 4, "true or false"),
    (24, '[subjects.a]\nkind = "service"\ndns_name = "a"\nmfa = true\n', 4, "only of humans"),
    (25, f"{HEAD}{HEAD}", 3, "expected TOML"),
    (26, f'{HEAD}oidc_issuer = "https://a"\noidc_subject = ""\n', 4, "1 to 255 printable ASCII characters"),
    (27, f'{HEAD}spiffe_id = "spiffe://Firm.example/a"\n', 3, "spiffe://trust-domain/path"),
    (28, f'{HEAD}spiffe_id = "spiffe://firm.example"\n', 3, "spiffe://trust-domain/path"),
    (29, f'{HEAD}spiffe_id = "spiffe://firm.example/a/"\n', 3, "spiffe://trust-domain/path"),
    (30, f'{HEAD}dns_name = "https://a.firm.example"\n', 3, "one host's name"),
    (31, f'{HEAD}dns_name = "a.firm.example."\n', 3, "one host's name"),
    (32, f'{HEAD}dns_name = "*.firm.example"\n', 3, "one host's name"),
    (33, f'{HEAD}oidc_issuer = "https://a"\noidc_subject = "zoë"\n', 4, "printable ASCII"),
    (34, f'{HEAD}oidc_issuer = "https://a\\n"\noidc_subject = "x"\n', 3, "https://..."),
    (35, f'{HEAD}oidc_issuer = "https://"\noidc_subject = "x"\n', 3, "https://..."),
]


@pytest.mark.parametrize(("text", "line", "match"), [case[1:] for case in MISTAKES], ids=range(1, 36))
def test_a_mistake_in_the_file_names_its_line(tmp_path, text, line, match):
    """Every mistake is refused with file, line and what was expected instead."""
    path = tmp_path / "subjects.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        FileSubjects(path)
    assert match in str(caught.value)
    assert str(caught.value).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize(
    ("first", "second", "line"),
    [
        (f'public_key = "{KEY.hex()}"', f'public_key = "{KEY.hex()}"', 7),
        (f'spiffe_id = "{SPIFFE}"', f'spiffe_id = "{SPIFFE}"', 5),
        ('dns_name = "algo-7.firm.example"', 'dns_name = "ALGO-7.firm.example"', 5),
        ('oidc_issuer = "https://a"\noidc_subject = "x"', 'oidc_issuer = "https://a"\noidc_subject = "x"', 6),
    ],
    ids=["public_key", "spiffe_id", "dns_name", "oidc"],
)
def test_one_credential_has_one_holder(tmp_path, first, second, line):
    """Two subjects that could each pass for the other are refused, whatever the credential is."""
    path = tmp_path / "subjects.toml"
    a, b = (f'[subjects.{name}]\nkind = "service"\n{way}\n' for name, way in (("a", first), ("b", second)))
    path.write_text(a + "\n" + b)
    with pytest.raises(ConfigurationError, match=r"has the same") as caught:
        FileSubjects(path)
    assert (caught.value.file, caught.value.line) == (str(path), line)
    path.write_text(a + "\n" + b.replace(second, 'dns_name = "b.firm.example"'))
    assert FileSubjects(path).names == ("a", "b")


def test_a_file_that_is_wrong_changes_nothing(path):
    """Read again, a good file counts at once; of a wrong one nothing does."""
    subjects = FileSubjects(path)
    path.write_text(FILE.replace("algo-7]", "algo-8]"))
    subjects.reload()
    assert subjects.holder(SPIFFE) == subjects.named("algo-8") == replace(FULL, name="algo-8")
    for wrong in (FILE + "x = 1\n", "x", FILE.replace('"human"', '"robot"')):
        path.write_text(wrong)
        with pytest.raises(ConfigurationError):
            subjects.reload()
        assert subjects.names == ("algo-8", "ada@firm.example")
    path.unlink()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        subjects.reload()
    assert subjects.holder(SPIFFE) is not None


# ---- The table


def test_an_enrolled_subject_is_found_by_each_credential(stored):
    """By its name and by everything that proves it; nobody else is."""
    stored.enrol(FULL)
    assert (stored.named("algo-7"), stored.named("algo-8")) == (FULL, None)
    assert [stored.holder(each) for each in EVERY] == [FULL] * 4
    assert stored.holder("algo-7") is None
    assert stored.holder(ADA.credentials[0]) is None


def test_a_second_enrolment_replaces_the_first(stored):
    """What the subject has no longer leads nowhere, and another may have it."""
    stored.enrol(FULL)
    less = replace(FULL, roles=(), credentials=(DNS, "dns:new"))
    stored.enrol(less)
    assert stored.named("algo-7") == less
    assert [stored.holder(each) for each in (SPIFFE, OIDC, DNS, "dns:new")] == [None, None, less, less]
    other = replace(ADA, credentials=(SPIFFE,))
    stored.enrol(other)
    assert stored.holder(SPIFFE) == other


def test_two_subjects_with_one_credential_are_refused(stored, enrolments):
    """The second enrolment changes nothing, not even what was good of it."""
    stored.enrol(FULL)
    before = contents(enrolments)
    for taken in EVERY:
        with pytest.raises(ConfigurationError, match="belongs to algo-7"):
            stored.enrol(replace(ADA, credentials=("dns:ada.firm.example", taken)))
        assert contents(enrolments) == before
    stored.enrol(ADA)
    with pytest.raises(ConfigurationError, match="belongs to algo-7"):
        stored.enrol(replace(ADA, credentials=(SPIFFE,)))
    assert stored.holder(ADA.credentials[0]) == stored.named(ADA.name) == ADA


class Failing(SqliteEnrolments):
    """The real table on a disk that fails at some write."""

    def __init__(self, store: SqliteStore, writes: int) -> None:
        super().__init__(store)
        self._writes = writes

    def _write(self) -> None:
        self._writes -= 1
        if self._writes < 0:
            raise StoreError("the disk is full")

    def put(self, *given, **more):
        self._write()
        return super().put(*given, **more)

    def remove(self, *given):
        self._write()
        return super().remove(*given)


def test_an_enrolment_is_written_wholly_or_not_at_all(tmp_path):
    """Whichever write fails, the subject and every credential are as they were before."""
    less = replace(FULL, roles=(), credentials=(DNS, "dns:new"))
    with SqliteStore(tmp_path / "state.db") as store:
        whole = SqliteEnrolments(store)
        StoredSubjects(whole).enrol(FULL)
        before = contents(whole)
        for change, writes in ((lambda to: to.enrol(less), 8), (lambda to: to.remove("algo-7"), 5)):
            for number in range(writes):
                with pytest.raises(StoreError, match="disk is full"):
                    change(StoredSubjects(Failing(store, number)))
                assert contents(whole) == before
            change(StoredSubjects(Failing(store, writes)))
            assert contents(whole) != before
            StoredSubjects(whole).enrol(FULL)


def test_removal_frees_name_and_credentials(stored, enrolments):
    """Nothing is left, and another subject may have all of it."""
    stored.enrol(FULL)
    stored.enrol(ADA)
    assert stored.remove("algo-7") is True
    assert stored.remove("algo-7") is False
    assert stored.named("algo-7") is None
    assert [stored.holder(each) for each in EVERY] == [None] * 4
    assert stored.holder(ADA.credentials[0]) == ADA
    heir = replace(FULL, name="algo-8")
    stored.enrol(heir)
    assert stored.holder(OIDC) == heir
    assert stored.remove("algo-8")
    assert stored.remove(ADA.name)
    assert contents(enrolments) == []


def test_enrolments_outlive_the_process_and_are_seen_by_others(tmp_path):
    """What one connection has enrolled or removed, another one sees at once, and one opened later too."""
    path = tmp_path / "shared.db"
    with SqliteStore(path) as one, SqliteStore(path) as two:
        here, there = (StoredSubjects(SqliteEnrolments(each)) for each in (one, two))
        here.enrol(FULL)
        assert there.holder(SPIFFE) == FULL
        there.enrol(ADA)
        there.remove("algo-7")
        assert here.holder(SPIFFE) is None
    with SqliteStore(path) as later:
        assert StoredSubjects(SqliteEnrolments(later)).named(ADA.name) == ADA


def test_a_subject_has_one_ed25519_key(stored, enrolments):
    """Evidence by a key says the name alone, so a second key, which could never prove it, is refused."""
    keys = tuple(map(ed25519_credential, (KEY, OTHER_KEY)))
    with pytest.raises(ConfigurationError, match="at most one Ed25519 key"):
        stored.enrol(replace(ADA, credentials=keys))
    assert contents(enrolments) == []
    stored.enrol(replace(ADA, credentials=(keys[0], SPIFFE)))
    assert stored.holder(keys[0]) == stored.holder(SPIFFE)


# ---- Both


def test_where_both_name_a_subject_the_file_is_right(path, stored):
    """Neither roles nor credentials of the file's subjects can be changed by the table."""
    stored.enrol(replace(FULL, roles=("admin",), mfa=False))
    every = AllSubjects(FileSubjects(path), stored)
    assert every.named("algo-7") == FULL
    assert [every.holder(each) for each in EVERY] == [FULL] * 4
    assert AllSubjects(stored).named("algo-7").roles == ("admin",)


def test_the_table_cannot_lend_a_name_of_the_file_to_another_credential(path, stored):
    """Who is enrolled at run time under a name of the file is nobody, until the file lets go of the name."""
    stranger = replace(FULL, credentials=("dns:stranger",))
    stored.enrol(stranger)
    every = AllSubjects(FileSubjects(path), stored)
    assert stored.holder("dns:stranger") == stranger
    assert every.holder("dns:stranger") is None
    assert every.holder(SPIFFE) == FULL
    path.write_text("")
    assert AllSubjects(FileSubjects(path), stored).holder("dns:stranger") == stranger


def test_the_table_cannot_take_a_credential_of_the_file(path, stored):
    """A credential that the file gives to somebody leads to him and to nobody in the table."""
    thief = replace(ADA, name="eve", credentials=(SPIFFE, "dns:eve"))
    stored.enrol(thief)
    every = AllSubjects(FileSubjects(path), stored)
    assert every.holder(SPIFFE) == FULL
    assert every.holder("dns:eve") == every.named("eve") == thief


def test_both_are_asked(path, stored):
    """A subject of either is found, one of neither is not; no registry at all knows nobody."""
    hired = Subject("algo-8", "service", credentials=("dns:algo-8",))
    stored.enrol(hired)
    every = AllSubjects(FileSubjects(path), stored)
    assert [every.named(name) for name in ("algo-7", "algo-8", "algo-9")] == [FULL, hired, None]
    assert [every.holder(each) for each in (SPIFFE, "dns:algo-8", "dns:algo-9")] == [FULL, hired, None]
    assert AllSubjects().named("algo-7") is AllSubjects().holder(SPIFFE) is None
