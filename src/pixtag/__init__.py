"""Pixtag: hashtags for a photo, from its pixels, your history and what is trending.

    from pixtag import Predictor

    predictor = Predictor.load(store="my.sqlite")
    for suggestion in predictor.suggest("photo.jpg", user="ana", k=5):
        print(suggestion.tag, suggestion.prob)

Names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pixtag.bundle import Bundle, load_bundle
    from pixtag.errors import (
        ArchiveError,
        ConfigError,
        ImageError,
        InputError,
        LeakError,
        ModelError,
        PixtagError,
        ShapeError,
        StoreError,
    )
    from pixtag.predictor import Answer, Predictor
    from pixtag.signals.trend import Rising
    from pixtag.store import Store
    from pixtag.types import Photo, Post, PostLog, Rankings, Reason, Sources, Suggestion

__all__ = ["Answer", "ArchiveError", "Bundle", "ConfigError", "ImageError", "InputError"]
__all__ += ["LeakError", "ModelError", "Photo", "PixtagError", "Post", "PostLog", "Predictor"]
__all__ += ["Rankings", "Reason", "Rising", "ShapeError", "Sources", "Store", "StoreError"]
__all__ += ["Suggestion", "load_bundle"]

_HOME = {
    "bundle": ("Bundle", "load_bundle"),
    "predictor": ("Answer", "Predictor"),
    "signals.trend": ("Rising",),
    "store": ("Store",),
    "types": ("Photo", "Post", "PostLog", "Rankings", "Reason", "Sources", "Suggestion"),
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((module for module, names in _HOME.items() if name in names), "errors")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
