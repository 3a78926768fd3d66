"""A stranger's five on photos of repositories that the model never met: fit, people, shame.

    python -m tools.shipped_bundle --shared ../shared --hold-out topics --out out/apart.safetensors
    python -m experiments.strangers_by_source --shared ../shared --model out/apart.safetensors

Topics, whole repositories apart, and photos with captions. A suggestion fits when the reviewed map,
or the proposed hashtags of one of the photo's topics, list it; the thing is any name that leads
them. On photos of people, a word for people is one of `FOR_PEOPLE`, and absurd or shaming is a word
of the lists of `tag_words.toml` that no label of the photo has. Ethnic wear, hijab, babies and the
old are shown apart: the only stand-ins that there are for culture and age. Intervals are 95 % of a
bootstrap over sources, over photos where all are of one, as those with captions.
"""

from __future__ import annotations

import argparse
import csv
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from tools.photo_labels import (
    LabelledPhoto,
    captioned_photos,
    decoded,
    label_of,
    label_tags,
    photo_map,
    topic_photos,
)

from pixtag.bundle import Bundle, load_bundle
from pixtag.evaluate import labelled
from pixtag.evaluate.metrics import Bootstrap

FOR_PEOPLE = """
    portrait people man men woman women girl girls boy boys guy child children kids baby
    babygirl babyboy toddler newborn mother mom motherhood father dad fatherhood family
    familytime siblings friends friendship bestfriends couple couplegoals groupphoto selfie
    wedding bride groom bridetobe engaged engagement graduation style mensfashion womensfashion
    menstyle fashion model ootd outfit streetstyle hair hairstyle makeup beauty dance dancer
    fitness workout athlete team student teacher singer musician maternity pregnancy hijab saree
"""
"""Words that say that somebody is in a photo."""

APART = ("baby", "toddler", "elderly", "african_fashion", "ethnic_wear", "hijab", "saree")


def barred_words() -> set[str]:
    """Judgements, and animals, food and the like, which need somebody's label to stand there."""
    held = tomllib.loads(files("pixtag").joinpath("data/tag_words.toml").read_text("utf-8"))
    tables = ("never_on_people", "on_people_if_seen", "on_people_if_sure")
    return {word for table in tables for text in held[table].values() for word in text.split()}


def measured(
    bundle: Bundle,
    photos: Sequence[LabelledPhoto],
    embeddings: np.ndarray,
    further: Sequence[Sequence[str]],
    concepts: set[str],
) -> None:
    """Print what the five of photos that the model never met are worth.

    `further` are more tags that fit each photo; `concepts` have photos of their own, to learn from.
    """
    tags, people = label_tags(), set(photo_map()["shows"]["people"])
    seen = bundle.has_seen([photo.name for photo in photos])
    apart = [i for i in np.flatnonzero(~seen).tolist() if photos[i].yes]
    known = [
        labelled.LabelledPhoto(photos[i].yes[0], ("?",), (photos[i].name,), embedding=embeddings[i])
        for i in apart
    ]
    fives = labelled.Asker(bundle, known).fives(range(len(known)))
    fitting = [{t for a in photos[i].yes for t in tags[a]} | set(further[i]) for i in apart]
    things = [{tags[a][0] for a in photos[i].yes if tags[a]} for i in apart]
    of_people = np.array([bool(people & set(photos[i].yes)) for i in apart])
    barred, for_people = barred_words(), set(FOR_PEOPLE.split())
    scores = {
        "one of five fits": [bool(f & set(t)) for f, t in zip(fitting, fives, strict=True)],
        "share that fits": [len(f & set(t)) / 5 for f, t in zip(fitting, fives, strict=True)],
        "the thing": [bool(f & set(t)) for f, t in zip(things, fives, strict=True)],
        "a word for people": [bool(for_people & set(t)) for t in fives],
        "absurd or shaming": [
            bool(barred & set(t) - f) for f, t in zip(fitting, fives, strict=True)
        ],
    }
    sources = np.array([photos[i].source for i in apart])
    of_concepts = np.array([photos[i].yes[0] in concepts for i in apart], np.bool_)
    parts = {"all": np.ones(len(apart), np.bool_), "of people": of_people}
    parts |= {"of a concept": of_concepts, "of no concept": ~of_concepts}
    parts |= {name: np.array([name in photos[i].yes for i in apart], np.bool_) for name in APART}
    for part, rows in parts.items():
        if not rows.any():
            print(f"{part}: no photo of an unseen source")
            continue
        boot = Bootstrap(np.unique(sources[rows], return_inverse=True)[1])
        names = list(scores)[:3] if part == "all" or "concept" in part else list(scores)
        print(f"{part}: {int(rows.sum())} photos of {len(np.unique(sources[rows]))} sources")
        for name in names:
            one = boot.over_posts(np.array(scores[name], float)[rows])
            print(f"  {name:20s} {one.mean:.3f} [{one.low:.3f}, {one.high:.3f}]")


def main() -> None:
    """Measure a model on topics and captions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True, help="folder with data/topics, ...")
    parser.add_argument("--model", type=Path, required=True)
    given = parser.parse_args()
    bundle, data = load_bundle(given.model), given.shared / "data"
    by_topic = labelled.tags_by_concept(data / "topics" / "topics.csv")
    with (data / "topics" / "manifest.csv").open(encoding="utf-8", newline="") as file:
        topics = [row["topics"].split(";") for row in csv.DictReader(file)]
    with (data / "photos" / "manifest.csv").open(encoding="utf-8", newline="") as file:
        concepts = {label_of(row["concept"]) for row in csv.DictReader(file)}
    further = [[tag for one in names for tag in by_topic.get(one, ())] for names in topics]
    print("topics")
    looks = decoded(data / "topics" / "embeddings.npz")
    measured(bundle, topic_photos(data / "topics"), looks, further, concepts)
    print("captions")
    captioned = captioned_photos(data / "captions")
    looks = decoded(data / "captions" / "embeddings.npz")
    measured(bundle, captioned, looks, [()] * len(captioned), concepts)


if __name__ == "__main__":
    main()
