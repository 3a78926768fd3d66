"""`Predictor`: photo, person and moment in, suggestions out; the only inference path."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from pixtag import images
from pixtag.blas import limit_blas
from pixtag.bundle import Bundle, load_bundle
from pixtag.choose import Seen, Wishes, names_first, usage_of, worth_of
from pixtag.errors import ImageError, InputError, PixtagError, StoreError
from pixtag.evidence import LAST_TICK, View
from pixtag.evidence import seconds as seconds_of
from pixtag.evidence import ticks as ticks_of
from pixtag.lists import Lists
from pixtag.live import PART, LiveEvidence
from pixtag.model import Model, evidence_of
from pixtag.photos import BATCH, PhotoReader, sidecar_tags
from pixtag.platforms import Platform
from pixtag.rank import (
    Candidates,
    best_of,
    block_size,
    described,
    questions_of,
    rank,
    read,
)
from pixtag.reasons import Explained, contributions, reasons
from pixtag.signals import FEATURES, Asked, Questions
from pixtag.signals.trend import Rising, rising_tags
from pixtag.signals.words import BRIDGE_FLOOR
from pixtag.store import Store
from pixtag.tags import tidy_tags
from pixtag.types import Floats, Ints, Photo, Post, PostLog, Rankings, Reason, Sources, Suggestion

if TYPE_CHECKING:
    from pixtag.encoder import Encoder

DAY_S = 86_400.0

NO_STORE = "without a store nothing is known about {}"

_ALWAYS = (Reason("lists", "always: it is on your list", 0.0),)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found for one photo of several.

    Attributes:
        photo: Its path, as given.
        at: The time that it was judged at, Unix seconds UTC.
        user: The person asked about, or None.
        suggestions: Best first; empty with an error.
        own_tags: Tags that the photo is known to carry (the store's, or a sidecar's), or None.
        is_as_posted: Whether `at` is the moment when the store says that it was posted.
        is_trained_on: Whether the model learned from this very post, which flatters it.
        error: Why there are no suggestions.
    """

    photo: str
    at: float
    user: str | None
    suggestions: tuple[Suggestion, ...] = ()
    own_tags: tuple[str, ...] | None = None
    is_as_posted: bool = False
    is_trained_on: bool = False
    error: PixtagError | None = None


@dataclass(frozen=True, slots=True)
class _Person:
    user: str | None
    wishes: Wishes
    history: tuple[str, ...]

    @classmethod
    def of(cls, user: str | None, history: Sequence[str] | None, wishes: Wishes) -> _Person:
        return cls(user, wishes, tuple(tag for raw in history or () for tag in tidy_tags([raw])))


