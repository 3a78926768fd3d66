"""Examples of people as a shipped model meets them, each beside a prior that never held them.

First users with nothing but their own posts, strangers, people whose history is of another kind,
and people of other logs in stores of every size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from pixtag.model import Model
from pixtag.rank import candidates, questions_of
from pixtag.signals import CONTEXT_NAMES, Questions
from pixtag.splits import Split, history_length
from pixtag.train.config import TrainConfig
from pixtag.train.examples import SUBSETS, Examples, ask, compact, replay_examples
from pixtag.types import Halfs, Ints, Post, PostLog

# People in the small stores that other logs are dealt into, and such stores of a log at most
SMALL, MOST_SMALL = (1, 2, 4, 8), 60
EARLY = 20  # posts at the front of a history that are about equally likely to be asked about
RELATIONS = {
    "untagged": 0.1,
    "signed": 0.15,
    "another subject": 0.4,
    "the same subject": 0.2,
    "typed": 0.15,
}
"""How a made-up history is related to the photo asked about, and the share of each."""

MOST_HISTORY = 60
# Share of the people with a subject who also sign everything with a tag of their own
SIGNED_SHARE = 0.25
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
    named = np.array([bool(kind) for kind in kinds], np.bool_)
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
    return [_with_history(log, row, of_kind, kinds, model, rng) for row in asked.tolist()]


def _with_history(
    log: PostLog,
    row: int,
    of_kind: Mapping[str, Sequence[int]],
    kinds: Sequence[str],
    model: Model,
    rng: np.random.Generator,
) -> Examples:
    now, person, wanted, kind = 1.7e9, "somebody", log.tags_of(row), kinds[row]
    relation = [*RELATIONS][rng.choice(len(RELATIONS), p=[*RELATIONS.values()])]
    others = [k for k in of_kind if k != kind and not set(wanted) & set(log.tags_of(of_kind[k][0]))]
    other = others[rng.integers(len(others))] if others else next(k for k in of_kind if k != kind)
    pool = of_kind[kind if relation == "the same subject" else other]
    has_subject = "subject" in relation
    signature = f"by{rng.integers(1_000_000)}"
    signs = relation == "signed" or (rng.random() < SIGNED_SHARE and has_subject)
    own = [signature] * signs
    typed: tuple[str, ...] = ()
    posts: list[Post] = []
    embeddings: dict[str, Halfs] = {}
    if relation == "typed":
        foreign = log.tags_of(int(rng.choice(pool)))
        typed = tuple([foreign[:1], wanted[:1], [*foreign, wanted[-1]]][rng.integers(3)])
    else:
        n = int(np.exp(rng.uniform(0.0, np.log(MOST_HISTORY))))
        at = now - np.cumsum(rng.exponential(2.0 * 86_400.0, n))
        suffix = UNKNOWN_SUFFIX if relation == "another subject" and rng.random() < 0.5 else ""
        has_photos = rng.random() < 0.5
        for i, lent in enumerate(rng.choice(pool, n).tolist()):
            if lent == row:
                continue
            tags = [f"{t}{suffix}" for t in log.tags_of(lent)] if has_subject else []
            posts.append(Post(f"h{i}", person, float(at[i]), (*tags, *own)))
            if has_photos:
                embeddings[f"h{i}"] = log.embeddings[lent]
    view = model.evidence(PostLog.of(posts, embeddings)).view()
    questions = Questions(
        at=np.array([now]),
        users=(person,),
        embeddings=log.embeddings[[row]].astype(np.float32),
        has_photo=np.array([True]),
        history=(typed,) if typed else (),
    )
    found = compact(candidates(model, view, questions))
    answer = [view.id_of(tag) for tag in (*wanted, *own)]
    used = np.isin(found.tag, [i for i in answer if i >= 0]) & found.filled
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
