"""What a model is worth to somebody whom it never met: a stranger's photo, and first posts."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pixtag.bundle import Bundle
from pixtag.encoder import SHIPPED_DIGEST, class_synonyms, classifier, load_encoder
from pixtag.errors import InputError, LeakError
from pixtag.evaluate.baselines import DECAYS, base_level, most_recent, most_used
from pixtag.evaluate.metrics import Bootstrap, OnProgress, find_hits, per_post
from pixtag.evaluate.past import Ranker
from pixtag.evaluate.tables import ALL, Figures, Row, Values, mean_rows
from pixtag.evaluate.temporal import Model
from pixtag.images import decode
from pixtag.predictor import Predictor
from pixtag.splits import Split, occurrence
from pixtag.tags import normalise_tag
from pixtag.types import Doubles, Ints, PostLog, Rankings, Sources

# ------------------------------------------------------------------ strangers' photos


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo, what it shows, and the tags that fit it, the plain name of the thing first."""

    path: Path
    concept: str
    tags: tuple[str, ...]


def read_photos(folder: Path, tags_file: Path | None) -> list[LabelledPhoto]:
    """Read labelled photos from a folder with a `manifest.csv`: file, concept, tags.

    `tags_file` is TOML whose table `tags` lists the tags of each concept, in place of the column.

    Raises:
        InputError: The manifest or the file of tags is missing or lacks something.
    """
    manifest = folder / "manifest.csv"
    hint = "a folder of photos with manifest.csv: file,concept,tags (or --photo-tags FILE)"
    try:
        with manifest.open(encoding="utf-8", newline="") as file:
            records = list(csv.DictReader(file))
        listed: dict[str, Any] = {}
        if tags_file is not None:
            listed = tomllib.loads(tags_file.read_text(encoding="utf-8"))["tags"]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError) as error:
        raise InputError(f"cannot read the labelled photos: {error}", hint=hint) from error
    photos: list[LabelledPhoto] = []
    for number, record in enumerate(records, 2):
        concept = record.get("concept") or ""
        tags = listed.get(concept) or (record.get("tags") or "").split()
        if not record.get("file") or not concept or not tags:
            raise InputError(f"{manifest}, line {number} lacks file, concept or tags", hint=hint)
        photos.append(LabelledPhoto(folder / record["file"], concept, tuple(tags)))
    if not photos:
        raise InputError(f"{manifest} lists no photo", hint=hint)
    return photos


def evaluate_strangers(bundle: Bundle, photos: Sequence[LabelledPhoto]) -> Figures:
    """Ask about photos with no store, no person and no history.

    A suggestion fits when it is one of the photo's tags; the thing itself is the first of them.
    Beside the model stand the most popular tags of its prior and, with the shipped encoder, the
    names of the likeliest classes. Photos that the model learned from (as the post
    `photo-CONCEPT-NAME`) are left out. Intervals are of a bootstrap over concepts.

    Raises:
        LeakError: The model learned from all of the photos.
    """
    seen = bundle.has_seen([f"photo-{p.concept}-{p.path.stem}" for p in photos])
    apart = [photo for photo, is_seen in zip(photos, seen, strict=True) if not is_seen]
    if not apart:
        raise LeakError(
            f"the model learned from all {len(photos):,} photos",
            hint="measure one that was trained without some of them",
        )
    predictor = Predictor(bundle)
    answers = predictor.answers([photo.path for photo in apart], k=5)
    popular = np.argsort(-bundle.extras["prior_people"], kind="stable")[:5]
    lists = {
        "pixtag": [[s.tag for s in answer.suggestions] for answer in answers],
        "popularity": [[bundle.vocabulary[i] for i in popular]] * len(apart),
    }
    if bundle.manifest.encoder_digest == SHIPPED_DIGEST:
        lists["class names alone"] = _class_names(apart)
    _, concept = np.unique([photo.concept for photo in apart], return_inverse=True)
    boot, found = Bootstrap(concept), dict[str, Values]()
    for method, tags in lists.items():
        pairs = list(zip(apart, tags, strict=True))
        found[method] = {
            "any of five fits": np.array([bool(set(t) & set(p.tags)) for p, t in pairs], float),
            "share that fits": np.array([sum(x in p.tags for x in t) / 5 for p, t in pairs]),
            "the thing": np.array([p.tags[0] in t for p, t in pairs], float),
        }
    shown = tuple(found["pixtag"])
    rows = mean_rows(found, boot, metrics=shown)
    title = f"{len(apart):,} photos of {boot.n_clusters} concepts, asked about by a stranger"
    note = f"{len(photos) - len(apart):,} photos that the model learned from are left out"
    return Figures("strangers", title, rows, shown, shown[0], notes=(note,) * bool(seen.any()))


