"""The page where photos get their hashtags; its form carries all that it knows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from fastapi import Request, Response
from starlette.datastructures import FormData, UploadFile
from starlette.responses import JSONResponse

from pixtag.choose import Wishes
from pixtag.errors import InputError, PixtagError
from pixtag.platforms import Platform, platforms, restricted_on, restricted_tags
from pixtag.reasons import LEAST_SAME_SUBJECT
from pixtag.store.served import Verdict
from pixtag.store.sets import save_set, saved_sets
from pixtag.store.usage import Earlier, beside, most_alike, tags_from, withdraw
from pixtag.tags import normalise_tag
from pixtag.types import Floats, Post, Suggestion
from pixtag.web.copying import Split, camel_case, hashtags, things_shown
from pixtag.web.forms import Shown, new_key, shown_in, signed, text_of
from pixtag.web.frame import PLATFORM, Visit, page_router
from pixtag.web.service import Served
from pixtag.web.uploads import MOST_NAME, MOST_PHOTOS, files_of, read_form
from pixtag.wording import SURE, names_theme

N_CHIPS = 5
N_LOOKED_FOR = 12  # tags among which an alt text finds what a photo shows
N_ALIKE, N_BESIDE, N_COMPLETED = 3, 6, 8
_SOURCES = ("pixels", "history", "trend", "general")

router = page_router()


@dataclass(frozen=True)
class Chip:
    """A tag in its place on the page."""

    tag: str
    is_taken: bool
    suggestion: Suggestion | None = None  # None for taken ones


@dataclass(frozen=True)
class Why:
    """What speaks for a chip."""

    suggestion: Suggestion
    shares: tuple[tuple[str, float], ...]  # of what was added by each source, of the most
    alike: Sequence[tuple[Earlier, bool]]  # and whether its photo is still there
    beside: Sequence[str]


@dataclass(frozen=True)
class Card:
    """A photo as it is shown."""

    photo: Shown
    chips: Sequence[Chip] = ()
    unsure: bool = False
    cap: int | None = None
    warnings: Sequence[str] = ()
    copies: Sequence[tuple[str, str]] = ()  # what is copied, by its name
    why: Why | None = None
    is_expired: bool = False  # it would have to be looked at again


@dataclass
class _Page:
    """One request of the form: who asks, for which platform, about which photos."""

    visit: Visit
    person: str | None
    platform: Platform | None
    photos: list[Shown]
    note: str = ""  # what was done, for a reader
    published: Shown | None = None

    def photo(self, key: str) -> Shown | None:
        return next((one for one in self.photos if one.key == key), None)


@router.get("/")
def home(request: Request) -> Response:
    """The page before the first photo."""
    visit = Visit.of(request, "read")
    name = unquote(request.cookies.get(PLATFORM, ""))
    return _rendered(_Page(visit, visit.person, platforms().get(name), []))


@router.post("/")
async def answer(request: Request) -> Response:
    """Look at new photos, do what was asked, and rank again."""
    visit = Visit.of(request, "read")
    form = await read_form(request)
    again = {
        name.removesuffix(".file"): await one.read()
        for name, one in form.items()
        if isinstance(one, UploadFile) and name.endswith(".file")
    }
    files = await files_of(form, "photos")
    return await request.app.state.work.run(_answered, visit, form, files, again)


def _answered(
    visit: Visit, form: FormData, files: list[tuple[str, bytes]], again: dict[str, bytes]
) -> Response:
    """Answer a form with its new photos, and with those sent again by their keys."""
    secret = visit.service.reader.secret
    person = visit.bound or text_of(form, "person") or (None if "person" in form else visit.person)
    default = unquote(visit.request.cookies.get(PLATFORM, ""))
    name = text_of(form, "platform") if "platform" in form else default
    page = _Page(visit, person, platforms().get(name), shown_in(form, secret))
    for photo in page.photos:
        if photo.embedding is None and photo.key in again:
            _look(visit, photo, again[photo.key])
    later = page.photo(text_of(form, "again"))  # its file comes when it is asked for
    if later is None or later.embedding is not None or later.error:
        _act(page, form)
    only = visit.request.headers.get("pixtag-part")  # the photo that a script asks about
    room = MOST_PHOTOS - len(page.photos)
    new = [Shown(new_key(), name) for name, _ in files[:room]]
    for photo, (_, data) in zip(new, files, strict=False):
        _look(visit, photo, data)
    page.photos += new
    if len(files) > room:
        page.note = visit.texts("home.too_many", n=MOST_PHOTOS)
    if only is not None:
        kept = {one.key for one in new} if only == "new" else {only}
        page.photos = [one for one in page.photos if one.key in kept]
    response = _rendered(page)
    if page.published is not None:
        _judge_as(page, page.published)
    visit.remember(
        response, person=None if visit.bound else person or "",
        platform=None if page.platform is None else page.platform.name,
    )  # fmt: skip
    return response


def _look(visit: Visit, photo: Shown, data: bytes) -> None:
    """Look at a photo; nothing of its bytes goes on but the embedding."""
    try:
        photo.embedding = visit.service.embed(data)
        photo.things = _things(visit, photo.embedding)
        photo.error = photo.hint = ""
    except PixtagError as error:
        photo.error, photo.hint = visit.explained(error)


def _things(visit: Visit, embedding: Floats) -> str:
    """What a photo shows, in words, whoever asks; empty where that is not sure."""
    seen = visit.service.predictor.answer(embedding, Wishes.of(N_LOOKED_FOR))
    knowledge = visit.service.predictor.model().knowledge
    # Those of a stranger's set, which leaves out what is not said of people.
    tags = [one.tag for one in seen.suggestions if one.tag in knowledge.vocabulary]
    if seen.unsure or not tags:
        return ""
    ids = np.array([knowledge.vocabulary.index(tag) for tag in tags])
    says = knowledge.expected_weights(embedding[None])[0, ids]
    is_sure = (says >= SURE) & knowledge.names_thing(ids) & ~names_theme(tags)
    order = np.argsort(-says, kind="stable")
    things = things_shown([tags[i] for i in order if is_sure[i]], split_by(visit))
    return ", ".join(things)[:MOST_NAME]


def _act(page: _Page, form: FormData) -> None:
    """Do what a button says: `take:PHOTO:TAG`, and so on."""
    do, key, about = [*text_of(form, "do", 600).split(":", 2), "", ""][:3]
    photo = page.photo(key)
    if photo is None:
        return
    tag = normalise_tag(about) or ""
    photo.why = tag if do == "why" and photo.why != tag else "" if do != "again" else photo.why
    t = page.visit.texts
    if do == "take" and tag:
        photo.taken[tag] = photo.served
        _judge(page, photo.served, tag, "accepted")
        page.note = t("note.taken", tag=tag)
    elif do == "drop" and tag in photo.taken:
        _withdraw(page, photo.taken.pop(tag), tag)
        page.note = t("note.dropped", tag=tag)
    elif do == "refuse" and tag:
        photo.refused[tag] = photo.served
        photo.taken.pop(tag, None)
        _judge(page, photo.served, tag, "refused")
        page.note = t("note.refused", tag=tag)
    elif do == "back" and tag in photo.refused:
        _withdraw(page, photo.refused.pop(tag), tag)
        page.note = t("note.back", tag=tag)
    elif do == "remove":
        page.photos.remove(photo)
    elif do == "set":
        _use_set(page, photo, about)
    elif do == "save":
        _save_set(page, photo, text_of(form, f"{key}.set"))
    elif do == "publish":
        _publish(page, photo)


def _use_set(page: _Page, photo: Shown, name: str) -> None:
    if page.person is not None:
        sets = {one.name: one for one in saved_sets(page.visit.service.reader, page.person)}
        for tag in sets[name].tags if name in sets else ():
            photo.taken.setdefault(tag, "")
        page.note = page.visit.texts("note.set_used", name=name)


def _save_set(page: _Page, photo: Shown, name: str) -> None:
    page.visit.principal.require("write")
    if page.person is None:
        raise InputError(page.visit.texts("who.needed"), hint=page.visit.texts("who.needed_hint"))
    save_set(page.visit.service.store, page.person, name, photo.tags)
    page.note = page.visit.texts("note.set_saved", name=name)


def _publish(page: _Page, photo: Shown) -> None:
    """Put the photo's post into the store; pressed twice, it is one post."""
    page.visit.principal.require("write")
    t, tags = page.visit.texts, photo.tags
    if photo.post:
        return
    if page.person is None or not tags:
        page.note = t("publish.no_person" if page.person is None else "publish.no_tags")
        return
    for tag in photo.typed:
        if tag not in photo.taken:
            _judge(page, photo.served, tag, "accepted" if tag in photo.order else "added")
    post = Post(f"page-{photo.key}", page.person, time.time(), tags)
    page.visit.service.publish(post, photo.embedding)
    photo.post, page.published = page.person, photo
    page.note = t("publish.done", name=page.person)


