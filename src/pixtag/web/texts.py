"""Every text of the page, in the languages it speaks: `texts/LANGUAGE.toml`."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

LANGUAGES = {
    "en": "English", "de": "Deutsch", "es": "Español", "pt": "Português", "id": "Bahasa Indonesia",
}  # fmt: skip
DEFAULT = "en"

_DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_DAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
_AGO = r"(?P<ago>just now|[\d,]+ \w+ ago)"
_N = r"(?:, (?P<n>[\d,]+) times)?"
_OUTSIDE = r"(?P<source>.+): (?P<n>[\d,]+) people (?P<when>today|yesterday|[\d,]+ days ago)"
# How `pixtag.reasons` says something, and the key of the text that says it in other languages.
_REASONS = {
    "picture": r"in the picture",
    "similar": r"on (?P<n>[\d,]+) of the (?P<of>[\d,]+) most similar photos",
    "given": rf"in the history you gave{_N}",
    "used": rf"you used it {_AGO}{_N}",
    "last": r"on your last post",
    "latest": r"on (?P<n>[\d,]+) of your latest posts",
    "alike": r"on a photo of yours like this",
    "rising": r"rising: (?P<times>[\d.]+) times its usual rate",
    "rising_on": rf"rising on {_OUTSIDE}",
    "used_on": rf"used on {_OUTSIDE}",
    "weekday": rf"usual on (?P<day>{'|'.join(_DAYS)}) \(UTC\)",
    "season": r"usual at this time of the year",
    "company": r"goes with #(?P<tag>.+)",
    "popular_people": r"popular: (?P<n>[\d,]+) people use it",
    "people": r"(?P<n>[\d,]+) people use it",
    "popular": r"popular",
    "guess": r"a guess: little speaks for it",
    "always": r"always: it is on your list",
}
_PATTERNS = {key: re.compile(pattern) for key, pattern in _REASONS.items()}


@cache
def catalogue(language: str) -> dict[str, str]:
    """Every text of a language by its key, as `home.title`."""
    text = files("pixtag.web").joinpath("texts", f"{language}.toml").read_text(encoding="utf-8")
    return dict(_flat(tomllib.loads(text)))


def _flat(table: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + key, str(value)


class Texts(NamedTuple):
    """The texts of one language."""

    language: str

    def __call__(self, key: str, /, **values: object) -> str:
        """A text with values put in; for `n` = 1 that of `KEY_one`, where there is one."""
        known = catalogue(self.language)
        if str(values.get("n")) == "1" and f"{key}_one" in known:
            key += "_one"
        shown = {
            name: self.number(value) if isinstance(value, int) else _isolated(str(value))
            for name, value in values.items()
        }
        return known[key].format(**shown)

    def number(self, value: int) -> str:
        """A whole number with its thousands apart."""
        return f"{value:,}".replace(",", self("format.thousands"))

    def percent(self, share: float) -> str:
        """A share of one, in whole percents; little is said to be little."""
        n = round(100 * share)
        return self("format.percent", number=n if n or share <= 0 else "<1")

    def times(self, ratio: float) -> str:
        """A ratio, small ones with a decimal."""
        return f"{ratio:.{0 if ratio >= 3 else 1}f}".replace(".", self("format.decimal"))

    def day(self, at: float | None) -> str:
        """A day, UTC, as the year, month and day in the order of the language."""
        if at is None:
            return self("format.no_day")
        when = datetime.fromtimestamp(at, UTC)
        month = self(f"month.m{when.month}")
        return self("format.day", day=when.day, month=month, year=str(when.year))

    def span(self, at: float, unit: str) -> str:
        """A day, a week by its first day, a month or a year, in short."""
        when = datetime.fromtimestamp(at, UTC)
        month, year = self(f"month.m{when.month}"), str(when.year)
        if unit == "year":
            return year
        form = "format.month_year" if unit == "month" else "format.day_month"
        return self(form, day=when.day, month=month, year=year)

    def reason(self, text: str) -> str:
        """What `pixtag.reasons` says, in this language; as it is where it has no such text."""
        for key, pattern in _PATTERNS.items():
            if (found := pattern.fullmatch(text)) is not None:
                return self._said(key, found.groupdict())
        return text

    def _said(self, key: str, values: dict[str, str | None]) -> str:
        if (day := values.get("day")) is not None:
            return self("reason.weekday", day=self(f"weekday.d{_DAYS.index(day)}"))
        numbers = {
            name: int(value.replace(",", ""))
            for name, value in values.items()
            if value is not None and name in {"n", "of"}
        }
        if key in {"used", "given"}:
            said = self(f"reason.{key}", ago=self._ago(values.get("ago") or ""))
            return said + (self("reason.times", **numbers) if numbers else "")
        if (when := values.get("when")) is not None:
            when = self._ago(when) if when.endswith(" ago") else self(f"ago.{when}")
        tag, times = values.get("tag"), values.get("times")
        if times is not None:
            times = times.replace(".", self("format.decimal"))
        named = {"tag": tag, "times": times, "source": values.get("source"), "when": when}
        return self(f"reason.{key}", **numbers, **named)

    def _ago(self, text: str) -> str:
        number, _, rest = text.partition(" ")
        if not rest.endswith(" ago"):
            return self("ago.now")
        unit = rest.removesuffix(" ago").removesuffix("s")
        return self(f"ago.{unit}", n=int(number.replace(",", "")))


def _isolated(text: str) -> str:
    """A name within a sentence, whose direction says nothing of the sentence's."""
    plain = _DIRECTIONS.sub("", text)
    is_mixed = any(unicodedata.bidirectional(c) in {"R", "AL"} for c in plain)
    return f"\u2068{plain}\u2069" if is_mixed else plain


def choose_language(chosen: str | None, accepted: str) -> str:
    """The language that was chosen, else the best one of an `Accept-Language`, else English."""
    if chosen in LANGUAGES:
        return str(chosen)
    weighed: list[tuple[float, int, str]] = []
    for place, part in enumerate(accepted[:500].split(",")):
        name, _, weight = part.partition(";q=")
        language = name.strip().lower().partition("-")[0]
        try:
            weighed.append((-float(weight or 1), place, language))
        except ValueError:
            continue
    known = (name for weight, _, name in sorted(weighed) if name in LANGUAGES and weight < 0)
    return next(known, DEFAULT)
