"""Verbs that suggest: predict, trending, lists."""

from __future__ import annotations

import re
import sys
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from pixtag.cli import output
from pixtag.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pixtag.lists import Lists, Platform, RestrictedTag
    from pixtag.predictor import Answer
    from pixtag.types import PostLog

Format = Literal["table", "json", "txt"]
ListName = Literal["deny", "allow", "always"]
Model = Annotated[Path | None, Parameter(name="--model")]

_SHOWN_REASONS = 3
_SHOWN_SHARE = 0.1  # of what the strongest reason adds: what adds less is not shown


def predict(
    photos: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    user: str | None = None,
    store: Path | None = None,
    history: str | None = None,
    at: str | None = None,
    k: Annotated[int, Parameter(name=("-k", "--k"), validator=Number(gte=1, lte=100))] = 5,
    platform: str | None = None,
    accept: list[str] | None = None,
    refuse: list[str] | None = None,
    stranger: bool = False,
    similar: bool = False,
    lists: Annotated[bool, Parameter(negative="--no-lists")] = True,
    bundle: Model = None,
    platforms: Path | None = None,
    restricted: Path | None = None,
    format: Format = "table",
    json: bool = False,
) -> int:
    """Suggest hashtags for photos, with how likely each is and why.

    A photo that the store knows, or that has a sidecar (NAME.txt, comma-separated tags), shows
    its own tags too, and each suggestion is marked right or wrong; it is then judged at the
    moment when it was posted, without its own post.

    Of hashtags that say the same (the same photos, the same company, in whatever spelling), the
    second counts half unless the person has used it. Files named platforms.toml and
    restricted_tags.toml among the settings add to those of the package.

    Args:
        photos: Photos, or folders that are searched for photos. `-` is standard input: a photo, or
            a list of paths, one a line.
        user: Whose photos they are; the only person of the store by default.
        store: Store of earlier posts, made by `pixtag import`; yours, if any, by default.
        history: Tags that the person uses, as "a, b" or "#a #b"; repeat one that they use often.
        at: Time to suggest for, as 2026-05-01 or 2026-05-01T18:30+02:00 (else UTC); now if absent.
        k: How many hashtags, accepted and always-added ones included.
        platform: Cut -k to its cap: instagram, threads, x, tiktok, pinterest, mastodon, your own.
        accept: Chosen already (repeatable): comes first, counts in -k, draws in what goes with it.
        refuse: Not wanted (repeatable); what says the same counts less.
        stranger: Answer as for somebody unknown: no store, nobody's history.
        similar: Do not hold back a second hashtag that says the same, as #dog and #dogs.
        lists: Obey the lists of hashtags never, only or always suggested: see `pixtag lists`.
        bundle: File of a trained model; the shipped one by default.
        platforms: Your own file of platforms and their caps, in the form of the package's.
        restricted: Your own file of hashtags that platforms are reported to hide: only warned of.
        format: A table, JSON Lines, or one line of hashtags a photo, ready to paste.
        json: The same as --format json: one object for each photo.

    Examples:
        pixtag photo.jpg
        pixtag predict holiday/ -k 8 --json > suggestions.jsonl
        pixtag photo.jpg --history "coffee, latteart, coffee, berlin"
        find holiday -newer last.jpg | pixtag suggest - --format txt
        pixtag photo.jpg --user ana --store my.sqlite
        pixtag photo.jpg --at 2026-05-01T18:30
        pixtag photo.jpg --format txt
        pixtag photo.jpg --platform threads
        pixtag photo.jpg --accept espresso --refuse coffeelover
    """
    from pixtag.cli.main import standard_input
    from pixtag.lists import find_platform, restricted_tags
    from pixtag.photos import photos_under
    from pixtag.predictor import Predictor
    from pixtag.tags import split_tags
    from pixtag.types import parse_time

    place = None if platform is None else find_platform(platform, platforms)
    k, chosen = _fitted(k, place, accept or [])
    known, when = restricted_tags(restricted), None if at is None else parse_time(at)
    printer = _Printer("json" if json else format, chosen, known, place, when is not None)
    refused = [tag for text in refuse or [] for tag in split_tags(text)]
    user, store = (None, None) if stranger else whose(user, store)
    ask = partial(
        Predictor.answers, user=user, at=when, k=k, accepted=chosen, refused=refused,
        history=None if history is None else split_tags(history), allow_similar=similar,
        lists=lists_of(user, store) if lists else None,
    )  # fmt: skip
    with standard_input(photos, "standard input") as files:
        paths = list(photos_under(_listed(photos, files)))
        return _predict(paths, bundle, store, ask, printer)