def _judge_as(page: _Page, photo: Shown) -> None:
    """Let verdicts on what was served to nobody, before a name was typed, be the person's too."""
    verdicts: tuple[tuple[Verdict, dict[str, str]], ...] = (
        ("accepted", photo.taken), ("refused", photo.refused),
    )  # fmt: skip
    for verdict, judged in verdicts:
        for tag, served in judged.items():
            try:
                page.visit.service.feedback(served, [(tag, verdict)], user=page.person)
            except InputError:
                _judge(page, photo.served if served else "", tag, verdict)


def _judge(page: _Page, served: str, tag: str, verdict: Verdict) -> None:
    """Keep a verdict; one on what was not served here, or not kept, says nothing."""
    if "write" in page.visit.principal.scopes:
        with suppress(InputError):
            page.visit.service.feedback(served, [(tag, verdict)], user=page.visit.bound)


def _withdraw(page: _Page, served: str, tag: str) -> None:
    if served and "write" in page.visit.principal.scopes:
        withdraw(page.visit.service.store, served, tag)


def _rendered(page: _Page) -> Response:
    visit = page.visit
    sets = saved_sets(visit.service.reader, page.person) if page.person else []
    return visit.render(
        "home.html", cards=[_card(page, one) for one in page.photos], person=page.person,
        platform=page.platform, platforms=_choices(), sets=sets, note=page.note, letters=_letters,
    )  # fmt: skip


