"""The public names are documented, cheap to import, and the version is one."""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import ztsession

ROOT = Path(__file__).resolve().parents[2]


def public_members(name: str) -> list[tuple[str, Any]]:
    """A public name, and its own public methods and properties."""
    value = getattr(ztsession, name)
    found = [(name, value)]
    if inspect.isclass(value):
        own = [base for base in value.__mro__ if base.__module__.startswith("ztsession")]
        for attribute in {key for base in own for key in vars(base) if not key.startswith("_")}:
            member = inspect.getattr_static(value, attribute)
            if isinstance(member, classmethod | staticmethod):
                member = member.__func__
            if callable(member) or isinstance(member, property) or inspect.isdatadescriptor(member):
                found.append((f"{name}.{attribute}", member))
    return found


def is_documented(value: Any) -> bool:
    """Whether a value says in words what it is; fields of dataclasses are told by their class."""
    return inspect.ismemberdescriptor(value) or bool((inspect.getdoc(value) or "").strip())


@pytest.mark.parametrize("name", ztsession.__all__)
def test_every_public_name_and_method_has_a_docstring(name: str) -> None:
    """Whatever is public tells what it is, with its public methods and properties."""
    assert [where for where, value in public_members(name) if not is_documented(value)] == []


def test_all_lists_every_public_name_once_and_in_order() -> None:
    """__all__ is sorted, has no duplicates, and every name in it exists."""
    assert len(set(ztsession.__all__)) == len(ztsession.__all__)
    constants = [name for name in ztsession.__all__ if name.isupper()]
    classes = [name for name in ztsession.__all__ if name[0].isupper() and not name.isupper()]
    others = [name for name in ztsession.__all__ if name[0].islower()]
    assert ztsession.__all__ == sorted(constants) + sorted(classes) + sorted(others)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """Lazy loading invents nothing."""
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = ztsession.no_such_name


def test_every_public_name_is_on_the_documentations_page() -> None:
    """docs/api lists what __all__ lists."""
    page = (ROOT / "docs/api/index.md").read_text("utf-8")
    listed = set(re.findall(r"ztsession\.(\w+)", page))
    documented_as_module = {"Denied", "ZtsError"}  # with all other errors
    assert sorted(set(ztsession.__all__) - listed - documented_as_module) == []


def test_the_version_is_the_same_everywhere() -> None:
    """pyproject.toml and the package say one version, and the changelog tells of it or of what will be it."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert ztsession.__version__ == declared
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(rf"^## \[{re.escape(declared)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.M) or (
        "## [Unreleased]" in changelog and declared in changelog
    )


def test_the_changelog_keeps_its_form() -> None:
    """Keep a Changelog: Unreleased first, dated versions after it, and only the six kinds of changes."""
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    releases = re.findall(r"^## (.+)$", changelog, re.M)
    assert releases[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", release) for release in releases[1:])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", changelog, re.M)) <= kinds
