"""What experiments share: a task with its log and cut, trainings that are taken up again, output.

Run them from the top of the repository as modules: `python -m experiments.seed_spread --help`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import pixtag
from pixtag.bundle import Bundle, load_bundle
from pixtag.cli import output
from pixtag.cli.main import section
from pixtag.encoder import load_encoder
from pixtag.errors import PixtagError
from pixtag.evaluate import Comparison, Figures, compare, log_look, model_of
from pixtag.evaluate.past import Ranker
from pixtag.evaluate.report import tables_of, text
from pixtag.splits import Period, Split, temporal_split
from pixtag.store import Store
from pixtag.train.config import TrainConfig
from pixtag.train.fit import fit
from pixtag.train.network import Examples
from pixtag.types import PostLog, Sources

ROOT = Path(__file__).parent.parent
HEADLINE = ("p@1", "p@5", "r@5")


@dataclass(frozen=True)
class Task:
    """What is trained and measured: a log, its cut, the period, and where bundles are kept."""

    store: Path
    log: PostLog
    split: Split
    period: Period
    out: Path

    @classmethod
    def of(cls, store: Path, period: Period, out: Path) -> Task:
        """The posts of a store, cut as `pixtag evaluate` cuts them."""
        with Store.open(store, read_only=True) as opened:
            log = opened.log(load_encoder().digest)
        return cls(store, log, temporal_split(log), period, out)

    def trained(
        self, config: TrainConfig, sources: Sources,
        on_examples: Callable[[Examples, Examples], None] | None = None,
    ) -> Bundle:  # fmt: skip
        """Train with some sources alone, or take up the same training's bundle.

        It is the same while posts, settings and Pixtag's code are the same. Who wants the
        network's examples (`on_examples`) gets a training of their own.
        """
        start, _ = self.split.bounds(self.period)
        is_test = self.period == "test"
        known = self.log if is_test else self.log.select(np.arange(start))
        settings = config.model_dump(mode="json") | {"sources": sources.name, "test": is_test}
        key = hashlib.sha256(json.dumps(settings).encode() + _digest_of(known, start)).hexdigest()
        out = self.out / key[:16]
        if out.exists() and on_examples is None:
            return load_bundle(out)
        title = f"{sources.name}, seed {config.seed}"
        with output.progress(f"training: {title}", unit="steps") as bar:
            return fit(
                known, out=out, config=config, use_all=not is_test, title=title, sources=sources,
                encoder_digest=load_encoder().digest, on_examples=on_examples,
                on_stage=lambda stage, done, total: bar.update(done, total, stage),
            )  # fmt: skip

    def measured(self, rankers: Mapping[str, Ranker]) -> Comparison:
        """Measure on the period, as `pixtag evaluate` does, and log the look."""
        with output.progress("measuring", unit="methods") as bar:
            compared = compare(
                self.log, *self.split.bounds(self.period), rankers, on_progress=bar.update
            )
        look(self.store, self.period, compared)
        return compared


def look(store: Path, period: Period, compared: Comparison, bundle: str | None = None) -> None:
    """Log that a period was looked at."""
    first = next(iter(compared.methods.values())).values
    log_look(
        store, command=" ".join(["python", *sys.argv]), period=period, bundle_digest=bundle,
        headline={name: float(first[name].mean()) for name in HEADLINE},
    )  # fmt: skip


def _digest_of(log: PostLog, stop: int) -> bytes:
    """Of the posts before the period, and of the code that learns from them."""
    digest = hashlib.sha256(json.dumps([log.post_ids[:stop], log.tags]).encode())
    for values in (log.at, log.user_of_post, log.embeddings):
        digest.update(np.ascontiguousarray(values[:stop]).tobytes())
    digest.update(log.tag_ids[: log.tag_start[stop]].tobytes())
    for path in sorted(Path(pixtag.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


def ranker_of(bundle: Bundle, sources: Sources | None = None) -> Ranker:
    """Rank with some sources alone; with all by default."""
    model, heard = model_of(bundle), sources or Sources()
    return lambda log, start, stop, k: model(log, start, stop, k, heard)


def arguments(description: str | None, out: str = "") -> argparse.ArgumentParser:
    """The flags that experiments have; those of a training where `out` names its folder."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    if out:
        parser.add_argument("--period", choices=["test", "validation"], default="test")
        parser.add_argument("--size", choices=["tiny", "small", "base"])
        parser.add_argument("--out", type=Path, default=Path(out))
    return parser


def settings_of(size: str | None, seed: int) -> TrainConfig:
    """The settings of training that a person has, with size and seed on top."""
    return section(TrainConfig, "train", {"size": size, "seed": seed})


def finish(figures: Figures, path: Path) -> None:
    """Print a table of figures and write it."""
    for table in tables_of(figures, is_brief=True):
        sides = {head: "right" if i else "left" for i, head in enumerate(table.heads)}
        rows = [[text(cell) for cell in line] for line in table.lines]
        output.print_table(sides, rows, title=table.title)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(output.to_json(figures.as_dict(), indent=2) + "\n", encoding="utf-8")
    output.say(f"wrote {path}")


def run(main: Callable[[], None]) -> None:
    """Run an experiment; errors that are meant for people end it in two lines."""
    try:
        main()
    except PixtagError as error:
        output.say(f"error: {error.message}\nhint: {error.hint}")
        sys.exit(1)
