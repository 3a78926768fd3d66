"""What is not a candidate can never be suggested: most used tags must be among the candidates."""

from __future__ import annotations

import numpy as np

from asking import queries_about
from pixtag.splits import temporal_split
from pixtag.state import State, StateConfig
from pixtag.train.examples import answered, choose_vocabulary, knowledge_with
from pixtag.train.head import fit_head, tag_table
from pixtag.types import Post, PostLog
from worlds import START_AT, evaluation_log, state_of


def test_nine_of_ten_used_tags_are_candidates_in_the_validation_period():
    log = evaluation_log()
    split = temporal_split(log)
    vocabulary = choose_vocabulary(log.select(np.arange(split.train_stop)), limit=4096)
    index = {t: i for i, t in enumerate(vocabulary)}
    of_tag = np.array([index.get(t, len(index)) for t in log.tags], np.int64)
    ids, mask = tag_table(log, of_tag, n_tags=len(index))
    known = slice(0, split.train_stop)
    head = fit_head(
        log.embeddings[known].astype(np.float32),
        ids[known],
        mask[known],
        n_tags=len(index),
        joint=64,
        epochs=8,
        seed=0,
    )
    state = State(knowledge_with(head, vocabulary))
    state.observe(log)
    rows = np.arange(split.train_stop, split.valid_stop)[::2]
    scored = state.score(state.queries_of(log, rows))
    found = answered(scored, log, rows, state.tags)
    assert scored.filled.sum(axis=1).max() <= state.config.max_candidates
    assert found.used.sum() / found.n_used.sum() > 0.9


def test_a_long_history_gets_more_candidates_and_changes_nobody_elses():
    """Blocks of wide and narrow queries are put together, whatever stands beside a query."""
    posts = [Post(f"a{i}", "ana", START_AT + 60.0 * i, (f"tag{i}",)) for i in range(400)]
    posts += [Post(f"b{i}", "bo", START_AT + 60.0 * i + 1, (f"own{i}",)) for i in range(200)]
    log = PostLog.of(posts)
    config = StateConfig(max_candidates=120, more_candidates=100)
    state = state_of(log, n_known=0, config=config)
    rows = np.arange(0, len(log), 3)
    queries = queries_about(log, rows, shift_s=1.0)
    both = state.score(queries)
    assert both.filled.sum(axis=1).max() > config.max_candidates
    for i in range(0, len(rows), 7):
        alone = state.score(queries.take(np.array([i])))
        n = int(alone.filled.sum())
        assert both.filled[i].sum() == n
        np.testing.assert_array_equal(both.tag[i][both.filled[i]], alone.tag[0][alone.filled[0]])
        assert (both.tag[i][~both.filled[i]] == len(state.tags)).all()
    of_bo = [i for i, user in enumerate(queries.users) if user == "bo"]
    assert both.filled[of_bo].sum(axis=1).max() <= config.max_candidates