def whose(user: str | None, store: Path | None) -> tuple[str | None, Path | None]:
    """Give the person and the store: those named, or the user's own store, if it exists."""
    from pixtag.cli.main import person_in
    from pixtag.settings import default_store
    from pixtag.store import Store

    if store is None and not (store := default_store()).exists():
        return user, None
    with Store.open(store, read_only=True) as opened:
        return person_in(opened, user), store


def _listed(given: list[Path], files: list[Path]) -> Iterator[Path]:
    """Photos; where text came on standard input, those that it names."""
    for path, file in zip(given, files, strict=True):
        try:
            text = file.read_text("utf-8") if path == Path("-") else None
        except UnicodeDecodeError:  # so it is a photo
            text = None
        if text is None:
            yield file
        else:
            yield from map(Path, filter(None, re.split(r"[\0\r\n]", text)))


def _predict(
    paths: list[Path],
    bundle: Path | None,
    store: Path | None,
    ask: partial[Iterator[Answer]],
    printer: _Printer,
) -> int:
    """Show answers as they come, and say how many photos could not be read."""
    from pixtag.predictor import Predictor

    obeyed: Lists | None = ask.keywords["lists"]
    if obeyed is not None and obeyed.allow:
        output.say(f"note: only the {len(obeyed.allow)} hashtags of the allow list are offered")
    n_broken = 0
    # On a terminal the answers themselves show how far it is; a bar would write across them.
    bar = output.progress("looking at photos", len(paths), unit="photos")
    with Predictor.load(bundle, store=store) as predictor:
        for note in predictor.notes(user=ask.keywords["user"], at=ask.keywords["at"]):
            output.say(f"note: {note}")
        with nullcontext() if sys.stdout.isatty() else bar as watched:
            for answer in ask(predictor, paths):
                n_broken += answer.error is not None
                printer.show(answer)
                if watched is not None:
                    watched.advance()
    if n_broken and len(paths) > 1:
        n_done = len(paths) - n_broken
        output.say(f"{n_done} of {len(paths)} photos done, {n_broken} could not be read")
    return 1 if n_broken else 0


def trending(
    *,
    store: Path | None = None,
    at: str | None = None,
    k: Annotated[int, Parameter(name=("-k", "--k"), validator=Number(gte=1, lte=1000))] = 20,
    json: bool = False,
) -> None:
    """List the tags that more people use than usual.

    Counts people, not posts: one person's flood moves nothing, and a tag of fewer than three
    people is not shown. A store of fewer people has no trends: what is usual at this time of the
    year, anywhere, is listed instead. What rises elsewhere (`pixtag trends`) names its source; its
    people are accounts of one day.

    Args:
        store: Store of posts, made by `pixtag import`; yours by default.
        at: Time to look at, as 2026-05-01 or 2026-05-01T18:30+02:00 (else UTC); now if absent.
        k: How many tags at most.
        json: Print JSON Lines, one object for each tag.

    Examples:
        pixtag trending
        pixtag trending --store my.sqlite --at 2026-05-01 -k 5
    """
    from pixtag.cli.main import your_store
    from pixtag.evidence import MemoryEvidence, NoModel, Outside
    from pixtag.predictor import minute_of, moment_of
    from pixtag.signals.trend import LEAST_PEOPLE, rising_tags
    from pixtag.store import Store
    from pixtag.store.outside import outside_counts
    from pixtag.types import iso_time, parse_time

    store = your_store(store)
    with Store.open(store, read_only=True) as opened:
        log, (_, counts) = opened.log(), outside_counts(opened)
    evidence = MemoryEvidence((), NoModel())
    evidence.observe(log)
    evidence.hear(Outside(counts) if counts else None)
    view = evidence.view()
    when = moment_of(view, None if at is None else parse_time(at))
    found = rising_tags(view, at=when, k=k, denied=lists_of(None, store).deny)
    n_people = _n_people(log, before=when)
    if 0 < n_people < LEAST_PEOPLE and not found:
        who = "one person" if n_people == 1 else f"{n_people} people"
        output.say(f"all posts are of {who}: nothing trends among fewer than {LEAST_PEOPLE}")
        _show_usual(when, k=k, json=json)
        return
    if json:
        for one in found:
            output.print_json_line({**asdict(one), "at": iso_time(when)})
    elif found:
        rows: list[tuple[object, ...]] = []
        for one in found:
            n = one.window_hours
            window = f"{n:.0f} hours" if n < 48 else f"{n / 24:.0f} days"
            row = (f"#{one.tag}", f"{one.times_usual:.1f} times usual", one.n_people, window)
            rows.append((*row, one.source) if counts else row)
        columns: dict[str, output.Align] = dict.fromkeys(("rate", "people", "in the last"), "right")
        columns = {"hashtag": "left", **columns}
        output.print_table({**columns, "at": "left"} if counts else columns, rows)
    if not found:
        last = float(log.at[-1]) if len(log) else float("-inf")
        tail = f"; the latest post is of {minute_of(last)}" if last > float("-inf") else ""
        output.say(f"nothing rises at {minute_of(when)}{tail}")


