"""Figures for people: short tables for the terminal, all of them on one HTML page, and files.

`tables_of` pivots the long table; the page is a Jinja2 template of the same tables, plots and
examples: one file without scripts that asks for nothing.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pixtag.errors import ConfigError, ImageError, extra_hint
from pixtag.evaluate import tables as t
from pixtag.evaluate.labelled import THING
from pixtag.evaluate.metrics import Comparison, Scored
from pixtag.evaluate.past import ORACLE
from pixtag.evaluate.tables import ALL, SOURCES, Figures, Row
from pixtag.evaluate.temporal import BASE, LOSS_METRICS, MOST_LOSS, ONE_MORE, PIXTAG
from pixtag.images import decode
from pixtag.store import Store
from pixtag.types import PostLog, iso_time

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Cell = Row | str | None
_SAID = {
    "p@1": "the first hashtag is right on {:.0f} of 100 posts",
    "r@5": "the first five hold {:.0f} % of a post's own hashtags",
    "any of five fits": "one of five hashtags fits on {:.0f} of 100 photos",
    THING: "the thing itself is named on {:.0f} of 100 photos",
}
_NO_METHODS = (ORACLE, t.PERFECT, t.WRITTEN, "random")
Wanted = Mapping[str, Any]
"""What `Figures.find` is asked for."""

_SHORT = (PIXTAG, BASE, "popularity_week")
_COLOURS = ("#3a6ea5", "#d98032", "#6a9f4f", "#9d6fb0")
_GREY = "#7a828c"
_N_EXAMPLES = _N_GAINS = 12
_PREDICTED = 10


@dataclass(frozen=True)
class Table:
    """A part of the long table, pivoted: lines of a name and cells; the page draws some as bars.

    A table without a title goes on with the one before.
    """

    heads: list[str]
    lines: list[list[Cell]]
    title: str = ""
    drawn: tuple[str, ...] = ()


def text(cell: Cell) -> str:
    """A figure with its interval in a line of the terminal; a dash where there is none."""
    if not isinstance(cell, Row):
        return cell or ""
    if not isfinite(cell.mean):
        return "-"
    if not isfinite(cell.low):
        return f"{cell.mean:.3f}"
    low, high = (f"{end:.3f}".replace("0.", ".", 1) for end in (cell.low, cell.high))
    return f"{cell.mean:.3f} {low}\u2013{high}"


def in_words(found: Figures) -> str:
    """Say in one sentence what was found, beside the best of the other methods; "" if nothing."""
    told = {metric: say for metric, say in _SAID.items() if found.find(found.first, metric)}
    if not told:
        return ""

    def figure(method: str, metric: str) -> float:
        row = found.find(method, metric)
        return -1.0 if row is None else row.mean

    parts = [say.format(100 * figure(found.first, metric)) for metric, say in told.items()]
    sentence = f"With {found.first} {' and '.join(parts)}"
    methods = found.values("method", segment=ALL, kind="mean")
    others = [name for name in methods if name not in {found.first, *_NO_METHODS}]
    if found.protocol == "histories":
        worst = min(others, key=lambda name: figure(name, THING))
        after = f"{100 * figure(worst, THING):.0f} after the made-up history that harms most"
        named = told[THING].format(100 * figure(found.first, THING))
        return f"{named[0].upper()}{named[1:]} for a stranger, {after}."
    if found.protocol == "ancestor" or not others:
        return sentence + "."
    best = max(others, key=lambda name: figure(name, list(told)[-1]))
    numbers = " and ".join(f"{100 * figure(best, metric):.0f}" for metric in told)
    return f"{sentence}; with {best}, the best of the other methods, {numbers}."


def tables_of(found: Figures, *, is_brief: bool) -> list[Table]:
    """Pivot the figures of any protocol; what it has not, and if brief some detail, is left out."""
    parts = (_methods, _sources, _segments, _chances, _over_time, _breadth)
    made = (table for part in parts for table in part(found, is_brief))
    return [table for table in made if table.lines]


def _pivot(
    found: Figures, lines: Mapping[str, Wanted], columns: Mapping[str, Wanted] | Iterable[str]
) -> list[list[Cell]]:
    """A line for each name that has a figure in some column; columns may be metrics' names."""
    if not isinstance(columns, Mapping):
        columns = {name: {"metric": name} for name in columns}
    made = [
        [name, *(found.find(**{**line, **column}) for column in columns.values())]
        for name, line in lines.items()
    ]
    return [line for line in made if any(line[1:])]


