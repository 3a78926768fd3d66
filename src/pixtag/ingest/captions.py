"""Captions and first comments as exports hold them: loose JSON, garbled text, their hashtags."""

from __future__ import annotations

import html
import json
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import regex

from pixtag.ingest.context import ImportReport
from pixtag.tags import find_hashtags, join_surrogates, tidy_tags

COMMENT_WINDOW_S = 600.0
_CONTROLS = regex.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Comment:
    """An own comment on own media: Unix seconds UTC, and its hashtags as written."""

    at: float
    tags: tuple[str, ...]


def assign_comments(posted_at: list[float | None], comments: list[Comment]) -> list[list[Comment]]:
    """Give each comment to the latest post (Unix seconds UTC) of the ten minutes before it."""
    timed = sorted((at, i) for i, at in enumerate(posted_at) if at is not None)
    given: list[list[Comment]] = [[] for _ in posted_at]
    for comment in sorted(comments, key=lambda one: one.at):
        place = bisect_right(timed, comment.at, key=lambda one: one[0]) - 1
        if place >= 0 and comment.at - timed[place][0] <= COMMENT_WINDOW_S:
            given[timed[place][1]].append(comment)
    return given


def own_comment(
    author: object, owner: str | None, text: object, stamp: object, where: str, report: ImportReport
) -> list[Comment]:
    """Read a comment; none when it is of somebody else, without a hashtag or without a time."""
    if owner is None or clean_name(author).casefold() != owner.casefold():
        return []
    tags = find_hashtags(repair_text(text, report))
    at = report.read_time(stamp or None, where) if tags else None
    return [] if at is None else [Comment(at, tuple(tags))]


def tags_of(texts: Iterable[str], comments: list[Comment], report: ImportReport) -> tuple[str, ...]:
    """Find the hashtags of a post's captions and comments, in that order, and normalise them."""
    report.n_comments_joined += len(comments)
    found = [tag for text in texts for tag in find_hashtags(text)]
    return tidy_tags([*found, *(tag for said in comments for tag in said.tags)], report.tags)


def repair_text(text: object, report: ImportReport) -> str:
    """Restore a caption or comment; anything but text gives "".

    Instagram writes every byte of the UTF-8 form as a character of its own. What decodes whole
    is restored; text that holds real Unicode does not and stays. HTML entities become their
    characters, control characters vanish.
    """
    if not isinstance(text, str) or not text:
        return ""
    if not text.isascii():
        try:
            text = text.encode("latin-1").decode("utf-8")
            report.n_texts_repaired += 1
        except (UnicodeEncodeError, UnicodeDecodeError):
            text = join_surrogates(text)
    return _CONTROLS.sub("", html.unescape(text)).strip()


def repair_texts(texts: Iterable[object], report: ImportReport) -> list[str]:
    """Restore captions of one post that may stand in several places, each once, no empty one."""
    return list(dict.fromkeys(filter(None, (repair_text(text, report) for text in texts))))


def clean_name(name: object) -> str:
    """Make a person's name sound; "" for anything but text."""
    return join_surrogates(name).replace("\0", "").strip() if isinstance(name, str) else ""


def read_json(raw: bytes | None, where: str, report: ImportReport) -> object:
    """Parse JSON with a byte order mark, blanks, raw control characters; None for no bytes.

    Of a list that breaks off (counted) it gives what came before; None for broken JSON (counted).
    """
    if raw is None:
        return None
    text = raw.decode("utf-8-sig", "surrogateescape").strip("\ufeff\0 \t\r\n")
    decoder = json.JSONDecoder(strict=False)
    try:
        return decoder.decode(text)
    except RecursionError:
        report.add("broken JSON", f"{where}: nested too deeply")
    except ValueError as error:
        if rows := _rows_before_break(decoder, text):
            report.add("JSON breaks off, read up to there", where)
            return rows
        report.add("broken JSON", f"{where}: {error}")
    return None


def dig(value: object, *names: str) -> object:
    """Look up names in nested JSON objects, one after the other; None where one is missing."""
    for name in names:
        value = as_dict(value).get(name)
    return value


def as_dict(value: object) -> dict[str, object]:
    """Take a JSON object as it is and anything else as an empty one."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    """Take a JSON list as it is and anything else as an empty one."""
    return cast("list[object]", value) if isinstance(value, list) else []


def _rows_before_break(decoder: json.JSONDecoder, text: str) -> list[object]:
    rows: list[object] = []
    at = 1
    while text.startswith("["):
        while (mark := text[at : at + 1]) == "," or mark.isspace():
            at += 1
        try:
            row, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            break
        rows.append(row)
    return rows
