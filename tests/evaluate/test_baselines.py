"""Reference methods: what each ranks first, and that none looks ahead."""

from __future__ import annotations

import doctest
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logs import invented_log, read_log
from pixtag.errors import InputError
from pixtag.evaluate import compare, leakcheck, past
from pixtag.evaluate.baselines import (
    DAY_S,
    WEEK_S,
    base_level,
    co_occurrence,
    image_neighbours,
    linear_probe,
    most_recent,
    most_used,
    popularity,
    popularity_of_others,
    popularity_within,
    random_tags,
)
from pixtag.evaluate.past import pointwise
from pixtag.splits import temporal_split
from pixtag.types import Post, PostLog


def top(log, ranker, row, k=3):
    ids = ranker(log, row, row + 1, 50).tag_ids[0]
    return [log.tags[t] for t in ids if t < len(log.tags)][:k]


@pytest.fixture
def log():
    day = DAY_S
    return PostLog.of(
        [
            Post("a", "ana", 1 * day, ("sea", "sun")),
            Post("b", "ana", 2 * day, ("sea",)),
            Post("c", "ben", 3 * day, ("snow", "ski")),
            Post("d", "ben", 4 * day, ("snow",)),
            Post("e", "cat", 5 * day, ("snow",)),
            Post("f", "ana", 19.9 * day, ("city",)),
            Post("g", "dan", 20.5 * day, ("rain", "city")),
            Post("q", "ana", 21 * day, ("sea",)),
            Post("s", "eve", 21 * day, ("sea",)),
        ]
    )


def test_everyone(log):
    assert top(log, popularity, 7, 1) == ["snow"]
    assert top(log, popularity_within(DAY_S), 7, 2) == ["city", "rain"]
    assert top(log, popularity_within(DAY_S), 7, 3)[2] == "snow"  # popular, to fill up
    assert top(log, popularity_within(WEEK_S), 7, 2) == ["city", "rain"]


def test_among_others_only_their_people_count_and_only_tags_of_three():
    posts = [Post(f"o{i}", f"old{i}", 10.0 + i, ("snow", "sea", "sun")) for i in range(3)]
    posts += [Post("n1", None, 15.0, ("fog",)), Post("n2", "ben", 16.0, ("fog",))]
    posts += [Post(f"a{i}", "ana", 100.0 + i, ("mine", "sea")) for i in range(9)]
    posts += [Post(f"b{i}", "ben", 120.0 + i, ("sun", "rare")) for i in range(5)]
    posts += [Post("c", "cat", 130.0, ("snow", "sun")), Post("d", "dan", 131.0, ("snow",))]
    posts += [Post("q", "ana", 140.0, ("x",)), Post("r", "eve", 150.0, ("x",))]
    log = PostLog.of(posts)
    lately = popularity_of_others(60.0)
    rows = {name: log.post_ids.index(name) for name in "qr"}
    # Two others each used snow and sun lately; nobody else the sea, whose uses of old count last.
    # Fog had two people, rare and mine one each.
    assert top(log, lately, rows["q"], 9) == ["sun", "snow", "sea"]
    assert top(log, lately, rows["r"], 9) == ["sun", "snow", "sea"]
    # A third person makes fog public, to the two who knew it as well.
    more = PostLog.of([*posts, Post("e", "eve", 135.0, ("fog",))])
    assert "fog" in top(more, lately, more.post_ids.index("q"), 9)
    # Whatever the asker posts, their own list does not move.
    flood = [Post(f"f{i}", "ana", 132.0 + i / 99, ("sea", "mine")) for i in range(90)]
    flooded = PostLog.of([*posts, *flood])
    assert top(flooded, lately, flooded.post_ids.index("q"), 9) == ["sun", "snow", "sea"]


@settings(max_examples=15)
@given(seed=st.integers(0, 500))
def test_popularity_among_others_equals_counting(seed):
    log = invented_log(70, seed=seed, n_users=7, share_tied=0.3, width=0)
    ranked = popularity_of_others(DAY_S)(log, 40, 70, 60)
    for row in range(40, 70):
        people, lately, uses = {}, {}, Counter()
        for i in np.flatnonzero(log.at < log.at[row]).tolist():
            user = int(log.user_of_post[i])
            for tag in log.tag_ids[log.tag_start[i] : log.tag_start[i + 1]].tolist():
                people.setdefault(tag, set()).add(user)
                if user != log.user_of_post[row]:
                    uses[tag] += 1
                    if log.at[i] >= log.at[row] - DAY_S:
                        lately.setdefault(tag, set()).add(user)
        public = [t for t, who in people.items() if len(who) >= 3 and uses[t]]
        best = sorted(public, key=lambda t: (-len(lately.get(t, ())), -uses[t], t))
        ids = ranked.tag_ids[row - 40]
        assert ids[ids < len(log.tags)].tolist() == best


