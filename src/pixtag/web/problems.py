"""Errors as RFC 9457 problem details, with the hint that says what to do next."""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from pixtag.errors import FullError, ImageError, InputError, PixtagError, StoreError
from pixtag.images import Fault

MEDIA_TYPE = "application/problem+json"
_FULL = {errno.ENOSPC, errno.EDQUOT}
log = logging.getLogger("pixtag.web")


class ApiError(HTTPException):
    """An answer other than success: status, what happened, and the next step."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        hint: str = "",
        kind: str = "request",
        headers: Mapping[str, str] | None = None,
        errors: list[dict[str, str]] | None = None,
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.hint, self.kind, self.errors = hint, kind, errors


def nobody() -> ApiError:
    """What is said of a person or a thing of theirs, whether it is not there or not for you."""
    hint = "check the name; a key for one person reaches that person alone"
    return ApiError(404, "there is nothing of that name here for you", hint=hint, kind="missing")


def too_busy() -> ApiError:
    """What is said where there is no room for more."""
    hint, wait = "try again after the seconds in Retry-After", {"Retry-After": "1"}
    return ApiError(503, "too much to do just now", hint=hint, kind="busy", headers=wait)


def as_api_error(error: Exception, request_id: str = "") -> ApiError:
    """The answer that stands for an error; paths and code, where it is ours, are only logged."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestValidationError):
        return _of_validation(error)
    if isinstance(error, HTTPException):
        hints = {404: "/api/v1/openapi.json lists what is there", 405: "see the header Allow"}
        hint = hints.get(error.status_code, "")
        return ApiError(error.status_code, error.detail, hint=hint, headers=error.headers)
    if isinstance(error, ClientDisconnect):  # who closed only their half of it reads this
        what = "the body broke off, or is not sent as HTTP has it"
        return ApiError(400, what, hint="send it again, whole")
    if isinstance(error, ImageError):
        status = 413 if error.fault == str(Fault.TOO_LARGE) else 422
        return ApiError(status, error.message, hint=error.hint, kind=error.kind)
    if isinstance(error, InputError):
        return ApiError(422, error.message, hint=error.hint, kind=error.kind)
    if isinstance(error, FullError) or getattr(error, "errno", 0) in _FULL:
        log.error("request %s: %s", request_id, error)
        hint = "make room on the server's disk and send it again: what was acknowledged is kept"
        return ApiError(507, "no space left on the server's disk", hint=hint, kind="full")
    if isinstance(error, StoreError):
        log.error("request %s: %s (%s)", request_id, error.message, error.hint)
        wait = {"Retry-After": "2"}
        hint = "try again in a moment; the server's own output says more"
        return ApiError(503, "the store cannot be used now", hint=hint, kind="store", headers=wait)
    log.error("request %s failed unexpectedly", request_id, exc_info=error)
    kind = error.kind if isinstance(error, PixtagError) else "bug"
    hint = "the server's own output says more, under the id in X-Request-Id"
    return ApiError(500, "something went wrong here", hint=hint, kind=kind)


def _of_validation(error: RequestValidationError) -> ApiError:
    found = [
        {"where": ".".join(str(part) for part in one["loc"]), "what": str(one["msg"])}
        for one in error.errors()
    ]
    first = found[0] if found else {"where": "the request", "what": "is not as described"}
    detail = f"{first['where']}: {first['what']}"
    hint = "/api/v1/openapi.json says what is taken"
    return ApiError(422, detail, hint=hint, kind="input", errors=found)


def response(request: Request, error: Exception) -> Response:
    """Answer with an error: a problem document, or for a browser what the page makes of it."""
    request_id = str(getattr(request.state, "request_id", ""))
    found = as_api_error(error, request_id)
    draw = getattr(request.app.state, "error_page", None)
    wants_page = "text/html" in request.headers.get("accept", "")
    if draw is not None and wants_page and not request.url.path.startswith("/api/"):
        page: Response = draw(request, found)
        page.headers.update(found.headers or {})
        return page
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(found.status_code).phrase,
        "status": found.status_code,
        "detail": found.detail,
        "kind": found.kind,
    }
    if found.hint:
        body["hint"] = found.hint
    if found.errors:
        body["errors"] = found.errors
    if request_id:
        body["instance"] = f"urn:request:{request_id}"
    return JSONResponse(body, found.status_code, dict(found.headers or {}), MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let every error of an application be answered by `response`."""

    async def answer(request: Request, error: Exception) -> Response:
        return response(request, error)

    for kind in (HTTPException, RequestValidationError, PixtagError):
        app.add_exception_handler(kind, answer)
