"""What benches share: figures with what is wanted of them, invented posts, a stopwatch."""

from __future__ import annotations

import gzip
import hashlib
import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from pixtag.types import Photo, Post, PostLog

EVALSET = Path(__file__).parent.parent / "evalset"
STARTED_AT = 1_735_689_600.0
N_DAYS = 365
DAY_S = 86_400.0
N_LOOKS = 200


class Figures:
    """Named numbers, printed as they come, with what is wanted of some."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def add(
        self, name: str, value: float, *, at_most: float | None = None, least: float | None = None
    ) -> float:
        """Keep and print a number."""
        self.values[name] = value
        wanted, is_good = "", True
        if at_most is not None:
            wanted, is_good = f"at most {at_most:,g}", value <= at_most
        if least is not None:
            wanted, is_good = f"at least {least:,g}", value >= least
        print(f"{name:<62} {value:12,.3f}  {wanted}{'' if is_good else '  MISSED'}", flush=True)
        return value

    def add_times(
        self,
        name: str,
        seconds: Sequence[float],
        *,
        median_ms: float | None = None,
        p99_ms: float | None = None,
    ) -> float:
        """Median, 99th percentile and maximum of times, in milliseconds; gives the median."""
        ms = np.array(seconds) * 1e3
        self.add(f"{name}, ms: 99th percentile", float(np.percentile(ms, 99)), at_most=p99_ms)
        self.add(f"{name}, ms: maximum", float(ms.max()))
        return self.add(f"{name}, ms: median", float(np.median(ms)), at_most=median_ms)

    def write(self, path: Path | None) -> None:
        """Write them as JSON, if anybody wants them."""
        if path:
            path.write_text(json.dumps(self.values, indent=2) + "\n")


def seconds(work: Callable[[], object]) -> float:
    """How long something takes by the clock."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def seconds_of_processor(work: Callable[[], object]) -> tuple[float, float]:
    """How long something takes by the clock and by the processor (of all threads)."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def seconds_of_thread(work: Callable[[], object]) -> float:
    """How long something keeps the processor busy on this thread: for a machine that is shared."""
    started = time.thread_time()
    work()
    return time.thread_time() - started


def ratio_in_turns(
    one: Iterable[Callable[[], object]],
    other: Iterable[Callable[[], object]],
    clock: Callable[[Callable[[], object]], float] = seconds,
) -> tuple[list[float], list[float], float]:
    """Seconds of two kinds of work that take turns, and the ratio of their medians."""
    pairs = [(clock(a), clock(b)) for a, b in zip(one, other, strict=True)]
    left, right = [a for a, _ in pairs], [b for _, b in pairs]
    return left, right, statistics.median(left) / statistics.median(right)


def evaluation_log() -> PostLog:
    """The evaluation set with its embeddings, as `recipes/evaluation_set.py` packed them."""
    with gzip.open(EVALSET / "posts.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    posts = [
        Post(
            r["post_id"],
            r["user_id"],
            datetime.fromisoformat(r["posted_at"]).timestamp(),
            tuple(r["tags"]),
        )
        for r in records
    ]
    packed = np.load(EVALSET / "embeddings.npz")
    rows = packed["floor"] + (packed["step"] * packed["codes"].astype(np.float32)) ** 2
    ids = [post.post_id for post in posts]
    return PostLog.of(posts, dict(zip(ids, rows.astype(np.float16), strict=True)))


def invented_log(
    n_posts: int,
    *,
    n_photos: int = 0,
    width: int = 0,
    vocabulary: Sequence[str] = (),
    seed: int = 6,
    people: int = 0,
    tags: int = 0,
    bursts: int = 0,
) -> PostLog:
    """A year of posts: people with heavy-tailed numbers of posts, tags by Zipf's law.

    Half of the uses are of the person's ten favourites. The most frequent tags are those of the
    vocabulary; every n-th post has a photo whose look goes with one of its tags. In a burst people
    post fifty times as much as at other times, with one tag in common; a tenth of all posts are of
    bursts.

    Args:
        n_posts: N, with 4.5 tags each on average.
        n_photos: Posts with a photo.
        width: Of their embeddings.
        vocabulary: Names of the most frequent tags.
        seed: Same seed, same log.
        people: Who might post; a thirtieth of N when 0.
        tags: That might be used; N to the power of .75 when 0.
        bursts: How many there are.
    """
    rng = np.random.default_rng(seed)
    n_people = people or max(50, n_posts // 30)
    n_tags = tags or max(500, int(n_posts**0.75))
    chance = np.arange(1, n_people + 1) ** -0.7
    user = rng.choice(n_people, n_posts, p=chance / chance.sum())
    zipf = np.cumsum(np.arange(1, n_tags + 1) ** -0.9)

    def tags_like(n: int) -> np.ndarray:
        return np.searchsorted(zipf, rng.random(n) * zipf[-1])

    favourites = tags_like(10 * n_people).reshape(n_people, 10)
    row = np.repeat(np.arange(n_posts), rng.integers(1, 9, n_posts))
    own = favourites[user[row], rng.integers(0, 10, len(row))]
    tag = np.where(rng.random(len(row)) < 0.5, own, tags_like(len(row)))
    of_burst = _bursts(n_posts, bursts, seed)
    hot, burst = np.flatnonzero(of_burst >= 0), of_burst[of_burst >= 0]
    row, tag = np.append(row, hot), np.append(tag, n_tags // 2 + burst % (n_tags // 2))
    keys = np.sort(row * n_tags + tag)
    row, tag = np.divmod(keys[np.diff(keys, prepend=-1) > 0], n_tags)
    names = list(vocabulary[:n_tags]) + [f"tag{i}" for i in range(len(vocabulary), n_tags)]
    has_photo = np.zeros(n_posts, np.bool_)
    if n_photos:
        has_photo[:: max(1, n_posts // n_photos)] = True
    embeddings = np.zeros((n_posts, width if n_photos else 0), np.float16)
    shown = np.flatnonzero(has_photo)
    looks = np.abs(rng.normal(0, 0.5, (N_LOOKS, embeddings.shape[1]))).astype(np.float32)
    start = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n_posts))])
    look = tag[start[:-1] + rng.integers(0, np.diff(start))] % N_LOOKS
    for part in np.array_split(shown, max(1, len(shown) // 4096)):
        noise = np.abs(rng.normal(0, 0.3, (len(part), embeddings.shape[1])))
        embeddings[part] = looks[look[part]] + noise
    at = np.sort(rng.random(n_posts)) * N_DAYS * DAY_S
    if bursts:
        first = np.append(True, np.diff(of_burst) != 0)
        began = at[np.maximum.accumulate(np.where(first, np.arange(n_posts), 0))]
        at = np.where(of_burst >= 0, began + (at - began) / 50, at)
    return PostLog(
        post_ids=[f"post{i:08d}" for i in range(n_posts)],
        users=[f"user{i}" for i in range(n_people)],
        tags=names,
        user_of_post=user,
        at=STARTED_AT + at,
        tag_start=start,
        tag_ids=tag,
        has_photo=has_photo,
        embeddings=embeddings,
    )


def _bursts(n_posts: int, n_bursts: int, seed: int) -> np.ndarray:
    """The burst of each post, `[N]`: a tenth of them, in runs; -1 for none."""
    of_burst = np.full(n_posts, -1)
    if n_bursts:
        length = max(1, n_posts // (10 * n_bursts))
        begin = np.random.default_rng(seed + 1).choice(n_posts // length, n_bursts, replace=False)
        for burst, start in enumerate((begin * length).tolist()):
            of_burst[start : start + length] = burst
    return of_burst


def posts_of(log: PostLog, rows: Iterable[int]) -> Iterator[Post]:
    """Posts of a log one by one, each photo with a digest of its own."""
    for i in rows:
        digest = hashlib.sha256(log.post_ids[i].encode()).hexdigest()
        shown = (Photo(f"/nowhere/{log.post_ids[i]}.jpg", digest),) if log.has_photo[i] else ()
        user = log.users[log.user_of_post[i]]
        yield Post(log.post_ids[i], user, float(log.at[i]), tuple(log.tags_of(i)), shown)


def one_by_one(log: PostLog, rows: Iterable[int]) -> Iterator[PostLog]:
    """Logs of a single post each, with no name but its own."""
    for i, post in zip(rows, posts_of(log, rows), strict=True):
        yield PostLog.of([post], {post.post_id: log.embeddings[i]} if log.has_photo[i] else None)


def make_photo(path: Path, seed: int, *, width: int = 1080, height: int = 1350) -> Path:
    """A photo with shapes of many sizes, so that its JPEG is as large as a real one's."""
    rng = np.random.default_rng(seed)
    layers = [
        Image.fromarray(rng.integers(0, 256, (height // n, width // n, 3), np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for n in (4, 16, 64, 256)
    ]
    mixed = np.mean([np.asarray(layer, np.float32) for layer in layers], axis=0)
    smooth = Image.fromarray(mixed.astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))
    smooth.save(path, quality=85)
    return path
