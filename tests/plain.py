"""The past as a list of posts: what any evidence has to answer, by lists and loops alone."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pixtag.types import PostLog

DAY_TICKS, HOUR_TICKS = 8_640_000, 360_000


def tick_of(at: float) -> int:
    """Hundredths of a second since 1930; 0 without a time."""
    return 0 if at == -math.inf else math.floor((at + 1_262_304_000.0) * 100)


@dataclass(frozen=True)
class Seen:
    """A post as a person would read it; the photo is the encoder's embedding."""

    post_id: str
    at: float
    user: str | None
    tags: tuple[str, ...]
    photo: np.ndarray | None

    @property
    def tick(self) -> int:
        return tick_of(self.at)

    @property
    def day(self) -> int:
        return self.tick // DAY_TICKS

    @property
    def is_timed(self) -> bool:
        return self.at > -math.inf

    @property
    def person(self) -> str:
        """Each post of nobody is by a person of its own."""
        return f"nobody of {self.post_id}" if self.user is None else self.user


def posts_of(log: PostLog) -> list[Seen]:
    """The posts of a log."""
    users = [*log.users, None]
    return [
        Seen(
            log.post_ids[i],
            float(log.at[i]),
            users[log.user_of_post[i]],
            tuple(log.tags_of(i)),
            log.embeddings[i].astype(np.float32) if log.has_photo[i] else None,
        )
        for i in range(len(log))
    ]


class PlainEvidence:
    """Every post in a dictionary; each answer reads them all."""

    def __init__(self, posts: Sequence[Seen] = ()) -> None:
        self.posts = {p.post_id: p for p in posts}

    def observe(self, posts: Sequence[Seen]) -> None:
        self.posts |= {p.post_id: p for p in posts}

    def retract(self, post_ids: Collection[str]) -> None:
        self.posts = {i: p for i, p in self.posts.items() if i not in post_ids}

    def forget(self, user: str) -> None:
        self.posts = {i: p for i, p in self.posts.items() if p.user != user}

    def before(self, tick: int) -> list[Seen]:
        """Earlier posts in time order, those without a time first."""
        found = [p for p in self.posts.values() if p.tick < tick]
        return sorted(found, key=lambda p: (p.tick, zlib.crc32(p.post_id.encode())))

    def own(self, user: str | None, tick: int) -> list[Seen]:
        return [p for p in self.before(tick) if p.is_timed and user is not None and p.user == user]

    def carrying(self, tag: str, tick: int) -> list[Seen]:
        return [p for p in self.before(tick) if tag in p.tags]

    def timed(self, tag: str, tick: int) -> list[Seen]:
        return [p for p in self.carrying(tag, tick) if p.is_timed]

    def people(self, tag: str, tick: int) -> set[str]:
        return {p.person for p in self.carrying(tag, tick)}

    def days(self, tag: str, tick: int) -> set[tuple[str, int]]:
        return {(p.person, p.day) for p in self.timed(tag, tick)}

    def on_weekday(self, tag: str, tick: int) -> int:
        today = tick // DAY_TICKS
        return sum((day - today) % 7 == 0 for _, day in self.days(tag, tick))

    def first(self, tag: str, tick: int) -> int | None:
        return min((p.tick for p in self.timed(tag, tick)), default=None)

    def window(self, tag: str, user: str | None, tick: int, hours: float) -> int:
        lately = [p for p in self.timed(tag, tick) if p.tick >= tick - hours * HOUR_TICKS]
        return len({p.person for p in lately} - {user})

    def lived_days(self, tick: int) -> float:
        ages = [tick - p.tick for p in self.posts.values() if p.is_timed]
        return max(max(ages, default=0) / DAY_TICKS, 1.0)

    def popular(self, tick: int) -> dict[str, int]:
        """People of each tag at the start of the day."""
        past = self.before(tick - tick % DAY_TICKS)
        return {t: len({p.person for p in past if t in p.tags}) for p in past for t in p.tags}

    def rising(self, tick: int, hours: Sequence[float], shrink: float) -> list[dict[str, float]]:
        """For each window the people of tags of three, and how much they rose by the full hour."""
        tick -= tick % HOUR_TICKS
        out: list[dict[str, float]] = []
        tags = {t for p in self.before(tick) for t in p.tags}
        for length in hours:
            strength: dict[str, float] = {}
            for tag in tags:
                count = self.window(tag, None, tick, length)
                rate = len(self.days(tag, tick)) / self.lived_days(tick)
                lift = math.log((count + shrink) / (rate * length / 24 + shrink))
                strength[tag] = lift + 0.5 * math.log1p(count)
                ever = max(self.window(tag, None, tick, h) for h in hours)
                if not count or ever < 2 or len(self.people(tag, tick)) < 3:
                    del strength[tag]
            out.append(strength)
        return out
