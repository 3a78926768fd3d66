"""A store's posts as one bundle sees them, kept beside the store so that a start is quick.

Reading every embedding and projecting it takes longer than everything else that a prediction
needs. `STORE.snapshot-HEAD` holds the posts with projected embeddings. It is never trusted over
the store: it counts only for the very revision of the very store that it was made from, and only
whole. `Store.forget` removes it with the person's posts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from pixtag.bundle import Bundle
from pixtag.errors import PixtagError
from pixtag.replay import knowledge_of, without_prior
from pixtag.signals.columns import concat_logs
from pixtag.signals.head import Head
from pixtag.state import Knowledge, State, StateConfig
from pixtag.store import Store
from pixtag.types import PostLog

LEAST_POSTS = 500
"""A store with fewer posts is read as quickly without."""

_FORMAT = 1
_KEPT = 2
_ROWS = 4096
_DIGEST_BYTES = 32
_ARRAYS = ("at", "user_of_post", "tag_start", "tag_ids", "has_photo", "embeddings")


def state_with_store(bundle: Bundle, store: Store) -> tuple[State, int]:
    """Make the state of a bundle and a store, by its snapshot when there is a good one.

    Args:
        bundle: The model.
        store: Earlier posts.

    Returns:
        The state and the store's revision that it stands for.
    """
    revision = store.revision
    path = _path(bundle, store)
    key = f"{_FORMAT} {store.identity} {revision}"
    knowledge = knowledge_of(bundle)
    kept = _read(path, key)
    if kept is not None:
        return _state_of_projected(bundle, knowledge, kept), revision
    has_eyes = bundle.manifest.encoder_width > 0
    log = store.log(bundle.manifest.encoder_digest if has_eyes else None)
    log = _projected(knowledge.head, log)
    if len(log) >= LEAST_POSTS and store.revision == revision:
        # Another process, a full disk or a folder that is not ours: then there is none.
        with contextlib.suppress(OSError):
            _write(path, key, log, store)
        # Somebody may have been forgotten in the meantime; nothing of them may stay.
        with contextlib.suppress(OSError, PixtagError):
            if store.revision != revision:
                path.unlink(missing_ok=True)
    return _state_of_projected(bundle, knowledge, log), revision


def _projected(head: Head, log: PostLog) -> PostLog:
    """As `State.observe` projects posts: embeddings in the joint space, `[N, J]` fp16."""
    rows = np.zeros((len(log), head.width), np.float16)
    if not log.embeddings.shape[1]:
        return replace(log, embeddings=rows, has_photo=np.zeros(len(log), np.bool_))
    for start in range(0, len(log), _ROWS):
        part = slice(start, start + _ROWS)
        rows[part] = head.project(log.embeddings[part].astype(np.float32))
    return replace(log, embeddings=rows)


def _state_of_projected(bundle: Bundle, knowledge: Knowledge, log: PostLog) -> State:
    """As `replay.state_of`, for posts whose embeddings are in the joint space already."""
    if len(log) and len(bundle.prior):
        known = bundle.has_seen(log.post_ids)
        if known.sum() * 2 >= len(bundle.prior):
            knowledge = without_prior(knowledge)
    config = StateConfig.model_validate(bundle.manifest.config.get("state", {}))
    # A state begins with its prior; beginning with all posts at once builds it only once.
    return State(replace(knowledge, prior=concat_logs(knowledge.prior, log)), config)


def _path(bundle: Bundle, store: Store) -> Path:
    weights = bundle.weights
    head = hashlib.sha256(bundle.manifest.encoder_digest.encode())
    for name in ("head/center", "head/projection"):
        head.update(np.ascontiguousarray(weights[name]).tobytes())
    return store.path.with_name(f"{store.path.name}.snapshot-{head.hexdigest()[:16]}")


def _read(path: Path, key: str) -> PostLog | None:
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    content = memoryview(raw)[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != raw[:_DIGEST_BYTES]:
        return None
    try:
        arrays = safetensors.numpy.load(bytes(content))
        names = json.loads(arrays["names"].tobytes())
        if names["key"] != key:
            return None
        return PostLog(
            post_ids=names["post_ids"],
            users=names["users"],
            tags=names["tags"],
            **{name: arrays[name] for name in _ARRAYS},
        )
    except (SafetensorError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, key: str, log: PostLog, store: Store) -> None:
    names = {"key": key, "post_ids": log.post_ids, "users": log.users, "tags": log.tags}
    arrays = {name: np.ascontiguousarray(getattr(log, name)) for name in _ARRAYS}
    arrays["names"] = np.frombuffer(json.dumps(names).encode(), np.uint8)
    content = safetensors.numpy.save(arrays)
    handle, name = tempfile.mkstemp(prefix=f"{store.path.name}.snapshot-new-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)
        # Whoever may read the store may read this, and nobody else.
        Path(name).chmod(store.path.stat().st_mode & 0o777)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
    start = f"{store.path.name}.snapshot-"
    others = [p for p in path.parent.iterdir() if p.name.startswith(start) and p != path]
    others.sort(key=lambda p: p.stat().st_mtime, reverse=True)
    for old in others[_KEPT - 1 :]:
        old.unlink(missing_ok=True)
