"""Files that an evaluation reads and leaves: the log of looks, predictions, run files, oracles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np

from pixtag.errors import InputError
from pixtag.evaluate.compare import Comparison, Scored
from pixtag.evaluate.past import Ranker
from pixtag.tags import normalise_tag
from pixtag.types import PostLog, Rankings

ORACLE = "oracle"
N_ORACLE = 10
_PREDICTED = 10
_HINT = f'each line is {{"post_id": "...", "tags": [{N_ORACLE} tags, likeliest first]}}'


def log_look(
    store_path: Path,
    *,
    command: str,
    period: str,
    bundle_digest: str | None,
    headline: Mapping[str, Any],
) -> Path:
    """Note that someone looked at a period, in `STORE.looks.jsonl` beside the store.

    A test period that is looked at while tuning is no test any more; the file shows how often that
    happened, with the figures that were seen.
    """
    path = store_path.with_name(store_path.name + ".looks.jsonl")
    look = {
        "looked_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "period": period,
        "command": command,
        "bundle": bundle_digest,
        "headline": dict(headline),
    }
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(look) + "\n")
    return path


def write_predictions(path: Path, log: PostLog, scored: Scored) -> int:
    """Write the first ten suggestions for each post, JSON Lines in time order; how many lines."""
    ranked = scored.rankings
    with path.open("w", encoding="utf-8") as file:
        for place, row in enumerate(ranked.rows.tolist()):
            user, at = int(log.user_of_post[row]), float(log.at[row])
            tags, probs = scored.list_of(place, _PREDICTED)
            line = {
                "post_id": log.post_ids[row],
                "user_id": log.users[user] if user < len(log.users) else None,
                "at": iso(at) if np.isfinite(at) else None,
                "tags": tags,
                "probs": [round(p, 6) for p in probs],
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return len(ranked.rows)


def iso(at: float) -> str:
    """Write an instant as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat()


def write_trec(path: Path, compared: Comparison) -> list[Path]:
    """Write run files and relevance judgements as trec_eval reads them.

    The score falls with the rank, since trec_eval sorts by score and breaks ties in its own way.

    Args:
        path: A file name with a suffix (`pixtag.run`): the run of the first method, with the
            judgements beside it (`pixtag.qrels`). Any other name: a folder that gets a run for
            each method (`NAME.run`) and `qrels.txt`.
        compared: The methods.

    Returns:
        The files, the judgements first.
    """
    is_folder = path.is_dir() or not path.suffix
    if is_folder:
        path.mkdir(parents=True, exist_ok=True)
    judgements = path / "qrels.txt" if is_folder else path.with_suffix(".qrels")
    _write_qrels(judgements, compared)
    if not is_folder:
        name = next(iter(compared.methods))
        _write_run(path, compared, name)
        return [judgements, path]
    for name in compared.methods:
        _write_run(path / f"{name}.run", compared, name)
    return [judgements, *(path / f"{name}.run" for name in compared.methods)]


def _write_qrels(path: Path, compared: Comparison) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in compared.rows.tolist():
            post = _word(compared.log.post_ids[row])
            file.writelines(f"{post} 0 {tag} 1\n" for tag in compared.log.tags_of(row))


def _write_run(path: Path, compared: Comparison, name: str) -> None:
    scored = compared.methods[name]
    depth = scored.rankings.tag_ids.shape[1]
    with path.open("w", encoding="utf-8") as file:
        for place, row in enumerate(compared.rows.tolist()):
            post = _word(compared.log.post_ids[row])
            tags, _ = scored.list_of(place, depth)
            file.writelines(
                f"{post} Q0 {tag} {rank} {1 / rank:.6f} {name}\n"
                for rank, tag in enumerate(tags, 1)
            )


def _word(post_id: str) -> str:
    return "_".join(post_id.split()) or "_"


def read_oracle(path: Path) -> Ranker:
    """Read the rankings of one who knew what can be known, such as a simulation's true chances.

    No method that learns can beat it but by luck. The file is JSON Lines with a `post_id` and ten
    `tags`, likeliest first.

    Raises:
        InputError: The file is missing, a line of it is broken, repeated or short, or (when the
            ranker is called) it lacks a tagged post of the period.
    """
    tags_of: dict[str, list[str]] = {}
    for number, line in enumerate(_lines(path, "the oracle", _HINT), 1):
        if line.strip():
            where = f"{path}, line {number}"
            post_id, tags = _read_line(line, where)
            if post_id in tags_of:
                raise InputError(f"{where}: post {post_id!r} stands there twice", hint=_HINT)
            tags_of[post_id] = tags

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
        ids = np.full((stop - start, min(k, N_ORACLE)), len(tags), np.int64)
        for row, post_id in zip(np.flatnonzero(has_tags).tolist(), asked, strict=True):
            ids[row] = [index[tag] for tag in tags_of[post_id][: ids.shape[1]]]
        return Rankings(np.arange(start, stop), ids, np.zeros(ids.shape, np.float32), tags)

    return rank


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
    if len(tags) < N_ORACLE:
        raise InputError(
            f"{where}: {len(tags)} different tags where {N_ORACLE} are needed", hint=_HINT
        )
    return post_id, tags[:N_ORACLE]


def read_post_ids(path: Path) -> frozenset[str]:
    """Read names of posts, one a line; InputError when there are none."""
    hint = "the file names one post_id a line"
    names = frozenset(line.strip() for line in _lines(path, "the posts", hint) if line.strip())
    if not names:
        raise InputError(f"{path} names no post", hint=hint)
    return names


def _lines(path: Path, what: str, hint: str) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"cannot read {what} {path}: {reason}", hint=hint) from error
