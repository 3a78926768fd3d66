"""Verbs about models: train, tags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from pixtag.cli import output
from pixtag.cli.engines import EngineName, opened_engine
from pixtag.errors import ConfigError, InputError

Size = Literal["tiny", "small", "base"]
Model = Annotated[Path | None, Parameter(name="--model")]
_SHOWN = 40


def train(
    *,
    store: str | None = None,
    out: Path,
    size: Size | None = None,
    tags: Path | None = None,
    all: bool = False,
    seed: int | None = None,
    encoder: Path | None = None,
    engine: EngineName = "local",
    address: str | None = None,
    json: bool = False,
) -> None:
    """Train a model on the posts of a store.

    Fits on the first 70 % of the posts in time order and calibrates on the next 10 %; the rest is
    never read, so that `pixtag evaluate` can measure on it. An interrupted run goes on where it
    was when the same command is given again. Training curves lie beside the model.

    Args:
        store: The store; yours by default.
        out: File of the model; an older model there is replaced.
        size: Size dial; every width follows from it.
        tags: A file with one tag a line: a fixed label set, nothing else is learned or offered.
        all: Fit on the first 90 % and calibrate on the last 10: for use, not for measuring.
        seed: Same seed, same posts, same machine: same model.
        encoder: An ONNX file to look at photos with, input [B, 3, P, P] and output `embedding`
            [B, D]; it goes into the model. The store keeps its embeddings beside the others.
        engine: What replays posts; heads and network are fitted by each that runs the command.
            `local`: the processors of this machine. `postgres`: shared with everybody who runs the
            same command on the same posts. `ray`: tasks of a Ray cluster. All give the same model.
        address: Of the Ray cluster, or of the store with the leases, as for `embed`.
        json: Print the model's manifest as JSON.

    Examples:
        pixtag train --out my-model
        pixtag train --store my.sqlite --out my-model --size tiny --tags labels.txt
        pixtag train --store my.sqlite --out my-model --all
    """
    from pixtag.cli.main import section, your_store
    from pixtag.encoder import load_encoder
    from pixtag.engine import runtime
    from pixtag.outputs import check_outputs
    from pixtag.photos import embed_missing
    from pixtag.places import store_file
    from pixtag.store import Store
    from pixtag.train.config import TrainConfig

    fit = _import_fit()
    store = your_store(store)
    curves = (Path(f"{out}.curves.jsonl"), Path(f"{out}.curves.png"))
    check_outputs(curves, [store_file(store), tags], folder=out)
    config = section(TrainConfig, "train", {"size": size, "seed": seed})
    labels = None if tags is None else read_labels(tags)
    eyes = load_encoder(encoder)
    if encoder is not None:
        bar = output.progress("looking at photos", unit="photos")
        with Store.open(store) as opened, bar:
            embed_missing(opened, eyes, on_progress=bar.update)
    with Store.open(store, read_only=True) as opened:
        log, title = opened.log(eyes.digest), opened.path.name
    with (
        opened_engine(engine, address, store=store, job=f"train, {runtime()}") as runs,
        output.progress("training", unit="steps") as bar,
    ):
        bundle = fit(
            log, out=out, config=config, labels=labels, use_all=all, encoder=eyes,
            encoder_digest=eyes.digest, title=title, engine=runs,
            on_stage=lambda stage, done, total: bar.update(done, total, stage),
        )  # fmt: skip
    manifest, n_seen = bundle.manifest, bundle.manifest.trained.n_posts
    people = [log.users[u] for u in sorted(set(log.user_of_post[:n_seen])) if u < len(log.users)]
    with Store.open(store) as opened:
        opened.record_bundle(out, manifest.digest, manifest.trained.until_at, people)
    if json:
        output.print_json(manifest)
    made = f"{len(bundle.vocabulary):,} tags, trained on {n_seen:,} posts"
    output.say(f"wrote {out}: {made}; curves in {' and '.join(map(str, curves))}")


def tags(*, store: str | None = None, bundle: Model = None, json: bool = False) -> None:
    """List the tags of a model or of a store, with uses, people and how common they are.

    The head holds the most used tags that make up half of all uses, the torso the next 40 %, the
    tail the rest. Without --store and --model it lists the shipped model's.

    Args:
        store: List what this store's people used.
        bundle: List what this model knows.
        json: Print JSON Lines with every tag.

    Examples:
        pixtag tags
        pixtag tags --store my.sqlite
        pixtag tags --model my-model --json
    """
    import numpy as np

    from pixtag.splits import BANDS, tag_bands

    if store is not None and bundle is None:
        from pixtag.store import Store

        with Store.open(store, read_only=True) as opened:
            log = opened.log()
        names, people = log.tags, log.people_of_tags()
    else:
        from pixtag.bundle import load_bundle

        loaded = load_bundle(bundle)
        log, names = loaded.prior, loaded.vocabulary
        people = loaded.extras["prior_people"].astype(np.int64)
    of_log = dict(zip(log.tags, np.bincount(log.tag_ids, minlength=len(log.tags)), strict=True))
    uses = np.array([of_log.get(name, 0) for name in names], np.int64)
    bands = [BANDS[b] for b in tag_bands(uses)]
    found = zip(names, uses.tolist(), people.tolist(), bands, strict=True)
    rows: list[tuple[str, int, int, str]] = sorted(found, key=lambda row: (-row[1], row[0]))
    if json:
        for row in rows:
            output.print_json_line(dict(zip(("tag", "uses", "people", "part"), row, strict=True)))
        return
    output.print_table(
        {"tag": "left", "uses": "right", "people": "right", "part": "left"},
        [(f"#{tag}", f"{n:,}", f"{p:,}", band) for tag, n, p, band in rows[:_SHOWN]],
    )
    if len(rows) > _SHOWN:
        output.say(f"{len(rows) - _SHOWN:,} more tags: --json lists all")


def _import_fit():  # noqa: ANN202 - a function of the extra
    try:
        from pixtag.train.fit import fit
    except ImportError as error:
        what = f"training needs the extra packages that {error.name} belongs to"
        raise ConfigError(what, hint="pip install 'pixtag[train]'") from error
    return fit


def read_labels(path: Path) -> list[str]:
    """Read tags, one a line; `InputError` for a file that holds none."""
    from pixtag.tags import tidy_tags

    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8", hint="save it as UTF-8") from error
    if labels := tidy_tags(lines):
        return list(labels)
    raise InputError(f"{path} holds no tag", hint="write one tag a line")
