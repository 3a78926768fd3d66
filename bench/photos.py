"""Decoders of JPEGs and runtimes of the encoder, side by side: is there a faster one?

    python bench/photos.py [--photos 8] [--rounds 12] [--json FILE]
    pip install simplejpeg 'pyvips[binary]' openvino     # what is missing is left out, and said

All take turns on one thread, so that noise meets all alike; times are of the processor. Decoding
is from a JPEG's bytes to the 224 px square, at 1080 x 1350 px and at 12 megapixels. *Lost cosine*
holds the embeddings against those of a full decode with the same filter, of runtimes against the
shipped one: what the worst photo lacks to 1. A decoder is worth a dependency from 15 % of decoding
and encoding together.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from _figures import Figures, make_photo, seconds_of_processor
from numpy.typing import NDArray
from PIL import Image

from pixtag import images
from pixtag.encoder import OnnxEncoder, load_encoder

SIDE = 224
SIZES = {"1080 px": (1080, 1350), "12 megapixels": (4000, 3000)}
SAMPLES = Path(__file__).parent.parent / "samples"
PIXTAG = "pixtag (Pillow, draft at 2x)"
BATCHES = (1, 16)
SHIPPED = "onnxruntime"

Pixels = NDArray[np.uint8]
Decode = Callable[[bytes], Pixels]
Embed = Callable[[NDArray[np.float32]], NDArray[np.float32]]


# ------------------------------------------------------------------ decoders


def square_of(image: Image.Image) -> Pixels:
    """The centred square with Pixtag's filter."""
    width, height = image.size
    edge = min(width, height)
    left, top = (width - edge) / 2, (height - edge) / 2
    box = (left, top, left + edge, top + edge)
    scaled = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box, reducing_gap=3.0)
    return np.asarray(scaled.convert("RGB"))


def by_pillow(draft_px: int) -> Decode:
    """Pillow alone; 0 decodes all pixels."""

    def decode(data: bytes) -> Pixels:
        with Image.open(io.BytesIO(data)) as image:
            if draft_px:
                image.draft(None, (draft_px, draft_px))
            return square_of(image)

    return decode


def decoders() -> dict[str, Decode]:
    """Those that are installed; the first is the reference, the second what Pixtag does."""
    found: dict[str, Decode] = {
        "Pillow, all pixels": by_pillow(0),
        PIXTAG: images.decode,
        "Pillow, draft at 1.5x": by_pillow(3 * SIDE // 2),
        "Pillow, draft at 1x": by_pillow(SIDE),
    }
    if simplejpeg := installed("simplejpeg"):
        least = {"min_height": 2 * SIDE, "min_width": 2 * SIDE, "min_factor": 1}
        found["simplejpeg, at 2x"] = lambda data: square_of(
            Image.fromarray(simplejpeg.decode_jpeg(data, **least))
        )
        found["simplejpeg, at 2x, fast and rough"] = lambda data: square_of(
            Image.fromarray(simplejpeg.decode_jpeg(data, fastdct=True, fastupsample=True, **least))
        )
    if pyvips := installed("pyvips"):
        pyvips.cache_set_max(0)
        found["pyvips thumbnail"] = lambda data: np.ascontiguousarray(
            pyvips.Image.thumbnail_buffer(data, SIDE, height=SIDE, crop="centre").numpy()[..., :3]
        )
    return found


def installed(name: str) -> Any:  # noqa: ANN401 - a module
    """A module, or None with a word about it."""
    try:
        return import_module(name)
    except (ImportError, OSError) as error:
        print(f"{name} is not installed and left out: {error}")
        return None


def measure_decoders(figures: Figures, folder: Path, n_photos: int, rounds: int) -> None:
    """Times, gains and cosines of every decoder at every size."""
    encoder = load_encoder(n_threads=1)
    found = decoders()
    for size, (width, height) in SIZES.items():
        paths = [
            make_photo(folder / f"{size}-{n}.jpg", n, width=width, height=height)
            for n in range(n_photos)
        ]
        paths += [real_photo(path, folder, width, height) for path in sorted(SAMPLES.glob("*.jpg"))]
        photos = [path.read_bytes() for path in paths]
        print(f"{size}: {len(photos)} photos, {np.mean([*map(len, photos)]) / 1e3:.0f} kB each")
        spent: dict[str, list[float]] = {name: [] for name in found}
        for n in range(rounds):
            for name, decode in found.items():
                _, took = seconds_of_processor(partial(list, map(decode, photos)))
                if n:  # the first round warms up
                    spent[name].append(1e3 * took / len(photos))
        squares = {name: np.stack([*map(decode, photos)]) for name, decode in found.items()}
        encode = partial(encoder.embed, squares[PIXTAG])
        encode_ms = min(1e3 * seconds_of_processor(encode)[1] / len(photos) for _ in range(rounds))
        figures.add(f"{size}: encoding, ms", encode_ms)
        reference = unit(encoder, next(iter(squares.values())))
        ours = float(np.median(spent[PIXTAG])) + encode_ms
        for name, ms in spent.items():
            cosine = (unit(encoder, squares[name]) * reference).sum(axis=1)
            whole = float(np.median(ms)) + encode_ms
            figures.add(f"{size}: {name}, ms", float(np.median(ms)))
            figures.add(f"{size}: {name}, gain with encoding, %", 100 * (1 - whole / ours))
            figures.add(f"{size}: {name}, lost cosine, 1e-6", 1e6 * (1 - float(cosine.min())))


def real_photo(path: Path, folder: Path, width: int, height: int) -> Path:
    """A sample photo at another size."""
    out = folder / f"{width}-{path.name}"
    with Image.open(path) as image:
        image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC).save(out, quality=90)
    return out


