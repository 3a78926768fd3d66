"""Pixels to embeddings: the shipped encoder, or any ONNX file of the same shape.

The shipped one is EfficientNet-Lite0 trained on ImageNet (`recipes/export_encoder.py`). It runs on
ONNX Runtime, or on OpenVINO where that is installed and asked for. Preprocessing travels with the
encoder: callers hand over RGB bytes.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_safetensors

from pixtag.errors import ModelError, ShapeError
from pixtag.types import Floats

Backend = Literal["onnxruntime", "openvino"]

SHIPPED_DIGEST = "48b42517f9b26281c95b7f1b24c2b0b78f95b2f270eacbbe7b218c203e6166f3"
"""Digest of the shipped encoder, known without reading it; the classes belong to it alone."""

_PREPARATION = b"pixtag preparation 1: centred square, bilinear, (RGB / 255 - 0.5) / 0.5"
"""Part of every encoder's digest: embeddings of differently prepared pixels never mix."""


class Encoder(Protocol):
    """What turns photos into embeddings; safe to call from several threads at once."""

    @property
    def digest(self) -> str:
        """Name of the encoder with its preparation of the pixels; embeddings are kept under it."""
        ...

    @property
    def width(self) -> int:
        """Width D of an embedding."""
        ...

    @property
    def input_px(self) -> int:
        """Side P of the pixels that it wants."""
        ...

    def embed(self, images: NDArray[np.uint8]) -> Floats:
        """Embed photos.

        Shapes:
            B: photos, also 0. P: `input_px`. D: `width`.

        Args:
            images: RGB, `[B, P, P, 3]`.

        Returns:
            Embeddings, `[B, D]`, in the same order.

        Raises:
            ShapeError: `images` has another shape.
        """
        ...


class OnnxEncoder:
    """An ONNX graph with input `[B, 3, P, P]` and an output `embedding` `[B, D]`.

    Args:
        model: The graph's bytes.
        name: What to call it in messages.
        n_threads: Threads of one call.
        backend: What runs it.

    Raises:
        ModelError: The bytes are no such graph, or the backend is not installed.
    """

    def __init__(
        self, model: bytes, *, name: str, n_threads: int, backend: Backend = "onnxruntime"
    ) -> None:
        self.model = model
        self._name = name
        self._backend: Backend = backend
        self.digest = hashlib.sha256(_PREPARATION + model).hexdigest()
        start = _start_openvino if backend == "openvino" else _start_onnxruntime
        self._run, shape, self.width = start(model, name, n_threads)
        if len(shape) != 4 or shape[1] != 3 or not isinstance(shape[2], int):
            raise ModelError(
                f"{name} wants input {shape}, not [B, 3, P, P]",
                hint="export the encoder with a fixed side and a free batch size",
            )
        self.input_px: int = shape[2]

    def embed(self, images: NDArray[np.uint8]) -> Floats:
        """Embed photos `[B, P, P, 3]` as `Encoder.embed` says."""
        side = self.input_px
        if images.ndim != 4 or images.shape[1:] != (side, side, 3):
            raise ShapeError(
                f"the encoder wants photos [B, {side}, {side}, 3], not {list(images.shape)}",
                hint=f"use images.decode(photo, target_px={side})",
            )
        if not len(images):
            return np.empty((0, self.width), np.float32)
        return self._run(_normalised(images))

    def with_threads(self, n_threads: int) -> OnnxEncoder:
        """The same encoder with another number of threads for one call."""
        return OnnxEncoder(self.model, name=self._name, n_threads=n_threads, backend=self._backend)


def load_encoder(
    source: Path | bytes | None = None,
    *,
    n_threads: int | None = None,
    backend: Backend = "onnxruntime",
) -> OnnxEncoder:
    """Load the shipped encoder, or an ONNX file.

    Args:
        source: The ONNX file or its bytes; None for the shipped encoder.
        n_threads: Threads of one call; None for one per processor that this process may use.
        backend: `onnxruntime`, or `openvino` where that is installed.

    Raises:
        ModelError: The file is missing or no encoder, or the backend is not installed.
    """
    if isinstance(source, bytes):
        name, model = "the model's own encoder", source
    else:
        name = "the shipped encoder" if source is None else str(source)
        file = source or files("pixtag").joinpath("data", "encoder.onnx")
        try:
            model = file.read_bytes()
        except OSError as error:
            raise ModelError(
                f"cannot read {name}: {error.strerror or error}",
                hint="install pixtag again" if source is None else "check the path",
            ) from error
    return OnnxEncoder(model, name=name, n_threads=n_threads or n_processors(), backend=backend)