def _n_people(log: PostLog, *, before: float) -> int:
    """How many people posted before a time; a post of nobody is of a person of its own."""
    people = log.user_of_post[log.at < before].tolist()
    nobody = people.count(len(log.users))
    return len(set(people)) - (nobody > 0) + nobody


def _show_usual(when: float, *, k: int, json: bool) -> None:
    """List what the calendar has at a time."""
    from pixtag.signals.calendar import calendar
    from pixtag.types import iso_time

    found = calendar().usual(when, k=k)
    if json:
        for one in found:
            output.print_json_line({**asdict(one), "at": iso_time(when)})
        return
    output.say("usual at this time of the year, anywhere:")
    rows = [(f"#{one.tag}", one.occasion, f"{one.times_usual:.0f} times") for one in found]
    output.print_table({"hashtag": "left", "for": "left", "its yearly mean": "right"}, rows)


def _fitted(k: int, platform: Platform | None, accept: list[str]) -> tuple[int, tuple[str, ...]]:
    """Cut the number of hashtags, and those accepted, to what is allowed, and say so."""
    from pixtag.tags import split_tags, tidy_tags

    accepted = tidy_tags(tag for text in accept for tag in split_tags(text))
    if platform is not None:
        name, about = platform.name, f"({platform.origin}); {platform.note}"
        if platform.cap is None:
            output.say(f"note: {name} has no known cap {about}")
        elif platform.cap < k:
            what = f"{k} hashtags cut to {platform.cap}: {platform.kind} of {name}"
            output.say(f"note: {what} {about}")
            k = platform.cap
    if len(accepted) > k:
        output.say(f"note: {len(accepted)} accepted hashtags cut to {k}")
    return k, accepted[:k]


@dataclass(frozen=True, slots=True)
class _Printer:
    """Shows answers in a form, and what is reported of shown hashtags."""

    form: Format
    accepted: tuple[str, ...]
    restricted: Mapping[str, RestrictedTag]
    platform: Platform | None  # where the photos will be posted
    is_dated: bool  # whether a time was asked about

    def show(self, answer: Answer) -> None:
        """Print an answer, or say why there is none."""
        from pixtag.lists import warning_of

        error, place = answer.error, None if self.platform is None else self.platform.name
        tags = (*self.accepted, *(s.tag for s in answer.suggestions)) if error is None else ()
        said = ((tag, warning_of(tag, self.restricted, place)) for tag in tags)
        warnings = {tag: text for tag, text in said if text}
        if self.form == "json":
            output.print_json_line(self._record(answer, warnings))
            return
        if error is not None:
            is_named = answer.photo in error.message
            output.say(f"error: {'' if is_named else answer.photo + ': '}{error.message}")
            if error.hint:
                output.say(f"hint: {error.hint}")
        if self.form == "txt":
            # A broken photo leaves its line empty, so that line i belongs to photo i.
            output.print_line(" ".join(f"#{tag}" for tag in tags))
            for text in warnings.values():
                output.say(f"warning: {text}")
        elif error is None:
            self._show_table(answer)
            for text in warnings.values():
                output.print_line(output.printable(f"warning: {text}"))

    def _show_table(self, answer: Answer) -> None:
        from pixtag.predictor import minute_of

        own, suggestions = answer.own_tags, answer.suggestions
        columns: dict[str, output.Align] = {"hashtag": "left", "prob": "right", "own": "left"}
        rows = [[f"#{tag}", "", "", "accepted"] for tag in self.accepted]
        for s in suggestions:
            percent = "<1%" if s.prob < 0.005 else f"{s.prob:.0%}"
            mark = "right" if s.tag in (own or ()) else "wrong"
            first, *more = s.reasons[:_SHOWN_REASONS]
            more = [r for r in more if r.weight >= _SHOWN_SHARE * first.weight]
            why = "; ".join(r.text for r in (first, *more))
            rows.append([f"#{s.tag}", percent, mark, why])
        if own is None:
            columns.pop("own")
            rows = [[*row[:2], row[3]] for row in rows]
        title = answer.photo + ("" if answer.user is None else f"  for {answer.user}")
        if answer.is_as_posted or self.is_dated:
            title += f"  at {minute_of(answer.at)}"
        output.print_table({**columns, "why": "left"}, rows, title=title)
        if answer.unsure:
            output.print_line("not sure what this shows")
        if own is not None:
            n_hits = sum(s.tag in own for s in suggestions)
            tags = output.printable(" ".join(f"#{tag}" for tag in own)) or "none"
            output.print_line(f"its own tags ({n_hits} suggested): {tags}")
            if answer.is_trained_on:
                output.print_line("the model was trained on this post: it says little of others")
            output.print_line("")

    def _record(self, answer: Answer, warnings: Mapping[str, str]) -> dict[str, object]:
        from pixtag.types import iso_time

        record: dict[str, object] = {"photo": answer.photo}
        if (error := answer.error) is not None:
            about = {"kind": error.kind, "message": error.message, "hint": error.hint}
            return record | {"error": about}
        record |= {"at": iso_time(answer.at), "user": answer.user}
        if answer.own_tags is not None:
            record |= {"tags": answer.own_tags, "is_trained_on": answer.is_trained_on}
        if self.accepted:
            record["accepted"] = self.accepted
        suggestions: list[dict[str, object]] = []
        for s in answer.suggestions:
            entry: dict[str, object] = {"tag": s.tag, "prob": round(s.prob, 6)}
            if answer.own_tags is not None:
                entry["is_right"] = s.tag in answer.own_tags
            if any(r.source == "lists" for r in s.reasons):
                entry["is_always"] = True
            reasons = [{**asdict(r), "weight": round(r.weight, 4)} for r in s.reasons]
            suggestions.append(entry | {"reasons": reasons})
        said = [{"tag": tag, "text": text} for tag, text in warnings.items()]
        return record | {"suggestions": suggestions, "warnings": said, "unsure": answer.unsure}


