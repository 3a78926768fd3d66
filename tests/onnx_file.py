"""Small ONNX files made by hand, so that no test needs the package onnx.

The graph averages each colour over the photo: pixels [B, 3, P, P] -> embedding [B, 3]. What is
written is the wire form of Protocol Buffers with the field numbers of onnx.proto.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FLOAT, HALF = 1, 10


def write_mean_colour(
    path: Path,
    *,
    side_px: int | str = 32,
    batch: int | str = "B",
    output: str = "embedding",
    element: int = FLOAT,
    metadata: Mapping[str, object] | None = None,
    words: Mapping[str, Sequence[float]] | None = None,
    times: int = 1,
) -> Path:
    """Write an encoder whose embedding is the mean colour; `metadata` values become JSON.

    The colour stands in it so many `times`. With `words` it brings their vectors.
    """
    axis = _field(5, _field(1, "axis") + _field(3, 1) + _field(20, 2))
    nodes = [
        _node("GlobalAveragePool", "pixels", "means"),
        b"".join(_field(1, "means") for _ in range(times)) + _node("Concat", "", "wide") + axis,
        _node("Flatten", "wide", output),
    ]
    graph = [_field(1, node) for node in nodes]
    graph += [
        _field(2, "mean colour"),
        _field(11, _tensor("pixels", [batch, 3, side_px, side_px], element)),
        _field(12, _tensor(output, [batch, 3 * times], element)),
    ]
    if words is not None:
        vectors = np.array([*words.values()], np.float16)
        letters = np.frombuffer("\n".join(words).encode(), np.uint8)
        graph += [*_constant("words", letters, 2), *_constant("word_vectors", vectors, HALF)]
    entries = [
        _field(14, _field(1, key) + _field(2, json.dumps(value)))
        for key, value in (metadata or {}).items()
    ]
    opset = _field(8, _field(1, "") + _field(2, 17))
    path.write_bytes(_field(1, 8) + _field(7, b"".join(graph)) + opset + b"".join(entries))
    return path


def _node(operator: str, source: str, target: str) -> bytes:
    inputs = _field(1, source) if source else b""
    return inputs + _field(2, target) + _field(4, operator)


def _tensor(name: str, shape: list[int | str], element: int) -> bytes:
    sides = [_field(1, _field(1 if isinstance(side, int) else 2, side)) for side in shape]
    return _field(1, name) + _field(2, _field(1, _field(1, element) + _field(2, b"".join(sides))))


def _constant(name: str, values: np.ndarray, element: int) -> list[bytes]:
    """An output that no photo changes: its numbers, and its name among the outputs."""
    sides = b"".join(_field(1, side) for side in values.shape)
    tensor = sides + _field(2, element) + _field(8, name) + _field(9, values.tobytes())
    return [_field(5, tensor), _field(12, _tensor(name, [*values.shape], element))]


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    low = number & 127
    return bytes([low]) if number < 128 else bytes([low | 128]) + _varint(number >> 7)
