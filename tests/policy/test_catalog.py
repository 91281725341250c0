from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ztsession.errors import ConfigurationError
from ztsession.policy.catalog import STALE_ALLOW, STALE_DENY, Catalog

EXAMPLE = Path(__file__).parent / "example" / "catalog.toml"

SMALL = """\
version = 1
[segments.orders]
epoch_length_s = 1

[segments.orders.operations.submit]
effect = "risk-increasing"
"""


def test_example_catalog_numbers_operations_in_the_order_they_are_declared() -> None:
    """Indices are positions in the file, not in the alphabet."""
    orders = Catalog.load(EXAMPLE).segment("orders")
    assert [(o.index, o.full_name) for o in orders.operations] == [
        (0, "orders.submit"),
        (1, "orders.amend"),
        (2, "orders.cancel"),
        (3, "orders.cancel-all"),
        (4, "orders.block-trade"),
        (5, "orders.status"),
    ]
    assert orders.operation("orders.cancel").bit == orders.operation("cancel").bit == 4


def test_defaults_follow_the_effect_of_the_operation() -> None:
    """Without a word on staleness, cancelling goes on, reading goes on a while, and new risk stops."""
    orders = Catalog.load(EXAMPLE).segment("orders")
    assert orders.operation("submit").stale_ms == STALE_DENY
    assert orders.operation("cancel").stale_ms == STALE_ALLOW
    assert orders.operation("status").stale_ms == 30_000
    assert Catalog.load(EXAMPLE).segment("md").operation("subscribe").stale_ms == 120_000
    assert (orders.epoch_length_s, orders.lifetime_s, orders.idle_s) == (30, 43_200, 900)
    assert orders.operation("submit").max_age_us == 500_000
    assert orders.operation("amend").max_age_us == 2_000_000


def test_default_max_age_never_outlives_a_short_epoch() -> None:
    """With an epoch of one second the default of two seconds shrinks to one."""
    assert Catalog.from_text(SMALL).segment("orders").operation("submit").max_age_us == 1_000_000


@pytest.mark.parametrize(
    ("line", "addition", "where", "expected"),
    [
        (7, "max_age_ms = 0", "submit.max_age_ms", "from 1 to 1000"),
        (7, "max_age_ms = 1001", "submit.max_age_ms", "from 1 to 1000"),
        (7, "max_age_ms = true", "submit.max_age_ms", "an integer"),
        (7, "max_age_ms = 1.5", "submit.max_age_ms", "an integer"),
        (7, "assurance = 4", "submit.assurance", "from 1 to 3"),
        (7, 'ordered = "yes"', "submit.ordered", "true or false"),
        (7, 'stale = "forever"', "submit.stale", "'deny', 'allow' or a time"),
        (7, 'stale = "0s"', "submit.stale", "'deny', 'allow' or a time"),
        (7, 'stale = "1441m"', "submit.stale", "up to 24 h"),
        (7, "stale = 30", "submit.stale", "'deny', 'allow' or a time"),
        (7, "always_allowed = true", "submit.always_allowed", "suspended session"),
        (7, "max_age_sm = 5", "submit.max_age_sm", "unknown key"),
        (7, 'highest_risk = "high"', "submit.highest_risk", "suspended session"),
        (7, 'highest_risk = "severe"', "submit.highest_risk", "one of low, medium, high"),
        (7, 'data_class = "secret"', "submit.data_class", "one of public, internal"),
        (7, 'posture = ["kernle"]', "submit.posture", "found 'kernle'"),
        (7, 'posture = ["kernel", "kernel"]', "submit.posture", "different items"),
        (7, 'posture = "kernel"', "submit.posture", "a list of texts"),
        (7, 'promotes_from = "test"', "submit.promotes_from", "no promotion into"),
        (
            7,
            '[segments.md.operations.x]\neffect = "read"\nhighest_risk = "low"\nalways_allowed = true',
            "x.highest_risk",
            "always_allowed says the same",
        ),
        (7, "[segments.orders.operations.cancel]", "cancel.effect", "risk-reducing"),
        (7, "[segments.orders.operations.Cancel]", "operations.Cancel", "a-z"),
        (7, '[segments.orders.operations."c\u0430ncel"]', "operations.c\u0430ncel", "a-z"),
        (7, "[segments.md]", "md.operations", "1 to 64 tables"),
        (7, "[segments.md]\nlifetime_s = 60\nidle_s = 61", "md.idle_s", "from 1 to 60"),
        (7, '[segments.md]\nenvironment = "Prod!"', "md.environment", "a name"),
        (7, "[elsewhere]", "elsewhere", "unknown key"),
    ],
)
def test_wrong_entry_is_refused_with_file_line_and_expectation(
    line: int, addition: str, where: str, expected: str
) -> None:
    """Each mistake is named where it stands, together with what was expected there."""
    with pytest.raises(ConfigurationError, match=r"c\.toml:\d+") as caught:
        Catalog.from_text(SMALL + addition + "\n", file="c.toml")
    assert caught.value.file == "c.toml"
    assert caught.value.line is not None
    assert caught.value.line >= line
    assert where in str(caught.value)
    assert expected in str(caught.value)


