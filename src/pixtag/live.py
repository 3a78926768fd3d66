"""`LiveEvidence`: what a store holds, as evidence, kept up to date with whoever changes it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection

from pixtag.bundle import Bundle
from pixtag.evidence import MemoryEvidence, Outside, View
from pixtag.evidence.snapshot import load_evidence, save_evidence
from pixtag.model import Model, model_of, snapshot_key
from pixtag.store import Store
from pixtag.store.outside import outside_counts, outside_revision

PART = 4096  # posts that are read of the store at once
_WAIT_S = 0.1  # how long a question waits for what others read of the store,
_A_LOT = 256  # unless that is more changed posts than this
_LEAST_SAVED, _LEAST_GROWTH = 500, 0.2  # new posts, and their share, at which a snapshot is made


class LiveEvidence:
    """What a store holds, as a model sees it, whoever changes the store.

    One thread at a time reads what changed, over a connection of its own; meanwhile the others go
    on with the present view.
    """

    def __init__(self, bundle: Bundle, store: Store) -> None:
        self._bundle = bundle
        self._digest = bundle.manifest.encoder_digest if bundle.manifest.encoder_width else None
        self._reader = store if store.is_in_memory else Store.open(store.path, read_only=True)
        self._turn = threading.Lock()
        self._is_far_behind = False
        self._model = model_of(bundle)
        self._key = "" if store.is_in_memory else snapshot_key(bundle, store.identity)
        self._snapshot = store.path.with_name(store.path.name + ".snapshot")
        self._trained_on: set[str] = set()
        self._seq, self._n_saved = -1, 0
        self._outside_seq = 0
        self._now = self._model, self._model.evidence()

    def close(self) -> None:
        """Close the connection that was opened here."""
        with self._turn:
            if not self._reader.is_in_memory:
                self._reader.close()

    def now(self, *, is_patient: bool = False) -> tuple[Model, View]:
        """The model and a view of all that the store holds, however long that takes if patient."""
        least_s = 0.0 if self._is_far_behind else _WAIT_S
        if self._turn.acquire(timeout=-1.0 if is_patient or self._seq < 0 else least_s):
            try:
                self._follow()
            finally:
                self._turn.release()
        model, evidence = self._now
        return model, evidence.view()

    def without(self, post_ids: Collection[str]) -> View:
        """The present view had some posts never been."""
        return self._now[1].without(post_ids)

    def _opened(self) -> tuple[MemoryEvidence, int]:
        """The snapshot, or every post, and the store's revision that it stands for."""
        path, n = self._snapshot, len(self._model.fixed_tags)
        kept = None
        if self._key:
            kept = load_evidence(path, key=self._key, n_fixed=n, derive=self._model.derive)
        if kept is not None:
            self._n_saved = kept[0].view().n_posts
            return kept
        seq = self._reader.revision
        return self._model.evidence(self._reader.log(self._digest)), seq

    def _follow(self) -> None:
        """Take over what changed in the store since the last time, or everything."""
        is_new = self._seq < 0
        evidence, seq = self._opened() if is_new else (self._now[1], self._seq)
        if outside_revision(self._reader) != self._outside_seq:
            self._outside_seq, counts = outside_counts(self._reader)
            evidence.hear(Outside(counts) if counts else None)
        if not is_new and self._reader.revision == seq:
            return
        changes = self._reader.changes_since(seq, evidence.post_ids)
        self._is_far_behind = len(changes.changed) > _A_LOT
        evidence.retract(changes.gone)
        for start in range(0, len(changes.changed), PART):
            part = changes.changed[start : start + PART]
            evidence.observe(self._reader.log(self._digest, part))
        self._is_far_behind = False
        self._trained_on.difference_update(changes.gone)
        if len(self._bundle.prior) and len(self._bundle.seen):
            new = evidence.post_ids if is_new else changes.changed
            known = self._bundle.has_seen(new).tolist()
            self._trained_on.update(post for post, k in zip(new, known, strict=True) if k)
        self._now = self._model.beside(n_known=len(self._trained_on)), evidence
        self._seq = changes.last_seq
        self._save(evidence)

    def _save(self, evidence: MemoryEvidence) -> None:
        """Keep a snapshot when there is much that the last one lacks."""
        n = evidence.view().n_posts
        least = max(_LEAST_SAVED, _LEAST_GROWTH * self._n_saved)
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
