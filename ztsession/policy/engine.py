"""Cedar as the policy decision point, held so that every doubt is a denial.

Three things could open a door by accident, and each is closed here once for all callers. Cedar skips a policy
whose condition fails to evaluate, so an erring ``forbid`` forbids nothing: a decision with any evaluation
error is a denial, whatever it says. A policy may name an attribute or action that does not exist: the schema
is generated from the catalog and every policy is validated against it at load. And a reload may be half
written: the new version is read, parsed and validated in full before it takes the place of the old, which
otherwise stays.

A :class:`PolicySet` never changes. Whoever decides takes :attr:`PolicyEngine.current` once and asks only
that, so that a reload in the middle of a decision cannot mix two versions.

Cedar is asked no question twice. Two questions are one if they differ only in what no policy mentions: the
name of a subject that none names, the hour where none looks at the clock. So thousands of sessions come to as
many evaluations as there are kinds of them.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ztsession.errors import ConfigurationError, PolicyError
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.calendar import CALENDAR_FILE, Calendar
from ztsession.policy.catalog import RISKS, Catalog, Operation, Segment
from ztsession.policy.cedar_check import check_statements
from ztsession.policy.cedar_schema import schema_text, words_of
from ztsession.policy.cedar_source import Statement, statements
from ztsession.policy.mentions import mentions_of
from ztsession.policy.question import Question
from ztsession.wire.digest import digest

if TYPE_CHECKING:
    import cedarpy

__all__ = ["CATALOG_FILE", "Decision", "PolicyEngine", "PolicySet"]

#: The catalog's name inside a policy directory.
CATALOG_FILE: Final = "catalog.toml"

POLICY_FILES_MAX: Final = 256
POLICY_FILE_MAX_BYTES: Final = 1 << 20


#: Questions whose answers are kept for the next time; all are dropped when there are more.
DECISIONS_KEPT: Final = 4096
#: Different failures that are told of one version; whoever sees so many has seen enough.
FAILURES_TOLD: Final = 64

_log = logging.getLogger("ztsession.policy")


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

    def __init__(self, files: Mapping[str, str], catalog: Catalog, calendar: Calendar | None = None) -> None:
        """Parse and validate Cedar texts by file name; raises PolicyError naming file, line and what is
        wrong.
        """
        import cedarpy

        self.catalog: Final = catalog
        self.calendar: Final = calendar or Calendar()
        schema = schema_text(catalog)
        self._schema = cedarpy.Schema.from_str(schema)
        self.statements: Final[tuple[Statement, ...]] = tuple(
            statement for name in sorted(files) for statement in statements(name, files[name])
        )
        #: The syntax tree of each statement.
        self.trees: Final = tuple(
            check_statements(self.statements, self._schema, words_of(catalog, self.calendar))
        )
        #: What the answers can depend on.
        self.mentions: Final = mentions_of(self.trees)
        # Cedar numbers the policies of a text in order: that is how a reason is traced to its statement.
        self._policies = cedarpy.PolicySet.from_str("\n".join(s.text for s in self.statements))
        if len(self._policies) != len(self.statements):
            raise PolicyError("the policies do not parse to one policy a statement")
        parts = [part.encode() for name in sorted(files) for part in (name, files[name])]
        self._digest = digest("policy", schema.encode(), self.calendar.digest_part, *parts)
        # A decision is a function of the question alone, and clients come back with the same one.
        self._decided: dict[tuple[Question, str], dict[str, Decision]] = {}
        #: Each failure, and whether it was taken.
        self._failures: dict[str, bool] = {}

    @classmethod
    def load(cls, directory: str | Path, catalog: Catalog) -> PolicySet:
        """Load every ``*.cedar`` of a directory, not of those below, and ``calendar.toml`` if it is there;
        ConfigurationError when that is wrong, PolicyError when there is no policy.
        """
        calendar = Calendar.load(Path(directory) / CALENDAR_FILE)
        return cls(_read_policies(Path(directory)), catalog, calendar)

    @property
    def digest(self) -> bytes:
        """32 bytes over schema, calendar and every file's name and text: equal digests decide alike."""
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
        risk: str = RISKS[0],
        at: float | None = None,
    ) -> list[Decision]:
        """Decide each operation, in one batch. Raises PolicyError when the question itself is not well
        formed.

        ``risk``: of the session, a word of ``RISKS``; ``at``: Unix seconds, by default now.
        """
        question = Question.ask(
            identity,
            device=device,
            posture=posture,
            assurance=assurance,
            risk=risk,
            moment=self.calendar.at(time.time() if at is None else at) if self.mentions.time else None,
            mentioned=self.mentions,
        )
        known = self._decided.get((question, segment.name), {})
        unknown = [operation for operation in operations if operation.full_name not in known]
        if unknown:
            known = {**known, **self._evaluate(question, segment, unknown)}
            self._keep(question, segment, known)
        return [known[operation.full_name] for operation in operations]

    def take_failures(self) -> list[str]:
        """What could not be evaluated, in Cedar's words; each is told once, here and in the log."""
        untold = [error for error, taken in self._failures.copy().items() if not taken]
        self._failures |= dict.fromkeys(untold, True)
        return untold

    def forget_decisions(self) -> None:
        """Evaluate everything anew from here on; what was decided stays what it was."""
        self._decided.clear()

    def _keep(self, question: Question, segment: Segment, decisions: dict[str, Decision]) -> None:
        if any(decision.errors for decision in decisions.values()):
            return  # what went wrong may go right the next time
        if len(self._decided) >= DECISIONS_KEPT:
            self._decided.clear()
        self._decided[question, segment.name] = decisions

    def _evaluate(
        self, question: Question, segment: Segment, operations: Sequence[Operation]
    ) -> dict[str, Decision]:
        import cedarpy

        requests = question.requests(segment, operations)
        try:
            entities = cedarpy.Entities.from_json_str(question.entities(segment), self._schema)
            # All requests share one context: right by the schema with the first, it is right for the rest.
            results = cedarpy.is_authorized_batch(requests[:1], self._policies, entities, self._schema)
            results += cedarpy.is_authorized_batch(requests[1:], self._policies, entities)
        except (ValueError, TypeError, RuntimeError) as error:
            raise PolicyError(f"could not be evaluated, so nothing is allowed: {error}") from error
        if len(results) != len(requests):
            raise PolicyError("could not be evaluated, so nothing is allowed: answers are missing")
        answers = zip(operations, results, strict=True)
        return {operation.full_name: self._decision(result) for operation, result in answers}

    def _decision(self, result: cedarpy.AuthzResult) -> Decision:
        errors = tuple(self._named(error) for error in result.diagnostics.errors)
        self._tell(errors)
        # Cedar gives them in no order; explanations and logs should not change from run to run.
        policy_ids = sorted(result.diagnostics.reasons, key=lambda policy_id: (len(policy_id), policy_id))
        reasons = tuple(self._place(policy_id) for policy_id in policy_ids)
        # The errors count even when Cedar says Allow: what failed may have been a forbid.
        return Decision(result.allowed and not errors, reasons, errors)

    def _tell(self, errors: Sequence[str]) -> None:
        for error in errors:
            if error not in self._failures and len(self._failures) < FAILURES_TOLD:
                self._failures[error] = False
                _log.error("a policy failed, and a failure denies: %s", error)

    def _place(self, policy_id: str) -> str:
        number = policy_id.removeprefix("policy")
        known = number.isdecimal() and int(number) < len(self.statements)
        return self.statements[int(number)].place if known else policy_id

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
