"""The verb about trends outside: trends import, trends fetch, trends list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pixtag.cli import output
from pixtag.errors import InputError

if TYPE_CHECKING:
    from pixtag.integrations.trends import TrendReport
    from pixtag.store.outside import SourceSummary


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
    from pixtag.cli.main import your_store
    from pixtag.cli.posts import gone_if_empty
    from pixtag.integrations.trends import address_of, fetch_trends, import_trends
    from pixtag.places import printable
    from pixtag.store import Store
    from pixtag.store.outside import outside_sources

    if action == "list":
        if places:
            raise InputError(f"list takes no {places[0]!r}", hint="pixtag trends list")
        with Store.open(your_store(store), read_only=True) as opened:
            _show(outside_sources(opened), json=json)
        return 0
    if not places:
        what = {"import": "FILE", "fetch": "URL"}[action]
        raise InputError(f"nothing to {action}", hint=f"pixtag trends {action} {what}")
    if action == "fetch":
        for url in places:
            address_of(url)  # first, so that a wrong one leaves no empty store
    store = your_store(store, is_new=True)
    with gone_if_empty(store), Store.open(store, create=True) as opened:
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


def _show(sources: list[SourceSummary], *, json: bool) -> None:
    from pixtag.predictor import minute_of
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
