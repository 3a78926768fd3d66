"""The shipped encoder as a PyTorch network, read out of its ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pixtag.encoder import load_encoder
from pixtag.pytorch import library

torch: Any = library("torch", extra="finetune")
onnx: Any = library("onnx", extra="finetune")

Step = Callable[[dict[str, Any]], Any]


class ShippedNetwork(torch.nn.Module):
    """EfficientNet-Lite0 without its classifier: pixels `[B, 3, 224, 224]` to `[B, 1280]`.

    The layers of the file one after the other, its weights as parameters; what normalised
    batches is part of the convolutions already.
    """

    def __init__(self) -> None:
        super().__init__()
        graph = onnx.load_from_string(load_encoder(n_threads=1).model).graph
        self._numbers = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
        self.layers = torch.nn.ModuleList()
        self._source: str = graph.input[0].name
        self._steps: dict[str, Step] = {}
        make = {"Conv": self._conv, "Clip": self._clip, "Add": self._add, "ReduceMean": self._pool}
        for node in graph.node:
            if "embedding" not in self._steps:
                self._steps[node.output[0]] = make[node.op_type](node)

    def forward(self, pixels: Any) -> Any:
        """Embed normalised pixels."""
        values = {self._source: pixels}
        for name, step in self._steps.items():
            values[name] = step(values)
        return values["embedding"]

    def _conv(self, node: Any) -> Step:
        known = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        weight, bias = (torch.from_numpy(self._numbers[name].copy()) for name in node.input[1:])
        width, per_group = weight.shape[:2]
        layer = torch.nn.Conv2d(
            per_group * known["group"], width, known["kernel_shape"], known["strides"],
            groups=known["group"],
        )  # fmt: skip
        layer.weight, layer.bias = torch.nn.Parameter(weight), torch.nn.Parameter(bias)
        self.layers.append(layer)
        top, left, bottom, right = known["pads"]
        sides, source = (left, right, top, bottom), node.input[0]
        return lambda values: layer(torch.nn.functional.pad(values[source], sides))

    def _clip(self, node: Any) -> Step:
        low, high = (float(self._numbers[name]) for name in node.input[1:])
        return lambda values: values[node.input[0]].clamp(low, high)

    def _add(self, node: Any) -> Step:
        return lambda values: values[node.input[0]] + values[node.input[1]]

    def _pool(self, node: Any) -> Step:
        return lambda values: values[node.input[0]].mean(dim=(2, 3))