def test_one_person(log):
    assert top(log, most_used, 7) == ["sea", "city", "sun"]
    assert top(log, most_recent, 7) == ["city", "sea", "sun"]
    assert top(log, base_level(0.5), 7, 1) == ["city"]
    assert top(log, base_level(0.01), 7, 1) == ["sea"]


def test_a_stranger_gets_what_is_popular(log):
    assert top(log, most_used, 8, 1) == top(log, popularity, 8, 1)


def test_posts_of_the_same_instant_are_not_seen(log):
    assert top(log, popularity, 8, 50) == top(log, popularity, 7, 50)


@settings(max_examples=20)
@given(seed=st.integers(0, 500), k=st.integers(1, 40))
def test_popularity_equals_counting(seed, k):
    log = invented_log(60, seed=seed, share_tied=0.3, width=0)
    ranked = popularity(log, 30, 60, k)
    for row in range(30, 60):
        counts = Counter(
            int(t)
            for i in range(60)
            if log.at[i] < log.at[row]
            for t in log.tag_ids[log.tag_start[i] : log.tag_start[i + 1]]
        )
        best = sorted(counts, key=lambda t: (-counts[t], t))[:k]
        ids = ranked.tag_ids[row - 30]
        assert ids[ids < len(log.tags)].tolist() == best


@pytest.mark.parametrize("decay", [0.5, 1.7])
def test_base_level_equals_its_formula(decay):
    log = invented_log(80, share_tied=0.2)

    def by_hand(past, query):
        scores = Counter()
        for tag, at in past.uses(query.user):
            scores[tag] += (query.at - at) ** -decay
        return scores

    slow = pointwise(by_hand)(log, 40, 80, 10).tag_ids
    fast = base_level(decay)(log, 40, 80, 10).tag_ids
    own = slow < len(log.tags)
    assert (fast[own] == slow[own]).all()
    assert own.sum() > 100


def test_company_of_the_last_posts(log):
    # Ana's last post is "city"; it stood beside "rain" in one of two posts.
    assert top(log, co_occurrence(1), 7, 2) == ["city", "rain"]
    assert top(log, co_occurrence(1, own_share=0.0), 7, 1) == ["rain"]
    # Of all her posts: sea beside sun in one of two (twice), sun beside sea always.
    assert top(log, co_occurrence(9), 7, 2) == ["sea", "sun"]


@settings(max_examples=10)
@given(seed=st.integers(0, 100), n_posts=st.integers(1, 4))
def test_company_equals_its_formula(seed, n_posts):
    log = invented_log(60, seed=seed, share_tied=0.2, width=0)

    def by_hand(past, query):
        own = [post for post in past.posts() if post.user == query.user][-n_posts:]
        scores = Counter()
        for given_tag in [tag for post in own for tag in post.tags]:
            beside = [post.tags for post in past.posts() if given_tag in post.tags]
            for tag in [tag for tags in beside for tag in tags]:
                scores[tag] += 1 / len(beside)
        return {tag: round(score, 9) for tag, score in scores.items()}

    slow = pointwise(by_hand)(log, 40, 60, 1).tag_ids[:, 0]
    fast = co_occurrence(n_posts)(log, 40, 60, 30).tag_ids[:, 0]
    known = slow < len(log.tags)
    assert known.sum() > 10
    # Sums in another order may tie otherwise than by the last bit.
    assert (fast[known] == slow[known]).mean() > 0.9


def test_co_occurrence_counts_on_as_it_counts_anew():
    log = invented_log(200, n_tags=40, seed=3, share_tied=0.2, width=0)
    for own_share in (1.0, 0.5, 0.0):
        ranker = co_occurrence(3, own_share=own_share)
        whole = ranker(log, 100, 200, 40).tag_ids
        anew = [ranker(log, row, row + 1, 40).tag_ids[0] for row in range(100, 200)]
        assert (whole == np.array(anew)).all()


