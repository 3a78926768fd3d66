"""What signals, ranking and the predictor read of the past; any store of posts may answer it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pixtag.evidence.outside import Outside
from pixtag.evidence.records import Counts, Names, OwnPosts, Totals
from pixtag.types import Doubles, Floats, Halfs, Ints, Smalls


class Evidence(Protocol):
    """The past, frozen: each read names its moments and sees what lies strictly before them.

    Tags and people are integer ids inside: the model's vocabulary comes first. Moments are ticks
    (see `ticks`); posts without a time are at tick 0, before every question.

    Shapes:
        B: questions. P: pairs of a tag and a moment. W: windows. E: entries found. T: tags.
        N: posts. M: photos. J: joint space. K: topics.
    """

    @property
    def n_posts(self) -> int:
        """Posts that are known."""
        ...

    @property
    def n_tags(self) -> int:
        """Tags that are known, T."""
        ...

    @property
    def tags(self) -> list[str]:
        """Names of the tags by id; may be longer than `n_tags`."""
        ...

    @property
    def names(self) -> Names:
        """Tags by id, with what decides ties between them."""
        ...

    @property
    def people(self) -> Names:
        """Users by id."""
        ...

    @property
    def tick(self) -> Ints:
        """When each post was, by slot, `[N]`."""
        ...

    @property
    def user(self) -> Smalls:
        """Who posted, by slot, `[N]`; -1 for nobody."""
        ...

    @property
    def n_uses(self) -> Smalls:
        """How many tags a post has, by slot, `[N]`."""
        ...

    @property
    def photo(self) -> Smalls:
        """Row of a post's photo, by slot, `[N]`; -1 without one."""
        ...

    @property
    def vectors(self) -> Floats:
        """Unit vectors of the photos in the joint space, `[M, J]`."""
        ...

    @property
    def topics(self) -> Halfs:
        """Topics of the photos, `[M, K]`."""
        ...

    @property
    def photo_slot(self) -> Ints:
        """Post of each photo, `[M]`."""
        ...

    @property
    def photo_tick(self) -> Ints:
        """When each photo was posted, `[M]`; after every moment once it was retracted."""
        ...

    @property
    def photos_in_order(self) -> bool:
        """Whether `photo_tick` ascends."""
        ...

    @property
    def outside(self) -> Outside | None:
        """Counts of tags outside the store, or None."""
        ...

    def id_of(self, tag: str) -> int:
        """Id of a tag, or -1."""
        ...

    def at(self, slot: Ints) -> Doubles:
        """Unix seconds of posts, to a hundredth; `-inf` without a time."""
        ...

    def tags_of(self, slot: int) -> list[str]:
        """Tags of a post, in the order of writing."""
        ...

    def uses_of(self, slots: Ints) -> tuple[Ints, Ints]:
        """Position among `slots` and tag of every use of some posts, `[E]` each."""
        ...

    def own(self, users: Ints, tick: Ints) -> OwnPosts:
        """All timed posts of people before their moments, `[B]`, ties by the post's id."""
        ...

    def totals(self, tick: Ints) -> Totals:
        """Posts before each moment `[B]`, and since when there are any."""
        ...

    def lived_days(self, tick: Ints) -> Doubles:
        """Days since the first post with a time, at least one, `[B]`."""
        ...

    def counts(self, tag: Ints, tick: Ints, *, people: Ints | None = None) -> Counts:
        """People (unless given), uses, days and first use of tags before moments, `[P]`."""
        ...

    def people_with(self, tag: Ints, tick: Ints) -> Ints:
        """Distinct people who used each tag, `[P]`; a post of nobody is a person of its own."""
        ...

    def uses_with(self, tag: Ints, tick: Ints) -> Ints:
        """Posts with each tag, `[P]`."""
        ...

    def named_with(self, tag: Ints, tick: Ints) -> Ints:
        """Distinct people with a name who used each tag, `[P]`."""
        ...

    def n_people(self, tick: int) -> int:
        """How many named people had posted at the start of the moment's UTC day."""
        ...

    def people_lately(
        self, tick: int, hours: Sequence[float], *, limit: int | None = None
    ) -> tuple[Ints, Floats]:
        """Tags of the last hours `[T]`, ascending, and the distinct people behind them `[W, T]`."""
        ...

    def window(self, tag: Ints, user: Ints, tick: Ints, hours: Sequence[float]) -> Floats:
        """Distinct people other than `user` who used each tag in the last hours, `[W, P]`."""
        ...

    def carrying(self, tag: Ints, tick: Ints, *, limit: int) -> tuple[Ints, Ints]:
        """The last posts with each tag: pair `[E]`, ascending, and post `[E]`."""
        ...

    def photos_with(self, tag: Ints, tick: Ints) -> Ints:
        """How many photos carried each tag, `[P]`."""
        ...

    def last_photos(self, tag: Ints, tick: Ints, *, limit: int) -> tuple[Ints, Ints]:
        """The last photos with each tag: pair `[E]`, ascending, and row in `vectors` `[E]`."""
        ...

    def kept_of(
        self,
        name: str,
        tag: Ints,
        uses: Ints,
        make: Callable[[Ints], Sequence[Any]],
        since: int = 0,
    ) -> list[Any]:
        """What is made of each tag's posts before a moment, kept while these are the same ones."""
        ...

    def popular(self, tick: int, *, limit: int) -> Ints:
        """The tags that most people had used at the start of the moment's UTC day, best first."""
        ...

    def rising(self, tick: int, *, hours: Sequence[float], shrink: float, limit: int) -> Ints:
        """Tags of most people in some window, and whose rate rose most, as of the full hour."""
        ...

    def just_used(self, tick: Ints) -> tuple[Ints, Ints]:
        """Question and tag of the uses in the last timed posts before each moment."""
        ...
