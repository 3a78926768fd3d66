"""What every page has: texts, the person, its frame and headers; and files that never change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any, cast
from urllib.parse import quote, unquote, urlencode

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse

from pixtag.errors import ImageError, InputError, PixtagError
from pixtag.store.keys import find_key
from pixtag.web import charts
from pixtag.web.forms import text_of
from pixtag.web.guard import COOKIE, Principal, principal_of, set_cookie
from pixtag.web.problems import response as problem
from pixtag.web.service import Service
from pixtag.web.texts import LANGUAGES, Texts, choose_language
from pixtag.web.uploads import read_form

LANGUAGE, PERSON, PLATFORM = "pixtag_language", "pixtag_person", "pixtag_platform"  # cookies
_MOST_PEOPLE = 200  # offered to choose from
_HEADERS = {  # of a page, beside those that the guard gives everything
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Cookie, Accept-Language",
}
_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}
_TYPES = {
    "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "png": "image/png",
}  # fmt: skip


@dataclass(frozen=True)
class Visit:
    """One request: who asks, in which language, of which service."""

    request: Request
    service: Service
    texts: Texts
    principal: Principal

    @classmethod
    def of(cls, request: Request, scope: str | None = None) -> Visit:
        """Read a request that the guard let pass; 403 where the key lacks a scope."""
        principal = principal_of(request)
        if scope is not None:
            principal.require(scope)
        accepted = request.headers.get("accept-language", "")
        language = choose_language(request.cookies.get(LANGUAGE), accepted)
        service = cast("Service", request.app.state.service)
        return cls(request, service, Texts(language), principal)

    @cached_property
    def person(self) -> str | None:
        """Whom the key is for, else who was chosen, else whoever is alone in the store."""
        if self.bound is not None:
            return self.bound
        cookie = self.request.cookies.get(PERSON)
        if cookie is not None:
            return unquote(cookie) or None
        people = self.service.reader.people(at_most=2)
        return people[0] if len(people) == 1 else None

    @property
    def bound(self) -> str | None:
        """The one person whom the key is for, if it is for one."""
        return self.principal.user

    def need_person(self) -> str:
        """The person whom a page is about."""
        if self.person is None:
            raise InputError(self.texts("who.needed"), hint=self.texts("who.needed_hint"))
        return self.person

    @property
    def people(self) -> list[str]:
        """Who can be chosen: those of the store, unless the key is for one person."""
        if self.bound is not None:
            return [self.bound]
        return self.service.reader.people(at_most=_MOST_PEOPLE)

    def render(self, template: str, *, status: int = 200, **values: object) -> HTMLResponse:
        """Make a page."""
        frame = {
            "t": self.texts, "visit": self, "languages": LANGUAGES, "static": static, "url": url,
            "bar": charts.bar, "path": self.request.url.path,
        }  # fmt: skip
        made = _templates().get_template(template).render(**frame, **values)
        return HTMLResponse(made, status_code=status, headers=_HEADERS)

    def remember(self, response: Response, **cookies: str | None) -> None:
        """Keep choices in cookies of this browser; without one (None) it forgets the last."""
        for name, value in cookies.items():
            key = {"language": LANGUAGE, "person": PERSON, "platform": PLATFORM}[name]
            if value is not None:
                set_cookie(response, self.request, key, quote(value), days=365)
            elif key in self.request.cookies:
                response.delete_cookie(key)

    def refusal(self, status: int) -> HTMLResponse:
        """Say why there is no page."""
        code = status if status in _SAID else 400 if status < 500 else 503
        message, hint = self.texts(f"error.e{code}"), self.texts(f"error.e{code}_hint")
        return self.render("error.html", status=status, message=message, hint=hint)

    def explained(self, error: PixtagError) -> tuple[str, str]:
        """What happened and what to do, in this language where it has words for it."""
        if isinstance(error, ImageError):
            fault = str(error.fault).replace(" ", "_")
            return self.texts(f"fault.{fault}"), self.texts(f"fault.{fault}_hint")
        return error.message, error.hint


class PageRoute(APIRoute):
    """A route whose errors are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with what it raises on purpose shown as a page."""
        handler = super().get_route_handler()

        async def shown(request: Request) -> Response:
            try:
                return await handler(request)
            except (InputError, ImageError) as error:
                visit = Visit.of(request)
                message, hint = visit.explained(error)
                return visit.render("error.html", status=400, message=message, hint=hint)
            except (PixtagError, OSError) as error:  # the server's own: only logged
                return problem(request, error)
            except HTTPException as error:
                visit = Visit.of(request)
                return visit.refusal(error.status_code)

        return shown


_SAID = (400, 401, 403, 404, 413, 415, 429, 503, 507)


def page_router() -> APIRouter:
    """A router of pages, which the API's description leaves out."""
    return APIRouter(
        route_class=PageRoute, include_in_schema=False, default_response_class=Response
    )


