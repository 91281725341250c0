"""``ztsession policy lint``: rules that do nothing, and rights that nobody meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ztsession.cli.failing import telling
from ztsession.cli.state import SUBJECTS_FILE, reading

if TYPE_CHECKING:
    from ztsession.policy.attributes import SubjectAttributes
    from ztsession.policy.lint import Finding

__all__ = ["lint"]

_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
_FINDINGS: Final = 3
_IGNORABLE: Final = (
    "holds-for-nobody",
    "shadowed",
    "never-granted",
    "has-everything",
    "joins-environments",
    "joins-segments",
)


@click.command()
@click.argument("directory", type=_DIRECTORY)
@click.option("--state", type=_DIRECTORY, help="An Authority's state directory, for who is enrolled there.")
@click.option(
    "--ignore", type=click.Choice(_IGNORABLE), multiple=True, help="A kind of finding to leave out."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def lint(directory: Path, state: Path | None, ignore: tuple[str, ...], as_json: bool) -> None:
    """Look for what is wrong with the policies in DIRECTORY although they load.

    Exit status: 0 nothing found, 3 findings; 1 for errors, 2 for wrong usage.
    """
    from ztsession.policy.engine import PolicyEngine
    from ztsession.policy.lint import lint as linted

    with telling():
        policy = PolicyEngine(directory).current
        findings = [each for each in linted(policy, _enrolled(directory, state)) if each.kind not in ignore]
    click.echo(_as_json(findings) if as_json else _as_text(findings), nl=False)
    raise SystemExit(_FINDINGS if findings else 0)


def _enrolled(directory: Path, state: Path | None) -> list[SubjectAttributes]:
    from ztsession.identity.subjects import FileSubjects, Subject
    from ztsession.policy.attributes import SubjectAttributes
    from ztsession.store.enrolments import SqliteEnrolments

    written = FileSubjects(directory / SUBJECTS_FILE)
    subjects = {name: subject for name in written.names if (subject := written.named(name)) is not None}
    if state is not None:
        with reading(state) as store:
            for name, data in SqliteEnrolments(store).all("subject"):
                # Where both name somebody the file is right.
                subjects.setdefault(name, Subject.from_bytes(data))
    return [SubjectAttributes(each.name, each.kind, each.roles, each.desk) for each in subjects.values()]


def _as_json(findings: list[Finding]) -> str:
    rows = [
        {"kind": each.kind, "severity": each.severity, "place": each.place, "text": each.text}
        for each in findings
    ]
    return json.dumps({"findings": rows}, indent=2) + "\n"


def _as_text(findings: list[Finding]) -> str:
    lines = [f"{each.place}: {each.severity}: {each.text} [{each.kind}]" for each in findings]
    return "\n".join([*lines, f"findings: {len(findings)}"]) + "\n"
