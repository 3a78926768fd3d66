"""Every error that Pixtag raises on purpose: what happened, to what, and a hint what to do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

UPDATE = "update Pixtag: `git pull`, then `pip install .`, in your clone of it"


def extra_hint(extra: str) -> str:
    """Say how to get the packages of one of Pixtag's extras."""
    return f"`pip install '.[{extra}]'` in your clone of Pixtag"


def did_you_mean(name: str, known: Iterable[str], *, n: int = 1, cutoff: float = 0.6) -> str:
    """Ask for the n known names most like a mistyped one, or that begin with it; "" if none is."""
    from difflib import get_close_matches

    names = [*known]
    close = get_close_matches(name, names, n=n, cutoff=cutoff)
    close += [one for one in names if name and one.startswith(name) and one not in close]
    return f"did you mean {', '.join(close[:n])}?" if close else ""


class PixtagError(Exception):
    """Something that a person can act on: what happened, with the value, and the next step."""

    kind: ClassVar[str] = "error"  # the class in a word: `input` for `InputError`

    def __init_subclass__(cls) -> None:
        cls.kind = cls.__name__.removesuffix("Error").lower()

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


class InputError(PixtagError):
    """A value, file or command line that cannot be used."""


class ShapeError(InputError):
    """Arrays whose shapes do not fit together."""


class ArchiveError(PixtagError):
    """An archive or a file of posts that cannot be read."""


class ImageError(PixtagError):
    """A photo that cannot be decoded; `fault` is the sort of damage, one of `images.Fault`."""

    def __init__(self, message: str, *, hint: str = "", fault: str = "broken") -> None:
        super().__init__(message, hint=hint)
        self.fault = fault


class ConfigError(PixtagError):
    """An unknown or impossible setting."""


class StoreError(PixtagError):
    """A store that is missing, busy, newer than this version, damaged or full."""


class FullError(StoreError):
    """There is no space left for the store, or for what lies beside it."""


class ModelError(PixtagError):
    """A model or an encoder that cannot be used, or training that cannot start."""


class ServerError(PixtagError):
    """A server that cannot be reached, or whose answer cannot be used; HTTP's `status`, if any."""

    def __init__(self, message: str, *, hint: str = "", status: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class LeakError(PixtagError):
    """An evaluation that would see its own answers."""
