"""Small ONNX files made by hand, so that no test needs the package onnx.

The graph averages each colour over the photo: pixels [B, 3, P, P] -> embedding [B, 3]. What is
written is the wire form of Protocol Buffers with the field numbers of onnx.proto.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
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
) -> Path:
    """Write an encoder whose embedding is the mean colour; `metadata` values become JSON."""
    nodes = [_node("GlobalAveragePool", "pixels", "means"), _node("Flatten", "means", output)]
    graph = [_field(1, node) for node in nodes]
    graph += [
        _field(2, "mean colour"),
        _field(11, _tensor("pixels", [batch, 3, side_px, side_px], element)),
        _field(12, _tensor(output, [batch, 3], element)),
    ]
    entries = [
        _field(14, _field(1, key) + _field(2, json.dumps(value)))
        for key, value in (metadata or {}).items()
    ]
    opset = _field(8, _field(1, "") + _field(2, 17))
    path.write_bytes(_field(1, 8) + _field(7, b"".join(graph)) + opset + b"".join(entries))
    return path


def _node(operator: str, source: str, target: str) -> bytes:
    return _field(1, source) + _field(2, target) + _field(4, operator)


def _tensor(name: str, shape: list[int | str], element: int) -> bytes:
    sides = [_field(1, _field(1 if isinstance(side, int) else 2, side)) for side in shape]
    return _field(1, name) + _field(2, _field(1, _field(1, element) + _field(2, b"".join(sides))))


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    low = number & 127
    return bytes([low]) if number < 128 else bytes([low | 128]) + _varint(number >> 7)
