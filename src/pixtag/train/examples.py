"""Replayed posts as training examples, with scores that never saw their own answers.

Whatever is learned upstream of the network gives it out-of-fold scores: the posts are dealt into
folds, a head is fitted without each fold, and the fold's posts are replayed with that head.
In-sample scores would teach the network to trust pixels far too much.

A shipped model also meets people as it will: first users with nothing but their own posts,
strangers, and people of other logs in stores of every size, each beside a prior of posts that
never held the people asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pixtag.bundle import anonymous_log
from pixtag.evidence import View
from pixtag.model import Model
from pixtag.rank import (
    Candidates,
    candidates,
    join_candidates,
    questions_of,
    replay,
)
from pixtag.signals import CONTEXT_NAMES, Knowledge, Questions
from pixtag.signals.head import Head
from pixtag.splits import history_length
from pixtag.types import Bools, Halfs, Ints, Post, PostLog, Sources

LEAST_PARTS = 3

ACCEPTED_SHARE = 0.25
"""Share of the replayed posts that are asked about with one or two of their tags accepted, so
that the network learns what the company of an accepted tag is worth."""

SUBSETS = tuple(Sources(bool(i & 1), bool(i & 2), bool(i & 4)) for i in range(7))
"""Every choice of sources but all three."""

SMALL = (1, 2, 4, 8)
"""People in the small stores that other logs are dealt into."""

MOST_SMALL = 60
"""Small stores of another log at most."""

EARLY = 20
"""Posts at the front of a history that are about equally likely to be asked about."""

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Examples:
    """Replayed posts with their answers.

    Shapes:
        N: posts. C: candidates.

    Attributes:
        found: Candidates and their features, as fp16 to save memory.
        used: 1 where a candidate was used, `[N, C]`.
        n_used: Tags of each post, candidates or not, `[N]`.
        silent: Whether some source had no say when the post was replayed, `[N]`.
    """

    found: Candidates
    used: Bools
    n_used: Ints
    silent: Bools

    def __len__(self) -> int:
        return len(self.used)

    @property
    def heard(self) -> Examples:
        """Those that every source had a say in."""
        rows = np.flatnonzero(~self.silent)
        return Examples(
            self.found.take(rows), self.used[rows], self.n_used[rows], self.silent[rows]
        )


def choose_vocabulary(log: PostLog, *, limit: int, leave_out: Collection[str] = ()) -> list[str]:
    """The tags that the head and the co-occurrence counts learn: those that several people use.

    A tag that bursts and is gone (an event's) is left out: a head that was fitted on the whole
    burst would know it before it began, which no head does in life. The open signals find it.

    Args:
        log: The posts to fit on.
        limit: Most tags kept.
        leave_out: Tags never kept.

    Returns:
        Tags of at least three people (of as many as there are, when fewer) and three uses, in
        three of eight parts of the period or without a time; by people, then uses, then name.
    """
    n_tags, nobody = len(log.tags), len(log.users)
    row = np.repeat(np.arange(len(log)), np.diff(log.tag_start))
    user = log.user_of_post[row]
    # A post of nobody counts as a person of its own.
    person = np.where(user == nobody, nobody + row, user)
    keys = np.unique(person * n_tags + log.tag_ids)
    people = np.bincount(keys % max(n_tags, 1), minlength=n_tags)
    uses = np.bincount(log.tag_ids, minlength=n_tags)
    least = min(3, len(np.unique(person)))
    lasts = _parts_used(log, row) >= LEAST_PARTS
    apart = set(leave_out)
    kept = np.flatnonzero((people >= least) & (uses >= 3) & lasts).tolist()
    kept = [t for t in kept if log.tags[t] not in apart]
    ordered = sorted(kept, key=lambda t: (-people[t], -uses[t], log.tags[t]))
    return [log.tags[t] for t in ordered[:limit]]


def _parts_used(log: PostLog, row: Ints) -> Ints:
    """In how many of eight equal parts of the timed posts each tag is used, `[T]`.

    A tag that is used without a time counts as used in all.
    """
    n_tags, n_timed = len(log.tags), len(log) - log.n_untimed
    part = (row - log.n_untimed) * 8 // max(n_timed, 1)
    timed = row >= log.n_untimed
    keys = np.unique(part[timed] * n_tags + log.tag_ids[timed])
    parts = np.bincount(keys % max(n_tags, 1), minlength=n_tags)
    parts[log.tag_ids[~timed]] = 8
    return parts


def people_of_tags(log: PostLog, vocabulary: Sequence[str]) -> Ints:
    """How many people used each tag of a vocabulary, `[V]`; posts of nobody count one each."""
    index = {t: i for i, t in enumerate(vocabulary)}
    of_tag = np.array([index.get(t, len(vocabulary)) for t in log.tags], np.int64)
    row = np.repeat(np.arange(len(log)), np.diff(log.tag_start))
    user = log.user_of_post[row]
    person = np.where(user == len(log.users), len(log.users) + row, user)
    n = len(vocabulary) + 1
    keys = np.unique(person * n + of_tag[log.tag_ids])
    return np.bincount(keys % n, minlength=n)[:-1]


def deal_folds(
    log: PostLog,
    *,
    n_folds: int,
    seed: int,
    by_person: bool = False,
    groups: Sequence[str] | None = None,
) -> Ints:
    """A fold for each post, `[N]`; one fold when no post has a photo.

    Args:
        log: The posts to fit on.
        n_folds: How many folds.
        seed: Of the deal.
        by_person: Keep all posts of a person in one fold, so that a head never saw the person
            that it is asked about; where there are few people, posts are dealt one by one.
        groups: A name for each post, `[N]`: posts of one name share a fold; empty for the rest.
    """
    if not log.has_photo.any():
        return np.zeros(len(log), np.int64)
    rng = np.random.default_rng((seed, 17))
    of_post = rng.integers(0, n_folds, len(log))
    of_person = np.append(rng.integers(0, n_folds, len(log.users)), 0)
    n_people = len(np.unique(log.user_of_post[log.user_of_post < len(log.users)]))
    named = log.user_of_post < len(log.users)
    if not by_person or n_people < 4 * n_folds:
        named = np.zeros(len(log), np.bool_)
    folds = np.where(named, of_person[log.user_of_post], of_post)
    if groups is not None:
        names = sorted(set(groups) - {""})
        of_group = dict(zip(names, rng.integers(0, n_folds, len(names)).tolist(), strict=True))
        folds = np.array(
            [of_group.get(g, f) for g, f in zip(groups, folds.tolist(), strict=True)], np.int64
        )
    return folds


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
) -> Examples:
    """Replay some posts of a log and note what was used.

    Some are asked about with tags accepted already; those are no candidates then. Some are
    replayed once more without one or more of the sources, exactly as a person meets that: a
    signal that is only hidden afterwards has already had a say in who the candidates are.

    Args:
        log: Everything that may be known; each post sees only what lies before it.
        rows: Posts to ask about, ascending, all with a time.
        model: With a head that was not fitted on these posts.
        seed: Decides which tags are accepted already, and which sources are silent where.
        accepts: Whether some tags are accepted already.
        sources: Which sources may speak at all; all when None.
        silent_share: Share of the posts that are replayed again with sources silent.
        subsets: Which sources may be left then.
    """
    view = model.evidence(log).view()
    accepted = draw_accepted(log, rows, seed=seed) if accepts else ()
    heard = sources or Sources()
    width = model.knowledge.encoder_width

    def replayed(places: Ints, speaks: Sources) -> Examples:
        given = tuple(accepted[i] for i in places.tolist()) if accepted else ()
        questions = replace(questions_of(log, rows[places], width=width), accepted=given)
        parts = list(replay(model, view, questions, then=compact, sources=speaks))
        examples = answered(join_candidates(parts), log, rows[places], view, accepted=given)
        return replace(examples, silent=np.full(len(places), speaks != heard))

    examples = [replayed(np.arange(len(rows)), heard)]
    rng = np.random.default_rng((seed, 37))
    chosen = np.flatnonzero(rng.random(len(rows)) < silent_share)
    drawn = rng.integers(0, len(subsets), len(chosen))
    for i, subset in enumerate(subsets):
        places, speaks = chosen[drawn == i], subset & heard
        if len(places) and speaks != heard:
            examples.append(replayed(places, speaks))
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


def answered(
    found: Candidates,
    log: PostLog,
    rows: Ints,
    view: View,
    *,
    accepted: tuple[tuple[str, ...], ...] = (),
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


def compact(found: Candidates) -> Candidates:
    """The same with numbers in fp16: a third of the memory, and enough to learn from."""
    return replace(
        found,
        features=found.features.astype(np.float16),
        own_keys=found.own_keys.astype(np.float16),
        near_keys=found.near_keys.astype(np.float16),
    )


def join_examples(parts: Sequence[Examples]) -> Examples:
    """Put examples one after the other."""
    if len(parts) == 1:
        return parts[0]
    places = np.split(np.arange(sum(map(len, parts))), np.cumsum([len(p) for p in parts])[:-1])
    found = join_candidates([(i, p.found) for i, p in zip(places, parts, strict=True)])
    used = np.zeros(found.filled.shape, np.bool_)
    for place, part in zip(places, parts, strict=True):
        used[place, : part.used.shape[1]] = part.used
    return Examples(
        found=found,
        used=used,
        n_used=np.concatenate([p.n_used for p in parts]),
        silent=np.concatenate([p.silent for p in parts]),
    )


def prior_of(log: PostLog, vocabulary: Sequence[str], head: Head) -> PostLog:
    """Posts without names and times for people who bring no store; private tags are left out."""
    index = {t: i for i, t in enumerate(vocabulary)}
    lists = [[index[t] for t in log.tags_of(i) if t in index] for i in range(len(log))]
    kept = [i for i, tags in enumerate(lists) if tags]
    embeddings = np.zeros((len(kept), head.width), np.float16)
    if log.embeddings.shape[1] and kept:
        embeddings[:] = head.project(log.embeddings[kept].astype(np.float32))
    return anonymous_log(
        vocabulary, [lists[i] for i in kept], embeddings, has_photo=log.has_photo[kept]
    )


def with_prior(knowledge: Knowledge, log: PostLog) -> Knowledge:
    """The same knowledge with a prior made of a log."""
    return Knowledge.of(
        knowledge.vocabulary,
        knowledge.head,
        prior=prior_of(log, knowledge.vocabulary, knowledge.head),
        prior_people=people_of_tags(log, knowledge.vocabulary).astype(np.float64),
        bridge=knowledge.bridge,
        kinds=knowledge.kinds,
        topics=knowledge.topics,
        words=knowledge.words,
    )


def first_users(
    log: PostLog, rows: Ints, model: Model, *, most_people: int, seed: int
) -> list[Examples]:
    """Replay people one by one as first users of a model that was made without them.

    Args:
        log: Their posts.
        rows: Posts to ask about, ascending; posts of nobody are asked as a stranger's.
        model: A head and a prior that never saw the people asked about.
        most_people: People asked, drawn by `seed`.
        seed: Of the draw.

    Returns:
        Examples of each person, and of the posts of nobody.
    """
    nobody = len(log.users)
    people = np.unique(log.user_of_post[rows])
    named = people[people < nobody]
    if len(named) > most_people:
        rng = np.random.default_rng((seed, 31))
        named = np.sort(rng.choice(named, most_people, replace=False))
    parts: list[Examples] = []
    for person in named.tolist():
        is_mine = log.user_of_post == person
        mine = rows[is_mine[rows] & np.isfinite(log.at[rows])]
        if len(mine):
            places = np.searchsorted(np.flatnonzero(is_mine), mine)
            parts.append(replay_examples(log.select(is_mine), places, model, seed=seed))
    strangers = rows[log.user_of_post[rows] == nobody]
    if len(strangers):
        parts.append(_strangers(log, strangers, model))
    return parts


RELATIONS = ("untagged", "signed", "another subject", "the same subject", "typed")
RELATION_SHARES = (0.1, 0.15, 0.4, 0.2, 0.15)
MOST_HISTORY = 60
SIGNED_SHARE = 0.25
"""Share of the people with a subject who also sign everything with a tag of their own."""

UNKNOWN_SUFFIX = "\u02bc"
"""Makes a tag one that no vocabulary has, with the same words in it."""


def people_with_histories(
    log: PostLog, rows: Ints, kinds: Sequence[str], model: Model, *, most: int, seed: int
) -> list[Examples]:
    """Ask about labelled photos as people would whose history is of another kind.

    Photos of nobody are lent to people made up for the purpose: some never tag, some only sign,
    some posted about another subject or about the same one, with photos or without, and some typed
    a few tags. Half of the other subjects have tags that the vocabulary lacks, as most tags of
    real people are.

    Args:
        log: Posts; those of nobody with a photo and a kind are lent.
        rows: Posts that may be asked about, with photos that the model's head never saw.
        kinds: What each photo of the log shows, `[N]`; empty where nobody said.
        model: A head and a prior.
        most: People at most.
        seed: Of the draw.
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
    return [_with_history(log, row, str(kinds[row]), of_kind, model, rng) for row in asked.tolist()]


def _with_history(
    log: PostLog,
    row: int,
    kind: str,
    of_kind: dict[str, list[int]],
    model: Model,
    rng: np.random.Generator,
) -> Examples:
    now, person = 1.7e9, "somebody"
    relation = RELATIONS[rng.choice(len(RELATIONS), p=RELATION_SHARES)]
    wanted = log.tags_of(row)
    others = [k for k in of_kind if k != kind and not set(wanted) & set(log.tags_of(of_kind[k][0]))]
    other = others[rng.integers(len(others))] if others else next(k for k in of_kind if k != kind)
    pool = of_kind[kind if relation == "the same subject" else other]
    signature = f"by{rng.integers(1_000_000)}"
    signs = relation == "signed" or (rng.random() < SIGNED_SHARE and "subject" in relation)
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
            tags = [f"{t}{suffix}" for t in log.tags_of(lent)] if "subject" in relation else []
            tags += [signature] * signs
            if lent == row:
                continue
            posts.append(Post(f"h{i}", person, float(at[i]), tuple(tags)))
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
    wanted_ids = [view.id_of(tag) for tag in [*wanted, *([signature] * signs)]]
    used = np.isin(found.tag, [i for i in wanted_ids if i >= 0]) & found.filled
    return Examples(found, used, np.array([len(wanted_ids)]), np.zeros(1, np.bool_))


def draw_elsewhere(log: PostLog, rows: Ints, *, most: int, seed: int) -> Ints:
    """Draw posts to ask about, so that every length of history is met, of few posts and of many.

    A post's chance falls with its place in its person's history.

    Args:
        log: Posts; those of nobody are never drawn.
        rows: Those that may be drawn, ascending.
        most: How many.
        seed: Of the draw.
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

    How much others tell depends on how many they are. The small stores hold one, two, four or
    eight people each.

    Args:
        log: Posts of people that the model is not made from.
        rows: Posts to ask about, ascending, all with a time and a person.
        model: A head and a prior.
        seed: Of the deal.
        silent_share: Share of the posts that are asked about again with sources silent, pixels
            always: someone without a history in a store of others is rare in a log, but not in
            life; what lent photos show alone, though, would be wrong.
    """
    order = np.random.default_rng((seed, 47)).permutation(np.unique(log.user_of_post[rows]))
    stores: list[Ints] = []
    left = order
    while len(left) > len(order) // 2 and len(stores) < MOST_SMALL:
        size = SMALL[len(stores) % len(SMALL)]
        stores.append(left[:size])
        left = left[size:]
    parts: list[Examples] = []
    for people in [*stores, left]:
        inside = np.isin(log.user_of_post, people)
        asked = np.searchsorted(np.flatnonzero(inside), rows[inside[rows]])
        if len(asked):
            part = replay_examples(
                log.select(inside),
                asked,
                model,
                seed=seed,
                silent_share=silent_share,
                subsets=[subset for subset in SUBSETS if not subset.pixels],
            )
            # Without photos nothing is learned about what the inputs of pixels usually are.
            blind = part.found.context[:, CONTEXT_NAMES.index("pixels_on")] == 0
            parts.append(replace(part, silent=part.silent | blind))
    return parts


def _strangers(log: PostLog, rows: Ints, model: Model) -> Examples:
    """Ask about posts of nobody after everything else, with the prior alone."""
    view = model.evidence().view()
    timed = log.at[np.isfinite(log.at)]
    now = float(timed[-1]) + 1.0 if len(timed) else 0.0
    questions = questions_of(log, rows, width=model.knowledge.encoder_width)
    questions = replace(questions, at=np.full(len(rows), now))
    parts = list(replay(model, view, questions, then=compact))
    return answered(join_candidates(parts), log, rows, view)
