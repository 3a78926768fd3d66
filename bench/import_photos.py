"""How close importing photos comes to what the processors can do.

    python bench/import_photos.py [--photos 300] [--rounds 5] [--json FILE]

Makes photos of 1080 x 1350 px, then measures in turns, so that noise meets all alike:

- E: photos a second of the encoder alone, batches of 32, on two threads;
- d: processor seconds to decode one of the photos;
- the whole import: reading the posts, digests, decoding, encoding, keeping the embeddings.

The bound: two processors that do nothing but encode (2 / E processor seconds a photo) and decode
(d) finish 2 / (2 / E + d) photos a second. The figure to watch is import divided by bound. It needs
an idle machine; beside it stands what a busy one hardly disturbs: the processor time that encoding
and decoding alone take, divided by what the import took.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from pixtag import images
from pixtag.encoder import OnnxEncoder, load_encoder
from pixtag.ingest import find_sources, import_posts
from pixtag.photos import embed_missing
from pixtag.store import Store

WIDTH_PX, HEIGHT_PX = 1080, 1350
CANVAS_PX = 2048
ENCODED_PHOTOS, DECODED_PHOTOS, BATCH = 192, 48, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    encoder = load_encoder(n_threads=2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = make_photos(folder, asked.photos)
        mean_bytes = statistics.mean(p.stat().st_size for p in photos)
        print(
            f"{len(photos)} photos of {WIDTH_PX} x {HEIGHT_PX} px, {mean_bytes / 1e3:.0f} kB each"
        )
        rounds = [one_round(folder, photos, encoder, n) for n in range(asked.rounds + 1)][1:]
    figures = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
    for name, value in figures.items():
        shown = " ".join(f"{r[name]:.4g}" for r in rounds)
        print(f"{name:<28} {value:8.4g}   ({shown})")
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")


def one_round(folder: Path, photos: list[Path], encoder: OnnxEncoder, n: int) -> dict[str, float]:
    """Measure everything once, one after the other."""
    rate, encode_s = encoder_rate(encoder)
    decode_s = decoding_s(photos[:DECODED_PHOTOS])
    imported, spent_s = import_rate(folder, folder / f"{n}.sqlite", len(photos), encoder)
    bound = 2 / (2 / rate + decode_s)
    return {
        "encoder, photos/s": rate,
        "decoding, ms a photo": 1000 * decode_s,
        "bound, photos/s": bound,
        "import, photos/s": imported,
        "import / bound": imported / bound,
        "needed / spent time": (encode_s + decode_s) / spent_s,
    }


def encoder_rate(encoder: OnnxEncoder) -> tuple[float, float]:
    """Photos a second of the encoder alone, and processor seconds a photo."""
    side = encoder.input_px
    batch = np.random.default_rng(1).integers(0, 256, (BATCH, side, side, 3), np.uint8)
    started, spent = time.perf_counter(), time.process_time()
    for _ in range(ENCODED_PHOTOS // BATCH):
        encoder.embed(batch)
    spent_s = (time.process_time() - spent) / ENCODED_PHOTOS
    return ENCODED_PHOTOS / (time.perf_counter() - started), spent_s


def decoding_s(photos: list[Path]) -> float:
    """Processor seconds to read and decode one photo."""
    started = time.thread_time()
    for photo in photos:
        images.decode(photo)
    return (time.thread_time() - started) / len(photos)


def import_rate(
    folder: Path, store_path: Path, n_photos: int, encoder: OnnxEncoder
) -> tuple[float, float]:
    """Photos a second of the whole import into a new store, and processor seconds a photo."""
    started, spent = time.perf_counter(), time.process_time()
    with Store.open(store_path, create=True) as store:
        import_posts(find_sources([folder / "posts.jsonl"], None), store)
        result = embed_missing(store, encoder)
    taken_s, spent_s = time.perf_counter() - started, time.process_time() - spent
    if result.embedded != n_photos:
        raise SystemExit(f"only {result.embedded} of {n_photos} photos were embedded")
    return n_photos / taken_s, spent_s / n_photos


def make_photos(folder: Path, n_photos: int) -> list[Path]:
    """Write photos, with detail of every size as in a camera's, and the posts that show them."""
    rng = np.random.default_rng(5)
    layers = [
        Image.fromarray(rng.integers(0, 256, (CANVAS_PX // n, CANVAS_PX // n, 3), np.uint8)).resize(
            (CANVAS_PX, CANVAS_PX), Image.Resampling.BICUBIC
        )
        for n in (4, 16, 64, 256)
    ]
    canvas = Image.fromarray(np.mean([np.asarray(x, np.float32) for x in layers], 0).astype("u1"))
    photos: list[Path] = []
    with (folder / "posts.jsonl").open("w") as lines:
        for i in range(n_photos):
            left, top = (int(rng.integers(CANVAS_PX - s)) for s in (WIDTH_PX, HEIGHT_PX))
            photo = folder / f"{i}.jpg"
            cut = canvas.crop((left, top, left + WIDTH_PX, top + HEIGHT_PX))
            cut.save(photo, quality=85, comment=str(i))  # no two files are the same
            photos.append(photo)
            post = {
                "post_id": str(i),
                "user_id": f"user{i % 9}",
                "posted_at": 1_700_000_000 + i,
                "image": photo.name,
                "tags": ["one", "two"],
            }
            lines.write(json.dumps(post) + "\n")
    return photos


if __name__ == "__main__":
    main()
