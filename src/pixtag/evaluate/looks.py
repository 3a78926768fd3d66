"""What an evaluation leaves on disk: the log of looks, predictions, run files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from pixtag.evaluate.protocol import Comparison, Scored
from pixtag.types import Ints, PostLog

HEADLINE = ("p@1", "p@5", "r@5")
_PREDICTED = 10


def log_look(
    store_path: Path,
    *,
    command: str,
    period: str,
    bundle_digest: str | None,
    headline: Mapping[str, Any],
) -> Path:
    """Note that someone looked at a period, beside the store.

    A test period that is looked at while tuning is no test any more; the file shows how often
    that happened.

    Args:
        store_path: The store; the file is `STORE.looks.jsonl`.
        command: What was run.
        period: `test` or `validation`.
        bundle_digest: Which bundle was measured; None when only baselines were.
        headline: Figures that were seen.

    Returns:
        The file.
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
    """Write the first ten suggestions for each post, JSON Lines in time order.

    Args:
        path: The file; replaced.
        log: The log.
        scored: Whose suggestions.

    Returns:
        How many lines.
    """
    ranked = scored.rankings
    with path.open("w", encoding="utf-8") as file:
        for place, row in enumerate(ranked.rows.tolist()):
            user, at = int(log.user_of_post[row]), float(log.at[row])
            tags, probs = _list(scored, place, _PREDICTED)
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


def _list(scored: Scored, place: int, k: int) -> tuple[list[str], list[float]]:
    ids: Ints = scored.rankings.tag_ids[place, :k]
    filled = ids < len(scored.rankings.tags)
    tags = [scored.rankings.tags[t] for t in ids[filled]]
    return tags, scored.rankings.probs[place, :k][filled].astype(float).tolist()


def write_trec(path: Path, compared: Comparison) -> list[Path]:
    """Write run files and relevance judgements as trec_eval reads them.

    The score in a run file falls with the rank, since trec_eval sorts by score and breaks ties
    in its own way.

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
            tags, _ = _list(scored, place, depth)
            file.writelines(
                f"{post} Q0 {tag} {rank} {1 / rank:.6f} {name}\n"
                for rank, tag in enumerate(tags, 1)
            )


def _word(post_id: str) -> str:
    """The columns of run files are split at white space."""
    return "_".join(post_id.split()) or "_"
