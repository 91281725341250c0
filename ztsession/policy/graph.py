"""A picture of how far one stolen role carries: segments, and the roles that join them.

A segment that stands alone is what a micro-perimeter should look like. A line between two says which role
alone is enough to be in both; a line between two environments is the worst there is, because what is tested
carelessly then reaches what is real, and such lines look different from all others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from ztsession.errors import ConfigurationError
from ztsession.policy.catalog import Catalog, Segment
from ztsession.policy.picture import COLOURS, CROSSES, Picture
from ztsession.policy.reach import Paths

__all__ = ["draw_png", "mermaid"]


def mermaid(catalog: Catalog, paths: Paths) -> str:
    """The graph as a Mermaid flowchart; equal policies give equal texts."""
    nodes = {name: f"s{number}" for number, name in enumerate(sorted(catalog.segments))}
    lines = ["flowchart LR"]
    for number, (environment, segments) in enumerate(_by_environment(catalog)):
        lines.append(f'  subgraph e{number}["{_quoted(environment)}"]')
        for segment in segments:
            label = f"{_quoted(segment.name)}<br/>{_quoted(environment)}"
            lines.append(f'    {nodes[segment.name]}["{label}"]:::c{number}')
        lines.append("  end")
    for joined in paths.joined:
        line = "==" if joined.crosses else "--"
        roles = _quoted(", ".join(joined.roles))
        lines.append(f'  {nodes[joined.one]} {line}{line[0]}|"{roles}"| {nodes[joined.other]}')
    for number, _ in enumerate(_by_environment(catalog)):
        fill, border = COLOURS[number % len(COLOURS)]
        lines.append(f"  classDef c{number} fill:{fill},stroke:{border},color:#111")
    crossing = [str(number) for number, joined in enumerate(paths.joined) if joined.crosses]
    if crossing:
        lines.append(f"  linkStyle {','.join(crossing)} stroke:{CROSSES},stroke-width:3px")
    return "\n".join(lines) + "\n"


def draw_png(catalog: Catalog, paths: Paths, path: str | os.PathLike[str]) -> None:
    """Draw the graph into a PNG file; ConfigurationError without matplotlib, or if it cannot be written."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "matplotlib":
            raise
        raise ConfigurationError("pictures need matplotlib: pip install 'ztsession[graph]'") from None
    picture = Picture(list(_by_environment(catalog)))
    figure = Figure(figsize=picture.size, dpi=144, facecolor="white")
    picture.draw(figure.add_axes((0, 0, 1, 1)), paths.joined)
    try:
        # Without a date and a version of the library in it, equal policies give equal files.
        figure.savefig(path, format="png", metadata={"Software": None})
    except OSError as error:
        raise ConfigurationError(f"cannot be written: {error.strerror}", file=os.fspath(path)) from None


def _by_environment(catalog: Catalog) -> Iterator[tuple[str, list[Segment]]]:
    segments = sorted(catalog.segments.values(), key=lambda segment: segment.name)
    for environment in catalog.environments:
        own = [segment for segment in segments if segment.environment == environment]
        if own:
            yield environment, own


def _quoted(text: str) -> str:
    """Text as it may stand in quotes: only letters, digits and what no version of Mermaid reads as syntax."""
    safe = " ,-_"
    return "".join(c if c.isascii() and (c.isalnum() or c in safe) else f"#{ord(c)};" for c in text)
