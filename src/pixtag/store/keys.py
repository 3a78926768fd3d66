"""Keys of the API and the page: made, listed, revoked and looked up. Only their digest is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from unicodedata import category

from pixtag.errors import InputError
from pixtag.store import Store
from pixtag.store.rows import is_safe, seconds
from pixtag.types import microseconds

SCOPES = ("read", "write", "admin")
PREFIX = "pixtag_"
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_N_RANDOM, _N_SUM = 43, 6  # digits of 32 bytes and of a CRC-32 to the base 62
_COLUMNS = "name, scopes, user_name, made_at_us, revoked_at_us, digest"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is known of a key. Times are Unix seconds UTC."""

    name: str
    scopes: frozenset[str]
    user: str | None  # the only person that it reaches
    made_at: float
    revoked_at: float | None = None


def new_key() -> str:
    """Make a key: a prefix, 32 random bytes, a checksum; secret scanners can tell it."""
    body = _base62(int.from_bytes(secrets.token_bytes(32)), _N_RANDOM)
    return PREFIX + body + _checksum(body)


def is_key(text: str) -> bool:
    """Whether a text can be a key, by its form and checksum."""
    body, found = text[len(PREFIX) : -_N_SUM], text[-_N_SUM:]
    is_long_enough = len(text) == len(PREFIX) + _N_RANDOM + _N_SUM
    return (
        is_long_enough and text.startswith(PREFIX) and text.isascii() and found == _checksum(body)
    )


def add_key(
    store: Store, name: str, *, scopes: Iterable[str] = ("read", "write"), user: str | None = None
) -> str:
    """Make a key and give it, the only time that it can be seen.

    InputError: the name is taken, a scope is unknown, or a name is no valid Unicode or holds
    control characters, with which the API takes none.
    """
    wanted = [scope for scope in SCOPES if scope in set(scopes)]
    if unknown := set(scopes) - set(SCOPES):
        hint = f"scopes are {', '.join(SCOPES)}"
        raise InputError(f"unknown scope {min(unknown)!r}", hint=hint)
    if not wanted:
        raise InputError("a key without a scope allows nothing", hint="give read, write or admin")
    for text in (name, "someone" if user is None else user):
        if not text.strip() or not is_safe(text) or "Cc" in map(category, text):
            hint = "give a name in valid Unicode, without control characters"
            raise InputError(f"{text!r} is no name", hint=hint)
    key = new_key()
    row = name, _digest(key), " ".join(wanted), user, microseconds(time.time())
    with store.writing() as db:
        made = db.execute(
            "INSERT INTO keys (name, digest, scopes, user_name, made_at_us) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (name) DO NOTHING RETURNING id",
            row,
        ).fetchone()
    if made is None:
        hint = "choose another name; `pixtag keys list` shows those taken, revoked ones too"
        raise InputError(f"there is a key called {name!r}", hint=hint)
    return key


def list_keys(store: Store) -> list[KeyRecord]:
    """List every key, revoked ones too, the oldest first."""
    with store.reading() as db:
        return [_record(row) for row in db.execute(f"SELECT {_COLUMNS} FROM keys ORDER BY id")]  # noqa: S608


def revoke_key(store: Store, name: str) -> bool:
    """Let a key count no more; False when there is none of that name that counts."""
    query = (
        "UPDATE keys SET revoked_at_us = ? WHERE name = ? AND revoked_at_us IS NULL RETURNING id"
    )
    with store.writing() as db:
        return db.execute(query, (microseconds(time.time()), name)).fetchone() is not None


def find_key(store: Store, key: str) -> KeyRecord | None:
    """Look up a key that counts; None for any other text."""
    if not is_key(key):
        return None
    digest = _digest(key)
    query = f"SELECT {_COLUMNS} FROM keys WHERE digest = ? AND revoked_at_us IS NULL"  # noqa: S608
    with store.reading() as db:
        row = db.execute(query, (digest,)).fetchone()
    if row is None or not hmac.compare_digest(bytes(row[5]), digest):
        return None
    return _record(row)


def _record(row: tuple[Any, ...]) -> KeyRecord:
    name, scopes, user, made_at_us, revoked_at_us, _ = row
    return KeyRecord(
        name, frozenset(scopes.split()), user, made_at_us / 1e6, seconds(revoked_at_us)
    )


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _N_SUM)


def _base62(number: int, n_digits: int) -> str:
    digits: list[str] = []
    for _ in range(n_digits):
        number, last = divmod(number, 62)
        digits.append(_DIGITS[last])
    return "".join(reversed(digits))
