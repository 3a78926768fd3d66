"""What is found for one photo of several."""

from __future__ import annotations

from dataclasses import dataclass

from pixtag.errors import PixtagError
from pixtag.types import Suggestion


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found for one photo of several.

    Attributes:
        photo: Its path, as given.
        at: The time that it was judged at, Unix seconds UTC.
        user: The person asked about, or None.
        suggestions: Best first; empty with an error.
        own_tags: Tags that the photo is known to carry (the store's, or a sidecar's); None when
            nobody knows.
        is_as_posted: Whether `at` is the moment when the store says that it was posted.
        is_trained_on: Whether the bundle learned from this very post, which flatters it.
        error: Why there are no suggestions.
    """

    photo: str
    at: float
    user: str | None
    suggestions: tuple[Suggestion, ...] = ()
    own_tags: tuple[str, ...] | None = None
    is_as_posted: bool = False
    is_trained_on: bool = False
    error: PixtagError | None = None
