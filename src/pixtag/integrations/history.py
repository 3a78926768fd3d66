"""Posts that a service gives over its API, into a store, their photos looked at in memory."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from pixtag import images
from pixtag.encoder import Encoder
from pixtag.errors import ImageError, ServerError
from pixtag.ingest.context import Context, ImportReport
from pixtag.integrations.http import KeyRefusedError
from pixtag.photos import BATCH
from pixtag.store import Store
from pixtag.types import Halfs, Photo, Post

OnProgress = Callable[[int, int | None], None]
"""Told how many are done, and how many there are where that is known."""


class Picture(NamedTuple):
    """A photo of a post: its address, and how to fetch it."""

    url: str
    fetch: Callable[[], bytes]


class Keeper:
    """Adds posts to a store; a photo that it has looked at before is not fetched again.

    Args:
        store: Where they go.
        encoder: Looks at the photos; None leaves them out.
        keep_copies: Keep the photos beside the store, too.
    """

    def __init__(
        self, store: Store, encoder: Encoder | None, *, user: str | None, keep_copies: bool,
        private: bool = False,
    ) -> None:  # fmt: skip
        self._store, self._encoder, self._keep_copies = store, encoder, keep_copies
        self.report = ImportReport()
        self.context = Context(self.report, store.photos_folder, user_id=user, private=private)
        missing = store.missing_photos(encoder.digest) if encoder is not None else []
        self._unseen = {photo.digest for photo in missing}

    def keep(self, posts: Sequence[tuple[Post, Sequence[Picture]]]) -> None:
        """Add posts, durable on return. ServerError: photos cannot be fetched at all."""
        known = self._store.known_posts([post.post_id for post, _ in posts])
        pixels: dict[str, images.Pixels] = {}
        made: list[Post] = []
        for post, pictures in posts:
            before = known[post.post_id].photos if post.post_id in known else ()
            is_seen = bool(before) and not any(p.digest in self._unseen for p in before)
            photos = before
            if pictures and not is_seen and self._encoder is not None:
                looked = [self._photo(one, self._encoder, pixels) for one in pictures]
                photos = tuple(photo for photo in looked if photo is not None) or before
            made.append(replace(post, photos=photos))
            self.report.count(made[-1], now=time.time())
        done = self._store.add_posts(
            made,
            encoder_digest=None if self._encoder is None else self._encoder.digest,
            embeddings=self._embedded(pixels),
        )
        self.report.added += done.added
        self.report.updated += done.updated
        self.report.unchanged += done.unchanged

    def _photo(
        self, one: Picture, encoder: Encoder, pixels: dict[str, images.Pixels]
    ) -> Photo | None:
        try:
            data = one.fetch()
            digest = hashlib.sha256(data).hexdigest()
            side, how = encoder.input_px, encoder.interpolation
            pixels[digest] = images.decode(data, target_px=side, interpolation=how, name=one.url)
        except ImageError as error:
            self.report.add("photo cannot be read", error.message)
            return None
        except ServerError as error:
            if error.status is None or isinstance(error, KeyRefusedError):
                raise  # so it would go with all others
            self.report.add("photo cannot be fetched", error.message)
            return None
        if not self._keep_copies:
            return Photo(one.url, digest)
        suffix = images.sniff(data[: images.HEAD_BYTES])
        return self.context.photo_in(partial(io.BytesIO, data), f"{digest}.{suffix}")

    def _embedded(self, pixels: dict[str, images.Pixels]) -> dict[str, Halfs]:
        if self._encoder is None or not pixels:
            return {}
        every = list(pixels.values())
        parts = (np.stack(every[at : at + BATCH]) for at in range(0, len(every), BATCH))
        rows = np.concatenate([self._encoder.embed(part) for part in parts]).astype(np.float16)
        return dict(zip(pixels, rows, strict=True))
