"""Who signs the binding with an enrolled key is that subject, and nobody else is."""

from __future__ import annotations

import stat

import pytest

from ztsession.errors import ConfigurationError, EvidenceError
from ztsession.identity import (
    Ed25519Identity,
    Ed25519Verifier,
    IdentityProver,
    IdentityVerifier,
    VerifiedIdentity,
)
from ztsession.identity.ed25519 import Ed25519Evidence
from ztsession.identity.key_digests import ed25519_key_digests
from ztsession.identity.subjects import (
    AllSubjects,
    FileSubjects,
    StoredSubjects,
    Subject,
    ed25519_credential,
)
from ztsession.store.enrolments import SqliteEnrolments
from ztsession.store.sqlite import SqliteStore
from ztsession.wire import digest

BINDING = bytes(range(32))
ORDER = 2**252 + 27742317777372353535851937790883648493


@pytest.fixture
def algo():
    return Ed25519Identity.generate("algo-7")


@pytest.fixture
def other():
    return Ed25519Identity.generate("trader.b")


@pytest.fixture
def path(tmp_path, algo, other):
    file = tmp_path / "subjects.toml"
    file.write_text(
        algo.registry_entry("algorithm", roles=("market-maker", "quoter"), desk="rates")
        + "\n"
        + other.registry_entry("human")
    )
    return file


@pytest.fixture
def subjects(path):
    return FileSubjects(path)


@pytest.fixture
def registry(subjects):
    return Ed25519Verifier(subjects)


def test_evidence_gives_the_enrolled_identity(registry, subjects, algo, other):
    """Each subject's evidence yields what the registry says about it, at assurance level 1."""
    first, second = (f"ed25519:{each.public_key.hex()}" for each in (algo, other))
    assert registry.verify(algo.prove(BINDING), BINDING) == VerifiedIdentity(
        *("algo-7", "algorithm", ("market-maker", "quoter"), "rates", 1, first),
        keys=ed25519_key_digests(algo.public_key),
    )
    assert registry.verify(other.prove(BINDING), BINDING) == VerifiedIdentity(
        *("trader.b", "human", (), "", 1, second), keys=ed25519_key_digests(other.public_key)
    )
    assert subjects.names == ("algo-7", "trader.b")
    assert isinstance(registry, IdentityVerifier)
    assert isinstance(algo, IdentityProver)


def test_H1_evidence_holds_for_its_binding_only(registry, algo):
    """Evidence made for one handshake is refused for another."""
    with pytest.raises(EvidenceError, match="does not hold"):
        registry.verify(algo.prove(BINDING), bytes(32))
    with pytest.raises(EvidenceError, match="32 bytes"):
        registry.verify(algo.prove(BINDING), BINDING[:31])


def test_H2_a_subject_cannot_pass_for_another(registry, algo, other):
    """A claim of another's name, signed with one's own key or taken from one's own evidence, is refused."""
    claimed = Ed25519Identity("algo-7", other.signing_seed, other.static_private)
    moved = Ed25519Evidence("algo-7", Ed25519Evidence.from_bytes(other.prove(BINDING)).signature)
    for evidence in (claimed.prove(BINDING), moved.to_bytes()):
        with pytest.raises(EvidenceError, match="does not hold"):
            registry.verify(evidence, BINDING)
    registry.verify(algo.prove(BINDING), BINDING)


def test_H11_a_malleable_signature_is_refused(registry, algo):
    """The same evidence with the group order added to S is refused."""
    evidence = Ed25519Evidence.from_bytes(algo.prove(BINDING))
    registry.verify(evidence.to_bytes(), BINDING)
    s = int.from_bytes(evidence.signature[32:], "little") + ORDER
    twin = Ed25519Evidence(evidence.subject, evidence.signature[:32] + s.to_bytes(32, "little"))
    with pytest.raises(EvidenceError, match="malleable"):
        registry.verify(twin.to_bytes(), BINDING)


def test_H2_a_key_of_the_file_proves_no_other_name_of_the_table(subjects, algo, tmp_path):
    """Who has a key in the operator's file is nobody else by it, whatever was enrolled at run time."""
    double = Ed25519Identity("double", algo.signing_seed, algo.static_private)
    with SqliteStore(tmp_path / "state.db") as store:
        stored = StoredSubjects(SqliteEnrolments(store))
        stored.enrol(Subject("double", "human", credentials=(ed25519_credential(algo.public_key),)))
        assert Ed25519Verifier(stored).verify(double.prove(BINDING), BINDING).subject == "double"
        both = Ed25519Verifier(AllSubjects(subjects, stored))
        with pytest.raises(EvidenceError, match="belongs to another"):
            both.verify(double.prove(BINDING), BINDING)
        assert both.verify(algo.prove(BINDING), BINDING).subject == "algo-7"


def test_H14_a_subject_taken_out_is_refused_after_reload(registry, subjects, path, algo, other):
    """A subject that the operator removed is refused once the file is read again; the rest stays."""
    registry.verify(algo.prove(BINDING), BINDING)
    path.write_text(other.registry_entry("human"))
    subjects.reload()
    with pytest.raises(EvidenceError):
        registry.verify(algo.prove(BINDING), BINDING)
    registry.verify(other.prove(BINDING), BINDING)


