"""Frozen data classes that the package passes around, and the reading and writing of instants."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixtag.errors import InputError

Floats = NDArray[np.float32]
Halfs = NDArray[np.float16]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
Smalls = NDArray[np.int32]
Numbers = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Photo:
    """One image file of a post: absolute path, SHA-256 in hex (empty when it is unreadable)."""

    path: str
    digest: str


@dataclass(frozen=True, slots=True)
class Post:
    """Something that a person published: photos (perhaps none), tags, a time.

    Attributes:
        post_id: Unique in a store; `user_id` is None when nobody is named.
        posted_at: Unix seconds UTC to the microsecond, or None: posts without a time teach pixels
            and co-occurrence and never enter history or trend.
        tags: Normalised, without '#', in the order of writing; `InputError` when one comes twice.
    """

    post_id: str
    user_id: str | None
    posted_at: float | None
    tags: tuple[str, ...]
    photos: tuple[Photo, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.tags)) != len(self.tags):
            twice = next(tag for i, tag in enumerate(self.tags) if tag in self.tags[:i])
            what = f"post {self.post_id!r} has the tag {twice!r} twice"
            raise InputError(what, hint="give each tag once: tuple(dict.fromkeys(tags))")


@dataclass(frozen=True)
class PostLog:
    """Many posts as columns, in time order; what replay, training and evaluation read.

    Posts without a time come first, with `at = -inf`; then by time, ties by post_id.

    Shapes:
        N: posts. E: tag uses of all posts. D: embedding width. U: people. T: tags.

    Attributes:
        post_ids: `[N]`.
        users: Names of the people, `[U]`.
        tags: `[T]`, each used at least once, in order of first appearance.
        user_of_post: Index into `users`, `[N]`; U for posts of nobody.
        at: Unix seconds UTC, `[N]`, ascending; `-inf` without a time.
        tag_start: Post i uses `tag_ids[tag_start[i]:tag_start[i + 1]]`, `[N + 1]`.
        tag_ids: Index into `tags`, `[E]`.
        has_photo: Whether a post has an embedding, `[N]`.
        embeddings: Mean of a post's photos, `[N, D]`; zeros without one, D = 0 without encoder.
    """

    post_ids: list[str]
    users: list[str]
    tags: list[str]
    user_of_post: Ints
    at: Doubles
    tag_start: Ints
    tag_ids: Ints
    has_photo: Bools
    embeddings: Halfs

    @classmethod
    def of(cls, posts: Iterable[Post], embeddings: Mapping[str, Halfs] | None = None) -> PostLog:
        """Lay posts, in any order, out as columns; embeddings `[D]` by post_id."""
        known = embeddings or {}
        ordered = sorted(posts, key=lambda p: (_time(p), p.post_id))
        users = list(dict.fromkeys(p.user_id for p in ordered if p.user_id is not None))
        tags = {tag: i for i, tag in enumerate(dict.fromkeys(t for p in ordered for t in p.tags))}
        width = len(next(iter(known.values()))) if known else 0
        matrix = np.zeros((len(ordered), width), np.float16)
        has_photo = np.array([post.post_id in known for post in ordered], np.bool_)
        for row in np.flatnonzero(has_photo):
            matrix[row] = known[ordered[row].post_id]
        index = {user: i for i, user in enumerate([*users, None])}
        return cls(
            post_ids=[p.post_id for p in ordered],
            users=users,
            tags=list(tags),
            user_of_post=np.array([index[p.user_id] for p in ordered], np.int64),
            at=np.array([_time(p) for p in ordered], np.float64),
            tag_start=np.cumsum([0, *(len(p.tags) for p in ordered)], dtype=np.int64),
            tag_ids=np.array([tags[t] for p in ordered for t in p.tags], np.int64),
            has_photo=has_photo,
            embeddings=matrix,
        )

    def __len__(self) -> int:
        return len(self.post_ids)

    @property
    def n_untimed(self) -> int:
        """How many posts at the front have no time."""
        return int(np.searchsorted(self.at, -np.inf, side="right"))

    @property
    def post_of_use(self) -> Ints:
        """Row of the post of each tag use, `[E]`."""
        return np.repeat(np.arange(len(self)), np.diff(self.tag_start))

    @property
    def person_of_post(self) -> Ints:
        """A number for the person of each post, `[N]`; every post of nobody is one of its own."""
        user, nobody = self.user_of_post, len(self.users)
        return np.where(user == nobody, nobody + np.arange(len(self)), user)

    def uses_of(self, rows: Ints) -> Ints:
        """The tag uses of some posts, one after the other, `[E]`."""
        lengths = self.tag_start[rows + 1] - self.tag_start[rows]
        shift = self.tag_start[rows] - (np.cumsum(lengths) - lengths)
        return self.tag_ids[np.arange(int(lengths.sum())) + np.repeat(shift, lengths)]

    def people_of_tags(self) -> Ints:
        """How many people used each tag, `[T]`; posts of nobody count one each."""
        n_tags = max(len(self.tags), 1)
        keys = np.unique(self.person_of_post[self.post_of_use] * n_tags + self.tag_ids)
        return np.bincount(keys % n_tags, minlength=len(self.tags))

    def tags_of(self, row: int) -> list[str]:
        """Tags of the post at `row`, in the order of writing."""
        start, stop = self.tag_start[row], self.tag_start[row + 1]
        return [self.tags[t] for t in self.tag_ids[start:stop]]

    def with_only(self, labels: Sequence[str]) -> PostLog:
        """Drop all tags but some; posts that had no other stay, without any."""
        wanted = set(labels)
        kept = [tag for tag in self.tags if tag in wanted]
        index = {tag: i for i, tag in enumerate(kept)}
        uses = np.array([index.get(tag, -1) for tag in self.tags], np.int64)[self.tag_ids]
        lengths = np.bincount(self.post_of_use[uses >= 0], minlength=len(self))
        start = np.cumsum([0, *lengths], dtype=np.int64)
        return replace(self, tags=kept, tag_start=start, tag_ids=uses[uses >= 0])

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> PostLog:
        """Keep posts by indices or a mask `[N]`; people and tags keep their index.

        The indices ascend where the log is read in time order.
        """
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else np.asarray(rows, np.int64)
        return replace(
            self,
            post_ids=[self.post_ids[i] for i in index],
            user_of_post=self.user_of_post[index],
            at=self.at[index],
            tag_start=np.cumsum([0, *np.diff(self.tag_start)[index]], dtype=np.int64),
            tag_ids=self.uses_of(index),
            has_photo=self.has_photo[index],
            embeddings=self.embeddings[index],
        )


@dataclass(frozen=True, slots=True)
class Sources:
    """Which of the three sources of evidence may speak."""

    pixels: bool = True
    history: bool = True
    trend: bool = True

    @property
    def name(self) -> str:
        """As written in reports: `pixels+history`, or `nothing`."""
        return "+".join(name for name, is_on in asdict(self).items() if is_on) or "nothing"

    def __and__(self, other: Sources) -> Sources:
        """Those that speak in both."""
        return Sources(*(a and b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Rankings:
    """Ranked tags for B posts, K each."""

    rows: Ints  # positions of the posts in the log, `[B]`
    tag_ids: Ints  # index into `tags`, best first, `[B, K]`; `len(tags)` pads short rows
    probs: Floats  # calibrated probability of each, `[B, K]`; 0 in the padding
    tags: list[str]

    def list_of(self, place: int, k: int | None = None) -> tuple[list[str], list[float]]:
        """The first k tags for one of the posts by name, and their probabilities."""
        ids = self.tag_ids[place, :k]
        filled = ids < len(self.tags)
        return [self.tags[t] for t in ids[filled]], self.probs[place, :k][filled].tolist()

    @property
    def names(self) -> list[list[str]]:
        """The tags for each post by name."""
        return [self.list_of(place)[0] for place in range(len(self.tag_ids))]


@dataclass(frozen=True, slots=True)
class Reason:
    """One piece of evidence behind a suggestion."""

    source: str  # `pixels`, `history`, `trend`, `general` (popularity, co-occurrence), or `lists`
    text: str  # for a person: "you used it 3 days ago, 12 times"
    weight: float  # what it added to the score, natural log units


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A hashtag offered for a photo: normalised, its reasons strongest first."""

    tag: str
    prob: float  # calibrated, of use; 0 for an always-added tag of which nothing is known
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class OutsideCount:
    """How often a tag was used on a day outside the store, as a source counted it."""

    source: str  # who counted: the name of a server, or of a file
    tag: str  # normalised
    day: int  # UTC, days since 1970
    uses: int  # posts with it
    accounts: int  # people who used it
    seen_at: float  # when Pixtag read the count, Unix seconds UTC


