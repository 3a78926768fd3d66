"""How much oftener the calendar's tags are used in their days than on others, on a log.

    python -m experiments.calendar_worth short-posts.jsonl.gz

Counted are distinct (tag, person, UTC day) uses. By chance, a tag's uses would fall on days as all
posts do; in its days its log lift, of year and weekday together, is that of twice the mean or more.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import defaultdict
from datetime import date
from pathlib import Path

import numpy as np

from pixtag.signals.calendar import LEAST_LIFT, calendar
from pixtag.tags import tidy_tags

SEASON_FROM_DAYS = 45
EDGES = (-9.0, -1.0, -0.3, 0.3, LEAST_LIFT, 1.5, 2.5, 9.0)


def kinds() -> dict[str, str]:
    """What kind of entry each tag of the calendar is of."""
    found = {tag: "weekdays" for one in calendar().weekly for tag in one.tags.split()}
    for one in calendar().yearly:
        kind = "seasons" if one.lasts >= SEASON_FROM_DAYS else "feasts, days and months"
        found |= {tag: kind for tag in one.tags.split() if tag not in found}
    return dict.fromkeys(calendar().rows, "counted") | found


def main() -> None:
    """Read the log and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("log", type=Path)
    path: Path = parser.parse_args().log
    posted: set[tuple[int, str]] = set()
    uses: dict[int, set[tuple[int, str]]] = defaultdict(set)
    known, kind_of = calendar(), kinds()
    names = list(known.rows)
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        for line in file:
            post = json.loads(line)
            day = date.fromisoformat(post["posted_at"][:10]).toordinal()
            posted.add((day, post["user_id"]))
            for row in {known.find(tag)[0] for tag in tidy_tags(post["tags"])}:
                uses[row].add((day, post["user_id"]))
    days, n_posted = np.unique([day for day, _ in posted], return_counts=True)
    chance = n_posted / n_posted.sum()
    lifts = np.stack([known.lifts(day).sum(axis=0) for day in days.tolist()])
    by_kind: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(5))
    by_lift = np.zeros((2, len(EDGES) - 1))
    for row in sorted(uses.keys() - {len(names)}):
        lift = lifts[:, row]
        used = np.bincount(
            np.searchsorted(days, [day for day, _ in uses[row]]), minlength=len(days)
        )
        n, inside = used.sum(), lift >= LEAST_LIFT
        gain = used @ (lift - np.log(chance @ np.exp(lift)))
        by_kind[kind_of[names[row]]] += [1, n, used[inside].sum(), n * chance[inside].sum(), gain]
        by_lift += [np.histogram(lift, EDGES, weights=w)[0] for w in (used, n * chance)]
    print("| entry | tags | uses | in their days | by chance | times as often | log units a use |")
    print("|---|---|---|---|---|---|---|")
    for kind, (n_tags, n, seen, usual, gain) in [
        *sorted(by_kind.items()),
        ("all", sum(by_kind.values(), np.zeros(5))),
    ]:
        times = (seen / usual) / ((n - seen) / (n - usual))
        shares = f"{seen / n:.2f} | {usual / n:.2f} | {times:.1f} | {gain / n:.2f}"
        print(f"| {kind} | {n_tags:.0f} | {n:.0f} | {shares} |")
    print("\n| log lift | uses | by chance | ratio |\n|---|---|---|---|")
    for low, high, seen, usual in zip(EDGES, EDGES[1:], *by_lift, strict=False):
        ratio = f"{seen / usual:.2f}" if usual else "-"
        print(f"| {low:.1f} to {high:.1f} | {seen:.0f} | {usual:.0f} | {ratio} |")


if __name__ == "__main__":
    main()