def test_H15_evidence_with_any_bit_changed_is_refused(registry, algo):
    """Whatever bit of the evidence is flipped, it is refused."""
    evidence = algo.prove(BINDING)
    for position in range(len(evidence) * 8):
        changed = bytearray(evidence)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(EvidenceError):
            registry.verify(bytes(changed), BINDING)
    registry.verify(evidence, BINDING)


def test_H23_a_stranger_and_a_bad_signature_look_alike_outside(registry, algo):
    """An unknown name and a wrong key end in the same error, with the same words, from the same check."""
    stranger = Ed25519Identity.generate("nobody-knows-me")
    imposter = Ed25519Identity("algo-7", stranger.signing_seed, stranger.static_private)
    told = []
    for identity in (stranger, imposter):
        with pytest.raises(EvidenceError, match="does not hold") as caught:
            registry.verify(identity.prove(BINDING), BINDING)
        told.append((type(caught.value), caught.value.reason, str(caught.value)))
    assert told[0] == told[1]


def test_the_key_of_nobody_enrols_nobody(registry):
    """Even a signature by the stand-in key for unknown subjects lets nobody in."""
    with pytest.raises(EvidenceError, match="not enrolled"):
        registry.verify(Ed25519Identity("nobody", digest("nobody"), bytes(32)).prove(BINDING), BINDING)


@pytest.mark.parametrize("evidence", [b"", b"\x80", b"x" * 513, b"\x81\xa1a\x01"])
def test_malformed_evidence_is_refused(registry, evidence):
    """Bytes that are no evidence are refused as such."""
    with pytest.raises(EvidenceError, match="malformed"):
        registry.verify(evidence, BINDING)


def test_identities_survive_their_file(tmp_path, algo):
    """An identity read back from its file is the same, and the file is the owner's alone."""
    path = tmp_path / "algo.key"
    algo.to_file(path)
    assert Ed25519Identity.from_file(path) == algo
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(ConfigurationError):
        Ed25519Identity.generate("algo-7").to_file(path)
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="0600"):
        Ed25519Identity.from_file(path)


def test_private_keys_are_not_printed(algo):
    """The repr of an identity shows its name only."""
    assert repr(algo) == "Ed25519Identity(subject='algo-7')"


@pytest.mark.parametrize("subject", ["", "a b", 'x"]\n[subjects."root', "é", "a" * 129])
def test_odd_names_are_no_subjects(subject):
    """A name that could forge a line or a look-alike cannot be made into an identity."""
    with pytest.raises(ConfigurationError, match="subject"):
        Ed25519Identity.generate(subject)


def test_registry_entries_cannot_be_escaped(algo):
    """Roles and desks that would close their quotes are refused."""
    for options in ({"roles": ('a"',)}, {"roles": ("",)}, {"desk": 'x"\n'}):
        with pytest.raises(ConfigurationError, match="expected names"):
            algo.registry_entry("algorithm", **options)
    with pytest.raises(ConfigurationError, match="kind"):
        algo.registry_entry("robot")


KEY = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        (f'[subjects.a]\nkind = "robot"\npublic_key = "{KEY}"\n', 2, "one of algorithm, human, service"),
        (f'[subjects.a]\npublic_key = "{KEY}"\n', 1, "text"),
        ('[subjects.a]\nkind = "human"\n', 1, "a way to prove it"),
        ('[subjects.a]\nkind = "human"\npublic_key = "abc"\n', 3, "64 digits"),
        (f'[subjects.a]\nkind = "human"\npublic_key = "{"0" * 64}"\n', 3, "an Ed25519 public key"),
        (f'[subjects.a]\nkind = "human"\npublic_key = "{KEY}"\nadmin = true\n', 4, "unknown key"),
        (f'[subjects.a]\nkind = "human"\nroles = "x"\npublic_key = "{KEY}"\n', 3, "list of texts"),
        (f'[subjects.a]\nkind = "human"\nroles = ["x y"]\npublic_key = "{KEY}"\n', 3, "names"),
        (f'[subjects."a b"]\nkind = "human"\npublic_key = "{KEY}"\n', 1, "a name"),
        ("[devices.a]\n", 1, "unknown key"),
        ("[subjects.a]\n[subjects.a]\n", 2, "TOML"),
        (
            f'[subjects.a]\nkind = "human"\npublic_key = "{KEY}"\n'
            f'[subjects.b]\nkind = "human"\npublic_key = "{KEY}"\n',
            6,
            "a key of its own",
        ),
    ],
)
def test_a_wrong_registry_is_reported_and_changes_nothing(
    registry, subjects, path, algo, text, line, expected
):
    """A mistake names file, line and expectation, and the registry in force stays."""
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=expected) as caught:
        subjects.reload()
    assert (caught.value.file, caught.value.line) == (str(path), line)
    assert registry.verify(algo.prove(BINDING), BINDING).subject == "algo-7"
