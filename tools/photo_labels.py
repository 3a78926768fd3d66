"""What labelled photos show: concepts, topics and captions as labels of one reviewed map.

A photo has several labels, and no source names all: what is said of each label is yes, no, or
nothing. Topics are a label's own word for it, captions say what five people wrote.

Shapes:
    N: photos. K: labels, in the order of their names. D: encoder width.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pixtag.train.pixels import PERSON
from pixtag.types import Floats, Halfs

LEAST_WORDS = 2  # captions of five that have a word of a label, from where it is there
WEAK = 0.4  # weight of a "no" that nobody said,
SURE_OF_NO = 3.0  # less so many times the share of photos with a label that have the other too
MOST_OF_SOURCE = 150.0  # weight of all photos of a repository together
THINGS = frozenset({"food", "fruit", "vegetables", "dessert", "drink", "interior", "nature"})
"""A concept with one of these tags shows nobody."""

PHOTOS = ("photos", "captions")
"""Sources that are no repository."""

CONCEPTS_COUNT = 2.5  # weight of a concept's photo: there are few of each
MOST_OF_REPOSITORY, MOST_OF_LABEL, MOST_CAPTIONED = 80, 30, 2000  # photos that become posts


@cache
def photo_map() -> dict[str, Any]:
    """The reviewed map: `tags` of labels, labels that `shows` people, words of `captions`."""
    path = Path(__file__).parent / "photo_tags.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def label_tags() -> dict[str, list[str]]:
    """Tags of each label, best first; a person as such has none."""
    return photo_map()["tags"] | {PERSON: []}


def label_of(concept: str) -> str:
    """The label of a concept or topic."""
    return photo_map()["same"].get(concept, concept)


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo and what is known of it; the labels with most to tell come last."""

    name: str
    source: str  # a repository, or the set that it belongs to
    yes: tuple[str, ...]  # labels that it has
    no: frozenset[str] = frozenset()  # labels that it surely lacks
    is_open: frozenset[str] = frozenset()  # labels of which nothing is known

    @property
    def has(self) -> set[str]:
        """Its labels, with that of a person where another says so."""
        return {*self.yes, PERSON} if _of_people() & set(self.yes) else set(self.yes)


@cache
def _of_people() -> frozenset[str]:
    shows = photo_map()["shows"]
    return frozenset({PERSON, *shows["people"], *shows["body"]})


def topic_photos(folder: Path) -> list[LabelledPhoto]:
    """Photos of the topics; a topic that is no label says nothing."""
    tags = label_tags()
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = [[label_of(topic) for topic in row["topics"].split(";")] for row in rows]
    return [
        LabelledPhoto(f"topics-{row['row']}", row["source_repository"], tuple(dict.fromkeys(known)))
        for row, known in zip(rows, ([a for a in one if a in tags] for one in labels), strict=True)
    ]


