"""How well a bundle made elsewhere fits real people's histories: logs of people it never met.

    python recipes/shipped_bundle.py --shared ../shared --hold-out people
    python recipes/score_habits.py --shared ../shared --bundle out/shipped-people
    python recipes/score_habits.py --shared ../shared --bundle out/shipped --logs short-posts

Every second person of each log was left out of that training, and of the short posts everybody;
those left out make a store, without photos, and its last fifth is predicted post by post. Beside
the bundle, which is not trained on the store, stands base-level learning, whose decay is chosen
on the store's validation period. Intervals are 95 % of a bootstrap over people.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from shipped_bundle import HABITS, ROOT, log_of_habits

from pixtag.baselines import base_level
from pixtag.bundle import Bundle, load_bundle
from pixtag.cli import output
from pixtag.errors import LeakError
from pixtag.evaluate import Figures, compare, log_look
from pixtag.evaluate.protocol import DECAYS, choose, choosing_bounds
from pixtag.evaluate.summary import segment, segments
from pixtag.predictor import Predictor
from pixtag.splits import Period, temporal_split
from pixtag.types import PostLog

NEVER_LEARNED = ("short-posts",)
SHOWN = ("r@5", "p@1")


def strangers_to(bundle: Bundle, log: PostLog, *, is_learned: bool) -> PostLog:
    """The people of a log that the bundle never met."""
    left = log.select(log.user_of_post % 2 == 1) if is_learned else log
    n_seen = int(bundle.has_seen(left.post_ids).sum())
    if n_seen:
        raise LeakError(
            f"the bundle learned from {n_seen} posts of the people who should be strangers to it",
            hint="train one with `shipped_bundle.py --hold-out people`",
        )
    return left


def measured(bundle: Bundle, log: PostLog, period: Period) -> Figures:
    """All posts, and those whose set of tags is fresh for its person."""
    split = temporal_split(log)
    tried = {decay: base_level(decay) for decay in DECAYS}
    decay = choose(log, *choosing_bounds(split, period), tried)
    predictor = Predictor(bundle)
    compared = compare(
        log,
        *split.bounds(period),
        {
            "pixtag": lambda log, start, stop, k: predictor.rank(log, start, stop, k=k),
            "base_level": tried[decay],
        },
    )
    every = np.ones(len(compared.rows), np.bool_)
    sets = segments(compared, split)["set"]
    return {"decay": decay, "all": segment(compared, every), **sets}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True, help="folder with data/tags")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--period", choices=["test", "validation"], default="test")
    logs = (*HABITS, *NEVER_LEARNED)
    parser.add_argument("--logs", nargs="+", choices=logs, default=logs, help="default: all")
    given = parser.parse_args()
    bundle = load_bundle(given.bundle)
    rows: list[list[str]] = []
    found: dict[str, Figures] = {}
    for name in given.logs:
        log = log_of_habits(name, given.shared)
        log = strangers_to(bundle, log, is_learned=name in HABITS)
        found[name] = measured(bundle, log, given.period)
        for part in ("all", "fresh"):
            one = found[name][part]
            mine, minus = one["methods"]["pixtag"], one["paired"]["base_level"]
            cells = [f"{mine[m]['mean']:.3f}  {interval(minus[m])}" for m in SHOWN]
            rows.append([f"{name}, {part}", f"{one['n_posts']:,}", f"{one['n_people']}", *cells])
        whole = found[name]["all"]["methods"]["pixtag"]
        log_look(
            ROOT / "out" / f"{name}.sqlite",
            command=" ".join(["python", *sys.argv]),
            period=given.period,
            bundle_digest=bundle.manifest.digest,
            headline={m: whole[m]["mean"] for m in SHOWN},
        )
    columns = {"log": "left", "posts": "right", "people": "right"}
    output.print_table(columns | {f"{m}, minus base level": "right" for m in SHOWN}, rows)
    path = given.bundle.with_name(f"{given.bundle.name}.habits-{given.period}.json")
    path.write_text(output.to_json(found, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {path}")


def interval(figures: dict[str, float]) -> str:
    """A mean with its interval."""
    return f"{figures['mean']:.3f} [{figures['low']:.3f}, {figures['high']:.3f}]"


if __name__ == "__main__":
    main()