def unit(encoder: OnnxEncoder, squares: Pixels) -> NDArray[np.float32]:
    """Embeddings of length 1."""
    found = encoder.embed(squares)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


# ------------------------------------------------------------------ runtimes


def runtimes(encoder: OnnxEncoder, batch: int) -> dict[str, Embed]:
    """The shipped encoder in each runtime that is installed, on one thread; ours first."""
    found: dict[str, Embed] = {
        SHIPPED: lambda x: encoder._session.run(["embedding"], {encoder._input_name: x})[0]
    }
    if openvino := installed("openvino"):
        core = openvino.Core()
        for name, precision, is_fixed in (
            ("openvino", "f32", False),
            ("openvino, fixed batch", "f32", True),
            ("openvino, bf16 where the processor has it", "bf16", False),
        ):
            graph = core.read_model(encoder.model)
            if is_fixed:
                graph.reshape({0: [batch, 3, SIDE, SIDE]})
            hints = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": precision}
            request = core.compile_model(graph, "CPU", hints).create_infer_request()
            found[name] = lambda x, ask=request: ask.infer({0: x}, share_inputs=True)[0].copy()
    return found


def measure_runtimes(figures: Figures, rounds: int) -> None:
    """Times of every runtime and batch, and how far its embeddings lie from ours."""
    encoder = load_encoder(n_threads=1)
    for batch in BATCHES:
        rng = np.random.default_rng(1)
        x = rng.standard_normal((batch, 3, SIDE, SIDE), dtype=np.float32)
        found = runtimes(encoder, batch)
        spent: dict[str, list[float]] = {name: [] for name in found}
        for n in range(rounds * (10 if batch == 1 else 2)):
            for name, embed in found.items():
                _, took = seconds_of_processor(partial(embed, x))
                if n > 1:
                    spent[name].append(1e3 * took / batch)
        ours = found[SHIPPED](x)
        for name, embed in found.items():
            other = embed(x)
            lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(other, axis=1)
            figures.add(f"batch of {batch}: {name}, ms a photo", float(np.median(spent[name])))
            figures.add(
                f"batch of {batch}: {name}, lost cosine, 1e-6",
                1e6 * (1 - float(((ours * other).sum(axis=1) / lengths).min())),
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=int, default=8, help="invented photos of each size")
    parser.add_argument("--rounds", type=int, default=12, help="turns that everything takes")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    figures = Figures()
    with tempfile.TemporaryDirectory() as name:
        measure_decoders(figures, Path(name), asked.photos, asked.rounds)
    measure_runtimes(figures, asked.rounds)
    figures.write(asked.json)


if __name__ == "__main__":
    main()