STAGES = """\
version = 1
environments = ["test", "prod"]

[segments.lab]
environment = "test"
[segments.lab.operations.submit]
effect = "risk-increasing"

[segments.release.operations.promote]
effect = "risk-increasing"
data_class = "restricted"
promotes_from = "test"
"""


def test_a_promotion_goes_from_one_environment_to_the_next() -> None:
    """The order of the environments is the way that code and data take, one stage at a time."""
    catalog = Catalog.from_text(STAGES)
    promote = catalog.segment("release").operation("promote")
    assert (promote.promotes_from, promote.data_class) == ("test", "restricted")
    assert catalog.environments == ("test", "prod")
    turned = Catalog.from_text(STAGES.replace('promotes_from = "test"', ""))
    assert turned.segment("release").digest != catalog.segment("release").digest


@pytest.mark.parametrize(
    ("before", "after", "line", "expected"),
    [
        ('promotes_from = "test"', 'promotes_from = "prod"', 12, "expected 'test', which comes before"),
        ('promotes_from = "test"', 'promotes_from = ""', 12, "expected 'test'"),
        ('["test", "prod"]', '["prod", "test"]', 12, "expected no promotion into"),
        ('["test", "prod"]', '["dev", "test", "uat", "prod"]', 12, "expected 'uat'"),
        ('["test", "prod"]', '["prod"]', 5, "expected one of environments: prod"),
        ('["test", "prod"]', '["test", "test", "prod"]', 2, "different names"),
        ('["test", "prod"]', "[]", 2, "1 to 16 names"),
        ('["test", "prod"]', '"prod"', 2, "a list of texts"),
    ],
)
def test_a_wrong_stage_is_told_with_its_line(before: str, after: str, line: int, expected: str) -> None:
    """Nothing is promoted past a stage, backwards, or between stages that nobody has put in order."""
    Catalog.from_text(STAGES)
    with pytest.raises(ConfigurationError, match=expected) as caught:
        Catalog.from_text(STAGES.replace(before, after))
    assert caught.value.line == line


def test_what_a_worse_risk_leaves_follows_from_the_effect_or_is_said() -> None:
    """Reading and reducing go on at medium risk, new risk does not; each operation may say otherwise."""
    orders = Catalog.load(EXAMPLE).segment("orders")
    assert {o.name: o.highest_risk for o in orders.operations} == {
        "submit": "low",
        "amend": "low",
        "cancel": "medium",
        "cancel-all": "high",
        "block-trade": "low",
        "status": "medium",
    }
    said = Catalog.from_text(SMALL + 'highest_risk = "medium"\n').segment("orders").operation("submit")
    assert [said.runs_at(risk) for risk in ("low", "medium", "high")] == [True, True, False]


