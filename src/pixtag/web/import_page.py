"""The page that imports an archive: upload, progress as server-sent events, stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, NoReturn

from fastapi import Depends, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException

from pixtag.errors import InputError
from pixtag.photos import NoEncoder
from pixtag.web.forms import file_name, read_form, text_of, uploads_in
from pixtag.web.frame import Visit, page_router, see_other
from pixtag.web.importing import Imports, Job, Progress, suffix_of
from pixtag.web.service import Service
from pixtag.web.texts import Texts

MOST_BYTES = 64 * 2**30  # of an archive
_LOOK_S = 0.25  # how often progress is looked at

router = page_router()


def imports_of(request: Request) -> Imports:
    """The imports of this process, made with the first."""
    state = request.app.state
    if not hasattr(state, "imports"):
        service: Service = state.service

        def encoder() -> object:
            found = service.predictor.encoder()
            return None if isinstance(found, NoEncoder) else found

        state.imports = Imports(service.store, encoder)  # pyright: ignore[reportArgumentType]
    return state.imports


@router.get("/import")
def import_form(request: Request) -> Response:
    """Ask for an archive."""
    visit = _allowed(request)
    return visit.render("import.html")


def _allowed(request: Request) -> Visit:
    """An archive may hold posts of several people: a key for one is not enough."""
    visit = Visit.of(request)
    visit.need("write")
    if visit.bound is not None:
        raise HTTPException(403)
    return visit


@router.post("/import")
async def begin(request: Request) -> Response:
    """Take an archive onto the disk, beside the store, and begin to read it."""
    visit = _allowed(request)
    imports, service = imports_of(request), visit.service
    if service.store.is_in_memory:
        raise HTTPException(400)
    path, name, form = await _taken(visit, imports)
    user = text_of(form, "user") or None
    job = imports.begin(path, name, user, lambda: _learned(service))
    return see_other(f"/import/{job.key}")


async def _taken(visit: Visit, imports: Imports) -> tuple[Path, str, FormData]:
    """Write the file of a form beside the store; gives its place, its name and the form."""
    place = imports.place()
    try:
        with place.open("xb+") as file:
            place.chmod(0o600)
            form = await read_form(visit.request, most_bytes=MOST_BYTES, to=file)
        chosen = uploads_in(form, "archive")
        if not chosen:
            _refuse(visit, "none")
        name = file_name(chosen[0])
        suffix = suffix_of(name)
        if suffix is None:
            _refuse(visit, "kind")
        return place.rename(f"{place}{suffix}"), name, form
    except BaseException:
        place.unlink(missing_ok=True)
        raise


def _refuse(visit: Visit, why: str) -> NoReturn:
    raise InputError(visit.texts(f"import.{why}"), hint=visit.texts(f"import.{why}_hint"))


def _learned(service: Service) -> None:
    service.predictor.now()


@router.get("/import/{key}")
def job_page(request: Request, key: str) -> Response:
    """How far an import is."""
    visit, job = _allowed(request), _job(request, key)
    said = _said(job.progress, visit.texts)
    return visit.render("job.html", job=job, progress=job.progress, said=said)


@router.post("/import/{key}/stop")
async def stop(request: Request, key: str) -> Response:
    """End an import; what was read is kept."""
    _allowed(request)
    _job(request, key).stop()
    return see_other(f"/import/{key}")


def _events_of(request: Request, key: str) -> tuple[Visit, Job]:
    return _allowed(request), _job(request, key)


@router.get("/import/{key}/events", response_class=EventSourceResponse)
async def events(
    found: Annotated[tuple[Visit, Job], Depends(_events_of)],
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


def _job(request: Request, key: str) -> Job:
    job = imports_of(request).get(key)
    if job is None:
        raise HTTPException(404)
    return job


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
