"""Pixels to embeddings: the shipped encoder (EfficientNet-Lite0), or any ONNX file of its shape.

Preprocessing travels with the file: callers hand over RGB bytes, and the metadata `image_mean` and
`image_std` of the graph (lists in JSON, for RGB scaled to 0..1; 0.5 each when absent) say how they
are normalised, `image_interpolation` (`bilinear` when absent, or `bicubic`) how photos are scaled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_safetensors
from threadpoolctl import ThreadpoolController

from pixtag.errors import ModelError, ShapeError
from pixtag.images import Interpolation
from pixtag.types import Floats

_DATA = Path(__file__).parent / "data"

# Digest of the shipped encoder, known without reading it; the classes belong to it alone
SHIPPED_DIGEST = "48b42517f9b26281c95b7f1b24c2b0b78f95b2f270eacbbe7b218c203e6166f3"


class Encoder(Protocol):
    """What turns photos into embeddings; safe to call from several threads at once."""

    digest: str  # names weights and preprocessing; embeddings are kept under it, and never mix
    width: int  # D of an embedding
    input_px: int  # side P of the pixels that it wants
    interpolation: Interpolation  # how photos are scaled to that side

    def embed(self, images: NDArray[np.uint8]) -> Floats:
        """Embed RGB photos `[B, P, P, 3]` as `[B, D]`; `ShapeError` for another shape."""
        ...


class OnnxEncoder:
    """An ONNX graph with input `[B, 3, P, P]` and an output `embedding` `[B, D]`, both float32.

    ModelError: the bytes are no such graph.
    """

    def __init__(self, model: bytes, *, name: str, n_threads: int) -> None:
        self.model, self._name, self._n_threads = model, name, n_threads
        self._session, (source,), outputs = _start(model, name, n_threads)
        shape, output_shape = list(source.shape), list(outputs["embedding"].shape)
        if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
            raise _no_encoder(name, f"it wants input {shape}, not [B, 3, P, P]")
        if isinstance(shape[0], int) or not isinstance(shape[2], int):
            raise _no_encoder(name, f"its input {shape} needs a free batch size and a fixed side")
        if len(output_shape) != 2 or not isinstance(output_shape[1], int):
            raise _no_encoder(name, f"its output is {output_shape}, not [B, D] with D fixed")
        self._input_name: str = source.name
        self.input_px: int = shape[2]
        self.width: int = output_shape[1]
        metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        mean, std = (_channels(metadata, key, name) for key in ("image_mean", "image_std"))
        if 0 in std:
            raise _no_encoder(name, f"its metadata image_std has a zero: {std}")
        self.interpolation: Interpolation = _interpolation(metadata, name)
        prepared = _preparation(mean, std, self.interpolation)
        self.digest = hashlib.sha256(prepared + model).hexdigest()
        self._scale = np.array([1 / (255 * s) for s in std], np.float32)[:, None, None]
        self._shift = np.array([m / s for m, s in zip(mean, std, strict=True)], np.float32)

    def embed(self, images: NDArray[np.uint8]) -> Floats:
        """Embed photos `[B, P, P, 3]` as `Encoder.embed` says."""
        side = self.input_px
        check_pixels(images, side)
        if not len(images):
            return np.empty((0, self.width), np.float32)
        pixels = np.empty((len(images), 3, side, side), np.float32)
        np.multiply(images.transpose(0, 3, 1, 2), self._scale, out=pixels)
        pixels -= self._shift[:, None, None]
        return np.asarray(
            self._session.run(["embedding"], {self._input_name: pixels})[0], np.float32
        )

    @cached_property
    def words(self) -> Mapping[str, NDArray[Any]] | None:
        """Vectors of words in the space of the embeddings, as `signals.words.unpack` reads them.

        From the outputs `words` and `word_vectors`, which no photo changes; None without them.
        """
        outputs = {one.name for one in self._session.get_outputs()}
        if not {"words", "word_vectors"} <= outputs:
            return None
        nothing = np.zeros((1, 3, self.input_px, self.input_px), np.float32)
        found = self._session.run(["words", "word_vectors"], {self._input_name: nothing})
        if found[1].ndim != 2 or found[1].shape[1] != self.width:
            raise _no_encoder(self._name, f"its word vectors are not [N, {self.width}]")
        return {"words": found[0], "vectors": found[1]}

    def __reduce__(self) -> tuple[Callable[..., OnnxEncoder], tuple[object, ...]]:
        return _remade, (self.model, self._name, self._n_threads)

    def with_threads(self, n_threads: int) -> OnnxEncoder:
        """The same encoder with another number of threads for one call."""
        if n_threads == self._n_threads:
            return self
        return OnnxEncoder(self.model, name=self._name, n_threads=n_threads)


def check_pixels(images: NDArray[np.uint8], side: int) -> None:
    """Raise `ShapeError` unless these are photos `[B, P, P, 3]` of this side."""
    if images.ndim != 4 or images.shape[1:] != (side, side, 3):
        what = f"the encoder wants photos [B, {side}, {side}, 3], not {list(images.shape)}"
        raise ShapeError(what, hint=f"use images.decode(photo, target_px={side})")


def _remade(model: bytes, name: str, n_threads: int) -> OnnxEncoder:
    return OnnxEncoder(model, name=name, n_threads=n_threads)


def load_encoder(
    source: Path | bytes | None = None, *, n_threads: int | None = None
) -> OnnxEncoder:
    """Load an ONNX file or its bytes (the shipped encoder by default); `ModelError` for none.

    One call uses a thread per processor by default.
    """
    if isinstance(source, bytes):
        name, model = "the model's own encoder", source
    else:
        name = "the shipped encoder" if source is None else str(source)
        file = source or _DATA / "encoder.onnx"
        try:
            model = file.read_bytes()
        except OSError as error:
            hint = "install pixtag again" if source is None else "check the path"
            if name.startswith(("timm:", "clip:")):
                hint = f"`pixtag encoder {name} --out FILE.onnx` makes a file of it"
            raise ModelError(f"cannot read {name}: {error.strerror or error}", hint=hint) from error
    return OnnxEncoder(model, name=name, n_threads=n_threads or n_processors())


def n_processors() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def limit_blas() -> None:
    """Let the matrix products of this process run on one thread, for good, whoever calls it.

    A thread of the BLAS library spins for a while after each product, and the product waits for
    its slowest thread: with others at work on the same cores one of .3 ms takes 50. The number of
    threads also decides the last bits of a product. OpenBLAS ignores a limit that one thread sets
    after another has lifted its own; libraries that are loaded later keep their threads.
    """
    ThreadpoolController().select(user_api="blas").limit(limits=1)


@cache
def class_synonyms() -> tuple[tuple[str, ...], ...]:
    """Give all WordNet names of the 1,000 classes, the clearest first, in index order."""
    text = (_DATA / "imagenet_classes.txt").read_text("utf-8")
    return tuple(tuple(line.split(", ")) for line in text.splitlines())


@cache
def classifier() -> tuple[Floats, Floats]:
    """Give the shipped encoder's last layer: weight `[1000, 1280]` and bias `[1000]`."""
    tensors = load_safetensors((_DATA / "classifier.safetensors").read_bytes())
    return tensors["weight"].astype(np.float32), tensors["bias"].astype(np.float32)


