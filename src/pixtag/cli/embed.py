"""Verb that looks at photos: embed."""

from __future__ import annotations

from pathlib import Path

from pixtag.cli import output
from pixtag.cli.engines import EngineName, opened_engine


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
    from pixtag.cli.main import your_store
    from pixtag.encoder import load_encoder
    from pixtag.photos import embed_missing
    from pixtag.places import printable
    from pixtag.store import Store

    store = your_store(store)
    eyes = load_encoder(encoder)
    with Store.open(store) as opened:
        job = f"embed {opened.identity} {eyes.digest}"
        with (
            opened_engine(engine, address, store=store, job=job) as runs,
            output.progress("looking at photos", unit="photos") as bar,
        ):
            found = embed_missing(opened, eyes, engine=runs, on_progress=bar.update)
    shown = printable(store)
    if json:
        output.print_json({"store": shown, "encoder": eyes.digest, "embedding": found})
    if found.failed:
        faults = ", ".join(f"{n:,} {fault}" for fault, n in found.faults.items())
        output.say(f"{found.failed:,} could not be looked at ({faults}): `pixtag doctor {shown}`")
    output.say(f"{found.embedded:,} photos looked at for {shown}")
