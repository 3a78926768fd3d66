"""What is copied from the page: tags, tags in CamelCase for screen readers, an alt text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import regex

Split = Callable[[str], list[str]]

_PARTS = regex.compile(r"\p{L}[\p{L}\p{M}]*|_+|[^\p{L}_]+")
_SCRAP = 2  # letters
MOST_THINGS = 3  # named in an alt text


def words_of(tag: str, split: Split) -> list[str]:
    """The words of a tag, all its letters kept; a run that the words don't explain stays whole.

    Example:
        >>> words_of("goldenhour_24", lambda run: ["golden", "hour"])
        ['golden', 'hour', '24']
    """
    found: list[str] = []
    for part in _PARTS.findall(tag):
        if part.startswith("_"):
            continue
        words = split(part) if part.isascii() and part.isalpha() else []
        # Two scraps beside each other, as in `an as mornings`, are a name that was cut up.
        is_cut = any(len(a + b) <= 2 * _SCRAP for a, b in pairwise(words) if len(a) <= _SCRAP)
        found += words if "".join(words) == part and not is_cut else [part]
    return found or [tag]


def camel_case(tag: str, split: Split) -> str:
    """Write a tag so that screen readers say its words: `goldenhour` as `GoldenHour`."""
    if "_" in tag:
        return "_".join(camel_case(p, split) if p else "" for p in tag.split("_"))
    return "".join(_raised(word) for word in words_of(tag, split))


def _raised(word: str) -> str:
    first = word[:1].upper()
    return (first if len(first) == 1 else word[:1]) + word[1:]  # a leading ß stays one letter


def hashtags(tags: Iterable[str]) -> str:
    """Write tags with their signs, blanks between."""
    return " ".join(f"#{tag}" for tag in tags)


def things_shown(names: Sequence[str], split: Split) -> list[str]:
    """What a photo shows, in words: names of things, the surest first, a few.

    A thing in another one's words is not said again.
    """
    found: list[list[str]] = []
    for tag in names:
        words = words_of(tag, split)
        if not any(set(words) & set(other) for other in found):
            found.append(words)
    return [" ".join(words) for words in found[:MOST_THINGS]]
