"""The model that ships: trained on world and on labelled photos, with class-to-tag matrices.

    python -m tools.shipped_bundle --shared ../shared                       # the model itself
    python -m tools.shipped_bundle --shared ../shared --hold-out photos     # to be scored
    python -m tools.shipped_bundle --shared ../shared --hold-out concepts   # whole concepts
    python -m tools.shipped_bundle --shared ../shared --hold-out topics     # whole repositories
    python -m tools.shipped_bundle --shared ../shared --hold-out topic-photos     # photo by photo
    python -m tools.shipped_bundle --shared ../shared --hold-out people     # score_habits.py

Posts of world keep their people and times; names that the simulation invented (of events, of
people's own tags) are never learned, so the model does not hold them. Labelled photos (concepts,
topics, photos with captions) become posts of nobody without a time, with tags drawn from the
reviewed map photo_tags.toml; photos of over-full sources and labels teach the classifier of labels
alone. The network also learns from posts of real people without photos (their habits, not their
tags). Half of the concepts and every repository of the topics are dealt into folds whole, so that
the network learns what to do with a photo of a kind that it never saw, the others photo by photo.
No vector of a photo of the topics or with captions enters the model (some of the concepts' photos
are among the latter). Embeddings of world and of the concepts are kept in out/shipped.sqlite; an
interrupted run goes on.
"""

from __future__ import annotations

import argparse
import csv
import tomllib
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.cluster.vq import kmeans2
from tools.photo_labels import (
    LabelledPhoto,
    become_posts,
    captioned_photos,
    concept_photo,
    decoded,
    drawn_tags,
    label_tags,
    targets_of,
    topic_photos,
)

from pixtag.cli import output
from pixtag.encoder import load_encoder
from pixtag.images import digest
from pixtag.ingest import find_sources, import_posts
from pixtag.photos import embed_missing
from pixtag.splits import history_length
from pixtag.store import Store
from pixtag.train.config import TrainConfig
from pixtag.train.fit import fit
from pixtag.train.plan import Auxiliary
from pixtag.types import Halfs, Ints, Photo, Post, PostLog

ROOT = Path(__file__).parent.parent
TOOLS = ROOT / "tools"
CHANCES = (0.9, 0.6, 0.45, 0.35, 0.28, 0.22, 0.18, 0.15, 0.12, 0.1, 0.08)
"""Chance of a concept's tag by its place in the map."""

NONE_LENT, ANY_LENT, BY_TAGS = 0, 1, 2
LENT = (0.4, 0.2, 0.4)
"""Share of the real people who are lent no photos, any, and such as go with their tags."""

N_LOOKS, LEAST_USES, FIRST_POSTS = 100, 3, 20
N_HELD_CONCEPTS = 36
HOLD_OUTS = (
    "photos", "concepts", "inner", "inner-concepts", "topics", "inner-topics", "topic-photos",
)  # fmt: skip
PEOPLE = "people"
HABITS = ("institutions", "city-photos")
"""Logs of real people that may be learned from; with `people`, every second person."""
TITLE = (
    "a simulation of people on real photos, labelled photos of 180 concepts, and, as embeddings of "
    "which none is held, 7,461 photos of some 500 topics of what people post and 8,091 everyday "
    "photos with captions (Flickr8k); the network also on up to 12,500 posts of real people "
    "without photos: public institutions and photographers of a city, of whom it holds neither "
    "tags nor names"
)
FLICKR8K = "aysi-dfw/flickr-data"  # where photos of concepts come from that have captions too
N_NONE = 4000
NONE_WEIGHT = 0.1  # of a photo of world whose tags name no concept: what a label is not
SEED = 20_260_105
CONFIG = TrainConfig(
    first_users=100,
    histories=4500,
    topics=256,
    epochs=7,
    photoless=0.5,
    teachers=2,
    drop_sources=0.7,
)


def class_tags() -> list[list[str]]:
    """Tags of each of the encoder's classes, best first, in index order."""
    tags = tomllib.loads((TOOLS / "class_tags.toml").read_text(encoding="utf-8"))["tags"]
    return [tags[str(i)] for i in range(len(tags))]


def simulated_tags() -> set[str]:
    """Names that the simulation invented."""
    lines = (TOOLS / "simulated_tags.txt").read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def concept_of(post_id: str) -> str:
    """The concept of a labelled photo's post."""
    return post_id.removeprefix("photo-").rsplit("-", 1)[0]


