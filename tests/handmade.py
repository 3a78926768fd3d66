"""A bundle whose weights are set by hand, and photos that it knows: small, quick, predictable."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from pixtag import network
from pixtag.bundle import Bundle, Manifest, Trained, anonymous_log, hash_post_ids, save_bundle
from pixtag.encoder import OnnxEncoder, class_synonyms, load_encoder
from pixtag.images import decode
from pixtag.signals import FEATURES, INPUT_NAMES

LOOKS = {"stripes": ["zebra", "pattern"], "leaves": ["forest", "nature"], "sky": ["sky", "blue"]}
"""What the photos can look like, and the tags that go with each look."""

LINEAR = {
    "head_log_prob": 0.8,
    "neighbour_share": 0.1,
    "reuse_decay_0.5": 0.3,
    "own_uses_log": 1.5,
    "trend_lift_24h": 1.0,
    "goes_with_accepted": 1.0,
    "people_log": 0.2,
}
WIDTH = 16
SALT = "5a17"


def class_names() -> list[str]:
    """The clearest name of each ImageNet class, in index order."""
    return [names[0] for names in class_synonyms()]


def picture(look: str, seed: int = 0, side_px: int = 256) -> Image.Image:
    """A picture with one of the `LOOKS`."""
    rng = np.random.default_rng([list(LOOKS).index(look), seed])
    y, x = np.mgrid[:side_px, :side_px]
    if look == "stripes":
        wave = np.sin((x + y * rng.uniform(-0.3, 0.3)) / rng.uniform(4, 6)) > 0
        pixels = np.repeat(255.0 * wave[..., None], 3, axis=2)
    elif look == "leaves":
        spots = np.kron(rng.random((side_px // 8, side_px // 8)), np.ones((8, 8)))
        pixels = np.stack([40 * spots, 60 + 150 * spots, 20 * spots], axis=-1)
    else:
        height = y / side_px
        pixels = np.stack([120 + 100 * height, 170 + 60 * height, np.full_like(height, 240)], -1)
    pixels = pixels + rng.normal(0, 4, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def photo(path: Path, look: str, seed: int = 0) -> Path:
    """Write a photo with one of the `LOOKS`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(look, seed).save(path, quality=90)
    return path


@cache
def encoder() -> OnnxEncoder:
    """The shipped encoder, loaded once."""
    return load_encoder(n_threads=1)


def embedding(look: str, seed: int = 0) -> np.ndarray:
    """Embedding of such a photo, `[D]`."""
    buffer = io.BytesIO()
    picture(look, seed).save(buffer, "JPEG", quality=90)
    return encoder().embed(decode(buffer.getvalue())[None])[0]


@cache
def bundle() -> Bundle:
    """The bundle: it knows the `LOOKS`, and how many people use which tag."""
    seen = {look: np.stack([embedding(look, 100 + i) for i in range(3)]) for look in LOOKS}
    center = np.concatenate(list(seen.values())).mean(axis=0)
    rng = np.random.default_rng(0)
    projection = np.linalg.qr(rng.normal(size=(len(center), WIDTH)))[0].astype(np.float32)
    joint = {look: _unit((rows - center) @ projection) for look, rows in seen.items()}
    vocabulary = [tag for tags in LOOKS.values() for tag in tags] + ["love"]
    of_tag = {tag: look for look, tags in LOOKS.items() for tag in tags}
    vectors = [8.0 * _unit(joint[of_tag[t]].mean(axis=0)) for t in vocabulary[:-1]]
    weights = {
        "head/center": center.astype(np.float32),
        "head/projection": projection,
        "head/tag_vectors": np.stack([*vectors, np.zeros(WIDTH)]).astype(np.float32),
        "head/tag_bias": np.zeros(len(vocabulary), np.float32),
        **_network(),
    }
    prior = anonymous_log(
        vocabulary,
        [[vocabulary.index(t) for t in LOOKS[look]] for look in LOOKS for _ in range(3)],
        np.concatenate(list(joint.values())),
    )
    trained_on = [f"old-{i}" for i in range(9)]
    return Bundle(
        manifest=Manifest(
            pixtag="0.1.0",
            size="tiny",
            encoder_digest=encoder().digest,
            encoder_width=encoder().width,
            trained=Trained(n_posts=9),
            feature_names=INPUT_NAMES,
            salt=SALT,
        ),
        vocabulary=vocabulary,
        weights=weights,
        prior=prior,
        extras={"prior_people": np.array([5, 5, 6, 9, 7, 5, 30], np.float64)},
        seen=hash_post_ids(trained_on, salt=SALT),
    )


def bundle_file(path: Path) -> Path:
    """The same bundle on disk."""
    save_bundle(path, bundle())
    return path


def _network() -> dict[str, np.ndarray]:
    widths = network.Widths(**{name: len(names) for name, names in INPUT_NAMES.items()})
    weights = network.initial_weights(network.SHAPES["tiny"], widths, seed=0)
    weights["score/out"] *= 0.0
    weights["score/linear"] *= 0.0
    for name, weight in LINEAR.items():
        weights["score/linear"][FEATURES.column(name)] = weight
    mean = np.zeros(widths.features, np.float32)
    mean[FEATURES.column("head_log_prob")] = -4.0
    knots = np.linspace(-8.0, 8.0, 33)
    return weights | {
        "norm/mean": mean,
        "norm/std": np.ones(widths.features, np.float32),
        "norm/context_mean": np.zeros(widths.context, np.float32),
        "norm/context_std": np.ones(widths.context, np.float32),
        "source/needed": FEATURES.needed,
        "calibration/slope": np.array(1.0, np.float32),
        "calibration/context": np.zeros(widths.context, np.float32),
        "calibration/bias": np.array(0.5, np.float32),
        "calibration/knots": knots.astype(np.float32),
        "calibration/values": (1.0 / (1.0 + np.exp(-knots))).astype(np.float32),
    }


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)
