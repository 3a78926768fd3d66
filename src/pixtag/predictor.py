"""`Predictor`: photo, person and moment in, suggestions out; the only inference path."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from pixtag.answering import answered
from pixtag.batches import Batches
from pixtag.bundle import Bundle, fitting, load_bundle
from pixtag.choose import Wishes, check_k
from pixtag.encoder import limit_blas
from pixtag.errors import InputError, PixtagError, ShapeError, StoreError
from pixtag.evidence import LAST_TICK, View
from pixtag.lists import Lists, global_lists
from pixtag.live import PART, LiveEvidence
from pixtag.model import Model
from pixtag.moments import DAY_S, check_time, moment_of, notes_on_times
from pixtag.photos import BATCH, PhotoReader, digest_of, sidecar_tags, with_digests
from pixtag.signals.trend import Rising, rising_tags
from pixtag.store import Store
from pixtag.types import Floats, Post, PostLog, Suggestion

if TYPE_CHECKING:
    from pixtag.encoder import Encoder
    from pixtag.platforms import Platform

_MOST_TOGETHER = 16  # questions of a block


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found for one photo of several."""

    photo: str  # its path, as given
    at: float  # the time that it was judged at, Unix seconds UTC
    user: str | None  # the person asked about
    suggestions: tuple[Suggestion, ...] = ()  # best first; empty with an error
    own_tags: tuple[str, ...] | None = None  # tags it is known to carry, by store or sidecar
    is_as_posted: bool = False  # whether `at` is when the store says that it was posted
    is_trained_on: bool = False  # whether the model learned from this post, which flatters it
    error: PixtagError | None = None  # why there are no suggestions
    unsure: bool = False  # whether it is not sure what the photo shows; strangers get few then
    embedding: Floats | None = field(default=None, compare=False, repr=False)  # of one asked alone


@dataclass(frozen=True, slots=True)
class _Question:
    embedding: Floats | None  # of its photo, `[D]`
    wishes: Wishes
    at: datetime | None


class _Queue:
    """Questions with a photo, or without one: these are quick and do not wait for the others.

    Python runs one thread at a time: threads that take turns don't contend for each array.
    """

    def __init__(self, answer: Callable[[Sequence[_Question]], Sequence[Answer]]) -> None:
        self.n_asking, self.turn = 0, threading.Lock()
        self.together = Batches(
            answer, most=_MOST_TOGETHER, name="pixtag-rank", n_asking=lambda: self.n_asking
        )


