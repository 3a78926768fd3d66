"""The first user: one person, a bundle that never met them, and no store but their own posts.

    python recipes/first_user.py --store world.sqlite                      # trains a bundle first
    python recipes/first_user.py --store world.sqlite --bundle my-bundle   # made without the 50

50 people, drawn by a seed, are taken out; a bundle is trained as the shipped one is, on the
others' posts of the train period (kept in OUT and taken up again after an interruption). Then
each of the 50 becomes a store of their own and is replayed post by post from the first on. Beside
Pixtag stand the person's own baselines, filled up with the tags that are popular in the bundle's
prior. Posts of the test period are left out unless --test is given.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pixtag.baselines import Ranker, base_level, most_recent, most_used
from pixtag.bundle import Bundle, load_bundle
from pixtag.cli import output
from pixtag.encoder import load_encoder
from pixtag.errors import LeakError
from pixtag.metrics import Bootstrap, find_hits, per_post
from pixtag.predictor import Predictor
from pixtag.splits import Split, temporal_split
from pixtag.store import Store
from pixtag.types import Doubles, Ints, PostLog, Rankings, Sources

ROOT = Path(__file__).parent.parent
N_PEOPLE, LEAST_POSTS, SEED = 50, 5, 20_260_106
RANKS, LAST = 10, 50
SHOWN = ("p@1", "p@5", "r@5", "r@10")
BASELINES: dict[str, Ranker] = {
    "most used": most_used,
    "most recent": most_recent,
    **{f"base level, d = {d}": base_level(d) for d in (0.5, 1.0, 1.7)},
}
STEPS = ((1, 1), (2, 2), (3, 3), (4, 5), (6, 10), (11, 20), (21, 50))
"""Posts of a person that share a line of the table, first and last."""

Values = dict[str, Doubles]


def people_of(log: PostLog) -> Ints:
    """The people who are taken out: drawn among those with a few posts."""
    n_posts = np.bincount(log.user_of_post, minlength=len(log.users) + 1)[: len(log.users)]
    able = np.flatnonzero(n_posts >= LEAST_POSTS)
    rng = np.random.default_rng(SEED)
    return np.sort(rng.choice(able, min(N_PEOPLE, len(able)), replace=False))


def train(log: PostLog, split: Split, people: Ints, out: Path) -> Bundle:
    """Train as the shipped bundle is trained, on the others' posts of the train period."""
    from shipped_bundle import CONFIG, class_tags, simulated_tags

    from pixtag.train.fit import fit

    is_other = ~np.isin(log.user_of_post, people)
    others = log.select(is_other & (np.arange(len(log)) < split.train_stop))
    with output.progress("training", unit="steps") as bar:
        return fit(
            others,
            out=out,
            config=CONFIG,
            use_all=True,
            encoder_digest=load_encoder().digest,
            unlearned=simulated_tags(),
            bridge_tags=class_tags(),
            title="a simulation of people on real photos, without 50 of them",
            on_stage=lambda stage, done, total: bar.update(done, total, stage),
        )


def check(bundle: Bundle, log: PostLog, split: Split, people: Ints) -> None:
    """Refuse a bundle that met one of the people, or that saw what came after the cut."""
    mine = np.flatnonzero(np.isin(log.user_of_post, people)).tolist()
    late = range(split.train_stop, len(log))
    for rows, what in ((mine, "of the people taken out"), (late, "after the train period")):
        n_seen = int(bundle.has_seen([log.post_ids[row] for row in rows]).sum())
        if n_seen:
            raise LeakError(
                f"the bundle learned from {n_seen} posts {what}",
                hint="leave --bundle out: this recipe trains one without them",
            )


