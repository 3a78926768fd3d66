"""Tables and plots of the page, as HTML and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from pixtag.evaluate import Figures

_COLOURS = ("#3a6ea5", "#d98032", "#6a9f4f", "#9d6fb0")


def paragraph(text: str) -> str:
    """Write small text under a heading."""
    return f'<p class="note">{escape(text)}</p>'


def number(value: float, *, signed: bool = False) -> str:
    """Write a figure; a dash where there is none."""
    if not np.isfinite(value):
        return "–"  # noqa: RUF001 - an empty cell
    return f"{value:+.3f}" if signed else f"{value:.3f}"


def cell(figure: dict[str, float], *, signed: bool = False) -> str:
    """Write a mean, and its interval in small print."""
    low, high = (number(figure[end], signed=signed) for end in ("low", "high"))
    return f"{number(figure['mean'], signed=signed)}\n{low} to {high}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, best: str = "") -> str:
    """Write a table; a line break in a cell begins its small print."""
    body: list[str] = []
    for row in rows:
        cells: list[str] = []
        for cell in row:
            large, _, small = cell.partition("\n")
            cells.append(
                f"<td>{escape(large)}{f'<small>{escape(small)}</small>' if small else ''}</td>"
            )
        body.append(f"<tr{' class=best' if row[0] == best else ''}>{''.join(cells)}</tr>")
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def bars(
    bars: Sequence[tuple[str, dict[str, float]]], *, label: str, mark: float | None = None
) -> str:
    """Draw horizontal bars with intervals on a scale from 0 to 1."""
    left, width, step = 190, 560, 24
    height = step * len(bars) + 30
    made = [_axis(left, width, height - 24)]
    for i, (name, figure) in enumerate(bars):
        y = step * i + 6
        made.append(
            f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>'
            + _bar(left, y, width, figure, _COLOURS[0], 14)
        )
    if mark is not None:
        x = left + width * mark
        made.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - 24}" stroke="{_COLOURS[1]}" '
            'stroke-dasharray="4 3"/>'
        )
    return _svg(left + width + 60, height, made, label)


def _bar(
    left: float, y: float, width: float, figure: dict[str, float], colour: str, thick: float
) -> str:
    mean = figure["mean"]
    if not np.isfinite(mean):
        return ""
    end = left + width * mean
    low, high = left + width * figure["low"], left + width * figure["high"]
    middle = y + thick / 2
    return (
        f'<rect x="{left}" y="{y}" width="{max(end - left, 0.5):.1f}" height="{thick}" rx="2" '
        f'fill="{colour}"/>'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" '
        'stroke="currentColor" stroke-width="1.5"/>'
        f'<text x="{high + 6:.1f}" y="{middle + 4}">{mean:.3f}</text>'
    )


def groups(
    groups: Sequence[tuple[str, Figures, str]], methods: Sequence[str], *, label: str
) -> str:
    """Draw a group of bars for each segment, one bar a method."""
    left, width, thick = 230, 520, 12
    step = thick * len(methods) + 12
    filled = [g for g in groups if g[1]["methods"]]
    height = step * len(filled) + 30
    made = [_axis(left, width, height - 24)]
    for i, (name, part, metric) in enumerate(filled):
        y = step * i + 6
        middle = y + thick * len(methods) / 2 + 4
        made.append(f'<text x="{left - 8}" y="{middle}" text-anchor="end">{escape(name)}</text>')
        for j, method in enumerate(methods):
            if method in part["methods"]:
                figure = part["methods"][method][metric]
                made.append(_bar(left, y + thick * j, width, figure, _COLOURS[j], thick - 1))
    key = " ".join(
        f'<span style="color:{_COLOURS[j]}">&#9632;</span> {escape(m)}'
        for j, m in enumerate(methods)
    )
    return f"<p>{key}</p>" + _svg(left + width + 60, height, made, label)


def _axis(left: float, width: float, bottom: float) -> str:
    return "".join(
        f'<line class="line" x1="{left + width * v:.1f}" x2="{left + width * v:.1f}" y1="0" '
        f'y2="{bottom}"/><text class="soft" x="{left + width * v:.1f}" y="{bottom + 16}" '
        f'text-anchor="middle">{v:.1f}</text>'
        for v in np.linspace(0, 1, 6)
    )


def reliability(bins: Sequence[dict[str, float]]) -> str:
    """Draw what was shown against what came true."""
    left, top, size = 46, 8, 320
    most = max((b["n"] for b in bins), default=1)
    made = [
        f'<rect class="line" x="{left}" y="{top}" width="{size}" height="{size}" fill="none"/>',
        f'<line class="line" x1="{left}" y1="{top + size}" x2="{left + size}" y2="{top}"/>',
        f'<text x="{left + size / 2}" y="{top + size + 34}" text-anchor="middle">shown</text>',
        f'<text x="12" y="{top + size / 2}" text-anchor="middle" '
        f'transform="rotate(-90 12 {top + size / 2})">came true</text>',
    ]
    for v in (0, 0.5, 1):
        x, y = left + size * v, top + size * (1 - v)
        made.append(f'<text class="soft" x="{x}" y="{top + size + 16}" text-anchor="middle">'
                    f"{v:.0%}</text>")  # fmt: skip
        made.append(f'<text class="soft" x="{left - 4}" y="{y + 4}" text-anchor="end">'
                    f"{v:.0%}</text>")  # fmt: skip
    made += [
        f'<circle cx="{left + size * b["shown"]:.1f}" cy="{top + size * (1 - b["came_true"]):.1f}" '
        f'r="{3 + 9 * np.sqrt(b["n"] / most):.1f}" fill="{_COLOURS[0]}" fill-opacity=".75">'
        f"<title>shown {b['shown']:.1%}, came true {b['came_true']:.1%}, {b['n']:,} suggestions"
        "</title></circle>"
        for b in bins
    ]
    return _svg(left + size + 20, top + size + 44, made, "Reliability of the probabilities")


def _svg(width: float, height: float, inner: Sequence[str], label: str) -> str:
    return (
        f'<div class="wide"><svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" aria-label="{escape(label)}">{"".join(inner)}</svg>'
        "</div>"
    )
