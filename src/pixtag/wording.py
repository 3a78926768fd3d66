"""What words alone keep out of a set: judgements of people, a word twice, a third general noun.

Shapes:
    C: candidates.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from pixtag.types import Bools, Floats

SHOWS_PEOPLE = 0.5  # chance that a photo shows somebody from where the lists for people hold,
SURELY_PEOPLE = 0.8  # and from where it is called a photo of people when nothing else is known
SEEN, SURE = 0.4, 0.6  # expected weights of a tag by the labels from where it is in such a photo
SAYS_MORE, LEAST_VAGUE = 0.3, 0.25  # of the best tag, where labels say more than people; else least
FAR_MORE = 1.5  # times as much as for the other sex is what words of one must be called for
MOST_GENERAL = 2  # general nouns in a stranger's set
_MOST_KEPT = 1 << 16  # words whose forms are kept


@cache
def _held() -> dict[str, Any]:
    text = files("pixtag").joinpath("data", "tag_words.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@cache
def _lists() -> dict[str, frozenset[str]]:
    """The reviewed lists of `data/tag_words.toml`; a table is one list too."""
    held = _held()
    tables = {k: " ".join(v.values()) for k, v in held.items() if isinstance(v, dict)}
    return {k: frozenset(v.split()) for k, v in (held | held["called"] | tables).items()}


def barred_on_people(names: Sequence[str], *, person: float, kinds: Floats) -> Bools:
    """Which tags a stranger is not offered for a photo that shows people, `[C]`.

    Args:
        names: Tags, `[C]`.
        person: Chance that the photo shows somebody; below `SHOWS_PEOPLE` nothing is barred.
        kinds: Expected weight of each tag by the labels of photos, `[C]`.
    """
    if person < SHOWS_PEOPLE:
        return np.zeros(len(names), np.bool_)
    barred = _of(names, "never_on_people")
    barred |= _of(names, "on_people_if_seen") & (kinds < SEEN)
    barred |= _of(names, "on_people_if_sure") & (kinds < SURE)
    if is_vague(person, kinds):
        barred |= ~_of(names, "people") & (kinds < LEAST_VAGUE)
    sexes = [_of(names, who) for who in ("she", "he")]
    called = [float(kinds[sex].max(initial=0.0)) for sex in sexes]
    for sex, mine, other in zip(sexes, called, reversed(called), strict=True):
        barred |= sex & (mine <= FAR_MORE * other)
    return barred


def is_shaming(names: Sequence[str]) -> Bools:
    """Which tags judge people's looks, body, age, origin, health or private life, `[C]`."""
    return _of(names, "never_on_people")


def is_general(names: Sequence[str]) -> Bools:
    """Which tags are general nouns, `[C]`."""
    return _of(names, "general")


def names_theme(names: Sequence[str]) -> Bools:
    """Which tags are general nouns, places, themes, times or styles: nothing to be seen, `[C]`."""
    return is_general(names) | _of(names, "themes")


def is_vague(person: float, kinds: Floats) -> bool:
    """Whether a photo shows people, and labels with expected weights `[C]` don't say more."""
    return person >= SURELY_PEOPLE and bool(kinds.max(initial=0.0) < SAYS_MORE)


def _of(names: Sequence[str], which: str) -> Bools:
    """Which tags are of a list, `[C]`."""
    known = _lists()[which]
    return np.fromiter(map(known.__contains__, names), np.bool_, len(names))


def same_word(names: Sequence[str]) -> Bools:
    """Which tags are one word in two forms, `[C, C]`; False on the diagonal.

    #dog and #dogs, #swim and #swimming; and words that a reviewed list has as the same.
    """
    index = {name: i for i, name in enumerate(names)}
    found = np.zeros((len(names), len(names)), np.bool_)
    for i, name in enumerate(names):
        for other in index.keys() & _others(name):
            found[i, index[other]] = found[index[other], i] = True
    return found


@lru_cache(_MOST_KEPT)
def _others(word: str) -> frozenset[str]:
    """Other words that are the same in another form."""
    return frozenset(forms(word) | _same().get(word, set())) - {word}


@cache
def _same() -> dict[str, set[str]]:
    """What says the same as a word, in all its forms."""
    found: dict[str, set[str]] = {}
    for line in _held()["same"].splitlines():
        words = {form for word in line.split() for form in (word, *forms(word))}
        found |= dict.fromkeys(words, words)
    return found


def forms(word: str) -> set[str]:
    """Plurals and participles of a word, as #puppies of #puppy and #swimming of #swim."""
    cut = word[:-1]
    found = {f"{word}s", f"{word}es", f"{word}ing", f"{word}{word[-1:]}ing", f"{cut}ing"}
    return found | {f"{cut}ies"} if word.endswith("y") else found
