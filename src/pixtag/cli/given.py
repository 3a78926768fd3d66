"""The protocol of given tags, for `pixtag evaluate --protocol given`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pixtag.cli import output

if TYPE_CHECKING:
    from pixtag.bundle import Bundle
    from pixtag.given import GivenModel
    from pixtag.types import PostLog

N_SPLITS = 5
_SHOWN = ("p@1", "p@5", "r@5", "r@10")


def measure_given(
    store: Path, bundle: Bundle | None, *, n_given: int, seed: int, json: Path | None
) -> None:
    """Measure co-occurrence on a store's tag sets and print it.

    Args:
        store: The store.
        bundle: Ask the whole of Pixtag too, with this bundle's network; None to leave it out.
        n_given: Tags given.
        seed: Of the first split; the others follow.
        json: Write all figures to this file.
    """
    from pixtag.given import evaluate_given
    from pixtag.store import Store

    with Store.open(store, read_only=True) as opened:
        log = opened.log()
    with output.progress("measuring", unit="splits") as bar:
        figures = evaluate_given(
            log,
            n_given=n_given,
            seeds=range(seed, seed + N_SPLITS),
            model=None if bundle is None else _model(bundle),
            on_progress=bar.update,
        )
    rows = [
        [name, *(_interval(values[m]) for m in _SHOWN)]
        for name, values in figures["methods"].items()
    ]
    if "bound" in figures:
        bound = figures["bound"]
        rows.append(["nothing that knows one tag alone", *(f"{bound[m]:.3f}" for m in _SHOWN)])
    output.print_table(
        {"method": "left", **dict.fromkeys(_SHOWN, "right")}, rows, title=figures["title"]
    )
    for note in figures["notes"]:
        output.say(f"note: {note}")
    if json is not None:
        json.write_text(output.to_json(figures, indent=2) + "\n", encoding="utf-8")
        output.say(f"wrote all figures to {json}")


def _interval(figure: dict[str, float]) -> str:
    return f"{figure['mean']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def _model(bundle: Bundle) -> GivenModel:
    import numpy as np

    from pixtag.replay import knowledge_of, rank, without_prior
    from pixtag.signals.columns import Queries
    from pixtag.state import State, StateConfig

    config = StateConfig.model_validate(bundle.manifest.config.get("state", {}))

    def ask(known: PostLog, given: list[tuple[str, ...]]) -> list[list[str]]:
        # The prior is left out: what it holds of these posts is not known.
        state = State(without_prior(knowledge_of(bundle)), config)
        state.observe(replace(known, embeddings=np.zeros((len(known), 0), np.float16)))
        n = len(given)
        queries = Queries(
            at=np.zeros(n),
            users=(None,) * n,
            embeddings=np.zeros((n, len(state.knowledge.head.center)), np.float32),
            has_photo=np.zeros(n, np.bool_),
            accepted=tuple(given),
        )
        ranked = rank(state, bundle, queries, k=20)
        tags = [*ranked.tags, ""]
        return [[tags[t] for t in row if t < len(ranked.tags)] for row in ranked.tag_ids.tolist()]

    return ask
