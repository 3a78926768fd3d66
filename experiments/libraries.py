"""Pixtag beside what one would pick instead: base-level learning, LightGBM, LensKit, implicit.

    python -m experiments.libraries --store out/city-photos.sqlite --json out/libraries.json
    pip install lightgbm lenskit implicit      # a row says what is not installed

Every system gets the same log cut in time: fitted on the first 70 %, its settings chosen on the
next 10 %, fitted anew on both, and asked about each post of the last 20 %, one at a time, with the
person's earlier posts at hand. Those that can take new posts do (base level, LightGBM's features,
the histories that LensKit and implicit are asked with, Pixtag); what they fitted stays as it was
at the split. Each runs in a process of its own on one processor.

*Train* is the last fit, *answer* the mean of one question, both in processor time; *memory* is the
peak of the process, the log (which all read) included. Choosing settings is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from experiments.harness import Task, arguments, look, run
from experiments.library_systems import SYSTEMS, K, Setting

from pixtag.cli import output
from pixtag.errors import PixtagError
from pixtag.evaluate import compare
from pixtag.evaluate.metrics import numbered_as
from pixtag.evaluate.past import Ranker
from pixtag.evaluate.tables import mean_rows
from pixtag.evaluate.temporal import MOST_CHOSEN_ON
from pixtag.splits import is_repeated
from pixtag.types import Ints, PostLog, Rankings, Sources

SHOWN = ("p@1", "r@5", "r@10")
FRESH = "R@5, new sets"
GAIN = "first row's R@5 minus"
ONE_THREAD = tuple(
    f"{name}_THREADS" for name in ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "LK_NUM", "LK_NUM_BACKEND")
)
PIXTAG = "pixtag"
MODULES = {PIXTAG: "jax"} | {name: system.module for name, system in SYSTEMS.items()}
N_TIMED = 300
"""Questions that Pixtag is asked one by one for their time; all others are timed on every post."""

# ------------------------------------------------------------------ one system in its process

N_CHOSEN_ON = 500
"""Of the last posts of validation, so many choose a setting."""


@dataclass(frozen=True)
class Part:
    """What a process found out: ranked tags `[B, 10]`, costs, and the setting that it chose."""

    ids: Ints
    train_s: float
    answer_ms: float
    peak_mb: float
    setting: Setting

    def write(self, path: Path) -> None:
        """Write it as `.npz`."""
        facts = {n: v for n, v in vars(self).items() if n != "ids"}
        np.savez(path, ids=self.ids, facts=np.array(json.dumps(facts)))

    @classmethod
    def read(cls, path: Path) -> Part:
        """Read it again."""
        with np.load(path) as found:
            return cls(found["ids"], **json.loads(str(found["facts"])))


def library_part(name: str, task: Task, asked: Ints) -> Part:
    """Choose a setting, fit, and ask about the posts at positions `asked`, one by one."""
    system, log, split = SYSTEMS[name], task.log, task.split
    chosen = system.tried[0]
    if len(system.tried) > 1:
        end = split.valid_stop
        rows = np.arange(max(split.train_stop, end - MOST_CHOSEN_ON), end)
        rows = rows[:: max(1, len(rows) // N_CHOSEN_ON)].tolist()
        quality: list[float] = []
        with output.progress(f"{name}: choosing", unit="settings") as bar:
            for done, setting in enumerate(system.tried):
                ask = system.fit(log, split, split.train_stop, setting)
                quality.append(float(np.mean([_quality(log, row, ask(row)) for row in rows])))
                bar.update(done + 1, len(system.tried), str(setting))
        chosen = system.tried[int(np.argmax(quality))]
    began = time.process_time()
    ask = system.fit(log, split, split.valid_stop, chosen)
    train_s = time.process_time() - began
    ask(int(asked[0]))  # what is read or compiled at the first question is no part of an answer
    ids = np.full((len(asked), K), len(log.tags), np.int64)
    with output.progress(f"{name}: asking", unit="posts") as bar:
        began = time.process_time()
        for place, row in enumerate(asked.tolist()):
            found = ask(row)[:K]
            ids[place, : len(found)] = found
            if place % 500 == 0:
                bar.update(place, len(asked), "")
        answer_s = (time.process_time() - began) / len(asked)
    return Part(ids, train_s, 1e3 * answer_s, _peak_mb(resource.RUSAGE_SELF), chosen)


def _quality(log: PostLog, row: int, ranked: list[int]) -> float:
    """P@5 + R@5 of one post, by which baselines are chosen everywhere."""
    used = set(log.tag_ids[log.tag_start[row] : log.tag_start[row + 1]].tolist())
    hits = len(used.intersection(ranked[:5]))
    return hits / 5 + hits / max(len(used), 1)


def pixtag_part(store: Path, size: str | None, every: int, out: Path) -> Part:
    """Train by `pixtag train`, rank every post as `pixtag evaluate` does, time the predictor."""
    bundle_path = out / "model"
    command = [sys.executable, "-m", "pixtag", "train", "--store", str(store)]
    command += ["--out", str(bundle_path), *(("--size", size) if size else ())]
    if subprocess.run(command, check=False).returncode:
        raise PixtagError("`pixtag train` failed, as said above", hint="give it a longer log")
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    from pixtag.bundle import load_bundle
    from pixtag.choose import Wishes
    from pixtag.evaluate import model_of
    from pixtag.predictor import Predictor
    from pixtag.store import Store

    task = Task.of(store, "test", out)
    start, stop = task.split.bounds("test")
    ranked = model_of(load_bundle(bundle_path))(task.log, start, stop, K, Sources())
    ids = numbered_as(task.log, ranked)[::every, :K]
    timed = np.linspace(start, stop - 1, min(N_TIMED, stop - start)).astype(int).tolist()
    names = [*task.log.users, None]
    with Store.open(store, read_only=True) as opened:
        predictor = Predictor.load(bundle_path, store=opened)
        clock = 0.0
        for n, row in enumerate([timed[0], *timed]):
            at = datetime.fromtimestamp(float(task.log.at[row]), UTC)
            wishes = Wishes.of(K, user=names[int(task.log.user_of_post[row])])
            began = time.process_time()
            predictor.answer(None, wishes, at=at)
            clock += time.process_time() - began if n else 0.0
        predictor.close()
    return Part(
        ids, spent.ru_utime + spent.ru_stime, 1e3 * clock / len(timed),
        max(_peak_mb(resource.RUSAGE_SELF), _peak_mb(resource.RUSAGE_CHILDREN)), {},
    )  # fmt: skip


def _peak_mb(who: int) -> float:
    return resource.getrusage(who).ru_maxrss / 1024


# ------------------------------------------------------------------ all of them


def part_of(name: str, given: argparse.Namespace) -> Part | str:
    """Run one system in its process; a word where there is nothing to measure."""
    if find_spec(MODULES[name]) is None:
        return "not installed"
    path = given.out / f"{list(MODULES).index(name)}.npz"
    if given.keep and path.exists():
        return Part.read(path)
    path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "experiments.libraries", "--store", str(given.store)]
    command += ["--out", str(given.out), "--system", name, "--part", str(path)]
    command += ["--every", str(given.every)]
    command += ["--size", given.size] if given.size else []
    env = os.environ | dict.fromkeys(ONE_THREAD, "1")
    done = subprocess.run(command, env=env, check=False)
    return Part.read(path) if done.returncode == 0 else "failed"


def asked_of(task: Task, every: int) -> Ints:
    """Positions of the posts that are asked about: every n-th of the test period."""
    return np.arange(*task.split.bounds("test"), every)


def lines_of(task: Task, asked: Ints, parts: dict[str, Part | str]) -> list[dict[str, Any]]:
    """Measure all that ran on the same posts, with intervals over people; a dict a row."""
    rankers = {
        name: lambda log, start, stop, k, ids=part.ids: Rankings(
            asked, ids, np.zeros(ids.shape, np.float32), log.tags
        )
        for name, part in parts.items()
        if isinstance(part, Part)
    }
    figures = _figures(task, asked, rankers) if rankers else {}
    lines: list[dict[str, Any]] = []
    for name, part in parts.items():
        if isinstance(part, str):
            lines.append({"system": name, "note": part})
            continue
        costs = {"train_s": part.train_s, "answer_ms": part.answer_ms, "peak_mb": part.peak_mb}
        lines.append({"system": name, **figures[name], **costs, "chosen": part.setting})
    return lines


def _figures(
    task: Task, asked: Ints, rankers: dict[str, Ranker]
) -> dict[str, dict[str, list[float]]]:
    """Figures of each system, each a mean with its interval, by column of the table."""
    compared = compare(task.log, *task.split.bounds("test"), rankers, only=asked)
    look(task.store, "test", compared)
    fresh = compared.select(~is_repeated(task.log)[compared.rows])
    found: dict[str, dict[str, list[float]]] = {name: {} for name in rankers}
    for part, named in ((compared, {m: m for m in SHOWN}), (fresh, {"r@5": FRESH})):
        values = {name: scored.values for name, scored in part.methods.items()}
        for row in mean_rows(values, part.bootstrap, metrics=named):
            interval = [row.mean, row.low, row.high]
            if row.kind == "mean":
                found[row.method][named[row.metric]] = interval
            elif named[row.metric] == "r@5":
                found[row.other][GAIN] = interval
    return found


def show(lines: list[dict[str, Any]], title: str) -> None:
    """Print the table."""
    columns = (*SHOWN, FRESH, GAIN)
    costs = {"train_s": "train, s", "answer_ms": "answer, ms", "peak_mb": "memory, MB"}
    heads: dict[str, output.Align] = {"system": "left"}
    heads |= dict.fromkeys([*(m.upper() for m in SHOWN), FRESH, GAIN], "right")
    heads |= dict.fromkeys(costs.values(), "right")
    rows: list[list[str]] = []
    for line in lines:
        if "note" in line:
            rows.append([line["system"], line["note"], *[""] * (len(heads) - 2)])
            continue
        cells = [line.get(column) for column in columns]
        texts = ["" if c is None else "{} [{}, {}]".format(*map(_short, c)) for c in cells]
        rows.append([line["system"], *texts, *(f"{line[name]:,.4g}" for name in costs)])
    output.print_table(heads, rows, title=title)


def _short(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def main() -> None:
    """Run every system, then measure them together."""
    parser = arguments(__doc__)
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--size", choices=["tiny", "small", "base"], help="of Pixtag's model")
    parser.add_argument("--out", type=Path, help="a working folder: out/libraries/NAME by default")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    known = ", ".join(MODULES)
    parser.add_argument("--system", action="append", choices=[*MODULES], metavar="NAME",
                        help=f"only this row, may be repeated: {known}")  # fmt: skip
    parser.add_argument("--every", type=int, default=1, metavar="N",
                        help="ask about every Nth post of the test period only")  # fmt: skip
    parser.add_argument("--keep", action="store_true", help="take what is in --out already")
    parser.add_argument("--part", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    warnings.filterwarnings("ignore", module="implicit")  # it tells of its own conversions
    given.out = given.out or Path("out/libraries", given.store.stem)
    given.out.mkdir(parents=True, exist_ok=True)
    names = given.system or [*MODULES]
    if given.part:  # a process of its own, on one processor
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        if names == [PIXTAG]:
            part = pixtag_part(given.store, given.size, given.every, given.out)
        else:
            task = Task.of(given.store, "test", given.out)
            part = library_part(names[0], task, asked_of(task, given.every))
        part.write(given.part)
        return
    parts: dict[str, Part | str] = {}
    for name in names:
        output.say(f"{len(parts) + 1} of {len(names)}: {name}")
        parts[name] = part_of(name, given)
    task = Task.of(given.store, "test", given.out)
    asked = asked_of(task, given.every)
    lines = lines_of(task, asked, parts)
    title = f"{len(asked):,} posts of {given.store.name}, test period"
    show(lines, title)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(output.to_json({"title": title, "rows": lines}, indent=2) + "\n")
        output.say(f"wrote {given.json}")


if __name__ == "__main__":
    run(main)
