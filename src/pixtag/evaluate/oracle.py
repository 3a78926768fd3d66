"""A ceiling given from outside: rankings of one who knew what can be known.

A simulation can rank tags by their true chances, which no method that learns can beat but by luck;
how much of that a method reaches says more than the distance to a ranking without mistakes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import numpy as np

from pixtag.baselines import Ranker
from pixtag.errors import InputError
from pixtag.evaluate.protocol import Comparison
from pixtag.evaluate.summary import Figures
from pixtag.tags import normalise_tag
from pixtag.types import PostLog, Rankings

ORACLE = "oracle"
N_TAGS = 10
_METRICS = tuple(f"{m}@{k}" for m in ("p", "r", "hit", "ndcg") for k in (1, 3, 5, 10))
"""Those that ten ranks decide."""
_HINT = f'each line is {{"post_id": "...", "tags": [{N_TAGS} tags, likeliest first]}}'


def read_oracle(path: Path) -> dict[str, list[str]]:
    """Read ten tags for each post, likeliest first.

    Args:
        path: JSON Lines with `post_id` and `tags`.

    Returns:
        Tags by post.

    Raises:
        InputError: The file is missing, or a line of it is broken, repeated or short.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"cannot read the oracle {path}: {reason}", hint=_HINT) from error
    tags_of: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            post_id, tags = _read_line(line, f"{path}, line {number}")
            if post_id in tags_of:
                raise InputError(
                    f"{path}, line {number}: post {post_id!r} stands there twice", hint=_HINT
                )
            tags_of[post_id] = tags
    return tags_of


def _read_line(line: str, where: str) -> tuple[str, list[str]]:
    try:
        record: object = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where} is not JSON: {line[:60]!r}", hint=_HINT) from error
    fields = cast("dict[str, object]", record) if isinstance(record, dict) else {}
    post_id, given = fields.get("post_id"), fields.get("tags")
    if not isinstance(post_id, str) or not isinstance(given, list):
        raise InputError(f"{where} lacks post_id or tags: {line[:60]!r}", hint=_HINT)
    raws = cast("list[object]", given)
    named = [normalise_tag(raw) if isinstance(raw, str) else None for raw in raws]
    tags = [tag for tag in dict.fromkeys(named) if tag]
    if len(tags) < N_TAGS:
        raise InputError(
            f"{where}: {len(tags)} different tags where {N_TAGS} are needed", hint=_HINT
        )
    return post_id, tags[:N_TAGS]


def oracle(tags_of: dict[str, list[str]]) -> Ranker:
    """Rank as the oracle says.

    Args:
        tags_of: Ten tags by post, as `read_oracle` gives them.

    Returns:
        The ranker. It raises InputError when a tagged post of the period is missing.
    """

    def rank(log: PostLog, start: int, stop: int, k: int) -> Rankings:
        has_tags = np.diff(log.tag_start)[start:stop] > 0
        asked = [log.post_ids[start + i] for i in np.flatnonzero(has_tags)]
        missing = [post_id for post_id in asked if post_id not in tags_of]
        if missing:
            raise InputError(
                f"the oracle lacks {len(missing):,} of the {len(asked):,} posts that are "
                f"measured, the first is {missing[0]!r}",
                hint="the file must rank tags for every post of the period",
            )
        tags = sorted({tag for post_id in asked for tag in tags_of[post_id]})
        index = {tag: i for i, tag in enumerate(tags)}
        ids = np.full((stop - start, min(k, N_TAGS)), len(tags), np.int64)
        for row, post_id in zip(np.flatnonzero(has_tags).tolist(), asked, strict=True):
            ids[row] = [index[tag] for tag in tags_of[post_id][: ids.shape[1]]]
        probs = np.zeros(ids.shape, np.float32)
        return Rankings(np.arange(start, stop), ids, probs, tags)

    return rank


def knowable(compared: Comparison, *, base: str = "base_level") -> Figures:
    """Share of the oracle's quality that the first method reaches.

    `of_all` is its figure over the oracle's; `above_base` the same after a simple method's figure
    is taken off both: 0 where nothing was gained over it, 1 where all that can be known is; NaN
    where the oracle is no better than that method.
    """
    first = next(iter(compared.methods.values())).values
    best, boot = compared.methods[ORACLE].values, compared.bootstrap
    found: Figures = {
        "of_all": {m: boot.ratio(first[m], best[m]).as_dict() for m in _METRICS},
    }
    if base in compared.methods:
        low = compared.methods[base].values
        found["above_base"] = {
            m: boot.ratio(first[m] - low[m], best[m] - low[m]).as_dict() for m in _METRICS
        }
    return found
