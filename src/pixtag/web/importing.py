"""Imports that the page began: one thread each, with progress, which can be stopped."""

from __future__ import annotations

import glob
import re
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pixtag.encoder import Encoder
from pixtag.errors import PixtagError
from pixtag.ingest import find_sources, import_posts
from pixtag.photos import embed_missing
from pixtag.store import Store

State = Literal["reading", "looking", "done", "stopped", "failed"]

_SUFFIX = re.compile(r"\.(zip|(jsonl|json|ndjson|csv)(\.gz|\.zst)?|parquet)$", re.IGNORECASE)
_KEPT = 20  # finished imports whose report can still be read
_LEFT_BEHIND_S = 86_400.0  # an upload of that age was left by a process that was killed


def suffix_of(name: str) -> str | None:
    """What the name of a file of posts ends with; None for a name of anything else."""
    found = _SUFFIX.search(name)
    return found[0].lower() if found else None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an import is: posts read, or photos looked at, of so many."""

    state: State = "reading"
    n_done: int = 0
    n_total: int | None = None  # None while nobody knows
    n_posts: int = 0
    n_new: int = 0
    n_photos: int = 0  # looked at
    people: tuple[str, ...] = ()
    message: str = ""  # why it failed
    hint: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in {"done", "stopped", "failed"}


class _StoppedError(Exception):
    pass


@dataclass
class Job:
    """One import."""

    name: str  # of the file
    progress: Progress = field(default_factory=Progress)
    key: str = field(default_factory=lambda: secrets.token_urlsafe(9))
    _stop: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        """End it soon; what was read is kept."""
        self._stop.set()

    def tell(self, **changes: object) -> None:
        """Change what is known of it; raises what ends the import where somebody stopped it."""
        self.progress = replace(self.progress, **changes)
        if self._stop.is_set():
            raise _StoppedError


class Imports:
    """The imports of a process into one store."""

    def __init__(self, store: Store, encoder: Callable[[], Encoder | None]) -> None:
        self._store, self._encoder = store, encoder
        self._jobs: dict[str, Job] = {}
        self._turn = threading.Lock()  # one at a time

    def place(self) -> Path:
        """A new name beside the store for an upload; what killed processes left there goes."""
        path = self._store.path
        for old in path.parent.glob(f"{glob.escape(path.name)}.upload-*"):
            with suppress(OSError):
                if time.time() - old.stat().st_mtime > _LEFT_BEHIND_S:
                    old.unlink()
        return path.with_name(f"{path.name}.upload-{secrets.token_hex(8)}")

    def begin(self, file: Path, name: str, user: str | None, on_end: Callable[[], None]) -> Job:
        """Import a file of ours on a thread; it is removed at the end."""
        job = Job(name)
        over = [key for key, old in self._jobs.items() if old.progress.is_over]
        for key in over[: max(0, len(self._jobs) - _KEPT)]:
            del self._jobs[key]
        self._jobs[job.key] = job

        def run() -> None:
            with self._turn:
                self._run(job, file, user)
            on_end()

        threading.Thread(target=run, name="pixtag-import", daemon=True).start()
        return job

    def get(self, key: str) -> Job | None:
        """The import of a key."""
        return self._jobs.get(key)

    def stop_all(self) -> None:
        """End all of them soon."""
        for job in list(self._jobs.values()):
            job.stop()

    def _run(self, job: Job, file: Path, user: str | None) -> None:
        try:
            with ExitStack() as opened:
                opened.callback(file.unlink, missing_ok=True)
                store = self._store.writer()  # others read and write in the meantime
                if store is not self._store:
                    opened.enter_context(store)
                sources = find_sources([file])
                report = import_posts(
                    sources, store, user_id=user,
                    on_progress=lambda n, of: job.tell(n_done=n, n_total=of, n_posts=n),
                )  # fmt: skip
                people = tuple(report.people[:20])
                found = {"n_posts": report.n_posts, "n_new": report.added, "people": people}
                job.tell(state="looking", n_done=0, n_total=None, **found)
                if (encoder := self._encoder()) is not None:
                    result = embed_missing(
                        store, encoder,
                        on_progress=lambda n, of: job.tell(n_done=n, n_total=of, n_photos=n),
                    )  # fmt: skip
                    job.tell(n_photos=result.embedded)
            job.progress = replace(job.progress, state="done")
        except _StoppedError:
            job.progress = replace(job.progress, state="stopped")
        except PixtagError as error:
            message = error.message.replace(str(file), job.name)
            job.progress = replace(job.progress, state="failed", message=message, hint=error.hint)
        except BaseException:
            job.progress = replace(job.progress, state="failed", message="")
            raise
