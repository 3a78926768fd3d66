"""A small ONNX encoder written byte by byte, so that no test needs the `onnx` package."""

from __future__ import annotations


def tiny_encoder(side_px: int = 32, cell_px: int = 8) -> bytes:
    """An encoder `[B, 3, P, P]` -> `embedding` `[B, D]`: the mean colour of each cell.

    D is three times the number of cells: 48 by default.
    """
    pool = _text(1, "pixels") + _text(2, "cells") + _text(4, "AveragePool")
    for name in ("kernel_shape", "strides"):
        pool += _bytes(5, _text(1, name) + _int(8, cell_px) * 2 + _int(20, 7))
    flatten = _text(1, "cells") + _text(2, "embedding") + _text(4, "Flatten")
    n_cells = (side_px // cell_px) ** 2
    graph = _bytes(1, pool) + _bytes(1, flatten) + _text(2, "tiny")
    graph += _bytes(11, _value("pixels", 3, side_px, side_px))
    graph += _bytes(12, _value("embedding", 3 * n_cells))
    opset = _text(1, "") + _int(2, 13)
    return _int(1, 8) + _bytes(8, opset) + _bytes(7, graph)


def encoder_with_weights_in(location: str) -> bytes:
    """The same, plus 48 numbers that it would read from a file."""
    pool = _text(1, "pixels") + _text(2, "cells") + _text(4, "AveragePool")
    for name in ("kernel_shape", "strides"):
        pool += _bytes(5, _text(1, name) + _int(8, 8) * 2 + _int(20, 7))
    flatten = _text(1, "cells") + _text(2, "flat") + _text(4, "Flatten")
    add = _text(1, "flat") + _text(1, "weights") + _text(2, "embedding") + _text(4, "Add")
    where = (("location", location), ("length", "192"))
    external = b"".join(_bytes(13, _text(1, key) + _text(2, value)) for key, value in where)
    weights = _int(1, 48) + _int(2, 1) + _text(8, "weights") + external + _int(14, 1)
    graph = b"".join(_bytes(1, node) for node in (pool, flatten, add)) + _text(2, "tiny")
    graph += _bytes(5, weights) + _bytes(11, _value("pixels", 3, 32, 32))
    graph += _bytes(12, _value("embedding", 48))
    return _int(1, 8) + _bytes(8, _text(1, "") + _int(2, 13)) + _bytes(7, graph)


def _value(name: str, *sizes: int) -> bytes:
    """A float tensor `[B, *sizes]`."""
    shape = _bytes(1, _text(2, "B")) + b"".join(_bytes(1, _int(1, size)) for size in sizes)
    return _text(1, name) + _bytes(2, _bytes(1, _int(1, 1) + _bytes(2, shape)))


def _int(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
