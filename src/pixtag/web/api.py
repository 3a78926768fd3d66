"""The API: `/api/v1` for programs, and what watches a server: health, readiness, metrics."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from pixtag.errors import InputError
from pixtag.evidence import LAST_TICK, NOBODY, View, seconds, ticks
from pixtag.moments import moment_of
from pixtag.signals.trend import LEAST_PEOPLE, WINDOWS_HOURS
from pixtag.store import Store, requests
from pixtag.store.history import n_posts_of, own_post_id, tags_of, user_of
from pixtag.store.served import Verdict
from pixtag.tags import find_hashtags, normalise_tag, tidy_tags
from pixtag.types import Floats, Post, Suggestion, as_datetime
from pixtag.web.guard import Principal, principal_of
from pixtag.web.metrics import CONTENT_TYPE
from pixtag.web.problems import MEDIA_TYPE, ApiError, nobody
from pixtag.web.schemas import (
    FeedbackIn,
    FeedbackOut,
    ForgetOut,
    HealthOut,
    HistoryOut,
    Instant,
    KnownName,
    PostIn,
    PostOut,
    ProblemOut,
    ReasonOut,
    RisingOut,
    SuggestIn,
    SuggestionOut,
    SuggestOut,
    TagOut,
    TagUseOut,
    TrendingOut,
    Wanted,
)
from pixtag.web.service import Service
from pixtag.web.uploads import LISTS, MOST_PHOTOS, read_body, read_json, split_all

_PHOTO = {"type": "string", "format": "binary"}
_LAST_POSTS, _SHOWN_BESIDE = 500, 10  # posts with a tag, and how many tags on them are told
ModelT = TypeVar("ModelT", bound=BaseModel)


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}
    return {
        status: {"description": "A problem (RFC 9457)", "content": content} for status in statuses
    }


_USUAL = _problems(400, 401, 403, 404, 408, 413, 415, 421, 422, 429, 500, 503, 507)
router = APIRouter(prefix="/api/v1", tags=["api"], responses=_USUAL)
health = APIRouter(tags=["health"], responses=_problems(421, 429, 500))


def _body(
    model: type[BaseModel], *, is_image: bool = False, is_json: bool = False
) -> dict[str, Any]:
    """Describe a body that comes as JSON, as a form with photos too, or as a photo alone too."""
    plain = {"$ref": f"#/components/schemas/{model.__name__}"}
    if is_json:
        content = {"application/json": {"schema": plain}}
        return {"requestBody": {"content": content, "required": True}}
    photos: dict[str, Any] = {"photo": _PHOTO}
    if not is_image:
        photos = {"photos": {"type": "array", "items": _PHOTO, "maxItems": MOST_PHOTOS}}
    form = {"allOf": [plain, {"type": "object", "properties": photos}]}
    content = {"application/json": {"schema": plain}, "multipart/form-data": {"schema": form}}
    if is_image:
        content["image/*"] = {"schema": _PHOTO}
    return {"requestBody": {"content": content, "required": not is_image}}


def _checked(model: type[ModelT], values: Mapping[str, object]) -> ModelT:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None


def _row(embedding: list[float], service: Service) -> Floats:
    with np.errstate(over="ignore"):
        return service.predictor.checked(np.array(embedding, np.float64).astype(np.float32))


def _tagged(request: Request, out: BaseModel, of: object = None) -> Response:
    """Answer with a weak ETag, of a part where the rest is always another; 304 when known."""
    body = out.model_dump_json().encode()
    told = body if of is None else to_json(of)
    tag = f'W/"{hashlib.sha256(told).hexdigest()[:20]}"'
    # Compared weakly (RFC 9110, 13.1.2): with W/ or without.
    known = ",".join(request.headers.getlist("if-none-match")).split(",")
    if {tag.removeprefix("W/"), "*"} & {one.strip().removeprefix("W/") for one in known}:
        return Response(None, 304, {"ETag": tag})
    return Response(body, 200, {"ETag": tag}, "application/json")


@router.post(
    "/suggest", response_model=SuggestOut, openapi_extra=_body(SuggestIn, is_image=True),
    summary="Suggest hashtags for a photo",
)  # fmt: skip
async def suggest(request: Request, wanted: Annotated[Wanted, Query()]) -> Response:
    """Suggest hashtags for a photo, given its person and moment.

    The photo is the body (`image/*`), the part `photo` of a form, or named in JSON: by its
    embedding, or by the post of the store that shows it. Without any, history and trend decide.
    What is wanted comes in the query, the fields of the form, or the JSON object.
    """
    principal = principal_of(request)
    principal.require("read")
    values, photos = await read_body(request)
    query = wanted.model_dump(exclude_unset=True)
    query |= {name: split_all(query[name]) for name in LISTS if name in query}
    asked = _checked(SuggestIn, {**query, **values})
    if len(photos) + (asked.embedding is not None) + (asked.post_id is not None) > 1:
        raise ApiError(422, "more than one photo was given", hint="ask about one at a time")
    service: Service = request.app.state.service

    def answered() -> str:
        photo = photos[0] if photos else None
        return _suggested(service, asked, photo, principal).model_dump_json()

    text = await request.app.state.work.run(answered)
    request.app.state.metrics.suggested.inc()
    return Response(text, media_type="application/json")


def _suggested(
    service: Service, asked: SuggestIn, photo: bytes | Floats | None, principal: Principal
) -> SuggestOut:
    user, at = principal.person(asked.user), asked.at
    if asked.embedding is not None:
        photo = _row(asked.embedding, service)
    if asked.post_id is not None:
        is_there, whose = user_of(service.reader, asked.post_id)
        if not is_there or (principal.user is not None and whose != principal.user):
            raise nobody()
        row = service.reader.log(service.predictor.encoder_digest, [asked.post_id])
        if not len(row) or not row.has_photo[0]:
            what = "that post has no photo that was looked at"
            raise ApiError(422, what, hint="post it with its photo", kind="input")
        photo, user = row.embeddings[0].astype(np.float32), user or whose
        if at is None and np.isfinite(row.at[0]):
            at = as_datetime(float(row.at[0]))  # so that the post is no evidence for itself
    served = service.suggest(
        photo, user=user, history=asked.history, accepted=asked.accepted, refused=asked.refused,
        k=asked.k, platform=asked.platform, at=at,
    )  # fmt: skip
    row = served.embedding if asked.with_embedding else None
    return SuggestOut(
        id=served.name, at=as_datetime(served.at), user=served.user,
        suggestions=tuple(map(_suggestion, served.suggestions)), unsure=served.unsure,
        model=served.model, revision=served.revision,
        embedding=None if row is None else tuple(round(float(x), 5) for x in row),
    )  # fmt: skip


def _suggestion(one: Suggestion) -> SuggestionOut:
    why = (ReasonOut(source=r.source, text=r.text, weight=round(r.weight, 4)) for r in one.reasons)
    return SuggestionOut(tag=one.tag, prob=round(one.prob, 6), reasons=tuple(why))


@router.post(
    "/posts", response_model=PostOut, status_code=201, openapi_extra=_body(PostIn),
    responses=_problems(409), summary="Publish a post",
)  # fmt: skip
async def post(
    request: Request,
    response: Response,
    idempotency_key: Annotated[
        str | None, Header(min_length=1, max_length=200, description="To send it once only.")
    ] = None,
) -> PostOut | Response:
    """Put a post into the store; it is on the disk and in the next answer when this returns.

    Photos come as parts of a form. What they look like is kept; they themselves only when asked.
    A request with the Idempotency-Key of one that was answered within a day gets that answer
    again (422 when it asks something else, 409 while the first one runs).
    """
    principal = principal_of(request)
    principal.require("write")
    values, photos = await read_body(request)
    given = _checked(PostIn, values)
    service, running = request.app.state.service, request.app.state.running
    once = None
    if idempotency_key is not None:
        told = to_json(
            [given.model_dump(mode="json"), [hashlib.sha256(p).hexdigest() for p in photos]]
        )
        user, owner = principal.person(given.user), principal.name
        once = requests.Request(owner, idempotency_key, hashlib.sha256(told).digest(), user)
        if (owner, idempotency_key) in running:
            hint = "wait for the first one, then send it again for the same answer"
            raise ApiError(409, "a request with this key is being answered", hint=hint)
        running.add((owner, idempotency_key))
    try:
        out, is_new = await request.app.state.work.run(
            _publish, service, given, photos, principal, once
        )
    finally:
        if once is not None:
            running.discard((once.owner, once.key))
    if not is_new:
        response.headers["Idempotent-Replayed"] = "true"
    return out


class _DoneBeforeError(Exception):
    """Ends the transaction of a post whose request was answered before."""

    def __init__(self, done: requests.Done) -> None:
        self.done = done


def _publish(
    service: Service,
    given: PostIn,
    photos: list[bytes],
    principal: Principal,
    once: requests.Request | None,
) -> tuple[PostOut, bool]:
    """Put a post, or find it done before; gives what is answered, and whether it is new."""
    user = principal.person(given.user)
    tags = tidy_tags([*given.tags, *find_hashtags(given.caption)])
    if not (tags or given.caption.strip() or photos or given.embedding is not None):
        what = f"no hashtag among {given.tags}" if given.tags else "there is nothing in this post"
        raise InputError(what, hint="a post has at least one of tags, caption and photos")
    at = time.time() if given.posted_at is None else given.posted_at.timestamp()
    post = Post(_post_id(service, given.post_id, principal), user, at, tags)
    embedding = None if given.embedding is None else _row(given.embedding, service)
    n_photos = len(photos) or int(embedding is not None)
    out = PostOut(
        post_id=post.post_id, user=user, tags=tags, posted_at=as_datetime(at),
        n_photos=n_photos,
    )  # fmt: skip

    def check(store: Store) -> None:
        if once is None:
            return
        if (done := requests.find(store, once)) is not None:
            raise _DoneBeforeError(done)
        requests.record(store, once, 201, out.model_dump_json())

    try:
        service.publish(post, embedding, photos=photos, is_kept=given.keep_photos, within=check)
    except _DoneBeforeError as found:
        if not found.done.is_same:
            hint = "send each request with a key of its own"
            raise ApiError(422, "this key came with another request", hint=hint) from None
        return PostOut.model_validate_json(found.done.body), False
    return out, True


def _post_id(service: Service, given: str | None, principal: Principal) -> str:
    """The name of a post in the store; what a key of one person names is theirs alone."""
    if given is None:
        return f"api-{uuid.uuid4().hex}"
    if principal.user is None:
        return given
    return own_post_id(service.reader, given, principal.user)


@router.post(
    "/feedback", response_model=FeedbackOut, openapi_extra=_body(FeedbackIn, is_json=True),
    summary="Say what became of suggestions",
)  # fmt: skip
async def feedback(request: Request) -> FeedbackOut:
    """Say which suggestions were taken or refused, and which tags the person added."""
    principal = principal_of(request)
    principal.require("write")
    given = _checked(FeedbackIn, await read_json(request))
    said: dict[str, Verdict] = dict.fromkeys(tidy_tags(given.added), "added")
    said |= dict.fromkeys(tidy_tags(given.refused), "refused")
    said |= dict.fromkeys(tidy_tags(given.accepted), "accepted")
    service = request.app.state.service
    try:
        await request.app.state.work.run(
            service.feedback, given.id, list(said.items()), user=principal.user
        )
    except InputError:
        if service.is_logging:
            raise nobody() from None
        hint = "start it without --no-log, and suggestions are kept for their feedback"
        what = "this server keeps no suggestions (--no-log)"
        raise ApiError(404, what, hint=hint, kind="missing") from None
    return FeedbackOut(n_kept=len(said))


@router.get("/users/{user:path}/history", response_model=HistoryOut, summary="What a person uses")
async def history(
    request: Request,
    user: Annotated[KnownName, Path()],
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> Response:
    """List the tags of a person, most used first. 404 for whom this key does not reach."""
    principal = principal_of(request)
    principal.require("read")
    principal.person(user)
    reader = request.app.state.service.reader

    def read() -> HistoryOut:
        n_posts = n_posts_of(reader, user)
        if not n_posts and principal.user is None:
            raise nobody()
        tags = (
            TagUseOut(
                tag=one.tag, n_uses=one.n_uses, first_at=_time(one.first_at),
                last_at=_time(one.last_at),
            )
            for one in tags_of(reader, user, at_most=limit)
        )  # fmt: skip
        return HistoryOut(user=user, n_posts=n_posts, tags=tuple(tags))

    return _tagged(request, await request.app.state.work.run(read))


def _time(at: float | None) -> datetime | None:
    return None if at is None else as_datetime(at)


@router.delete("/users/{user:path}", response_model=ForgetOut, summary="Forget a person")
async def forget(request: Request, user: Annotated[KnownName, Path()]) -> ForgetOut:
    """Remove a person: posts, embeddings, lists, copies of photos, suggestions, their keys."""
    principal = principal_of(request)
    principal.person(user)
    principal.require("admin" if principal.user is None else "write")
    await request.app.state.work.run(request.app.state.service.forget, user)
    return ForgetOut(user=user)


@router.get("/trending", response_model=TrendingOut, summary="What rises")
async def trending(
    request: Request,
    k: Annotated[int, Query(ge=1, le=100)] = 20,
    at: Annotated[Instant | None, Query()] = None,
) -> Response:
    """List tags that more people use than usual, the surest first."""
    principal_of(request).require("read")
    predictor = request.app.state.service.predictor
    found = await request.app.state.work.run(predictor.trending, at, k=k)
    tags = tuple(
        RisingOut(**asdict(replace(one, times_usual=round(one.times_usual, 2)))) for one in found
    )
    out = TrendingOut(at=at or as_datetime(time.time()), tags=tags)
    return _tagged(request, out, [one.model_dump() for one in tags])


@router.get("/tags/{tag:path}", response_model=TagOut, summary="How a tag is used")
async def tag(
    request: Request, tag: Annotated[str, Path(min_length=1, max_length=5000)]
) -> Response:
    """Tell how everybody uses a tag. 404 for one that fewer than three people have used."""
    principal_of(request).require("read")
    service, name = request.app.state.service, normalise_tag(tag)
    found = None
    if name is not None:
        found = await request.app.state.work.run(lambda: _use(service.predictor.now(), name))
    if found is None:
        hint = "tags are told from the third person on who used them"
        raise ApiError(404, "this tag is not in public use here", hint=hint, kind="missing")
    return _tagged(request, found)


def _use(view: View, tag: str) -> TagOut | None:
    """How everybody uses a normalised tag; None while fewer than three people have used it.

    Counts of people below three are given as none.
    """
    found = view.id_of(tag)
    tags, now = np.array([found]), ticks(np.array([moment_of(view, None)]))
    if found < 0 or view.named_with(tags, now)[0] < LEAST_PEOPLE:
        return None
    counts = view.counts(tags, now)
    inside = view.window(tags, np.array([NOBODY]), now, WINDOWS_HOURS).reshape(-1)
    hours = {
        f"{hours:g}": int(n) if n >= LEAST_PEOPLE else 0
        for hours, n in zip(WINDOWS_HOURS, inside, strict=True)
    }
    _, slots = view.carrying(tags, now, limit=_LAST_POSTS)
    _, others = view.uses_of(slots)
    beside = Counter(others[others != found].tolist()).most_common(20 * _SHOWN_BESIDE)
    ids = np.array([one for one, _ in beside], np.int64)
    people = view.named_with(ids, np.repeat(now, len(ids)))
    public = [view.tags[one] for one, n in zip(ids, people, strict=True) if n >= LEAST_PEOPLE]
    first = int(counts.first[0])
    return TagOut(
        tag=tag, n_people=int(counts.people[0]), n_posts=int(counts.uses[0]),
        first_at=as_datetime(seconds(first)) if 0 < first < LAST_TICK else None,
        people_by_hours=hours, goes_with=tuple(public[:_SHOWN_BESIDE]),
    )  # fmt: skip


@health.get("/healthz", response_model=HealthOut, summary="Whether it runs")
async def healthz() -> HealthOut:
    """Always answered while the server runs."""
    return HealthOut(status="ok")


@health.get(
    "/readyz", response_model=HealthOut, summary="Whether it can answer",
    responses={503: {"model": HealthOut, "description": "Not ready, and why"}},
)  # fmt: skip
async def readyz(request: Request, response: Response) -> HealthOut:
    """Ready when the model is loaded and the store can be read; else 503 with reasons."""
    reasons = await request.app.state.work.run(request.app.state.service.problems)
    if reasons:
        response.status_code = 503
    return HealthOut(status="not ready" if reasons else "ready", reasons=reasons)


@health.get(
    "/metrics", response_class=Response, summary="Counters, for Prometheus",
    responses=_problems(401, 403, 503),
)  # fmt: skip
async def metrics(request: Request) -> Response:
    """Counters of this process in Prometheus' text format; the store's where it can be read."""
    principal_of(request).require("admin")
    state = request.app.state
    revision = await state.work.run(state.service.revision)
    return Response(state.metrics.text(revision), media_type=CONTENT_TYPE)


def described(schema: dict[str, Any]) -> dict[str, Any]:
    """Make an OpenAPI document the API's: without the page, with bodies that routes read alone."""
    own = ("/api/", "/healthz", "/readyz", "/metrics")
    schema["paths"] = {p: found for p, found in schema["paths"].items() if p.startswith(own)}
    models = schema.setdefault("components", {}).setdefault("schemas", {})
    for model in (SuggestIn, PostIn, FeedbackIn, ProblemOut):
        found = model.model_json_schema(ref_template="#/components/schemas/{model}")
        models |= found.pop("$defs", {})
        models[model.__name__] = found
    schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    schema["security"] = [{}, {"key": []}]
    return schema
