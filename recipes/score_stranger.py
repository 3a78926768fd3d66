"""How good a bundle is for a stranger: hits on labelled photos that it never saw.

    python recipes/score_stranger.py --hold-out photos   --bundle out/shipped-photos
    python recipes/score_stranger.py --hold-out concepts --bundle out/shipped-concepts

A photo is asked about with no store, no person and no history. A suggestion fits when the
reviewed map lists it for the photo's concept; the thing itself is the first tag of the map.
Beside the bundle stand the five most popular tags, and the encoder's class names alone (the five
likeliest classes' names as tags). Intervals are 95 % of a bootstrap over concepts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from shipped_bundle import HOLD_OUTS, ROOT, concept_of, concept_tags, held_out

from pixtag import Predictor
from pixtag.encoder import class_names, classifier, load_encoder
from pixtag.store import Store
from pixtag.tags import normalise_tag


def lists_of(bundle: Path, store: Path, kind: str) -> tuple[list[str], dict[str, list[list[str]]]]:
    """The concept of each held-out photo, and five tags by each method."""
    digest = load_encoder().digest
    with Store.open(store, read_only=True) as opened:
        photos = {p.post_id: p.photos[0].path for p in opened.posts() if "photo-" in p.post_id}
        log = opened.log(digest)
    apart = sorted(held_out(sorted(photos), kind))
    row = {post_id: i for i, post_id in enumerate(log.post_ids)}
    predictor = Predictor.load(bundle)
    answers = predictor.answers([photos[p] for p in apart], k=5)
    embeddings = log.embeddings[[row[p] for p in apart]].astype(np.float32)
    weight, bias = classifier()
    top = np.argsort(-(embeddings @ weight.T + bias), axis=1)[:, :5]
    names = [normalise_tag(name.replace(" ", "").replace("-", "")) for name in class_names()]
    tags, n_people = predictor.bundle.vocabulary, predictor.bundle.extras["prior_people"]
    popular = [tags[i] for i in np.argsort(-n_people, kind="stable")[:5]]
    return [concept_of(p) for p in apart], {
        "pixtag": [[s.tag for s in answer.suggestions] for answer in answers],
        "popularity": [popular] * len(apart),
        "class names alone": [[names[i] or "" for i in best] for best in top],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--hold-out", choices=HOLD_OUTS, required=True)
    parser.add_argument("--store", type=Path, default=ROOT / "out" / "shipped.sqlite")
    given = parser.parse_args()
    tags_of = concept_tags()
    concepts, methods = lists_of(given.bundle, given.store, given.hold_out)
    kinds = sorted(set(concepts))
    of_kind = [np.array([i for i, c in enumerate(concepts) if c == kind]) for kind in kinds]
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(kinds), (2000, len(kinds)))
    print(f"{len(concepts)} photos of {len(kinds)} concepts held out by {given.hold_out}")
    for method, lists in methods.items():
        fits = np.array(
            [[t in tags_of[c] for t in row] for c, row in zip(concepts, lists, strict=True)]
        )
        thing = np.array([tags_of[c][0] in row for c, row in zip(concepts, lists, strict=True)])
        for name, value in (
            ("hit@5", fits.any(axis=1)),
            ("thing@5", thing),
            ("share that fits", fits.mean(axis=1)),
        ):
            sums = np.array([value[i].sum() for i in of_kind], float)
            counts = np.array([len(i) for i in of_kind], float)
            means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
            low, high = np.quantile(means, [0.025, 0.975])
            print(f"{method:18} {name:16} {value.mean():.3f}  [{low:.3f}, {high:.3f}]")


if __name__ == "__main__":
    main()
