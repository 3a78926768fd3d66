"""How long a suggestion takes: `pixtag predict` from cold, and a warm `Predictor.suggest`.

    python bench/predict.py [--bundle FILE] [--sizes 0,1000000] [--only cold] [--json FILE]

The evaluation set (`--sizes` 0) and invented stores, 12,000 posts of each with a photo; photos of
1080 x 1350 px and of 12 megapixels.

- cold: the whole command, start of Python to last line, without and with the smallest store; the
  first run, which reads every post, apart. Beside it a program that only embeds the photo.
- warm: `suggest` about people of the store, in turns with decoding and encoding the same photo.
  The quickest of all runs is given too: on a busy machine it says more than the middle one.
- threads: eight threads on one Predictor against 2 / (2 / E + d) photos a second: E is the
  encoder's own rate on two threads, d the processor seconds to decode one photo.
- beside: a question without a photo now and then, while twelve threads ask about photos of 12
  megapixels, against the same question alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from _figures import (
    Figures,
    evaluation_log,
    invented_log,
    make_photo,
    posts_of,
    ratio_in_turns,
    seconds,
)
from import_photos import decoding_s, encoder_rate

from pixtag import images
from pixtag.bundle import Bundle, load_bundle
from pixtag.encoder import load_encoder
from pixtag.predictor import Predictor
from pixtag.store import Store

N_THREADS, N_SLOW = 8, 12
PAUSE_S = 0.05
Ask = Callable[[int, bytes | None], None]
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
    parser.add_argument("--sizes", default="0,1000000", help="posts of invented stores, by commas")
    parser.add_argument("--photos", type=int, default=12_000, help="posts with a photo in each")
    parser.add_argument("--runs", type=int, default=7, help="cold runs of each kind")
    parser.add_argument("--asked", type=int, default=120, help="warm suggestions of each kind")
    parser.add_argument("--only", choices=("cold", "warm", "threads", "beside"))
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    figures, bundle = Figures(), load_bundle(asked.bundle)
    sizes = [int(size) for size in asked.sizes.split(",")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = [make_photo(folder / f"photo{seed}.jpg", seed) for seed in (5, 7)]
        large = make_photo(folder / "large.jpg", 9, width=3000, height=4000)
        for size in sizes if asked.only in (None, "warm") else sizes[:1]:
            world = make_world(folder / f"{size}.sqlite", size, asked.photos, bundle)
            if size == sizes[0] and asked.only in (None, "cold"):
                cold(figures, photos[0], world, asked.bundle, asked.runs)
            with Predictor.load(bundle, world.store) as predictor:
                ask = asking(predictor, world)
                if asked.only in (None, "warm"):
                    wanted = 1.3 if size == sizes[0] else 1.4
                    what = f"{size:,} posts" if size else "evaluation set"
                    warm(figures, what, ask, photos, asked.asked, wanted)
                    warm(figures, f"{what}, 12 MP", ask, [large], asked.asked // 3, wanted)
                if size == sizes[0] and asked.only in (None, "threads"):
                    threads(figures, ask, photos, asked.asked)
                if size == sizes[0] and asked.only in (None, "beside"):
                    beside(figures, ask, large, asked.asked)
    figures.write(asked.json)


@dataclass(frozen=True)
class World:
    """A store, the people of its last posts, and a moment after all of them."""

    store: Path
    people: list[str]
    at: datetime


def make_world(path: Path, n_posts: int, n_photos: int, bundle: Bundle) -> World:
    """A store of invented posts, some of them with a photo; the evaluation set's for 0."""
    width = bundle.manifest.encoder_width
    log = evaluation_log()
    if n_posts:
        log = invented_log(n_posts, n_photos=n_photos, width=width, vocabulary=bundle.vocabulary)
    every = posts_of(log, range(len(log)))
    shown = {post.photos[0].digest: i for i, post in enumerate(every) if post.photos}
    with Store.open(path, create=True) as store:
        store.add_posts(posts_of(log, range(len(log))))
        digest = bundle.manifest.encoder_digest
        store.put_embeddings(digest, list(shown), log.embeddings[list(shown.values())])
    people = list(dict.fromkeys(log.users[u] for u in log.user_of_post[-200:].tolist()))
    return World(path, people[:40], datetime.fromtimestamp(float(log.at[-1]) + 60, UTC))


def asking(predictor: Predictor, world: World) -> Ask:
    """Ask about one person of the world after the other."""

    def ask(number: int, photo: bytes | None) -> None:
        predictor.suggest(photo, user=world.people[number % len(world.people)], at=world.at)

    return ask