def test_error_names_the_exact_line_of_a_key() -> None:
    """The line is the key's own, also after blank lines and comments."""
    with pytest.raises(ConfigurationError) as caught:
        Catalog.from_text(SMALL + "\n# a comment\n\nassurance = 9\n", file="c.toml")
    assert caught.value.line == 10


def test_syntax_error_carries_its_line() -> None:
    """What the TOML parser refuses is named with its line too."""
    with pytest.raises(ConfigurationError, match="expected TOML") as caught:
        Catalog.from_text(SMALL + "assurance = = 1\n", file="c.toml")
    assert caught.value.line == 7


@pytest.mark.parametrize("version", ["", "version = 2\n", "version = true\n", 'version = "1"\n'])
def test_another_version_is_refused(version: str) -> None:
    """A file of another version is not read as if it were this one."""
    with pytest.raises(ConfigurationError, match="version = 1"):
        Catalog.from_text(SMALL.replace("version = 1\n", version))


def test_sixty_four_operations_fit_and_one_more_does_not() -> None:
    """A segment holds as many operations as a bitmap has bits."""

    def text(count: int) -> str:
        rows = "".join(f'[segments.s.operations.o{n}]\neffect = "read"\n' for n in range(count))
        return "version = 1\n" + rows

    assert Catalog.from_text(text(64)).segment("s").operation("o63").bit == 1 << 63
    with pytest.raises(ConfigurationError, match="1 to 64 tables"):
        Catalog.from_text(text(65))


def test_digest_changes_with_every_field_and_with_the_order() -> None:
    """Two tables with one digest are the same table."""
    segment = Catalog.load(EXAMPLE).segment("orders")
    first, second, *rest = segment.operations
    others = [
        dataclasses.replace(segment, name="order"),
        dataclasses.replace(segment, environment="test"),
        dataclasses.replace(segment, epoch_length_s=31),
        dataclasses.replace(segment, lifetime_s=43_199),
        dataclasses.replace(segment, idle_s=899),
        dataclasses.replace(segment, operations=(second, first, *rest)),
        *(
            dataclasses.replace(segment, operations=(dataclasses.replace(first, **change), second, *rest))
            for change in (
                {"name": "submi"},
                {"effect": "read"},
                {"max_age_us": 500_001},
                {"assurance": 2},
                {"ordered": True},
                {"stale_ms": 1},
                {"data_class": "public"},
                {"highest_risk": "medium"},
                {"posture": ("kernel",)},
                {"promotes_from": "test"},
            )
        ),
    ]
    digests = {segment.digest, *(other.digest for other in others)}
    assert len(digests) == len(others) + 1
    assert Catalog.load(EXAMPLE).segment("orders").digest == segment.digest


def test_missing_oversized_and_undecodable_files_are_configuration_errors(tmp_path: Path) -> None:
    """Whatever is wrong with the file itself is told as such, before parsing."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Catalog.load(tmp_path / "none.toml")
    (tmp_path / "big.toml").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ConfigurationError, match="at most"):
        Catalog.load(tmp_path / "big.toml")
    (tmp_path / "latin.toml").write_bytes(b"version = 1\n# \xe9\n")
    with pytest.raises(ConfigurationError, match="UTF-8") as caught:
        Catalog.load(tmp_path / "latin.toml")
    assert caught.value.line == 2


def test_unknown_segment_and_operation_are_told() -> None:
    """Asking for what is not in the catalog is an error and not an empty answer."""
    catalog = Catalog.load(EXAMPLE)
    with pytest.raises(ConfigurationError, match="no segment 'order'"):
        catalog.segment("order")
    with pytest.raises(ConfigurationError, match=r"no operation 'md\.subscribe'"):
        catalog.segment("orders").operation("md.subscribe")
