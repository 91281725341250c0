"""The threat model's map from attacks to tests is the one that the tests make."""

from __future__ import annotations

from attack_table import ids_in_names, tables, written
from attacks import ATTACKS, GROUPS


def test_every_id_in_a_tests_name_is_in_the_catalogue() -> None:
    """No test carries out an attack that the catalogue does not know."""
    assert sorted(set(ids_in_names()) - set(ATTACKS)) == []
    assert {attack[0] for attack in ATTACKS} == set(GROUPS)


def test_the_page_maps_each_attack_to_its_tests() -> None:
    """docs/threat-model.md says what `make attacks` would write: run that after adding or renaming a test."""
    assert written() == tables()
