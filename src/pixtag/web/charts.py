"""Small charts as SVG, made here: shapes by attributes alone, since the page allows no styles."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Literal, NamedTuple

from markupsafe import Markup

Unit = Literal["day", "week", "month", "year"]
_UNITS: dict[Unit, int] = {"day": 1, "week": 7, "month": 32, "year": 367}
# Days that lead from the first moment of one into the next
_HEIGHT, _GAP, _WIDEST, _LABEL_WIDTH = 150, 4, 44, 58
_MOST_BARS = 54
_DAY_S = 86_400.0


def bar(share: float, kind: str = "") -> Markup:
    """A quiet horizontal bar, filled to a share of one; said elsewhere, so hidden from readers."""
    width = round(100 * min(max(share, 0.0), 1.0), 1)
    return Markup(  # noqa: S704 - numbers and a word of ours
        f'<svg class="bar {escape(kind)}" viewBox="0 0 100 4" preserveAspectRatio="none" '
        f'aria-hidden="true"><rect class="track" width="100" height="4"/>'
        f'<rect class="fill" width="{width}" height="4"/></svg>'
    )


def columns(
    heights: Sequence[tuple[str, Sequence[int]]], title: str, *, width: int = 460
) -> Markup:
    """A chart of columns, each a label and the counts stacked in it from below.

    Only so many labels are written that they don't touch.
    """
    n, top = max(len(heights), 1), max((sum(counts) for _, counts in heights), default=0) or 1
    step, every = width / n, max(1, -(-n * _LABEL_WIDTH // width))
    wide = min(max(step - _GAP, 0.8), _WIDEST)
    shapes: list[str] = []
    for i, (label, counts) in enumerate(heights):
        y, x = float(_HEIGHT), (i + 0.5) * step
        shapes.append(f"<g><title>{escape(label)}: {sum(counts):,}</title>")
        hit = f'x="{i * step:.1f}" y="0" width="{step:.1f}" height="{_HEIGHT}"'
        shapes.append(f'<rect class="hit" {hit}/>')
        for kind, count in enumerate(counts):
            height = count / top * (_HEIGHT - 8)
            y -= height
            place = f'x="{x - wide / 2:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{height:.1f}"'
            shapes.append(f'<rect class="part{kind}" rx="2" {place}/>')
        shapes.append("</g>")
        if i % every == 0:
            place = f'x="{x:.1f}" y="{_HEIGHT + 20}"'
            shapes.append(
                f'<text class="label" text-anchor="middle" {place}>{escape(label)}</text>'
            )
    return Markup(  # noqa: S704 - numbers, words of ours, and labels that were escaped
        f'<svg class="chart" viewBox="-20 0 {width + 40} {_HEIGHT + 28}" role="img" '
        f'aria-label="{escape(title)}"><line class="axis" x1="0" x2="{width}" y1="{_HEIGHT}" '
        f'y2="{_HEIGHT}"/>{"".join(shapes)}</svg>'
    )


class Span(NamedTuple):
    """Uses within a day, week, month or year: one's own and others'."""

    at: float  # its first moment, Unix seconds UTC
    unit: Unit
    n_own: int
    n_others: int


def over_time(times: Sequence[tuple[float, bool]], *, until: float) -> list[Span]:
    """Count uses by day, week, month or year up to now, whichever gives few enough columns.

    `times`, in order, are Unix seconds UTC and whether the use is one's own.
    """
    if not times:
        return []
    first, last = times[0][0], max(until, times[-1][0])
    days = (last - first) / _DAY_S
    fitting: list[Unit] = [u for u, n in _UNITS.items() if days / n < _MOST_BARS - 2]
    unit = fitting[0] if fitting else "year"
    at, counts = _start(first, unit), dict[float, list[int]]()
    while at <= last:
        counts[at] = [0, 0]
        at = _start(at + _UNITS[unit] * _DAY_S, unit)
    for when, is_own in times:
        counts.setdefault(_start(when, unit), [0, 0])[0 if is_own else 1] += 1
    return [Span(at, unit, *n) for at, n in sorted(counts.items())][-_MOST_BARS:]


def _start(at: float, unit: Unit) -> float:
    """The first moment of the day, week, month or year."""
    when = datetime.fromtimestamp(at, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "week":
        when = datetime.fromtimestamp(when.timestamp() - when.weekday() * _DAY_S, UTC)
    elif unit in {"month", "year"}:
        when = when.replace(day=1) if unit == "month" else when.replace(month=1, day=1)
    return when.timestamp()
