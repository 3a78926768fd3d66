"""The page: its sections in order."""

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
from pixtag.report.drawing import bars, cell, groups, number, paragraph, reliability, table
from pixtag.store import Store
from pixtag.types import Ints, Post

_SHOWN = ("p@1", "p@3", "p@5", "p@10", "r@5", "r@10", "hit@5", "ndcg@5", "mrr")
_LIFTED = ("p@1", "p@5", "r@10")
_N_EXAMPLES = 12
_N_GAINS = 12

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
        paragraph(
            f"{measured['n_posts']:,} posts of {measured['n_people']:,} people, "
            f"{measured['from'][:10]} to {measured['to'][:10]} "
            f"({figures['split']['period']} period); trained on the "
            f"{figures['split']['train']['n_posts']:,} posts before. Every post is ranked with "
            "what was known before it, then learned from. In small print: 95 % intervals over "
            f"{'people' if figures['interval']['resampled'] == 'person' else 'posts'}. Written "
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC."
        ),
        *(paragraph(f"Note: {note}.") for note in figures["notes"]),
        _headline(figures, first),
        _knowable(figures),
        _lifts(figures),
        _signals(figures),
        _segments(figures, first),
        _drift(figures, first),
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
        [name, *(cell(values[m]) for m in _SHOWN)] for name, values in figures["methods"].items()
    ]
    rows.append(["a perfect ranking", *(number(figures["ceiling"][m]) for m in _SHOWN)])
    p5 = [(name, values["p@5"]) for name, values in figures["methods"].items()]
    made = "<h2>Methods</h2>" + table(["method", *_SHOWN], rows, best=first)
    if figures["chosen"]:
        settings = (
            f"{name} " + ", ".join(f"{key} {value:g}" for key, value in chosen.items())
            for name, chosen in figures["chosen"].items()
        )
        made += paragraph(f"Chosen on posts before the period: {'; '.join(settings)}.")
    made += paragraph("P@5 with its interval; the line marks what a perfect ranking reaches.")
    made += bars(p5, mark=figures["ceiling"]["p@5"], label="P@5 of each method")
    if "paired" in figures:
        rows = [
            [name, *(cell(values[m], signed=True) for m in _SHOWN)]
            for name, values in figures["paired"].items()
        ]
        made += f"<h3>{escape(first)} minus the others, post by post</h3>"
        made += table(["against", *_SHOWN], rows)
    people = [
        [name, *(cell(values[m]) for m in _SHOWN)] for name, values in figures["per_person"].items()
    ]
    made += "<h3>Everyone weighs the same</h3>"
    made += paragraph("Averaged within each person first: one busy person cannot carry it.")
    return made + table(["method", *_SHOWN], people, best=first)


def _lifts(figures: Figures) -> str:
    if "ablation" not in figures:
        return ""
    ablation = figures["ablation"]
    left_out = [
        [name, *(cell(values[metric], signed=True) for metric in _LIFTED)]
        for name, values in figures["ablation_paired"].items()
    ]
    p5 = sorted(
        ((name, values["p@5"]) for name, values in ablation.items()), key=lambda b: b[1]["mean"]
    )
    rows = [
        [
            source,
            number(
                ablation[source]["p@5"]["mean"] - ablation["nothing"]["p@5"]["mean"], signed=True
            ),
            *(cell(added[metric], signed=True) for metric in _LIFTED),
        ]
        for source, added in figures["lift"].items()
    ]
    return (
        "<h2>What each source adds</h2>"
        + bars(p5, label="P@5 with each set of sources")
        + table(
            ["source", "P@5 added to nothing", *(f"{m} added to the others" for m in _LIFTED)], rows
        )
        + "<h3>All three minus each set</h3>"
        + table(["sources", *_LIFTED], left_out)
    )


def _signals(figures: Figures) -> str:
    if "signals" not in figures:
        return ""
    rows = [
        [
            name,
            *(cell(ways[way][m], signed=True) for way in ("dropped", "shuffled") for m in _LIFTED),
        ]
        for name, ways in figures["signals"].items()
    ]
    heads = [f"{m} {way}" for way in ("dropped", "shuffled") for m in _LIFTED]
    return (
        "<h2>What each signal adds</h2>"
        + paragraph(
            "What the same network loses on the same candidates when one signal is dropped (its "
            "values at their training mean) or shuffled (dealt anew among the candidates of each "
            "post). Small where another signal can stand in."
        )
        + table(["signal", *heads], rows)
    )


