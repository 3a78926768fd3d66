"""Asks signals about every tag at once, and what a plain reading of the log would answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from pixtag.rank import read
from pixtag.signals import FEATURES, Pairs, Questions
from pixtag.signals.memory import near_kernel, own_kernel
from pixtag.types import Post, PostLog, Sources
from plain import PlainEvidence, Seen, posts_of, tick_of
from worlds import DAY_S, START_AT, observed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixtag.rank import RankConfig
    from pixtag.signals import Asked

WIDTH = 4
TAGS = tuple("abcdefg")
PEOPLE = ("ana", "bo", "cy", "di")


class Asking:
    """A block of questions with every tag as a candidate.

    Attributes:
        past: The observed posts as a person would read them.
        asked: What was read for the block, ready for signals.
        pairs: Every question with every tag.
    """

    def __init__(
        self,
        log: PostLog,
        questions: Questions,
        *,
        n_known: int = 20,
        config: RankConfig | None = None,
        has_prior: bool = True,
        sources: Sources | None = None,
        first: np.ndarray | None = None,
    ) -> None:
        self.model, evidence = observed(log, n_known=n_known, config=config, has_prior=has_prior)
        self.past = PlainEvidence(posts_of(log))
        self.questions = questions
        self.view = evidence.view()
        self.tags = self.view.tags
        self.asked, self.pairs = all_pairs(self.model, self.view, questions, sources)
        if first is not None:
            self.asked.first = first.astype(np.float32).ravel()
        self._values = FEATURES.compute(self.asked, self.pairs)

    def __iter__(self) -> Iterator[tuple[int, str | None, int, list[Seen]]]:
        """Number, person, tick and earlier posts of each question."""
        asked = zip(self.questions.users, self.questions.at.tolist(), strict=True)
        for i, (user, at) in enumerate(asked):
            yield i, user, tick_of(at), self.past.before(tick_of(at))

    def own(self, user: str | None, tick: int) -> list[Seen]:
        """Earlier posts of a person that have tags."""
        return [p for p in self.past.own(user, tick) if p.tags]

    def __getitem__(self, name: str) -> np.ndarray:
        """A feature, `[B, T]`."""
        return self._values[:, FEATURES.column(name)].reshape(len(self.questions), -1)

    def alike(self, question: int, post: Seen) -> float:
        """Similarity of the photos of a question and of a post."""
        head = self.model.knowledge.head
        return float(self.asked.photo[question] @ head.project(post.photo[None])[0])

    def of_prior(self, tag: str) -> list[int]:
        """Numbers of the prior's posts with a tag."""
        prior = self.model.knowledge.prior.view
        return [i for i in range(prior.n_posts) if tag in prior.tags_of(i)]

    def prior_people(self, tag: str) -> float:
        """People behind the prior who used a tag."""
        knowledge = self.model.knowledge
        known = tag in knowledge.vocabulary
        return knowledge.prior.people[knowledge.vocabulary.index(tag)] if known else 0.0


def all_pairs(model, view, questions: Questions, sources: Sources | None = None):
    """What is read for a block of questions, and every pair of a question and a tag."""
    asked: Asked = read(model, view, questions, sources)
    question, tag = np.divmod(np.arange(len(asked) * asked.n_tags), max(asked.n_tags, 1))
    pairs = Pairs.of(question, tag, n_questions=len(asked), n_tags=asked.n_tags)
    (asked.own_share,) = asked.own_memory.totals(pairs, [own_kernel(asked.own_memory)])
    (asked.near_share,) = asked.near.totals(pairs, [near_kernel(asked.near)])
    asked.first = np.zeros(len(pairs), np.float32)
    return asked, pairs


def ask(user: str | None, at: float, photo: np.ndarray | None = None, width: int = 1) -> Questions:
    """One question."""
    rows = np.zeros((1, width), np.float32)
    if photo is not None:
        rows[0] = photo
    return Questions(np.array([at]), (user,), rows, np.array([photo is not None]))


def questions_about(log: PostLog, rows, *, users=None, shift_s: float = 0.0) -> Questions:
    """Ask about posts of a log, as others or at other times if wanted."""
    rows = np.asarray(rows, np.int64)
    names = (*log.users, None)
    asked = tuple(names[u] for u in log.user_of_post[rows]) if users is None else users
    at = np.where(np.isfinite(log.at[rows]), log.at[rows], START_AT) + shift_s
    embeddings = np.zeros((len(rows), max(1, log.embeddings.shape[1])), np.float32)
    embeddings[:, : log.embeddings.shape[1]] = log.embeddings[rows]
    return Questions(at, asked, embeddings, log.has_photo[rows])


def sampled(log: PostLog, n: int = 30, seed: int = 3) -> Questions:
    """Posts from all of a log, some asked about as strangers, some before and after everything."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(log), n, replace=False))
    questions = questions_about(log, rows)
    users = list(questions.users)
    users[1], users[4] = None, "a stranger"
    at = questions.at.copy()
    at[0], at[-1] = log.at[np.isfinite(log.at)][0] - DAY_S, log.at[-1] + 3 * DAY_S
    at[5] += 1.0
    order = rng.permutation(n)
    return replace(questions, at=at, users=tuple(users)).take(order)


_POSTS = st.tuples(
    st.none() | st.integers(0, 300),
    st.sampled_from([*PEOPLE, None]),
    st.lists(st.sampled_from(TAGS), unique=True, max_size=4),
    st.integers(0, 9),
    st.integers(0, 4),
)


def small_logs(*, max_posts: int = 16, prefix: str = "p") -> st.SearchStrategy[PostLog]:
    """Few people, few tags, hours that tie; posts without time, person, photo or tags."""

    def build(drawn: list[tuple]) -> PostLog:
        posts, embeddings = [], {}
        for i, (hour, user, tags, place, photo) in enumerate(drawn):
            at = None if hour is None else START_AT + 3600.0 * hour
            post_id = f"{prefix}{place}{i:02d}"
            posts.append(Post(post_id, user, at, tuple(tags)))
            if photo:
                row = np.random.default_rng([i, photo]).normal(size=WIDTH)
                embeddings[post_id] = row.astype(np.float16)
        log = PostLog.of(posts, embeddings)
        if embeddings:
            return log
        return replace(log, embeddings=np.zeros((len(posts), WIDTH), np.float16))

    return st.lists(_POSTS, max_size=max_posts).map(build)
