"""``ztsession policy explain``: why a subject may or may not do an operation, asked before it is tried."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import click

from ztsession.cli.failing import telling
from ztsession.cli.state import SUBJECTS_FILE
from ztsession.errors import ConfigurationError
from ztsession.identity.subjects import FileSubjects
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.calendar import Calendar
from ztsession.policy.catalog import RISKS, Catalog
from ztsession.policy.compile import ASSURANCE_MAX
from ztsession.policy.engine import PolicyEngine
from ztsession.policy.explain import explain as explain_operation
from ztsession.posture.items import GOOD, ITEMS, UNKNOWN, WORDS

__all__ = ["explain"]

#: Exit statuses by outcome; 1 and 2 are those of an error and of wrong usage.
STATUS: Final = {"allowed": 0, "step-up": 3, "denied": 4}
_YEARS: Final = range(1970, 3000)
#: Names that a message lists.
_LISTED_MAX: Final = 32


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("subject")
@click.argument("operation")
@click.option("--assurance", type=click.IntRange(1, ASSURANCE_MAX), default=1, show_default=True)
@click.option("--device", default="none", show_default=True, help="The device's name.")
@click.option(
    "--posture", multiple=True, metavar="ITEM=WORD", help=f"{' | '.join(WORDS)}; may be given again."
)
@click.option("--all-good", is_flag=True, help="Every item is good that --posture does not give otherwise.")
@click.option("--risk", type=click.Choice(RISKS), default=RISKS[0], show_default=True, help="The session's.")
@click.option("--at", metavar="TIME", help="Like 2026-11-27T09:30, where the calendar is.  [default: now]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(
    directory: Path,
    subject: str,
    operation: str,
    assurance: int,
    device: str,
    posture: tuple[str, ...],
    all_good: bool,
    risk: str,
    at: str | None,
    as_json: bool,
) -> None:
    """Say why SUBJECT (of subjects.toml) may or may not do OPERATION (like orders.submit), by the policies in
    DIRECTORY, and what would help.

    Without --posture and --all-good no item of the device is known. Exit status: 0 if it is allowed, 3 if it
    would be with more assurance, 4 if it is denied; 1 if that could not be found out.
    """
    with telling():
        policy = PolicyEngine(directory).current
        explanation = explain_operation(
            policy,
            _segment(policy.catalog, operation),
            operation,
            _identity(directory / SUBJECTS_FILE, subject),
            device=device,
            posture=_vector(posture, GOOD if all_good else UNKNOWN),
            assurance=assurance,
            risk=risk,
            at=None if at is None else _unix_s(at, policy.calendar),
        )
    click.echo(json.dumps(explanation.to_json(), indent=2) if as_json else explanation.text())
    raise SystemExit(STATUS[explanation.outcome])


def _segment(catalog: Catalog, operation: str) -> str:
    """The name of the operation's segment."""
    names = [each.full_name for segment in catalog.segments.values() for each in segment.operations]
    if operation not in names:
        raise ConfigurationError(f"the catalog has no operation {operation!a}: {_listed(names)}")
    return operation.partition(".")[0]


def _identity(file: Path, name: str) -> SubjectAttributes:
    subjects = FileSubjects(file)
    subject = subjects.named(name)
    if subject is None:
        message = f"names no subject {name!a}: {_listed(subjects.names)}"
        raise ConfigurationError(message, file=str(file))
    return SubjectAttributes(subject.name, subject.kind, subject.roles, subject.desk)


def _vector(given: Iterable[str], others: str) -> Mapping[str, str]:
    vector = dict.fromkeys(ITEMS, others)
    for each in given:
        item, _, word = each.partition("=")
        if item not in ITEMS:
            raise ConfigurationError(f"--posture: no item {item!a}: {_listed(ITEMS)}")
        if word not in WORDS:
            raise ConfigurationError(f"--posture: expected {item}={'|'.join(WORDS)}, found {each!a}")
        vector[item] = word
    return vector


def _listed(names: Iterable[str]) -> str:
    known = sorted(names)
    more = f" and {len(known) - _LISTED_MAX} more" if len(known) > _LISTED_MAX else ""
    return f"expected one of {', '.join(known[:_LISTED_MAX])}{more}" if known else "it has none"


def _unix_s(text: str, calendar: Calendar) -> float:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            zone = UTC if calendar.timezone == "UTC" else ZoneInfo(calendar.timezone)
            moment = moment.replace(tzinfo=zone)
        # Beyond it there are moments that no calendar can name.
        if moment.year not in _YEARS:
            raise ValueError
        return moment.timestamp()
    except ValueError:
        raise ConfigurationError(
            f"--at: expected a time like 2026-11-27T09:30 or 2026-11-27T09:30+01:00, found {text!a}"
        ) from None
