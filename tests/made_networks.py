"""Small networks of timm and open_clip with random weights, made by the real libraries.

Whoever imports this is skipped where PyTorch is not installed: pip install --group torch
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

torch: Any = pytest.importorskip("torch", reason="needs the dependency group `torch`")
try:
    import torchvision  # noqa: F401
except RuntimeError:
    # PyPI's torchvision was compiled for CUDA's torch. Beside the torch without CUDA its operators
    # do not load, and it only looks for these two when it is imported. Nothing here calls them.
    OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
timm: Any = pytest.importorskip("timm", reason="needs the dependency group `torch`")
open_clip: Any = pytest.importorskip("open_clip", reason="needs the dependency group `torch`")
onnx: Any = pytest.importorskip("onnx", reason="needs the dependency group `torch`")
pytest.importorskip("onnxscript", reason="needs the dependency group `torch`")

SIDE_PX = 64
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
VISION = {"image_size": SIDE_PX, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def timm_folder(folder: Path, *, seed: int = 0, **config: object) -> str:
    """Write a network of a few thousand weights with its config; gives its name."""
    torch.manual_seed(seed)
    arguments = {"layers": (1, 1, 1, 1), "channels": (8, 16, 16, 32), "stem_width": 8}
    network = timm.create_model("resnet10t", pretrained=False, num_classes=7, **arguments)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    prepared = {
        "input_size": [3, SIDE_PX, SIDE_PX],
        "interpolation": "bilinear",
        "crop_pct": 0.8,
        "crop_mode": "center",
        "mean": MEAN,
        "std": STD,
        "num_classes": 7,
        "classifier": "fc",
        "first_conv": "conv1.0",
    }
    about = {
        "architecture": "resnet10t",
        "num_classes": 7,
        "model_args": arguments,
        "pretrained_cfg": {**prepared, **config},
    }
    (folder / "config.json").write_text(json.dumps(about))
    return f"timm:local-dir:{folder}"


def clip_folder(folder: Path, *, seed: int = 0, **preprocess: object) -> str:
    """Write a CLIP of a million weights with its config; gives its name."""
    model = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": TEXT}
    prepared = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    folder.mkdir(parents=True, exist_ok=True)
    about = {"model_cfg": model, "preprocess_cfg": {**prepared, **preprocess}}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    torch.manual_seed(seed)
    network = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    torch.save(network.state_dict(), folder / "open_clip_pytorch_model.bin")
    return f"clip:local-dir:{folder}"
