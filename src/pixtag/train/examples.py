"""Replayed posts as training examples, with out-of-fold scores.

A head is fitted without each fold, and the fold's posts are replayed with that head; in-sample
scores would teach the network to trust pixels far too much.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pixtag.bundle import anonymous_log
from pixtag.candidates import Candidates, join_candidates
from pixtag.engine import LOCAL, Arrays, Engine
from pixtag.evidence import View
from pixtag.model import Model
from pixtag.rank import questions_of, replay
from pixtag.signals import Questions
from pixtag.signals.head import Head
from pixtag.types import Bools, Ints, PostLog, Sources

LEAST_PARTS = 3  # of eight parts of the period, those in which a tag of the vocabulary is used
# Share of the replayed posts that are asked about with one or two of their tags accepted, so that
# the network learns what the company of an accepted tag is worth
ACCEPTED_SHARE = 0.25
# Every choice of sources but all three
SUBSETS = tuple(Sources(bool(i & 1), bool(i & 2), bool(i & 4)) for i in (1, 2, 3, 4, 5, 5, 6))
"""What may be left of the sources; pixels with trend, a stranger's, twice: trend helps least there
and overfits first."""


@dataclass(frozen=True)
class Examples:
    """Replayed posts with their answers.

    Attributes:
        found: N posts' candidates and their features, kept small (`compact`); `candidates` gives
            some of them as the network reads them.
        used: Whether each of C candidates was used, `[N, C]`.
        n_used: Tags of each post, candidates or not, `[N]`.
        silent: Whether some source, or some of the person's posts, had no say when the post was
            replayed, `[N]`.
    """

    found: Candidates
    used: Bools
    n_used: Ints
    silent: Bools

    def __len__(self) -> int:
        return len(self.used)

    def candidates(self, rows: Ints) -> Candidates:
        """Candidates of some posts, what the posts in slots carry as flags again."""
        some = self.found.take(rows)
        own, near = (
            np.unpackbits(bits.view(np.uint8), axis=2, count=filled.shape[1]).view(np.bool_)
            for bits, filled in (
                (some.own_member, some.own_filled),
                (some.near_member, some.near_filled),
            )
        )
        return replace(some, own_member=own, near_member=near)

    @property
    def heard(self) -> Examples:
        """Those that every source had a say in."""
        rows = np.flatnonzero(~self.silent)
        return Examples(
            self.found.take(rows), self.used[rows], self.n_used[rows], self.silent[rows]
        )


def choose_vocabulary(log: PostLog, *, limit: int, leave_out: Collection[str] = ()) -> list[str]:
    """The tags that the head and the co-occurrence counts learn: those that several people use.

    At most `limit` tags of at least three people (of all, when there are fewer) and three uses, in
    three of eight parts of the period or without a time; by people, then uses, then name. A tag
    that bursts and is gone is left out: a head fitted on the whole burst would know it too early.
    """
    people = log.people_of_tags()
    uses = np.bincount(log.tag_ids, minlength=len(log.tags))
    n_people = len(np.unique(log.person_of_post[log.post_of_use]))
    lasts = _parts_used(log) >= LEAST_PARTS
    apart = set(leave_out)
    kept = np.flatnonzero((people >= min(3, n_people)) & (uses >= 3) & lasts).tolist()
    kept = [t for t in kept if log.tags[t] not in apart]
    ordered = sorted(kept, key=lambda t: (-people[t], -uses[t], log.tags[t]))
    return [log.tags[t] for t in ordered[:limit]]


def _parts_used(log: PostLog) -> Ints:
    """In how many of eight parts of the timed posts a tag is used, `[T]`; 8 for an untimed one."""
    n_tags, n_timed, row = len(log.tags), len(log) - log.n_untimed, log.post_of_use
    part = (row - log.n_untimed) * 8 // max(n_timed, 1)
    timed = row >= log.n_untimed
    keys = np.unique(part[timed] * n_tags + log.tag_ids[timed])
    parts = np.bincount(keys % max(n_tags, 1), minlength=n_tags)
    parts[log.tag_ids[~timed]] = 8
    return parts


def deal_folds(
    log: PostLog, *, n_folds: int, seed: int, by_person: bool = False, groups: Sequence[str] = ()
) -> Ints:
    """A fold for each post, `[N]`; one fold when no post has a photo.

    Posts of one of the `groups` (`[N]` names, or empty) share a fold; so do all posts of a person
    with `by_person`, where there are people enough.
    """
    if not log.has_photo.any():
        return np.zeros(len(log), np.int64)
    rng = np.random.default_rng((seed, 17))
    folds = rng.integers(0, n_folds, len(log))
    of_person = np.append(rng.integers(0, n_folds, len(log.users)), 0)
    named = log.user_of_post < len(log.users)
    if by_person and len(np.unique(log.user_of_post[named])) >= 4 * n_folds:
        folds = np.where(named, of_person[log.user_of_post], folds)
    if not groups:
        return folds
    names = sorted(set(groups) - {""})
    of_group = dict(zip(names, rng.integers(0, n_folds, len(names)).tolist(), strict=True))
    dealt = zip(groups, folds.tolist(), strict=True)
    return np.array([of_group.get(group, fold) for group, fold in dealt], np.int64)


def replay_examples(
    log: PostLog,
    rows: Ints,
    model: Model,
    *,
    seed: int,
    accepts: bool = True,
    sources: Sources | None = None,
    silent_share: float = 0.0,
    subsets: Sequence[Sources] = SUBSETS,
    new_share: float = 0.0,
    engine: Engine = LOCAL,
) -> Examples:
    """Replay some posts of a log and note what was used.

    Some are replayed once more without one or more of the sources, exactly as a person meets
    that: a signal that is only hidden afterwards has already had a say in the candidates.

    Args:
        log: Everything that may be known; each post sees only what lies before it.
        rows: Posts to ask about, ascending, all with a time.
        model: With a head that was not fitted on these posts.
        seed: Decides which tags are accepted already, and which sources are silent where.
        accepts: Whether some tags are accepted already, and no candidates then.
        sources: Which sources may speak at all; all when None.
        silent_share: Share of the posts that are replayed again with one of the `subsets` left.
        subsets: Of sources.
        new_share: Share of the posts that are replayed again as if their subject were new to
            their person.
        engine: What replays parts of many posts side by side.
    """
    view = model.evidence(log).view()
    accepted = draw_accepted(log, rows, seed=seed) if accepts else ()
    heard = sources or Sources()

    def replayed(places: Ints, speaks: Sources, *, is_new: bool = False) -> Examples:
        given = tuple(accepted[i] for i in places.tolist()) if accepted else ()
        questions = questions_of(log, rows[places], width=model.knowledge.encoder_width)
        new = np.ones(len(places), np.bool_) if is_new else None
        questions = replace(questions, accepted=given, is_new=new)
        examples = ask(model, view, questions, log, rows[places], speaks, engine)
        return replace(examples, silent=np.full(len(places), is_new or speaks != heard))

    examples = [replayed(np.arange(len(rows)), heard)]
    rng = np.random.default_rng((seed, 37))
    chosen = np.flatnonzero(rng.random(len(rows)) < silent_share)
    drawn = rng.integers(0, len(subsets), len(chosen))
    for i, subset in enumerate(subsets):
        places, speaks = chosen[drawn == i], subset & heard
        if len(places) and speaks != heard:
            examples.append(replayed(places, speaks))
    anew = np.flatnonzero((rng.random(len(rows)) < new_share) & log.has_photo[rows])
    if len(anew):
        examples.append(replayed(anew, heard, is_new=True))
    return join_examples(examples)


def draw_accepted(log: PostLog, rows: Ints, *, seed: int) -> tuple[tuple[str, ...], ...]:
    """One or two tags of some posts, for each post; no post is left without an answer."""
    rng = np.random.default_rng((seed, 41))
    drawn: list[tuple[str, ...]] = []
    for row in rows.tolist():
        tags = log.tags_of(row)
        n = min(int(rng.integers(1, 3)), len(tags) - 1)
        is_asked = rng.random() < ACCEPTED_SHARE and n > 0
        drawn.append(tuple(rng.permutation(tags)[:n].tolist()) if is_asked else ())
    return tuple(drawn)


def ask(
    model: Model,
    view: View,
    questions: Questions,
    log: PostLog,
    rows: Ints,
    sources: Sources | None = None,
    engine: Engine = LOCAL,
) -> Examples:
    """Answer questions with candidates, and mark those that the posts at `rows` used."""
    found = replay(
        model, view, questions, then=compact, name="compact", sources=sources, engine=engine
    )
    parts = [(index, Candidates(**arrays)) for index, arrays in found]
    return answered(join_candidates(parts), log, rows, view, accepted=questions.accepted)


def answered(
    found: Candidates,
    log: PostLog,
    rows: Ints,
    view: View,
    *,
    accepted: Sequence[Sequence[str]] = (),
) -> Examples:
    """Mark the candidates that each post used; what is accepted already is no candidate."""
    of_tag = np.array([view.id_of(t) for t in [*log.tags, ""]], np.int64)
    of_tag[of_tag < 0] = view.n_tags
    used = np.zeros(found.tag.shape, np.bool_)
    n_used = np.zeros(len(rows), np.int64)
    filled = found.filled.copy()
    for i, row in enumerate(rows):
        wanted = of_tag[log.tag_ids[log.tag_start[row] : log.tag_start[row + 1]]]
        if accepted and accepted[i]:
            filled[i] &= ~np.isin(found.tag[i], [view.id_of(t) for t in accepted[i]])
        n_used[i] = len(wanted) - (len(accepted[i]) if accepted else 0)
        used[i] = np.isin(found.tag[i], wanted) & filled[i]
    return Examples(replace(found, filled=filled), used, n_used, np.zeros(len(rows), np.bool_))


def compact(found: Candidates) -> Arrays:
    """The columns in a quarter of the memory, and enough to learn from: fp16, flags as bits."""
    halfs = {n: vars(found)[n].astype(np.float16) for n in ("features", "own_keys", "near_keys")}
    bits = {n: np.packbits(vars(found)[n], axis=2) for n in ("own_member", "near_member")}
    return {**vars(found), **halfs, **bits}


def join_examples(parts: list[Examples]) -> Examples:
    """Put examples one after the other; the list is emptied, as `join_candidates` empties its."""
    stops = np.cumsum([len(part) for part in parts])
    places = np.split(np.arange(stops[-1]), stops[:-1])
    answers = [(part.used, part.n_used, part.silent) for part in parts]
    blocks = [(place, part.found) for place, part in zip(places, parts, strict=True)]
    parts.clear()
    found = join_candidates(blocks)
    used = np.zeros(found.filled.shape, np.bool_)
    for place, (of_part, _, _) in zip(places, answers, strict=True):
        used[place, : of_part.shape[1]] = of_part
    n_used = np.concatenate([n_used for _, n_used, _ in answers])
    return Examples(found, used, n_used, np.concatenate([silent for _, _, silent in answers]))


def prior_of(log: PostLog, vocabulary: Sequence[str], head: Head) -> PostLog:
    """Posts without names and times for people who bring no store; private tags are left out."""
    index = {t: i for i, t in enumerate(vocabulary)}
    lists = [[index[t] for t in log.tags_of(i) if t in index] for i in range(len(log))]
    kept = [i for i, tags in enumerate(lists) if tags]
    embeddings = np.zeros((len(kept), head.width), np.float16)
    if log.embeddings.shape[1] and kept:
        embeddings[:] = head.project(log.embeddings[kept].astype(np.float32))
        embeddings[~log.has_photo[kept]] = 0.0
    tag_lists = [lists[i] for i in kept]
    return anonymous_log(vocabulary, tag_lists, embeddings, has_photo=log.has_photo[kept])
