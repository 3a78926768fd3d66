"""How much the figures move from seed to seed: the same training, over and over.

    python recipes/seed_spread.py --store world.sqlite --seeds 5 --out out/seeds
    python recipes/seed_spread.py --store world.sqlite --period validation

Each seed trains a bundle on what `pixtag evaluate` would train on and is measured on the same
posts in the same way. Finished bundles are kept under --out and taken up again as long as posts,
settings and Pixtag's code are the same, so an interrupted run goes on. Every look is logged.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import pixtag
from pixtag.baselines import Ranker
from pixtag.bundle import Bundle, load_bundle
from pixtag.cli import output
from pixtag.cli.settings import section
from pixtag.encoder import load_encoder
from pixtag.errors import PixtagError
from pixtag.evaluate import HEADLINE, Comparison, compare, log_look
from pixtag.predict import Predictor
from pixtag.splits import Period, Split, temporal_split
from pixtag.store import Store
from pixtag.train.config import TrainConfig
from pixtag.train.fit import fit
from pixtag.types import PostLog, Sources

METRICS = ("p@1", "p@5", "r@5", "r@10", "ndcg@5", "mrr")


@dataclass(frozen=True)
class Task:
    """What is trained and measured: a log, its cut, the period, and where bundles are kept."""

    store: Path
    log: PostLog
    split: Split
    period: Period
    out: Path

    @classmethod
    def of(cls, given: argparse.Namespace) -> Task:
        """From a command line with --store, --period and --out."""
        with Store.open(given.store, read_only=True) as opened:
            log = opened.log(load_encoder().digest)
        return cls(given.store, log, temporal_split(log), given.period, given.out)

    def trained(self, config: TrainConfig, sources: Sources) -> Bundle:
        """Train with some sources alone, or take up the same training's bundle."""
        start, _ = self.split.bounds(self.period)
        is_test = self.period == "test"
        known = self.log if is_test else self.log.select(np.arange(start))
        settings = config.model_dump(mode="json") | {"sources": sources.name, "test": is_test}
        key = hashlib.sha256(json.dumps(settings).encode() + _digest_of(known, start)).hexdigest()
        out = self.out / key[:16]
        if out.exists():
            return load_bundle(out)
        title = f"{sources.name}, seed {config.seed}"
        with output.progress(f"training: {title}", unit="steps") as bar:
            return fit(
                known,
                out=out,
                config=config,
                use_all=not is_test,
                encoder_digest=load_encoder().digest,
                title=title,
                sources=sources,
                on_stage=lambda stage, done, total: bar.update(done, total, stage),
            )

    def measured(self, rankers: Mapping[str, Ranker]) -> Comparison:
        """Measure on the period, as `pixtag evaluate` does, and log the look."""
        compared = compare(self.log, *self.split.bounds(self.period), rankers)
        first = next(iter(compared.methods.values())).values
        log_look(
            self.store,
            command=" ".join(["python", *sys.argv]),
            period=self.period,
            bundle_digest=None,
            headline={name: float(first[name].mean()) for name in HEADLINE},
        )
        return compared


def _digest_of(log: PostLog, stop: int) -> bytes:
    """Of the posts before the period, and of the code that learns from them."""
    digest = hashlib.sha256(json.dumps([log.post_ids[:stop], log.tags]).encode())
    for values in (log.at, log.user_of_post, log.embeddings):
        digest.update(np.ascontiguousarray(values[:stop]).tobytes())
    digest.update(log.tag_ids[: log.tag_start[stop]].tobytes())
    for path in sorted(Path(pixtag.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


def ranker_of(bundle: Bundle, sources: Sources) -> Ranker:
    """Rank with some sources alone."""
    predictor = Predictor(bundle)
    return lambda log, start, stop, k: predictor.rank(log, start, stop, k=k, sources=sources)


def arguments(description: str, out: str) -> argparse.ArgumentParser:
    """The flags that both recipes have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--period", choices=["test", "validation"], default="test")
    parser.add_argument("--size", choices=["tiny", "small", "base"])
    parser.add_argument("--out", type=Path, default=Path(out))
    return parser


def settings_of(size: str | None, seed: int) -> TrainConfig:
    """The settings of training that a person has, with size and seed on top."""
    return section(TrainConfig, "train", {"size": size, "seed": seed})


def spread(values: list[float]) -> dict[str, float | list[float]]:
    """Mean, standard deviation (of a sample), smallest, largest, and each."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return {
        "mean": float(np.mean(values)),
        "sd": deviation,
        "min": min(values),
        "max": max(values),
        "values": values,
    }


def main() -> None:
    parser = arguments("Train with several seeds and measure each.", "out/seeds")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    task = Task.of(given)
    rankers: dict[str, Ranker] = {}
    for seed in range(given.seeds):
        bundle = task.trained(settings_of(given.size, seed), Sources())
        rankers[f"seed {seed}"] = ranker_of(bundle, Sources())
    methods = task.measured(rankers).methods.values()
    found = {m: spread([float(s.values[m].mean()) for s in methods]) for m in METRICS}
    path = given.out / f"spread-{given.period}.json"
    path.write_text(output.to_json({"period": given.period, "metrics": found}, indent=2) + "\n")
    print(f"{given.seeds} seeds, {given.period} period, {len(task.log):,} posts in the log")
    print(f"{'':8}{'mean':>8}{'sd':>8}{'min':>8}{'max':>8}")
    for metric, one in found.items():
        print(f"{metric:8}" + "".join(f"{one[k]:8.4f}" for k in ("mean", "sd", "min", "max")))
    print(f"wrote {path}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except PixtagError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        sys.exit(1)
