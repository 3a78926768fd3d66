"""What the page's form carries: a photo's embedding, signed, and what was chosen for it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import struct
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from starlette.datastructures import FormData

from pixtag.errors import InputError
from pixtag.tags import find_hashtags, tidy_tags
from pixtag.types import Floats
from pixtag.web.uploads import MOST_NAME, MOST_PHOTOS, texts_of

LIFE_S = 600.0  # how long a signed embedding is taken
MOST_LETTERS = 5000  # of a caption
_KEY_BYTES, _MAC_BYTES = 9, 32
_HEAD = struct.Struct(">d")


def new_key() -> str:
    """A name for a photo on the page, which nobody can guess."""
    return secrets.token_urlsafe(_KEY_BYTES)


def signed(embedding: Floats, key: str, secret: bytes, *, now: float | None = None) -> str:
    """Pack an embedding `[D]` (fp16) with its photo's key and the time, so that it can come back.

    HMAC-SHA256 over all of it; URL-safe base64.
    """
    at = _HEAD.pack(time.time() if now is None else now)
    body = at + embedding.astype("<f2").tobytes()
    return base64.urlsafe_b64encode(_mac(body, key, secret) + body).decode()


def unsigned(text: str, key: str, secret: bytes, *, now: float | None = None) -> Floats | None:
    """Give the embedding `[D]` back; None if it was not signed here for this key, or is too old."""
    try:
        raw = base64.b64decode(text.encode(), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None
    mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    if len(body) < _HEAD.size or len(body) % 2:
        return None
    if not hmac.compare_digest(mac, _mac(body, key, secret)):
        return None
    (at,) = _HEAD.unpack_from(body)
    age_s = (time.time() if now is None else now) - at
    if not -60.0 <= age_s <= LIFE_S:  # clocks of several servers differ a little
        return None
    return np.frombuffer(body, "<f2", offset=_HEAD.size).astype(np.float32)


def _mac(body: bytes, key: str, secret: bytes) -> bytes:
    return hmac.digest(secret, b"pixtag photo\0" + key.encode() + b"\0" + body, hashlib.sha256)


@dataclass
class Shown:
    """One photo of the page: what it is called, what it shows, what was chosen for it."""

    key: str
    name: str  # of its file
    token: str = ""  # the signed embedding; empty when it cannot be used any more
    embedding: Floats | None = None
    taken: dict[str, str] = field(default_factory=dict[str, str])  # tag: served suggestion with it
    refused: dict[str, str] = field(default_factory=dict[str, str])
    order: tuple[str, ...] = ()  # of the chips, as they were shown last
    served: str = ""  # the suggestion that they are from
    caption: str = ""
    things: str = ""  # what it shows, in words, for the alt text
    why: str = ""  # the chip that is explained
    post: str = ""  # whose post it became; empty while it is none
    error: str = ""  # why there are no chips, in words
    hint: str = ""

    @property
    def typed(self) -> tuple[str, ...]:
        """Hashtags of the caption."""
        return tidy_tags(find_hashtags(self.caption))

    @property
    def tags(self) -> tuple[str, ...]:
        """Everything that was chosen: chips, then what else the caption holds."""
        return tuple(dict.fromkeys([*self.taken, *self.typed]))

    def fields(self) -> list[tuple[str, str]]:
        """What a form must hold to tell all this again, apart from the caption."""
        pairs = {"taken": self.taken, "refused": self.refused}
        return [
            ("name", self.name),
            ("token", self.token),
            ("order", " ".join(self.order)),
            ("served", self.served),
            ("things", self.things),
            ("why", self.why),
            ("post", self.post),
            ("error", self.error),
            ("hint", self.hint),
            *((name, f"{tag} {by}") for name, of in pairs.items() for tag, by in of.items()),
        ]


def shown_in(form: FormData, secret: bytes) -> list[Shown]:
    """Read the photos that a form of the page carries; what was tampered with is left out."""
    found: list[Shown] = []
    for key in dict.fromkeys(texts_of(form, "photo")):
        if len(found) == MOST_PHOTOS or len(key) > 2 * _KEY_BYTES:
            continue

        def one(name: str, most: int = MOST_LETTERS, key: str = key) -> str:
            return next(iter(texts_of(form, f"{key}.{name}")), "")[:most]

        token = one("token", 64 * 1024)
        embedding, order = unsigned(token, key, secret), tidy_tags(one("order").split())
        was_looked_at = bool(token or order)  # else it is no photo, and stays none
        found.append(
            Shown(
                key=key,
                name=one("name", MOST_NAME),
                token=token if embedding is not None else "",
                embedding=embedding,
                taken=_pairs(texts_of(form, f"{key}.taken")),
                refused=_pairs(texts_of(form, f"{key}.refused")),
                order=order,
                served=one("served", 64),
                caption=one("caption"),
                things=one("things", MOST_NAME),
                why=next(iter(tidy_tags([one("why", MOST_NAME)])), ""),
                post=one("post", MOST_NAME),
                error="" if was_looked_at else one("error", MOST_NAME),
                hint="" if was_looked_at else one("hint", MOST_NAME),
            )
        )
    return found


def _pairs(texts: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        tag, _, served = text.partition(" ")
        for tidy in tidy_tags([tag]):
            found[tidy] = served[:64]
    return found


def text_of(form: FormData | Mapping[str, str], name: str, most: int = MOST_NAME) -> str:
    """A text of a form without blanks at its ends; empty where there is none."""
    value = form.get(name)
    text = value.strip() if isinstance(value, str) else ""
    if len(text) > most:
        raise InputError(f"{name}: {len(text):,} letters", hint=f"at most {most:,}")
    return text
