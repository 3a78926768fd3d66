"""The old project's network, written anew: a small CNN from scratch with tag counts beside it.

    pixtag import FOLDER --store old.sqlite     # photos with NAME.txt beside them
    python -m experiments.ancestor_cnn --store old.sqlite

As in the original: three convolutions with pooling, the features flattened, the person's raw tag
counts appended, a hidden layer, one sigmoid for each of the 32 most frequent tags, binary
cross-entropy, three epochs on 3,000 posts, figures on 500. Unlike it: smaller photos by default
(128 px instead of 299), since the first layers cost most and add little at this size of data.

It is trained three times: with counts over all posts, the test posts included (what the original
did), with counts over the training posts alone, and without counts.
"""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from experiments.harness import arguments, run

from pixtag.errors import ImageError
from pixtag.evaluate.untimed import CLEAN, LEAKY, NONE, OldTask, old_figures, old_task
from pixtag.images import decode
from pixtag.store import Store

CHANNELS = (32, 32, 64)
HIDDEN = 64
BATCH = 32


Weights = dict[str, jax.Array]


def initial(rng: np.random.Generator, side_px: int, n_counts: int, n_labels: int) -> Weights:
    """He initialisation (He et al. 2015) of every layer."""
    weights: dict[str, np.ndarray] = {}
    n_in, side = 3, side_px
    for i, n_out in enumerate(CHANNELS):
        scale = np.sqrt(2 / (9 * n_in))
        weights[f"conv{i}"] = (scale * rng.normal(size=(3, 3, n_in, n_out))).astype(np.float32)
        weights[f"bias{i}"] = np.zeros(n_out, np.float32)
        n_in, side = n_out, side // 2
    n_flat = side * side * n_in + n_counts
    weights["hidden"] = (np.sqrt(2 / n_flat) * rng.normal(size=(n_flat, HIDDEN))).astype(np.float32)
    weights["hidden_bias"] = np.zeros(HIDDEN, np.float32)
    weights["out"] = (np.sqrt(1 / HIDDEN) * rng.normal(size=(HIDDEN, n_labels))).astype(np.float32)
    weights["out_bias"] = np.zeros(n_labels, np.float32)
    return {name: jnp.asarray(array) for name, array in weights.items()}


def logits(weights: Weights, pixels: jax.Array, counts: jax.Array) -> jax.Array:
    """Forward pass: pixels `[B, P, P, 3]` as bytes and counts `[B, L]` to logits `[B, L]`."""
    x = pixels.astype(jnp.float32) / 255
    for i in range(len(CHANNELS)):
        x = jax.lax.conv_general_dilated(
            x, weights[f"conv{i}"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = jax.nn.relu(x + weights[f"bias{i}"])
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = jnp.concatenate([x.reshape(len(x), -1), counts], axis=1)
    x = jax.nn.relu(x @ weights["hidden"] + weights["hidden_bias"])
    return x @ weights["out"] + weights["out_bias"]


def fit_and_score(
    task: OldTask, pixels: np.ndarray, counts: np.ndarray, *, n_epochs: int, seed: int
) -> tuple[np.ndarray, float]:
    """Train on the training posts; scores of the test posts and photos a second in training."""
    rng = np.random.default_rng(seed)
    weights = initial(rng, pixels.shape[1], counts.shape[1], task.answers.shape[1])
    optimizer = optax.adam(1e-3)
    state = optimizer.init(weights)
    target = task.answers.astype(np.float32)

    @jax.jit
    def step(
        weights: Weights, state: optax.OptState, x: jax.Array, c: jax.Array, y: jax.Array
    ) -> tuple[Weights, optax.OptState, jax.Array]:
        def loss(w: Weights) -> jax.Array:
            return optax.sigmoid_binary_cross_entropy(logits(w, x, c), y).mean()

        value, gradient = jax.value_and_grad(loss)(weights)
        moves, state = optimizer.update(gradient, state, weights)
        return optax.apply_updates(weights, moves), state, value

    started = time.monotonic()
    for epoch in range(n_epochs):
        order, losses = rng.permutation(task.train), []
        for begin in range(0, len(order) - BATCH + 1, BATCH):
            rows = order[begin : begin + BATCH]
            weights, state, value = step(weights, state, pixels[rows], counts[rows], target[rows])
            losses.append(value)
        print(f"  epoch {epoch + 1}: loss {float(np.mean(losses)):.4f}", flush=True)
    rate = n_epochs * len(task.train) / (time.monotonic() - started)
    forward = jax.jit(partial(logits, weights))
    blocks = np.array_split(task.test, max(1, len(task.test) // 100))
    scores = [np.asarray(forward(pixels[rows], counts[rows])) for rows in blocks]
    return np.concatenate(scores), rate


def main() -> None:
    """Train the old network three times and print its figures."""
    parser = arguments(__doc__)
    parser.add_argument("--side-px", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with Store.open(given.store, read_only=True) as store:
        log = store.log()
        photos = {p.post_id: p.photos[0].path for p in store.posts() if p.photos}
    task = old_task(log, seed=given.seed)
    pixels = np.zeros((len(task.rows), given.side_px, given.side_px, 3), np.uint8)
    for place in np.concatenate([task.train, task.test]):
        path = photos.get(log.post_ids[task.rows[place]])
        try:
            if path is not None:
                pixels[place] = decode(Path(path), target_px=given.side_px)
        except ImageError as error:
            print(f"left black: {error.message}")
    leaky, clean = task.history(leaky=True), task.history(leaky=False)
    for label, counts in ((LEAKY, leaky), (CLEAN, clean), (NONE, np.zeros_like(leaky))):
        print(f"{given.side_px} px, {given.epochs} epochs, {label}", flush=True)
        scores, rate = fit_and_score(task, pixels, counts, n_epochs=given.epochs, seed=given.seed)
        figures = {name: round(value, 3) for name, value in old_figures(task, scores).items()}
        print(json.dumps({"history": label, "photos_per_s": round(rate, 1), **figures}), flush=True)


if __name__ == "__main__":
    run(main)
