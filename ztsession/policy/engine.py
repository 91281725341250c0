"""Cedar as the policy decision point, held so that every doubt is a denial.

Three things could open a door by accident, and each is closed here once for all callers. Cedar skips a policy
whose condition fails to evaluate, so an erring ``forbid`` forbids nothing: a decision with any evaluation
error is a denial, whatever it says. A policy may name an attribute or action that does not exist: the schema
is generated from the catalog and every policy is validated against it at load. And a reload may be half
written: the new version is read, parsed and validated in full before it takes the place of the old, which
otherwise stays.

A :class:`PolicySet` never changes. Whoever decides takes :attr:`PolicyEngine.current` once and asks only
that, so that a reload in the middle of a decision cannot mix two versions.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ztsession.errors import ConfigurationError, PolicyError
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.catalog import Catalog, Operation, Segment
from ztsession.policy.cedar_check import check_statements
from ztsession.policy.cedar_schema import POSTURE_ITEMS, POSTURE_VALUES, schema_text
from ztsession.policy.cedar_source import Statement, statements
from ztsession.posture.trust import trust_vector
from ztsession.wire.digest import digest
from ztsession.wire.names import is_name

if TYPE_CHECKING:
    import cedarpy

__all__ = ["CATALOG_FILE", "Decision", "PolicyEngine", "PolicySet"]

#: The catalog's name inside a policy directory.
CATALOG_FILE: Final = "catalog.toml"

POLICY_FILES_MAX: Final = 256
POLICY_FILE_MAX_BYTES: Final = 1 << 20


#: Answers that are kept for the next time; all are dropped when there are more.
DECISIONS_KEPT: Final = 4096


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policies say of one operation; ``reasons`` are places ("desk.cedar:3"), ``errors`` Cedar's
    words.
    """

    allowed: bool
    reasons: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


class PolicySet:
    """One validated version of the policies, for one catalog; immutable and safe to share between threads."""

    def __init__(self, files: Mapping[str, str], catalog: Catalog) -> None:
        """Parse and validate Cedar texts by file name; raises PolicyError naming file, line and what is
        wrong.
        """
        import cedarpy

        self.catalog: Final = catalog
        schema = schema_text(catalog)
        self._schema = cedarpy.Schema.from_str(schema)
        self._statements: tuple[Statement, ...] = tuple(
            statement for name in sorted(files) for statement in statements(name, files[name])
        )
        check_statements(self._statements, self._schema)
        # Cedar numbers the policies of a text in order: that is how a reason is traced to its statement.
        self._policies = cedarpy.PolicySet.from_str("\n".join(s.text for s in self._statements))
        if len(self._policies) != len(self._statements):
            raise PolicyError("the policies do not parse to one policy a statement")
        parts = [part.encode() for name in sorted(files) for part in (name, files[name])]
        self._digest = digest("policy", schema.encode(), *parts)
        # A decision is a function of the question alone, and clients come back with the same one.
        self._decided: dict[tuple[object, ...], tuple[Decision, ...]] = {}

    @classmethod
    def load(cls, directory: str | Path, catalog: Catalog) -> PolicySet:
        """Load every ``*.cedar`` of a directory, not of those below; PolicyError when there is none."""
        return cls(_read_policies(Path(directory)), catalog)

    @property
    def digest(self) -> bytes:
        """32 bytes over the schema and every file's name and text: equal digests decide alike."""
        return self._digest

    def decide(
        self,
        identity: SubjectAttributes,
        segment: Segment,
        operations: Sequence[Operation],
        *,
        device: str,
        posture: Mapping[str, str],
        assurance: int,
    ) -> list[Decision]:
        """Decide each operation, in one batch. Raises PolicyError when the question itself is not well
        formed.
        """
        context = json.dumps(_context(posture, assurance, device))
        names = tuple(operation.full_name for operation in operations)
        question = (identity, segment.name, names, context)
        known = self._decided.get(question)
        if known is None:
            known = tuple(self._evaluate(identity, segment, operations, context))
            self._keep(question, known)
        return list(known)

    def forget_decisions(self) -> None:
        """Evaluate everything anew from here on; what was decided stays what it was."""
        self._decided.clear()

    def _keep(self, question: tuple[object, ...], decisions: tuple[Decision, ...]) -> None:
        if any(decision.errors for decision in decisions):
            return  # what went wrong may go right the next time
        if len(self._decided) >= DECISIONS_KEPT:
            self._decided.clear()
        self._decided[question] = decisions

    def _evaluate(
        self, identity: SubjectAttributes, segment: Segment, operations: Sequence[Operation], context: str
    ) -> list[Decision]:
        import cedarpy

        requests = [_request(identity, segment, operation, context) for operation in operations]
        try:
            entities = cedarpy.Entities.from_json_str(json.dumps(_entities(identity, segment)), self._schema)
            # All requests share one context: right by the schema with the first, it is right for the rest.
            results = cedarpy.is_authorized_batch(requests[:1], self._policies, entities, self._schema)
            results += cedarpy.is_authorized_batch(requests[1:], self._policies, entities)
        except (ValueError, TypeError, RuntimeError) as error:
            raise PolicyError(f"could not be evaluated, so nothing is allowed: {error}") from error
        if len(results) != len(requests):
            raise PolicyError("could not be evaluated, so nothing is allowed: answers are missing")
        return [self._decision(result) for result in results]

    def _decision(self, result: cedarpy.AuthzResult) -> Decision:
        errors = tuple(self._named(error) for error in result.diagnostics.errors)
        # Cedar gives them in no order; explanations and logs should not change from run to run.
        policy_ids = sorted(result.diagnostics.reasons, key=lambda policy_id: (len(policy_id), policy_id))
        reasons = tuple(self._place(policy_id) for policy_id in policy_ids)
        # The errors count even when Cedar says Allow: what failed may have been a forbid.
        return Decision(result.allowed and not errors, reasons, errors)

    def _place(self, policy_id: str) -> str:
        number = policy_id.removeprefix("policy")
        known = number.isdecimal() and int(number) < len(self._statements)
        return self._statements[int(number)].place if known else policy_id

    def _named(self, error: str) -> str:
        return re.sub(r"policy\d+", lambda match: self._place(match.group()), error)


