"""Verbs that suggest, and what they go by: predict, trending, lists, trends."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from pixtag.cli import output
from pixtag.cli.answers import Format, lists_of, show_answers
from pixtag.cli.main import open_store, your_store
from pixtag.cli.parser import HowMany, Model
from pixtag.cli.posts import gone_if_empty
from pixtag.errors import InputError
from pixtag.places import printable

if TYPE_CHECKING:
    from pixtag.integrations.trends import TrendReport
    from pixtag.store.outside import SourceSummary
    from pixtag.types import PostLog

ListName = Literal["deny", "allow", "always"]


def predict(
    photos: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    user: str | None = None,
    store: str | None = None,
    history: str | None = None,
    at: str | None = None,
    k: HowMany = 5,
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
    second counts half unless the person has used it. A file named platforms.toml among the
    settings adds to that of the package; one named restricted_tags.toml is what is warned of.

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
        restricted: Your own file of hashtags that platforms hide: they are only warned of.
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
    return show_answers(
        photos, user=user, store=store, history=history, at=at, k=k, platform=platform,
        accept=accept, refuse=refuse, stranger=stranger, similar=similar, lists=lists,
        bundle=bundle, platforms=platforms, restricted=restricted,
        format="json" if json else format,
    )  # fmt: skip


def trending(
    *,
    store: str | None = None,
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
    from pixtag.evidence import MemoryEvidence, NoModel, Outside
    from pixtag.moments import minute_of, moment_of
    from pixtag.signals.trend import LEAST_PEOPLE, rising_tags
    from pixtag.store.outside import outside_counts
    from pixtag.types import iso_time, parse_time

    with open_store(store, read_only=True) as opened:
        log, (_, counts) = opened.log(), outside_counts(opened)
        denied = lists_of(None, opened).deny
    evidence = MemoryEvidence((), NoModel())
    evidence.observe(log)
    evidence.hear(Outside(counts) if counts else None)
    view = evidence.view()
    when = moment_of(view, None if at is None else parse_time(at))
    found = rising_tags(view, at=when, k=k, denied=denied)
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
    rows = [(f"#{one.tag}", one.occasion, f"{one.times_usual:.0f}") for one in found]
    output.print_table({"hashtag": "left", "for": "left", "times its yearly mean": "right"}, rows)


def lists(
    name: ListName | None = None,
    action: Literal["add", "remove"] | None = None,
    /,
    *tags: str,
    user: str | None = None,
    store: str | None = None,
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
        store: The store of the person, yours by default; without --user none is read.
        json: Print one JSON object instead of a table.

    Examples:
        pixtag lists
        pixtag lists deny add love instagood
        pixtag lists always add studioana --user ana
        pixtag lists deny remove love
    """
    from pixtag.lists import LIST_NAMES, Lists, edit_global_lists, global_lists, global_lists_path
    from pixtag.tags import split_tags

    given = [tag for text in tags for tag in split_tags(text)]
    is_removal = action == "remove"
    if action and name and not given:
        raise InputError(f"no hashtags to {action}", hint=f"pixtag lists {name} {action} TAG")

    def say_changed(changed: list[str], place: object) -> None:
        n_same = len(given) - len(changed)
        same = f", {n_same} {'not there' if is_removal else 'there already'}" if n_same else ""
        what = "removed" if is_removal else "added"
        output.say(f"{name}: {len(changed)} {what}{same}; {place}")

    path = global_lists_path()
    if user is None and action and name:
        say_changed(edit_global_lists(name, given, remove=is_removal), path)
    found = {"everybody": global_lists()}
    if user is not None:
        with open_store(store, read_only=not (action and name)) as opened:
            if user not in dict(opened.summary().posts_per_person):
                output.say(f"note: {user!r} has no posts in {opened.address}")
            if action and name:
                changed = opened.edit_lists(name, given, user_id=user, remove=is_removal)
                say_changed(changed, opened.address)
            found[user] = opened.lists(user)
            if opened.lists() != Lists():  # taken in from a file of an earlier version
                found[f"everybody in {opened.path.name}"] = opened.lists()
    names = LIST_NAMES if name is None else (name,)
    shown = {whose: {n: getattr(lists, n) for n in names} for whose, lists in found.items()}
    if json:
        output.print_json(shown)
        return
    pairs = ((n, whose, shown[whose][n]) for n in names for whose in shown)
    rows = [(n, whose, " ".join(f"#{t}" for t in tags) or "none") for n, whose, tags in pairs]
    output.print_table({"list": "left", "for": "left", "hashtags": "left"}, rows)
    output.say(f"{'read' if path.exists() else 'not there'}: {path}")