def captioned_photos(folder: Path) -> list[LabelledPhoto]:
    """Photos with captions, of which each word of the map says a label."""
    words_of = {label: set(words.split()) for label, words in photo_map()["captions"].items()}
    photos: list[LabelledPhoto] = []
    with gzip.open(folder / "captions.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            said = [set(re.findall("[a-z]+", _plain(c))) for c in row["captions"]]
            n = {label: sum(bool(words & s) for s in said) for label, words in words_of.items()}
            yes = {label for label, times in n.items() if times >= LEAST_WORDS}
            no = {label for label, times in n.items() if not times}
            if PERSON in no:
                no |= _of_people() - yes
            name, open_ = f"captions-{row['row']}", frozenset(n) - yes - no
            photos.append(LabelledPhoto(name, "captions", (*sorted(yes),), frozenset(no), open_))
    return photos


def _plain(caption: str) -> str:
    return re.sub("couple of|hot dogs?|group of (?:dogs|horses)", "", caption.lower())


def concept_photo(name: str, concept: str) -> LabelledPhoto:
    """A photo of one concept; of labels that go with it, and of people, nothing is known."""
    tags, label = label_tags(), label_of(concept)
    alike = {other for other, theirs in tags.items() if theirs and theirs[0] in tags[label]}
    people = _of_people() - {label}
    is_thing = bool(THINGS & set(tags[label]))
    unsure = frozenset(alike if is_thing else alike | people) - {label}
    return LabelledPhoto(name, "photos", (label,), people if is_thing else frozenset(), unsure)


def drawn_tags(photo: LabelledPhoto, chances: Sequence[float], seed: int) -> tuple[str, ...]:
    """Tags that somebody might put on a photo, by the place in its labels' lists; at least one."""
    rng = np.random.default_rng([seed, *photo.name.encode()])
    lists = [tags for label in photo.yes if (tags := label_tags()[label])]
    misses: dict[str, float] = {}
    for tags in lists:
        for tag, chance in zip(tags, chances, strict=False):
            misses[tag] = misses.get(tag, 1.0) * (1.0 - chance)
    drawn = tuple(tag for tag, miss in misses.items() if rng.random() > miss)
    return drawn or tuple(tags[0] for tags in lists[-1:])


def become_posts(photos: Sequence[LabelledPhoto], seed: int) -> set[str]:
    """Names of the photos that become posts with tags: at most so many of a source and label."""
    many = Counter(label for photo in photos for label in photo.yes)
    n_of: Counter[str] = Counter()
    chosen: set[str] = set()
    for i in np.random.default_rng(seed).permutation(len(photos)).tolist():
        photo = photos[i]
        known = [label for label in photo.yes if label != PERSON]
        if not known:
            continue
        rarest = min(known, key=lambda label: many[label])
        most = MOST_CAPTIONED if photo.source in PHOTOS else MOST_OF_REPOSITORY
        of_label = f"{photo.source in PHOTOS} {rarest}"
        if n_of[photo.source] < most and n_of[of_label] < MOST_OF_LABEL:
            n_of.update([photo.source, of_label])
            chosen.add(photo.name)
    return chosen


def targets_of(photos: Sequence[LabelledPhoto | None]) -> tuple[Halfs, Halfs]:
    """What is said of each label of photos; None is a photo of none of them.

    Returns:
        1 where a photo has a label, `[N, K]`, and the weight of each cell, `[N, K]`: 0 where
        nothing is known. A label that a photo lacks is a weak "no", the weaker the more photos of
        the topics with one of its labels have that one too.
    """
    labels = sorted(label_tags())
    index = {label: i for i, label in enumerate(labels)}
    has = np.zeros((len(photos), len(labels)), np.float16)
    for row, photo in enumerate(photos):
        if photo is not None:
            has[row, [index[label] for label in photo.has]] = 1
    is_topic = np.array([p is not None and p.name.startswith("topics-") for p in photos], np.bool_)
    topics = has[is_topic].astype(np.float32)
    together = topics.T @ topics
    share = together / np.maximum(together.diagonal(), 1.0)[:, None]
    doubt = (WEAK * np.clip(1.0 - SURE_OF_NO * share, 0.0, 1.0)).astype(np.float16)
    n_of = Counter(photo.source for photo in photos if photo is not None)
    weight = np.zeros(has.shape, np.float16)
    for row, photo in enumerate(photos):
        if photo is None:
            continue
        cells = weight[row]
        yes = [index[label] for label in photo.has]
        cells[:] = doubt[yes].min(axis=0, initial=WEAK)
        cells[[index[label] for label in photo.is_open]] = 0
        cells[[index[label] for label in photo.no]] = 1
        cells[yes] = 1
        if photo.source not in PHOTOS:
            cells *= min(1.0, MOST_OF_SOURCE / n_of[photo.source])
        elif photo.source == "photos":
            cells *= CONCEPTS_COUNT
    return has, weight


def decoded(path: Path) -> Floats:
    """Embeddings of a file of codes, `[N, D]`."""
    with np.load(path) as kept:
        return kept["floor"] + (kept["step"] * kept["codes"].astype(np.float32)) ** 2