def n_processors() -> int:
    """Count the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


@cache
def class_names() -> tuple[str, ...]:
    """Name the 1,000 ImageNet classes, each once, in the order of `class_logits`."""
    return tuple(synonyms[0] for synonyms in class_synonyms())


@cache
def class_synonyms() -> tuple[tuple[str, ...], ...]:
    """Give all WordNet names of the 1,000 classes, the clearest first, in index order."""
    text = files("pixtag").joinpath("data", "imagenet_classes.txt").read_text("utf-8")
    return tuple(tuple(line.split(", ")) for line in text.splitlines())


def class_logits(embeddings: NDArray[np.floating]) -> Floats:
    """Recompute the ImageNet logits from embeddings of the shipped encoder.

    The classifier is kept as fp16; the logits differ from the graph's own by less than 0.02.

    Args:
        embeddings: From the shipped encoder, fp16 or fp32, `[B, 1280]`.

    Returns:
        Logits, unitless, higher is likelier, `[B, 1000]`.

    Raises:
        ShapeError: The embeddings are of another width.
    """
    weight, bias = classifier()
    if embeddings.ndim != 2 or embeddings.shape[1] != weight.shape[1]:
        raise ShapeError(
            f"class logits want embeddings [B, {weight.shape[1]}], not {list(embeddings.shape)}",
            hint="only the shipped encoder's embeddings have ImageNet classes",
        )
    return embeddings.astype(np.float32) @ weight.T + bias


@cache
def classifier() -> tuple[Floats, Floats]:
    """Give the shipped encoder's last layer: weight `[1000, 1280]` and bias `[1000]`."""
    data = files("pixtag").joinpath("data", "classifier.safetensors").read_bytes()
    tensors = load_safetensors(data)
    return tensors["weight"].astype(np.float32), tensors["bias"].astype(np.float32)


def _normalised(images: NDArray[np.uint8]) -> Floats:
    """Scale bytes to -1..1 and put the colours first: `[B, P, P, 3]` -> `[B, 3, P, P]`."""
    pixels = np.empty((len(images), 3, *images.shape[1:3]), np.float32)
    np.multiply(images.transpose(0, 3, 1, 2), np.float32(2 / 255), out=pixels)
    pixels -= 1
    return pixels


def _start_onnxruntime(model: bytes, name: str, n_threads: int) -> tuple[Any, list[Any], int]:
    import onnxruntime  # takes long, and the names of the classes need none of it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    # Idle threads that spin would take the processor from those that decode photos.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    # ONNX Runtime raises a family of classes that it doesn't export under one name.
    except Exception as error:
        raise _no_encoder(name, str(error)) from error
    inputs: list[Any] = list(session.get_inputs())
    outputs: dict[str, Any] = {o.name: o for o in session.get_outputs()}
    if len(inputs) != 1 or "embedding" not in outputs:
        raise _no_encoder(name, "it needs one input and an output named `embedding`")
    source: str = inputs[0].name

    def run(pixels: Floats) -> Floats:
        return np.asarray(session.run(["embedding"], {source: pixels})[0], np.float32)

    return run, list(inputs[0].shape), int(outputs["embedding"].shape[1])


def _start_openvino(model: bytes, name: str, n_threads: int) -> tuple[Any, list[Any], int]:
    try:
        import openvino  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ModelError(
            "OpenVINO is not installed",
            hint="pip install 'pixtag[openvino]', or use the backend onnxruntime",
        ) from error
    core: Any = openvino.Core()
    try:
        graph: Any = core.read_model(model)
        output = graph.output("embedding")
        # Without the hint OpenVINO computes in bfloat16 where it can; its features then differ.
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": n_threads}
        compiled: Any = core.compile_model(graph, "CPU", settings)
    except RuntimeError as error:
        raise _no_encoder(name, str(error)) from error
    shape = [d.get_length() if d.is_static else "B" for d in graph.input(0).partial_shape]

    def run(pixels: Floats) -> Floats:
        # A request of its own for each call, since one request serves one thread.
        request: Any = compiled.create_infer_request()
        return np.array(request.infer({0: pixels})["embedding"], np.float32)

    return run, shape, int(output.partial_shape[1].get_length())


def _no_encoder(name: str, reason: str) -> ModelError:
    return ModelError(
        f"{name} cannot be used as an encoder: {reason.splitlines()[0]}",
        hint="give an ONNX file with input [B, 3, P, P] and an output `embedding` [B, D]",
    )