def filled_up(ranked: Rankings, popular: list[str]) -> Rankings:
    """The same lists with popular tags after the person's own."""
    tags = list(dict.fromkeys([*ranked.tags, *popular]))
    index = {tag: i for i, tag in enumerate(tags)}
    ids = np.full((len(ranked.rows), RANKS), len(tags), np.int64)
    for row, own in enumerate(ranked.tag_ids.tolist()):
        kept = [t for t in own if t < len(ranked.tags)]
        more = [index[t] for t in popular[: 2 * RANKS] if index[t] not in set(kept)]
        chosen = [*kept, *more][:RANKS]
        ids[row, : len(chosen)] = chosen
    return Rankings(ranked.rows, ids, np.zeros(ids.shape, np.float32), tags)


def replayed(log: PostLog, bundle: Bundle, popular: list[str]) -> dict[str, Values]:
    """Every method over one person's posts, each post with what lies before it."""
    predictor, n = Predictor(bundle), len(log)
    asked: dict[str, Callable[[], Rankings]] = {
        "pixtag": lambda: predictor.rank(log, 0, n, k=RANKS),
        "pixtag, no trend": lambda: predictor.rank(
            log, 0, n, k=RANKS, sources=Sources(trend=False)
        ),
        **{
            name: lambda ranker=ranker: filled_up(ranker(log, 0, n, RANKS), popular)
            for name, ranker in BASELINES.items()
        },
    }
    return {name: per_post(*find_hits(log, rank())) for name, rank in asked.items()}


def popular_tags(bundle: Bundle) -> list[str]:
    """The prior's tags, most used first."""
    prior = bundle.prior
    uses = np.bincount(prior.tag_ids, minlength=len(prior.tags))
    return [prior.tags[t] for t in np.argsort(-uses, kind="stable").tolist()]


def best_of_each(found: dict[str, Doubles], person: Ints) -> Doubles:
    """The values of the baseline that was best for each person, chosen afterwards."""
    out = np.zeros(len(person))
    for one in np.unique(person):
        mine = person == one
        out[mine] = max((found[name][mine] for name in BASELINES), key=lambda v: float(v.mean()))
    return out


def summary(found: dict[str, Values], person: Ints, number: Ints) -> dict[str, object]:
    """Means, paired differences and the curve, with 95 % intervals over people."""
    bootstrap = Bootstrap(person)

    def over(values: Doubles) -> dict[str, float]:
        return bootstrap.over_posts(values).as_dict()

    best = max(BASELINES, key=lambda name: float(found[name]["p@5"].mean()))
    each = {m: best_of_each({n: found[n][m] for n in BASELINES}, person) for m in SHOWN}
    mine = found["pixtag"]
    curve = [
        {
            "post": n,
            "n_people": int((number == n).sum()),
            "p@5": {
                name: float(values["p@5"][number == n].mean()) for name, values in found.items()
            },
        }
        for n in np.unique(number).tolist()
    ]
    steps: list[dict[str, object]] = []
    for first, last in STEPS:
        chosen = (number >= first) & (number <= last)
        if chosen.any():
            part = Bootstrap(person[chosen])
            gain = mine["p@5"][chosen] - found[best]["p@5"][chosen]
            steps.append(
                {
                    "posts": f"{first} to {last}" if first < last else f"{first}",
                    "n": int(chosen.sum()),
                    "pixtag": float(mine["p@5"][chosen].mean()),
                    "baseline": float(found[best]["p@5"][chosen].mean()),
                    "minus": part.over_posts(gain).as_dict(),
                }
            )
    return {
        "n_people": len(np.unique(person)),
        "n_posts": len(person),
        "best_baseline": best,
        "methods": {n: {m: over(v[m]) for m in SHOWN} for n, v in found.items()},
        "minus_best_overall": {m: over(mine[m] - found[best][m]) for m in SHOWN},
        "minus_best_of_each_person": {m: over(mine[m] - each[m]) for m in SHOWN},
        "trend_adds": {m: over(mine[m] - found["pixtag, no trend"][m]) for m in SHOWN},
        "steps": steps,
        "curve": curve,
    }