def _class_names(photos: Sequence[LabelledPhoto]) -> list[list[str]]:
    """Names of the five likeliest classes of each photo, as tags."""
    encoder = load_encoder()
    weight, bias = classifier()
    names = [normalise_tag(n[0].replace(" ", "").replace("-", "")) or "" for n in class_synonyms()]
    lists: list[list[str]] = []
    for photo in photos:
        pixels = decode(photo.path, target_px=encoder.input_px)
        logits = encoder.embed(pixels[None])[0].astype(np.float32) @ weight.T + bias
        lists.append([names[i] for i in np.argsort(-logits)[:5]])
    return lists


# ------------------------------------------------------------------ first users

N_PEOPLE, LEAST_POSTS, SEED = 50, 5, 20_260_106
RANKS, LAST = 10, 50
SHOWN = ("p@1", "p@5", "r@5", "r@10")
OWN: dict[str, Ranker] = {
    "most_used": most_used,
    "most_recent": most_recent,
    **{f"base_level {decay}": base_level(decay) for decay in DECAYS},
}
"""Baselines on nothing but the person's own posts."""

BEST_OF_EACH = "each person's best baseline"
STEPS = ((1, 1), (2, 2), (3, 3), (4, 5), (6, 10), (11, 20), (21, LAST))
"""Posts of a person that share a segment, first and last."""


