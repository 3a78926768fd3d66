"""Imports that the page begins: upload, one thread each, progress as server-sent events, stop."""

from __future__ import annotations

import asyncio
import glob
import re
import secrets
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, NoReturn

from fastapi import Depends, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from pixtag.errors import InputError, PixtagError
from pixtag.ingest import find_sources, import_posts
from pixtag.ingest.context import ImportReport
from pixtag.photos import NoEncoder, embed_missing
from pixtag.web.forms import text_of
from pixtag.web.frame import Visit, page_router, see_other
from pixtag.web.service import Service
from pixtag.web.texts import Texts
from pixtag.web.uploads import file_name, read_form

State = Literal["reading", "looking", "done", "stopped", "failed"]

_SUFFIX = re.compile(r"\.(zip|(jsonl|json|ndjson|csv)(\.gz|\.zst)?|parquet)$", re.IGNORECASE)
_PATIENCE_S = 10.0  # for which an import that was stopped is waited for
_MOST_NOTED = 8  # kinds of oddities that a page lists
_KEPT = 20  # finished imports whose report can still be read
_LEFT_BEHIND_S = 86_400.0  # an upload of that age was left by a process that was killed
_LOOK_S = 0.25  # how often progress is looked at

router = page_router()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an import is: posts read, or photos looked at, of so many."""

    state: State = "reading"
    n_done: int = 0
    n_total: int | None = None  # None while nobody knows
    n_posts: int = 0
    n_new: int = 0
    people: tuple[str, ...] = ()
    n_untimed: int = 0
    noted: tuple[str, ...] = ()  # what was odd about the posts, as the command line says it
    kind: str = ""  # of the error that it failed by
    message: str = ""  # what the error says
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
    only_for: str | None = None  # whose all posts become, and who alone sees it
    progress: Progress = field(default_factory=Progress)
    key: str = field(default_factory=lambda: secrets.token_urlsafe(9))
    thread: threading.Thread = field(init=False)  # that it runs on
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
    """The imports of a process into the store of a service."""

    def __init__(self, service: Service) -> None:
        self._service, self._store = service, service.store
        self._jobs: dict[str, Job] = {}
        self._turn = threading.Lock()  # one at a time
        self._sending: set[str] = set()  # people whose keys send an archive

    def place(self) -> Path:
        """A new name beside the store for an upload; what killed processes left there goes."""
        path = self._store.path
        for old in path.parent.glob(f"{glob.escape(path.name)}.upload-*"):
            with suppress(OSError):
                if time.time() - old.stat().st_mtime > _LEFT_BEHIND_S:
                    old.unlink()
        return path.with_name(f"{path.name}.upload-{secrets.token_hex(8)}")

    def of(self, person: str) -> Job | None:
        """The import that a key for one person has under way."""
        going = (job for job in self._jobs.values() if not job.progress.is_over)
        return next((job for job in going if job.only_for == person), None)

    @contextmanager
    def sending(self, person: str | None) -> Generator[None]:
        """Let a key for one `person` send one archive at a time: the disk is everybody's."""
        if person in self._sending:
            raise HTTPException(429)
        mine = set[str]() if person is None else {person}
        self._sending |= mine
        try:
            yield
        finally:
            self._sending -= mine

    def begin(self, file: Path, name: str, user: str | None, *, only_for: str | None = None) -> Job:
        """Import a file of ours on a thread; it is removed at the end.

        `user` and `only_for` as for `import_posts`.
        """
        job = Job(name, only_for)
        over = [key for key, old in self._jobs.items() if old.progress.is_over]
        for key in over[: max(0, len(self._jobs) - _KEPT)]:
            del self._jobs[key]

        def run() -> None:
            with self._turn:
                self._run(job, file, user)
            self._service.predictor.now()  # takes over what the store holds

        job.thread = threading.Thread(target=run, name="pixtag-import", daemon=True)
        self._jobs[job.key] = job
        job.thread.start()
        return job

    def get(self, key: str) -> Job | None:
        """The import of a key."""
        return self._jobs.get(key)

    def stop_all(self) -> None:
        """End all of them, waiting for a while: the store is closed next."""
        for job in list(self._jobs.values()):
            job.stop()
        for job in list(self._jobs.values()):
            job.thread.join(_PATIENCE_S)

    def _run(self, job: Job, file: Path, user: str | None) -> None:
        try:
            with ExitStack() as opened:
                opened.callback(file.unlink, missing_ok=True)
                store = self._store.writer()  # others read and write in the meantime
                if store is not self._store:
                    opened.enter_context(store)
                sources = find_sources([file])
                report = import_posts(
                    sources, store, user_id=user, only_for=job.only_for,
                    on_progress=lambda n, of: job.tell(n_done=n, n_total=of, n_posts=n),
                )  # fmt: skip
                report.call({str(file): job.name})  # where it lies is nobody's business
                people = tuple(report.people[:20])
                found = {
                    "n_posts": report.n_posts, "n_new": report.added, "people": people,
                    "n_untimed": report.n_untimed, "noted": _noted(report),
                }  # fmt: skip
                job.tell(state="looking", n_done=0, n_total=None, **found)
                encoder = self._service.predictor.encoder()
                if not isinstance(encoder, NoEncoder):

                    def tell(n_done: int, n_total: int) -> None:
                        # How many photos of others wait is nothing that one person's key may read.
                        job.tell(**({} if job.only_for else {"n_done": n_done, "n_total": n_total}))

                    embed_missing(store, encoder, on_progress=tell)
            job.progress = replace(job.progress, state="done")
        except _StoppedError:
            job.progress = replace(job.progress, state="stopped")
        except PixtagError as error:
            message = error.message.replace(str(file), job.name)
            said = {"kind": error.kind, "message": message, "hint": error.hint}
            job.progress = replace(job.progress, state="failed", **said)
        except BaseException:
            job.progress = replace(job.progress, state="failed", message="")
            raise


