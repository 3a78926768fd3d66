"""The map from labels of photos to hashtags, and what captions and topics say of a photo."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from pixtag.tags import normalise_tag

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))
from tools.photo_labels import LabelledPhoto, concept_photo, drawn_tags, label_tags, targets_of  # noqa: E402

from tools import photo_labels  # noqa: E402 - programs, no package

LISTS = ROOT / "src" / "pixtag" / "data" / "tag_words.toml"
LABELS = sorted(label_tags())


def test_lines_are_in_order_and_tags_in_the_form_that_pixtag_keeps():
    tags = photo_labels.photo_map()["tags"]
    assert list(tags) == sorted(tags)
    assert [label for label, line in tags.items() if not 3 <= len(line) <= 12] == []
    assert [label for label, line in tags.items() if len(set(line)) < len(line)] == []
    written = {tag for line in tags.values() for tag in line}
    assert {tag for tag in written if normalise_tag(tag) != tag} == set()


def test_names_of_labels_are_labels():
    given = photo_labels.photo_map()
    named = [*given["same"].values(), *given["captions"], *given["shows"]["people"]]
    assert {*named, *given["shows"]["body"]} - set(LABELS) == set()


def test_no_label_of_people_leads_to_a_judgement():
    lists = tomllib.loads(LISTS.read_text("utf-8"))["never_on_people"]
    judgements = {word for words in lists.values() for word in words.split()}
    people = photo_labels.photo_map()["shows"]["people"]
    assert {t for label in people for t in label_tags()[label]} & judgements == set()


def _cell(photo: LabelledPhoto, label: str, *others: LabelledPhoto) -> tuple[float, float]:
    targets, weight = targets_of([photo, *others, None])
    assert not weight[-1].any(), "nothing is said of a photo without labels"
    column = LABELS.index(label)
    return float(targets[0, column]), float(weight[0, column])


def test_a_topic_that_is_missing_is_a_weak_no_and_none_where_both_often_stand_together():
    bride = LabelledPhoto("topics-0", "one", ("bride",))
    both = LabelledPhoto("topics-1", "two", ("bride", "wedding"))
    assert _cell(bride, "bride") == (1.0, 1.0)
    has, weight = _cell(bride, "pizza")
    assert has == 0
    assert 0 < weight < 1
    assert _cell(bride, "wedding", both) == (0.0, 0.0)


def test_who_shows_people_shows_somebody():
    assert _cell(LabelledPhoto("topics-0", "one", ("bride",)), "person") == (1.0, 1.0)
    assert _cell(LabelledPhoto("topics-0", "one", ("nails",)), "person") == (1.0, 1.0)
    assert _cell(concept_photo("p", "pizza"), "person")[0] == 0
    assert _cell(concept_photo("p", "soccer"), "person") == (0.0, 0.0), "players, or a ball"


def test_captions_say_yes_no_or_nothing(tmp_path):
    import gzip
    import json

    said = [
        "A man and a dog .",
        "a man with his dogs",
        "A guy walks",
        "a puppy",
        "A man on a beach",
    ]
    with gzip.open(tmp_path / "captions.jsonl.gz", "wt") as file:
        file.write(json.dumps({"row": 3, "captions": said}) + "\n")
    (photo,) = photo_labels.captioned_photos(tmp_path)
    assert {"man", "dog", "person"} <= photo.has
    assert "beach" in photo.is_open
    assert {"snow", "woman"} <= photo.no


def test_drawn_tags_are_of_the_labels_and_never_none():
    photo = LabelledPhoto("topics-7", "one", ("bride", "bouquet"))
    allowed = {*label_tags()["bride"], *label_tags()["bouquet"]}
    assert set(drawn_tags(photo, (0.9, 0.5), 1)) <= allowed
    assert drawn_tags(photo, (0.9, 0.5), 1) == drawn_tags(photo, (0.9, 0.5), 1)
    assert len(drawn_tags(photo, (0.0,), 1)) == 1


def test_over_full_sources_and_labels_are_capped():
    photos = [LabelledPhoto(f"topics-{i}", f"shop {i % 2}", ("bride",)) for i in range(400)]
    assert len(photo_labels.become_posts(photos, 1)) == photo_labels.MOST_OF_LABEL
    topics = [label for label in LABELS if label != "person"][:400]
    of_one = [LabelledPhoto(f"topics-{i}", "shop", (t,)) for i, t in enumerate(topics)]
    assert len(photo_labels.become_posts(of_one, 1)) == photo_labels.MOST_OF_REPOSITORY


@pytest.mark.shared
def test_most_topics_of_ten_photos_are_labels():
    folder = ROOT.parent / "shared" / "data" / "topics"
    if not folder.is_dir():
        pytest.skip("the shared embeddings are not beside this checkout")
    photos = photo_labels.topic_photos(folder)
    assert np.mean([bool(photo.yes) for photo in photos]) > 0.95