def cold(figures: Figures, photo: Path, world: World, bundle: Path | None, n_runs: int) -> None:
    """Seconds of whole commands, median of several runs that take turns."""
    model = ["--model", str(bundle)] if bundle else []
    plain = [sys.executable, "-m", "pixtag", "predict", str(photo), *model]
    at = world.at.isoformat()
    stored = [*plain, "--store", str(world.store), "--user", world.people[0], "--at", at]
    bare = [sys.executable, "-c", BARE, str(photo)]
    first_s = seconds(lambda: run(stored))
    kinds = {"bare encoder": bare, "without a store": plain, "with a store": stored}
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(n_runs):
        for name, words in kinds.items():
            taken[name].append(seconds(lambda words=words: run(words)))
    middle = {name: statistics.median(values) for name, values in taken.items()}
    for name, value in middle.items():
        figures.add(f"cold {name}, s", value, at_most=None if name == "bare encoder" else 1.5)
    figures.add("cold first with a changed store, s", first_s, at_most=1.5)
    for name in ("without a store", "with a store"):
        pairs = zip(taken[name], taken["bare encoder"], strict=True)
        ratio = statistics.median(one / bare for one, bare in pairs)
        wanted = 2.2 if name == "without a store" else None
        figures.add(f"cold {name} / bare, pair by pair", ratio, at_most=wanted)


def warm(figures: Figures, what: str, ask: Ask, photos: list[Path], n: int, wanted: float) -> None:
    """Milliseconds of a suggestion and of its photo alone, and their ratio."""
    encoder = load_encoder()
    data = [photo.read_bytes() for photo in photos]

    def look(i: int) -> None:
        encoder.embed(images.decode(data[i % len(data)])[None])

    def suggest(i: int) -> None:
        ask(i, data[i % len(data)])

    for i in range(40):
        suggest(i)
        look(i)
    # They take turns, so that noise meets both alike, and so do people and photos, so that nothing
    # is remembered of the one before.
    suggestions, looks, ratio = ratio_in_turns(
        [lambda i=i: suggest(i) for i in range(n)], [lambda i=i: look(i) for i in range(n)]
    )
    figures.add(f"{what}: decode + encode, ms", statistics.median(looks) * 1e3)
    figures.add_times(f"{what}: suggest with a photo", suggestions)
    figures.add(f"{what}: suggest / (decode + encode)", ratio, at_most=wanted)
    figures.add(f"{what}: quickest suggest / quickest", min(suggestions) / min(looks))


def threads(figures: Figures, ask: Ask, photos: list[Path], n: int) -> None:
    """Suggestions a second of eight threads against what two processors could do at best."""
    data = [photo.read_bytes() for photo in photos]

    def suggest(i: int) -> None:
        ask(i, data[i % len(data)])

    ratios: list[float] = []
    with ThreadPoolExecutor(N_THREADS) as pool:
        list(pool.map(suggest, range(40)))
        for _ in range(5):
            rate, _ = encoder_rate(load_encoder(n_threads=2))
            bound = 2 / (2 / rate + decoding_s(photos * 8))
            taken_s = seconds(lambda: list(pool.map(suggest, range(n))))
            ratios.append(n / taken_s / bound)
    figures.add(f"{N_THREADS} threads: suggestions / bound", statistics.median(ratios), least=0.8)


def beside(figures: Figures, ask: Ask, large: Path, n: int) -> None:
    """A question without a photo, now and then, alone and beside slow photos."""
    data = large.read_bytes()
    stop = threading.Event()

    def ask_about_photos() -> None:
        while not stop.is_set():
            ask(1, data)

    def times() -> list[float]:
        taken: list[float] = []
        for i in range(n):
            time.sleep(PAUSE_S)
            taken.append(seconds(lambda i=i: ask(i, None)))
        return taken

    alone = times()
    others = [threading.Thread(target=ask_about_photos) for _ in range(N_SLOW)]
    for other in others:
        other.start()
    try:
        busy = times()
    finally:
        stop.set()
        for other in others:
            other.join()
    figures.add_times("without a photo, alone", alone)
    figures.add_times(f"without a photo, beside {N_SLOW} slow ones", busy)
    ratio = statistics.median(busy) / statistics.median(alone)
    figures.add(f"without a photo: beside {N_SLOW} slow ones / alone", ratio, at_most=2.0)


def run(words: list[str]) -> None:
    """Run a command as installed: with its modules compiled, which some shells switch off."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env=env)


if __name__ == "__main__":
    main()
