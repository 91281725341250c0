"""The tree of errors is closed, and its verdicts are the protocol's."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import ztsession as zts
from ztsession import errors

ROOT = Path(zts.__file__).parent
#: The only words that a remote peer is ever told.
COARSE = {"refused", "malformed", "busy", "unavailable", "expired", "step-up-required", "reauth-required"}


def tree(kind: type[errors.ZtsError]) -> Iterator[type[errors.ZtsError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


def test_every_error_is_declared_in_one_file():
    """No module defines an exception of its own that callers could meet, and all names are exported."""
    declared = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    assert {kind.__name__ for kind in tree(errors.ZtsError)} == declared == set(errors.__all__)
    named = {kind.__name__ for kind in tree(errors.ZtsError)} | {"Exception", "ValueError"}
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef) or path.name == "errors.py":
                continue
            bases = {
                base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
                for base in node.bases
            }
            # A private one never leaves its module, and one that says so never leaves its application.
            inner = node.name.startswith("_") or "never leaves" in (ast.get_docstring(node) or "")
            assert inner or not bases & named, f"{path}: {node.name}"


def test_each_verdict_has_one_exception_and_each_exception_its_verdict():
    """The C core's names and the subclasses of Denied are the same list; OK is no refusal."""
    verdicts = [kind.verdict for kind in errors.Denied.__subclasses__()]
    assert sorted(verdicts) == sorted(set(zts.VERDICTS) - {"OK"})
    assert zts.VERDICTS[0] == "OK"
    for kind in errors.Denied.__subclasses__():
        assert kind.__name__.lower() == kind.verdict.replace("_", "").lower()
        assert kind.__subclasses__() == []


def test_every_error_says_in_one_sentence_what_it_means():
    """The docstring is what a refused caller reads: one sentence, on one line or two."""
    for kind in tree(errors.ZtsError):
        text = " ".join((kind.__doc__ or "").split())
        assert text.endswith("."), kind
        assert ". " not in text, kind
        assert text[0].isupper(), kind


def test_a_peer_is_told_one_of_a_few_words():
    """Several causes share one word, so that a refusal teaches nothing."""
    assert {kind.reason for kind in tree(errors.ZtsError)} <= COARSE


def test_a_configuration_error_names_its_place():
    """File and line stand before the sentence, as editors understand it."""
    assert str(errors.ConfigurationError("wrong", file="a.toml", line=3)) == "a.toml:3: wrong"
    assert str(errors.ConfigurationError("wrong", file="a.toml")) == "a.toml: wrong"
    assert str(errors.PolicyError("wrong")) == "wrong"