def test_image_neighbours_find_the_look(log):
    embeddings = {p: np.eye(4)[i % 4].astype(np.float16) for i, p in enumerate("abcdefg")}
    posts = [Post(i, "ana", float(at), log.tags_of(at)[:]) for at, i in enumerate(log.post_ids[:7])]
    posts.append(Post("q", "zoe", 100.0, ("x",)))
    embeddings["q"] = np.eye(4)[2].astype(np.float16)  # like c and g
    seen = PostLog.of(posts, embeddings)
    assert set(top(seen, image_neighbours(2), 7, 4)) == {"snow", "ski", "rain", "city"}


def test_a_linear_probe_learns_what_tags_look_like():
    log = invented_log(900, n_users=300, width=16, seed=2)
    split = temporal_split(log)
    start, stop = split.bounds("test")
    rankers = {
        "probe": linear_probe(log, split.train_stop, n_epochs=40, learning_rate=3e-2),
        "popularity": popularity,
    }
    made = compare(log, start, stop, rankers).methods
    assert made["probe"].values["p@5"].mean() > 1.3 * made["popularity"].values["p@5"].mean()


def test_pixels_need_photos():
    log = invented_log(20, width=0)
    with pytest.raises(InputError, match="no embeddings"):
        image_neighbours()(log, 10, 20, 5)
    with pytest.raises(InputError, match="no embeddings"):
        linear_probe(log, 10)


RANKERS = {
    "random": random_tags(),
    "popularity": popularity,
    "popularity_day": popularity_within(DAY_S),
    "popularity_week": popularity_within(WEEK_S),
    "popularity_day_others": popularity_of_others(DAY_S),
    "popularity_week_others": popularity_of_others(WEEK_S),
    "most_used": most_used,
    "most_recent": most_recent,
    "base_level": base_level(0.5),
    "base_level_popularity": base_level(0.5, popularity_share=0.5),
    "co_occurrence": co_occurrence(3),
    "image_neighbours": image_neighbours(5),
}


@pytest.mark.parametrize("name", RANKERS)
def test_no_reference_method_looks_ahead(name):
    log = invented_log(90, share_tied=0.2)
    report = leakcheck(log, lambda log, a, b: RANKERS[name](log, a, b, 30), n_times=8)
    assert report.leaks == ()
    assert report.n_compared > 200


# The neighbours' centre is fixed where a period begins, so they are not among these.
@pytest.mark.parametrize("name", [name for name in RANKERS if name != "image_neighbours"])
def test_a_period_in_pieces_is_ranked_as_in_one(name):
    log = invented_log(80, share_tied=0.2)
    whole = RANKERS[name](log, 30, 80, 20).tag_ids
    pieces = [RANKERS[name](log, a, a + 10, 20).tag_ids for a in range(30, 80, 10)]
    assert (np.concatenate(pieces) == whole).all()


def test_a_method_may_look_at_all_of_the_past_and_no_further():
    log = invented_log(40)
    seen = []

    def curious(past, query):
        assert all(post.at < query.at for post in past.posts())
        assert len(past.embeddings()) == len(past) == len(list(past.posts()))
        assert past.counts().total() == sum(len(post.tags) for post in past.posts())
        with pytest.raises(InputError, match="not among"):
            past.tags_of(len(past))
        seen.append(query.user)
        return past.counts(since=query.at - DAY_S)

    pointwise(curious)(log, 10, 40, 5)
    assert seen == [log.users[u] for u in log.user_of_post[10:40]]


def test_the_example_in_the_documentation_runs():
    found = doctest.testmod(past)
    assert found.attempted > 3
    assert found.failed == 0


@pytest.mark.shared
def test_reference_figures_on_the_simulated_world(shared_data):
    log = read_log(shared_data / "world" / "posts.jsonl")
    start, stop = temporal_split(log).bounds("test")
    rankers = {"popularity": popularity, "most_used": most_used, "base_level": base_level(0.5)}
    made = compare(log, start, stop, rankers).methods
    figures = {name: float(scored.values["p@5"].mean()) for name, scored in made.items()}
    assert figures == pytest.approx(
        {"popularity": 0.090, "most_used": 0.395, "base_level": 0.420}, abs=0.006
    )
    assert made["base_level"].values["p@1"].mean() == pytest.approx(0.60, abs=0.01)
