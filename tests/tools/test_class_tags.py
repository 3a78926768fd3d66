"""The map from image classes to hashtags: whole, in Pixtag's form, and sensible."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from handmade import class_names
from pixtag.encoder import class_synonyms
from pixtag.tags import normalise_tag

MAP = Path(__file__).parent.parent.parent / "tools" / "class_tags.toml"

OLD_LABELS = (
    "petstagram cute foodie dogsofinstagram sweet goodfood italiandinner breakfast chicken "
    "dogoftheday yummy instapets icecream cats mexicanfood animal adorable lovecats catstagram "
    "sandwich dessert eggs kitty pasta meow ilovemydog delish dog foodlover cake pizza puppylove"
)

# Tags that are put on anything say nothing about a photo.
SAY_NOTHING = {"instagood", "love", "photooftheday", "picoftheday", "instadaily", "follow", "like"}


@pytest.fixture(scope="module")
def tags() -> dict[str, list[str]]:
    return tomllib.loads(MAP.read_text("utf-8"))["tags"]


def test_every_class_has_one_line_in_index_order(tags):
    assert list(tags) == [str(index) for index in range(1000)]
    assert len(class_names()) == len(tags)


def test_each_line_is_commented_with_the_name_of_its_own_class(tags):
    lines = re.findall(r"^(\d+) = \[.*\]  # (.+)$", MAP.read_text("utf-8"), flags=re.MULTILINE)
    assert len(lines) == len(tags)
    synonyms = class_synonyms()
    assert [(i, name) for i, name in lines if name not in synonyms[int(i)]] == []


def test_four_to_eight_different_tags_each(tags):
    assert [i for i, line in tags.items() if not 4 <= len(line) <= 8] == []
    assert [i for i, line in tags.items() if len(set(line)) < len(line)] == []


def test_tags_are_in_the_form_that_pixtag_keeps(tags):
    written = {tag for line in tags.values() for tag in line}
    assert {tag for tag in written if normalise_tag(tag) != tag} == set()
    assert {tag for tag in written if not re.fullmatch("[a-z0-9]+", tag)} == set()


def test_every_label_of_the_old_project_can_be_reached(tags):
    written = {tag for line in tags.values() for tag in line}
    labels = OLD_LABELS.split()
    assert len(labels) == 32
    assert set(labels) - written == set()


def test_no_tag_that_fits_any_photo(tags):
    written = {tag for line in tags.values() for tag in line}
    assert written & SAY_NOTHING == set()


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("golden retriever", "dog"),
        ("tabby", "cat"),
        ("goldfinch", "bird"),
        ("espresso", "coffee"),
        ("seashore", "beach"),
        ("cheeseburger", "burger"),
        ("carbonara", "pasta"),
        ("container ship", "ship"),
        ("alp", "mountains"),
        ("daisy", "flowers"),
        ("groom", "wedding"),
        ("studio couch", "livingroom"),
    ],
)
def test_the_thing_itself_comes_first_by_its_everyday_word(tags, name, first):
    (index,) = (i for i, names in enumerate(class_synonyms()) if names[0] == name)
    assert tags[str(index)][0] == first


def test_all_breeds_of_dogs_and_cats_lead_with_the_animal(tags):
    # In the classes' order, 151 to 268 are breeds of dogs and 281 to 285 cats.
    assert {tags[str(i)][0] for i in range(151, 269)} == {"dog"}
    assert {tags[str(i)][0] for i in range(281, 286)} == {"cat"}
