"""The network: one formula for numpy and JAX, every source heard, a silent one not."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asking import sampled
from pixtag.candidates import Candidates
from pixtag.model import model_of
from pixtag.network import SHAPES, calibrated, copy_shares, initial_weights, log_shares, scores
from pixtag.rank import candidates
from pixtag.signals import CONTEXT_NAMES, FEATURES, SOURCES
from pixtag.train.network import WIDTHS, constants, hide_known, hide_photos, listwise_loss
from pixtag.types import Post, PostLog, Sources
from worlds import bundle, observed, world

OF_SOURCE = {
    source: [FEATURES.names[column] for column in np.flatnonzero(FEATURES.needed[row])]
    for row, source in enumerate(SOURCES)
}
FLAGS = [CONTEXT_NAMES.index(f"{source}_on") for source in SOURCES]


@cache
def found(sources: Sources | None = None) -> Candidates:
    model = model_of(bundle()).without_prior()
    view = model.evidence(world()).view()
    return candidates(model, view, sampled(world(), 24), sources=sources)


def random_weights(size: str, seed: int = 1) -> dict[str, np.ndarray]:
    """Weights of which none is zero, with the constants of the inputs."""
    drawn = initial_weights(SHAPES[size], WIDTHS, seed=seed)
    rng = np.random.default_rng(seed)
    noisy = {n: (w + 0.05 * rng.normal(size=w.shape)).astype(np.float32) for n, w in drawn.items()}
    return noisy | constants(found())


def weights_of(kind: str) -> dict[str, np.ndarray]:
    return dict(bundle().weights) if kind == "trained" else random_weights(kind)


@pytest.mark.parametrize("kind", ["tiny", "small", "base", "trained"])
def test_numpy_and_jax_agree(kind):
    weights, inputs = weights_of(kind), found().inputs
    served = scores(weights, inputs)
    given = {n: jnp.asarray(v) for n, v in inputs.items()}
    network = {n: jnp.asarray(v) for n, v in weights.items()}
    trained = jax.jit(lambda w, i: scores(w, i, xp=jnp))(network, given)
    filled = found().filled
    np.testing.assert_allclose(served[filled], np.asarray(trained)[filled], rtol=1e-5, atol=1e-5)
    assert np.abs(served[filled]).max() > 0.1


@pytest.mark.parametrize("kind", ["small", "trained"])
def test_gradients_of_every_source_reach_its_inputs(kind):
    weights = {n: jnp.asarray(v) for n, v in weights_of(kind).items()}
    inputs = {n: jnp.asarray(v) for n, v in found().inputs.items()}
    filled = jnp.asarray(found().filled)
    # The score of a candidate alone could move in step with all others: ask for differences.
    pattern = jnp.asarray(np.random.default_rng(0).normal(size=filled.shape), jnp.float32)

    def spread(given):
        return (jax.nn.log_softmax(scores(weights, given, xp=jnp)) * pattern * filled).sum()

    gradient = jax.grad(spread)(inputs)
    size = {n: np.abs(np.asarray(g)) for n, g in gradient.items()}
    for source, names in OF_SOURCE.items():
        columns = FEATURES.columns(names)
        reached = size["features"][:, :, columns].max(axis=(0, 1))
        assert reached.max() > 1e-3, source
        assert (reached > 0).mean() > 0.5, dict(zip(names, reached.tolist(), strict=True))
    assert size["own_keys"].max() > 1e-4
    assert size["near_keys"].max() > 1e-4
    assert size["context"].max() > 1e-4


@pytest.mark.parametrize("source", list(OF_SOURCE))
@pytest.mark.parametrize("kind", ["small", "trained"])
def test_a_silent_source_changes_nothing_when_its_features_change(source, kind):
    weights, inputs = weights_of(kind), found().inputs
    columns = FEATURES.columns(OF_SOURCE[source])
    noise = np.random.default_rng(2).normal(size=(*found().filled.shape, len(columns)))
    changed = inputs["features"].copy()
    changed[:, :, columns] += 3.0 * noise.astype(np.float32)
    loud = scores(weights, {**inputs, "features": changed})
    assert np.abs(loud - scores(weights, inputs)).max() > 1e-3
    context = inputs["context"].copy()
    context[:, FLAGS[list(OF_SOURCE).index(source)]] = 0.0
    silent = scores(weights, {**inputs, "context": context})
    still = scores(weights, {**inputs, "context": context, "features": changed})
    np.testing.assert_array_equal(silent, still)


def test_what_training_hides_looks_as_what_is_not_known_does():
    log = world()
    # Posts that carry a tag of their own and no photo, as those of a store of tags alone.
    bare = PostLog.of(
        [Post(f"bare{i}", f"user{i}", log.at[i] + 1.0, ("unheard",)) for i in range(40)]
    )
    model, evidence = observed(log, n_known=20)
    evidence.observe(bare)
    view = evidence.view()
    some = candidates(model, view, sampled(log, 200))
    unheard = some.tag == view.id_of("unheard")
    unknown = some.filled & (some.tag >= 20)
    assert unheard.any()
    assert (unknown & ~unheard).any()
    has_photo = some.context[:, FLAGS[0]] > 0
    with_photo = unknown & has_photo[:, None]
    batch = {"features": some.features, "near_member": some.near_member}
    hidden = hide_photos(hide_known(batch, some.filled), some.filled)
    for column, feature in enumerate(FEATURES.features):
        values = some.features[:, :, column]
        if feature.when_unknown is not None:
            assert (values[with_photo] == np.float32(feature.when_unknown)).all(), feature.name
        if feature.when_unseen is not None:
            np.testing.assert_allclose(values[unheard], 0.0, atol=1e-6, err_msg=feature.name)
            assert np.abs(values[unknown & ~unheard]).max() > 0.01, feature.name
        expected = (feature.when_unseen, feature.when_unknown)
        for value in (v for v in expected if v is not None):
            after = hidden["features"][:, :, column][some.filled]
            assert (after == np.float32(value)).all(), feature.name
            break
    assert not hidden["near_member"].any()
    assert some.near_member.any(), "the batch itself is left alone"


def test_the_loss_sets_used_tags_against_unused_ones_alone():
    some = found()
    weights = {n: jnp.asarray(w) for n, w in random_weights("tiny").items()}
    served = scores(random_weights("tiny"), some.inputs).astype(np.float64)
    used = np.zeros_like(some.filled)
    used[:, :3] = some.filled[:, :3]
    used[0] = False
    batch = some.inputs | {"filled": some.filled, "used": used}
    expected = []
    for score, filled, mine in zip(served, some.filled, used, strict=True):
        against = np.exp(score[filled & ~mine]).sum()
        of_tags = [np.log1p(against / np.exp(s)) for s in score[mine]]
        if of_tags:
            expected.append(sum(of_tags) / (2 * np.sqrt(len(of_tags))))
    loss = float(listwise_loss(weights, batch))
    assert loss == pytest.approx(np.mean(expected), rel=1e-4)
    taught = np.random.default_rng(5).normal(size=served.shape).astype(np.float32)
    entropies = []
    for score, filled, theirs in zip(served, some.filled, taught, strict=True):
        shares = np.exp(theirs[filled]) / np.exp(theirs[filled]).sum()
        entropies.append(np.log(np.exp(score[filled]).sum()) - (shares * score[filled]).sum())
    both = float(listwise_loss(weights, batch | {"taught": taught}))
    assert both == pytest.approx((loss + np.mean(entropies)) / 2, rel=1e-4)


def test_the_place_of_a_candidate_does_not_matter():
    weights, inputs = random_weights("small"), found().inputs
    order = np.random.default_rng(3).permutation(found().filled.shape[1])
    by_candidate = ("features", "own_member", "near_member")
    shuffled = {n: v[:, order] if n in by_candidate else v for n, v in inputs.items()}
    moved = scores(weights, shuffled)
    np.testing.assert_allclose(moved, scores(weights, inputs)[:, order], rtol=1e-5, atol=1e-5)


def test_copying_gives_shares_and_an_empty_memory_gives_none():
    weights, some = random_weights("small"), found().inputs
    context = (some["context"] - weights["norm/context_mean"]) / weights["norm/context_std"]
    for name in ("own", "near"):
        memory = [some[f"{name}_{part}"] for part in ("keys", "filled", "member")]
        shares = copy_shares(weights, name, *memory, context)
        assert shares.min() >= 0.0
        assert shares.max() <= 1.0 + 1e-5
        assert shares.max() > 0.01
        memory[1] = np.zeros_like(memory[1])
        assert not copy_shares(weights, name, *memory, context).any()


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.floats(-20, 20))
def test_chances_keep_the_order_of_the_scores(seed, shift):
    rng = np.random.default_rng(seed)
    score = (3 * rng.normal(size=(3, 40)) + shift).astype(np.float32)
    filled = rng.random((3, 40)) < 0.8
    context = found().context[:3].astype(np.float32)
    chance = calibrated(bundle().weights, score, filled, context)
    assert chance.min() >= 0.0
    assert chance.max() < 1.0
    assert not chance[~filled].any()
    for i in range(3):
        ordered = chance[i][filled[i]][np.argsort(score[i][filled[i]], kind="stable")]
        assert (np.diff(ordered) >= 0).all()
    shares = np.exp(log_shares(score, filled)) * filled
    assert shares.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-4)


def test_a_query_without_candidates_has_chances_of_zero():
    filled = np.zeros((2, 5), np.bool_)
    chance = calibrated(bundle().weights, np.zeros((2, 5), np.float32), filled, found().context[:2])
    assert not chance.any()


def test_the_same_seed_draws_the_same_weights():
    first, again, other = (random_weights("tiny", seed) for seed in (5, 5, 6))
    assert all(np.array_equal(first[n], again[n]) for n in first)
    assert not np.array_equal(first["own/keys"], other["own/keys"])


def test_the_logit_of_an_empty_slot_leaves_the_attention_alone():
    """A stranger's slots are empty, and are scored by the context all the same."""
    weights = {
        "own/keys": np.zeros((2, 1), np.float32),
        "own/context": np.full((1, 1), 1.0, np.float32),
        "own/bias": np.zeros(1, np.float32),
        "own/heads": np.ones((1, 1), np.float32),
        "own/null": np.zeros(1, np.float32),
    }
    member, context = np.ones((1, 3, 4), np.float32), np.full((1, 1), 500.0, np.float32)
    keys, filled = np.zeros((1, 4, 2), np.float32), np.zeros((1, 4), np.float32)
    assert copy_shares(weights, "own", keys, filled, member, context).tolist() == [[[0.0]] * 3]
    filled[0, 1] = 1.0
    found = copy_shares(weights, "own", keys, filled, member, context)
    np.testing.assert_allclose(found, 1.0)
