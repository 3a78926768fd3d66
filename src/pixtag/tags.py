"""Hashtags: finding them in text, and the one form in which Pixtag keeps them.

A tag is letters of any script, digits, underscore and emoji, and not only digits. It is kept
without the sign, in lower case and NFKC, so that `#Café` and the full-width `CAFÉ` are one, but
spelt as people type it: `#straße` keeps its ß, Thai and Korean their own letters.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

import regex

# Longest tag kept, in code points; longer ones are no words that anybody reuses
MAX_TAG_LENGTH = 100
# Most tags kept of one post. Platforms allow 5 to 75; more is spam or a broken file.
MAX_TAGS_PER_POST = 200
_SIGN = r"[#\uFF03\uFE5F]"
# The bidirectional marks that editors put around a sign in right-to-left text.
_BIDI = r"[\u200E\u200F\u061C\u202A-\u202E\u2066-\u2069]"
# \p{Extended_Pictographic} holds a few signs that are punctuation or trade marks to a reader.
_EMOJI = (
    r"[\p{Extended_Pictographic}--[\p{P}\u00A9\u00AE\u2122]]"
    r"\p{Emoji_Modifier}\p{Regional_Indicator}"
)
_START = rf"[\p{{L}}\p{{N}}_{_EMOJI}]"
# Joiners (Persian, Indic, emoji families) and tag characters (flags of England, Wales, ...).
_JOINERS = r"\u200C\u200D\U000E0020-\U000E007F"
# Marks inside words: Catalan, Japanese, Hebrew and Tibetan ones, as twitter-text has them.
_MARKS = r"\u00B7\u05BE\u05F3\u05F4\u0F0B\u0F0C\u3003\u301C\u30A0\u30FB\uFF5E\uFF65"
_BODY = rf"[\p{{L}}\p{{N}}\p{{M}}_{_EMOJI}{_JOINERS}{_MARKS}]"
# A '#' inside a link is no tag, nor is the one of an HTML entity.
_LINK = (
    rf"(?i:(?:{_SIGN}?[a-z]{{2,9}}+://|\bwww\.)[^\s<>\"]*"
    r"|(?<![\p{L}\p{N}_.-])(?:[\p{L}\p{N}-]++\.)++\p{L}{2,24}/[^\s<>\"]*)"
)
_ENTITY = r"(?i:&#(?:[0-9]{1,7}|x[0-9a-f]{1,6});)"
_HASHTAG = regex.compile(rf"(?V1){_LINK}|{_ENTITY}|{_SIGN}{_BIDI}*({_START}{_BODY}*+)(?!\uFFFD)")

_NOT_IN_TAG = regex.compile(
    rf"(?V1)[^\p{{L}}\p{{N}}\p{{M}}_{_EMOJI}{_JOINERS}{_MARKS}]"
    rf"|[\p{{Default_Ignorable_Code_Point}}--[{_JOINERS}]]"
)
_EDGES = regex.compile(
    rf"(?V1)^[\p{{M}}\u200C\u200D\U000E0020-\U000E007F{_MARKS}]+"
    rf"|[\u200C\u200D{_MARKS}--[\u3003]]+$"
)
# NFKC would take these apart, as nobody types them: letters of Thai, Lao and Korean, fractions.
_WHOLE = regex.compile(r"([\u0E33\u0EB3\u3131-\u318E\u00BC-\u00BE\u2150-\u215F\u2189]+)")
_ONLY_DIGITS = regex.compile(r"[\p{N}\p{M}]+|_+")
_PLAIN = regex.compile(r"[a-z0-9_]*[a-z][a-z0-9_]*")
_GIVEN_SIGNS = regex.compile(rf"(?V1){_SIGN}")
_SEPARATORS = regex.compile(r"[,;|\n\uFF0C\u3001]")


@dataclass(slots=True)
class TagTally:
    """How often normalising changed or dropped a tag, by reason, and the first case of each."""

    changed: Counter[str] = field(default_factory=Counter[str])
    dropped: Counter[str] = field(default_factory=Counter[str])
    examples: dict[str, str] = field(default_factory=dict[str, str])

    def change(self, reason: str, raw: str, tag: str) -> None:
        """Count a tag that was kept in another form."""
        self.changed[reason] += 1
        self.examples.setdefault(reason, f"{_shortened(raw)} -> {_shortened(tag)}")

    def drop(self, reason: str, raw: str) -> None:
        """Count a tag that was left out."""
        self.dropped[reason] += 1
        self.examples.setdefault(reason, _shortened(raw))


def join_surrogates(text: str) -> str:
    """Make valid Unicode: surrogate pairs become their character, lone ones vanish."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    return text