class PolicyEngine:
    """The policies in force, of a directory with ``catalog.toml`` and ``*.cedar``; replaced as a whole."""

    def __init__(self, directory: str | Path) -> None:
        """Load the directory; raises ConfigurationError or PolicyError naming file, line and what was
        expected.
        """
        self._directory = Path(directory)
        self._reloading = threading.Lock()
        self._current = self._load()

    @property
    def current(self) -> PolicySet:
        """The version in force. Take it once per decision."""
        return self._current

    def reload(self) -> PolicySet:
        """Put the directory's present content in force; on any error the old version stays and PolicyError
        tells.
        """
        with self._reloading:
            try:
                fresh = self._load()
            except PolicyError:
                raise
            except ConfigurationError as error:
                raise PolicyError(str(error)) from error
            self._current = fresh
            return fresh

    def _load(self) -> PolicySet:
        return PolicySet.load(self._directory, Catalog.load(self._directory / CATALOG_FILE))


def _read_policies(directory: Path) -> dict[str, str]:
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix == ".cedar")
    except OSError as error:
        raise PolicyError(f"cannot be read: {error.strerror}", file=str(directory)) from error
    if not 1 <= len(paths) <= POLICY_FILES_MAX:
        raise PolicyError(f"expected 1 to {POLICY_FILES_MAX} files *.cedar", file=str(directory))
    return {path.name: _read_policy(path) for path in paths}


def _read_policy(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(POLICY_FILE_MAX_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"cannot be read: {error.strerror}", file=path.name) from error
    if len(data) > POLICY_FILE_MAX_BYTES:
        raise PolicyError(f"expected at most {POLICY_FILE_MAX_BYTES} bytes", file=path.name)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolicyError("expected UTF-8 text", file=path.name, line=line) from error


def _context(posture: Mapping[str, str], assurance: int, device: str) -> dict[str, Any]:
    if set(posture) != set(POSTURE_ITEMS) or not set(posture.values()) <= set(POSTURE_VALUES):
        raise PolicyError(f"posture: expected {', '.join(POSTURE_ITEMS)}, each {' | '.join(POSTURE_VALUES)}")
    # A score of NaN compares false with everything, which a forbid would read as "not too high".
    if type(assurance) is not int or not 1 <= assurance <= 3:
        raise PolicyError("assurance: expected an integer from 1 to 3")
    if not is_name(device):
        raise PolicyError("device: expected 1 to 128 characters of A-Z a-z 0-9 . _ : / @ -")
    trust = trust_vector(posture)
    return {"posture": dict(posture), "trust": trust, "assurance": assurance, "device": device}


def _request(
    identity: SubjectAttributes, segment: Segment, operation: Operation, context: str
) -> dict[str, Any]:
    return {
        "principal": {"type": "Subject", "id": identity.subject},
        "action": {"type": "Action", "id": operation.full_name},
        "resource": {"type": "Segment", "id": segment.name},
        "context": context,
    }


def _entities(identity: SubjectAttributes, segment: Segment) -> list[dict[str, Any]]:
    subject = {"roles": list(identity.roles), "desk": identity.desk, "kind": identity.kind}
    return [
        {"uid": {"type": "Subject", "id": identity.subject}, "attrs": subject, "parents": []},
        {
            "uid": {"type": "Segment", "id": segment.name},
            "attrs": {"environment": segment.environment},
            "parents": [],
        },
    ]
