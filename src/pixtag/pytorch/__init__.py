"""Encoders by PyTorch: networks of timm and open_clip by name, exported or fine-tuned first.

Nothing here is needed to predict, serve or train: what comes out is an ONNX file.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from pixtag.errors import ConfigError, extra_hint


class FinetuneConfig(BaseModel):
    """Knobs of `pixtag finetune`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    epochs: Annotated[int, Field(ge=1, le=1000)] = 5
    """Passes over the photos."""

    batch: Annotated[int, Field(ge=2, le=8192)] = 64
    """Photos a step."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 5e-5
    """Peak of the encoder's learning rate; the layer of tags on top learns 20 times faster."""

    vocabulary: Annotated[int, Field(ge=1, le=65536)] = 2048
    """Most tags that the encoder learns to tell apart."""

    checkpoint_minutes: Annotated[float, Field(ge=0, le=1440)] = 10.0
    """Minutes after which what was learned is written again: what a power cut can lose."""

    seed: int = 0
    """Same seed, same posts, same machine: same encoder."""


def library(name: str, *, extra: str) -> Any:
    """Import a package that an extra brings; `ConfigError` with the way to install it."""
    try:
        return import_module(name)
    except ImportError as error:
        what = f"this needs the package {error.name or name}"
        raise ConfigError(what, hint=extra_hint(extra)) from error
    except RuntimeError as error:  # torchvision, beside a torch that was built for other hardware
        what = f"the package {name} cannot be imported: {str(error).splitlines()[0]}"
        hint = "install torch and torchvision together, from one index: https://pytorch.org"
        raise ConfigError(what, hint=hint) from error