def trends(
    action: Literal["import", "fetch", "list"] = "list",
    /,
    *places: str,
    store: str | None = None,
    source: str | None = None,
    json: bool = False,
) -> int:
    """Take in what rises elsewhere: counts of hashtags from files and from other servers.

    import: a file with tag, time, count and perhaps accounts, in CSV with a heading or JSON Lines,
    plain or compressed; without accounts each use counts as one. fetch: what rises on a server of
    Mastodon or Pixelfed, with its days. list: which sources there are, and how the last fetch went.

    The next answer reads them: for your posts as for a stranger's photo, what rises there and fits
    is suggested. A hashtag that fewer than three accounts used on every day stays unknown. Counts
    of the same source, hashtag and day are replaced; what is not fetched again fades within days.

    Args:
        action: import, fetch or list.
        places: Files to import, or servers to fetch from, as mastodon.social or with https://.
        store: The store, made when it is missing; yours by default.
        source: Name of where the counts of a file are from; the file's own by default.
        json: Print one JSON object for each source.

    Examples:
        pixtag trends fetch mastodon.social
        pixtag trends import tags-of-may.csv.gz --source campus
        pixtag trends list
        pixtag trending
    """
    from pixtag.integrations.trends import address_of, fetch_trends, import_trends
    from pixtag.store.outside import outside_sources

    if action == "list":
        if places:
            raise InputError(f"list takes no {places[0]!r}", hint="pixtag trends list")
        with open_store(store, read_only=True) as opened:
            _show_sources(outside_sources(opened), json=json)
        return 0
    if not places:
        what = {"import": "FILE", "fetch": "URL"}[action]
        raise InputError(f"nothing to {action}", hint=f"pixtag trends {action} {what}")
    if action == "fetch":
        for url in places:
            address_of(url)  # first, so that a wrong one leaves no empty store
    store = your_store(store, is_new=True)
    with gone_if_empty(store), open_store(store, is_new=True) as opened:
        for place in places:
            if action == "import":
                report = import_trends(opened, Path(place), source=source)
            else:
                with output.progress(f"asking {place}", unit="servers"):
                    report = fetch_trends(opened, place)
            _tell(report, printable(store), json=json)
    return 0


def _tell(report: TrendReport, store: str, *, json: bool) -> None:
    for kind, n in report.problems.most_common():
        output.say(f"left out, {kind}: {n:,} ({report.examples.get(kind, '')})")
    if json:
        output.print_json_line(report)
    said = f"{report.n_counts:,} counts of {report.n_tags:,} hashtags"
    output.say(f"{report.source}: {said} in {store}")


def _show_sources(sources: list[SourceSummary], *, json: bool) -> None:
    from pixtag.moments import minute_of
    from pixtag.types import iso_time

    if json:
        for one in sources:
            days = {"first_day": _day(one.first_day), "last_day": _day(one.last_day)}
            times = {"tried_at": iso_time(one.tried_at), "fetched_at": iso_time(one.fetched_at)}
            counts = {"source": one.source, "tags": one.n_tags, "counts": one.n_counts}
            output.print_json_line({**counts, **days, **times, "problem": one.problem})
        return
    if not sources:
        output.say("nothing from outside yet: `pixtag trends fetch mastodon.social` asks a server")
        return
    rows: list[tuple[object, ...]] = []
    for one in sources:
        last = "" if one.tried_at is None else minute_of(one.tried_at)
        went = one.problem or ("" if one.tried_at is None else "well")
        rows.append((one.source, one.n_tags, _day(one.first_day), _day(one.last_day), last, went))
    output.print_table(
        {"source": "left", "hashtags": "right", "first day": "left", "last day": "left",
         "last fetch": "left", "went": "left"}, rows,
    )  # fmt: skip


def _day(day: int | None) -> str | None:
    from pixtag.types import iso_time

    return None if day is None else str(iso_time(day * 86_400.0))[:10]
