"""Calendar: how usual a tag is at this time of the year and on this weekday.

A reviewed table of feasts, seasons, months and weekdays (`data/calendar.toml`) and lifts counted
over logs (`data/calendar.safetensors`, made by `tools/calendar_statistics.py`) say it to a store
that has lived through no year; the same weeks of earlier years say it in one that has.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, lru_cache
from importlib.resources import files

import numpy as np
from safetensors.numpy import load as load_safetensors

from pixtag.evidence import DAY_TICKS, distinct, ticks
from pixtag.signals.asked import Asked, Pairs, strongest
from pixtag.signals.spec import Feature, Signal
from pixtag.types import Doubles, Floats, Ints

YEAR_DAYS = 365.2425
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
OUTSIDE, BLUR = 0.2, 0.15
"""Share of a tag's uses that keep to no day; weight of a weekday's neighbours (days are UTC)."""

LEAST_LIFT = float(np.log(2.0))
"""Log lift from which a tag is in its days."""

SEASON_DAYS, SEASON_YEARS, SMOOTH = 10.0, 3, 2.0
STEPS_PER_LOG = 10.0
_DATA = files("pixtag").joinpath("data")
_FAR_DAYS = 200  # a yearly occasion without a date so near has none that is known
_NEAR_DAYS = 45  # before and after a year, when tags with its number are current, too
_MOST_CACHED, _MOST_FOUND = 1024, 1 << 16  # days, and tags
_FIRST_DAY = date(1930, 1, 1).toordinal()  # of tick 0
_WITH_YEAR = re.compile(r"(.+?)_?((?:19|20)[0-9]{2})")


@dataclass(frozen=True, slots=True)
class Occasion:
    """An entry of `calendar.toml`, whose head explains them."""

    name: str
    on: str
    tags: str
    lasts: int = 1
    before: int = 3
    after: int = 1
    share: float = 1.0
    where: str = ""

    @property
    def weekdays(self) -> list[int]:
        """Weekdays, Monday 0, of one that comes every week; else none."""
        parts = self.on.split()
        return [WEEKDAYS.index(part) for part in parts] if parts[0] in WEEKDAYS else []


@dataclass(frozen=True, slots=True)
class Usual:
    """A tag in its days: its rate over its mean, and the occasion."""

    tag: str
    times_usual: float
    occasion: str


def easter(year: int) -> date:
    """Gregorian Easter Sunday (Meeus 1991, Jones and Butcher's algorithm)."""
    a, (b, c) = year % 19, divmod(year, 100)
    h = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    rest = (32 + 2 * (b % 4) + 2 * (c // 4) - h - c % 4) % 7
    month, day = divmod(h + rest - 7 * ((a + 11 * h + 22 * rest) // 451) + 114, 31)
    return date(year, month, day + 1)


def dates(on: str, year: int) -> list[date]:
    """When a yearly rule of the calendar falls in a year.

    Example:
        >>> dates("11-22 thu", 2026), dates("easter-2", 2026)
        ([datetime.date(2026, 11, 26)], [datetime.date(2026, 4, 3)])
    """
    day, *weekday = on.split()
    if day.startswith("easter"):
        return [easter(year) + timedelta(int(day[6:]))]
    if len(day) > len("12-31"):
        return [date.fromisoformat(d) for d in on.split() if d.startswith(f"{year}-")]
    first = date(year, int(day[:2]), int(day[3:]))
    late = (WEEKDAYS.index(weekday[0]) - first.weekday()) % 7 if weekday else 0
    return [first + timedelta(late)]


class Calendar:
    """Log lifts of N tags by day; row N, of a tag that it does not know, is 0.

    Shapes:
        F: yearly occasions. M: tags with counted lifts.

    Args:
        occasions: The table.
        names: Tags with counted lifts, `[M]`.
        weeks: By week of the year, `[M, 53]`. weekdays: `[M, 7]`.
    """

    def __init__(
        self, occasions: Sequence[Occasion], names: Sequence[str], weeks: Doubles, weekdays: Doubles
    ) -> None:
        self.yearly = [o for o in occasions if not o.weekdays]
        self.weekly = [o for o in occasions if o.weekdays]
        tags = [*(tag for o in occasions for tag in o.tags.split()), *names]
        self.rows = {tag: row for row, tag in enumerate(dict.fromkeys(tags))}
        n = len(self.rows) + 1
        entries = [(self.rows[t], i) for i, o in enumerate(self.yearly) for t in o.tags.split()]
        self._row, self._of = np.array(entries, np.int64).reshape(-1, 2).T
        share = np.array([o.share for o in self.yearly])[self._of]
        self._share = share / np.bincount(self._row, share, n)[self._row]
        self._is_yearly = np.bincount(self._row, minlength=n) > 0
        self._weeks, self._weekdays = np.zeros((n, weeks.shape[1])), np.zeros((n, 7))
        counted = np.array([self.rows[name] for name in names], np.int64)
        self._weeks[counted], self._weekdays[counted] = weeks, weekdays
        for one in self.weekly:
            weight = np.zeros(7)
            weight[[(day + by) % 7 for day in one.weekdays for by in (-1, 1)]] = BLUR
            weight[one.weekdays] = 1.0
            lift = np.log(OUTSIDE + (1.0 - OUTSIDE) * weight / weight.mean())
            self._weekdays[[self.rows[tag] for tag in one.tags.split()]] = lift
        spans = np.array([(o.lasts, o.before, o.after) for o in self.yearly], np.float64)
        self._lasts, self._before, self._after = spans.reshape(-1, 3).T
        every = self._nearness(np.arange(-_FAR_DAYS, _FAR_DAYS)[:, None])
        self._scale = (1.0 - OUTSIDE) * YEAR_DAYS / every.sum(axis=0)
        top = np.zeros(n)
        np.maximum.at(top, self._row, self._share * self._scale[self._of])
        self.peak = np.where(self._is_yearly, np.log(OUTSIDE + top), self._weeks.max(axis=1))
        self._starts: dict[int, Doubles] = {}
        # A day's lifts and a tag's row never change.
        self.lifts = lru_cache(_MOST_CACHED)(self._lifts)
        self.risen = lru_cache(_MOST_CACHED)(self._risen)
        self.find = lru_cache(_MOST_FOUND)(self._find)

    def _nearness(self, offset: Ints | Doubles) -> Doubles:
        """1 while an occasion lasts, falling before and after, 0 beyond; days from its start."""
        late = (offset - self._lasts + 1.0) / (self._after + 1.0)
        away = np.maximum(np.maximum(-offset / (self._before + 1.0), late), 0.0)
        return np.where(away < 1.0, np.exp(-3.0 * away), 0.0)

    def _starts_in(self, year: int) -> Doubles:
        """Days (ordinals) on which occasions start in a year, `[2, F]`; `inf` for none."""
        if year not in self._starts:
            out = np.full((2, len(self.yearly)), np.inf)
            for i, one in enumerate(self.yearly):
                for k, day in enumerate(dates(one.on, year)):
                    out[k, i] = day.toordinal()
            self._starts[year] = out
        return self._starts[year]

    def rates(self, day: int) -> Doubles:
        """Rate of the yearly occasions' tags on a day (ordinal) over their mean, `[F]`."""
        year = date.fromordinal(day).year
        starts = np.concatenate([self._starts_in(y) for y in (year - 1, year, year + 1)])
        offset = np.clip(day - starts, -2 * _FAR_DAYS, 2 * _FAR_DAYS)
        is_known = (np.abs(offset) <= _FAR_DAYS).any(axis=0)
        return np.where(is_known, OUTSIDE + self._scale * self._nearness(offset).max(axis=0), 1.0)

    def _lifts(self, day: int) -> Floats:
        """Log lifts on a day (ordinal) by the time of the year and by weekday, `[2, N + 1]`."""
        share = self._share * self.rates(day)[self._of]
        rate = np.bincount(self._row, share, len(self._is_yearly))
        week = (date.fromordinal(day).timetuple().tm_yday - 1) // 7
        lift = np.log(np.where(self._is_yearly, rate, 1.0)) + self._weeks[:, week]
        return np.stack([lift, self._weekdays[:, (day - 1) % 7]]).astype(np.float32)

    def _risen(self, day: int) -> tuple[list[str], Floats]:
        """Tags in their days on a day (ordinal), and their log lifts, `[T]`."""
        lift, names = self.lifts(day).sum(axis=0), list(self.rows)
        rows = np.flatnonzero(lift >= LEAST_LIFT)
        return [names[row] for row in rows.tolist()], lift[rows]

    def _find(self, tag: str) -> tuple[int, int]:
        """Row of a tag, N for an unknown one, and the year in its name (#easter2026), or 0."""
        row = self.rows.get(tag, len(self.rows))
        if row == len(self.rows) and (match := _WITH_YEAR.fullmatch(tag)):
            return self.rows.get(match[1], row), int(match[2])
        return row, 0

    def usual(self, at: float, *, k: int, per_occasion: int = 3) -> list[Usual]:
        """Tags in their days at Unix seconds UTC, those of what has many and rises much first."""
        day = int(day_of(ticks(np.array([at])))[0])
        times, rate = np.exp(self.lifts(day).max(axis=0)).tolist(), self.rates(day).tolist()
        weekly = [
            (times[self.rows[o.tags.split()[0]]], o.tags.split(), o.name) for o in self.weekly
        ]
        yearly = [(r, o.tags.split(), o.name) for r, o in zip(rate, self.yearly, strict=True)]
        found: dict[str, Usual] = {}
        for rise, tags, name in sorted(weekly + yearly, key=lambda row: -row[0] * len(row[1])):
            if rise >= np.exp(LEAST_LIFT):
                fresh = [tag for tag in tags if tag not in found][:per_occasion]
                found |= {tag: Usual(tag, times[self.rows[tag]], name) for tag in fresh}
        return list(found.values())[:k]


def day_of(tick: Ints) -> Ints:
    """UTC days of moments, as `date.toordinal` counts them."""
    return _FIRST_DAY + tick // DAY_TICKS


@cache
def calendar() -> Calendar:
    """The calendar that comes with the package."""
    table = tomllib.loads(_DATA.joinpath("calendar.toml").read_text("utf-8"))
    counted = load_safetensors(_DATA.joinpath("calendar.safetensors").read_bytes())
    weeks, weekdays = (counted[name] / STEPS_PER_LOG for name in ("weeks", "weekdays"))
    names = counted["names"].tobytes().decode().split()
    occasions = [Occasion(name, **entry) for name, entry in table.items()]
    return Calendar(occasions, names, weeks, weekdays)


def _calendar(asked: Asked, pairs: Pairs) -> Floats:
    """Log lifts of the calendar, whether it knows the tag, its highest, and the store's own."""
    known, question = calendar(), pairs.question
    every_day, tags = day_of(asked.tick), distinct(pairs.tag, below=asked.n_tags)
    days, column = distinct(every_day), np.searchsorted(tags, pairs.tag)
    place = np.searchsorted(days, every_day)
    lifts = np.stack([known.lifts(day) for day in days.tolist()])
    found = [known.find(asked.names[tag]) for tag in tags.tolist()]
    row, year = np.array(found, np.int64).reshape(-1, 2)[column].T
    is_known = row < len(known.rows)
    lift, weekday = lifts[place[question], :, row].T
    if year.any():
        near = [[date.fromordinal(d + by).year for by in (-_NEAR_DAYS, _NEAR_DAYS)] for d in days]
        is_current = (year == 0) | (np.array(near)[place[question]] == year[:, None]).any(axis=1)
        lift = np.where(is_current | ~is_known, lift, np.log(OUTSIDE))
    columns = [lift, weekday, is_known, known.peak[row], season_lift(asked, pairs)]
    return np.array(columns).T.astype(np.float32)


def season_lift(asked: Asked, pairs: Pairs) -> Doubles:
    """Log ratio of others' uses around this date in earlier years to those expected, `[P]`.

    Expected is the tag's share of others' posts times their posts in those days, so that 0 is
    said where the store has not lived so long.
    """
    years_lived = int((asked.lived_days.max(initial=0.0) + SEASON_DAYS) // YEAR_DAYS)
    if not years_lived:
        return np.zeros(len(pairs))
    view, question, tick = asked.view, pairs.question, asked.tick
    own = asked.own if asked.sources.history else view.own(asked.asker, tick)
    own = own.select((own.slot >= 0) & (own.n_tags > 0))
    seen, posts = np.zeros(len(pairs), np.int64), np.zeros(len(asked), np.int64)
    is_mine = np.zeros(len(own.tick), np.bool_)
    for years in range(1, min(years_lived, SEASON_YEARS) + 1):
        ends = [years * YEAR_DAYS + by for by in (SEASON_DAYS, -SEASON_DAYS)]
        since, until = (np.maximum(tick - int(days * DAY_TICKS), 1) for days in ends)
        seen += view.uses_with(pairs.tag, until[question])
        seen -= view.uses_with(pairs.tag, since[question])
        posts += view.totals(until).posts - view.totals(since).posts
        is_mine |= (own.tick >= since[own.question]) & (own.tick < until[own.question])
    owner, mine = own.question[own.post], is_mine[own.post].astype(np.float64)
    others = asked.n_posts - own.n
    share = asked.facts(pairs).uses - pairs.total(owner, own.tag, np.ones(len(owner)))
    share /= np.maximum(others, 1)[question]
    posts -= np.bincount(own.question[is_mine], minlength=len(asked))
    seen = seen - pairs.total(owner, own.tag, mine)
    return np.log((seen + SMOOTH) / (share * posts[question] + SMOOTH))


def propose_calendar(asked: Asked, *, limit: int) -> tuple[Ints, Ints]:
    """Tags in their days, by how much they rise and by how many people use them, `[E]` each."""
    risen = [calendar().risen(day) for day in day_of(asked.tick).tolist()]
    question = np.repeat(np.arange(len(asked)), [len(names) for names, _ in risen])
    tag = np.concatenate([asked.view.names.find(names) for names, _ in risen])
    lift = np.concatenate([lift for _, lift in risen])
    known = (tag >= 0) & (tag < asked.view.n_tags)
    question, tag, lift = question[known], tag[known], lift[known]
    people = asked.view.people_with(tag, asked.tick[question])
    people = people + asked.at_prior(asked.knowledge.prior.people, tag)
    strength = lift + 0.5 * np.log1p(people)
    best = strongest(question, strength, asked.ties[tag], limit=limit)
    return question[best], tag[best]


CALENDAR = Signal(
    "calendar",
    (
        Feature("calendar_lift", ("trend",), "season"),
        Feature("calendar_weekday_lift", ("trend",), "weekday"),
        Feature("calendar_known", ("trend",), "season"),
        Feature("calendar_peak", ("trend",), "season"),
        Feature("season_lift", ("trend",), "season"),
    ),
    _calendar,
)