class Predictor:
    """Suggests hashtags; made by `Predictor.load`. Threads may share one.

    Args:
        bundle: The model.
        store: Earlier posts; its changes are seen at the next question, whoever makes them. None
            for an empty one in memory.
        encoder: Turns photos into embeddings; the model's when None, loaded at the first photo.

    Raises:
        ModelError: The model's network reads other inputs than this version gives.
    """

    def __init__(
        self, bundle: Bundle, *, store: Store | None = None, encoder: Encoder | None = None
    ) -> None:
        limit_blas()
        self._bundle = bundle
        self._has_store, self._owns_store = store is not None, store is None
        self._store = Store.in_memory() if store is None else store
        self._past = LiveEvidence(bundle, self._store)
        self._photos = PhotoReader(bundle, encoder)

    @classmethod
    def load(
        cls,
        bundle: Path | str | Bundle | None = None,
        store: Path | str | Store | None = None,
    ) -> Self:
        """Load a model and, when there is one, a store.

        Args:
            bundle: A model's file; the shipped one when None.
            store: A store, or its file, which is opened for reading alone; without one everybody
                is a stranger.

        Raises:
            ModelError: There is no usable model.
            StoreError: There is no usable store.
        """
        if not isinstance(bundle, Bundle):
            bundle = load_bundle(None if bundle is None else Path(bundle))
        is_file = isinstance(store, (str, Path))
        predictor = cls(bundle, store=Store.open(store, read_only=True) if is_file else store)
        predictor._owns_store |= is_file
        predictor._photos.prepare()
        return predictor

    def close(self) -> None:
        """Close what was opened here; questions that are being answered are finished first."""
        self._photos.close()
        self._past.close()
        if self._owns_store:
            self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def bundle(self) -> Bundle:
        """The model."""
        return self._bundle

    def suggest(
        self,
        photo: Path | str | bytes | None,
        *,
        user: str | None = None,
        history: Sequence[str] | None = None,
        at: datetime | None = None,
        k: int = 5,
        accepted: Sequence[str] = (),
        refused: Sequence[str] = (),
        platform: Platform | str | None = None,
        allow_similar: bool = False,
        lists: Lists | None = None,
    ) -> list[Suggestion]:
        """Suggest hashtags for one photo.

            predictor = Predictor.load(store="my.sqlite")
            for suggestion in predictor.suggest("photo.jpg", user="ana"):
                print(suggestion.tag, suggestion.prob)

        Args:
            photo: Its file or its bytes; None to go by history and trend alone.
            user: Whose photo it is. Somebody whom the store doesn't know is a stranger.
            history: Tags that the person uses, in addition to what the store knows; repeat one
                that they use often. They count as used on the days before `at`.
            at: The time to suggest for, with a zone; only posts before it count. None is now, and
                after every post of the store that is not more than a day ahead of the clock.
            k: How many in all, accepted ones included.
            accepted: Tags that the person has chosen for this photo already. They are not
                suggested again and draw in what goes with them.
            refused: Tags not to suggest; what says the same counts less.
            platform: Cuts `k` to what a post may carry there: a name such as "threads", or what
                `pixtag.platforms` gives.
            allow_similar: Let tags that say the same stand beside each other, as #dog and #dogs.
                Otherwise the second counts half, unless the person has used it.
            lists: Tags never, only or always suggested, as `Store.lists` gives them.

        Returns:
            At most `k` less the accepted ones, then those always added; fewer when there is
            little evidence. The first five are chosen as a set and come likeliest first, the
            second of two that say the same later; a smaller `k` gives the beginning of what a
            larger one gives. Ties go by the vocabulary, then by a hash of the tag.

        Raises:
            InputError: `k` is not positive, `at` has no zone, or nobody knows the platform.
            ImageError: The photo cannot be read.
            StoreError: The store cannot be read.
        """
        _check_question(k, at)
        wishes = Wishes.of(k, accepted, refused, platform, allow_similar, lists)
        person = _Person.of(user, history, wishes)
        seen = None
        if photo is not None:
            (seen,) = self._photos.look_at([photo])
            if isinstance(seen, PixtagError):
                raise seen
        model, view = self._past.now()
        return list(self._answered(model, view, [moment_of(view, at)], [seen], person)[0])

    def answers(
        self,
        photos: Iterable[Path | str],
        *,
        user: str | None = None,
        history: Sequence[str] | None = None,
        at: datetime | None = None,
        k: int = 5,
        accepted: Sequence[str] = (),
        refused: Sequence[str] = (),
        platform: Platform | str | None = None,
        allow_similar: bool = False,
        lists: Lists | None = None,
    ) -> Iterator[Answer]:
        """Suggest hashtags for many photos and compare with the tags that they carry.

        A photo of a post in the store is judged as of the moment when it was posted (unless
        `at` is given), and the posts that the photos belong to are no evidence for each other
        where their time would not keep them from it: what is marked right was not looked up.

        What is asked for is said as for `suggest`, and holds for every photo.

        Yields:
            One answer a photo, in order. A photo that cannot be read gives one with its error.

        Raises:
            InputError: As for `suggest`.
            StoreError: The store cannot be read.
        """
        _check_question(k, at)
        wishes = Wishes.of(k, accepted, refused, platform, allow_similar, lists)
        person = _Person.of(user, history, wishes)
        paths = [Path(p) for p in photos]
        known = _known_posts(self._store, paths)
        model, view = self._past.now()
        now = moment_of(view, at)
        as_posted = {
            path: post.posted_at
            for path, post in known.items()
            if at is None and post.posted_at is not None
        }
        hidden = {
            post.post_id
            for path, post in known.items()
            if path not in as_posted and (post.posted_at is None or post.posted_at < now)
        }
        view = self._past.without(hidden)
        for start in range(0, len(paths), BATCH):
            batch = paths[start : start + BATCH]
            times = [as_posted.get(path, now) for path in batch]
            looked = self._photos.look_at(batch)
            readable = [i for i, row in enumerate(looked) if not isinstance(row, PixtagError)]
            found = iter(
                self._answered(
                    model,
                    view,
                    [times[i] for i in readable],
                    [row for row in looked if not isinstance(row, PixtagError)],
                    person,
                )
            )
            for path, at_s, row in zip(batch, times, looked, strict=True):
                post = known.get(path)
                is_broken = isinstance(row, PixtagError)
                yield Answer(
                    photo=str(path),
                    at=at_s,
                    user=user,
                    suggestions=() if is_broken else next(found),
                    own_tags=sidecar_tags(path) if post is None else post.tags,
                    is_as_posted=path in as_posted,
                    is_trained_on=post is not None
                    and bool(self._bundle.has_seen([post.post_id])[0]),
                    error=row if is_broken else None,
                )

    def trending(self, at: datetime | None = None, *, k: int = 20) -> list[Rising]:
        """List the tags that more people use than usual.

        Args:
            at: The time to look at, as for `suggest`.
            k: How many at most.

        Returns:
            The surest rise first; empty when nothing rises.

        Raises:
            InputError: There is no post, `k` is not positive, or `at` has no zone.
        """
        _check_question(k, at)
        _, view = self._past.now()
        if not (self._has_store or view.n_posts):
            raise InputError(
                "without posts nothing can be said about trends",
                hint="give a store, made with `pixtag import`",
            )
        return rising_tags(view, at=moment_of(view, at), k=k)

    def observe(self, posts: Iterable[Post]) -> None:
        """Add posts to the store with the embeddings of their photos; the next answer knows them.

        Args:
            posts: In any order; a known post_id is replaced. Photos that cannot be read are left
                out.

        Raises:
            InputError: As for `Store.add_posts`.
            StoreError: The store cannot be written.
        """
        self._check_writable()
        posts = iter(posts)
        while part := list(islice(posts, PART)):
            seen = self._photos.look_at_posts(part)
            shown = [_with_digests(post) for post in part]
            vectors = {
                photo.digest: seen[photo.path].astype(np.float16)
                for post in shown
                for photo in post.photos
                if photo.digest and photo.path in seen
            }
            digest = self._bundle.manifest.encoder_digest
            self._store.add_posts(shown, encoder_digest=digest, embeddings=vectors)
        self._past.now(is_patient=True)

    def retract(self, post_ids: Collection[str]) -> None:
        """Remove posts from the store as if they had never been; unknown ids are ignored.

        Raises:
            StoreError: The store cannot be written.
        """
        self._check_writable()
        self._store.remove_posts(post_ids)
        self._past.now(is_patient=True)

    def forget(self, user: str) -> None:
        """Remove a person from the store, as `Store.forget` does; the next answer knows nothing.

        Raises:
            StoreError: The store cannot be written.
        """
        self._check_writable()
        self._store.forget(user)
        self._past.now(is_patient=True)

    def rank(
        self,
        log: PostLog,
        start: int,
        stop: int,
        *,
        k: int = 200,
        sources: Sources | None = None,
    ) -> Rankings:
        """Rank tags for posts of a log, each with what lies before it: for evaluation.

        Args:
            log: Posts with embeddings of this model's encoder. The store plays no part.
            start: First post to rank.
            stop: The post after the last.
            k: Ranks kept.
            sources: Which sources may speak; all when None.
        """
        rows = np.arange(start, stop)
        model, evidence = evidence_of(self._bundle, log, judged_by=start)
        questions = questions_of(log, rows, width=self._bundle.manifest.encoder_width)
        ranked = rank(model, evidence.view(), questions, k=k, sources=sources)
        return Rankings(rows, ranked.tag_ids, ranked.probs, ranked.tags)

    def notes(self, *, user: str | None = None, at: datetime | None = None) -> list[str]:
        """Say what a person should know before they trust the answers.

        Args:
            user: The person that will be asked about.
            at: The time that will be asked about; now when None.

        Returns:
            Sentences: the person is unknown, posts lie in the future, no photo was embedded.
        """
        _, view = self._past.now()
        notes: list[str] = []
        has_posts = self._has_store or view.n_posts > 0
        if user is not None and not len(view.slots_of(user)):
            why = "nobody called {} in the store" if has_posts else NO_STORE
            notes.append(f"{why.format(repr(user))}: suggesting as for a stranger")
        has_eyes = self._bundle.manifest.encoder_width > 0
        if not has_eyes:
            notes.append(
                "this model was trained without photos: it goes by history and trend alone"
            )
        if has_posts:
            notes += _notes_on_times(view, at)
            is_blind = has_eyes and not (view.photo_tick <= LAST_TICK).any()
            if is_blind and self._store.summary().n_photos:
                notes.append(
                    "no photo of the store has an embedding for this model's encoder, so its posts "
                    "count without their pixels; `pixtag import` embeds them"
                )
        return notes

    # Inside

    def _check_writable(self) -> None:
        if self._store.is_read_only:
            raise StoreError(
                f"{self._store.path} was opened for reading only",
                hint="give the Predictor a store that can be written: Store.open(PATH)",
            )

    def _answered(
        self,
        model: Model,
        view: View,
        times: Sequence[float],
        seen: Sequence[Floats | None],
        person: _Person,
    ) -> list[tuple[Suggestion, ...]]:
        """Answer one question for each time; everything is read from one view, without a lock."""
        n, width = len(times), self._bundle.manifest.encoder_width
        embeddings = np.zeros((n, width), np.float32)
        has_photo = np.array([row is not None and len(row) > 0 for row in seen], np.bool_)
        for i in np.flatnonzero(has_photo).tolist():
            embeddings[i] = seen[i]
        questions = Questions(
            at=np.array(times, np.float64),
            users=(person.user,) * n,
            embeddings=embeddings,
            has_photo=has_photo,
            accepted=(person.wishes.accepted,) * n,
            history=(person.history,) * n,
        )
        out: list[tuple[Suggestion, ...]] = []
        size = block_size(view)
        for start in range(0, n, size):
            block = questions.take(np.arange(start, min(start + size, n)))
            asked = read(model, view, block)
            found = described(model, asked)
            ranked = best_of(model, found, k=found.tag.shape[1], ties=asked.ties)
            out += [
                self._suggestions(model, asked, found, row, ranked, float(block.at[row]), person)
                for row in range(len(block))
            ]
        return out

    def _suggestions(
        self,
        model: Model,
        asked: Asked,
        found: Candidates,
        row: int,
        ranked: tuple[Ints, Floats],
        at: float,
        person: _Person,
    ) -> tuple[Suggestion, ...]:
        wishes = person.wishes
        place_of = np.zeros(asked.n_tags + 1, np.int64)
        place_of[found.tag[row]] = np.arange(found.tag.shape[1])
        is_tag = ranked[0][row] >= 0
        tags, probs = ranked[0][row][is_tag], ranked[1][row][is_tag]
        places = place_of[tags]
        names = [asked.names[tag] for tag in tags.tolist()]
        features = found.features[row, places]
        seen = Seen.by_stranger(asked, row, tags, features)
        worth = worth_of(probs, seen, floor=BRIDGE_FLOOR)
        best = wishes.chosen(
            names,
            probs,
            worth,
            is_own=features[:, FEATURES.column("own_uses_log")] > 0,
            usage=lambda some: usage_of(asked, row, some),
            first=() if seen is None else names_first(worth, seen),
        )
        likely = dict(zip(names, probs.tolist(), strict=True)) if wishes.always else {}
        added = tuple(Suggestion(tag, likely.get(tag, 0.0), _ALWAYS) for tag in wishes.always)
        if not best:
            return added
        given = Counter(person.history)
        explained = Explained(asked, found, row, at, wishes.accepted, given)
        why = contributions(model.weights, found, row, places[best]).tolist()
        facts = explained.facts(places[best])
        return (
            *(
                Suggestion(names[i], float(probs[i]), reasons(parts, known))
                for i, parts, known in zip(best, why, facts, strict=True)
            ),
            *added,
        )


