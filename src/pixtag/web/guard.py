"""`Guard`: what is checked of a request before anything of its body is read, as pure ASGI.

In this order: the Host name (against DNS rebinding), where a form came from (against forged
ones), the key, the rate, the size that the body says it has. Every answer gets an id and the
headers that tell browsers what the page may do.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import quote, urlsplit

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pixtag.store.keys import SCOPES, KeyRecord
from pixtag.web.metrics import Metrics
from pixtag.web.problems import ApiError, nobody, response, too_busy

MB = 2**20
COOKIE = "pixtag_key"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OPEN_PATHS = (
    *("/healthz", "/readyz", "/sign-in", "/language"),
    *("/static/", "/manifest", "/favicon.ico"),
)
"""What anybody may ask for, beyond loopback too."""

BODY_LIMITS = {
    "/api/v1/suggest": 64 * MB,
    "/api/v1/posts": 256 * MB,
    "/import": 16_384 * MB,  # an archive; the page writes it where the store lies
    **dict.fromkeys(("/api/", "/mine", "/who", "/language", "/sign-"), MB),
}
"""Most bytes of a body by the beginning of its path; the first that fits holds."""
OTHER_BODIES = 256 * MB  # the page's photos

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; object-src 'none'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACE = re.compile(  # W3C Trace Context: version, trace, parent, flags
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)
FindKey = Callable[[str], Awaitable[KeyRecord | None]]


@dataclass(frozen=True, slots=True)
class Rules:
    """Who is answered, and how much they may send."""

    needs_key: bool = False  # beyond loopback; else whoever reaches the server may do everything
    hosts: frozenset[str] | None = LOOPBACK  # names that the server answers to; None: any
    requests_per_minute: int = 6000  # of one key, or of one address without keys
    body_limits: dict[str, int] = field(default_factory=lambda: dict(BODY_LIMITS))
    idle_s: float = 30.0  # longest wait for the next part of a body
    bytes_at_once: int = 1024 * MB  # of all bodies that are held in memory


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: the name of their key, what it allows, and whose key it is (None: anybody's)."""

    name: str = ""
    scopes: frozenset[str] = frozenset(SCOPES)
    user: str | None = None

    def require(self, scope: str) -> None:
        """Raise 403 unless the key allows something."""
        if scope not in self.scopes:
            hint = f"ask for a key with the scope {scope}: `pixtag keys add NAME --scopes ...`"
            raise ApiError(403, f"this key does not allow to {scope}", hint=hint, kind="key")

    def person(self, asked: str | None) -> str | None:
        """The person asked about, by default the key's own; 404 for others than theirs."""
        if self.user is None:
            return asked
        if asked not in (None, self.user):
            raise nobody()
        return self.user


LOCAL = Principal()
"""Whoever asks where no key is needed."""
ANYBODY = Principal(scopes=frozenset())
"""Whoever asks without a key where one is needed: for what is open to anybody alone."""


def principal_of(request: Request) -> Principal:
    """Who asks, as the guard found out."""
    return cast("Principal", request.state.principal)


def set_cookie(answer: Response, request: Request, name: str, value: str, *, days: int) -> None:
    """Let a browser send a value from now on: unread by scripts, never to other sites."""
    origin = urlsplit(request.headers.get("origin", ""))
    is_secure = "https" in {request.url.scheme, origin.scheme}  # also behind a proxy
    answer.set_cookie(
        name, value, max_age=days * 86_400, httponly=True, samesite="lax", secure=is_secure
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    return host in LOOPBACK or host.startswith("127.")


def host_name(value: str) -> str:
    """The name in a Host header, without port and brackets, in lower case."""
    name = value.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]


def is_forged(method: str, headers: Headers) -> bool:
    """Whether a browser sends this for another site: its page may not act in a person's name."""
    if method in SAFE_METHODS or headers.get("authorization", "").lower().startswith("bearer "):
        return False
    if site := headers.get("sec-fetch-site"):
        return site not in {"same-origin", "none"}
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()


def _request_id(headers: Headers) -> str:
    """The caller's X-Request-Id, else the trace that the request is part of, else a new id."""
    given = headers.get("x-request-id", "")
    if _ID.fullmatch(given):
        return given
    trace = _TRACE.fullmatch(headers.get("traceparent", ""))
    return trace[1] if trace else secrets.token_hex(8)


