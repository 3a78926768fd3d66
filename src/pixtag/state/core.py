"""The state: all evidence up to now, composed of the signals; scores queries, observes posts.

    state.observe(posts)   the posts become part of the past
    state.retract(ids)     as if they had never been
    state.score(queries)   candidates and their signals, each query at its own time

A query sees only what lies strictly before its time, whatever has been observed: posts of the
same instant never see each other, a late arrival gives the state that a sorted log would, and
a block of queries gets what the same queries one by one would get.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np

from pixtag.errors import ShapeError
from pixtag.signals.columns import Columns, Queries, concat_logs
from pixtag.signals.cooccurrence import CoOccurrence
from pixtag.signals.counts import Counts
from pixtag.signals.habits import Habits
from pixtag.signals.memory import Neighbours, OwnMemory
from pixtag.signals.prototypes import Prototypes
from pixtag.signals.reuse import Reuse
from pixtag.signals.trend import Trend
from pixtag.state.features import Scored, join_scored
from pixtag.state.knowledge import Knowledge, StateConfig
from pixtag.state.scoring import BlockScorer
from pixtag.types import Ints, PostLog, Sources

MAX_CELLS = 4_000_000
MAX_SPAN_ROWS = 512


class State:
    """All evidence, at any time.

    Args:
        knowledge: What a bundle brings.
        config: What is offered to the network.
    """

    def __init__(self, knowledge: Knowledge, config: StateConfig | None = None) -> None:
        self.knowledge = knowledge
        self.config = config or StateConfig()
        self._log = knowledge.prior
        self._rebuild()

    @property
    def tags(self) -> list[str]:
        """Every tag known, the vocabulary first, `[T]`."""
        return self._log.tags

    @property
    def users(self) -> list[str]:
        """Every person with a post, `[U]`."""
        return self._log.users

    @property
    def log(self) -> PostLog:
        """Every post observed, the prior first; embeddings are in the joint space."""
        return self._log

    @property
    def n_prior(self) -> int:
        """Posts at the front of the log that came with the bundle."""
        return len(self.knowledge.prior)

    @property
    def columns(self) -> Columns:
        """The log as the signals see it."""
        return self._columns

    def observe(self, posts: PostLog) -> None:
        """Make posts part of the past, in any order; a known post_id is replaced.

        Args:
            posts: With encoder embeddings, `[N, D]`, or none (D = 0).

        Raises:
            ShapeError: The embeddings are not as wide as the pixel head expects.
        """
        self._log = concat_logs(self._log, self._project(posts))
        self._rebuild()

    def retract(self, post_ids: Collection[str]) -> None:
        """Forget posts as if they had never been; unknown ids are ignored."""
        gone = set(post_ids)
        kept = np.array([p not in gone for p in self._log.post_ids], np.bool_)
        self._log = self._log.select(kept)
        self._rebuild()

    def _project(self, posts: PostLog) -> PostLog:
        head = self.knowledge.head
        width = posts.embeddings.shape[1]
        if width == 0:
            rows = np.zeros((len(posts), head.width), np.float16)
            return replace(posts, embeddings=rows, has_photo=np.zeros(len(posts), np.bool_))
        if width != len(head.center):
            raise ShapeError(
                f"embeddings are {width} wide, the pixel head expects {len(head.center)}",
                hint="embed the photos with the encoder that the bundle was trained with",
            )
        rows = np.zeros((len(posts), head.width), np.float16)
        for start in range(0, len(posts), 4096):
            part = slice(start, start + 4096)
            rows[part] = head.project(posts.embeddings[part].astype(np.float32))
        return replace(posts, embeddings=rows)

    def _rebuild(self) -> None:
        self._log = _renumbered(self._log, self.knowledge.vocabulary)
        log, knowledge, config = self._log, self.knowledge, self.config
        columns = Columns(log, n_tags=len(log.tags))
        photos = log.embeddings.astype(np.float32)
        people = np.zeros(len(log.tags))
        people[: len(knowledge.prior_people)] = knowledge.prior_people
        self._columns = columns
        self._photos = photos
        self.user_index = {u: i for i, u in enumerate(log.users)}
        self.tag_index = {t: i for i, t in enumerate(log.tags)}
        self._prior_people = people
        self.reuse = Reuse(columns)
        self.habits = Habits(columns)
        self.own_memory = OwnMemory(columns, photos, n_slots=config.own_slots)
        self.neighbours = Neighbours(columns, photos, n_slots=config.near_slots)
        self.trend = Trend(columns)
        words = knowledge.words
        self.tag_vectors = None if words is None else words.tag_vectors(log.tags)
        topics = knowledge.topics
        no_topics = np.zeros((len(columns), 0), np.float32)
        self.post_topics = no_topics if topics is None else topics.of_posts(columns, photos)
        self._start_sums()

    def _start_sums(self) -> None:
        """Make the signals that keep running sums up to a cursor, at the start of the log."""
        columns, n_tags = self._columns, len(self._log.tags)
        self.counts = Counts(columns, prior_people=self._prior_people)
        self.prototypes = Prototypes(columns, self._photos)
        counted = min(self.config.counted_tags, n_tags)
        self.cooccurrence = CoOccurrence(columns, n_counted=counted)

    def fork(self) -> State:
        """The same evidence with running sums of its own, for another thread to ask."""
        other = copy.copy(self)
        other._start_sums()
        return other

    def queries_of(self, posts: PostLog, rows: Ints) -> Queries:
        """Ask about posts at their own times.

        Args:
            posts: A log with encoder embeddings.
            rows: Which of its posts, `[B]`.
        """
        users = (*posts.users, None)
        width = len(self.knowledge.head.center)
        embeddings = np.zeros((len(rows), width), np.float32)
        if posts.embeddings.shape[1]:
            embeddings[:] = posts.embeddings[rows]
        return Queries(
            at=posts.at[rows],
            users=tuple(users[u] for u in posts.user_of_post[rows]),
            embeddings=embeddings,
            has_photo=posts.has_photo[rows] & bool(posts.embeddings.shape[1]),
        )

    def score(self, queries: Queries, *, sources: Sources | None = None) -> Scored:
        """Find the candidates of each query and their signals, as of its own time.

        Args:
            queries: In any order.
            sources: Which sources may speak; all by default.

        Returns:
            Candidates in no particular order. A query without any evidence (no photo, no
            history, nothing popular) has none.
        """
        parts = list(self.score_blocks(queries, sources=sources))
        if not parts:
            raise ShapeError("no queries to score")
        return join_scored(parts, n_tags=len(self.tags))

    def ask(self, queries: Queries) -> BlockScorer:
        """Begin with one question whose photo is still being looked at.

        Args:
            queries: One, its photo left out.

        Returns:
            What has been read of the past; its `run` takes the photo.
        """
        return BlockScorer(self, queries, Sources(), ahead=True)

    def score_blocks(
        self, queries: Queries, *, sources: Sources | None = None
    ) -> Iterator[tuple[Ints, Scored]]:
        """Score in blocks that lie close together in time.

        Yields:
            Positions among the queries `[B]`, ascending in time, and their candidates.
        """
        order = np.argsort(queries.at, kind="stable")
        cuts = self._columns.cut(queries.at[order])
        size = max(1, min(128, MAX_CELLS // max(1, len(self.tags))))
        start = 0
        while start < len(order):
            stop = min(start + size, len(order))
            span = int(np.searchsorted(cuts[start:stop], cuts[start] + MAX_SPAN_ROWS, "right"))
            index = order[start : start + max(1, span)]
            part = queries.take(index)
            scorer = BlockScorer(self, part, sources or Sources())
            yield index, scorer.run(part.embeddings, part.has_photo)
            start += len(index)


def _renumbered(log: PostLog, vocabulary: list[str]) -> PostLog:
    """Number tags and people by their first post, after the vocabulary; drop unused ones.

    Equal candidates go by their number, so it must not depend on the order of observation nor on
    what was retracted.
    """
    known = {t: i for i, t in enumerate(vocabulary)}
    fixed = np.array([known.get(t, -1) for t in log.tags], np.int64)
    rest = np.flatnonzero(fixed < 0)
    used = _by_first(log.tag_ids, n=len(log.tags))
    others = used[fixed[used] < 0]
    of_tag = fixed
    of_tag[rest] = 0
    of_tag[others] = len(vocabulary) + np.arange(len(others))
    people = _by_first(log.user_of_post, n=len(log.users))
    of_user = np.full(len(log.users) + 1, len(people), np.int64)
    of_user[people] = np.arange(len(people))
    return replace(
        log,
        tags=[*vocabulary, *(log.tags[t] for t in others)],
        users=[log.users[u] for u in people],
        tag_ids=of_tag[log.tag_ids] if len(of_tag) else log.tag_ids,
        user_of_post=of_user[log.user_of_post],
    )


def _by_first(values: Ints, *, n: int) -> Ints:
    """The distinct values below `n`, by first appearance."""
    first = np.full(n + 1, len(values), np.int64)
    first[values[::-1]] = np.arange(len(values))[::-1]
    order = np.argsort(first[:n], kind="stable")
    return order[first[order] < len(values)]
