"""Requests that were answered once, by their Idempotency-Key, so that a repeat changes nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pixtag.store import Store
from pixtag.types import microseconds

KEPT_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is to be done once."""

    owner: str  # whose keys are told apart
    key: str
    digest: bytes  # of what it asks
    user: str | None  # whom it is about: gone when they are forgotten


@dataclass(frozen=True, slots=True)
class Done:
    """What was answered to a request; `is_same` tells whether it asked the same."""

    is_same: bool
    status: int
    body: str


def find(store: Store, request: Request) -> Done | None:
    """The answer to a request of that key within the last day."""
    query = (
        "SELECT digest, status, body FROM requests WHERE owner = ? AND key = ? AND made_at_us > ?"
    )
    since = microseconds(time.time() - KEPT_S)
    with store.reading() as db:
        row = db.execute(query, (request.owner, request.key, since)).fetchone()
    return None if row is None else Done(bytes(row[0]) == request.digest, row[1], row[2])


def record(store: Store, request: Request, status: int, body: str) -> None:
    """Keep an answer for a day, within the transaction of what was done."""
    now = time.time()
    row = (
        request.owner, request.key, request.digest, request.user, microseconds(now), status, body,
    )  # fmt: skip
    with store.writing() as db:
        old = microseconds(now - KEPT_S)
        db.execute("DELETE FROM requests WHERE made_at_us <= ?", (old,))
        columns = "owner, key, digest, user_name, made_at_us, status, body"
        db.execute(f"INSERT INTO requests ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608
