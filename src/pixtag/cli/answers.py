"""What `pixtag predict` does once its command line is read: find photos, ask, show answers.

Free of what reads command lines and checks settings: `pixtag photo.jpg` needs neither.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pixtag.cli import output
from pixtag.cli.main import open_store, person_in, standard_input
from pixtag.errors import did_you_mean
from pixtag.places import config_folder, default_store

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from datetime import datetime

    from pixtag.lists import Lists
    from pixtag.platforms import Platform, RestrictedTag
    from pixtag.predictor import Answer, Predictor
    from pixtag.store import Store

Format = Literal["table", "json", "txt"]

_MOST_GUESSED = 1000  # people of a store among whom a mistyped name is looked for
_SHOWN_REASONS = 3
_SHOWN_SHARE = 0.1  # of what the strongest reason adds: what adds less is not shown


def show_answers(
    photos: Sequence[Path],
    *,
    user: str | None = None,
    store: str | None = None,
    history: str | None = None,
    at: str | None = None,
    k: int = 5,
    platform: str | None = None,
    accept: Sequence[str] | None = None,
    refuse: Sequence[str] | None = None,
    stranger: bool = False,
    similar: bool = False,
    lists: bool = True,
    bundle: Path | None = None,
    platforms: Path | None = None,
    restricted: Path | None = None,
    format: Format = "table",
) -> int:
    """Suggest for photos, or folders of them, as `pixtag predict` says; gives the exit code."""
    from pixtag.photos import photos_under
    from pixtag.tags import split_tags
    from pixtag.types import parse_time

    place: Platform | None = None
    if platform is not None:
        from pixtag.platforms import find_platform

        place = find_platform(platform, platforms)
    k, chosen = _fitted(k, place, accept or ())
    known, when = _known_as_hidden(restricted), None if at is None else parse_time(at)
    printer = _Printer(format, chosen, known, place, when is not None)
    refused = [tag for text in refuse or () for tag in split_tags(text)]
    user, store = whose(user, store, stranger=stranger)
    obeyed = lists_of(user, store) if lists else None
    with standard_input(photos, "standard input") as files:
        paths = list(photos_under(_listed(photos, files)))
        printer.names.update(dict.fromkeys(map(str, {*files} - {*photos}), "-"))
        if obeyed is not None and obeyed.allow:
            output.say(f"note: only the {len(obeyed.allow)} hashtags of the allow list are offered")
        # On a terminal the answers themselves show how far it is; a bar would write across them.
        bar = output.progress("looking at photos", len(paths), unit="photos")
        with (
            loaded_predictor(bundle, store, user=user, at=when) as predictor,
            nullcontext() if sys.stdout.isatty() else bar as watched,
        ):
            answers = predictor.answers(
                paths, user=user, at=when, k=k, accepted=chosen, refused=refused,
                history=None if history is None else split_tags(history), allow_similar=similar,
                lists=obeyed,
            )  # fmt: skip
            n_broken = 0
            for answer in answers:
                n_broken += answer.error is not None
                printer.show(answer)
                if watched is not None:
                    watched.advance()
    if n_broken and len(paths) > 1:
        n_done = len(paths) - n_broken
        output.say(f"{n_done} of {len(paths)} photos done, {n_broken} could not be read")
    return 1 if n_broken else 0


def whose(
    user: str | None, store: str | None, *, stranger: bool = False
) -> tuple[str | None, str | None]:
    """Give the person and the store: those named, or the user's own store, if it exists."""
    if stranger:
        return None, None
    if store is None:
        if not default_store().exists():
            return user, None
        store = str(default_store())
    with open_store(store, read_only=True) as opened:
        people = opened.people(at_most=_MOST_GUESSED) if user is not None else []
        is_sure = len(people) < _MOST_GUESSED and user not in people
        if user is not None and is_sure and (guess := did_you_mean(user, people, n=3)):
            output.say(f"note: --user {user}: {guess}")
        return person_in(opened, user), store


def lists_of(user: str | None, store: Store | str | None) -> Lists:
    """Give the lists that hold for a person: everybody's, the store's and their own."""
    from pixtag.lists import global_lists

    if store is None:
        return global_lists()
    if isinstance(store, str):
        with open_store(store, read_only=True) as opened:
            return lists_of(user, opened)
    found = global_lists().joined(store.lists())
    return found if user is None else found.joined(store.lists(user))


@contextmanager
def loaded_predictor(
    bundle: Path | None, store: str | Store | None, *, user: str | None, at: datetime | None = None
) -> Generator[Predictor]:
    """Load a model with a store, and say what to know before trusting its answers."""
    from pixtag.predictor import Predictor

    with Predictor.load(bundle, store=store) as predictor:
        for note in predictor.notes(user=user, at=at):
            output.say(f"note: {note}")
        yield predictor


def _listed(given: Sequence[Path], files: Sequence[Path]) -> Iterator[Path]:
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


def _known_as_hidden(path: Path | None) -> Mapping[str, RestrictedTag]:
    """Read the person's own file of hidden hashtags: the one named, or that among the settings."""
    own = config_folder() / "restricted_tags.toml" if path is None else path
    if path is None and not own.exists():
        return {}
    from pixtag.platforms import restricted_tags

    return restricted_tags(own)


def _fitted(
    k: int, platform: Platform | None, accept: Sequence[str]
) -> tuple[int, tuple[str, ...]]:
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
    names: dict[str, str] = field(default_factory=dict[str, str])  # of photos, as they are shown

    def show(self, answer: Answer) -> None:
        """Print an answer, or say why there is none."""
        if name := self.names.get(answer.photo):
            if answer.error is not None:
                answer.error.message = answer.error.message.replace(answer.photo, name)
            answer = replace(answer, photo=name)
        error = answer.error
        tags = (*self.accepted, *(s.tag for s in answer.suggestions)) if error is None else ()
        warnings = self._warnings(tags)
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
            if answer.unsure:
                output.say(f"# not sure what {answer.photo} shows")
            for text in warnings.values():
                output.say(f"warning: {text}")
        elif error is None:
            self._show_table(answer)
            for text in warnings.values():
                output.print_line(output.printable(f"warning: {text}"))

    def _warnings(self, tags: Sequence[str]) -> dict[str, str]:
        if not self.restricted:
            return {}
        from pixtag.platforms import warning_of

        place = None if self.platform is None else self.platform.name
        said = ((tag, warning_of(tag, self.restricted, place)) for tag in tags)
        return {tag: text for tag, text in said if text}

    def _show_table(self, answer: Answer) -> None:
        from pixtag.moments import minute_of

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
