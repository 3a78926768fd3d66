"""Examples of people as a shipped model meets them, each beside a prior that never held them.

First users with nothing but their own posts, strangers, people whose history is of another kind,
and people of other logs in stores of every size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from pixtag.candidates import Candidates
from pixtag.model import Model
from pixtag.rank import described, questions_of, read
from pixtag.signals import CONTEXT_NAMES, Questions
from pixtag.splits import Split, history_length
from pixtag.train.config import TrainConfig
from pixtag.train.examples import SUBSETS, Examples, ask, compact, replay_examples
from pixtag.types import Floats, Halfs, Ints, Post, PostLog

# People in the small stores that other logs are dealt into, and such stores of a log at most
SMALL, MOST_SMALL = (1, 2, 4, 8), 60
EARLY = 20  # posts at the front of a history that are about equally likely to be asked about
RELATIONS = {
    "untagged": 0.08,
    "signed": 0.1,
    "one set": 0.12,
    "another subject": 0.22,
    "several subjects": 0.16,
    "the same subject": 0.12,
    "typed": 0.2,
}
"""How a made-up history is related to the photo asked about, and the share of each."""

MOST_HISTORY, MOST_TYPED, LARGEST_SET = 90, 6, 6
EVERYDAY = 40  # most popular tags, of which people put some on everything
# Of other subjects, the share that are drawn among those whose photos look most like this one's, as
# a giraffe's like a cat's, and how many those are
ALIKE_SHARE, N_ALIKE = 0.35, 8
# Shares: of the people with a subject who sign, and who put everyday tags on everything; of their
# subjects that the vocabulary lacks; of histories with photos; of typed tags of another subject
# that are used all the same
SIGNED_SHARE, EVERYDAY_SHARE, UNKNOWN_SHARE, PHOTOS_SHARE, TYPED_SHARE = 0.25, 0.3, 0.5, 0.5, 0.25
UNKNOWN_SUFFIX = "\u02bc"  # makes a tag one that no vocabulary has, with the same words in it


def first_users(log: PostLog, rows: Ints, model: Model, *, most: int, seed: int) -> list[Examples]:
    """Replay at most `most` people one by one as first users of a model made without them.

    Posts of nobody among the `rows` (ascending) are asked about as a stranger's.
    """
    nobody = len(log.users)
    people = np.unique(log.user_of_post[rows])
    named = people[people < nobody]
    if len(named) > most:
        rng = np.random.default_rng((seed, 31))
        named = np.sort(rng.choice(named, most, replace=False))
    parts: list[Examples] = []
    for person in named.tolist():
        is_mine = log.user_of_post == person
        mine = rows[is_mine[rows] & np.isfinite(log.at[rows])]
        if len(mine):
            places = np.searchsorted(np.flatnonzero(is_mine), mine)
            parts.append(replay_examples(log.select(is_mine), places, model, seed=seed))
    has_tag = np.diff(log.tag_start) > 0
    strangers = rows[(log.user_of_post[rows] == nobody) & has_tag[rows]]
    if len(strangers):
        parts.append(_strangers(log, strangers, model))
    return parts


def _strangers(log: PostLog, rows: Ints, model: Model) -> Examples:
    """Ask about posts of nobody after everything else, with the prior alone."""
    now = float(log.at[-1]) + 1.0 if log.n_untimed < len(log) else 0.0
    questions = questions_of(log, rows, width=model.knowledge.encoder_width)
    questions = replace(questions, at=np.full(len(rows), now))
    return ask(model, model.evidence().view(), questions, log, rows)


def people_with_histories(
    log: PostLog, rows: Ints, kinds: Sequence[str], model: Model, *, most: int, seed: int
) -> list[Examples]:
    """Ask about labelled photos as people would whose history is of another kind.

    Photos of nobody that have a kind (`[N]`, or empty) are lent to at most `most` people made up
    for the purpose, who relate to the photo asked about in one of `RELATIONS`. Half of the other
    subjects have tags that the vocabulary lacks, as most tags of real people are. The model's head
    never saw the photos at `rows`.
    """
    named = np.array([bool(kind) for kind in kinds], np.bool_) & (np.diff(log.tag_start) > 0)
    lent = named & log.has_photo & (log.user_of_post == len(log.users))
    rng = np.random.default_rng((seed, 53))
    asked = rows[lent[rows]]
    if len(asked) > most:
        asked = np.sort(rng.choice(asked, most, replace=False))
    of_kind: dict[str, list[int]] = {}
    for row in np.flatnonzero(lent).tolist():
        of_kind.setdefault(kinds[row], []).append(row)
    if len(of_kind) < 2:
        return []
    popular = model.knowledge.prior.popular[:EVERYDAY].tolist()
    everyday = [model.knowledge.vocabulary[tag] for tag in popular]
    sums = [log.embeddings[rows].astype(np.float32).mean(axis=0) for rows in of_kind.values()]
    looks = np.stack(sums) - np.mean(sums, axis=0)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True) + 1e-9
    lender = _Lender(log, kinds, of_kind, looks @ looks.T, everyday, rng)
    return [_with_history(lender, row, model) for row in asked.tolist()]


class _History(NamedTuple):
    """Photos that somebody posted with their tags; what they put on everything; what they type."""

    posts: list[tuple[int, list[str]]]
    generic: Sequence[str] = ()
    typed: Sequence[str] = ()


@dataclass(frozen=True)
class _Lender:
    """Labelled photos by kind, and tags that people put on everything."""

    log: PostLog
    kinds: Sequence[str]
    of_kind: Mapping[str, Sequence[int]]
    likeness: Floats  # cosine of the mean photos of kinds, in that order
    everyday: Sequence[str]
    rng: np.random.Generator

    def happens(self, share: float) -> bool:
        return self.rng.random() < share

    def other_subject(self, row: int) -> Sequence[int]:
        """Photos of a kind whose tags are not those of the photo at `row`, often of a like kind."""
        wanted, kind, names = set(self.log.tags_of(row)), self.kinds[row], [*self.of_kind]
        others = [k for k in names if k != kind]
        order = self.rng.permutation(len(others)).tolist()
        if self.happens(ALIKE_SHARE):
            alike = self.likeness[names.index(kind), [names.index(k) for k in others]]
            near = np.argsort(-alike, kind="stable")[:N_ALIKE]
            order = [*self.rng.permutation(near).tolist(), *order]
        for place in order:
            if not wanted & set(self.log.tags_of(self.of_kind[others[place]][0])):
                return self.of_kind[others[place]]
        return self.of_kind[others[0]]

    def tags(self, row: int, *, unknown: bool = False) -> list[str]:
        suffix = UNKNOWN_SUFFIX if unknown else ""
        return [f"{tag}{suffix}" for tag in self.log.tags_of(row)]

    def generic(self, row: int) -> list[str]:
        """Tags that somebody puts on everything: a signature, everyday ones, both or none."""
        out = [f"by{self.rng.integers(1_000_000)}"] if self.happens(SIGNED_SHARE) else []
        if self.everyday and self.happens(EVERYDAY_SHARE):
            n = int(self.rng.integers(1, 4))
            drawn = self.rng.choice(self.everyday, min(n, len(self.everyday)), replace=False)
            out += [tag for tag in drawn.tolist() if tag not in self.log.tags_of(row)]
        return out

    def typed(self, row: int) -> tuple[list[str], list[str]]:
        """Tags that somebody types as their history, and those of them that will be used."""
        wanted, rng = self.log.tags_of(row), self.rng
        foreign = [t for _ in range(int(rng.integers(1, 4))) for t in self.tags(
            int(rng.choice(self.other_subject(row))), unknown=self.happens(0.2))[:3]]  # fmt: skip
        foreign = foreign[: int(rng.integers(0, MOST_TYPED))]
        right = wanted[: int(rng.integers(0, 3))]
        typed = list(dict.fromkeys([*foreign, *right])) or wanted[:1]
        rng.shuffle(typed)
        repeats = rng.integers(1, 4, len(typed)) if self.happens(0.3) else [1] * len(typed)
        used = [tag for tag in foreign if self.happens(TYPED_SHARE)]
        return [tag for tag, n in zip(typed, repeats, strict=True) for _ in range(n)], used

    def history(self, row: int, relation: str) -> _History:
        """Draw one that relates so to the photo at `row`."""
        rng = self.rng
        n = int(np.exp(rng.uniform(0.0, np.log(MOST_HISTORY))))
        other, unknown = self.other_subject(row), self.happens(UNKNOWN_SHARE)
        lent: list[int] = rng.choice(other, n).tolist()
        if relation == "typed":
            typed, used = self.typed(row)
            return _History([], used, typed)
        if relation in {"untagged", "signed"}:
            signed = [f"by{rng.integers(1_000_000)}"] if relation == "signed" else []
            return _History([(post, []) for post in lent], signed)
        if relation == "one set":
            pasted = self.tags(int(rng.choice(other)), unknown=unknown)[:LARGEST_SET]
            if self.happens(0.5):  # on photos of its own subject alone, so it tells that subject
                return _History([(post, pasted) for post in lent])
            anything = [int(rng.choice(self.other_subject(row))) for _ in range(n)]
            return _History([(post, []) for post in anything], pasted)
        same, pools = self.of_kind[self.kinds[row]], [other]
        if relation == "the same subject":
            pools, unknown = [same], False
        elif relation == "several subjects":
            pools += [self.other_subject(row) for _ in range(int(rng.integers(3)))]
            pools, unknown = pools + [same] * self.happens(0.5), False
        lent = [int(rng.choice(pools[rng.integers(len(pools))])) for _ in range(n)]
        posts = [(post, self.tags(post, unknown=unknown)) for post in lent if post != row]
        return _History(posts, self.generic(row))


def _with_history(lender: _Lender, row: int, model: Model) -> Examples:
    log, rng, now, person = lender.log, lender.rng, 1.7e9, "somebody"
    relation = [*RELATIONS][rng.choice(len(RELATIONS), p=[*RELATIONS.values()])]
    history = lender.history(row, relation)
    at = now - np.cumsum(rng.exponential(2.0 * 86_400.0, len(history.posts)))
    posts = [
        Post(f"h{i}", person, float(at[i]), tuple(dict.fromkeys([*tags, *history.generic])))
        for i, (_, tags) in enumerate(history.posts)
    ]
    embeddings: dict[str, Halfs] = {}
    if lender.happens(PHOTOS_SHARE):
        embeddings = {f"h{i}": log.embeddings[post] for i, (post, _) in enumerate(history.posts)}
    view = model.evidence(PostLog.of(posts, embeddings)).view()
    questions = Questions(
        at=np.array([now]),
        users=(person,),
        embeddings=log.embeddings[[row]].astype(np.float32),
        has_photo=np.array([True]),
        history=(tuple(history.typed),),
    )
    asked = read(model, view, questions)
    found = Candidates(**compact(described(model, asked)))
    answer = {*log.tags_of(row), *history.generic}
    used = np.isin(found.tag, [i for t in answer if (i := asked.id_of(t)) >= 0]) & found.filled
    return Examples(found, used, np.array([len(answer)]), np.zeros(1, np.bool_))


class Elsewhere(NamedTuple):
    """Posts of another log, and the rows asked about in either period, ascending."""

    log: PostLog
    to_fit: Ints
    to_calibrate: Ints

    @classmethod
    def of(cls, log: PostLog, split: Split, config: TrainConfig) -> Elsewhere:
        """Draw the posts to ask about; the log ends with the calibration period."""
        known = log.select(np.arange(split.valid_stop))
        fit = np.arange(log.n_untimed, split.train_stop)
        choose = np.arange(split.train_stop, split.valid_stop)
        most, draw = config.elsewhere, partial(draw_elsewhere, known, seed=config.seed)
        return cls(known, draw(fit, most=most), draw(choose, most=most // 4))

    @property
    def asked(self) -> list[str]:
        """Ids of the posts that are learned from."""
        return [self.log.post_ids[i] for i in (*self.to_fit, *self.to_calibrate)]


def draw_elsewhere(log: PostLog, rows: Ints, *, most: int, seed: int) -> Ints:
    """Draw at most `most` of the rows, so that histories of every length are met.

    A post's chance falls with its place in its person's history; none of nobody is drawn.
    """
    rows = rows[log.user_of_post[rows] < len(log.users)]
    if len(rows) <= most:
        return rows
    rng = np.random.default_rng((seed, 43))
    chance = 1.0 / (history_length(log)[rows] + EARLY)
    return np.sort(rng.choice(rows, most, replace=False, p=chance / chance.sum()))


def people_elsewhere(
    log: PostLog, rows: Ints, model: Model, *, seed: int, silent_share: float
) -> list[Examples]:
    """Replay posts of another log: of half of its people in one store, of the others in small ones.

    The `rows` are ascending, with a time and a person. A `silent_share` of them is asked about
    again with sources silent, pixels always: someone without a history in a store of others is
    rare in a log, but not in life; what lent photos show alone, though, would be wrong.
    """
    order = np.random.default_rng((seed, 47)).permutation(np.unique(log.user_of_post[rows]))
    stores: list[Ints] = []
    left = order
    while len(left) > len(order) // 2 and len(stores) < MOST_SMALL:
        size = SMALL[len(stores) % len(SMALL)]
        stores.append(left[:size])
        left = left[size:]
    subsets = [subset for subset in SUBSETS if not subset.pixels]
    parts: list[Examples] = []
    for people in [*stores, left]:
        inside = np.isin(log.user_of_post, people)
        asked = np.searchsorted(np.flatnonzero(inside), rows[inside[rows]])
        if not len(asked):
            continue
        store = log.select(inside)
        part = replay_examples(
            store, asked, model, seed=seed, silent_share=silent_share, subsets=subsets
        )
        # Without photos nothing is learned about what the inputs of pixels usually are.
        blind = part.found.context[:, CONTEXT_NAMES.index("pixels_on")] == 0
        parts.append(replace(part, silent=part.silent | blind))
    return parts
