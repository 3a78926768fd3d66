"""Networks by name, with the preprocessing that their own configs tell: timm's, open_clip's, ours.

Shapes:
    B: photos. P: side of the pixels that are handed over. D: embedding width.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixtag.encoder import check_pixels, load_encoder
from pixtag.errors import InputError, ModelError, PixtagError
from pixtag.images import Interpolation
from pixtag.pytorch import library
from pixtag.types import Floats

torch: Any = library("torch", extra="finetune")
onnx: Any = library("onnx", extra="finetune")

Step = Callable[[dict[str, Any]], Any]
_HINT = (
    "write timm:NAME, clip:NAME:PRETRAINED, or local-dir:FOLDER in the place of NAME; without a "
    "network connection weights come by --weights FILE or from such a folder"
)


class Eyes(torch.nn.Module):
    """Cuts the middle out of normalised pixels `[B, 3, P, P]` and embeds it, `[B, D]`.

    Args:
        network: Takes `[B, 3, side_px, side_px]`.
        side_px: What it was made for.
        input_px: P; larger where the network was made for the middle of photos.
        is_unit: Scale embeddings to unit length.
    """

    def __init__(self, network: Any, *, side_px: int, input_px: int, is_unit: bool) -> None:
        super().__init__()
        self.network, self.is_unit = network, is_unit
        first = (input_px - side_px) // 2
        self.middle = slice(first, first + side_px)

    def forward(self, pixels: Any) -> Any:
        """Embed."""
        found = self.network(pixels[:, :, self.middle, self.middle])
        found = found[0] if isinstance(found, tuple) else found
        return torch.nn.functional.normalize(found, dim=-1) if self.is_unit else found


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


@dataclass(frozen=True)
class Network:
    """A network that embeds photos, on the CPU.

    Attributes:
        name: As it was asked for.
        eyes: From normalised pixels to embeddings.
        input_px: P.
        width: D.
        mean: Of RGB in 0..1, to be taken off; then the pixels are divided by `std`.
        interpolation: How photos are scaled.
        notes: What the config asks for that Pixtag does otherwise.
        texts: Unit vectors of texts in the space of the embeddings, `[N, D]`, if it reads texts;
            takes the texts and the device.
    """

    name: str
    eyes: Eyes
    input_px: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation
    notes: tuple[str, ...] = ()
    texts: Callable[[Sequence[str], str], Floats] | None = None

    def normalised(self, images: NDArray[np.uint8], device: str) -> Any:
        """RGB photos `[B, P, P, 3]` as the network wants them, `[B, 3, P, P]`."""
        pixels = torch.from_numpy(np.array(images)).to(device).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(c, device=device)[:, None, None] for c in (self.mean, self.std))
        return ((pixels - mean) / std).contiguous()


class TorchEncoder:
    """Embeds by PyTorch, under the digest of the ONNX file with the same weights: for CUDA."""

    def __init__(self, network: Network, digest: str, *, device: str | None = None) -> None:
        self.digest, self.width, self.input_px = digest, network.width, network.input_px
        self.interpolation: Interpolation = network.interpolation
        self._network, self._device = network, device or best_device()
        torch.backends.cudnn.allow_tf32 = False  # the file computes in float32
        network.eyes.to(self._device).eval()

    def embed(self, images: NDArray[np.uint8]) -> Floats:
        """Embed photos `[B, P, P, 3]` as `Encoder.embed` says."""
        check_pixels(images, self.input_px)
        if not len(images):
            return np.empty((0, self.width), np.float32)
        with torch.inference_mode():
            pixels = self._network.normalised(images, self._device)
            return self._network.eyes(pixels).float().cpu().numpy()


def best_device() -> str:
    """`cuda` where there is one, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_network(name: str, *, weights: Path | None = None) -> Network:
    """Load `timm:NAME` or `clip:NAME:PRETRAINED` with its weights, from a file or by its library.

    Args:
        name: NAME as the library knows it, or its forms `hf-hub:REPOSITORY` and
            `local-dir:FOLDER`; or `shipped` for the encoder that comes with the package.
        weights: A checkpoint of that network, instead of published weights.

    Raises:
        InputError: The name is of neither form.
        ConfigError: The library is not installed.
        ModelError: The library knows no such network, or its weights cannot be had.
    """
    kind, _, rest = name.partition(":")
    if name == "shipped" and weights is None:
        return _shipped()
    if kind not in _LOADERS or not rest:
        raise InputError(f"{name!r} names no network", hint=_HINT)
    if weights is not None and not weights.is_file():
        raise InputError(f"no weights at {weights}", hint="check the path")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # stderr has Pixtag's own
    try:
        return _LOADERS[kind](name, rest, weights)
    except PixtagError:
        raise
    except Exception as error:
        # Hub, network, file and shape: each library has a family of errors for all of these.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(f"cannot load {name}: {reason[:300]}", hint=_HINT) from error