def held_out(post_ids: Sequence[str], kind: str) -> set[str]:
    """Labelled photos kept apart: a fifth photo by photo, or all photos of 36 concepts.

    Args:
        post_ids: Of the labelled photos, sorted.
        kind: `photos` or `concepts`, to be scored; to choose on, `inner`, another fifth of what
            `photos` leaves, and `inner-concepts`, 36 others than those of `concepts`.
    """
    fifth = np.random.default_rng(SEED).random(len(post_ids)) < 0.2
    if kind == "inner":
        fifth = ~fifth & (np.random.default_rng(SEED + 2).random(len(post_ids)) < 0.2)
    if kind in {"photos", "inner"}:
        return {p for p, is_held in zip(post_ids, fifth, strict=True) if is_held}
    concepts = sorted({concept_of(p) for p in post_ids})
    chosen = np.random.default_rng(SEED + 1).choice(len(concepts), N_HELD_CONCEPTS, replace=False)
    apart = {concepts[i] for i in chosen}
    if kind == "inner-concepts":
        others = [c for c in concepts if c not in apart]
        chosen = np.random.default_rng(SEED + 4).choice(len(others), N_HELD_CONCEPTS, replace=False)
        apart = {others[i] for i in chosen}
    return {p for p in post_ids if concept_of(p) in apart}


def sources_apart(
    photos: Sequence[LabelledPhoto], *, inner: bool = False, by_photo: bool = False
) -> set[str]:
    """Photos of a fifth of the repositories, and a fifth of those with captions.

    Args:
        photos: Of the topics, and with captions.
        inner: To choose on: another fifth.
        by_photo: A fifth of the photos instead, whatever their repository.
    """
    units = {p.name: p.name if by_photo or p.source == "captions" else p.source for p in photos}
    part = 1 if inner else 0
    return {name for name, unit in units.items() if zlib.crc32(unit.encode()) % 5 == part}


def shared_with_captions(folder: Path) -> set[str]:
    """Posts of the photos of concepts that are photos of the captions too."""
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source_repository"] == FLICKR8K]
    return {f"photo-{row['concept']}-{Path(row['file']).stem}" for row in rows}


def photo_posts(folder: Path) -> list[Post]:
    """Photos of concepts as posts of nobody."""
    posts: list[Post] = []
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            path = folder / row["file"]
            name = f"photo-{row['concept']}-{Path(row['file']).stem}"
            posts.append(Post(name, None, None, (), (Photo(str(path.absolute()), digest(path)),)))
    return posts


def fill(store: Path, shared: Path) -> None:
    """Read world and the labelled photos into a store and look at them."""
    store.parent.mkdir(parents=True, exist_ok=True)
    with Store.open(store, create=True) as opened, output.progress("reading") as bar:
        import_posts(find_sources([shared / "data/world/posts.jsonl"]), opened)
        opened.add_posts(photo_posts(shared / "data/photos"))
        embed_missing(opened, load_encoder(), on_progress=bar.update)


def labelled_photos(shared: Path, log: PostLog) -> tuple[list[LabelledPhoto], dict[str, Halfs]]:
    """Every labelled photo, and the embeddings of those that are in no store."""
    photos = [concept_photo(p, concept_of(p)) for p in log.post_ids if p.startswith("photo-")]
    embeddings: dict[str, Halfs] = {}
    for name, read in (("topics", topic_photos), ("captions", captioned_photos)):
        found = read(shared / "data" / name)
        rows = decoded(shared / "data" / name / "embeddings.npz").astype(np.float16)
        embeddings |= {photo.name: row for photo, row in zip(found, rows, strict=True)}
        photos += found
    return photos, embeddings


def training_log(
    store: Path, shared: Path, *, hold_out: str | None
) -> tuple[PostLog, list[LabelledPhoto | None]]:
    """The posts to learn from, and what is known of the photo of each.

    Args:
        store: From `fill`.
        shared: Where topics and captions are.
        hold_out: As for `held_out`, or None for everything.
    """
    with Store.open(store, read_only=True) as opened:
        log = opened.log(load_encoder().digest)
    photos, embeddings = labelled_photos(shared, log)
    with_tags = become_posts(photos, SEED + 7)
    labelled = {p.name: p for p in photos}
    concepts = sorted(p for p in labelled if p.startswith("photo-"))
    others = [p for p in photos if not p.name.startswith("photo-")]
    apart = set[str]()
    if hold_out in {"topics", "inner-topics"}:
        apart = held_out(concepts, "photos") | sources_apart(others)
    elif hold_out == "topic-photos":
        apart = held_out(concepts, "photos") | sources_apart(others, by_photo=True)
    elif hold_out not in (None, PEOPLE):
        apart = held_out(concepts, hold_out)
    if hold_out == "inner":
        apart |= held_out(concepts, "photos")
    if hold_out == "inner-topics":
        apart |= held_out(concepts, "inner") | sources_apart(others, inner=True)
    posts = [
        Post(p.name, None, None, drawn_tags(p, CHANCES, SEED) if p.name in with_tags else ())
        for p in photos
        if p.name not in apart
    ]
    vectors = embeddings | dict(zip(log.post_ids, log.embeddings, strict=True))
    vectors = {p.post_id: vectors[p.post_id] for p in posts}
    is_world = np.array([p not in labelled for p in log.post_ids])
    whole = joined(PostLog.of(posts, vectors), log.select(is_world))
    return whole, [labelled.get(p) for p in whole.post_ids]


