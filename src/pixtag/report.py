"""An evaluation as one self-contained page: tables, plots, examples; no scripts, no requests."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from pixtag.errors import ImageError
from pixtag.evaluate import PIXTAG, Evaluation, Figures, tag_gains
from pixtag.images import decode
from pixtag.store import Store
from pixtag.types import Ints, Post

_SHOWN = ("p@1", "p@3", "p@5", "p@10", "r@5", "r@10", "hit@5", "ndcg@5", "mrr")
_LIFTED = ("p@1", "p@5", "r@10")
_N_EXAMPLES = 12
_N_GAINS = 12
_COLOURS = ("#3a6ea5", "#d98032", "#6a9f4f", "#9d6fb0")

_STYLE = """
:root { --ink: #1c2430; --soft: #5c6672; --line: #d9dee4; --page: #fff; --good: #2f7d3b;
        --bad: #a33c32; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #9aa4b0; --line: #38414c;
        --page: #14181d; --good: #7cc48a; --bad: #e08a80; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
       max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.4rem; }
p.note { color: var(--soft); max-width: 70ch; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
td small { color: var(--soft); display: block; }
tr.best td { font-weight: 600; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg .soft { fill: var(--soft); } svg .line { stroke: var(--line); }
.columns { display: flex; flex-wrap: wrap; gap: 2rem; }
.photos { display: grid; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); gap: 1rem; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 8px; padding: .6rem; }
figure img { width: 100%; border-radius: 4px; display: block; }
.right { color: var(--good); font-weight: 600; } .wrong { color: var(--soft); }
.missed { color: var(--bad); }
"""


def write_report(
    path: Path, found: Evaluation, figures: Figures, store: Store | None, *, title: str
) -> None:
    """Write an evaluation as one HTML file.

    Args:
        path: The file; replaced.
        found: The evaluation.
        figures: `found.as_dict()`.
        store: Where photos of examples are looked up; None shows none.
        title: What was measured, for the heading.
    """
    path.write_text(make_report(found, figures, store, title=title), encoding="utf-8")


def make_report(found: Evaluation, figures: Figures, store: Store | None, *, title: str) -> str:
    """Make the page; arguments as for `write_report`."""
    measured = figures["split"]["measured"]
    first = next(iter(figures["methods"]))
    parts = [
        f"<h1>How well hashtags are predicted: {escape(title)}</h1>",
        _paragraph(
            f"{measured['n_posts']:,} posts of {measured['n_people']:,} people, "
            f"{measured['from'][:10]} to {measured['to'][:10]} "
            f"({figures['split']['period']} period); trained on the "
            f"{figures['split']['train']['n_posts']:,} posts before. Every post is ranked with "
            "what was known before it, then learned from. In small print: 95 % intervals over "
            f"{'people' if figures['interval']['resampled'] == 'person' else 'posts'}. Written "
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC."
        ),
        *(_paragraph(f"Note: {note}.") for note in figures["notes"]),
        _headline(figures, first),
        _lifts(figures),
        _segments(figures, first),
        _calibration(figures),
        _breadth(figures),
        _gains(found, figures),
        _examples(found, store, first),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: evaluation</title><style>{_STYLE}</style></head><body>"
        + "\n".join(part for part in parts if part)
        + "</body></html>\n"
    )


# ------------------------------------------------------------------ sections


def _headline(figures: Figures, first: str) -> str:
    rows = [
        [name, *(_cell(values[m]) for m in _SHOWN)] for name, values in figures["methods"].items()
    ]
    rows.append(["a perfect ranking", *(_number(figures["ceiling"][m]) for m in _SHOWN)])
    bars = [(name, values["p@5"]) for name, values in figures["methods"].items()]
    made = "<h2>Methods</h2>" + _table(["method", *_SHOWN], rows, best=first)
    made += _paragraph("P@5 with its interval; the line marks what a perfect ranking reaches.")
    made += _bars(bars, mark=figures["ceiling"]["p@5"], label="P@5 of each method")
    if "paired" in figures:
        rows = [
            [name, *(_cell(values[m], signed=True) for m in _SHOWN)]
            for name, values in figures["paired"].items()
        ]
        made += f"<h3>{escape(first)} minus the others, post by post</h3>"
        made += _table(["against", *_SHOWN], rows)
    people = [
        [name, *(_cell(values[m]) for m in _SHOWN)]
        for name, values in figures["per_person"].items()
    ]
    made += "<h3>Everyone weighs the same</h3>"
    made += _paragraph("Averaged within each person first: one busy person cannot carry it.")
    return made + _table(["method", *_SHOWN], people, best=first)


def _lifts(figures: Figures) -> str:
    if "ablation" not in figures:
        return ""
    ablation = figures["ablation"]
    bars = sorted(
        ((name, values["p@5"]) for name, values in ablation.items()), key=lambda b: b[1]["mean"]
    )
    rows = [
        [
            source,
            _number(
                ablation[source]["p@5"]["mean"] - ablation["nothing"]["p@5"]["mean"], signed=True
            ),
            *(_cell(added[metric], signed=True) for metric in _LIFTED),
        ]
        for source, added in figures["lift"].items()
    ]
    return (
        "<h2>What each source adds</h2>"
        + _bars(bars, label="P@5 with each set of sources")
        + _table(
            ["source", "P@5 added to nothing", *(f"{m} added to the others" for m in _LIFTED)], rows
        )
    )


def _segments(figures: Figures, first: str) -> str:
    methods = [m for m in (first, "base_level", "popularity_week") if m in figures["methods"]]
    methods = list(dict.fromkeys(methods))
    segments = figures["segments"]
    groups = [
        (f"history {name} ({part['n_posts']:,})", part, "p@5")
        for name, part in segments["history"].items()
    ]
    groups += [
        (f"{name} set ({part['n_posts']:,})", part, "p@5") for name, part in segments["set"].items()
    ]
    if "cold" in segments:
        groups.append((f"cold people ({segments['cold']['n_posts']:,})", segments["cold"], "p@5"))
    bands = [
        (f"{name} tags ({part['n_uses']:,} uses)", part, "r@10")
        for name, part in segments["tags"].items()
    ]
    return (
        "<h2>For whom, and for which tags</h2>"
        + _paragraph(
            "P@5 by how many posts the person had before, by whether their exact tag set is new, "
            "and for people whose past was hidden; number of posts in brackets."
        )
        + _groups(groups, methods, label="P@5 by segment")
        + _paragraph(
            "Share of uses found among the first ten, by how common a tag was in training; new "
            "tags were never seen in it."
        )
        + _groups(bands, methods, label="R@10 by band of tags")
    )


def _calibration(figures: Figures) -> str:
    if "calibration" not in figures:
        return ""
    made = figures["calibration"]
    return (
        "<h2>Are the percentages true?</h2>"
        + _paragraph(
            f"Of {made['suggestions']:,} suggestions, by the probability that was shown. On the "
            "line, a shown 30 % comes true 30 % of the time; larger dots hold more suggestions. "
            f"Expected calibration error {_number(made['ece'])}."
        )
        + _reliability(made["bins"])
    )


def _breadth(figures: Figures) -> str:
    columns = ("coverage", "popularity", "redundancy")
    rows = [
        ["what people wrote" if name == "truth" else name, *(_number(v[c]) for c in columns)]
        for name, v in figures["breadth"].items()
    ]
    return (
        "<h2>Beyond accuracy</h2>"
        + _paragraph(
            "Coverage: share of all tags that are ever among five suggestions. Popularity: mean "
            "rank of a suggestion by uses, 1 for the most used tag. Redundancy: how much two of "
            "the five always come together, 1 at most."
        )
        + _table(["method", *columns], rows)
    )


def _gains(found: Evaluation, figures: Figures) -> str:
    if PIXTAG not in figures["methods"] or "base_level" not in figures["methods"]:
        return ""
    gains = tag_gains(found.comparison, "base_level")
    won = [g for g in gains if g[2] > g[3]][:_N_GAINS]
    lost = [g for g in reversed(gains) if g[2] < g[3]][:_N_GAINS]
    heads = ["tag", "uses", PIXTAG, "base_level"]
    return (
        "<h2>Most gained and lost tags</h2>"
        + _paragraph("On how many posts each method had the tag among its first five.")
        + '<div class="columns">'
        + _table(heads, [_gain_row(g) for g in won])
        + _table(heads, [_gain_row(g) for g in lost])
        + "</div>"
    )


def _gain_row(gain: tuple[str, int, int, int]) -> list[str]:
    return [f"#{gain[0]}", *(f"{n:,}" for n in gain[1:])]


def _examples(found: Evaluation, store: Store | None, first: str) -> str:
    compared = found.comparison
    if store is None or not compared.log.has_photo[compared.rows].any():
        return ""
    photographed = np.flatnonzero(compared.log.has_photo[compared.rows])
    # Spread over the period, without looking at the outcome.
    chosen = photographed[
        np.unique(np.linspace(0, len(photographed) - 1, 3 * _N_EXAMPLES).astype(np.int64))
    ]
    posts = _posts(store, [compared.log.post_ids[compared.rows[i]] for i in chosen])
    shown: list[str] = []
    for place in chosen.tolist():
        post = posts.get(compared.log.post_ids[compared.rows[place]])
        if post is not None and len(shown) < _N_EXAMPLES:
            shown += _example(found, first, place, post)
    if not shown:
        return ""
    return (
        "<h2>Examples</h2>"
        + _paragraph(
            "Posts spread evenly over the period, whatever came out; suggestions that the person "
            "used are bold, their other tags stand below."
        )
        + f'<div class="photos">{"".join(shown)}</div>'
    )


def _posts(store: Store, wanted: Sequence[str]) -> dict[str, Post]:
    names = set(wanted)
    return {post.post_id: post for post in store.posts() if post.post_id in names}


def _example(found: Evaluation, first: str, place: int, post: Post) -> list[str]:
    if not post.photos:
        return []
    try:
        pixels = decode(Path(post.photos[0].path))
    except ImageError:
        return []
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
    picture = base64.b64encode(buffer.getvalue()).decode()
    scored = found.comparison.methods[first]
    ids: Ints = scored.rankings.tag_ids[place, :5]
    tags = [scored.rankings.tags[t] for t in ids if t < len(scored.rankings.tags)]
    used = set(post.tags)
    suggested = [
        f'<span class="{"right" if tag in used else "wrong"}">#{escape(tag)}'
        + (f" {prob:.0%}" if scored.has_probs else "")
        + "</span>"
        for tag, prob in zip(tags, scored.rankings.probs[place, : len(tags)], strict=True)
    ]
    missed = [f"#{escape(tag)}" for tag in post.tags if tag not in tags]
    return [
        f'<figure><img alt="" src="data:image/jpeg;base64,{picture}">'
        f"<figcaption>{' '.join(suggested)}"
        f'<br><span class="missed">{" ".join(missed)}</span></figcaption></figure>'
    ]


# ------------------------------------------------------------------ tables and plots


def _paragraph(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _number(value: float, *, signed: bool = False) -> str:
    if not np.isfinite(value):
        return "–"  # noqa: RUF001 - an empty cell
    return f"{value:+.3f}" if signed else f"{value:.3f}"


def _cell(figure: dict[str, float], *, signed: bool = False) -> str:
    low, high = (_number(figure[end], signed=signed) for end in ("low", "high"))
    return f"{_number(figure['mean'], signed=signed)}\n{low} to {high}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, best: str = "") -> str:
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


def _bars(
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


def _groups(
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


def _reliability(bins: Sequence[dict[str, float]]) -> str:
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
