"""docs/policy.md says what the code says: its snippets are the examples, its tables the keys and words."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT, blocks, quoted, table, tables

from ztsession.authority.assurance import assurance_of
from ztsession.errors import ConfigurationError, PolicyError
from ztsession.identity.protocol import VerifiedIdentity
from ztsession.mfa.protocol import FactorShown
from ztsession.policy.calendar import CLOSED, Calendar
from ztsession.policy.catalog import STALE_ALLOW, STALE_DENY, Catalog
from ztsession.policy.cedar_schema import schema_text
from ztsession.policy.compile import Case
from ztsession.policy.lint import KINDS_OF_FINDINGS
from ztsession.posture.appraisal import Appraisal
from ztsession.posture.items import ITEMS
from ztsession.posture.trust import TRUST_CLAIMS, TRUST_ROWS
from ztsession.wire.operator_file import Table

PAGE = "docs/policy.md"
EXAMPLES = ROOT / "docs/examples"
FIRM = EXAMPLES / "firm"


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    """The examples of credentials as a whole directory: with the firm's rules, and the roots that they
    name.
    """
    sys.path.append(str(ROOT / "tests/identity"))
    from x509_makers import Issuer

    directory = tmp_path / "policy"
    shutil.copytree(FIRM, directory)
    shutil.copytree(EXAMPLES / "credentials", directory, dirs_exist_ok=True)
    for name in ("roots", "partner"):
        (directory / f"{name}.pem").write_bytes(Issuer.root(name).pem)
    return directory


def read(directory: Path) -> Any:
    pytest.importorskip("cedarpy", reason="policies need ztsession[authority]")
    pytest.importorskip("httpx", reason="jwks_url needs ztsession[http]")
    from ztsession.authority.rules import read_rules

    return read_rules(directory)


# ---- What is shown


def test_every_kind_of_finding_is_told() -> None:
    """The table of findings has each kind that lint knows, once."""
    told = [kind for row in table(PAGE, "it finds", "which means") for kind in quoted(row[0])]
    assert sorted(told) == sorted(KINDS_OF_FINDINGS)


def test_every_command_prints_what_the_page_shows() -> None:
    """The console blocks of the page, run as they stand, and the output below each."""
    shown = blocks(PAGE)
    commands = [at for at, block in enumerate(shown) if block.kind == "console"]
    assert commands
    for at in commands:
        program = [sys.executable, "-m", *shown[at].text.removeprefix("$ ").split()]
        ran = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert ran.stdout == shown[at + 1].text
        assert "Traceback" not in ran.stderr


def test_every_snippet_of_the_page_stands_in_the_examples() -> None:
    """A block that names a file is made of whole lines of it."""
    shown = [block for block in blocks(PAGE) if block.caption]
    for block in shown:
        text = (EXAMPLES / block.caption).read_text("utf-8")
        assert f"\n{block.text}" in f"\n{text}", block.caption
    files = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*") if path.is_file()}
    assert {block.caption for block in shown} <= files
    whole = {block.caption for block in shown if block.caption.startswith("credentials/")}
    assert whole == {name for name in files if name.startswith("credentials/")}


def test_the_examples_load(credentials: Path) -> None:
    """An Authority takes both directories, and each of their files is really read."""
    read(FIRM)
    read(credentials)
    for path in sorted(credentials.glob("*.toml")):
        kept = path.read_text()
        path.write_text(f"strange = true\n{kept}")
        with pytest.raises(ConfigurationError, match="strange"):
            read(credentials)
        path.write_text(kept)
    cedar = credentials / "hours.cedar"
    cedar.write_text(cedar.read_text().replace("context.phase", "context.phases"))
    with pytest.raises(PolicyError, match=r"hours\.cedar"):
        read(credentials)


def test_no_private_key_is_among_the_examples() -> None:
    """Examples hold public halves only."""
    texts = [path.read_text("utf-8") for path in EXAMPLES.rglob("*") if path.is_file()]
    assert all("PRIVATE" not in text and "seed" not in text for text in texts)


# ---- The keys of the files


def known_keys(directories: list[Path], monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """What may stand in each table of each file, as its reader says when it is read."""
    known: dict[str, set[str]] = defaultdict(set)
    real = Table.allow_only

    def noted(self: Table, *keys: str) -> None:
        known[f"{Path(self._file.path).name}:{len(self._path)}:{'.'.join(self._path[:1])}"].update(keys)
        real(self, *keys)

    monkeypatch.setattr(Table, "allow_only", noted)
    for directory in directories:
        read(directory)
    return known


def keys(rows: list[list[str]]) -> set[str]:
    return {name.partition(".")[0] for row in rows for name in quoted(row[0])}


def test_the_keys_of_every_file_are_all_told(credentials: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each table of keys has what its reader takes, and nothing besides."""
    known = known_keys([FIRM, credentials], monkeypatch)
    heads = ("default", "meaning")
    catalog, calendar = tables(PAGE, "key of the file", *heads)
    subjects, mfa = tables(PAGE, "key", *heads)
    assert keys(catalog) == known["catalog.toml:0:"]
    assert keys(table(PAGE, "key of a segment", *heads)) == known["catalog.toml:2:segments"]
    assert keys(table(PAGE, "key of an operation", *heads)) == known["catalog.toml:4:segments"]
    assert keys(calendar) == known["calendar.toml:0:"]
    assert keys(subjects) == known["subjects.toml:2:subjects"]
    assert keys(mfa) == known["mfa.toml:0:"]
    assert keys(table(PAGE, "key of `[x509]`", *heads)) == known["identity.toml:1:x509"]
    assert keys(table(PAGE, 'key of `[oidc."ISSUER"]`', *heads)) == known["identity.toml:2:oidc"]
    assert keys(table(PAGE, "key of a device", "meaning")) == known["devices.toml:2:devices"]
    section = (ROOT / PAGE).read_text("utf-8").split("### Posture\n")[1].split("### The trust vector\n")[0]
    told = {name.strip("[]").removeprefix("posture.").partition(" ")[0] for name in quoted(section)}
    assert known["devices.toml:1:posture"] <= told


