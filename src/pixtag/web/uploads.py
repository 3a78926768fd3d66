"""Bodies of requests, read into memory: nothing is ever written to the disk but archives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from pydantic_core import from_json
from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from pixtag.tags import split_tags
from pixtag.web.problems import ApiError

MOST_PHOTOS = 20
MOST_NAME = 200  # letters of a file's name
LISTS = ("tags", "history", "accepted", "refused")  # fields that hold tags
_MOST_FIELDS = 3000
_MOST_FILES = 1000  # of a form, with empty choices
_MOST_BYTES_WITHOUT_FILES = 2**20


class _Whole(MultiPartParser):
    """Takes a form with its last boundary alone: what was cut off would be lost unseen."""

    _is_whole = False

    def on_end(self) -> None:
        self._is_whole = True

    async def parse(self) -> FormData:
        form = await super().parse()
        if not self._is_whole:
            for file in self._files_to_close_on_error:
                file.close()
            raise MultiPartException("its last boundary is missing.")
        return form


class _InMemory(_Whole):
    """Keeps files in memory, whatever their size; the guard bounds the whole body."""

    spool_max_size = 0  # the parser's word for never on a disk


class _OnDisk(_Whole):
    """Writes one file to a place of ours; there are no others."""

    def __init__(self, request: Request, file: IO[bytes]) -> None:
        super().__init__(request.headers, request.stream(), max_files=1, max_fields=20)
        self._place = file

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        upload = self._current_part.file
        if upload is not None:
            upload.file.close()
            upload.file = self._place  # pyright: ignore[reportAttributeAccessIssue]


def media_type(request: Request) -> str:
    """The content type of a body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_form(request: Request, *, to: IO[bytes] | None = None) -> FormData:
    """Read a form with its files in memory, or with its one file in an open file of ours.

    ApiError: it is too long without files (413), no form (415), or broken (400).
    """
    kind = media_type(request)
    if kind == "application/x-www-form-urlencoded":
        if int(request.headers.get("content-length") or 0) > _MOST_BYTES_WITHOUT_FILES:
            raise ApiError(413, "this form is too long", hint="send photos as a form with files")
        return await request.form(max_fields=_MOST_FIELDS)
    if kind != "multipart/form-data":
        raise ApiError(415, "this is no form", hint="send multipart/form-data")
    if to is not None:
        parser: MultiPartParser = _OnDisk(request, to)
    else:
        limits = {"max_files": _MOST_FILES, "max_fields": _MOST_FIELDS}
        parser = _InMemory(request.headers, request.stream(), **limits)
    try:
        return await parser.parse()
    except (MultiPartException, FormParserError) as error:
        what = getattr(error, "message", str(error))
        hint = "send multipart/form-data as a browser or curl -F does"
        raise ApiError(400, f"this form cannot be read: {what}", hint=hint) from error


def texts_of(form: FormData, name: str) -> list[str]:
    """Every text of that name, in order."""
    return [value for value in form.getlist(name) if isinstance(value, str)]


async def files_of(form: FormData, name: str | None = None) -> list[tuple[str, bytes]]:
    """Names and bytes of the files of a field, or of all; the form is closed then.

    An empty choice, which browsers send as a file without a name and bytes, is none.
    """
    fields = form.multi_items()
    uploads = [
        one for field, one in fields if isinstance(one, UploadFile) and name in {field, None}
    ]
    found = [(file_name(one), await one.read()) for one in uploads if one.filename or one.size]
    await form.close()
    return found


def file_name(upload: UploadFile) -> str:
    """What to call an upload: the last part of its name, cut, without control characters."""
    name = Path((upload.filename or "").replace("\\", "/")).name
    return "".join(c for c in name if c.isprintable())[:MOST_NAME] or "photo"


async def read_body(request: Request) -> tuple[Mapping[str, object], list[bytes]]:
    """The fields and photos of a body: JSON, a form with photos, or a photo alone."""
    kind = media_type(request)
    if kind == "application/json":
        return await read_json(request), []
    if kind == "multipart/form-data":
        form = await read_form(request)
        photos = [photo for _, photo in await files_of(form)]
        if len(photos) > MOST_PHOTOS:
            what = f"{len(photos)} photos, but {MOST_PHOTOS} are the most of a form"
            raise ApiError(422, what, hint="send fewer photos at once", kind="input")
        return _fields(form), photos
    if kind.startswith("image/") or kind in {"", "application/octet-stream"}:
        photo = await request.body()
        return {}, [photo] if photo or kind else []
    raise _not_taken(kind, "a photo (image/*), a form (multipart/form-data) or application/json")


async def read_json(request: Request) -> dict[str, object]:
    """The one JSON object that a body is. ApiError: it is none (400, 422), or of another type."""
    if (kind := media_type(request)) != "application/json":
        raise _not_taken(kind, "application/json")
    try:
        value: object = from_json(await request.body())
    except ValueError as error:
        raise ApiError(400, f"this is no JSON: {error}", hint="send one JSON object") from None
    if not isinstance(value, dict):
        raise ApiError(422, "a JSON object is needed", hint="send one JSON object")
    return cast("dict[str, object]", value)


def _not_taken(kind: str, what: str) -> ApiError:
    return ApiError(415, f"a body of type {kind[:100]} is not taken", hint=f"send {what}")


def _fields(form: FormData) -> dict[str, object]:
    """A form's fields as JSON would give them: tags split, an embedding as numbers."""
    found: dict[str, object] = {}
    for name in form:
        if not (texts := texts_of(form, name)):
            continue
        if name in LISTS:
            found[name] = split_all(texts)
        elif texts[-1]:
            found[name] = texts[-1]
            if name == "embedding":
                with suppress(ValueError):
                    found[name] = from_json(texts[-1])
    return found


def split_all(texts: Iterable[str]) -> list[str]:
    """The tags of every text of a query or a form."""
    return [tag for text in texts for tag in split_tags(text)]