def _choices() -> list[Platform]:
    return [one for one in platforms().values() if one.cap is not None]


def _letters(tag: str) -> str:
    """A tag in part, where it is too long to be read."""
    return tag if len(tag) <= 60 else tag[:59] + "…"


def _card(page: _Page, photo: Shown) -> Card:
    visit, platform = page.visit, page.platform
    if photo.error:
        return Card(photo)
    if photo.embedding is None:  # what was chosen is still shown
        photo.error, photo.hint = visit.texts("photo.expired"), visit.texts("photo.expired_hint")
        is_chosen = bool(photo.taken or photo.refused or photo.caption)
        copies = _copies(page, photo) if is_chosen else []
        return Card(photo, placed(photo, ()), copies=copies, is_expired=True)
    photo.token = signed(photo.embedding, photo.key, visit.service.reader.secret)
    cap = None if platform is None else platform.cap
    name = None if platform is None else platform.name
    served = visit.service.suggest(
        photo.embedding, user=page.person, accepted=photo.tags, refused=tuple(photo.refused),
        k=min(100, len(photo.tags) + N_CHIPS), platform=name,
    )  # fmt: skip
    photo.served = served.name
    chips = placed(photo, served.suggestions)
    photo.order = tuple(chip.tag for chip in chips)
    return Card(
        photo, chips, served.unsure, cap, _warnings(page, photo, name), _copies(page, photo),
        _why(page, photo, served),
    )  # fmt: skip


def _warnings(page: _Page, photo: Shown, platform: str | None) -> list[str]:
    """What is reported of chosen tags; who reports it, and notes, are in their own words."""
    t, known = page.visit.texts, restricted_tags()
    found = [(tag, restricted_on(tag, known, platform)) for tag in photo.tags]
    return [
        t("photo.restricted", tag=tag, platforms=", ".join(one.platforms)) + one.details
        for tag, one in found
        if one is not None
    ]