def test_the_defaults_of_the_catalog_are_those_that_are_told() -> None:
    """What is left out of the catalog is what the page says."""
    text = "version = 1\n"
    for effect in ("read", "risk-reducing", "risk-increasing"):
        text += f'[segments.a.operations.{effect}]\neffect = "{effect}"\n'
    segment = Catalog.from_text(text).segment("a")
    told = {row[0].strip("`"): row for row in table(PAGE, "key of a segment", "default", "meaning")}
    assert told["environment"][1] == f'`"{segment.environment}"`'
    assert told["epoch_length_s"][1] == str(segment.epoch_length_s)
    assert told["lifetime_s"][1] == str(segment.lifetime_s)
    assert told["idle_s"][1] == f"{segment.idle_s}, or the lifetime"
    told = {row[0].strip("`"): row for row in table(PAGE, "key of an operation", "default", "meaning")}
    reading, reducing, increasing = segment.operations
    for each in segment.operations:
        assert told["data_class"][1] == f'`"{each.data_class}"`'
        assert told["max_age_ms"][1] == f"{each.max_age_us // 1000}, or the epoch"
        assert told["assurance"][1] == str(each.assurance)
        assert (told["posture"][1], each.posture) == ("`[]`", ())
        assert (told["ordered"][1], each.ordered) == ("`false`", False)
        assert (told["promotes_from"][1], each.promotes_from) == ("none", "")
    assert told["highest_risk"][2].endswith(
        f'Reads and risk-reducing `"{reading.highest_risk}"`, '
        f'risk-increasing `"{increasing.highest_risk}"` and never `"high"`'
    )
    assert reading.highest_risk == reducing.highest_risk
    assert told["stale"][2].endswith(
        f'Reads `"{reading.stale_ms // 1000}s"`, risk-reducing `"allow"`, risk-increasing `"deny"`'
    )
    assert (reducing.stale_ms, increasing.stale_ms) == (STALE_ALLOW, STALE_DENY)


