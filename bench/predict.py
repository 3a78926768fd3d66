"""How long a suggestion takes: `pixtag predict` from cold, and a warm `Predictor.suggest`.

    python bench/predict.py [--bundle FOLDER] [--posts 12000] [--only warm] [--json FILE]

Makes a store of posts by invented people with random photos' embeddings, and a photo of 1080 x
1350 px; then measures, all in one run:

- cold: the whole command, start of Python to last line, without and with the store; the first
  run after a change of the store apart from later ones. Beside it a bare program that only loads
  the encoder and embeds the photo, for scale.
- warm: `suggest` with the store and a person of long history against decoding and encoding the
  same photo with the same encoder. The two take turns, so that noise meets both alike, and so
  do two photos, so that nothing is remembered of the one before. The quickest of all runs is
  given too: on a busy machine it says more than the middle one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from pixtag import images
from pixtag.encoder import load_encoder
from pixtag.predictor import Predictor
from pixtag.store import Store
from pixtag.types import Photo, Post

N_PEOPLE, N_TAGS, N_LOOKS, N_DAYS = 450, 1100, 80, 120
STARTED_AT = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
BARE = """
import sys
from pathlib import Path
from pixtag.encoder import load_encoder
from pixtag.images import decode
load_encoder().embed(decode(Path(sys.argv[1]))[None])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bundle", type=Path, help="the shipped one by default")
    parser.add_argument("--posts", type=int, default=12_000)
    parser.add_argument("--runs", type=int, default=7, help="cold runs of each kind")
    parser.add_argument("--only", choices=("cold", "warm"), help="both by default")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = [make_photo(Path(folder) / f"photo{seed}.jpg", seed) for seed in (5, 7)]
        store = make_store(Path(folder) / "store.sqlite", asked.posts)
        figures: dict[str, float] = {}
        if asked.only != "warm":
            figures |= cold(photos[0], store, asked.bundle, asked.runs)
        if asked.only != "cold":
            figures |= warm(photos, store, asked.bundle)
    for name, value in figures.items():
        print(f"{name:<42} {value:8.3f}")
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")


def make_photo(path: Path, seed: int) -> Path:
    """A photo with shapes of many sizes, so that its JPEG is as large as a real one's."""
    rng = np.random.default_rng(seed)
    layers = [
        Image.fromarray(rng.integers(0, 256, (1350 // n, 1080 // n, 3), np.uint8)).resize(
            (1080, 1350), Image.Resampling.BICUBIC
        )
        for n in (4, 16, 64, 256)
    ]
    mixed = np.mean([np.asarray(layer, np.float32) for layer in layers], axis=0)
    smooth = Image.fromarray(mixed.astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))
    smooth.save(path, quality=85)
    return path


def make_store(path: Path, n_posts: int) -> Path:
    """Posts of people with favourite tags and looks, and tags that rise and fall."""
    rng = np.random.default_rng(6)
    encoder = load_encoder()
    looks = np.abs(rng.normal(0, 0.5, (N_LOOKS, encoder.width)))
    tags_of_look = rng.integers(0, N_TAGS, (N_LOOKS, 30))
    favourites = rng.integers(0, N_TAGS, (N_PEOPLE, 12))
    person = np.minimum(rng.geometric(0.01, n_posts), N_PEOPLE) - 1
    times = np.sort(rng.uniform(STARTED_AT, STARTED_AT + N_DAYS * 86_400, n_posts))
    posts: list[Post] = []
    embeddings: list[np.ndarray] = []
    for i in range(n_posts):
        look = int(rng.integers(N_LOOKS))
        own = rng.choice(favourites[person[i]], 3)
        seen = rng.choice(tags_of_look[look], 3)
        event = N_TAGS + int((times[i] - STARTED_AT) // (10 * 86_400))
        tags = dict.fromkeys(f"tag{t}" for t in (*own, *seen, event))
        digest = hashlib.sha256(str(i).encode()).hexdigest()
        photo = Photo(f"/nowhere/{i}.jpg", digest)
        posts.append(Post(f"p{i}", f"user{person[i]}", float(times[i]), tuple(tags), (photo,)))
        embeddings.append(looks[look] + np.abs(rng.normal(0, 0.3, encoder.width)))
    with Store.open(path, create=True) as store:
        store.add_posts(posts)
        digests = [post.photos[0].digest for post in posts]
        store.put_embeddings(encoder.digest, digests, np.array(embeddings, np.float16))
    return path


def cold(photo: Path, store: Path, bundle: Path | None, n_runs: int) -> dict[str, float]:
    """Seconds of whole commands, median of several runs."""
    model = ["--bundle", str(bundle)] if bundle else []
    plain = [sys.executable, "-m", "pixtag", "predict", str(photo), *model]
    at = datetime.fromtimestamp(STARTED_AT + N_DAYS * 86_400, UTC).isoformat()
    stored = [*plain, "--store", str(store), "--user", "user0", "--at", at]
    bare = [sys.executable, "-c", BARE, str(photo)]
    first_s = seconds(lambda: run(stored))
    kinds = {"bare encoder": bare, "without a store": plain, "with a store": stored}
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(n_runs):
        for name, words in kinds.items():
            taken[name].append(seconds(lambda words=words: run(words)))
    middle = {name: statistics.median(values) for name, values in taken.items()}
    return {
        **{f"cold {name}, s": value for name, value in middle.items()},
        "cold first with a changed store, s": first_s,
        "cold with a store / bare": middle["with a store"] / middle["bare encoder"],
    }


def warm(
    photos: list[Path], store: Path, bundle: Path | None, n_runs: int = 120
) -> dict[str, float]:
    """Milliseconds of a suggestion and of its photo alone, and their ratio."""
    predictor = Predictor.load(bundle, store)
    encoder = load_encoder()
    photo_bytes = [photo.read_bytes() for photo in photos]
    at = datetime.fromtimestamp(STARTED_AT + N_DAYS * 86_400, UTC)

    def look(data: bytes) -> None:
        encoder.embed(images.decode(data)[None])

    def suggest(data: bytes) -> None:
        predictor.suggest(data, user="user0", at=at)

    looks: list[float] = []
    suggestions: list[float] = []
    for run_index in range(-10, n_runs):  # the first ones warm up
        data = photo_bytes[run_index % len(photo_bytes)]
        look_s, suggest_s = seconds(lambda: look(data)), seconds(lambda: suggest(data))  # noqa: B023
        if run_index >= 0:
            looks.append(look_s)
            suggestions.append(suggest_s)
    figures: dict[str, float] = {}
    for name, of in (("warm", statistics.median), ("warm quickest", min)):
        figures |= {
            f"{name} decode + encode, ms": of(looks) * 1e3,
            f"{name} suggest, ms": of(suggestions) * 1e3,
            f"{name} suggest / (decode + encode)": of(suggestions) / of(looks),
        }
    return figures


def run(words: list[str]) -> None:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
