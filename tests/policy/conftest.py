from __future__ import annotations

from pathlib import Path

import pytest

from ztsession.policy.catalog import Catalog
from ztsession.policy.cedar_schema import POSTURE_ITEMS
from ztsession.policy.engine import PolicySet

EXAMPLE = Path(__file__).parent / "example"


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return Catalog.load(EXAMPLE / "catalog.toml")


@pytest.fixture(scope="session")
def policy(catalog: Catalog) -> PolicySet:
    return PolicySet.load(EXAMPLE, catalog)


@pytest.fixture
def healthy() -> dict[str, str]:
    return dict.fromkeys(POSTURE_ITEMS, "good")
