"""Evidence that follows a store: what a predictor reads from.

One thread at a time reads what changed, over a connection of its own; meanwhile the others go on
with the present view.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection

from pixtag.bundle import Bundle
from pixtag.errors import StoreError
from pixtag.evidence import MemoryEvidence, View, load_evidence, save_evidence
from pixtag.model import Model, model_of, snapshot_key
from pixtag.store import Store

WAIT_S = 0.1
"""How long a question waits for what others read of the store, unless that is a lot."""

A_LOT, PART = 256, 4096
"""Changed posts that nobody waits for; posts that are read of the store at once."""

LEAST_SAVED, LEAST_GROWTH = 500, 0.2
"""Posts from which a snapshot is kept, and the share of new ones at which it is made again."""


class LiveEvidence:
    """What a store holds, as a model sees it.

    Args:
        bundle: The model.
        store: Its changes are followed post by post, whoever makes them.

    Raises:
        ModelError: The model's network reads other inputs than this version gives.
    """

    def __init__(self, bundle: Bundle, store: Store) -> None:
        self._bundle = bundle
        self._digest = bundle.manifest.encoder_digest if bundle.manifest.encoder_width else None
        self._reader = store if store.is_in_memory else Store.open(store.path, read_only=True)
        self._turn = threading.Lock()
        self._is_far_behind = False
        self._model = model_of(bundle)
        self._key = snapshot_key(bundle, store.identity)
        self._snapshot = store.path.with_name(store.path.name + ".snapshot")
        self._trained_on: set[str] = set()
        self._seq, self._n_saved = -1, 0
        self._now: tuple[Model, MemoryEvidence] | None = None

    def close(self) -> None:
        """Close the connection that was opened here."""
        with self._turn:
            if not self._reader.is_in_memory:
                self._reader.close()

    def now(self, *, is_patient: bool = False) -> tuple[Model, View]:
        """The model and a view of everything that the store holds.

        Args:
            is_patient: Wait for what another thread reads, however long it takes.
        """
        least_s = 0.0 if self._is_far_behind else WAIT_S
        wait_s = -1.0 if is_patient or self._now is None else least_s
        if self._turn.acquire(timeout=wait_s):
            try:
                self._now = self._followed(*(self._now or self._opened()))
            finally:
                self._turn.release()
        model, evidence = self._known()
        return model, evidence.view()

    def without(self, post_ids: Collection[str]) -> View:
        """The present view had some posts never been."""
        return self._known()[1].without(post_ids)

    def _known(self) -> tuple[Model, MemoryEvidence]:
        if self._now is None:
            raise StoreError("nothing was read of the store yet")
        return self._now

    def _opened(self) -> tuple[Model, MemoryEvidence]:
        """Load the snapshot, or read every post."""
        path, n = self._snapshot, len(self._bundle.vocabulary)
        kept = load_evidence(path, key=self._key, n_vocabulary=n, derive=self._model.derive)
        if kept is not None:
            evidence, self._seq = kept
            self._n_saved = evidence.view().n_posts
        else:
            self._seq = self._reader.revision
            evidence = self._model.evidence(self._reader.log(self._digest))
        self._note_trained_on(evidence.post_ids)
        self._save(evidence)
        return self._beside(), evidence

    def _followed(self, model: Model, evidence: MemoryEvidence) -> tuple[Model, MemoryEvidence]:
        """Take over what changed in the store since the last time."""
        if self._reader.revision == self._seq:
            return model, evidence
        changes = self._reader.changes_since(self._seq, evidence.post_ids)
        self._is_far_behind = len(changes.changed) > A_LOT
        try:
            evidence.retract(changes.gone)
            for start in range(0, len(changes.changed), PART):
                part = changes.changed[start : start + PART]
                evidence.observe(self._reader.log(self._digest, part))
        finally:
            self._is_far_behind = False
        self._trained_on.difference_update(changes.gone)
        self._note_trained_on(changes.changed)
        self._seq = changes.last_seq
        self._save(evidence)
        return self._beside(), evidence

    def _note_trained_on(self, post_ids: Collection[str]) -> None:
        if len(self._bundle.prior) and len(self._bundle.seen):
            known = self._bundle.has_seen(post_ids).tolist()
            self._trained_on.update(p for p, k in zip(post_ids, known, strict=True) if k)

    def _beside(self) -> Model:
        return self._model.beside(n_known=len(self._trained_on))

    def _save(self, evidence: MemoryEvidence) -> None:
        """Keep a snapshot when there is much that the last one lacks."""
        n = evidence.view().n_posts
        least = max(LEAST_SAVED, LEAST_GROWTH * self._n_saved)
        if self._reader.is_in_memory or n - self._n_saved < least:
            return
        # A full disk or a folder that is not ours: then there is none.
        with contextlib.suppress(OSError):
            mode = self._reader.path.stat().st_mode & 0o777
            if save_evidence(evidence, self._snapshot, key=self._key, seq=self._seq, mode=mode):
                self._n_saved = n
                # Somebody may have been forgotten in the meantime; nothing of them may stay.
                if self._reader.revision != self._seq:
                    self._snapshot.unlink(missing_ok=True)
