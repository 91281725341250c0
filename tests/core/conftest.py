"""Fixtures of the core's tests: each that touches hashing runs on every SHA-256 back end of this machine."""

from __future__ import annotations

import os

import pytest
from worlds import Session, World

from ztsession._core import backends


@pytest.fixture(params=backends(), scope="session")
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def world(backend: str) -> World:
    return World(backend)


@pytest.fixture
def session(world: World) -> Session:
    return world.install()


@pytest.fixture
def sanitized() -> bool:
    """Whether this run is instrumented: then memory and time say nothing about the code."""
    return os.environ.get("ZTS_SANITIZED") == "1"