def _knowable(figures: Figures) -> str:
    if "knowable" not in figures:
        return ""
    shown = ("p@1", "p@5", "p@10", "r@5", "r@10", "hit@5", "ndcg@5")
    names = {"of_all": "share of the oracle's", "above_base": "the same above base_level"}
    rows = [[names[n], *(cell(v[m]) for m in shown)] for n, v in figures["knowable"].items()]
    return (
        "<h2>How much of what can be known</h2>"
        + paragraph(
            "Figures over those of the oracle, which knew what can be known; then with the figure "
            "of base-level learning taken off both."
        )
        + table(["", *shown], rows)
    )


def _segments(figures: Figures, first: str) -> str:
    methods = [m for m in (first, "base_level", "popularity_week") if m in figures["methods"]]
    methods = list(dict.fromkeys(methods))
    segments = figures["segments"]
    parts = {
        **{f"history {name}": part for name, part in segments["history"].items()},
        **{f"{name} set": part for name, part in segments["set"].items()},
        **({"cold people": segments["cold"]} if "cold" in segments else {}),
    }
    posts = [(f"{name} ({part['n_posts']:,})", part, "p@5") for name, part in parts.items()]
    named = {"known": "once known", "by_own": "once used by the person",
             "by_others": "once used by three others", "not_yet": "before that"}  # fmt: skip
    bands = {
        **{f"{name} tags": part for name, part in segments["tags"].items()},
        **{f"new, {named[name]}": part for name, part in segments["new_tags"].items()},
    }
    uses = [(f"{name} ({part['n_uses']:,} uses)", part, "r@10") for name, part in bands.items()]
    return (
        "<h2>For whom, and for which tags</h2>"
        + paragraph(
            "P@5 by how many posts the person had before, by whether their exact tag set is new "
            "to them (fresh), and for people whose past was hidden; number of posts in brackets."
        )
        + groups(posts, methods, label="P@5 by segment")
        + paragraph(
            "Share of uses found among the first ten, by how common a tag was in training; new "
            "tags were never seen in it, and are known once their person or three others used them."
        )
        + groups(uses, methods, label="R@10 by band of tags")
        + f"<h3>{escape(first)} minus the others, by segment</h3>"
        + _segment_differences([*posts, *uses], first, figures)
    )


def _segment_differences(
    parts: Sequence[tuple[str, Figures, str]], first: str, figures: Figures
) -> str:
    others = [m for m in figures["methods"] if m != first]
    rows = [
        [f"{name}, {metric}"]
        + [cell(part["paired"][m][metric], signed=True) if m in part["paired"] else "\u2013"
           for m in others]
        for name, part, metric in parts
        if part["paired"]
    ]  # fmt: skip
    return table(["segment", *others], rows)


def _drift(figures: Figures, first: str) -> str:
    methods = list(dict.fromkeys([first, "base_level", "popularity_week"]))
    methods = [m for m in methods if m in figures["methods"]]
    others = [m for m in methods if m != first]
    rows = [
        [
            f"{part['from'][:10]} to {part['to'][:10]} ({part['n_posts']:,} posts)",
            *(cell(part["methods"][m]["p@5"]) for m in methods),
            *(cell(part["paired"][m]["p@5"], signed=True) for m in others),
        ]
        for part in figures["drift"]
    ]
    heads = [*methods, *(f"{first} minus {m}" for m in others)]
    return (
        "<h2>As time goes on</h2>"
        + paragraph("P@5 by tenths of the period: nothing was trained anew in the meantime.")
        + table(["posts", *heads], rows)
    )


def _calibration(figures: Figures) -> str:
    if "calibration" not in figures:
        return ""
    made = figures["calibration"]
    return (
        "<h2>Are the percentages true?</h2>"
        + paragraph(
            f"Of {made['suggestions']:,} suggestions, by the probability that was shown. On the "
            "line, a shown 30 % comes true 30 % of the time; larger dots hold more suggestions. "
            f"Expected calibration error {number(made['ece'])}."
        )
        + reliability(made["bins"])
    )


def _breadth(figures: Figures) -> str:
    columns = ("coverage", "popularity", "redundancy")
    rows = [
        ["what people wrote" if name == "truth" else name, *(number(v[c]) for c in columns)]
        for name, v in figures["breadth"].items()
    ]
    return (
        "<h2>Beyond accuracy</h2>"
        + paragraph(
            "Coverage: share of all tags that are ever among five suggestions. Popularity: mean "
            "rank of a suggestion by uses, 1 for the most used tag. Redundancy: how much two of "
            "the five always come together, 1 at most."
        )
        + table(["method", *columns], rows)
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
        + paragraph("On how many posts each method had the tag among its first five.")
        + '<div class="columns">'
        + table(heads, [_gain_row(g) for g in won])
        + table(heads, [_gain_row(g) for g in lost])
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
        + paragraph(
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