def test_without_a_calendar_it_is_as_told() -> None:
    """UTC, and no phases; with one, a phase that is there without being declared."""
    [row] = [row for row in table(PAGE, "file", "says", "if it is missing") if "calendar.toml" in row[0]]
    assert row[2] == f"{Calendar().timezone}, and no phases"
    assert Calendar().phases == ()
    assert f'every day begins in the phase `"{CLOSED}"`' in (ROOT / PAGE).read_text("utf-8")


# ---- What policies can speak about


def test_the_attributes_are_those_of_the_schema() -> None:
    """The table of expressions has every attribute that policies can ask for, and nothing besides."""
    schema = schema_text(Catalog.load(FIRM / "catalog.toml"))

    def below(path: str, record: str) -> set[str]:
        [body] = set(re.findall(rf"{record}[ =]*:? ?\{{ ([^}}]*) \}}", schema))
        return {f"{path}.{name}" for name in re.findall(r"(\w+): ", body)}

    expected = {"principal", "resource"} | below("principal", "entity Subject")
    expected |= below("resource", "entity Segment") | below("context", "context")
    expected -= {"context.posture", "context.trust", "context.time"}
    expected |= below("context.time", "type Time") | {"context.posture.ITEM", "context.trust.CLAIM"}
    told = {quoted(row[0])[0]: row for row in table(PAGE, "expression", "type", "values")}
    assert set(told) == expected
    assert below("", "type Posture") == {f".{item}" for item in ITEMS}
    assert below("", "type Trust") == {f".{claim}" for claim in TRUST_CLAIMS}


def test_the_groups_hold_what_is_told() -> None:
    """Each group of the table, put into a policy, permits what the catalog puts into it, and nothing else."""
    pytest.importorskip("cedarpy", reason="policies need ztsession[authority]")
    from ztsession.policy.attributes import SubjectAttributes
    from ztsession.policy.engine import PolicySet

    catalog = Catalog.load(FIRM / "catalog.toml")
    every = [operation for segment in catalog.segments.values() for operation in segment.operations]
    held = (
        lambda o: o.segment == "orders",
        lambda o: o.effect == "risk-increasing",
        lambda o: o.data_class == "restricted",
        lambda o: o.promotes_from != "",
    )
    told = [quoted(row[0])[0] for row in table(PAGE, "group", "holds")]
    for group, is_held in zip(told, held, strict=True):
        policy = PolicySet({"a.cedar": f"permit (principal, action in {group}, resource);"}, catalog)
        for operation in every:
            good, who = dict.fromkeys(ITEMS, "good"), SubjectAttributes("any", "human")
            case = Case(policy, who, "host", good, 3, [operation.full_name])
            permitted = case.compiled(catalog.segment(operation.segment), 0).allowed[0] != 0
            assert permitted == is_held(operation), (group, operation.full_name)


def test_the_policy_page_has_every_item_and_claim() -> None:
    """The tables of posture items and of trust claims are those that appraisals are made by."""
    items = [row[0].strip("`") for row in table(PAGE, "item", "good when", "measured by")]
    assert tuple(items) == ITEMS
    claims = table(PAGE, "claim", "affirming when these are good")
    told = {
        claim.strip("`"): tuple(
            tuple(quoted(alternative)) for alternative in re.split(", or ", told) if quoted(alternative)
        )
        for claim, told in claims
    }
    assert told == dict(TRUST_ROWS)


def test_the_levels_of_the_policy_page_are_those_that_are_computed() -> None:
    """Each row of the table of assurance is what comes out for such evidence."""

    def level(kind: Any, shown: int = 1, device: str = "", factor: int = 0, **vector: str) -> int:
        identity = VerifiedIdentity("x", kind, (), "", shown)
        given = FactorShown("any", factor) if factor else None
        return assurance_of(identity, Appraisal(vector, device), given)

    computed = [level("human", device="host-1", hardware="good"), level("human", 3), level("human", factor=2)]
    computed += [level("human", factor=3), level("algorithm"), level("service", device="host-1")]
    computed += [level("algorithm", device="host-1", hardware="good")]
    said = [row[2] for row in table(PAGE, "who", "shows", "level")]
    assert [int(each) if each.isdigit() else 3 for each in said] == computed
    assert said[1] == "what `assurance` says of its `acr`, else 1"
