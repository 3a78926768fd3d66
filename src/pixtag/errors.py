"""The exception tree: every error that Pixtag raises on purpose.

Each says what happened and to what, and carries a hint with the next step.

    PixtagError
    |-- InputError     a value, file or command that cannot be used
    |   `-- ShapeError     arrays that do not fit together
    |-- ArchiveError   an archive or file of posts that cannot be read
    |-- ImageError     a photo that cannot be decoded
    |-- ConfigError    an unknown or impossible setting
    |-- StoreError     the store is missing, busy, newer, damaged or full
    |-- ModelError     a bundle or encoder that cannot be used or trained
    `-- LeakError      an evaluation that would see its own answers
"""

from __future__ import annotations

from typing import ClassVar


class PixtagError(Exception):
    """Something that a person can act on.

    Args:
        message: What happened, with the offending value.
        hint: The next step, or empty when there is none.
    """

    kind: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(PixtagError):
    """A value, file or command line that cannot be used."""

    kind = "input"


class ShapeError(InputError):
    """Arrays whose shapes do not fit together."""

    kind = "shape"


class ArchiveError(PixtagError):
    """An archive or a file of posts that cannot be read."""

    kind = "archive"


class ImageError(PixtagError):
    """A photo that cannot be decoded.

    Args:
        message: What happened, with the photo's name.
        hint: The next step.
        fault: The sort of damage in a word or two, one of `images.Fault`.
    """

    kind = "image"

    def __init__(self, message: str, *, hint: str = "", fault: str = "broken") -> None:
        super().__init__(message, hint=hint)
        self.fault = fault


class ConfigError(PixtagError):
    """An unknown or impossible setting."""

    kind = "config"


class StoreError(PixtagError):
    """A store that is missing, busy, newer than this version, damaged or full."""

    kind = "store"


class ModelError(PixtagError):
    """A bundle or an encoder that cannot be used, or training that cannot start."""

    kind = "model"


class LeakError(PixtagError):
    """An evaluation that would see its own answers."""

    kind = "leak"
