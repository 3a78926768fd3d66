"""Count on which weekdays and in which weeks of the year people use tags; nobody is named.

    python tools/calendar_statistics.py institutions.jsonl.gz city-photos.jsonl.gz

Writes `src/pixtag/data/calendar.safetensors`. Counted are distinct (person, UTC day) uses, against
those expected if each person used the tag on any of the days of that year on which they post. A
tag is kept when at least three people use it, `calendar.toml` lacks it, and the lifts of all other
years make a year's uses likelier (leave one year out): in the mean, and in two years of three.
"""

from __future__ import annotations

import argparse
import gzip
import json
from datetime import date
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from pixtag.signals.calendar import STEPS_PER_LOG, calendar
from pixtag.tags import tidy_tags
from pixtag.types import Doubles, Ints

OUT = Path(__file__).parent.parent / "src" / "pixtag" / "data" / "calendar.safetensors"
LEAST_PEOPLE, LEAST_USES, LEAST_YEAR_USES, LEAST_YEARS, LEAST_GOOD = 3, 20, 4, 2, 2 / 3
LEAST_GAIN = {"weeks": 0.1, "weekdays": 0.1}
"""Log units by which other years' lifts must raise the chance of a use, in the mean."""
SMOOTH = {"weeks": 0.5, "weekdays": 2.0}
"""Uses by which each bin's lift is shrunk towards none."""
KERNEL = np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 9.0
LEFT_OUT = {"tea", "band", "leimariadapenha", "leipaulogustavo", "patrulhamariadapenha"}
"""Words that mean something else in another language, and laws that are named after people."""
N_BINS = {"weeks": 53, "weekdays": 7}
MOST_LIFT = 4.0


def read(paths: list[Path]) -> tuple[list[str], Ints]:
    """Tags of three people, and distinct (tag, person, day) uses `[E, 3]`; tag -1 is any post."""
    uses: set[tuple[str, tuple[int, str], int]] = set()
    for number, path in enumerate(paths):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                post = json.loads(line)
                day = date.fromisoformat(post["posted_at"][:10]).toordinal()
                person = number, post["user_id"]
                uses |= {(tag, person, day) for tag in ("", *tidy_tags(post["tags"]))}
    people = {person: i for i, person in enumerate(sorted({use[1] for use in uses}))}
    by_tag: dict[str, set[int]] = {}
    for tag, person, _ in uses:
        by_tag.setdefault(tag, set()).add(people[person])
    occasions = [*calendar().yearly, *calendar().weekly]
    covered = {tag for one in occasions for tag in one.tags.split()}
    wide = {tag for tag, who in by_tag.items() if tag and len(who) >= LEAST_PEOPLE}
    names = sorted(wide - covered - LEFT_OUT)
    index = {"": -1, **{name: i for i, name in enumerate(names)}}
    return names, np.array(sorted((index[t], people[p], d) for t, p, d in uses if t in index))


def lifts(seen: Doubles, expected: Doubles, kind: str) -> Doubles:
    """Log ratios of uses seen to those expected by bin, shrunk; those of weeks also smoothed."""
    if kind == "weeks":
        around = [np.concatenate([a[-2:], a, a[:2]]) for a in (seen, expected)]
        seen, expected = (np.convolve(a, KERNEL, "valid") for a in around)
    return np.log((seen + SMOOTH[kind]) / (expected + SMOOTH[kind]))


def gains(seen: Doubles, expected: Doubles, kind: str) -> Doubles:
    """What the other years' lifts gain of each year with enough uses, log units a use, `[Y]`.

    Args:
        seen: Uses by year and bin, `[Y, N]`.
        expected: Those expected, `[Y, N]`.
        kind: What the bins are.
    """
    found: list[float] = []
    for year in np.flatnonzero(seen.sum(axis=1) >= LEAST_YEAR_USES):
        other = np.arange(len(seen)) != year
        lift = lifts(seen[other].sum(axis=0), expected[other].sum(axis=0), kind)
        usual = expected[year] / expected[year].sum()
        total = np.log((usual * np.exp(lift)).sum())
        found.append(float(seen[year] @ (lift - total) / seen[year].sum()))
    return np.array(found)


def count(names: list[str], uses: Ints, kind: str) -> dict[str, Doubles]:
    """Lifts of the tags with a pattern that holds from year to year."""
    first, n_bins = uses[:, 2].min(), N_BINS[kind]
    every = [date.fromordinal(day) for day in range(first, uses[:, 2].max() + 1)]
    year = np.array([day.year for day in every])[uses[:, 2] - first]
    in_year = [(day.timetuple().tm_yday - 1) // 7 for day in every]
    of_day = np.array(in_year if kind == "weeks" else [day.weekday() for day in every])
    cell = (year - year.min()) * n_bins + of_day[uses[:, 2] - first]
    shape = (int(year.max() - year.min()) + 1, n_bins)
    n_people = int(uses[:, 1].max()) + 1
    is_post = uses[:, 0] < 0
    posted = np.bincount(
        uses[is_post, 1] * shape[0] * n_bins + cell[is_post], minlength=n_people * shape[0] * n_bins
    ).reshape(n_people, *shape)
    habit = posted / np.maximum(posted.sum(axis=2, keepdims=True), 1)
    starts = np.searchsorted(uses[:, 0], np.arange(len(names) + 1))
    found: dict[str, Doubles] = {}
    for i, name in enumerate(names):
        rows = slice(starts[i], starts[i + 1])
        if starts[i + 1] - starts[i] < LEAST_USES:
            continue
        seen = np.bincount(cell[rows], minlength=shape[0] * n_bins).reshape(shape).astype(float)
        by_person = np.zeros((n_people, shape[0]))
        np.add.at(by_person, (uses[rows, 1], cell[rows] // n_bins), 1.0)
        who = np.flatnonzero(by_person.any(axis=1))
        expected = np.einsum("py,pyn->yn", by_person[who], habit[who])
        gained = gains(seen, expected, kind)
        is_steady = len(gained) >= LEAST_YEARS and (gained > 0).mean() >= LEAST_GOOD
        if is_steady and gained.mean() >= LEAST_GAIN[kind]:
            found[name] = lifts(seen.sum(axis=0), expected.sum(axis=0), kind)
    return found


def main() -> None:
    """Count and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("logs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=OUT)
    wanted = parser.parse_args()
    names, uses = read(wanted.logs)
    by_kind = {kind: count(names, uses, kind) for kind in N_BINS}
    kept = sorted(set().union(*by_kind.values()))
    arrays = {"names": np.frombuffer("\n".join(kept).encode(), np.uint8)}
    for kind, found in by_kind.items():
        none = np.zeros(N_BINS[kind])
        rows = np.array([found.get(name, none) for name in kept]).reshape(-1, N_BINS[kind])
        steps = np.rint(np.clip(rows, -MOST_LIFT, MOST_LIFT) * STEPS_PER_LOG)
        arrays[kind] = steps.astype(np.int8)
    save_file(arrays, wanted.out)
    numbers = ", ".join(f"{len(found)} by {kind}" for kind, found in by_kind.items())
    print(f"{len(kept)} of {len(names)} tags have a pattern ({numbers}): {wanted.out}")


if __name__ == "__main__":
    main()
