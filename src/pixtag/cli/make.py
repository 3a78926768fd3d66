"""Verbs that make what suggests: embed, train, tags, encoder, finetune, config."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pixtag.cli import output
from pixtag.cli.main import TABLES, open_store, section, your_store
from pixtag.cli.parser import Model
from pixtag.cli.posts import look_at_photos
from pixtag.errors import ConfigError, InputError, extra_hint
from pixtag.outputs import check_outputs
from pixtag.places import default_files, is_server, printable, store_file

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pixtag.encoder import OnnxEncoder
    from pixtag.engine import Engine
    from pixtag.pytorch.networks import Network

EngineName = Literal["local", "postgres", "ray"]
Size = Literal["tiny", "small", "base"]
_SHOWN = 40


def embed(
    *,
    store: str | None = None,
    encoder: Path | None = None,
    engine: EngineName = "local",
    address: str | None = None,
    json: bool = False,
) -> None:
    """Look at those photos of a store that the encoder has not looked at yet.

    For posts that were imported with --no-embed, photos that came back, and another encoder. It
    may be interrupted and run again: what is done is kept.

    Photos are read by their paths where the work is done, so every machine needs them there.

    Args:
        store: The store; yours by default.
        encoder: The ONNX file to look at photos with; the one in the package by default.
        engine: `local`: the processors of this machine. `postgres`: shared with everybody who runs
            the same command on the same store in PostgreSQL, on as many machines as you like; what
            a killed one had begun is done by the others. `ray`: tasks of a Ray cluster.
        address: With `ray`: HOST:PORT of the cluster, or `auto` for the one on this machine; else
            one is started here. With `postgres`: the store that holds the leases, if not --store.
        json: Print what was done as one JSON object.

    Examples:
        pixtag embed
        pixtag embed --store my.sqlite --encoder encoder.onnx --json
        pixtag embed --store postgresql://pixtag@db.example.org/pixtag --engine postgres
        pixtag embed --store my.sqlite --engine ray --address head.example.org:6379
    """
    from pixtag.encoder import load_encoder

    store, eyes = your_store(store), load_encoder(encoder)
    with open_store(store) as opened:
        job = f"embed {opened.identity} {eyes.digest}"
        with opened_engine(engine, address, store=store, job=job) as runs:
            found = look_at_photos(opened, eyes, runs)
    shown = printable(store)
    if json:
        output.print_json({"store": shown, "encoder": eyes.digest, "embedding": found})
    if found.failed:
        faults = ", ".join(f"{n:,} {fault}" for fault, n in found.faults.items())
        output.say(f"{found.failed:,} could not be looked at ({faults}): `pixtag doctor {shown}`")
    output.say(f"{found.embedded:,} photos looked at for {shown}")


@contextmanager
def opened_engine(
    name: EngineName, address: str | None, *, store: str | None, job: str
) -> Generator[Engine]:
    """Open an engine; processes that give the same name of a job share their results.

    The address is that of the Ray cluster, or of the store in PostgreSQL that holds the leases: the
    command's own where no other is named.
    """
    from pixtag.engine import LOCAL

    if name == "local":
        if address is not None:
            hint = "add --engine postgres or --engine ray"
            raise InputError(f"--address {address} is of no use on this machine alone", hint=hint)
        yield LOCAL
    elif name == "ray":
        try:
            from pixtag.engine.ray import RayEngine
        except ModuleNotFoundError as error:
            what = f"--engine ray needs {error.name}, which is not installed"
            raise ConfigError(what, hint=extra_hint("ray")) from error
        with RayEngine(address) as engine:
            yield engine
    else:
        held = address or store
        if held is None or not is_server(held):
            hint = "name one, postgresql://USER@HOST/DATABASE, by --store or --address"
            raise InputError("--engine postgres needs a store in PostgreSQL", hint=hint)

        with open_store(held) as opened:
            from pixtag.engine.postgres import PostgresEngine

            with PostgresEngine(opened, job) as engine:
                yield engine


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
    from pixtag.encoder import load_encoder
    from pixtag.engine import runtime
    from pixtag.train.config import TrainConfig

    fit = _import_fit()
    store = your_store(store)
    curves = (Path(f"{out}.curves.jsonl"), Path(f"{out}.curves.png"))
    check_outputs(curves, [store_file(store), tags], folder=out)
    config = section(TrainConfig, "train", {"size": size, "seed": seed})
    labels = None if tags is None else read_labels(tags)
    eyes = load_encoder(encoder)
    if encoder is not None:
        with open_store(store) as opened:
            look_at_photos(opened, eyes)
    with open_store(store, read_only=True) as opened:
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
    with open_store(store) as opened:
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
        with open_store(store, read_only=True) as opened:
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
        raise ConfigError(what, hint=extra_hint("train")) from error
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


def encoder(
    name: str,
    *,
    out: Path,
    weights: Path | None = None,
    words: int | None = None,
    tags: Path | None = None,
    embed: bool = False,
    store: str | None = None,
) -> None:
    """Make an encoder's file of a network of timm or open_clip.

    The file is what --encoder takes everywhere; size, crop, scaling and normalisation of photos
    travel in it as the network's own config tells. Of open_clip it also brings vectors of words,
    by which a model that is trained with it compares photos with tags, also with new ones.

    Args:
        name: timm:NAME or clip:NAME:PRETRAINED. In the place of NAME local-dir:FOLDER reads a
            folder and hf-hub:REPOSITORY a repository.
        out: The file; one that is there is replaced.
        weights: A checkpoint of the network, instead of published weights.
        words: How many of the commonest words get a vector, with open_clip: by default all, 0 for
            none.
        tags: A file with one tag a line: they get a vector as a whole, with open_clip.
        embed: Look at the photos of the store with it right away, by PyTorch, on CUDA if there is
            one.
        store: That store; yours by default.

    Examples:
        pixtag encoder timm:vit_small_patch14_dinov2.lvd142m --out eyes.onnx
        pixtag encoder clip:ViT-B-32:laion2b_s34b_b79k --out eyes.onnx --embed
        pixtag encoder timm:resnet50 --weights checkpoint.safetensors --out eyes.onnx
    """
    from pixtag.pytorch.export import export, word_vectors
    from pixtag.pytorch.networks import load_network

    check_outputs([out], [weights, tags])
    further = [] if tags is None else read_labels(tags)
    network = load_network(name, weights=weights)
    for note in network.notes:
        output.say(f"note: {name} was {note}")
    arrays = None
    if words != 0 and (network.texts is not None or words or further):
        with output.progress("reading words", unit="words") as bar:
            arrays = word_vectors(network, tags=further, n_words=words, on_progress=bar.update)
    made = export(network, out, words=arrays)
    n_words = 0 if arrays is None else len(arrays["vectors"])
    _say_made(out, network, f", {n_words:,} words" if n_words else "")
    if embed:
        _embed(network, made, store)


def finetune(
    name: str = "shipped",
    *,
    out: Path,
    weights: Path | None = None,
    store: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    all: bool = False,
    embed: bool = False,
) -> None:
    """Make an encoder that learned on the photos of a store which tags people put on them.

    Learns from the first 70 % of the posts in time order, keeps the epoch that is best on the
    next 10 %, and reads nothing of the rest nor of the people whom `pixtag evaluate` holds out.
    On CUDA in mixed precision. Ctrl-C keeps what was learned in OUT.partial, and the same command
    goes on. More knobs are in the table [finetune] of the settings.

    Args:
        name: The network to begin with, as for `pixtag encoder`; by default the encoder that
            comes with the package.
        out: The encoder's file, to be given to --encoder; one that is there is replaced.
        weights: A checkpoint of the network, instead of published weights.
        store: The store; yours by default.
        epochs: Passes over the photos.
        seed: Same seed, same posts, same machine: same encoder.
        all: Learn from the first 90 % of everybody's posts: for use, not for measuring.
        embed: Look at the photos of the store with it right away, as for `pixtag encoder`.

    Examples:
        pixtag finetune --out mine.onnx
        pixtag finetune clip:ViT-B-32:laion2b_s34b_b79k --store my.sqlite --out mine.onnx --epochs 3
    """
    from pixtag.pytorch import FinetuneConfig
    from pixtag.pytorch.examples import read_examples
    from pixtag.pytorch.export import export
    from pixtag.pytorch.finetune import Finetuner
    from pixtag.pytorch.networks import load_network

    store = your_store(store)
    partial = out.with_name(out.name + ".partial")
    check_outputs([out, partial], [weights, store_file(store)])
    config = section(FinetuneConfig, "finetune", {"epochs": epochs, "seed": seed})
    network = load_network(name, weights=weights)
    for note in network.notes:
        output.say(f"note: {name} was {note}")
    with open_store(store, read_only=True) as opened:
        examples = read_examples(opened, most_tags=config.vocabulary, use_all=all)
    run = Finetuner(network, examples, config, partial)
    if run.step:
        output.say(f"going on from step {run.step:,} of {run.n_steps:,}")
    n_posts, n_tags = len(examples.train), len(examples.vocabulary)
    output.say(f"learning {n_tags:,} tags on {n_posts:,} posts, on {run.device}")
    try:
        with output.progress("learning", unit="steps") as bar:
            run.run(bar.update)
    except KeyboardInterrupt as stop:
        stop.add_note(f"{partial} keeps it, the same command goes on")
        raise
    if run.n_unread:
        output.say(
            f"note: a photo could not be read {run.n_unread:,} times; `pixtag doctor` tells why"
        )
    made = export(network, out)
    partial.unlink(missing_ok=True)
    losses = ", ".join(f"{loss:.3f}" for loss in run.losses)
    _say_made(out, network, f", loss on later posts by epoch: {losses}" if losses else "")
    if embed:
        _embed(network, made, store)


def _say_made(out: Path, network: Network, more: str) -> None:
    size = f"{out.stat().st_size / 2**20:,.0f} MB"
    output.say(f"wrote {out}: {network.width} wide, {network.input_px} px, {size}{more}")


def _embed(network: Network, made: OnnxEncoder, store: str | None) -> None:
    """Look at a store's photos: by PyTorch on CUDA, else by the file, which is quicker there."""
    from pixtag.pytorch.networks import TorchEncoder, best_device

    device = best_device()
    eyes = made if device == "cpu" else TorchEncoder(network, made.digest, device=device)
    with open_store(store) as opened:
        done = look_at_photos(opened, eyes)
    output.say(f"looked at {done.embedded:,} photos, {done.failed:,} failed")


