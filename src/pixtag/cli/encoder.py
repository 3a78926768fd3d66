"""Verbs that make encoders with PyTorch: encoder, finetune."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pixtag.cli import output

if TYPE_CHECKING:
    from pixtag.encoder import OnnxEncoder
    from pixtag.pytorch.networks import Network


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
    from pixtag.cli.train import read_labels
    from pixtag.outputs import check_outputs
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
    from pixtag.cli.main import section, your_store
    from pixtag.outputs import check_outputs
    from pixtag.places import store_file
    from pixtag.pytorch import FinetuneConfig
    from pixtag.pytorch.examples import read_examples
    from pixtag.pytorch.export import export
    from pixtag.pytorch.finetune import Finetuner
    from pixtag.pytorch.networks import load_network
    from pixtag.store import Store

    store = your_store(store)
    partial = out.with_name(out.name + ".partial")
    check_outputs([out, partial], [weights, store_file(store)])
    config = section(FinetuneConfig, "finetune", {"epochs": epochs, "seed": seed})
    network = load_network(name, weights=weights)
    for note in network.notes:
        output.say(f"note: {name} was {note}")
    with Store.open(store, read_only=True) as opened:
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
    from pixtag.cli.main import your_store
    from pixtag.photos import embed_missing
    from pixtag.pytorch.networks import TorchEncoder, best_device
    from pixtag.store import Store

    device = best_device()
    eyes = made if device == "cpu" else TorchEncoder(network, made.digest, device=device)
    bar = output.progress("looking at photos", unit="photos")
    with Store.open(your_store(store)) as opened, bar:
        done = embed_missing(opened, eyes, on_progress=bar.update)
    output.say(f"looked at {done.embedded:,} photos, {done.failed:,} failed")
