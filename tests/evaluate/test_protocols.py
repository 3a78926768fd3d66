"""The table of protocols, and those for people whom the model never met."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from pixtag.bundle import hash_post_ids
from pixtag.cli.evaluate import Protocol
from pixtag.errors import InputError, LeakError
from pixtag.evaluate import PROTOCOLS, Request, run_protocol
from pixtag.evaluate.temporal import evaluate_first_users, first_users, without_first_users
from pixtag.splits import temporal_split
from pixtag.train.fit import fit
from pixtag.types import Post, PostLog
from worlds import QUICK, world


def test_the_command_line_knows_every_protocol():
    assert set(get_args(Protocol)) == set(PROTOCOLS)


@pytest.mark.parametrize("name", sorted(PROTOCOLS.keys() - {"strangers", "histories"}))
def test_a_protocol_on_posts_wants_a_store(name):
    with pytest.raises(InputError, match="measures on posts") as caught:
        run_protocol(name, Request(baselines_only=True))
    assert "--store" in caught.value.hint


# ------------------------------------------------------------------ first users


@pytest.fixture(scope="module")
def log():
    return world(900, seed=3, has_photos=False)


@pytest.fixture(scope="module")
def met_nobody(log, tmp_path_factory):
    """A bundle of the others' posts."""
    known = without_first_users(log, temporal_split(log))
    out = tmp_path_factory.mktemp("first") / "bundle"
    return fit(known, out=out, config=QUICK, use_all=True)


def test_first_users_are_kept_out_of_what_is_learned(log):
    people = first_users(log)
    assert len(people) == 10
    known = without_first_users(log, temporal_split(log))
    assert not set(known.user_of_post.tolist()) & set(people.tolist())
    assert known.at.max() < log.at[temporal_split(log).train_stop]


def test_first_users_are_replayed_from_their_first_post(log, met_nobody):
    split = temporal_split(log)
    found = evaluate_first_users(log, met_nobody, split=split, stop=split.test_stop)
    first = found.find("pixtag", "p@5", segment="post 1")
    assert first.n == first.n_people == 10
    # At the first post an own history says nothing: the baselines are all popularity.
    own = [found.find(m, "p@5", segment="post 1").mean for m in ("most_used", "most_recent")]
    assert own[0] == own[1]
    best = found.about["best_baseline"]
    stranger = found.find("pixtag", "p@5", minus="pixtag for a stranger", segment="post 1")
    assert (stranger.mean, stranger.low, stranger.high) == (0, 0, 0)
    assert found.find("pixtag", "p@5", minus="pixtag for a stranger").low > 0
    each = found.find("each person's best baseline", "p@5").mean
    assert each >= found.find(best, "p@5").mean
    added = found.find("pixtag", "p@5", minus=best)
    expected = found.find("pixtag", "p@5").mean - found.find(best, "p@5").mean
    assert added.mean == pytest.approx(expected)
    whole = found.find("pixtag", "p@5").n
    steps = [s for s in found.values("segment") if s.startswith("post ")]
    assert sum(found.find("pixtag", "p@5", segment=s).n for s in steps) == whole


def test_a_bundle_that_met_the_people_is_refused(log, met_nobody):
    split = temporal_split(log)
    mine = [log.post_ids[i] for i in np.flatnonzero(np.isin(log.user_of_post, first_users(log)))]
    met = replace(met_nobody, seen=hash_post_ids(mine[:3], salt=met_nobody.manifest.salt))
    with pytest.raises(LeakError, match="of the people taken out"):
        evaluate_first_users(log, met, split=split, stop=split.test_stop)


def test_posts_without_tags_are_history_and_not_asked_about(log, met_nobody):
    people = first_users(log)
    bare = np.isin(log.user_of_post, people) & (np.arange(len(log)) % 3 == 0)
    posts = [
        Post(
            log.post_ids[i],
            [*log.users, None][log.user_of_post[i]],
            log.at[i] if log.at[i] > 0 else None,
            () if bare[i] else tuple(log.tags_of(i)),
        )
        for i in range(len(log))
    ]
    other = PostLog.of(posts)
    split = temporal_split(other)
    found = evaluate_first_users(other, met_nobody, split=split, stop=split.test_stop)
    mine = [np.flatnonzero((other.user_of_post == u) & (other.at > 0))[:50]
            for u in first_users(other)]  # fmt: skip
    lengths = np.diff(other.tag_start)
    assert found.find("pixtag", "p@5").n == sum(int((lengths[rows] > 0).sum()) for rows in mine)
    first = found.find("pixtag", "p@5", segment="post 1")
    assert first.n == sum(bool(lengths[rows[0]]) for rows in mine)