def _methods(found: Figures, is_brief: bool) -> Iterator[Table]:
    shown, first = found.shown, found.first
    methods = found.values("method", segment=ALL, over="posts")
    heads, drawn = ["method", *shown], ("p@5",) * ("p@5" in shown)
    lines = {m: {"method": m} for m in methods}
    yield Table(heads, _pivot(found, lines, shown), found.title, drawn)
    if not is_brief or found.protocol != "temporal":
        minus = {
            f"{r.method} minus {r.other}": {"method": r.method, "minus": r.other}
            for r in found.rows
            if r.segment == ALL and r.other
        }
        yield Table(["post by post", *shown], _pivot(found, minus, shown))
    shares = {
        f"{first}, {kind}": {"method": first, "kind": kind, "minus": ORACLE}
        for kind in ("share of the oracle", "share above base_level")
    }
    title = "How much of what can be known"
    yield Table(["knowable", *shown], _pivot(found, shares, shown), title)
    if not is_brief:
        people = {m: {"method": m, "over": "people"} for m in methods}
        yield Table(heads, _pivot(found, people, shown), "Everyone weighs the same")


def _sources(found: Figures, is_brief: bool) -> Iterator[Table]:
    shown, sets = found.shown, found.values("method", segment=SOURCES, kind="mean")
    lines = {m: {"segment": SOURCES, "method": m} for m in sets if m != t.PERFECT}
    if not lines:
        return
    drawn = ("p@5",) * ("p@5" in shown)
    yield Table(["sources", *shown], _pivot(found, lines, shown), "What each source adds", drawn)
    added: list[list[Cell]] = []
    few = [metric for metric in shown if metric.startswith(("p@", "r@"))]
    for more, less in ONE_MORE:
        (source,) = {*more.split("+")} - {*less.split("+")}
        pair = {f"{source} to {less}": {"segment": SOURCES, "method": more, "minus": less}}
        for line in _pivot(found, pair, few):
            rows = (cell for cell in line if isinstance(cell, Row))
            lost = [r.metric for r in rows if r.metric in LOSS_METRICS and r.mean < -MOST_LOSS]
            added.append([*line, f"lowers {', '.join(lost)}" if lost else ""])
    yield Table(["added", *few, "flag"], added)
    if not is_brief:
        minus = {m: {"segment": SOURCES, "method": sets[0], "minus": m} for m in sets[1:]}
        yield Table(["sources", *shown], _pivot(found, minus, shown), "All three minus each set")


def _against(first: str, methods: Iterable[str]) -> dict[str, Wanted]:
    """Columns of the first method minus each other."""
    return {f"{first} - {m}": {"method": first, "minus": m} for m in methods if m != first}


def _segments(found: Figures, is_brief: bool) -> Iterator[Table]:
    first, others = found.first, found.values("other", segment=ALL, kind="difference")
    methods = [m for m in _SHORT if m in (first, *others)]
    if BASE not in methods:
        methods = [first] if is_brief else [first, *others]
    elif is_brief:
        others = [BASE]
    columns = {m: {"method": m} for m in methods} | _against(first, others)
    left_out = ("all,", "tenth", "chance", *(("cold people,", "seed") if is_brief else ()))
    segments = [s for s in found.values("segment") if not s.startswith(left_out)]
    lines: list[list[Cell]] = []
    for name, over, metric in (
        *((s, "posts", found.headline) for s in segments if s != ALL),
        *((s, "uses", "r@10") for s in segments),
        (ALL, "people", found.headline),
    ):
        wanted = {"segment": name, "over": over, "metric": metric}
        label = "everyone weighs the same" if over == "people" else name
        for line in _pivot(found, {label: wanted}, columns):
            row = next(cell for cell in line if isinstance(cell, Row))
            n = row.n_people if over == "people" else row.n
            lines.append([label, f"{n:,} {over}", metric, *line[1:]])
    heads = ["segment", "size", "metric", *columns]
    yield Table(heads, lines, "For whom, and for which tags", drawn=tuple(methods))


def _chances(found: Figures, _: bool) -> Iterator[Table]:
    names = [s for s in found.values("segment") if s.startswith((t.CHANCES, "chances, "))]
    lines = {name: {"segment": name, "method": found.first} for name in names}
    rows = _pivot(found, lines, t.RELIABILITY)
    yield Table(["first ten", *t.RELIABILITY], rows, "Are the chances true, by length of history")


