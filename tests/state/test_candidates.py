"""What is not a candidate can never be suggested: most used tags must be among the candidates."""

from __future__ import annotations

import numpy as np

from pixtag.splits import temporal_split
from pixtag.state import State
from pixtag.train.examples import answered, choose_vocabulary, knowledge_with
from pixtag.train.head import fit_head, tag_table
from worlds import evaluation_log


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