def _time(post: Post) -> float:
    return -np.inf if post.posted_at is None else post.posted_at


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

EARLIEST_US = (datetime(1700, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
# Times outside are slips; inside, a float of Unix seconds is exact to the microsecond
LATEST_US = (datetime(2240, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
NO_ZONE = "time without a zone, read as UTC"
UNREADABLE = "unreadable time"
OUT_OF_RANGE = "time out of range"
DOUBTFUL = "doubtful time, left out: neither a date nor Unix time since September 2001"
TWO_DATES = "time that may be two dates, left out: write it as 2026-05-01"

_DATE = re.compile(r"([0-9]{4})(?:([0-9]{2})([0-9]{2})?)?(?:\.0+)?|([0-9]{4})-([0-9]{2})")
# The German point says that the day comes first; slashes and dashes don't say.
_NUMBERS = re.compile(r"([0-9]{1,2})([./-])([0-9]{1,2})\2([0-9]{4})(?:,?[ T]\s*([0-9].*))?")
# What counts thousandths or millionths of a second is told by its size: as seconds the smallest
# of each would lie after the year 5138.
_UNITS_US = ((1e14, 1.0), (1e11, 1e3), (0.0, 1e6))
# Twitter's, EXIF's, Python's and two of Instagram's ways to write a time
_FORMS = (
    *("%a %b %d %H:%M:%S %z %Y", "%Y:%m:%d %H:%M:%S", "%Y-%m-%d %H:%M:%S %Z"),
    *("%b %d, %Y, %I:%M %p", "%b %d, %Y %I:%M %p"),
    *("%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %I:%M %p", "%Y-%m-%d %I:%M:%S %p"),
    *("%Y/%m/%d", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S"),
)
_PLAUSIBLE_US = 10**9 * 10**6  # Unix time with ten digits, nearly all that cameras and sites made


def read_time(value: object, *, day_first: bool | None = None) -> tuple[float | None, str]:
    """Read an instant: ISO 8601 text (UTC unless it names a zone), a number, or a datetime.

    Digits alone of 4, 6 or 8 places are a date, as text or number, never seconds. Other numbers
    are Unix seconds, milliseconds or microseconds, told apart by size. Of 13/1/2026 and 1/13/2026
    it is clear which is the day; of 1/2/2026 `day_first` says it.

    Returns:
        Unix seconds UTC or None, and what is odd: `NO_ZONE` with an instant; `UNREADABLE`,
        `OUT_OF_RANGE`, `DOUBTFUL`, `TWO_DATES` without one; "" for nothing odd, also where no
        value was given.

    Example:
        >>> read_time("2026-05-01T02:00+02:00"), read_time("20260501")[0], read_time(12345)[0]
        ((1777593600.0, ''), 1777593600.0, None)
    """
    if isinstance(value, str):
        value = value.strip()
        if (numbers := _NUMBERS.fullmatch(value)) is not None:
            if (first := _is_day_first(numbers, day_first)) is None:
                return None, TWO_DATES
            day, month = numbers[1 if first else 3], numbers[3 if first else 1]
            value = f"{numbers[4]}-{month:0>2}-{day:0>2} {numbers[5] or ''}".rstrip()
    if value is None or value == "" or isinstance(value, bool):
        return None, ""
    oddity = ""
    number, moment = _number(value), value if isinstance(value, datetime) else None
    try:
        if (date := _DATE.fullmatch(str(value))) is not None:
            year, month, day = date[1] or date[4], date[2] or date[5] or 1, date[3] or 1
            moment, oddity = datetime(int(year), int(month), int(day), tzinfo=UTC), NO_ZONE
        elif number is None and isinstance(value, str):
            moment = _moment(value)
    except ValueError:
        return None, UNREADABLE
    if moment is not None:
        if moment.tzinfo is None:
            moment, oddity = moment.replace(tzinfo=UTC), NO_ZONE
        at_us = (moment - _EPOCH) // _MICROSECOND
    elif number is None or not math.isfinite(number):
        return None, UNREADABLE
    else:
        unit_us = next(unit for least, unit in _UNITS_US if abs(number) >= least)
        at_us = microseconds(number) if unit_us == 1e6 else round(number * unit_us)
        if at_us < _PLAUSIBLE_US:
            return None, DOUBTFUL if at_us >= EARLIEST_US else OUT_OF_RANGE
    return (at_us / 1e6, oddity) if EARLIEST_US <= at_us < LATEST_US else (None, OUT_OF_RANGE)


def _is_day_first(numbers: re.Match[str], day_first: bool | None) -> bool | None:
    """Whether the day comes before the month; `day_first` where both may be either."""
    first, mark, second = numbers[1], numbers[2], numbers[3]
    if mark == ".":
        return True
    return int(first) > 12 if max(int(first), int(second)) > 12 else day_first


def day_first_in(values: Iterable[object]) -> bool | None:
    """Whether dates such as 1/2/2026 begin with the day, by others beside them; None if unclear."""
    texts = (value.strip() for value in values if isinstance(value, str))
    orders = {_is_day_first(n, None) for n in map(_NUMBERS.fullmatch, texts) if n} - {None}
    return orders.pop() if len(orders) == 1 else None


def parse_time(text: str) -> datetime:
    """Read a time as a person types it, or raise `InputError`; UTC when no zone is given."""
    at, oddity = read_time(text)
    if at is None:
        reason = {OUT_OF_RANGE: "is too far away", DOUBTFUL: "is a doubtful time"}
        reason[TWO_DATES] = "may be two dates"
        what = f"{text!r} {reason.get(oddity, 'is no time')}"
        raise InputError(what, hint="write it as 2026-05-01 or 2026-05-01T18:30+02:00")
    return as_datetime(at)


def as_datetime(at: float) -> datetime:
    """Turn Unix seconds into a datetime in UTC, exact to the microsecond."""
    return _EPOCH + timedelta(microseconds=microseconds(at))


def iso_time(at: float | None) -> str | None:
    """Write Unix seconds as ISO 8601 in UTC, exact to the microsecond; None stays None."""
    return None if at is None else as_datetime(at).isoformat()


def microseconds(at: float) -> int:
    """Turn Unix seconds into whole microseconds, exact from 1700 to 2240."""
    # `at * 1e6` in one go would be off by one from 2041 on.
    whole = math.floor(at)
    return whole * 1_000_000 + round((at - whole) * 1e6)


def _moment(text: str) -> datetime:
    with suppress(ValueError):
        return datetime.fromisoformat(text)
    for form in _FORMS:
        with suppress(ValueError):
            return datetime.strptime(text, form)  # noqa: DTZ007 - without a zone it is told
    raise ValueError(text)


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, str | int | float) else None
    except ValueError:
        return None
    except OverflowError:  # a whole number of more than 308 digits
        return math.inf
