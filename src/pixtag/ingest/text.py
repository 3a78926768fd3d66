"""Restoring captions that an export garbled."""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING

import regex

from pixtag.tags import join_surrogates

if TYPE_CHECKING:
    from pixtag.ingest.report import Tally

_CONTROLS = regex.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def repair_text(text: object, tally: Tally) -> str:
    """Restore a caption or comment.

    Instagram writes every byte of the UTF-8 form as a character of its own. What decodes whole
    is restored; text that holds real Unicode does not and stays. HTML entities become their
    characters, control characters vanish.

    Args:
        text: As the file has it; anything but text gives "".
        tally: Counts repaired texts.
    """
    if not isinstance(text, str) or not text:
        return ""
    if not text.isascii():
        try:
            text = text.encode("latin-1").decode("utf-8")
            tally.n_texts_repaired += 1
        except (UnicodeEncodeError, UnicodeDecodeError):
            text = join_surrogates(text)
    return _CONTROLS.sub("", html.unescape(text)).strip()


def read_json(raw: bytes) -> tuple[object, bool]:
    """Parse JSON as exports really hold it.

    A byte order mark or blanks before the start and raw control characters inside texts are
    taken. Of a list that breaks off, what came before the break is given.

    Args:
        raw: The file's bytes.

    Returns:
        The value, and whether the file is whole.

    Raises:
        ValueError: Nothing of it can be read.
    """
    text = raw.decode("utf-8-sig", "surrogateescape").strip("\ufeff\0 \t\r\n")
    decoder = json.JSONDecoder(strict=False)
    try:
        return decoder.decode(text), True
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:
        rows = _rows_before_break(decoder, text)
        if not rows:
            raise
        return rows, False


_BETWEEN = regex.compile(r"[\s,]*")


def _rows_before_break(decoder: json.JSONDecoder, text: str) -> list[object]:
    rows: list[object] = []
    if not text.startswith("["):
        return rows
    at = 1
    while True:
        start = _BETWEEN.match(text, at)
        at = start.end() if start else at
        try:
            row, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return rows
        rows.append(row)
