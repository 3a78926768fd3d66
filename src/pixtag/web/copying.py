"""What is copied from the page: tags, tags in CamelCase for screen readers, an alt text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import regex

from pixtag.types import Suggestion

Split = Callable[[str], list[str]]

_PARTS = regex.compile(r"\p{L}[\p{L}\p{M}]*|_+|[^\p{L}_]+")
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
        found += words if "".join(words) == part else [part]
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


def things_shown(suggestions: Sequence[Suggestion], split: Split) -> list[str]:
    """What a photo shows, in words: suggested tags for which the pixels speak most."""
    seen = [s.tag for s in suggestions if s.reasons and s.reasons[0].source == "pixels"]
    return [" ".join(words_of(tag, split)) for tag in seen][:MOST_THINGS]