def _over_time(found: Figures, _: bool) -> Iterator[Table]:
    methods = [m for m in _SHORT if m in found.values("method", segment=ALL)]
    columns = {m: {"method": m} for m in methods} | _against(found.first, methods)
    segments = (s for s in found.values("segment") if s.startswith("tenth"))
    tenths = {s: {"segment": s, "metric": "p@5"} for s in segments}
    heads = ["p@5 by tenths in time", *columns]
    yield Table(heads, _pivot(found, tenths, columns), "As time goes on")


def _breadth(found: Figures, is_brief: bool) -> Iterator[Table]:
    names = found.values("method", metric=t.BREADTH[0])
    wanted = (*_SHORT, t.WRITTEN) if is_brief else names
    lines = {m: {"method": m, "segment": t.FIRST_FIVE} for m in names if m in wanted}
    yield Table(["first five", *t.BREADTH], _pivot(found, lines, t.BREADTH), "Beyond accuracy")


# ------------------------------------------------------------------ files


def log_look(
    store_path: Path, *, command: str, period: str, bundle_digest: str | None,
    headline: Mapping[str, Any],
) -> Path:  # fmt: skip
    """Note that someone looked at a period, in `STORE.looks.jsonl` beside the store.

    A test period that is looked at while tuning is no test any more; the file shows how often that
    happened, with the figures that were seen.
    """
    path = store_path.with_name(store_path.name + ".looks.jsonl")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    look = {"looked_at": now, "period": period, "command": command, "bundle": bundle_digest}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(look | {"headline": dict(headline)}) + "\n")
    return path


def write_predictions(path: Path, log: PostLog, scored: Scored) -> int:
    """Write the first ten suggestions for each post, JSON Lines in time order; how many lines."""
    ranked = scored.rankings
    with path.open("w", encoding="utf-8") as file:
        for place, row in enumerate(ranked.rows.tolist()):
            user, at = int(log.user_of_post[row]), float(log.at[row])
            tags, probs = scored.rankings.list_of(place, _PREDICTED)
            line = {
                "post_id": log.post_ids[row],
                "user_id": log.users[user] if user < len(log.users) else None,
                "at": iso_time(at) if np.isfinite(at) else None,
                "tags": tags,
                "probs": [round(p, 6) for p in probs],
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return len(ranked.rows)


def write_trec(path: Path, compared: Comparison) -> list[Path]:
    """Write run files and relevance judgements as trec_eval reads them.

    A name with a suffix (`pixtag.run`) is the run of the first method, with the judgements beside
    it (`pixtag.qrels`); any other a folder that gets a run for each (`NAME.run`) and `qrels.txt`.
    The score falls with the rank: trec_eval sorts by score and breaks ties in its own way.

    Returns:
        The files, the judgements first.
    """
    runs, judgements = {compared.first: path}, path.with_suffix(".qrels")
    if path.is_dir() or not path.suffix:
        path.mkdir(parents=True, exist_ok=True)
        runs = {name: path / f"{name}.run" for name in compared.methods}
        judgements = path / "qrels.txt"
    rows = compared.rows.tolist()
    posts = ["_".join(compared.log.post_ids[row].split()) or "_" for row in rows]
    with judgements.open("w", encoding="utf-8") as file:
        for post, row in zip(posts, rows, strict=True):
            file.writelines(f"{post} 0 {tag} 1\n" for tag in compared.log.tags_of(row))
    for name, run in runs.items():
        scored = compared.methods[name]
        with run.open("w", encoding="utf-8") as file:
            for place, post in enumerate(posts):
                tags, _ = scored.rankings.list_of(place)
                file.writelines(
                    f"{post} Q0 {tag} {rank} {1 / rank:.6f} {name}\n"
                    for rank, tag in enumerate(tags, 1)
                )
    return [judgements, *runs.values()]


# ------------------------------------------------------------------ the page


def make_report(found: Figures, compared: Comparison | None, store: Store | None) -> str:
    """Make the page of figures, of the suggestions behind them, and of photos from the store.

    Raises:
        ConfigError: Jinja2 or matplotlib is not installed.
    """
    for name in ("jinja2", "matplotlib"):
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"a page needs {name}, which is not installed",
                hint=f"{extra_hint('train')}, or leave --html out",
            ) from error
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pixtag", "evaluate"), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("report.html.j2").render(
        found=found, number=_number,
        tables=[(table, _drawn(table)) for table in tables_of(found, is_brief=False)],
        ece=next((r for r in found.rows if r.metric == "ece"), None),
        reliability=_reliability(found), gains=_gains(compared),
        examples=_examples(compared, store), written=datetime.now(UTC),
    )  # fmt: skip


