"""`Client` and `AsyncClient`: a server's API from Python. Needs the extra `pixtag[client]`.

with Client("http://127.0.0.1:8000") as client:
    found = client.suggest(Path("photo.jpg"), user="ana")
    client.feedback(found.id, accepted=[found.suggestions[0].tag])
    client.post(["sunset"], user="ana", photos=[Path("photo.jpg")])
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypedDict, TypeVar, Unpack, cast
from urllib.parse import quote

import httpx2

from pixtag.errors import InputError, ServerError
from pixtag.tags import split_tags
from pixtag.web.schemas import (
    HistoryOut,
    PostOut,
    RisingOut,
    SuggestOut,
    TagOut,
    TagUseOut,
    TrendingOut,
)

TIMEOUT_S = 60.0
RETRIES = 2
Photo = Path | str | bytes  # its file, or what is in it
_LISTS = ("history", "accepted", "refused")
T = TypeVar("T")


class ServiceError(ServerError):
    """The server did not do it; `request_id` finds the request in its own output."""

    def __init__(
        self, message: str, *, hint: str = "", status: int | None = None, request_id: str = ""
    ) -> None:
        super().__init__(message, hint=hint, status=status)
        self.request_id = request_id


class RefusedError(ServiceError):
    """It cannot be done as it was asked (400, 409, 413, 415, 422)."""


class KeyRefusedError(ServiceError):
    """No key, an unknown one, or one that does not allow it (401, 403)."""


class MissingError(ServiceError):
    """Nothing of that name, or not for this key (404)."""


class BusyError(ServiceError):
    """Too much to do, or too many requests (429, 503): later it may work."""


class UnreachableError(ServiceError):
    """No answer came."""


_BY_STATUS: dict[int, type[ServiceError]] = {
    **dict.fromkeys((400, 409, 413, 415, 422), RefusedError),
    **dict.fromkeys((401, 403), KeyRefusedError),
    **dict.fromkeys((429, 503), BusyError),
    404: MissingError,
}


class Wanted(TypedDict, total=False):
    """What may be said of a question; lists of tags also as one text, as `#sea #dusk`."""

    user: str  # whose photo it is
    history: str | Sequence[str]  # further tags that the person uses
    accepted: str | Sequence[str]
    refused: str | Sequence[str]
    k: int  # how many in all; the accepted ones count, and are not told again
    platform: str
    at: datetime  # with a zone
    post_id: str  # in place of a photo: a post of the store
    embedding: Iterable[float]  # in place of a photo: what it looks like
    with_embedding: bool  # give that


class Said(TypedDict, total=False):
    """What may be said of a post, beside its tags."""

    user: str | None
    photos: Sequence[Photo]
    caption: str | None  # its hashtags count too
    posted_at: datetime | None  # with a zone; now when missing
    post_id: str | None  # a known one is replaced; made up when missing
    keep_photos: bool  # copies of the photos, not only what they look like
    idempotency_key: str | None  # to send it once only; made up when missing


# What is given, named as a reader of answers would.
Suggested = SuggestOut
Published = PostOut
TagUse = TagUseOut
History = HistoryOut
Rising = RisingOut
TagInUse = TagOut


@dataclass(frozen=True, slots=True)
class _Call(Generic[T]):
    """A request, and how its answer is read."""

    method: str
    path: str
    read: Callable[[bytes], T]
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])


def _suggest(photo: Photo | None, wanted: Wanted) -> _Call[Suggested]:
    fields = {name: _plain(name, value) for name, value in wanted.items()}
    read = SuggestOut.model_validate_json
    if photo is None:
        return _Call("POST", "suggest", read, {"json": fields})
    headers = {"Content-Type": "application/octet-stream"}
    params = {name: _told(value) for name, value in fields.items() if value is not None}
    body = {"content": _bytes(photo), "headers": headers, "params": params}
    return _Call("POST", "suggest", read, body)


def _post(tags: str | Sequence[str], said: Said) -> _Call[Published]:
    own = ("photos", "idempotency_key")
    given = {
        name: _plain(name, value)
        for name, value in said.items()
        if value is not None and name not in own
    }
    key = said.get("idempotency_key") or uuid.uuid4().hex
    headers = {"Idempotency-Key": _header("the idempotency key", key)}
    if not (photos := said.get("photos")):
        body: dict[str, Any] = {"json": {"tags": _tags(tags), **given}}
    else:
        texts = {name: str(value) for name, value in given.items()}
        files = [("photos", ("photo", _bytes(one))) for one in photos]
        body = {"data": {"tags": json.dumps(_tags(tags)), **texts}, "files": files}
    return _Call("POST", "posts", PostOut.model_validate_json, body | {"headers": headers})


def _feedback(
    id: str, accepted: str | Sequence[str], refused: str | Sequence[str], added: str | Sequence[str]
) -> _Call[None]:
    said = {"accepted": _tags(accepted), "refused": _tags(refused), "added": _tags(added)}
    return _Call("POST", "feedback", lambda _: None, {"json": {"id": id, **said}})


def _history(user: str, limit: int) -> _Call[History]:
    path = f"users/{quote(user, safe='')}/history"
    return _Call("GET", path, HistoryOut.model_validate_json, {"params": {"limit": limit}})


def _forget(user: str) -> _Call[None]:
    return _Call("DELETE", f"users/{quote(user, safe='')}", lambda _: None)


def _trending(k: int, at: datetime | None) -> _Call[tuple[Rising, ...]]:
    params = {"k": k} if at is None else {"k": k, "at": at.isoformat()}

    def read(body: bytes) -> tuple[Rising, ...]:
        return TrendingOut.model_validate_json(body).tags

    return _Call("GET", "trending", read, {"params": params})


def _tag(tag: str) -> _Call[TagInUse]:
    return _Call("GET", f"tags/{quote(tag, safe='')}", TagOut.model_validate_json)


def _plain(name: str, value: object) -> object:
    """A value as JSON has it; an embedding may be numpy's."""
    if name in _LISTS and value is not None:
        return _tags(cast("Sequence[str]", value))
    if name == "embedding" and value is not None:
        return [float(x) for x in cast("Iterable[float]", value)]
    return value.isoformat() if isinstance(value, datetime) else value


