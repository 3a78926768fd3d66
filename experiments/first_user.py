"""A bundle trained as the shipped one is, without the people of `--protocol first-user`.

    python -m experiments.first_user --store world.sqlite --out out/first-user
    pixtag evaluate --protocol first-user --store world.sqlite --model out/first-user

The store holds world's posts, embedded. `pixtag evaluate` alone trains one too, but without the
tags of the encoder's classes that the shipped bundle knows.
"""

from __future__ import annotations

from pathlib import Path

from experiments.harness import Task, arguments, run
from tools.shipped_bundle import CONFIG, class_tags, simulated_tags

from pixtag.cli import output
from pixtag.encoder import load_encoder
from pixtag.evaluate.temporal import without_first_users
from pixtag.train.fit import fit
from pixtag.train.plan import Auxiliary


def main() -> None:
    """Train it."""
    given = arguments(__doc__, "out/first-user").parse_args()
    task = Task.of(given.store, "test", Path(given.out))
    known = without_first_users(task.log, task.split)
    with output.progress("training", unit="steps") as bar:
        fit(
            known, out=given.out, config=CONFIG, use_all=True,
            encoder_digest=load_encoder().digest,
            auxiliary=Auxiliary(unlearned=simulated_tags(), bridge_tags=class_tags()),
            title="a simulation of people on real photos, without some",
            on_stage=lambda stage, done, total: bar.update(done, total, stage),
        )  # fmt: skip
    output.say(f"wrote {given.out}")


if __name__ == "__main__":
    run(main)
