"""`Predictor`: photo, person and moment in, suggestions out; the only inference path."""

from __future__ import annotations

import copy
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pixtag.artifact import Bundle, load_bundle
from pixtag.blas import limit_blas
from pixtag.errors import InputError, PixtagError
from pixtag.lists import Lists
from pixtag.platforms import Platform
from pixtag.predict.answer import Answer
from pixtag.predict.checks import check_network, check_question
from pixtag.predict.looking import Looker, NoEncoder, known_posts
from pixtag.predict.notes import notes_on
from pixtag.predict.photos import sidecar_tags
from pixtag.predict.reasons import Explainer
from pixtag.predict.rising import Rising, rising_tags
from pixtag.predict.snapshot import state_with_store
from pixtag.predict.wishes import Wishes
from pixtag.replay import best_of, rank, state_of
from pixtag.signals.columns import DAY_S, Queries
from pixtag.state import Scored, State
from pixtag.store import Store
from pixtag.tags import tidy_tags
from pixtag.types import Floats, Ints, Post, PostLog, Rankings, Reason, Sources, Suggestion

if TYPE_CHECKING:
    from pixtag.encoder import Encoder

_BATCH = 16
"""Photos that are read, embedded and scored together."""

_GIVEN_USER = "\0given"
"""Stands for a person whose history was typed in; no store can hold this name."""

_ALWAYS = (Reason("lists", "always: it is on your list", 0.0),)


@dataclass(frozen=True, slots=True)
class _Person:
    """Who is asked about."""

    user: str | None
    wishes: Wishes
    given: Mapping[str, int] = field(default_factory=dict[str, int])