def _preparation(
    mean: tuple[float, ...], std: tuple[float, ...], interpolation: Interpolation
) -> bytes:
    """How pixels are prepared; part of the digest."""
    by, over = (str(c[0]) if len(set(c)) == 1 else str(list(c)) for c in (mean, std))
    how = f"centred square, {interpolation}, (RGB / 255 - {by}) / {over}"
    return f"pixtag preparation 1: {how}".encode()


def _interpolation(metadata: Mapping[str, str], name: str) -> Interpolation:
    given = metadata.get("image_interpolation", '"bilinear"')
    for known in get_args(Interpolation):
        if given == json.dumps(known):
            return known
    raise _no_encoder(name, f"its metadata image_interpolation is {given}, not bilinear or bicubic")


def _channels(metadata: Mapping[str, str], key: str, name: str) -> tuple[float, ...]:
    try:
        red, green, blue = json.loads(metadata.get(key, "[0.5, 0.5, 0.5]"))
        return float(red), float(green), float(blue)
    except (ValueError, TypeError) as error:
        reason = f"its metadata {key} is {metadata[key]!r}, not three numbers in a JSON list"
        raise _no_encoder(name, reason) from error


def _start(model: bytes, name: str, n_threads: int) -> tuple[Any, list[Any], dict[str, Any]]:
    """Make a session, and give it with its one input and its outputs by name."""
    import onnxruntime  # takes long, and the names of the classes need none of it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    # Idle threads that spin would take the processor from those that decode photos.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    # A stranger's graph may name files beside the working folder for its weights; none lie here.
    folder = "session.model_external_initializers_file_folder_path"
    options.add_session_config_entry(folder, os.devnull)
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    # ONNX Runtime raises a family of classes that it doesn't export under one name.
    except Exception as error:
        raise _no_encoder(name, str(error)) from error
    inputs: list[Any] = list(session.get_inputs())
    outputs: dict[str, Any] = {o.name: o for o in session.get_outputs()}
    if len(inputs) != 1 or "embedding" not in outputs:
        raise _no_encoder(name, "it needs one input and an output named `embedding`")
    types = {inputs[0].type, outputs["embedding"].type}
    if types != {"tensor(float)"}:
        raise _no_encoder(name, f"it computes in {', '.join(sorted(types))}, not in float32")
    return session, inputs, outputs


def _no_encoder(name: str, reason: str) -> ModelError:
    what = f"{name} cannot be used as an encoder: {reason.splitlines()[0]}"
    hint = "give an ONNX file with input [B, 3, P, P] and an output `embedding` [B, D]"
    return ModelError(what, hint=hint)