def show(figures: dict, title: str) -> None:
    """Print the figures as tables."""

    def interval(f: dict[str, float]) -> str:
        return f"{f['mean']:.3f} [{f['low']:.3f}, {f['high']:.3f}]"

    rows = [[name, *(interval(v[m]) for m in SHOWN)] for name, v in figures["methods"].items()]
    for key, name in (
        ("minus_best_overall", f"pixtag minus {figures['best_baseline']}"),
        ("minus_best_of_each_person", "pixtag minus each person's best"),
        ("trend_adds", "trend adds"),
    ):
        rows.append([name, *(interval(figures[key][m]) for m in SHOWN)])
    output.print_table(
        {"method": "left", **dict.fromkeys(SHOWN, "right")},
        rows,
        title=f"{title}: {figures['n_posts']:,} posts of {figures['n_people']} people",
    )
    output.print_table(
        {"post": "left", "n": "right", "pixtag": "right", "baseline": "right", "minus": "right"},
        [
            [s["posts"], f"{s['n']:,}", f"{s['pixtag']:.3f}", f"{s['baseline']:.3f}",
             interval(s["minus"])]
            for s in figures["steps"]
        ],
        title="P@5 from the first post on",
    )  # fmt: skip


def draw(figures: dict, path: Path) -> None:
    """Plot the curve, five posts smoothed, where matplotlib is installed."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return
    axes = (figure := Figure((6, 3.5))).subplots()
    posts = [point["post"] for point in figures["curve"]]
    for name in ("pixtag", figures["best_baseline"]):
        values = np.array([point["p@5"][name] for point in figures["curve"]])
        n = np.array([point["n_people"] for point in figures["curve"]])
        window = np.ones(5)
        smooth = np.convolve(values * n, window, "same") / np.convolve(n, window, "same")
        axes.plot(posts, smooth, label=name)
    axes.set(xlabel="post of a person", ylabel="P@5", ylim=(0, None))
    axes.legend(frameon=False)
    figure.savefig(path, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True, help="world's posts, embedded")
    parser.add_argument("--bundle", type=Path, help="made without the 50 people")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "first-user")
    parser.add_argument("--test", action="store_true", help="replay the test period too: a look")
    given = parser.parse_args()
    with Store.open(given.store, read_only=True) as opened:
        log = opened.log(load_encoder().digest)
    log = log.select(np.array([not p.startswith("photo-") for p in log.post_ids]))
    split = temporal_split(log)
    people = people_of(log)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    path = given.bundle or given.out
    has_one = path.exists()
    bundle = load_bundle(path) if has_one or given.bundle else train(log, split, people, path)
    check(bundle, log, split, people)
    popular = popular_tags(bundle)
    stop = split.test_stop if given.test else split.valid_stop
    parts: dict[str, list[Values]] = {}
    person, number, row_of = list[Ints](), list[Ints](), list[Ints]()
    with output.progress("replaying", unit="people") as bar:
        for done, one in enumerate(people.tolist()):
            rows = np.flatnonzero((log.user_of_post == one) & (np.diff(log.tag_start) > 0))
            rows = rows[rows < stop]
            if len(rows):
                for name, values in replayed(log.select(rows), bundle, popular).items():
                    parts.setdefault(name, []).append(values)
                person.append(np.full(len(rows), one))
                number.append(np.arange(1, len(rows) + 1))
                row_of.append(rows)
            bar.update(done + 1, len(people))
    found = {
        name: {m: np.concatenate([part[m] for part in values]) for m in SHOWN}
        for name, values in parts.items()
    }
    who, which, row = np.concatenate(person), np.concatenate(number), np.concatenate(row_of)
    figures: dict[str, object] = {"bundle": bundle.manifest.digest, "test_period": given.test}
    later = row >= split.train_stop
    for key, title, kept in (
        ("all", "From the first post on", which <= LAST),
        (
            "later",
            "Of these, after everything that the bundle learned from",
            later & (which <= LAST),
        ),
    ):
        chosen = {n: {m: v[m][kept] for m in SHOWN} for n, v in found.items()}
        figures[key] = summary(chosen, who[kept], which[kept])
        show(figures[key], title)
    target = given.out.with_name(given.out.name + ".json")
    target.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    draw(figures["all"], given.out.with_name(given.out.name + ".svg"))
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
