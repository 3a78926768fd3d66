"""`LiveEvidence`: what a store holds, as evidence, kept up to date with whoever changes it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Collection

from pixtag.bundle import Bundle
from pixtag.errors import StoreError
from pixtag.evidence import MemoryEvidence, Outside, View
from pixtag.evidence.snapshot import load_evidence, save_evidence
from pixtag.model import Model, model_of, snapshot_key
from pixtag.store import Cursor, Store
from pixtag.store.outside import outside_counts, outside_revision

PART = 4096  # posts that are read of the store at once
FIRST_PART = 16_384  # and at the first reading
_WAIT_S = 0.1  # how long a question waits for what others read of the store,
_A_LOT = 256  # unless that is more changed posts than this
STALE_S = 3600.0  # for how long answers stand on the last view when the store cannot be read
_LEFT_BEHIND_S = 3600.0  # age at which half a snapshot is one of somebody who was killed
_LEAST_SAVED, _LEAST_GROWTH = 500, 0.2  # new posts, and their share, at which a snapshot is made


class LiveEvidence:
    """What a store holds, as a model sees it, whoever changes the store.

    One thread at a time reads what changed, over a connection of its own; meanwhile the others go
    on with the present view. So does everybody while the store cannot be read, for an hour at
    most; then its error is raised.
    """

    def __init__(self, bundle: Bundle, store: Store) -> None:
        self._bundle = bundle
        self._digest = bundle.manifest.encoder_digest if bundle.manifest.encoder_width else None
        self._reader = store.reader()
        self._is_own_reader = self._reader is not store
        self._turn = threading.Lock()
        self._is_far_behind, self._is_closed = False, False
        self._model = model_of(bundle)
        self._key = "" if store.is_in_memory else snapshot_key(bundle, store.identity)
        self._snapshot = store.snapshot_file(self._key)
        self._trained_on: set[str] = set()
        self._seq: Cursor | None = None  # None before the first reading
        self._n_saved, self._outside_seq = 0, 0
        self._mark: object = None
        self._read_at = -self._reader.poll_s
        self._now = self._model, self._model.evidence()

    @property
    def model(self) -> Model:
        """The model, whatever the store holds."""
        return self._model

    def close(self) -> None:
        """Close the connection that was opened here."""
        with self._turn:
            self._is_closed = True
            if self._is_own_reader:
                self._reader.close()

    def now(self, *, is_patient: bool = False) -> tuple[Model, View]:
        """The model and a view of all that the store holds, however long that takes if patient."""
        least_s = 0.0 if self._is_far_behind else _WAIT_S
        is_new = self._seq is None
        if self._turn.acquire(timeout=-1.0 if is_patient or is_new else least_s):
            try:
                if is_patient or time.monotonic() - self._read_at >= self._reader.poll_s:
                    self._catch_up()
            finally:
                self._turn.release()
        model, evidence = self._now
        return model, evidence.view()

    def without(self, post_ids: Collection[str]) -> View:
        """The present view had some posts never been."""
        return self._now[1].without(post_ids)

    def _catch_up(self) -> None:
        try:
            mark = self._reader.mark  # first: what comes meanwhile is seen the next time
            if mark is None or mark != self._mark:
                self._follow()
                self._mark = mark
            self._read_at = time.monotonic()
        except StoreError:
            if self._seq is None or self._is_closed or time.monotonic() - self._read_at > STALE_S:
                raise

    def _opened(self) -> tuple[MemoryEvidence, Cursor]:
        """The snapshot, or every post, and the store's cursor that it stands for."""
        if self._snapshot is not None:
            path, n = self._snapshot, len(self._model.fixed_tags)
            kept = load_evidence(path, key=self._key, n_fixed=n, derive=self._model.derive)
            if kept is not None:
                self._n_saved = kept[0].view().n_posts
                return kept
        seq, evidence = self._reader.cursor, self._model.evidence()
        with contextlib.closing(self._reader.logs(self._digest, n_posts=FIRST_PART)) as parts:
            evidence.observe_all(parts)
        return evidence, seq

    def _follow(self) -> None:
        """Take over what changed in the store since the last time, or everything."""
        is_new = self._seq is None
        evidence, seq = self._opened() if self._seq is None else (self._now[1], self._seq)
        if outside_revision(self._reader) != self._outside_seq:
            self._outside_seq, counts = outside_counts(self._reader)
            evidence.hear(Outside(counts) if counts else None)
        changes = self._reader.changes_since(seq, evidence.post_ids)
        if not (is_new or changes.changed or changes.gone):
            self._seq = changes.last_seq
            return
        self._is_far_behind = len(changes.changed) > _A_LOT
        evidence.retract(changes.gone)
        if changes.gone and self._snapshot is not None:  # they were forgotten elsewhere
            self._snapshot.unlink(missing_ok=True)
            self._n_saved = 0
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
        path, seq = self._snapshot, self._seq
        if path is None or seq is None or n - self._n_saved < least:
            return
        # A full disk or a folder that is not ours: then there is none.
        with contextlib.suppress(OSError):
            store = self._reader.path
            mode = store.stat().st_mode & 0o777 if store.exists() else 0o600
            path.parent.mkdir(parents=True, exist_ok=True)
            for half in path.parent.iterdir():
                is_half = half.name.startswith(f"{path.name}.new-")
                if is_half and time.time() - half.stat().st_mtime > _LEFT_BEHIND_S:
                    half.unlink()
            if save_evidence(evidence, path, key=self._key, seq=seq, mode=mode):
                self._n_saved = n
                # Somebody may have been forgotten in the meantime; nothing of them may stay.
                if self._reader.changes_since(seq, evidence.post_ids).gone:
                    path.unlink(missing_ok=True)
