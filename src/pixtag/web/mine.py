"""Pages about what is used: one's own tags, lists and sets, a tag over time, what rises."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from fastapi import Request, Response
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from pixtag import images
from pixtag.errors import ImageError, InputError
from pixtag.ingest import post_line
from pixtag.lists import LIST_NAMES
from pixtag.signals.calendar import calendar
from pixtag.signals.trend import Rising
from pixtag.store.sets import remove_set, save_set, saved_sets
from pixtag.store.usage import LEAST_PEOPLE, kept, own_tags, photo_of, post_times, times_of
from pixtag.tags import normalise_tag, split_tags
from pixtag.web import charts
from pixtag.web.forms import MOST_LETTERS, text_of
from pixtag.web.frame import Visit, page_router, see_other, small_form
from pixtag.web.home import goes_with

N_TAGS, N_FIRST, N_RISING = 60, 12, 20
THUMBNAIL_PX = 256

router = page_router()


@router.get("/mine")
def mine(request: Request) -> Response:
    """One's tags: most used, when, with what; sets, lists, and what was kept of suggestions."""
    visit = Visit.of(request, "read")
    if visit.person is None:
        return visit.render("who.html")
    store, person, t = visit.service.reader, visit.person, visit.texts
    times = post_times(store, person)
    moments = [datetime.fromtimestamp(at, UTC) for at in times]
    hours = Counter(when.hour for when in moments)
    weekdays = Counter(when.weekday() for when in moments)
    days = [(t(f"weekday.s{day}"), (weekdays[day],)) for day in range(7)]
    clock = [(f"{hour:02d}", (hours[hour],)) for hour in range(24)]
    judged = kept(store, person)
    return visit.render(
        "mine.html", person=person, tags=own_tags(store, person, limit=N_TAGS), n_posts=len(times),
        days=charts.columns(days, t("mine.weekdays")), hours=charts.columns(clock, t("mine.hours")),
        n_first=N_FIRST, sets=saved_sets(store, person), lists=store.lists(person),
        list_names=("always", "deny", "allow"),
        kept=judged, n_judged=judged.accepted + judged.refused,
    )  # fmt: skip


@router.post("/mine/lists")
async def edit_list(request: Request) -> Response:
    """Add tags to a list of one's own, or remove one."""
    visit, form = Visit.of(request, "write"), await small_form(request)
    person = visit.need_person()
    if (name := form.get("list")) not in LIST_NAMES:
        raise HTTPException(400)
    gone, edit = form.get("remove"), visit.service.store.edit_lists
    tags = [gone] if gone else split_tags(text_of(form, "tags", MOST_LETTERS))
    await run_in_threadpool(edit, name, tags, user_id=person, remove=bool(gone))
    return see_other("/mine#lists")


@router.post("/mine/sets")
async def edit_set(request: Request) -> Response:
    """Save a set of one's own, or remove one."""
    visit, form = Visit.of(request, "write"), await small_form(request)
    person = visit.need_person()
    store = visit.service.store
    if gone := form.get("remove"):
        await run_in_threadpool(remove_set, store, person, gone)
    else:
        tags = split_tags(text_of(form, "tags", MOST_LETTERS))
        await run_in_threadpool(save_set, store, person, text_of(form, "name"), tags)
    return see_other("/mine#sets")


@router.get("/mine/export")
def export(request: Request) -> Response:
    """One's posts as JSON Lines, as `pixtag export` writes them."""
    visit = Visit.of(request, "read")
    person = visit.need_person()

    def lines() -> Iterator[bytes]:
        for post in visit.service.reader.posts(user_id=person):
            yield post_line(post)

    name = f"attachment; filename=\"posts.jsonl\"; filename*=UTF-8''{quote(person, safe='')}.jsonl"
    headers = {"Content-Disposition": name, "Cache-Control": "no-store"}
    return StreamingResponse(lines(), media_type="application/x-ndjson", headers=headers)


@router.post("/mine/forget")
async def forget(request: Request) -> Response:
    """Forget a person for good, once they agreed."""
    visit, form = Visit.of(request, "write"), await small_form(request)
    person = visit.need_person()
    if form.get("agreed") != "yes":
        raise InputError(visit.texts("forget.agree"), hint=visit.texts("forget.agree_hint"))
    await run_in_threadpool(visit.service.forget, person)
    response = visit.render("forgotten.html", person_gone=person)
    visit.remember(response, person=None)
    return response


@router.get("/tag/{tag:path}")
def tag_page(request: Request, tag: str) -> Response:
    """A tag: how often it was used over time, with what, and whether it rises."""
    visit = Visit.of(request, "read")
    name = normalise_tag(tag)
    if name is None:
        raise HTTPException(404)
    store, t, person = visit.service.reader, visit.texts, visit.person
    used = times_of(store, name)
    n_people = len({who for _, who in used})
    # A tag of few people is theirs alone: who may see one person sees that person's uses.
    if visit.bound is not None and n_people < LEAST_PEOPLE:
        used = [(at, who) for at, who in used if who == visit.bound]
    own = [at for at, who in used if who == person] if person else []
    marked = [(at, person is not None and who == person) for at, who in used]
    spans = charts.over_time(marked, until=time.time())
    heights = [(t.span(one.at, one.unit), (one.n_own, one.n_others)) for one in spans]
    rising = _rising(visit)
    return visit.render(
        "tag.html", tag=name, n_uses=len(used), n_own=len(own), last_own=own[-1] if own else None,
        n_people=n_people if n_people >= LEAST_PEOPLE else 0, person=person,
        chart=charts.columns(heights, t("tag.chart"), width=1000) if used else "",
        beside=goes_with(visit, name, person),
        rise=next((one for one in rising if one.tag == name), None),
        rising=[one for one in rising if one.tag != name][:8],
    )  # fmt: skip


@router.get("/rising")
def rising(request: Request) -> Response:
    """What more people use than usual; where nothing rises, what is usual at this time of year."""
    visit = Visit.of(request, "read")
    found = _rising(visit)
    usual = () if found else calendar().usual(time.time(), k=N_RISING)
    return visit.render("rising.html", rising=found, usual=usual)


def _rising(visit: Visit) -> list[Rising]:
    return visit.service.predictor.trending(k=N_RISING)


@router.get("/photo")
def photo(request: Request, post: str = "") -> Response:
    """The square middle of a post's photo, where its file is still there; from the store's path."""
    visit = Visit.of(request, "read")
    path = photo_of(visit.service.reader, post, user=visit.bound)
    if not path:
        raise HTTPException(404)
    try:
        pixels = images.decode(Path(path), target_px=THUMBNAIL_PX)
    except ImageError:
        raise HTTPException(404) from None
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=82)
    headers = {"Cache-Control": "private, max-age=600"}
    return Response(out.getvalue(), media_type="image/jpeg", headers=headers)
