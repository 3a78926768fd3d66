"""Networks to ONNX files that `--encoder` takes, CLIP's with vectors of words in them."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixtag.encoder import OnnxEncoder, n_processors
from pixtag.errors import InputError, ModelError
from pixtag.outputs import replacing
from pixtag.pytorch import library
from pixtag.pytorch.networks import Network, best_device, onnx, torch
from pixtag.signals.words import Words, packaged, unpack
from pixtag.types import Floats

library("onnxscript", extra="finetune")

PROMPT = "a photo of {}"
TOLERANCE = 1e-3  # most that ONNX Runtime may differ from PyTorch, of the largest number
MOST_BYTES = 2**31 - 1  # of one Protocol Buffers message
TEXTS = 128  # read together
OPSET = 18

Arrays = Mapping[str, NDArray[Any]]
OnProgress = Callable[[int, int], None]


def export(network: Network, out: Path, *, words: Arrays | None = None) -> OnnxEncoder:
    """Write a network as an encoder's file, its preprocessing in the metadata, and load it.

    Args:
        network: What to write.
        out: File; one that is there is replaced whole.
        words: From `word_vectors`, to travel with it.

    Raises:
        ModelError: The network is too large for one file or not made of what ONNX knows, or ONNX
            Runtime computes something else than PyTorch.
    """
    model = _graph(network)
    if words is not None:
        for name, array in zip(("words", "word_vectors"), words.values(), strict=True):
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
            kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            value = onnx.helper.make_tensor_value_info(name, kind, array.shape)
            model.graph.output.append(value)
    normalised = {"image_mean": network.mean, "image_std": network.std}
    prepared = {**normalised, "image_interpolation": network.interpolation}
    metadata = {key: json.dumps(value) for key, value in prepared.items()}
    onnx.helper.set_model_props(model, {**metadata, "source": network.name})
    if model.ByteSize() > MOST_BYTES:
        what = f"{network.name} is larger than the 2 GB that one ONNX file holds"
        raise ModelError(what, hint="choose a smaller network")
    content = model.SerializeToString(deterministic=True)
    encoder = OnnxEncoder(content, name=str(out), n_threads=n_processors())
    _compare(network, encoder)
    with replacing(out) as file:
        file.write(content)
    return encoder


def word_vectors(
    network: Network,
    *,
    tags: Sequence[str] = (),
    n_words: int | None = None,
    on_progress: OnProgress | None = None,
) -> Arrays:
    """Embed "a photo of WORD" for the commonest words of the package and for tags as a whole.

    The common mean is taken out, so that words of another field say nothing, and each is scaled
    to unit length. Gives what `signals.words.unpack` reads.

    Args:
        network: One that reads texts.
        tags: Read as the words that they are made of: `goldenretriever` as golden retriever.
        n_words: How many of the package's words; None for all.
        on_progress: Gets texts done and texts in all.

    Raises:
        InputError: The network reads no texts, or a tag holds a line break.
    """
    if network.texts is None:
        hint = "use one of open_clip, or leave the words out"
        raise InputError(f"{network.name} reads no texts", hint=hint)
    known = Words(*unpack(packaged()))
    every = list(unpack(packaged())[0][:n_words])
    further = [tag for tag in dict.fromkeys(tags) if tag not in {*every}]
    if odd := [tag for tag in further if "\n" in tag or not tag]:
        raise InputError(f"{odd[0]!r} is no tag", hint="write one tag a line")
    texts = [PROMPT.format(w) for w in every]
    texts += [PROMPT.format(" ".join(known.split(t)) or t) for t in further]
    parts: list[Floats] = []
    device = best_device()
    for start in range(0, len(texts), TEXTS):
        parts.append(network.texts(texts[start : start + TEXTS], device))
        if on_progress is not None:
            on_progress(min(start + TEXTS, len(texts)), len(texts))
    vectors = np.concatenate(parts)
    vectors -= vectors.mean(axis=0)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    letters = np.frombuffer("\n".join([*every, *further]).encode(), np.uint8)
    return {"words": letters, "vectors": vectors.astype(np.float16)}


def _graph(network: Network) -> Any:
    """Trace a network with a free batch size; notes on this machine and its steps are left out."""
    eyes, side = network.eyes.cpu().eval(), network.input_px
    batch = {0: torch.export.Dim("batch", min=1)}
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's own parts
            program = torch.onnx.export(
                eyes,
                (torch.zeros(2, 3, side, side),),
                input_names=["pixels"],
                output_names=["embedding"],
                dynamic_shapes=(batch,),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
            file = io.BytesIO()
            program.save(file, external_data=False)
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:300]
        hint = "choose another network: this one cannot be written as ONNX"
        raise ModelError(f"cannot export {network.name}: {reason}", hint=hint) from error
    finally:
        logger.setLevel(level)
    model = onnx.load_from_string(file.getvalue())
    model.producer_name, model.producer_version = "pixtag", "1"
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
    del graph.value_info[:]
    return model


def _compare(network: Network, encoder: OnnxEncoder) -> None:
    side = network.input_px
    pixels = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), np.uint8)
    with torch.inference_mode():
        expected = network.eyes(network.normalised(pixels, "cpu")).numpy()
    worst = float(np.abs(encoder.embed(pixels) - expected).max())
    if not worst <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
        what = f"as ONNX {network.name} gives other embeddings than in PyTorch, by {worst:.2g}"
        raise ModelError(what, hint="choose another network")