def config(*, all: bool = False, json: bool = False) -> None:
    """Show your settings, their values and where each came from.

    Settings come from ~/.config/pixtag/config.toml, then pixtag.toml in the working folder, then
    variables such as PIXTAG_STORE, then flags; the last one wins.

    Args:
        all: Show the settings of training too.
        json: Print one JSON object instead of a table.

    Examples:
        pixtag config
        pixtag config --all
        PIXTAG_K=10 pixtag config --json
    """
    from pixtag.settings import load_settings

    classes: dict[str, type[BaseModel]] = {}
    for table, place in TABLES.items() if all else [("", TABLES[""])]:
        module, _, name = place.partition(":")
        classes[table] = getattr(import_module(module), name)
    settings = load_settings(classes, other_tables=TABLES).explain()
    files = [{"path": str(path), "exists": path.exists()} for path in default_files()]
    if json:
        shown = ("value", "source", "origin", "default", "meaning")
        named = {one.name: {key: getattr(one, key) for key in shown} for one in settings}
        for one in settings:
            if is_server(str(one.value)):
                named[one.name]["value"] = one.shown  # without a password
        output.print_json({"settings": named, "files": files})
        return
    output.print_table(
        {"setting": "left", "value": "left", "from": "left", "what it is": "left"},
        [(one.name, one.shown, one.origin, one.meaning) for one in settings],
    )
    for file in files:
        output.say(f"{'read' if file['exists'] else 'not there'}: {file['path']}")