def _tags(tags: str | Sequence[str]) -> list[str]:
    """Tags of a list as they are; of one text split as on the command line."""
    return split_tags(tags) if isinstance(tags, str) else list(tags)


def _told(value: object) -> object:
    """A value for a query, whose texts are split where lists are wanted."""
    return [json.dumps([one]) for one in value] if isinstance(value, list) else value


def _bytes(photo: Photo) -> bytes:
    hint = "give the path of a photo, or what is in its file"
    if isinstance(photo, Path | str):
        try:
            photo = Path(photo).read_bytes()
        except (OSError, ValueError) as error:
            raise InputError(f"the photo cannot be read: {error}", hint=hint) from error
    if not photo:
        raise InputError("the photo is empty", hint=hint)
    return photo


def _header(what: str, value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        hint = "give printable letters of ASCII alone; `pixtag keys add` makes keys of such"
        raise InputError(f"{what} holds what no header can", hint=hint)
    return value


def _read(answer: httpx2.Response, call: _Call[T]) -> T:
    """Read an answer, or raise what it says is wrong."""
    if answer.is_success:
        return call.read(answer.content)
    status = answer.status_code
    try:
        problem: Mapping[str, Any] = answer.json()
    except ValueError:
        problem = {}
    kind = _BY_STATUS.get(status, ServiceError)
    said = str(problem.get("detail") or f"the server answered {status}")
    request_id = answer.headers.get("x-request-id", "")
    raise kind(said, hint=str(problem.get("hint", "")), status=status, request_id=request_id)


def _wait_s(answer: httpx2.Response) -> float | None:
    """How long to wait before asking again; None where asking again is of no use."""
    if _BY_STATUS.get(answer.status_code) is not BusyError:
        return None
    text = answer.headers.get("retry-after", "1")
    return min(float(text), TIMEOUT_S) if text.isdecimal() else 1.0


def _settings(url: str, key: str | None, timeout_s: float) -> dict[str, Any]:
    headers = {"User-Agent": "pixtag-client"}
    if key:
        headers["Authorization"] = f"Bearer {_header('the key', key.strip())}"
    return {"base_url": f"{url.rstrip('/')}/api/v1/", "headers": headers, "timeout": timeout_s}


def _unreachable(error: httpx2.TransportError, url: str) -> UnreachableError:
    what = f"no answer from {url}: {error or type(error).__name__}"
    return UnreachableError(what, hint="is `pixtag serve` running there?")


class Client(AbstractContextManager["Client"]):
    """One server's API. Threads may share it; close it, or use it in a `with`.

    Every method raises a `ServiceError` with a hint where the server does not do it, and an
    `InputError` where it need not be asked: a photo that is empty or cannot be read, a key that
    can be none. What it is too busy for is tried again; a post that is sent twice is kept once.
    Where tags are wanted, one text is split as on the command line (`#sea #dusk`, `sea, dusk`);
    a list holds one tag a text.

    Args:
        url: Where the server is.
        key: A key that `pixtag keys add` made; none is needed on the server's own machine.
        timeout_s: Longest wait for an answer.
        retries: How often to ask again when the server is too busy.
    """

    def __init__(
        self, url: str, key: str | None = None, *, timeout_s: float = TIMEOUT_S,
        retries: int = RETRIES,
    ) -> None:  # fmt: skip
        self.url, self._retries = url, retries
        self._http = httpx2.Client(**_settings(url, key, timeout_s))

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __exit__(self, *error: object) -> None:
        self.close()

    def suggest(self, photo: Photo | None = None, **wanted: Unpack[Wanted]) -> Suggested:
        """Suggest hashtags for a photo, by its path, its bytes, or as `wanted` names it."""
        return self._send(_suggest(photo, wanted))

    def post(self, tags: str | Sequence[str] = (), **said: Unpack[Said]) -> Published:
        """Publish a post: it is on the server's disk, and in its next answer, on return."""
        return self._send(_post(tags, said))

    def feedback(
        self, id: str, *, accepted: str | Sequence[str] = (), refused: str | Sequence[str] = (),
        added: str | Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Say what became of suggestions, and what the person added."""
        self._send(_feedback(id, accepted, refused, added))

    def history(self, user: str, *, limit: int = 1000) -> History:
        """What a person uses."""
        return self._send(_history(user, limit))

    def forget(self, user: str) -> None:
        """Remove a person with all that derives from them."""
        self._send(_forget(user))

    def trending(self, *, k: int = 20, at: datetime | None = None) -> tuple[Rising, ...]:
        """Tags that more people use than usual, the surest first."""
        return self._send(_trending(k, at))

    def tag(self, tag: str) -> TagInUse:
        """How everybody uses a tag."""
        return self._send(_tag(tag))

    def _send(self, call: _Call[T]) -> T:
        for tried in range(self._retries + 1):
            try:
                answer = self._http.request(call.method, call.path, **call.arguments)
            except httpx2.TransportError as error:
                raise _unreachable(error, self.url) from error
            wait_s = _wait_s(answer)
            if wait_s is None or tried == self._retries:
                return _read(answer, call)
            time.sleep(wait_s)
        raise AssertionError


class AsyncClient(AbstractAsyncContextManager["AsyncClient"]):
    """As `Client`, to await."""

    def __init__(
        self, url: str, key: str | None = None, *, timeout_s: float = TIMEOUT_S,
        retries: int = RETRIES,
    ) -> None:  # fmt: skip
        self.url, self._retries = url, retries
        self._http = httpx2.AsyncClient(**_settings(url, key, timeout_s))

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def suggest(self, photo: Photo | None = None, **wanted: Unpack[Wanted]) -> Suggested:
        """As `Client.suggest`."""
        return await self._send(_suggest(photo, wanted))

    async def post(self, tags: str | Sequence[str] = (), **said: Unpack[Said]) -> Published:
        """As `Client.post`."""
        return await self._send(_post(tags, said))

    async def feedback(
        self, id: str, *, accepted: str | Sequence[str] = (), refused: str | Sequence[str] = (),
        added: str | Sequence[str] = (),
    ) -> None:  # fmt: skip
        """As `Client.feedback`."""
        await self._send(_feedback(id, accepted, refused, added))

    async def history(self, user: str, *, limit: int = 1000) -> History:
        """As `Client.history`."""
        return await self._send(_history(user, limit))

    async def forget(self, user: str) -> None:
        """As `Client.forget`."""
        await self._send(_forget(user))

    async def trending(self, *, k: int = 20, at: datetime | None = None) -> tuple[Rising, ...]:
        """As `Client.trending`."""
        return await self._send(_trending(k, at))

    async def tag(self, tag: str) -> TagInUse:
        """As `Client.tag`."""
        return await self._send(_tag(tag))

    async def _send(self, call: _Call[T]) -> T:
        for tried in range(self._retries + 1):
            try:
                answer = await self._http.request(call.method, call.path, **call.arguments)
            except httpx2.TransportError as error:
                raise _unreachable(error, self.url) from error
            wait_s = _wait_s(answer)
            if wait_s is None or tried == self._retries:
                return _read(answer, call)
            await asyncio.sleep(wait_s)
        raise AssertionError
