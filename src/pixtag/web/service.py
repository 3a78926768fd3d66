"""`Service`: what the page and the API do with one store, without HTTP."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Self

from pixtag.bundle import Bundle
from pixtag.choose import Wishes
from pixtag.errors import InputError, StoreError
from pixtag.lists import global_lists
from pixtag.predictor import Predictor
from pixtag.store import Store
from pixtag.types import Floats, Post, Suggestion, microseconds

Verdict = Literal["accepted", "refused", "added"]


@dataclass(frozen=True, slots=True)
class Ask:
    """One question: which hashtags for this photo, this person, this moment."""

    embedding: Floats | None = None  # of the photo, `[D]`; None to go by history and trend alone
    user: str | None = None
    history: tuple[str, ...] | None = None  # further tags that the person uses
    accepted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    k: int = 5
    platform: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """Suggestions as they were served; `name` is what feedback names."""

    name: str
    at: float  # Unix seconds UTC that was judged at
    suggestions: tuple[Suggestion, ...]
    unsure: bool  # not sure what a stranger's photo shows: then few are given
    model: str  # digest of the model's file
    revision: int  # of the store that the answer stands on
    user: str | None = field(default=None)


class Service:
    """Suggests, publishes and learns; threads share one. Posts are durable when it returns.

    Args:
        store: A store that can be written.
        bundle: The model; the shipped one when None.
        is_logging: Keep each served suggestion, so that feedback joins to it.
    """

    def __init__(
        self, store: Store, bundle: Bundle | None = None, *, is_logging: bool = True
    ) -> None:
        self.store = store
        self.predictor = Predictor.load(bundle, store)
        self._is_logging = is_logging

    def close(self) -> None:
        """Finish what is being answered."""
        self.predictor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def embed(self, photo: bytes) -> Floats:
        """Look at a photo, decoded under limits: its embedding `[D]`. ImageError: it is none."""
        return self.predictor.embed(photo)

    def suggest(self, ask: Ask) -> Served:
        """Answer one question, with the lists of the person and of everybody here."""
        lists = global_lists().joined(self.store.lists(None))
        if ask.user is not None:
            lists = lists.joined(self.store.lists(ask.user))
        wishes = Wishes.of(
            ask.k, ask.accepted, ask.refused, ask.platform,
            lists=lists, user=ask.user, history=ask.history,
        )  # fmt: skip
        answer = self.predictor.answer(ask.embedding, wishes, at=ask.at)
        served = Served(
            secrets.token_urlsafe(12), answer.at, answer.suggestions, answer.unsure,
            self.predictor.model_digest, self.store.revision, ask.user,
        )  # fmt: skip
        if self._is_logging:
            self._log(served, has_photo=ask.embedding is not None)
        return served

    def publish(self, post: Post, embedding: Floats | None = None) -> None:
        """Put a post into the store, durable on return; the next answer knows it."""
        self.predictor.observe([post])

    def feedback(self, served: str, verdicts: Sequence[tuple[str, Verdict]]) -> None:
        """Say what became of the tags of a served suggestion; a later verdict replaces one.

        InputError: nothing of that name was served.
        """
        with self.store.writing() as db:
            row = db.execute("SELECT id FROM served WHERE name = ?", (served,)).fetchone()
            if row is None:
                raise InputError(
                    f"no suggestion {served!r} was served", hint="give the id that came with it"
                )
            now = microseconds(time.time())
            query = "INSERT OR REPLACE INTO feedback (served, tag, verdict, given_at_us)"
            rows = ((row[0], tag, verdict, now) for tag, verdict in verdicts)
            db.executemany(f"{query} VALUES (?, ?, ?, ?)", rows)

    def forget(self, user: str) -> None:
        """Remove a person with all that derives from them."""
        self.predictor.forget(user)

    def _log(self, served: Served, *, has_photo: bool) -> None:
        shown: Iterable[object] = [
            [s.tag, round(s.prob, 6), s.reasons[0].source if s.reasons else "general"]
            for s in served.suggestions
        ]
        now = microseconds(time.time())
        row = (
            served.name, served.user, now, microseconds(served.at), served.model,
            served.revision, has_photo, 0, json.dumps(shown),
        )  # fmt: skip
        if self.store.is_read_only:
            raise StoreError("the store is for reading only", hint="serve one that can be written")
        with self.store.writing() as db:
            db.execute(
                "INSERT INTO served (name, user_name, served_at_us, at_us, model, revision, "
                "has_photo, n_own, suggestions) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