def joined(untimed: PostLog, log: PostLog) -> PostLog:
    """Posts of nobody without a time, and after them those of a log that all have one."""
    tags = list(dict.fromkeys([*untimed.tags, *(log.tags[t] for t in np.unique(log.tag_ids))]))
    index = {tag: i for i, tag in enumerate(tags)}
    of_tag = np.array([index.get(tag, -1) for tag in log.tags], np.int64)
    nobody = np.full(len(untimed), len(log.users))
    return PostLog(
        post_ids=[*untimed.post_ids, *log.post_ids],
        users=log.users,
        tags=tags,
        user_of_post=np.concatenate([nobody, log.user_of_post]),
        at=np.concatenate([untimed.at, log.at]),
        tag_start=np.concatenate([untimed.tag_start, untimed.tag_start[-1] + log.tag_start[1:]]),
        tag_ids=np.concatenate([untimed.tag_ids, of_tag[log.tag_ids]]),
        has_photo=np.concatenate([untimed.has_photo, log.has_photo]),
        embeddings=np.concatenate([untimed.embeddings, log.embeddings]),
    )


def log_of_habits(name: str, shared: Path) -> PostLog:
    """The posts of a log of real people without photos, kept in a store of its own."""
    store = ROOT / "out" / f"{name}.sqlite"
    if not store.exists():
        with Store.open(store, create=True) as opened:
            import_posts(find_sources([shared / f"data/tags/{name}.jsonl.gz"]), opened)
    with Store.open(store, read_only=True) as opened:
        log = opened.log(load_encoder().digest)
    # These logs number their posts alike.
    return replace(log, post_ids=[f"{name}-{post_id}" for post_id in log.post_ids])


def learned_habits(shared: Path, photos: PostLog, *, hold_out: str | None) -> list[PostLog]:
    """The logs of real people that the network learns from, with photos lent to some.

    Args:
        shared: Where the logs are.
        photos: Posts whose photos may be lent.
        hold_out: As for `held_out`.
    """
    logs = [log_of_habits(name, shared) for name in HABITS]
    if hold_out == PEOPLE:
        logs = [log.select(log.user_of_post % 2 == 0) for log in logs]
    alike = photos_alike(photos)
    return [with_lent_photos(log, photos, alike) for log in logs]


def photos_alike(photos: PostLog) -> list[Ints]:
    """Rows of posts whose photos look alike, in groups."""
    rng = np.random.default_rng(SEED + 6)
    pool = np.flatnonzero(photos.has_photo)
    looks = photos.embeddings[pool].astype(np.float32)
    # Distances survive a random projection, which is a twentieth of the work.
    looks = looks @ rng.normal(size=(looks.shape[1], 64)).astype(np.float32)
    _, group = kmeans2(looks - looks.mean(axis=0), N_LOOKS, iter=10, minit="++", rng=rng)
    groups = [pool[group == i] for i in range(N_LOOKS)]
    return [rows for rows in groups if len(rows)]