def normalise_tag(raw: str, tally: TagTally | None = None) -> str | None:
    """Bring one tag into the form that Pixtag keeps; doing it twice changes nothing more.

    That is NFKC, in lower case, without characters that no hashtag holds (the sign, blanks,
    punctuation, variation selectors). None for what is empty, only digits or underscores,
    damaged (U+FFFD), or longer than `MAX_TAG_LENGTH`.

    Example:
        >>> normalise_tag("#New York"), normalise_tag("ＣＡＦÉ"), normalise_tag("2026")
        ('newyork', 'café', None)
    """
    if len(raw) <= MAX_TAG_LENGTH and _PLAIN.fullmatch(raw):
        return raw
    tally = TagTally() if tally is None else tally
    is_long = len(raw) > 8 * MAX_TAG_LENGTH  # and not worth a look
    written = "" if is_long else _GIVEN_SIGNS.sub("", join_surrogates(raw)).strip()
    written = written.replace("\ufe0f", "")  # that an emoji is shown in colour changes no tag
    tag = _settled(written)
    is_number = _ONLY_DIGITS.fullmatch(tag)
    is_broken = "\ufffd" in raw
    if is_long or is_number or is_broken or not 0 < len(tag) <= MAX_TAG_LENGTH:
        reason = "empty" if not (tag or is_long) else "only digits" if is_number else "too long"
        reason = "with a damaged character" if is_broken else reason
        tally.drop(reason, raw)
        return None
    if tag != written:
        is_case = _nfkc(tag) == written.lower()
        tally.change("letter case" if is_case else "spelling of characters", raw, tag)
    return tag


def find_hashtags(text: str) -> list[str]:
    """Find a caption's hashtags outside links and HTML entities: as written, with repeats.

    One that a character which was lost (U+FFFD) cuts short is none.

    Example:
        >>> find_hashtags("Dusk #photography#surfboards, it's #mum's &#039; a.com/b#c #空")
        ['photography', 'surfboards', 'mum', '空']
    """
    found = (one[1] for one in _HASHTAG.finditer(join_surrogates(text)))
    return [tag for tag in found if tag is not None]


def tidy_tags(raws: Iterable[str], tally: TagTally | None = None) -> tuple[str, ...]:
    """Normalise the tags of one post, in order, each once, at most `MAX_TAGS_PER_POST`."""
    tally = TagTally() if tally is None else tally
    kept: dict[str, None] = {}
    for raw in raws:
        if len(kept) >= MAX_TAGS_PER_POST:
            tally.drop(f"beyond {MAX_TAGS_PER_POST} in one post", raw)
            continue
        tag = normalise_tag(raw, tally)
        if tag is None:
            continue
        if tag in kept:
            tally.drop("repeated in one post", raw)
        kept[tag] = None
    return tuple(kept)


def split_tags(text: str) -> list[str]:
    """Take apart tags that somebody wrote into one string; not normalised.

    That is a list in JSON or Python's writing, `#a #b`, `a, b` (also `;`, `|`, line breaks), or
    `a b`. Where a separator or sign is used, blanks belong to the tags.

    Example:
        >>> split_tags("new york, dusk"), split_tags("#a #b#c"), split_tags("a b")
        (['new york', 'dusk'], ['a', 'b', 'c'], ['a', 'b'])
    """
    text = text.strip()
    if (written := _written_list(text)) is not None:
        return written
    if _SEPARATORS.search(text):
        return [inner for part in _SEPARATORS.split(text) for inner in _by_sign(part)]
    if _GIVEN_SIGNS.search(text):
        return _by_sign(text)
    return text.split()


def given_tags(value: object) -> list[str]:
    """Read the tags that a file gives as a list (also of objects with a `name`) or one string."""
    if isinstance(value, str):
        return split_tags(value)
    if not isinstance(value, list | tuple):
        return []
    items = cast("list[object]", value)
    items = [one.get("name") if isinstance(one, dict) else one for one in items]
    texts = [str(item) for item in items if isinstance(item, str | int) and item is not True]
    return [part for text in texts for part in _by_sign(text)]


def _by_sign(text: str) -> list[str]:
    if not _GIVEN_SIGNS.search(text):
        return [text.strip()] if text.strip() else []
    return [part for piece in _GIVEN_SIGNS.split(text) for part in piece.split()]


def _written_list(text: str) -> list[str] | None:
    if text[:1] + text[-1:] != "[]":
        return None
    from ast import literal_eval  # takes long, and few texts are lists

    for read in (json.loads, literal_eval):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            value = cast("list[object]", read(text))
            return [str(item) for item in value if item is not None]
    return None


def _settled(text: str) -> str:
    # Folding can yield what NFKC changes again, and cutting can bring marks together: repeat
    # until nothing moves. Two or three rounds are the most that any character needs.
    for _ in range(10):
        folded = _nfkc(_nfkc(text).lower().replace("i\u0307", "i"))
        folded = _EDGES.sub("", _NOT_IN_TAG.sub("", folded))
        if folded == text:
            return folded
        text = folded
    return text


def _nfkc(text: str) -> str:
    parts = _WHOLE.split(unicodedata.normalize("NFC", text.replace("\uff5e", "\u301c")))
    parts[::2] = (unicodedata.normalize("NFKC", part) for part in parts[::2])
    return "".join(parts)


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"
