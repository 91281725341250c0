"""What all tests of the vectors share: the file, and the second client."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent

# It lies with the tests of the page that it was written from.
sys.path.append(str(HERE.parent / "docs"))


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / "protocol.json").read_text())
    return found
