"""How well a bundle made elsewhere fits real people's histories: logs of people it never met.

    python -m tools.shipped_bundle --shared ../shared --hold-out people
    python -m experiments.score_habits --shared ../shared --bundle out/shipped-people
    python -m experiments.score_habits --shared ../shared --bundle out/shipped --logs short-posts

Every second person of each log was left out of that training, and of the short posts everybody;
those left out make a store, without photos, and its last fifth is predicted post by post. Beside
the bundle, which is not trained on the store, stands base-level learning, whose decay is chosen
on the store's validation period. Intervals are 95 % of a bootstrap over people.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.harness import ROOT, finish, look, ranker_of, run
from tools.shipped_bundle import HABITS, log_of_habits

from pixtag.bundle import Bundle, load_bundle
from pixtag.errors import LeakError
from pixtag.evaluate import Comparison, Figures, Row, compare
from pixtag.evaluate.baselines import DECAYS, base_level
from pixtag.evaluate.tables import means
from pixtag.evaluate.temporal import choose, choosing_bounds
from pixtag.splits import Period, is_repeated, temporal_split
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
            hint="train one with `python -m tools.shipped_bundle --hold-out people`",
        )
    return left


def measured(bundle: Bundle, log: PostLog, period: Period) -> Comparison:
    """The bundle beside base-level learning with its best decay."""
    split = temporal_split(log)
    tried = {decay: base_level(decay) for decay in DECAYS}
    decay = choose(log, *choosing_bounds(split, period), tried)
    rankers = {"pixtag": ranker_of(bundle), "base_level": tried[decay]}
    return compare(log, *split.bounds(period), rankers)


def main() -> None:
    """Measure a bundle on logs of real people."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True, help="folder with data/tags")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--period", choices=["test", "validation"], default="test")
    logs = (*HABITS, *NEVER_LEARNED)
    parser.add_argument("--logs", nargs="+", choices=logs, default=logs, help="default: all")
    given = parser.parse_args()
    bundle = load_bundle(given.bundle)
    rows: list[Row] = []
    for name in given.logs:
        log = strangers_to(bundle, log_of_habits(name, given.shared), is_learned=name in HABITS)
        compared = measured(bundle, log, given.period)
        look(ROOT / "out" / f"{name}.sqlite", given.period, compared, bundle.manifest.digest)
        fresh = ~is_repeated(log)[compared.rows]
        rows += means(compared, name, metrics=SHOWN)
        if fresh.any():
            rows += means(compared.select(fresh), f"{name}, fresh sets", metrics=SHOWN)
    title = f"{given.bundle.name} for real people whom it never met, {given.period} period"
    path = given.bundle.with_name(f"{given.bundle.name}.habits-{given.period}.json")
    finish(Figures("habits", title, rows, SHOWN, "r@5"), path)


if __name__ == "__main__":
    run(main)
