"""`pixtag predict` and `pixtag trending`: hashtags for photos, and what is rising."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from pixtag.cli import output
from pixtag.times import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pixtag.platforms import Platform, RestrictedTag
    from pixtag.predictor import Answer
    from pixtag.types import Suggestion

Format = Literal["table", "json", "txt"]

_SHOWN_REASONS = 3
_SHOWN_SHARE = 0.1
"""A reason is shown that adds at least this share of what the strongest one adds."""


def register(app: App) -> None:
    """Add this group's verbs.

    Args:
        app: The command line that is being built.
    """
    app.command(predict)
    app.command(trending)


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
    similar: bool = False,
    lists: Annotated[bool, Parameter(negative="--no-lists")] = True,
    bundle: Path | None = None,
    platforms: Path | None = None,
    restricted: Path | None = None,
    format: Format = "table",
    json: bool = False,
) -> int:
    """Suggest hashtags for photos, with how likely each is and why.

    A photo that the store knows, or that has a sidecar (NAME.txt, comma-separated tags), shows
    its own tags too, and each suggestion is marked right or wrong; it is then judged as of the
    moment when it was posted, without its own post.

    Of hashtags that say the same (the same photos, the same company, in whatever spelling), the
    second counts half unless the person has used it. Files named platforms.toml and
    restricted_tags.toml among the settings add to those of the package.

    Args:
        photos: Photos, or folders that are searched for photos.
        user: Whose photos they are: a person in the store.
        store: Store of earlier posts, made by `pixtag import`.
        history: Tags that the person uses, as "a, b" or "#a #b"; repeat one that they use often.
        at: Time to suggest for, as 2026-05-01 or 2026-05-01T18:30+02:00 (else UTC); now if absent.
        k: How many hashtags, accepted and always-added ones included.
        platform: Cut -k to its cap: instagram, threads, x, tiktok, pinterest, mastodon, your own.
        accept: Chosen already (repeatable): comes first, counts in -k, draws in what goes with it.
        refuse: Not wanted (repeatable); what says the same counts less.
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
        pixtag photo.jpg --user ana --store my.sqlite
        pixtag photo.jpg --user ana --store my.sqlite --at 2026-05-01T18:30
        pixtag photo.jpg --format txt
        pixtag photo.jpg --platform threads
        pixtag photo.jpg --accept espresso --refuse coffeelover
    """
    from pixtag.cli.settings import lists_of
    from pixtag.photos import photos_under
    from pixtag.platforms import find_platform, restricted_tags
    from pixtag.predictor import Predictor
    from pixtag.tags import split_tags, tidy_tags

    found = None if platform is None else find_platform(platform, platforms)
    obeyed = lists_of(user, store) if lists else None
    chosen = tidy_tags(tag for text in accept or () for tag in split_tags(text))
    unwanted = tidy_tags(tag for text in refuse or () for tag in split_tags(text))
    warner = Warner(restricted_tags(restricted), found)
    k, shown = _fitted(k, found, chosen)
    form: Format = "json" if json else format
    when = None if at is None else parse_time(at)
    paths = list(photos_under(photos))
    if obeyed is not None and obeyed.allow:
        output.say(f"note: only the {len(obeyed.allow)} hashtags of the allow list are offered")
    with Predictor.load(bundle, store=store) as predictor:
        for note in predictor.notes(user=user, at=when):
            output.say(f"note: {note}")
        answers = predictor.answers(
            paths,
            user=user,
            history=None if history is None else split_tags(history),
            at=when,
            k=k,
            accepted=chosen,
            refused=unwanted,
            allow_similar=similar,
            lists=obeyed,
        )
        n_broken = _show_all(answers, len(paths), form, shown, warner, is_dated=when is not None)
    if n_broken and len(paths) > 1:
        n_done = len(paths) - n_broken
        output.say(f"{n_done} of {len(paths)} photos done, {n_broken} could not be read")
    return 1 if n_broken else 0


def _show_all(
    answers: Iterable[Answer],
    n_photos: int,
    form: Format,
    accepted: tuple[str, ...],
    warner: Warner,
    *,
    is_dated: bool,
) -> int:
    """Show answers as they come, and count those with an error."""
    n_broken = 0
    # On a terminal the answers themselves show how far it is; a bar would write across them.
    watched = (
        nullcontext()
        if sys.stdout.isatty()
        else output.progress("looking at photos", n_photos, unit="photos")
    )
    with watched as bar:
        for answer in answers:
            n_broken += answer.error is not None
            _show(answer, form, accepted, warner, is_dated=is_dated)
            if bar is not None:
                bar.advance()
    return n_broken


def trending(
    *,
    store: Path,
    at: str | None = None,
    k: Annotated[int, Parameter(name=("-k", "--k"), validator=Number(gte=1, lte=1000))] = 20,
    json: bool = False,
) -> None:
    """List the tags that more people use than usual.

    Counts people, not posts: one person's flood moves nothing, and a tag of fewer than three
    people is not shown.

    Args:
        store: Store of posts, made by `pixtag import`.
        at: Time to look at, as 2026-05-01 or 2026-05-01T18:30+02:00 (else UTC); now if absent.
        k: How many tags at most.
        json: Print JSON Lines, one object for each tag.

    Examples:
        pixtag trending --store my.sqlite
        pixtag trending --store my.sqlite --at 2026-05-01 -k 5
    """
    from pixtag.evidence import MemoryEvidence, NoModel
    from pixtag.predictor import moment_of
    from pixtag.signals.trend import rising_tags
    from pixtag.store import Store

    with Store.open(store, read_only=True) as opened:
        log = opened.log()
    evidence = MemoryEvidence((), NoModel())
    evidence.observe(log)
    view = evidence.view()
    when = datetime.fromtimestamp(moment_of(view, None if at is None else parse_time(at)), UTC)
    found = rising_tags(view, at=when.timestamp(), k=k)
    if json:
        for one in found:
            output.print_json_line({**asdict(one), "at": when.isoformat()})
    elif found:
        output.print_table(
            {"hashtag": "left", "rate": "right", "people": "right", "in the last": "right"},
            [
                (
                    f"#{one.tag}",
                    f"{one.times_usual:.1f} times usual",
                    one.n_people,
                    _hours(one.window_hours),
                )
                for one in found
            ],
        )
    if not found:
        last = float(log.at[-1]) if len(log) else float("-inf")
        tail = f"; the latest post is of {_day(last)}" if last > float("-inf") else ""
        output.say(f"nothing rises at {when:%Y-%m-%d %H:%M} UTC{tail}")


@dataclass(frozen=True, slots=True)
class Warner:
    """Says what is reported of shown hashtags.

    Attributes:
        known: Hashtags that are reported as limited.
        platform: Where the photos will be posted, or None.
    """

    known: Mapping[str, RestrictedTag]
    platform: Platform | None

    def warnings(self, tags: Sequence[str]) -> dict[str, str]:
        """What is reported of each of some hashtags of which anything is."""
        from pixtag.platforms import warning_of

        where = None if self.platform is None else self.platform.name
        said = {tag: warning_of(tag, self.known, where) for tag in tags}
        return {tag: text for tag, text in said.items() if text}


def _fitted(
    k: int, platform: Platform | None, accepted: tuple[str, ...]
) -> tuple[int, tuple[str, ...]]:
    """Cut the number of hashtags, and those accepted, to what is allowed, and say so."""
    if platform is not None and platform.cap is None:
        output.say(f"note: {platform.name} has no known cap ({platform.origin}); {platform.note}")
    if platform is not None and platform.cap is not None and platform.cap < k:
        output.say(
            f"note: {k} hashtags cut to {platform.cap}: {platform.kind} of {platform.name} "
            f"({platform.origin}); {platform.note}"
        )
        k = platform.cap
    if len(accepted) > k:
        output.say(f"note: {len(accepted)} accepted hashtags cut to {k}")
    return k, accepted[:k]


def _show(
    answer: Answer, form: Format, accepted: tuple[str, ...], warner: Warner, *, is_dated: bool
) -> None:
    shown = (*accepted, *(s.tag for s in answer.suggestions))
    warnings = warner.warnings(() if answer.error is not None else shown)
    if form == "json":
        output.print_json_line(_record(answer, accepted, warnings))
        return
    if answer.error is not None:
        is_named = answer.photo in answer.error.message
        output.say(f"error: {'' if is_named else answer.photo + ': '}{answer.error.message}")
        if answer.error.hint:
            output.say(f"hint: {answer.error.hint}")
    if form == "txt":
        # A broken photo leaves its line empty, so that line i belongs to photo i.
        output.print_line(" ".join(f"#{tag}" for tag in shown) if answer.error is None else "")
        for text in warnings.values():
            output.say(f"warning: {text}")
    elif answer.error is None:
        _show_table(answer, accepted, _title(answer, is_dated=is_dated))
        for text in warnings.values():
            output.print_line(output.printable(f"warning: {text}"))


def _show_table(answer: Answer, accepted: tuple[str, ...], title: str) -> None:
    has_own = answer.own_tags is not None
    columns: dict[str, output.Align] = {"hashtag": "left", "prob": "right"}
    if has_own:
        columns["own"] = "left"
    columns["why"] = "left"
    blank = ["", ""] if has_own else [""]
    rows: list[list[object]] = [[f"#{tag}", *blank, "accepted"] for tag in accepted]
    for suggestion in answer.suggestions:
        cells: list[object] = [f"#{suggestion.tag}", _percent(suggestion.prob)]
        if answer.own_tags is not None:
            cells.append("right" if suggestion.tag in answer.own_tags else "wrong")
        rows.append([*cells, _why(suggestion)])
    output.print_table(columns, rows, title=title)
    if answer.own_tags is not None:
        hits = sum(s.tag in answer.own_tags for s in answer.suggestions)
        own = " ".join(f"#{t}" for t in answer.own_tags) or "none"
        output.print_line(f"its own tags ({hits} suggested): {output.printable(own)}")
        if answer.is_trained_on:
            output.print_line("the bundle was trained on this post, so it says little of others")
        output.print_line("")


def _title(answer: Answer, *, is_dated: bool) -> str:
    parts = [answer.photo]
    if answer.user is not None:
        parts.append(f"for {answer.user}")
    if answer.is_as_posted or is_dated:
        parts.append(f"as of {_day(answer.at)}")
    return "  ".join(parts)


def _why(suggestion: Suggestion) -> str:
    """The reasons that matter beside the strongest one."""
    reasons = suggestion.reasons[:_SHOWN_REASONS]
    return "; ".join(r.text for r in reasons if r.weight >= _SHOWN_SHARE * reasons[0].weight)


def _percent(prob: float) -> str:
    return "<1%" if prob < 0.005 else f"{prob:.0%}"


def _record(
    answer: Answer, accepted: tuple[str, ...], warnings: Mapping[str, str]
) -> dict[str, object]:
    record: dict[str, object] = {"photo": answer.photo}
    if answer.error is not None:
        error = answer.error
        return record | {
            "error": {"kind": error.kind, "message": error.message, "hint": error.hint}
        }
    record["at"] = datetime.fromtimestamp(answer.at, UTC).isoformat()
    record["user"] = answer.user
    if answer.own_tags is not None:
        record["tags"] = answer.own_tags
        record["is_trained_on"] = answer.is_trained_on
    if accepted:
        record["accepted"] = accepted
    suggestions: list[dict[str, object]] = []
    for suggestion in answer.suggestions:
        entry: dict[str, object] = {"tag": suggestion.tag, "prob": round(suggestion.prob, 6)}
        if answer.own_tags is not None:
            entry["is_right"] = suggestion.tag in answer.own_tags
        if any(r.source == "lists" for r in suggestion.reasons):
            entry["is_always"] = True
        entry["reasons"] = [
            {"source": r.source, "text": r.text, "weight": round(r.weight, 4)}
            for r in suggestion.reasons
        ]
        suggestions.append(entry)
    said = [{"tag": tag, "text": text} for tag, text in warnings.items()]
    return record | {"suggestions": suggestions, "warnings": said}


def _hours(hours: float) -> str:
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
