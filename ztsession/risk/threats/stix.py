"""Lists as STIX 2.1 bundles (OASIS STIX 2.1, section 4.7): what their indicators say in so many words.

A pattern can say much that nothing here could see happen: sequences, time windows, registry keys. Taking one
half of it would match what its author did not mean. So a pattern counts if it is an equality of an address or
a SHA-256 digest, or an OR of such; every other is left out as a whole, counted, and told.

The ``stix2`` library reads objects and patterns. Its work grows with what it is given, so the size of the
file, the number of indicators and the length and depth of each pattern are bounded before it is asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from ztsession.errors import ConfigurationError, EvidenceError
from ztsession.identity.jose import strict_json
from ztsession.risk.threats.entries import ADDRESSES, KEYS, PROGRAMS, Entries

__all__ = ["INDICATORS_MAX", "STIX_MAX_BYTES", "Bundle", "read_stix"]

STIX_MAX_BYTES: Final = 1 << 24
#: Each takes half a millisecond.
INDICATORS_MAX: Final = 40_000
PATTERN_MAX_CHARACTERS: Final = 4096
PATTERN_MAX_DEPTH: Final = 8

#: What can be compared here, by the object path of the pattern.
_PATHS: Final[Mapping[str, str]] = {
    "ipv4-addr:value": ADDRESSES,
    "ipv6-addr:value": ADDRESSES,
    "file:hashes.'SHA-256'": PROGRAMS,
    "x509-certificate:hashes.'SHA-256'": KEYS,
}


@dataclass(frozen=True)
class Bundle:
    """What a bundle lists now; ``not_understood``: how many indicators say something else.

    ``changes_at`` (Unix seconds, infinity for never): when an indicator begins or ends to be valid.
    """

    entries: Entries
    not_understood: int = 0
    changes_at: float = math.inf


def read_stix(data: bytes, *, file: str, now: float) -> Bundle:
    """Read a bundle at ``now`` (Unix seconds); ConfigurationError names the file, the object and what was
    expected. Needs ``ztsession[stix]``.

    Of several versions of an object the one that was modified last counts. What is revoked or not valid at
    ``now`` is left out.
    """
    entries, left, changes_at = Entries(), 0, math.inf
    for indicator in _last_versions(_indicators(data, file), file):
        begins, ends = _seconds(indicator.valid_from), _seconds(indicator.get("valid_until"))
        if indicator.revoked or ends <= now:
            continue
        changes_at = min([changes_at, *(at for at in (begins, ends) if at > now)])
        if begins > now:
            continue
        named = _named(indicator)
        if not named:
            left += 1
        for of, text in named:
            _add(entries, of, text, file, indicator.id)
    return Bundle(entries, left, changes_at)


def _indicators(data: bytes, file: str) -> Iterator[Mapping[str, Any]]:
    """The indicators of a bundle, as they came but bounded in all that a parser could be hurt by."""
    if len(data) > STIX_MAX_BYTES:
        raise ConfigurationError(f"expected at most {STIX_MAX_BYTES} bytes of STIX", file=file)
    try:
        bundle = strict_json(data, "the bundle")
    except EvidenceError as error:
        raise ConfigurationError(f"expected a STIX bundle: {error}", file=file) from None
    objects = bundle.get("objects")
    if bundle.get("type") != "bundle" or not isinstance(objects, list):
        raise ConfigurationError("expected a STIX bundle with objects", file=file)
    found = [each for each in objects if isinstance(each, dict) and each.get("type") == "indicator"]
    if len(found) > INDICATORS_MAX:
        raise ConfigurationError(f"expected at most {INDICATORS_MAX} indicators", file=file)
    for indicator in found:
        pattern = indicator.get("pattern")
        if indicator.get("spec_version") != "2.1" or not isinstance(pattern, str):
            raise _wrong(file, indicator.get("id"), "an indicator of STIX 2.1 with a pattern")
        if len(pattern) > PATTERN_MAX_CHARACTERS or pattern.count("(") > PATTERN_MAX_DEPTH:
            limit = f"{PATTERN_MAX_CHARACTERS} characters and {PATTERN_MAX_DEPTH} parentheses"
            raise _wrong(file, indicator.get("id"), f"a pattern of at most {limit}")
        yield indicator


def _last_versions(indicators: Iterable[Mapping[str, Any]], file: str) -> Iterable[Any]:
    import stix2  # type: ignore[import-untyped]

    last: dict[str, Any] = {}
    for each in indicators:
        try:
            # Vendors add properties of their own, which say nothing to us.
            indicator = stix2.parse(dict(each), allow_custom=True, version="2.1")
        except Exception as error:
            # The library has a dozen kinds of errors, and what it cannot read is refused, whichever it is.
            raise _wrong(file, each.get("id"), f"an indicator of STIX 2.1: {error}") from None
        other = last.get(indicator.id)
        if other is None or _version(indicator) > _version(other):
            last[indicator.id] = indicator
    return last.values()


def _version(indicator: Any) -> tuple[float, bool]:
    # Of two with one time, that which takes back.
    return _seconds(indicator.modified), bool(indicator.revoked)


def _seconds(at: datetime | None) -> float:
    return math.inf if at is None else at.timestamp()


def _named(indicator: Any) -> list[tuple[str, str]]:
    """(of what, text) for all that the pattern is an OR of; nothing if it says anything else."""
    from stix2.pattern_visitor import create_pattern_object  # type: ignore[import-untyped]

    if indicator.pattern_type != "stix":
        return []
    try:
        return list(_alternatives(create_pattern_object(indicator.pattern, version="2.1")))
    except Exception:
        # Among what the library raises is that it cannot make sense of an AND.
        return []


def _alternatives(expression: Any) -> Iterator[tuple[str, str]]:
    from stix2 import patterns

    match expression:
        case patterns.ParentheticalExpression():
            yield from _alternatives(expression.expression)
        case patterns.ObservationExpression():
            yield from _alternatives(expression.operand)
        case patterns.OrObservationExpression() | patterns.OrBooleanExpression():
            for operand in expression.operands:
                yield from _alternatives(operand)
        case patterns.EqualityComparisonExpression(negated=False, rhs=patterns.StringConstant()):
            yield _PATHS[str(expression.lhs)], expression.rhs.value
        case _:
            raise ValueError("more than an equality")


def _add(entries: Entries, of: str, text: str, file: str, id: str) -> None:
    try:
        entries.add(of, text)
    except ValueError as error:
        raise _wrong(file, id, str(error)) from None


def _wrong(file: str, id: object, expected: str) -> ConfigurationError:
    # Both may quote what a stranger wrote.
    return ConfigurationError(f"{str(id)[:64]!a}: expected {ascii(expected)[1:-1][:512]}", file=file)
