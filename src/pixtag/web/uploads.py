"""Bodies with photos, read into memory: nothing is ever written to the disk."""

from __future__ import annotations

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from pixtag.web.problems import ApiError

MOST_FILES, MOST_FIELDS = 20, 1000


class _InMemory(MultiPartParser):
    spool_max_size = 2**62  # the guard bounds the whole body


@dataclass(slots=True)
class Form:
    """A form: its fields in order, a name perhaps several times, and its files by field."""

    fields: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    files: dict[str, list[bytes]] = field(default_factory=dict[str, list[bytes]])

    def photos(self) -> list[bytes]:
        """Every file that is not empty: browsers send an empty one for none."""
        return [data for files in self.files.values() for data in files if data]


async def read_form(request: Request, *, most_files: int = MOST_FILES) -> Form:
    """Read a multipart form, files included, into memory."""
    parser = _InMemory(
        request.headers, request.stream(), max_files=most_files, max_fields=MOST_FIELDS
    )
    try:
        items = (await parser.parse()).multi_items()
    except (MultiPartException, FormParserError) as error:
        what = getattr(error, "message", str(error))
        hint = "send multipart/form-data as a browser or curl -F does"
        raise ApiError(400, f"this form cannot be read: {what}", hint=hint) from error
    form = Form()
    for name, value in items:
        if isinstance(value, str):
            form.fields.setdefault(name, []).append(value)
        else:
            value.file.seek(0)
            form.files.setdefault(name, []).append(value.file.read())
            value.file.close()
    return form


def media_type(request: Request) -> str:
    """The content type of a body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