def placed(photo: Shown, suggestions: Sequence[Suggestion]) -> list[Chip]:
    """Put chips where they were: taken ones stay in their place, suggestions fill the others."""
    new = iter([s for s in suggestions if s.tag not in photo.taken])
    chips: list[Chip] = []
    for tag in dict.fromkeys([*photo.order, *photo.taken]):
        if tag in photo.taken:
            chips.append(Chip(tag, is_taken=True))
        elif (best := next(new, None)) is not None:
            chips.append(Chip(best.tag, is_taken=False, suggestion=best))
    return chips + [Chip(s.tag, is_taken=False, suggestion=s) for s in new]


def split_by(visit: Visit) -> Split:
    """What splits a run of letters into words: those that the model knows."""
    words = visit.service.predictor.model().knowledge.words
    return words.split if words is not None else lambda run: [run]


def _copies(page: _Page, photo: Shown) -> list[tuple[str, str]]:
    t, tags, split = page.visit.texts, photo.tags, split_by(page.visit)
    shown = t("alt.of", things=photo.things) if photo.things else t("alt.start")
    camel = hashtags(camel_case(tag, split) for tag in tags)
    alt = [("alt", shown)]
    if not tags:
        return alt
    comment = t("copy.comment_text", tags=camel)
    return [("tags", hashtags(tags)), ("camel", camel), ("comment", comment), *alt]


def _why(page: _Page, photo: Shown, served: Served) -> Why | None:
    found = next((s for s in served.suggestions if s.tag == photo.why), None)
    if found is None or photo.embedding is None:
        return None
    sums: dict[str, float] = dict.fromkeys(_SOURCES, 0.0)
    for reason in found.reasons:
        sums[reason.source] = sums.get(reason.source, 0.0) + max(0.0, reason.weight)
    most = max(sums.values()) or 1.0
    service, alike = page.visit.service, list[Earlier]()
    if page.person is not None:
        digest = service.predictor.encoder_digest
        args = service.reader, page.person, digest, photo.embedding
        vectors = service.predictor.model().knowledge.vectors
        alike = most_alike(*args, project=vectors, least=LEAST_SAME_SUBJECT, k=N_ALIKE)
    shares = tuple((name, sums[name] / most) for name in _SOURCES)
    seen = [(one, Path(one.path).is_file()) for one in alike]
    return Why(found, shares, seen, goes_with(page.visit, found.tag, page.person))


def goes_with(visit: Visit, tag: str, person: str | None) -> list[str]:
    """Tags that are often on the same posts: the person's first, then those the model knows."""
    found = beside(visit.service.reader, tag, person, limit=N_BESIDE) if person else []
    knowledge = visit.service.predictor.model().knowledge
    vocabulary = knowledge.vocabulary
    if len(found) < N_BESIDE and tag in vocabulary:
        ids, counts = knowledge.prior.beside(vocabulary.index(tag))
        ranked = sorted(zip((-counts).tolist(), ids.tolist(), strict=True))
        found += [vocabulary[i] for _, i in ranked if i < len(vocabulary)]
    return [one for one in dict.fromkeys(found) if one != tag][:N_BESIDE]


@router.get("/complete")
def complete(request: Request, q: str = "", person: str = "") -> Response:
    """Tags that begin as what is typed: the person's, then what several people use."""
    visit = Visit.of(request, "read")
    start = normalise_tag(q[:MOST_NAME])
    if start is None:
        return JSONResponse([])
    user = visit.bound or person or None
    found = tags_from(visit.service.reader, start, user=user, limit=N_COMPLETED)
    offered = {tag: own for tag, own, _ in found}
    for tag in visit.service.predictor.model().knowledge.vocabulary:
        if len(offered) >= N_COMPLETED:
            break
        if tag.startswith(start):
            offered.setdefault(tag, 0)
    return JSONResponse([{"tag": tag, "own": own} for tag, own in offered.items()])