class Guard:
    """Checks requests and marks answers; puts `principal` and `request_id` on the scope's state.

    Args:
        app: What answers those that pass.
        rules: What passes.
        find_key: Looks a key up.
        metrics: Counts requests.
    """

    def __init__(self, app: ASGIApp, rules: Rules, find_key: FindKey, metrics: Metrics) -> None:
        self.app, self.rules, self._find_key, self._metrics = app, rules, find_key, metrics
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self.n_held = 0  # bytes of bodies in memory
        self._rate = RateLimitItemPerMinute(rules.requests_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        state = {**scope.get("state", {}), "request_id": request_id, "principal": LOCAL}
        scope = {**scope, "state": state}
        answer, body = _Answer(send, scope), _Body(receive, self, self._limit(scope))
        started_s = time.perf_counter()
        with self._metrics.in_flight.track_inprogress():
            try:
                await self._passed(scope, headers, answer)
                if scope["method"] == "HEAD":
                    scope["method"] = "GET"  # `_Answer` leaves the body out
                await self.app(scope, body, answer)
            except Exception as error:  # noqa: BLE001 - the last stop before the network
                if not answer.is_begun:
                    await response(Request(scope), error)(scope, receive, answer)
                if isinstance(error, ClientDisconnect):
                    answer.status = 499  # mostly nobody waits for an answer
            except _SignIn:
                to = f"/sign-in?next={quote(scope['path'])}"
                await RedirectResponse(to, 303)(scope, receive, answer)
            finally:
                self.n_held -= body.n_held
        self._metrics.count(scope, answer.status, time.perf_counter() - started_s)

    async def _passed(self, scope: Scope, headers: Headers, answer: _Answer) -> None:
        rules, method = self.rules, scope["method"]
        if rules.hosts is not None and host_name(headers.get("host", "")) not in rules.hosts:
            hint = "open it as http://localhost:PORT, or let `pixtag serve --allow-host` know it"
            raise ApiError(421, "this server does not answer to that name", hint=hint, kind="host")
        if is_forged(method, headers):
            hint = "send forms from this server's own pages; programs leave out Origin"
            raise ApiError(403, "this came from another site's page", hint=hint, kind="origin")
        try:
            if rules.needs_key:
                scope["state"]["principal"] = await self._principal(scope, headers)
        finally:
            self._count_in(scope, answer)  # one without a known key too, by its address
        limit, length = self._limit(scope), headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise _too_large(limit)

    async def _principal(self, scope: Scope, headers: Headers) -> Principal:
        kind, _, key = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            key = Request(scope).cookies.get(COOKIE, "")
        found = await self._find_key(key.strip()) if key else None
        if found is not None:
            return Principal(found.name, found.scopes, found.user)
        if scope["path"].startswith(OPEN_PATHS):
            return ANYBODY
        is_page = "text/html" in headers.get("accept", "") and scope["method"] in SAFE_METHODS
        if is_page and not scope["path"].startswith("/api/"):
            raise _SignIn
        detail = "this key is not known, or was revoked" if key else "a key is needed here"
        hint = "`pixtag keys add NAME` makes one; send it as Authorization: Bearer KEY"
        challenge = {"WWW-Authenticate": 'Bearer realm="pixtag"'}
        raise ApiError(401, detail, hint=hint, kind="key", headers=challenge)

    def _count_in(self, scope: Scope, answer: _Answer) -> None:
        """Count a request of whoever asks; 429 when there were too many within a minute."""
        client = scope.get("client") or ("",)
        who = scope["state"]["principal"].name or f"address {client[0]}"
        is_fine = self._limiter.hit(self._rate, who)
        stats = self._limiter.get_window_stats(self._rate, who)
        wait_s = max(1, round(stats.reset_time - time.time()))
        n = self.rules.requests_per_minute
        answer.more["RateLimit-Policy"] = f'"default";q={n};w=60'
        answer.more["RateLimit"] = f'"default";r={max(0, stats.remaining)};t={wait_s}'
        if not is_fine:
            hint = f"wait {wait_s} s; the header RateLimit tells how many are left"
            wait = {"Retry-After": str(wait_s)}
            raise ApiError(429, "too many requests", hint=hint, kind="rate", headers=wait)

    def _limit(self, scope: Scope) -> int:
        limits = self.rules.body_limits.items()
        path: str = scope["path"]
        return next((n for start, n in limits if path.startswith(start)), OTHER_BODIES)


class _SignIn(BaseException):
    """A browser without a key is sent to the page that asks for one."""


def _too_large(limit: int) -> ApiError:
    hint = "send a smaller copy of the photo, or fewer photos at once"
    return ApiError(413, f"more than {limit // MB} MiB are not taken here", hint=hint, kind="size")


class _Body:
    """`receive` that gives up a body that is too long, does not come, or finds no room."""

    def __init__(self, receive: Receive, guard: Guard, limit: int) -> None:
        self._receive, self._guard, self._limit = receive, guard, limit
        # One that may be longer than all that are held together is not held in memory.
        self._is_held = limit <= guard.rules.bytes_at_once
        self._n_bytes, self._is_whole = 0, False

    @property
    def n_held(self) -> int:
        """Bytes of it that are in memory."""
        return self._n_bytes if self._is_held else 0

    async def __call__(self) -> Message:
        if self._is_whole:
            return await self._receive()
        try:
            async with asyncio.timeout(self._guard.rules.idle_s):  # without a task of its own
                message = await self._receive()
        except TimeoutError:
            raise ApiError(408, "the body did not come", hint="send it again") from None
        if message["type"] == "http.request":
            n_bytes = len(message.get("body", b""))
            self._n_bytes += n_bytes
            self._is_whole = not message.get("more_body", False)
            if self._is_held:
                self._guard.n_held += n_bytes
            if self._n_bytes > self._limit:
                raise _too_large(self._limit)
            if self._is_held and self._guard.n_held > self._guard.rules.bytes_at_once:
                raise too_busy()
        return message


class _Answer:
    """`send` that adds the headers of every answer and remembers its status."""

    def __init__(self, send: Send, scope: Scope) -> None:
        self._send, self._scope = send, scope
        self.more: dict[str, str] = {}
        self.status, self.is_begun = 500, False
        self._is_head = scope["method"] == "HEAD"

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.is_begun = message["status"], True
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._scope["state"]["request_id"]
            for name, value in (_HEADERS | self.more).items():
                headers.setdefault(name, value)
            if self._scope["path"].startswith("/api/"):
                headers.setdefault("Cache-Control", "private, no-cache")
        elif self._is_head:
            message = {**message, "body": b""}
        await self._send(message)
