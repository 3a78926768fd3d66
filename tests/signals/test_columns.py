"""Posts as columns: joining logs, people and their repeats, pairs."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from asking import small_logs
from pixtag.signals.columns import DAY_S, Columns, Pairs, concat_logs, ragged
from pixtag.types import Post, PostLog


def contents(log: PostLog) -> list[tuple]:
    users = [*log.users, None]
    return [
        (p, users[log.user_of_post[i]], float(log.at[i]), log.tags_of(i), bool(log.has_photo[i]))
        for i, p in enumerate(log.post_ids)
    ]


@given(small_logs(), small_logs(prefix="q"))
def test_joined_logs_are_in_time_order_and_complete(first, second):
    joined = concat_logs(first, second)
    expected = sorted(contents(first) + contents(second), key=lambda c: (c[2], c[0]))
    assert contents(joined) == expected
    assert joined.tag_start[-1] == len(joined.tag_ids)
    of_id = {
        p: r for log in (first, second) for p, r in zip(log.post_ids, log.embeddings, strict=True)
    }
    for row, post_id in enumerate(joined.post_ids):
        assert np.array_equal(joined.embeddings[row], of_id[post_id])


def test_a_post_that_comes_again_replaces_the_old_one():
    old = PostLog.of([Post("a", "ana", 5.0, ("x",)), Post("b", "bo", 6.0, ("y",))])
    new = PostLog.of([Post("a", "ana", 9.0, ("z",))])
    assert contents(concat_logs(old, new)) == [
        ("b", "bo", 6.0, ["y"], False),
        ("a", "ana", 9.0, ["z"], False),
    ]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=20))
def test_ragged_runs_expand_to_their_elements(runs):
    start = np.array([r[0] for r in runs], np.int64)
    length = np.array([r[1] for r in runs], np.int64)
    owner, element = ragged(start, length)
    expected = [(i, s + k) for i, (s, n) in enumerate(runs) for k in range(n)]
    assert list(zip(owner.tolist(), element.tolist(), strict=True)) == expected


@given(small_logs())
def test_repeats_of_a_tag_are_found_person_by_person(log):
    columns = Columns(log, n_tags=len(log.tags))
    users = [*log.users, None]
    uses = [
        (users[log.user_of_post[row]] or f"nobody {row}", tag, row)
        for row, tag in zip(columns.row.tolist(), columns.tag.tolist(), strict=True)
    ]
    for i, (person, tag, row) in enumerate(uses):
        earlier = [r for p, t, r in uses if p == person and t == tag and r < row]
        assert columns.is_first[i] == (not earlier)
        assert columns.previous_at[i] == (log.at[earlier[-1]] if earlier else -np.inf)
        if np.isfinite(log.at[row]):
            day = log.at[row] // DAY_S
            same_day = [r for r in earlier if day * DAY_S <= log.at[r] < (day + 1) * DAY_S]
            assert columns.is_daily[i] == (not same_day)


def test_weekdays_are_those_of_the_calendar_also_before_1970():
    monday = 1_700_438_400.0  # 2023-11-20
    posts = [Post(f"p{d}", "ana", monday + d * DAY_S, ("x",)) for d in range(7)]
    posts += [Post("old", "ana", -DAY_S + 5.0, ("x",)), Post("never", "ana", None, ("x",))]
    log = PostLog.of(posts)
    columns = Columns(log, n_tags=1)
    day_of = dict(zip(log.post_ids, columns.weekday.tolist(), strict=True))
    assert [day_of[f"p{d}"] for d in range(7)] == list(range(7))
    assert day_of["old"] == 2  # 1969-12-31, a Wednesday
    assert day_of["never"] == 7


def test_pairs_are_distinct_and_sums_ignore_what_is_no_candidate():
    pairs = Pairs(np.array([1, 0, 1]), np.array([2, 1, 2]), n_queries=2, n_tags=4)
    assert list(zip(pairs.query.tolist(), pairs.tag.tolist(), strict=True)) == [(0, 1), (1, 2)]
    assert pairs.find(np.array([0, 1]), np.array([2, 2])).tolist() == [len(pairs), 1]
    total = pairs.total(np.array([0, 0, 1, 1]), np.array([1, 1, 2, 3]), np.array([1.0, 2, 4, 8]))
    assert total.tolist() == [3.0, 4.0]