def first_users(log: PostLog) -> Ints:
    """Draw the people who are taken out: at most half of those with a few posts."""
    n_posts = np.bincount(log.user_of_post, minlength=len(log.users) + 1)[: len(log.users)]
    able = np.flatnonzero(n_posts >= LEAST_POSTS)
    rng = np.random.default_rng(SEED)
    return np.sort(rng.choice(able, min(N_PEOPLE, len(able) // 2), replace=False))


def without_first_users(log: PostLog, split: Split) -> PostLog:
    """What a model for first users may learn from: the others' posts of the train period."""
    is_other = ~np.isin(log.user_of_post, first_users(log))
    return log.select(is_other & (np.arange(len(log)) < split.train_stop))


def evaluate_first_users(
    log: PostLog, bundle: Bundle, model: Model, *, split: Split, stop: int,
    on_progress: OnProgress | None = None,
) -> Figures:  # fmt: skip
    """Replay people whom the model never met, each with no store but their own posts.

    Beside the model (of a bundle trained on `without_first_users`, or elsewhere) stand the person's
    own baselines, filled up with tags popular in its prior. Posts from `stop` on are not read.

    Raises:
        LeakError: The bundle learned from one of the people or from what came after the cut.
        InputError: Nobody has enough posts.
    """
    people = first_users(log)
    _refuse_what_was_seen(bundle, log, split, people)
    prior = np.bincount(bundle.prior.tag_ids, minlength=len(bundle.prior.tags))
    popular = [bundle.prior.tags[t] for t in np.argsort(-prior, kind="stable").tolist()]
    counted = (np.diff(log.tag_start) > 0) & (log.at > -np.inf) & (np.arange(len(log)) < stop)
    rows_of = [np.flatnonzero(counted & (log.user_of_post == one))[:LAST] for one in people]
    parts: list[dict[str, Values]] = []
    for done, rows in enumerate(rows_of, 1):
        if len(rows):
            parts.append(_replayed(log.select(rows), model, popular))
        if on_progress:
            on_progress(done, len(people), "people")
    if not parts:
        raise InputError(
            f"nobody has {LEAST_POSTS} posts with tags", hint="import the posts of more people"
        )
    found = {
        name: {m: np.concatenate([part[name][m] for part in parts]) for m in SHOWN}
        for name in parts[0]
    }
    row = np.concatenate(rows_of)
    who, which = log.user_of_post[row], 1 + occurrence(log.user_of_post[row])
    best = max(OWN, key=lambda name: float(found[name]["p@5"].mean()))
    found[BEST_OF_EACH] = _best_of_each(found, who)
    masks = {ALL: row >= 0, "after everything that the model learned from": row >= split.train_stop}
    for low, high in STEPS:
        name = f"post {low} to {high}" if low < high else f"post {low}"
        masks[name] = (which >= low) & (which <= high)
    table: list[Row] = []
    for name, mask in masks.items():
        if mask.any():
            part = {n: {m: v[mask] for m, v in values.items()} for n, values in found.items()}
            table += mean_rows(part, Bootstrap(who[mask]), name, metrics=SHOWN,
                              against=(best, BEST_OF_EACH, "pixtag without trend"))  # fmt: skip
    title = f"From the first post on: {len(who):,} posts of {len(parts)} people"
    about = {"best_baseline": best, "bundle": bundle.manifest.digest}
    return Figures("first-user", title, table, SHOWN, about=about)


def _refuse_what_was_seen(bundle: Bundle, log: PostLog, split: Split, people: Ints) -> None:
    mine = np.flatnonzero(np.isin(log.user_of_post, people)).tolist()
    late = range(split.train_stop, len(log))
    for rows, what in ((mine, "of the people taken out"), (late, "after the train period")):
        n_seen = int(bundle.has_seen([log.post_ids[row] for row in rows]).sum())
        if n_seen:
            raise LeakError(
                f"the model learned from {n_seen} posts {what}",
                hint="leave --model out: one is then trained without them",
            )


def _replayed(log: PostLog, model: Model, popular: list[str]) -> dict[str, Values]:
    """Every method over one person's posts, each post with what lies before it."""
    n = len(log)
    ranked = {
        "pixtag": model(log, 0, n, RANKS, Sources()),
        "pixtag without trend": model(log, 0, n, RANKS, Sources(trend=False)),
        **{name: _filled_up(ranker(log, 0, n, RANKS), popular) for name, ranker in OWN.items()},
    }
    return {name: per_post(*find_hits(log, one)) for name, one in ranked.items()}


def _filled_up(ranked: Rankings, popular: list[str]) -> Rankings:
    """The same lists with popular tags after the person's own."""
    tags = list(dict.fromkeys([*ranked.tags, *popular]))
    index = {tag: i for i, tag in enumerate(tags)}
    ids = np.full((len(ranked.rows), RANKS), len(tags), np.int64)
    for row, own in enumerate(ranked.tag_ids.tolist()):
        kept = [t for t in own if t < len(ranked.tags)]
        more = [index[t] for t in popular[: 2 * RANKS] if index[t] not in set(kept)]
        chosen = [*kept, *more][:RANKS]
        ids[row, : len(chosen)] = chosen
    return Rankings(ranked.rows, ids, np.zeros(ids.shape, np.float32), tags)


def _best_of_each(found: Mapping[str, Values], person: Ints) -> dict[str, Doubles]:
    """The values of the baseline that was best for each person, chosen afterwards."""
    best = {metric: np.zeros(len(person)) for metric in SHOWN}
    for one in np.unique(person):
        mine = person == one
        for metric in SHOWN:
            each = (found[name][metric][mine] for name in OWN)
            best[metric][mine] = max(each, key=lambda values: float(values.mean()))
    return best