def see_other(path: str) -> RedirectResponse:
    """Go on with a page after a form."""
    return RedirectResponse(path, 303, headers={"Cache-Control": "no-store"})


def url(path: str, **query: str) -> str:
    """A path with what is asked of it."""
    return f"{path}?{urlencode(query)}" if query else path


async def small_form(request: Request) -> dict[str, str]:
    """The texts of a form without files."""
    form = await read_form(request)
    await form.close()  # files that came all the same
    return {name: value for name, value in form.items() if isinstance(value, str)}


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("pixtag.web"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


@cache
def _static_files() -> tuple[str, dict[str, bytes]]:
    """Files of `static/` by name, and a hash of all of them, which their addresses carry."""
    folder = files("pixtag.web").joinpath("static")
    held = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    joined = b"\0".join(name.encode() + content for name, content in sorted(held.items()))
    return hashlib.sha256(joined).hexdigest()[:16], held


def static(name: str) -> str:
    """The address of a static file, another one whenever any of them changes."""
    return f"/static/{_static_files()[0]}/{name}"


router = page_router()


@router.get("/static/{hashed}/{name}")
def static_file(hashed: str, name: str) -> Response:
    """A file of the page."""
    content = _static_files()[1].get(name)
    if content is None:
        raise HTTPException(404)
    return Response(content, media_type=_TYPES[name.rpartition(".")[2]], headers=_FOR_EVER)


@router.get("/favicon.ico")
def favicon() -> Response:
    """The icon where browsers look for it."""
    return static_file("", "icon-180.png")


@router.get("/manifest.webmanifest")
def manifest(request: Request) -> Response:
    """What a phone needs to install the page and to share photos with it."""
    texts = Visit.of(request).texts
    icons: list[dict[str, str]] = [
        {"src": static("icon.svg"), "sizes": "any", "type": _TYPES["svg"]}
    ]
    icons += [
        {"src": static(f"icon-{side}.png"), "sizes": f"{side}x{side}", "type": "image/png",
         "purpose": purpose}
        for side in (192, 512)
        for purpose in ("any", "maskable")
    ]  # fmt: skip
    held = {
        "id": "/", "name": "Pixtag", "short_name": "Pixtag", "description": texts("home.lead"),
        "lang": texts.language, "start_url": "/", "scope": "/", "display": "standalone",
        "background_color": "#f7f6f3", "theme_color": "#0f766e", "icons": icons,
        "share_target": {
            "action": "/", "method": "POST", "enctype": "multipart/form-data",
            "params": {"files": [{"name": "photos", "accept": ["image/*"]}]},
        },
    }  # fmt: skip
    content = json.dumps(held, ensure_ascii=False).encode()
    headers = {"Vary": _HEADERS["Vary"]}
    return Response(content, media_type="application/manifest+json", headers=headers)


@router.post("/language")
async def language(request: Request) -> Response:
    """Choose the language and go back."""
    visit, form = Visit.of(request), await small_form(request)
    response = see_other(_back(form))
    visit.remember(response, language=choose_language(form.get("language"), ""))
    return response


@router.post("/who")
async def who(request: Request) -> Response:
    """Choose whose page it is and go back."""
    visit, form = Visit.of(request), await small_form(request)
    response = see_other(_back(form))
    visit.remember(response, person=text_of(form, "person"))
    return response


@router.get("/sign-in")
async def sign_in(request: Request) -> Response:
    """Ask for a key."""
    back = _back({"back": request.query_params.get("next", "/")})
    return Visit.of(request).render("sign_in.html", is_wrong=False, back=back)


@router.post("/sign-in")
async def signed_in(request: Request) -> Response:
    """Take a key, which the browser then sends in a cookie that scripts cannot read."""
    visit, form = Visit.of(request), await small_form(request)
    key = text_of(form, "key")
    if await run_in_threadpool(find_key, visit.service.reader, key) is None:
        return visit.render("sign_in.html", status=401, is_wrong=True, back=_back(form))
    response = see_other(_back(form))
    set_cookie(response, request, COOKIE, key, days=90)
    return response


@router.post("/sign-out")
async def signed_out(request: Request) -> Response:
    """Let the browser forget the key."""
    response = see_other("/sign-in")
    response.delete_cookie(COOKIE, httponly=True, samesite="lax")
    return response


def error_page(request: Request, error: HTTPException) -> Response:
    """Show a browser why it got no page, for errors from outside the page's own routes."""
    return Visit.of(request).refusal(error.status_code)


def _back(form: dict[str, str]) -> str:
    """A page of ours that a form names, never another site."""
    path = form.get("back", "/")
    is_ours = path.startswith("/") and path[1:2] not in {"/", "\\"} and path.isprintable()
    return path if is_ours and len(path) < 2000 else "/"