def _with_digests(post: Post) -> Post:
    def with_digest(photo: Photo) -> Photo:
        with contextlib.suppress(ImageError):
            return photo if photo.digest else Photo(photo.path, images.digest(Path(photo.path)))
        return photo

    return replace(post, photos=tuple(with_digest(photo) for photo in post.photos))


def _known_posts(store: Store, photos: Iterable[Path]) -> dict[Path, Post]:
    """The latest post of a store that shows each photo, by the content of the files."""
    found: dict[Path, Post] = {}
    for photo in photos:
        with contextlib.suppress(ImageError):
            post = store.find_post_by_digest(images.digest(photo))
            if post is not None:
                found[photo] = post
    return found


def _check_question(k: int, at: datetime | None) -> None:
    if k < 1:
        raise InputError(f"k = {k}: at least one hashtag must be asked for", hint="use k=5")
    if at is not None and at.tzinfo is None:
        raise InputError(
            f"the time {at} has no zone", hint="use an aware one: datetime(..., tzinfo=UTC)"
        )


def moment_of(view: View, at: datetime | None) -> float:
    """Unix seconds UTC that are asked about.

    Without `at` it is now, but after every post that is not more than a day ahead of the clock.
    """
    if at is not None:
        return at.timestamp()
    now = time.time()
    last = view.latest(_tick(now + DAY_S))
    return max(now, seconds_of(last + 1))


def _tick(at: float) -> int:
    return int(ticks_of(np.array([at]))[0])


def _notes_on_times(view: View, at: datetime | None) -> list[str]:
    when = time.time() + DAY_S if at is None else at.timestamp()
    n, n_before = view.n_timed(np.array([LAST_TICK, _tick(when)])).tolist()
    n_later = n - n_before
    if not n:
        return []
    if at is None and n_later:
        return [
            f"{n_later:,} of {n:,} posts in the store are later than tomorrow ({_day(when)}) and "
            "do not count; --at asks about another time"
        ]
    if n_later == n:
        return [f"every post in the store is later than {_day(when)}: nothing counts"]
    return []


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