def lists(
    name: ListName | None = None,
    action: Literal["add", "remove"] | None = None,
    /,
    *tags: str,
    user: str | None = None,
    store: Path | None = None,
    json: bool = False,
) -> None:
    """Show or change the hashtags that are never, only or always suggested.

    deny: never suggested, whatever else is said. allow: as long as it holds any, only these are
    suggested. always: added after the suggestions, within their number. `pixtag predict` obeys
    all three; --no-lists there switches them off.

    The lists hold for everybody, or with --user for one person of a store, beside those for
    everybody. The latter are a plain file, named on stderr, that you may edit; a person's are
    in the store, and `pixtag forget` removes them.

    Args:
        name: Which list: deny, allow or always; all when absent.
        action: add or remove; without it the lists are shown.
        tags: Hashtags, with or without the sign.
        user: A person of the store, for lists of their own.
        store: The store of the person; yours by default.
        json: Print one JSON object instead of a table.

    Examples:
        pixtag lists
        pixtag lists deny add love instagood
        pixtag lists always add studioana --user ana
        pixtag lists deny remove love
    """
    from pixtag.cli.main import your_store
    from pixtag.lists import LIST_NAMES, Lists, edit_global_lists, global_lists, global_lists_path
    from pixtag.store import Store
    from pixtag.tags import split_tags

    if user is not None:
        store = your_store(store)
    given = [tag for text in tags for tag in split_tags(text)]
    is_removal = action == "remove"
    if action and name and not given:
        raise InputError(f"no hashtags to {action}", hint=f"pixtag lists {name} {action} TAG")

    def say_changed(changed: list[str], place: Path) -> None:
        n_same = len(given) - len(changed)
        same = f", {n_same} {'not there' if is_removal else 'there already'}" if n_same else ""
        what = "removed" if is_removal else "added"
        output.say(f"{name}: {len(changed)} {what}{same}; {place}")

    path = global_lists_path()
    if user is None and action and name:
        say_changed(edit_global_lists(name, given, remove=is_removal), path)
    found = {"everybody": global_lists()}
    if store is not None and user is not None:
        with Store.open(store, read_only=not (action and name)) as opened:
            if user not in dict(opened.summary().posts_per_person):
                output.say(f"note: {user!r} has no posts in {store}")
            if action and name:
                changed = opened.edit_lists(name, given, user_id=user, remove=is_removal)
                say_changed(changed, store)
            found[user] = opened.lists(user)
            if opened.lists() != Lists():  # taken in from a file of an earlier version
                found[f"everybody in {store.name}"] = opened.lists()
    names = LIST_NAMES if name is None else (name,)
    shown = {whose: {n: getattr(lists, n) for n in names} for whose, lists in found.items()}
    if json:
        output.print_json(shown)
        return
    pairs = ((n, whose, shown[whose][n]) for n in names for whose in shown)
    rows = [(n, whose, " ".join(f"#{t}" for t in tags) or "none") for n, whose, tags in pairs]
    output.print_table({"list": "left", "for": "left", "hashtags": "left"}, rows)
    output.say(f"{'read' if path.exists() else 'not there'}: {path}")


def lists_of(user: str | None, store: Path | None) -> Lists:
    """Give the lists that hold for a person: everybody's, the store's and their own."""
    from pixtag.lists import global_lists
    from pixtag.store import Store

    if store is None:
        return global_lists()
    with Store.open(store, read_only=True) as opened:
        found = global_lists().joined(opened.lists())
        return found if user is None else found.joined(opened.lists(user))
