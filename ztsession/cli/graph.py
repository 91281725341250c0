"""``ztsession policy graph``: which segments one stolen role would join, as a picture."""

from __future__ import annotations

from pathlib import Path

import click

from ztsession.cli.failing import telling
from ztsession.errors import ConfigurationError

__all__ = ["graph"]


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--mermaid", metavar="FILE", help="Write a Mermaid flowchart; - is standard output.")
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="Draw a PNG file.")
def graph(directory: Path, mermaid: str | None, png: Path | None) -> None:
    """Show the segments of DIRECTORY, joined where one role alone reaches both."""
    if mermaid is None and png is None:
        raise click.UsageError("expected --mermaid, --png or both")
    from ztsession.policy.engine import PolicyEngine
    from ztsession.policy.graph import draw_png
    from ztsession.policy.graph import mermaid as flowchart
    from ztsession.policy.reach import joined_segments

    with telling():
        policy = PolicyEngine(directory).current
        paths = joined_segments(policy)
        if png is not None:
            draw_png(policy.catalog, paths, png)
        if mermaid is not None:
            _write(mermaid, flowchart(policy.catalog, paths))
    for role in paths.undecided:
        click.echo(f"not decided: whether {role} joins more segments than are shown", err=True)


def _write(path: str, text: str) -> None:
    try:
        with click.open_file(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigurationError(f"cannot be written: {error.strerror}", file=path) from None