def _number(value: float, *, signed: bool = False) -> str:
    return "\u2013" if not isfinite(value) else f"{value:+.3f}" if signed else f"{value:.3f}"


def _drawn(table: Table) -> str:
    """The bars of a table as a data URI; empty without any."""
    columns = [table.heads.index(head) for head in table.drawn]
    lines = [line for line in table.lines if any(isinstance(line[c], Row) for c in columns)]
    if not lines:
        return ""
    thick = 0.8 / len(columns)

    def draw(axes: Axes) -> None:
        for j, column in enumerate(columns):
            rows = [(i, line[column]) for i, line in enumerate(lines)]
            known = [(i, r) for i, r in rows if isinstance(r, Row) and isfinite(r.mean)]
            y = [i + (j + 0.5) * thick - 0.4 for i, _ in known]
            label = table.heads[column]
            axes.barh(y, [r.mean for _, r in known], thick, color=_COLOURS[j % 4], label=label)
            axes.hlines(y, [r.low for _, r in known], [r.high for _, r in known], color=_GREY)
        names = [" ".join(c for c in line[:2] if isinstance(c, str)) for line in lines]
        axes.set_yticks(range(len(lines)), names)
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        if len(columns) > 1:
            axes.legend(frameon=False, loc="lower right", labelcolor=_GREY)

    return _picture(draw, height=0.5 + 0.2 * len(lines) * (0.5 + 0.5 * len(columns)))


def _reliability(found: Figures) -> str:
    """Shown probability against what came true, as a data URI; empty without probabilities."""
    names = [s for s in found.values("segment") if s.startswith("chance ")]
    pairs = [[r for r in found.rows if r.segment == name] for name in names]
    most = max((shown.n for shown, _ in pairs), default=1)

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1)
        shown, true = ([pair[i].mean for pair in pairs] for i in (0, 1))
        sizes = [10 + 300 * pair[0].n / most for pair in pairs]
        axes.scatter(shown, true, sizes, color=_COLOURS[0], alpha=0.75)
        axes.set(xlabel="shown", ylabel="came true", xlim=(0, 1), ylim=(0, 1), aspect="equal")

    return _picture(draw, height=4) if pairs else ""


def _picture(draw: Callable[[Axes], None], *, height: float) -> str:
    """A plot as a data URI: the same figures give the same bytes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # Grey can be read on a light page and on a dark one.
    coloured = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    with rc_context({"svg.hashsalt": "pixtag", **dict.fromkeys(coloured, _GREY)}):
        figure = Figure((9, height), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _data_uri("svg+xml", buffer)


def _data_uri(kind: str, buffer: io.BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _gains(compared: Comparison | None) -> list[list[tuple[str, int, int, int]]]:
    """Tags that the first method finds more often than base-level learning, and less often."""
    if compared is None or not {PIXTAG, BASE} <= set(compared.methods):
        return []
    gains = t.tag_gains(compared, BASE)
    won = [g for g in gains if g[2] > g[3]][:_N_GAINS]
    return [won, [g for g in reversed(gains) if g[2] < g[3]][:_N_GAINS]]


def _examples(compared: Comparison | None, store: Store | None) -> list[dict[str, Any]]:
    """Posts with readable photos, spread over the period without looking at the outcome.

    Each has its picture, suggestions (tag, chance, used), and the tags that were missed.
    """
    if compared is None or store is None:
        return []
    photographed = np.flatnonzero(compared.log.has_photo[compared.rows])
    spread = np.linspace(0, len(photographed) - 1, 3 * _N_EXAMPLES).astype(np.int64)
    chosen = photographed[np.unique(spread)] if len(photographed) else photographed
    names = {compared.log.post_ids[compared.rows[i]]: i for i in chosen.tolist()}
    posts = {p.post_id: p for p in store.posts() if p.post_id in names} if names else {}
    scored = compared.methods[compared.first]
    shown: list[dict[str, Any]] = []
    for name, place in names.items():
        if name not in posts or not posts[name].photos or len(shown) == _N_EXAMPLES:
            continue
        try:
            pixels = decode(Path(posts[name].photos[0].path))
        except ImageError:
            continue
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
        used, (tags, probs) = posts[name].tags, scored.rankings.list_of(place, 5)
        chances = [f" {p:.0%}" if scored.has_probs else "" for p in probs]
        suggested = [(t, chance, t in used) for t, chance in zip(tags, chances, strict=True)]
        missed = [tag for tag in used if tag not in tags]
        picture = _data_uri("jpeg", buffer)
        shown.append({"picture": picture, "suggested": suggested, "missed": missed})
    return shown