def _shipped() -> Network:
    side = load_encoder(n_threads=1).input_px
    config = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bilinear"}
    return _checked("shipped", ShippedNetwork(), side=side, input_px=side, config=config)


def _of_timm(name: str, rest: str, weights: Path | None) -> Network:
    timm = library("timm", extra="timm")
    file = None if weights is None else {"file": str(weights)}
    with _notes_of("timm") as notes_of_timm:
        network = timm.create_model(
            rest, pretrained=True, pretrained_cfg_overlay=file, num_classes=0
        )
    # It only makes a note of weights that stay random.
    bad = (text for text in notes_of_timm if "Missing keys" in text or "random init" in text)
    if text := next(bad, ""):
        raise ModelError(f"the weights are not those of {rest}: {text[:200]}", hint=_HINT)
    found = timm.data.resolve_data_config({}, model=network)
    side = _square(name, found["input_size"][1:])
    notes = () if found["crop_mode"] == "center" else (_cropped(found["crop_mode"]),)
    return _checked(
        name, network, side=side, input_px=math.floor(side / found["crop_pct"]), config=found,
        notes=notes,
    )  # fmt: skip


@contextmanager
def _notes_of(name: str) -> Generator[list[str]]:
    """Collect what a library would log, and keep it off stderr."""
    logger, texts = logging.getLogger(name), list[str]()
    handler = logging.Handler()
    handler.emit = lambda record: texts.append(record.getMessage())
    before = logger.propagate, logger.level
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield texts
    finally:
        logger.removeHandler(handler)
        logger.propagate = before[0]
        logger.setLevel(before[1])


def _of_clip(name: str, rest: str, weights: Path | None) -> Network:
    open_clip = library("open_clip", extra="clip")
    is_folder = rest.startswith(("local-dir:", "hf-hub:"))
    model_name, _, pretrained = (rest, "", "") if is_folder else rest.partition(":")
    clip = open_clip.create_model(
        model_name, str(weights or pretrained) or None, require_pretrained=True
    ).eval()
    tokenize = open_clip.get_tokenizer(model_name)
    found = open_clip.get_model_preprocess_cfg(clip)
    size = found["size"]
    side = _square(name, (size, size) if isinstance(size, int) else size)
    notes = () if found["resize_mode"] == "shortest" else (_cropped(found["resize_mode"]),)

    def texts(lines: Sequence[str], device: str) -> Floats:
        clip.to(device)
        with torch.inference_mode():
            found = clip.encode_text(tokenize(list(lines)).to(device), normalize=True)
        return found.float().cpu().numpy()

    return _checked(
        name, clip.visual, side=side, input_px=side, config=found, notes=notes, texts=texts
    )


_LOADERS: dict[str, Callable[[str, str, Path | None], Network]] = {
    "timm": _of_timm,
    "clip": _of_clip,
}


def _checked(
    name: str,
    network: Any,
    *,
    side: int,
    input_px: int,
    config: dict[str, Any],
    notes: tuple[str, ...] = (),
    texts: Callable[[Sequence[str], str], Floats] | None = None,
) -> Network:
    """Put together what was read, after one photo of nothing went through."""
    eyes = Eyes(network, side_px=side, input_px=input_px, is_unit=texts is not None).eval()
    with torch.inference_mode():
        found = eyes(torch.zeros(1, 3, input_px, input_px))
    if found.ndim != 2:
        what = f"{name} gives {list(found.shape)} for a photo, not one vector"
        raise ModelError(what, hint="choose a network that pools its features")
    wanted = str(config["interpolation"])
    if wanted not in {"bilinear", "bicubic"}:
        notes = (*notes, f"made for photos scaled by {wanted}; Pixtag scales them bicubic")
    return Network(
        name,
        eyes,
        input_px=input_px,
        width=found.shape[1],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation="bilinear" if wanted == "bilinear" else "bicubic",
        notes=notes,
        texts=texts,
    )


def _square(name: str, sides: Sequence[int]) -> int:
    height, width = sides
    if height != width:
        what = f"{name} wants photos of {width} x {height}"
        raise ModelError(what, hint="choose a network for square photos")
    return height


def _cropped(mode: str) -> str:
    return f"made for photos that are fitted by {mode!r}; Pixtag cuts the centred square"