@router.get("/import")
def import_form(request: Request) -> Response:
    """Ask for an archive."""
    return Visit.of(request, "write").render("import.html")


@router.post("/import")
async def begin(request: Request) -> Response:
    """Take an archive onto the disk, beside the store, and begin to read it.

    A key for one person has one import at a time: it is led to the one under way.
    """
    visit, imports = Visit.of(request, "write"), request.app.state.imports
    if visit.service.store.is_in_memory:
        raise HTTPException(400)
    job = None if visit.bound is None else imports.of(visit.bound)
    if job is None:
        with imports.sending(visit.bound):
            path, name, form = await _taken(visit, imports)
            job = imports.begin(path, name, text_of(form, "user") or None, only_for=visit.bound)
    return see_other(f"/import/{job.key}")


async def _taken(visit: Visit, imports: Imports) -> tuple[Path, str, FormData]:
    """Write the file of a form beside the store; gives its place, its name and the form."""
    place = imports.place()
    try:
        with place.open("xb+") as file:
            place.chmod(0o600)
            form = await read_form(visit.request, to=file)
        archive = form.get("archive")
        if not isinstance(archive, UploadFile) or not (archive.filename or archive.size):
            _refuse(visit, "none")
        name = file_name(archive)
        if (suffix := _SUFFIX.search(name)) is None:
            _refuse(visit, "kind")
        return place.rename(f"{place}{suffix[0].lower()}"), name, form
    except BaseException:
        place.unlink(missing_ok=True)
        raise


def _refuse(visit: Visit, why: str) -> NoReturn:
    raise InputError(visit.texts(f"import.{why}"), hint=visit.texts(f"import.{why}_hint"))


def _job_of(request: Request, key: str) -> tuple[Visit, Job]:
    """An import of a key; a key for one person reaches those that it began alone."""
    visit, job = Visit.of(request, "write"), request.app.state.imports.get(key)
    if job is None or visit.bound not in {None, job.only_for}:
        raise HTTPException(404)
    return visit, job


@router.get("/import/{key}")
def job_page(request: Request, key: str) -> Response:
    """How far an import is."""
    visit, job = _job_of(request, key)
    said = _said(job.progress, visit.texts)
    return visit.render("job.html", job=job, progress=job.progress, said=said)


@router.post("/import/{key}/stop")
async def stop(request: Request, key: str) -> Response:
    """End an import; what was read is kept."""
    _, job = _job_of(request, key)
    job.stop()
    return see_other(f"/import/{key}")


@router.get("/import/{key}/events", response_class=EventSourceResponse)
async def events(
    found: Annotated[tuple[Visit, Job], Depends(_job_of)],
) -> AsyncGenerator[ServerSentEvent]:
    """Progress in words, whenever it changes, until the import is over."""
    visit, job = found
    last: Progress | None = None
    while True:
        now = job.progress
        if now != last:
            last = now
            yield ServerSentEvent(data={**_said(now, visit.texts), "over": now.is_over})
        if now.is_over:
            return
        await asyncio.sleep(_LOOK_S)


def _noted(report: ImportReport) -> tuple[str, ...]:
    """What was odd about posts, the most frequent first."""
    counts = report.problems.most_common(_MOST_NOTED)
    return tuple(f"{what}: {n:,} (such as {report.examples[what]})" for what, n in counts)


def _said(progress: Progress, t: Texts) -> dict[str, object]:
    """What a page says of an import: a line, and how far it is, between 0 and 1 or unknown."""
    counts = {"n": progress.n_done, "total": progress.n_total or 0}
    of_all = "_of" if progress.n_total else ""
    line = {
        "reading": lambda: t(f"job.reading{of_all}", **counts),
        "looking": lambda: t(f"job.looking{of_all}", **counts),
        "done": lambda: t("job.done", n=progress.n_posts, new=progress.n_new),
        "stopped": lambda: t("job.stopped", n=progress.n_posts),
        "failed": lambda: t("job.failed"),
    }[progress.state]()
    share = progress.n_done / progress.n_total if progress.n_total else None
    return {"line": line, "share": 1.0 if progress.state == "done" else share}