class Predictor:
    """Suggests hashtags; made by `Predictor.load`. Threads may share one.

    Args:
        bundle: The model.
        store: Earlier posts, whoever changes them; an empty one in memory when None. What changes
            it here (`observe`, `retract`, `forget`) raises StoreError where it is read-only.
        encoder: Turns photos into embeddings; the model's when None, loaded at the first photo.
        is_at_once: Begin to load the encoder now, on a thread.

    Raises:
        ModelError: The model's network reads other inputs than this version gives, or its parts
            do not fit together.
    """

    def __init__(
        self, bundle: Bundle, *, store: Store | None = None, encoder: Encoder | None = None,
        is_at_once: bool = False,
    ) -> None:  # fmt: skip
        limit_blas()
        self._bundle = bundle
        self._has_store, self._owns_store = store is not None, store is None
        self._store = Store.in_memory() if store is None else store
        self._photos = PhotoReader(bundle, encoder)
        if is_at_once:
            self._photos.prepare()  # while the past is read
        self._past = LiveEvidence(bundle, self._store)
        _try(self._past.model)
        self._counting, self._is_closed, self._process = threading.Condition(), False, os.getpid()
        self._queues = {has_photo: _Queue(self._found) for has_photo in (False, True)}
        self._nothing = np.zeros(bundle.manifest.encoder_width, np.float32)
        self.on_batch: Callable[[int], object] = lambda _: None  # told of photos answered together

    @classmethod
    def load(
        cls, bundle: Path | str | Bundle | None = None, store: Path | str | Store | None = None
    ) -> Self:
        """Load a model (the shipped one when None) and, when there is one, a store.

        A store that is named by its address (a file's path, or `postgresql://...`) is opened for
        reading alone; without one everybody is a stranger.

        Raises:
            ModelError: There is no usable model.
            StoreError: There is no usable store.
        """
        if not isinstance(bundle, Bundle):
            bundle = load_bundle(None if bundle is None else Path(bundle))
        is_file = isinstance(store, (str, Path))
        opened = Store.open(store, read_only=True) if is_file else store
        predictor = cls(bundle, store=opened, is_at_once=True)
        predictor._owns_store |= is_file
        return predictor

    def close(self) -> None:
        """Close what was opened here; questions that are being answered are finished first."""
        with self._counting:
            self._is_closed = True
            self._counting.wait_for(lambda: not any(q.n_asking for q in self._queues.values()))
        for queue in self._queues.values():
            queue.together.close()
        self._photos.close()
        self._past.close()
        if self._owns_store:
            self._store.close()

    @cached_property
    def model_digest(self) -> str:
        """Tells models apart: SHA-256 in hex of what the model holds."""
        return self._bundle.manifest.digest

    @property
    def encoder_digest(self) -> str:
        """Tells encoders apart: embeddings of another one than this mean nothing here."""
        return self._bundle.manifest.encoder_digest

    def encoder(self) -> Encoder:
        """What photos are looked at with, when it is loaded."""
        return self._photos.ready()

    def model(self) -> Model:
        """What the next question is answered with, beside the past (`now`)."""
        return self._past.now()[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

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
            history: Further tags that the person uses, repeated when used often. They count as
                used on the days before `at`.
            at: The time to suggest for, with a zone; only posts before it count. None is now, and
                after every post of the store that is not more than a day ahead of the clock.
            k: How many in all, accepted ones included.
            accepted: Tags chosen already: not suggested again, they draw in what goes with them.
            refused: Tags not to suggest; what says the same counts less.
            platform: Its name, or as `pixtag.platforms` gives it: cuts `k` to what it allows.
            allow_similar: Let the second of two that say the same, as #dog and #dogs, count in
                full; else it counts half, unless the person has used it.
            lists: Tags never, only or always suggested, as `Store.lists` gives them.

        Returns:
            At most `k` less the accepted ones, then those always added; fewer when there is
            little evidence, three where it is not sure what a stranger's photo shows. The first
            five are chosen as a set and come likeliest first, the second of two that say the same
            later; a smaller `k` gives the beginning of what a larger one gives. Ties go by the
            vocabulary, then by a hash of the tag.

        Raises:
            InputError: `k` is not positive, `at` has no zone, or nobody knows the platform.
            ImageError: The photo cannot be read.
            StoreError: The store cannot be read, this was closed, or the process has forked since.
        """
        given = accepted, refused, platform, allow_similar, lists, user, history
        return list(self.answer(photo, Wishes.of(k, *given), at=at).suggestions)

    def answer(
        self,
        photo: Path | str | bytes | Floats | None,
        wishes: Wishes,
        *,
        at: datetime | None = None,
    ) -> Answer:
        """Answer one question as `suggest`; a photo may be its embedding `[D]`.

        Raises:
            ShapeError: The embedding is not of this model's encoder.
        """
        check_time(at)
        queue = self._queues[photo is not None]
        with self._counting:
            self._check_usable()
            queue.n_asking += 1
        try:
            question = _Question(None if photo is None else self._look(photo), wishes, at)
            if queue.n_asking == 1 or wishes.history:
                (found,) = self._found([question])
            else:
                found = queue.together.put(question).result()
        finally:
            with self._counting:
                queue.n_asking -= 1
                self._counting.notify_all()
        name = str(photo) if isinstance(photo, (str, Path)) else ""
        return replace(found, photo=name)

    def _look(self, photo: Path | str | bytes | Floats) -> Floats:
        return self.checked(photo) if isinstance(photo, np.ndarray) else self._photos.look(photo)

    def _check_usable(self) -> None:
        """Raise `StoreError` when closed, or in a forked process, where its threads are not."""
        if self._is_closed or os.getpid() != self._process:
            what = "was closed" if self._is_closed else "was made before a fork"
            raise StoreError(f"this Predictor {what}", hint="use Predictor.load in each process")

    def _found(self, questions: Sequence[_Question]) -> list[Answer]:
        """Answer questions as one block, which costs a third for those after the first."""
        model, view = self._past.now()
        when = [moment_of(view, one.at) for one in questions]
        rows = [self._nothing if one.embedding is None else one.embedding for one in questions]
        has_photo = [one.embedding is not None for one in questions]
        if has_photo[0]:  # as all of them
            self.on_batch(len(questions))
        with self._queues[has_photo[0]].turn:
            found = answered(
                model, view, when, has_photo, np.array(rows), [one.wishes for one in questions]
            )
        return [
            Answer("", at, one.wishes.user, best, unsure=unsure, embedding=one.embedding)
            for at, one, (best, unsure) in zip(when, questions, found, strict=True)
        ]

    def embed(self, photo: Path | str | bytes) -> Floats:
        """Look at a photo: its embedding `[D]`, which `answer` takes in its place."""
        self._check_usable()
        return self._photos.look(photo)

    def look_at(self, photos: Sequence[Path | str | bytes]) -> list[Floats | PixtagError]:
        """Look at photos side by side: for each its embedding `[D]`, or why there is none."""
        self._check_usable()
        return self._photos.look_at(photos)

    def now(self) -> View:
        """The past as it is known now, with what the store has learned."""
        return self._past.now()[1]

    def checked(self, embedding: Floats) -> Floats:
        """The embedding `[D]`, or ShapeError where this model's encoder gives no such one."""
        width = self._bundle.manifest.encoder_width
        hint = "give what `Predictor.embed` gives, with this model"
        if embedding.shape != (width,):
            what = f"an embedding of shape {embedding.shape}, this model's have {width} numbers"
            raise ShapeError(what, hint=hint)
        if not (np.abs(embedding) <= np.finfo(np.float16).max).all():  # what a store can keep
            raise ShapeError("an embedding with numbers that are none or far too large", hint=hint)
        return embedding.astype(np.float32)

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
        """Suggest hashtags for many photos, as `suggest`, beside the tags that they carry.

        A photo of a post in the store is judged as of the moment when it was posted (unless
        `at` is given), and the posts that the photos belong to are no evidence for each other
        where their time would not keep them from it: what is marked right was not looked up.

        Yields:
            One answer a photo, in order. A photo that cannot be read gives one with its error;
            else errors are raised as for `suggest`.
        """
        self._check_usable()
        check_time(at)
        given = accepted, refused, platform, allow_similar, lists, user, history
        wishes = Wishes.of(k, *given)
        paths = [Path(p) for p in photos]
        posts = ((path, self._store.find_post_by_digest(digest_of(path))) for path in paths)
        known = {path: post for path, post in posts if post is not None}
        model, view = self._past.now()
        now = moment_of(view, at)
        as_posted: dict[Path, float] = {}
        hidden: set[str] = set()
        for path, post in known.items():
            if at is None and post.posted_at is not None:
                as_posted[path] = post.posted_at
            elif post.posted_at is None or post.posted_at < now:
                hidden.add(post.post_id)
        view = self._past.without(hidden)
        for start in range(0, len(paths), BATCH):
            batch = paths[start : start + BATCH]
            times = [as_posted.get(path, now) for path in batch]
            looked = self._photos.look_at(batch)
            has_photo = [not isinstance(row, PixtagError) for row in looked]
            rows = [self._nothing if isinstance(row, PixtagError) else row for row in looked]
            found = answered(model, view, times, has_photo, np.array(rows), [wishes] * len(batch))
            for path, at_s, row, (best, unsure) in zip(batch, times, looked, found, strict=True):
                post, error = known.get(path), row if isinstance(row, PixtagError) else None
                own_tags = post.tags if post else sidecar_tags(path)
                is_trained_on = bool(post and self._bundle.has_seen([post.post_id])[0])
                shown, is_as_posted = () if error else best, path in as_posted
                about = own_tags, is_as_posted, is_trained_on
                yield Answer(str(path), at_s, user, shown, *about, error, unsure and not error)

    def trending(self, at: datetime | None = None, *, k: int = 20) -> list[Rising]:
        """List at most `k` tags that more people use than usual at `at`, the surest rise first.

        Those from outside the store name their source; denied tags are not taken from there.

        Raises:
            InputError: There is no post and no count from outside, `k` is not positive, or `at`
                has no zone.
        """
        check_k(k)
        check_time(at)
        _, view = self._past.now()
        if not (self._has_store or view.n_posts or view.outside):
            raise InputError(
                "without posts nothing can be said about trends",
                hint="give a store, made with `pixtag import`",
            )
        denied = global_lists().joined(self._store.lists()).deny
        return rising_tags(view, at=moment_of(view, at), k=k, denied=denied)

    def observe(self, posts: Iterable[Post]) -> None:
        """Add posts to the store with the embeddings of their photos; the next answer knows them.

        They come in any order; a known post_id is replaced, unreadable photos are left out.

        Raises:
            InputError: As for `Store.add_posts`.
            StoreError: The store cannot be written.
        """
        store = self._writable()
        digest = self._bundle.manifest.encoder_digest
        posts = iter(posts)
        while part := list(islice(posts, PART)):
            seen = self._photos.look_at_posts(part)
            shown = [with_digests(post) for post in part]
            vectors = {
                photo.digest: seen[photo.path].astype(np.float16)
                for post in shown
                for photo in post.photos
                if photo.digest and photo.path in seen
            }
            store.add_posts(shown, encoder_digest=digest, embeddings=vectors)
        self._past.now(is_patient=True)

    def retract(self, post_ids: Collection[str]) -> None:
        """Remove posts from the store as if they had never been; unknown ids are ignored."""
        self._writable().remove_posts(post_ids)
        self._past.now(is_patient=True)

    def forget(self, user: str) -> None:
        """Remove a person from the store, as `Store.forget` does; the next answer knows nothing."""
        self._writable().forget(user)
        self._past.now(is_patient=True)

    def notes(self, *, user: str | None = None, at: datetime | None = None) -> list[str]:
        """Say what to know before trusting answers: an unknown person, posts to come, no photos."""
        _, view = self._past.now()
        notes: list[str] = []
        has_posts = self._has_store or view.n_posts > 0
        if user is not None and not len(view.slots_of(user)):
            nobody = f"nobody called {user!r} in the store"
            why = nobody if has_posts else f"without a store nothing is known about {user!r}"
            notes.append(f"{why}: suggesting as for a stranger")
        has_eyes = self._bundle.manifest.encoder_width > 0
        if not has_eyes:
            blind = "this model was trained without photos: it goes by history and trend alone"
            notes.append(blind)
        if has_posts:
            notes += notes_on_times(view, at)
            is_embedded = not has_eyes or (view.photo_tick <= LAST_TICK).any()
            if not is_embedded and self._store.summary().n_photos:
                notes.append(
                    "no photo of the store has an embedding for this model's encoder, so its posts "
                    "count without their pixels; `pixtag import` embeds them"
                )
        return notes

    def _writable(self) -> Store:
        if self._store.is_read_only:
            raise StoreError(
                f"{self._store.address} was opened for reading only",
                hint="give the Predictor a store that can be written: Store.open(PATH)",
            )
        return self._store


@fitting()
def _try(model: Model) -> None:
    """Ask a model, perhaps a stranger's, about an invented photo of somebody with a history."""
    rng = np.random.default_rng(0)
    tags = (*model.fixed_tags[:2], "pixtag1")
    rows = rng.normal(size=(4, model.knowledge.encoder_width)).astype(np.float32)
    posts = [Post(f"p{i}", "ana", DAY_S * i, tags[i:]) for i in range(3)]
    past = {f"p{i}": rows[i].astype(np.float16) for i in range(3) if rows.shape[1]}
    view = model.evidence(PostLog.of(posts, past)).view()
    none = Wishes.of(5, (), (), None, False, None)
    for user in ("ana", None):
        wishes = [replace(none, user=user)]
        (found,) = answered(model, view, [DAY_S * 9], [True], rows[3:], wishes)
        if not all(0 <= one.prob <= 1 for one in found[0]):
            raise ValueError("its chances are not from 0 to 1")
