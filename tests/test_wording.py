"""What words alone keep out of a set."""

from __future__ import annotations

import numpy as np
import pytest

from pixtag.wording import barred_on_people, is_general, is_vague, same_word


def _barred(*names: str, person: float = 0.9, seen: float = 0.0) -> list[str]:
    """Barred on a photo of a smile, where the labels call for the names as much as `seen`."""
    weight = np.array([*[seen] * len(names), 0.8], np.float32)
    barred = barred_on_people([*names, "smile"], person=person, kinds=weight)
    assert not barred[-1]
    return [name for name, is_barred in zip(names, barred[:-1], strict=True) if is_barred]


def test_a_photo_of_people_is_judged_by_nobody():
    judgements = ["sexy", "fat", "ugly", "beautiful", "oldman", "asian", "idiot", "sick", "gay"]
    assert _barred(*judgements, seen=1.0) == judgements
    assert _barred("portrait", "friends", "family", "wedding", "selfie", "style") == []


def test_animals_food_underwear_and_weapons_need_to_be_seen_beside_people():
    things = ["monkey", "dog", "food", "soup", "bikini", "lingerie", "gun", "pregnant", "hospital"]
    assert _barred(*things) == things
    assert _barred(*things, seen=0.5) == things[4:], "what would hurt must be sure"
    assert _barred(*things, seen=0.7) == []


def test_of_people_of_whom_nothing_else_is_sure_little_is_said():
    names, weight = ["gym", "football", "portrait", "people"], np.array([0.1, 0.0, 0.0, 0.0], "f4")
    assert is_vague(0.9, weight)
    assert not is_vague(0.2, weight)
    assert barred_on_people(names, person=0.9, kinds=weight).tolist() == [True, True, False, False]


def test_photos_without_people_keep_their_words():
    assert _barred("old", "dog", "food", "black", person=0.2) == []


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("mushroom", "mushrooms", True),
        ("sports", "sport", True),
        ("puppy", "puppies", True),
        ("swim", "swimming", True),
        ("dance", "dancing", True),
        ("dress", "dresses", True),
        ("weddingdecoration", "weddingdecor", True),
        ("roma", "rome", True),
        ("colors", "colorful", True),
        ("handbags", "purse", True),
        ("reef", "coralreef", True),
        ("cab", "cabrio", False),
        ("pool", "reef", False),
        ("car", "care", False),
        ("party", "part", False),
        ("sky", "ski", False),
        ("wedding", "weddingdress", False),
        ("love", "lovely", False),
    ],
)
def test_plurals_and_participles_are_one_word(one, other, is_same):
    found = same_word([one, "else", other])
    assert found[0, 2] == found[2, 0] == is_same
    assert found.sum() == 2 * is_same


def test_what_a_reviewed_list_calls_the_same_is_the_same_in_all_forms():
    names = ["fries", "frenchfries", "car", "burgers", "hamburger"]
    assert np.argwhere(same_word(names)).tolist() == [[0, 1], [1, 0], [3, 4], [4, 3]]


def test_general_nouns_are_told_from_things():
    assert is_general(["nature", "photography", "love", "tree", "wedding"]).tolist() == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_a_stranger_is_called_by_one_sex_only_when_far_more_looks_like_it():
    def barred(she: float, he: float) -> list[bool]:
        weight = np.array([she, he, 0.5], np.float32)
        return barred_on_people(["woman", "man", "portrait"], person=0.9, kinds=weight).tolist()

    assert barred(0.8, 0.1) == [False, True, False]
    assert barred(0.1, 0.8) == [True, False, False]
    assert barred(0.5, 0.4) == [True, True, False]