class Predictor:
    """Suggests hashtags; made by `Predictor.load`. Threads may share one.

    Args:
        bundle: The model.
        store: Earlier posts, or None. Its changes are noticed at the next question.
        encoder: Turns photos into embeddings; the bundle's when None, loaded at the first photo.

    Raises:
        ModelError: The bundle's network reads other signals than this version gives.
    """

    def __init__(
        self, bundle: Bundle, *, store: Store | None = None, encoder: Encoder | None = None
    ) -> None:
        check_network(bundle)
        limit_blas()
        self._bundle = bundle
        self._store = store
        self._looker = Looker(lambda: self._load_encoder(encoder))
        self._pool = ThreadPoolExecutor(thread_name_prefix="pixtag-look")
        self._lock = threading.RLock()
        self._observed: list[PostLog] = []
        self._revision: int | None = None
        self._cached_state: State | None = None

    @classmethod
    def load(
        cls,
        bundle: Path | str | Bundle | None = None,
        store: Path | str | Store | None = None,
    ) -> Predictor:
        """Load a model and, when there is one, a store.

        Args:
            bundle: Folder of a bundle; the shipped one when None.
            store: A store's file, opened for reading; without one everybody is a stranger.

        Raises:
            ModelError: There is no usable bundle.
            StoreError: There is no usable store.
        """
        if not isinstance(bundle, Bundle):
            bundle = load_bundle(None if bundle is None else Path(bundle))
        if store is not None and not isinstance(store, Store):
            store = Store.open(store, read_only=True)
        predictor = cls(bundle, store=store)
        predictor._looker.prepare()
        return predictor

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
            at: The time to suggest for, with a zone; now when None. Only posts before it count.
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
            At most `k` less the accepted ones, likeliest first, then those always added; fewer
            when there is little evidence. Ties go by the order in which tags became known.

        Raises:
            InputError: `k` is not positive, `at` has no zone, or nobody knows the platform.
            ImageError: The photo cannot be read.
            StoreError: The store cannot be read.
        """
        check_question(k, at)
        wishes = Wishes.of(k, accepted, refused, platform, allow_similar, lists)
        person = _person(user, history, wishes)
        looking = None if photo is None else self._pool.submit(self._looker.look, photo)
        at_s = time.time() if at is None else at.timestamp()
        with self._lock:
            state = self._with_given(self._state(), person, before=at_s)
            scorer = state.ask(self._queries([at_s], person, [None]))
        seen = None if looking is None else looking.result()
        queries = self._queries([at_s], person, [seen])
        with self._lock:
            scored = scorer.run(queries.embeddings, queries.has_photo, helper=self._pool)
            return list(self._suggested(state, scored, queries, person)[0])

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

        Args:
            photos: Their files.
            user: As for `suggest`.
            history: As for `suggest`.
            at: As for `suggest`.
            k: As for `suggest`, and so are all that follow.
            accepted: Chosen for every photo.
            refused: Not wanted on any.
            platform: Where they will be posted.
            allow_similar: Whether tags that say the same may stand beside each other.
            lists: Tags never, only or always suggested.

        Yields:
            One answer a photo, in order. A photo that cannot be read gives one with its error.

        Raises:
            InputError: As for `suggest`.
            StoreError: The store cannot be read.
        """
        check_question(k, at)
        wishes = Wishes.of(k, accepted, refused, platform, allow_similar, lists)
        paths = [Path(p) for p in photos]
        now = time.time() if at is None else at.timestamp()
        person = _person(user, history, wishes)
        known = {} if self._store is None else known_posts(self._store, paths)
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
        with self._lock:
            state = self._without(self._state(), hidden)
            first = min([now, *as_posted.values()])
            state = self._with_given(state, person, before=first)
        for start in range(0, len(paths), _BATCH):
            batch = paths[start : start + _BATCH]
            times = [as_posted.get(path, now) for path in batch]
            found = self._answer_batch(state, batch, times, person)
            for path, at_s, result in zip(batch, times, found, strict=True):
                post = known.get(path)
                is_error = isinstance(result, PixtagError)
                yield Answer(
                    photo=str(path),
                    at=at_s,
                    user=user,
                    suggestions=() if is_error else result,
                    own_tags=sidecar_tags(path) if post is None else post.tags,
                    is_as_posted=path in as_posted,
                    is_trained_on=post is not None
                    and bool(self._bundle.has_seen([post.post_id])[0]),
                    error=result if is_error else None,
                )

    def trending(self, at: datetime | None = None, *, k: int = 20) -> list[Rising]:
        """List the tags that more people use than usual.

        Args:
            at: The time to look at, with a zone; now when None. Only posts before it count.
            k: How many at most.

        Returns:
            The surest rise first; empty when nothing rises.

        Raises:
            InputError: There is no store, `k` is not positive, or `at` has no zone.
        """
        check_question(k, at)
        if not self._has_posts:
            raise InputError(
                "without posts nothing can be said about trends",
                hint="give a store, made with `pixtag import`",
            )
        at_s = time.time() if at is None else at.timestamp()
        with self._lock:
            return rising_tags(self._state().log, at=at_s, k=k)

    def observe(self, posts: Iterable[Post]) -> None:
        """Make posts part of the past, for this predictor only; keep them with `Store.add_posts`.

        Args:
            posts: In any order; a known post_id is replaced. Photos that cannot be read are left
                out.
        """
        posts = list(posts)
        has_eyes = self._bundle.manifest.encoder_width > 0
        embeddings = {
            post.post_id: np.mean(list(rows), axis=0).astype(np.float16)
            for post in posts
            if has_eyes and (rows := self._looker.readable(Path(p.path) for p in post.photos))
        }
        log = PostLog.of(posts, embeddings)
        with self._lock:
            state = copy.copy(self._state())
            state.observe(log)
            self._cached_state = state
            self._observed.append(log)

    def retract(self, post_ids: Collection[str]) -> None:
        """Forget observed posts as if they had never been; unknown ids are ignored."""
        gone = frozenset(post_ids)
        with self._lock:
            self._cached_state = self._without(self._state(), gone)
            self._observed = [
                log.select(np.array([p not in gone for p in log.post_ids], np.bool_))
                for log in self._observed
            ]

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
            log: Posts with this bundle's encoder's embeddings. The store plays no part.
            start: First post to rank.
            stop: The post after the last.
            k: Ranks kept.
            sources: Which sources may speak; all when None.
        """
        rows = np.arange(start, stop)
        state = state_of(self._bundle, log, judged_by=start)
        ranked = rank(state, self._bundle, state.queries_of(log, rows), k=k, sources=sources)
        return Rankings(rows, ranked.tag_ids, ranked.probs, ranked.tags)

    def notes(self, *, user: str | None = None, at: datetime | None = None) -> list[str]:
        """Say what a person should know before they trust the answers.

        Args:
            user: The person that will be asked about.
            at: The time that will be asked about; now when None.

        Returns:
            Sentences: the person is unknown, the store's posts lie in the future, no photo of
            the store was embedded.
        """
        with self._lock:
            state = self._state()
        return notes_on(self._bundle, state, user=user, at=at, store=self._store)

    # Inside

    @property
    def _has_posts(self) -> bool:
        return self._store is not None or bool(self._observed)

    def _load_encoder(self, given: Encoder | None) -> Encoder:
        if not self._bundle.manifest.encoder_width:
            return NoEncoder()
        from pixtag.encoder import load_encoder  # takes long, so not before it is needed

        encoder = given or load_encoder(self._bundle.encoder_path)
        self._bundle.check_encoder(encoder.digest, encoder.width)
        return encoder

    def _state(self) -> State:
        """The state with all that is known now."""
        revision = None if self._store is None else self._store.revision
        if self._cached_state is None or revision != self._revision:
            if self._store is None:
                state = state_of(self._bundle)
            else:
                state, revision = state_with_store(self._bundle, self._store)
            for observed in self._observed:
                state.observe(observed)
            self._cached_state, self._revision = state, revision
        return self._cached_state

    @staticmethod
    def _without(state: State, post_ids: Collection[str]) -> State:
        if not post_ids:
            return state
        # A state replaces its arrays and never changes them when posts come or go.
        state = copy.copy(state)
        state.retract(post_ids)
        return state

    @staticmethod
    def _with_given(state: State, person: _Person, *, before: float) -> State:
        """Add a history that was typed in: the n-th mention of a tag was used n days before."""
        if not person.given:
            return state
        posts = [
            Post(
                post_id=f"{_GIVEN_USER} {day}",
                user_id=person.user or _GIVEN_USER,
                posted_at=before - day * DAY_S,
                tags=tuple(tag for tag, n in person.given.items() if n >= day),
            )
            for day in range(1, max(person.given.values()) + 1)
        ]
        state = copy.copy(state)
        state.observe(PostLog.of(posts))
        return state

    def _queries(
        self, times: Sequence[float], person: _Person, seen: Sequence[Floats | None]
    ) -> Queries:
        user = person.user or (_GIVEN_USER if person.given else None)
        embeddings = np.zeros((len(seen), self._bundle.manifest.encoder_width), np.float32)
        for row, embedding in enumerate(seen):
            if embedding is not None:
                embeddings[row] = embedding
        return Queries(
            at=np.array(times, np.float64),
            users=(user,) * len(seen),
            embeddings=embeddings,
            has_photo=np.array([e is not None and len(e) > 0 for e in seen], np.bool_),
            accepted=(person.wishes.accepted,) * len(seen) if person.wishes.accepted else (),
        )

    def _answer_batch(
        self,
        state: State,
        paths: Sequence[Path],
        times: Sequence[float],
        person: _Person,
    ) -> list[tuple[Suggestion, ...] | PixtagError]:
        looked = self._looker.look_at(paths)
        seen = [row for row in looked if not isinstance(row, PixtagError)]
        kept = [t for t, row in zip(times, looked, strict=True) if not isinstance(row, PixtagError)]
        if not seen:
            return [row for row in looked if isinstance(row, PixtagError)]
        with self._lock:
            found = iter(self._answer(state, self._queries(kept, person, seen), person))
        return [row if isinstance(row, PixtagError) else next(found) for row in looked]

    def _answer(
        self, state: State, queries: Queries, person: _Person
    ) -> list[tuple[Suggestion, ...]]:
        out: list[tuple[Suggestion, ...]] = [()] * len(queries)
        for index, scored in state.score_blocks(queries):
            found = self._suggested(state, scored, queries.take(index), person)
            for query, suggestions in zip(index.tolist(), found, strict=True):
                out[query] = suggestions
        return out

    def _suggested(
        self, state: State, scored: Scored, queries: Queries, person: _Person
    ) -> list[tuple[Suggestion, ...]]:
        """Suggest for the queries of one block, about which the state was just asked."""
        tags, probs = best_of(self._bundle, scored, k=scored.tag.shape[1])
        return [
            self._suggestions(state, scored, row, (tags[row], probs[row]), queries, person)
            for row in range(len(queries))
        ]

    def _suggestions(
        self,
        state: State,
        scored: Scored,
        row: int,
        ranked: tuple[Ints, Floats],
        queries: Queries,
        person: _Person,
    ) -> tuple[Suggestion, ...]:
        wishes = person.wishes
        place_of = np.zeros(len(state.tags) + 1, np.int64)
        place_of[scored.tag[row]] = np.arange(scored.tag.shape[1])
        found = ranked[0] < len(state.tags)
        tags, probs = ranked[0][found], ranked[1][found]
        places = place_of[tags]
        best = wishes.chosen(state, tags, probs, scored.features[row, places], scored.context[row])
        # The set is chosen by worth and shown by chance.
        best.sort(key=lambda i: -probs[i])
        always = dict.fromkeys(wishes.always, 0.0)
        if always:
            names = [state.tags[tag] for tag in tags.tolist()]
            always |= {t: float(p) for t, p in zip(names, probs, strict=True) if t in always}
        added = tuple(Suggestion(tag, prob, _ALWAYS) for tag, prob in always.items())
        if not best:
            return added
        explainer = Explainer(
            state,
            scored,
            row,
            at=float(queries.at[row]),
            user=queries.users[row],
            accepted=wishes.accepted,
            given=person.given,
            has_store=self._has_posts,
        )
        offered = tags[best].tolist()
        reasons = explainer.reasons(self._bundle.weights, places[best], offered)
        return (
            *(
                Suggestion(state.tags[tag], float(probs[i]), why)
                for i, tag, why in zip(best, offered, reasons, strict=True)
            ),
            *added,
        )


def _person(user: str | None, history: Sequence[str] | None, wishes: Wishes) -> _Person:
    given: Counter[str] = Counter()
    for raw in history or ():
        given.update(tidy_tags([raw]))
    return _Person(user, wishes, dict(given))
