"""The picture of joined segments: environments are columns, segments boxes, and lines carry the roles.

Drawn with plain shapes at places that are computed here, so that equal graphs give equal pictures. A label
looks along its line for a place where no other label is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ztsession.policy.catalog import Segment
from ztsession.policy.reach import Joined

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLOURS", "CROSSES", "Picture"]

#: Fill and border of each environment's segments, in the order of promotion; used again when there are more.
COLOURS: Final = (
    ("#dbeafe", "#1d4ed8"),
    ("#fef3c7", "#b45309"),
    ("#dcfce7", "#15803d"),
    ("#ede9fe", "#6d28d9"),
    ("#e0f2f1", "#00695c"),
    ("#f3e8e1", "#7c4a21"),
)
#: What joins two environments.
CROSSES: Final = "#c81e1e"
_JOINS: Final = "#475569"

# All lengths are in inches.
_BOX_WIDTH, _BOX_HEIGHT = 2.1, 0.72
_COLUMN, _ROW = 5.2, 1.5
_LEFT, _TOP, _BOTTOM = 0.45, 1.15, 0.75
_LINE_OF_LABEL, _LETTER, _AIR = 0.19, 0.088, 0.14
#: Beside the middle between two rows of boxes.
_LANES: Final = (0.0, 0.24, -0.24, 0.12, -0.12)
#: A longer name is written smaller.
_LETTERS_IN_BOX: Final = 18
#: Where on its line a label may stand, the best place first.
_ALONG: Final = (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74, 0.18, 0.82)
#: Roles that are named on one line; the others are counted.
_ROLES_SHOWN: Final = 4

Point = tuple[float, float]


@dataclass
class Picture:
    """Where everything is; ``columns``: each environment with its segments."""

    columns: Sequence[tuple[str, Sequence[Segment]]]
    _taken: list[tuple[float, float, float, float]] = field(default_factory=list)
    _passing: Counter[int] = field(default_factory=Counter)

    @property
    def size(self) -> Point:
        """Width and height in inches."""
        tallest = max(len(segments) for _, segments in self.columns)
        return _LEFT + _COLUMN * len(self.columns), _TOP + _ROW * tallest + _BOTTOM

    def draw(self, axes: Axes, joined: Sequence[Joined]) -> None:
        """Draw everything into axes whose unit is an inch."""
        width, height = self.size
        axes.set_xlim(0, width)
        axes.set_ylim(0, height)
        axes.set_axis_off()
        for number, (environment, segments) in enumerate(self.columns):
            self._draw_column(axes, number, environment, segments)
        for each in sorted(joined, key=lambda each: each.crosses):
            self._draw_line(axes, each)
        _draw_legend(axes, any(not each.crosses for each in joined), any(each.crosses for each in joined))

    # ---- Segments

    def _place(self, name: str) -> tuple[int, int]:
        return next(
            (column, row)
            for column, (_, segments) in enumerate(self.columns)
            for row, segment in enumerate(segments)
            if segment.name == name
        )

    def _centre(self, column: int, row: int) -> Point:
        return _LEFT + _COLUMN * column + _BOX_WIDTH / 2 + 0.25, self.size[1] - _TOP - _ROW * (row + 0.5)

    def _draw_column(self, axes: Axes, column: int, environment: str, segments: Sequence[Segment]) -> None:
        fill, border = COLOURS[column % len(COLOURS)]
        x, _ = self._centre(column, 0)
        head = self.size[1] - _TOP + 0.3
        _write(axes, (x, head), environment, 15, border)
        for row, segment in enumerate(segments):
            x, y = self._centre(column, row)
            _draw_box(axes, (x, y), fill, border)
            size = min(11, 11 * _LETTERS_IN_BOX / len(segment.name))
            _write(axes, (x, y + 0.1), segment.name, size, "black")
            _write(axes, (x, y - 0.17), environment, 8, border, weight="normal")
            self._taken.append((x - _BOX_WIDTH / 2, y - _BOX_HEIGHT / 2, _BOX_WIDTH, _BOX_HEIGHT))

    # ---- Lines

    def _draw_line(self, axes: Axes, joined: Joined) -> None:
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        points = self._line(joined)
        colour = CROSSES if joined.crosses else _JOINS
        path = Path(points, [Path.MOVETO, *[Path.CURVE4] * (len(points) - 1)])
        style, width = ((0, (5, 2)), 2.4) if joined.crosses else ("solid", 1.4)
        axes.add_patch(
            PathPatch(path, fill=False, edgecolor=colour, linestyle=style, linewidth=width, zorder=2)
        )
        lines = _label(joined.roles)
        # Between two rows of boxes there is room for one line.
        lines = lines if len(points) == 4 else [", ".join(lines)]
        self._draw_label(axes, points, lines, colour, bold=joined.crosses)

    def _line(self, joined: Joined) -> list[Point]:
        """One cubic Bezier curve between two boxes, or three if it passes columns on its way."""
        one, other = sorted((self._place(joined.one), self._place(joined.other)))
        (x, y), (to_x, to_y) = self._centre(*one), self._centre(*other)
        right = _BOX_WIDTH / 2
        if one[0] == other[0]:
            # Within a column the lines bulge to the right, the further the longer they are.
            bulge = x + right + 0.35 + 0.65 * (other[1] - one[1])
            return [(x + right, y), (bulge, y), (bulge, to_y), (x + right, to_y)]
        begin, end = (x + right, y), (to_x - right, to_y)
        if other[0] - one[0] == 1:
            return _flow(begin, end)
        lane = self._lane((y + to_y) / 2)
        enter = (self._centre(one[0] + 1, 0)[0] - right, lane)
        leave = (self._centre(other[0] - 1, 0)[0] + right, lane)
        return [*_flow(begin, enter), *_flow(enter, leave)[1:], *_flow(leave, end)[1:]]

    def _lane(self, wanted: float) -> float:
        """The height at which a line passes columns: between two rows of boxes, and apart from others."""
        top = self.size[1] - _TOP
        gap = round((top - wanted) / _ROW)
        number = self._passing[gap]
        self._passing[gap] += 1
        return top - _ROW * gap + _LANES[number % len(_LANES)]

    def _draw_label(
        self, axes: Axes, points: Sequence[Point], lines: Sequence[str], colour: str, *, bold: bool
    ) -> None:
        width = _LETTER * max(map(len, lines)) + 0.16
        height = _LINE_OF_LABEL * len(lines) + 0.1
        x, y = self._free(points, width, height)
        self._taken.append((x - width / 2, y - height / 2, width, height))
        axes.text(
            x,
            y,
            "\n".join(lines),
            ha="center",
            va="center",
            fontsize=9,
            color=colour,
            weight="bold" if bold else "normal",
            bbox={"boxstyle": "round,pad=0.22", "facecolor": "white", "edgecolor": colour, "linewidth": 0.8},
            zorder=5,
        )

    def _free(self, points: Sequence[Point], width: float, height: float) -> Point:
        # On its only curve; or where it passes columns, before that, and after that.
        curves = [points] if len(points) == 4 else [points[3:7], points[:4], points[6:]]
        places = [_on(curve, along) for curve in curves for along in _ALONG]
        width, height = width + _AIR, height + _AIR
        for x, y in places:
            if not any(
                _overlap((x - width / 2, y - height / 2, width, height), other) for other in self._taken
            ):
                return x, y
        return places[0]


def _draw_box(axes: Axes, centre: Point, fill: str, border: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    corner = (centre[0] - _BOX_WIDTH / 2, centre[1] - _BOX_HEIGHT / 2)
    style = "round,pad=0,rounding_size=0.12"
    axes.add_patch(
        FancyBboxPatch(
            corner, _BOX_WIDTH, _BOX_HEIGHT, boxstyle=style, fc=fill, ec=border, linewidth=1.6, zorder=3
        )
    )


def _write(axes: Axes, at: Point, text: str, size: float, colour: str, weight: str = "bold") -> None:
    axes.text(*at, text, ha="center", va="center", fontsize=size, weight=weight, color=colour, zorder=4)


def _draw_legend(axes: Axes, joins: bool, crosses: bool) -> None:
    from matplotlib.lines import Line2D

    lines = []
    if crosses:
        what = "one role reaches two environments"
        lines.append(Line2D([], [], color=CROSSES, linestyle=(0, (5, 2)), linewidth=2.4, label=what))
    if joins:
        what = "one role reaches both segments"
        lines.append(Line2D([], [], color=_JOINS, linewidth=1.4, label=what))
    if not lines:
        lines.append(Line2D([], [], linestyle="none", label="no role reaches two segments"))
    axes.legend(handles=lines, loc="lower left", ncols=2, frameon=False, fontsize=9, borderaxespad=0.8)


def _label(roles: Sequence[str]) -> list[str]:
    shown = list(roles if len(roles) <= _ROLES_SHOWN else roles[: _ROLES_SHOWN - 1])
    more = len(roles) - len(shown)
    return [*shown, f"and {more} more"] if more else shown


def _flow(begin: Point, end: Point) -> list[Point]:
    """A curve that leaves and arrives level."""
    middle = (begin[0] + end[0]) / 2
    return [begin, (middle, begin[1]), (middle, end[1]), end]


def _on(points: Sequence[Point], t: float) -> Point:
    """The point of a cubic Bezier curve at ``t`` (0 to 1)."""
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
    pairs = list(zip(weights, points, strict=True))
    return sum(weight * x for weight, (x, _) in pairs), sum(weight * y for weight, (_, y) in pairs)


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    (x, y, width, height), (to_x, to_y, to_width, to_height) = one, other
    return x < to_x + to_width and to_x < x + width and y < to_y + to_height and to_y < y + height
