"""How Pixtag marks the words that it wrote itself, so that they are not read as the person's.

In XMP they stand in bags of a namespace of its own, in a text sidecar in a line of their own.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from pixtag.tags import normalise_tag

NAMESPACE = "urn:pixtag:xmp:1.0/"  # its lists: Written, Removed, Photo
LINE = "tags by pixtag:"  # a word that the person took away stands there with a minus before it

_WRITTEN = re.compile(r"<pixtag:Written\b(?:(?!<pixtag:Written\b).)*?</pixtag:Written>", re.DOTALL)
_ITEM = re.compile(r"<rdf:li[^<>]*>([^<]*)</rdf:li>")


def key_of(word: str) -> str:
    """What words are compared by: the tag that a word is, else the word in lower case."""
    return normalise_tag(word) or word.strip().casefold().replace("|", "/")


def written_in(xmp: str) -> list[str]:
    """List the words that a text of XMP says Pixtag wrote and nobody has confirmed."""
    bags = _WRITTEN.findall(xmp)
    return [html.unescape(item) for bag in bags for item in _ITEM.findall(bag)]


def split_line(text: str) -> tuple[str, list[str]]:
    """Take Pixtag's line, if any, out of a text sidecar: the rest, and the words in that line."""
    kept: list[str] = []
    words: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.strip().casefold().startswith(LINE):
            found = line.strip()[len(LINE) :].split(",")
            words += [word.strip() for word in found if word.strip()]
        else:
            kept.append(line)
    return "".join(kept), words


def without(words: Iterable[str], written: Iterable[str]) -> list[str]:
    """Leave out words that are among those that Pixtag wrote, however they are spelt."""
    own = {key_of(word) for word in written}
    return [word for word in words if key_of(word) not in own] if own else list(words)
