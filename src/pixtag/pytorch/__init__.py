"""Encoders by PyTorch: networks of timm and open_clip by name, exported or fine-tuned first.

Nothing here is needed to predict, serve or train: what comes out is an ONNX file.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from pixtag.errors import ConfigError


def library(name: str, *, extra: str) -> Any:
    """Import a package that an extra brings; `ConfigError` with the way to install it."""
    try:
        return import_module(name)
    except ImportError as error:
        what = f"this needs the package {error.name or name}"
        raise ConfigError(what, hint=f"pip install 'pixtag[{extra}]'") from error
    except RuntimeError as error:  # torchvision, beside a torch that was built for other hardware
        what = f"the package {name} cannot be imported: {str(error).splitlines()[0]}"
        hint = "install torch and torchvision together, from one index: https://pytorch.org"
        raise ConfigError(what, hint=hint) from error
