"""What every reader of posts is given."""

from __future__ import annotations

from dataclasses import dataclass

from pixtag.ingest.photos import PhotoKeeper
from pixtag.ingest.report import Tally


@dataclass(frozen=True, slots=True)
class Context:
    """What every reader of posts is given.

    Attributes:
        tally: Where to count what is met.
        photos: Takes note of photos.
        user_id: The person, for sources that do not name one; None when unknown.
        join_comments: Whether own first comments belong to the post.
    """

    tally: Tally
    photos: PhotoKeeper
    user_id: str | None = None
    join_comments: bool = True