def with_lent_photos(log: PostLog, photos: PostLog, alike: Sequence[Ints]) -> PostLog:
    """Real habits with photos of others, for those who have none of their own.

    To some people none, to some any, and to others photos that go with their tags: posts about
    the same (their rarest tag that the person uses time and again) get photos that look alike. So
    the network meets real habits with photos that tell something and with such as tell nothing.
    A person's first posts get none: what a stranger's photo shows must not seem to be wrong.

    Args:
        log: Posts without photos.
        photos: Posts whose photos are lent.
        alike: Rows of photos that look alike, group by group.
    """
    rng = np.random.default_rng(SEED + 5)
    pool = np.concatenate(alike)
    row = log.post_of_use
    keys = log.user_of_post[row] * len(log.tags) + log.tag_ids
    _, place, uses = np.unique(keys, return_inverse=True, return_counts=True)
    relation = rng.choice(3, len(log.users) + 1, p=LENT)[log.user_of_post]
    lent = rng.choice(pool, len(log))
    for post in np.flatnonzero(relation == BY_TAGS).tolist():
        span = slice(log.tag_start[post], log.tag_start[post + 1])
        times = uses[place[span]]
        often = np.flatnonzero(times >= LEAST_USES)
        if len(often):
            tag = log.tag_ids[span][often[times[often].argmin()]]
            lent[post] = rng.choice(alike[zlib.crc32(log.tags[tag].encode()) % len(alike)])
    has_photo = (relation != NONE_LENT) & (history_length(log) >= FIRST_POSTS)
    embeddings = np.where(has_photo[:, None], photos.embeddings[lent], np.float16(0.0))
    return replace(log, has_photo=has_photo, embeddings=embeddings)


def groups_of(photos: Sequence[LabelledPhoto | None]) -> list[str]:
    """Which photos are dealt into folds together: every second concept, and each repository."""
    concepts = sorted({p.yes[0] for p in photos if p is not None and p.source == "photos"})
    whole = {None, *concepts[::2]}
    own = ("photos", "captions")
    return [
        ""
        if p is None or (p.source in own and (p.source != own[0] or p.yes[0] not in whole))
        else f"{p.source} {p.yes[0]}"
        if p.source in own
        else p.source
        for p in photos
    ]


def main_labels(log: PostLog, photos: Sequence[LabelledPhoto | None]) -> list[str]:
    """The rarest label of each photo of concepts and topics whose post has tags, or empty."""
    many = Counter(label for photo in photos if photo is not None for label in photo.yes)
    has_tag = (np.diff(log.tag_start) > 0).tolist()
    return [
        min(p.yes, key=lambda label: many[label])
        if p is not None and tagged and p.source != "captions"
        else ""
        for p, tagged in zip(photos, has_tag, strict=True)
    ]


def targets_and_none(log: PostLog, photos: Sequence[LabelledPhoto | None]) -> tuple[Halfs, Halfs]:
    """What is said of each label, also of some photos of world, which are of none.

    Those are drawn from the posts none of whose tags holds the name of a label that is a concept.
    """
    targets, weight = targets_of(photos)
    is_world = np.array([photo is None for photo in photos])
    concepts = {p.yes[0] for p in photos if p is not None and p.source == "photos"}
    things = {label_tags()[concept][0] for concept in concepts}
    names_one = np.array(
        [t in things or any(len(w) > 3 and w in t for w in things) for t in log.tags]
    )
    tells = np.bincount(log.post_of_use, weights=names_one[log.tag_ids], minlength=len(log)) > 0
    others = np.flatnonzero(is_world & ~tells)
    drawn = np.random.default_rng(SEED + 3).choice(others, min(N_NONE, len(others)), replace=False)
    weight[is_world] = 0.0
    weight[drawn] = NONE_WEIGHT
    return targets, weight


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True, help="folder with data/world, ...")
    parser.add_argument("--hold-out", choices=[*HOLD_OUTS, PEOPLE])
    parser.add_argument("--refill", action="store_true", help="read the photos anew")
    parser.add_argument("--out", type=Path, help="default: out/shipped[-HOLD_OUT].safetensors")
    given = parser.parse_args()
    name = f"shipped-{given.hold_out}" if given.hold_out else "shipped"
    out = given.out or ROOT / "out" / f"{name}.safetensors"
    out.parent.mkdir(parents=True, exist_ok=True)
    store = ROOT / "out" / "shipped.sqlite"
    if not store.exists() or given.refill:
        fill(store, given.shared)
    log, photos = training_log(store, given.shared, hold_out=given.hold_out)
    targets, weight = targets_and_none(log, photos)
    with output.progress("training", unit="steps") as bar:
        fit(
            log,
            out=out,
            config=CONFIG,
            use_all=True,
            encoder_digest=load_encoder().digest,
            auxiliary=Auxiliary(
                unlearned=simulated_tags(),
                bridge_tags=class_tags(),
                groups=groups_of(photos),
                kinds=main_labels(log, photos),
                targets=targets,
                target_weight=weight,
                kind_tags=label_tags(),
                withheld={p.name for p in photos if p is not None and p.source != "photos"}
                | shared_with_captions(given.shared / "data/photos"),
                others=learned_habits(given.shared, log, hold_out=given.hold_out),
            ),
            title=TITLE,
            on_stage=lambda stage, done, total: bar.update(done, total, stage),
        )
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
