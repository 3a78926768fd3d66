"""Verbs about posts in a store: import, export, posts, history, forget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from pixtag.cli import output

if TYPE_CHECKING:
    from pixtag.embed import EmbedResult
    from pixtag.ingest import ImportReport
    from pixtag.store import ForgetResult, Store

_SHOWN_PEOPLE = 20
_SHOWN_TAGS = 50


def register(app: App) -> None:
    """Add this group's verbs to the command line that is being built."""
    app.command(import_, name="import")
    for verb in (export, posts, history, forget):
        app.command(verb)


def import_(
    *paths: Path,
    store: Path,
    kind: str | None = None,
    user: str | None = None,
    comments: Annotated[bool, Parameter(negative="--no-comments")] = True,
    copy: bool = False,
    embed: Annotated[bool, Parameter(negative="--no-embed")] = True,
    encoder: Path | None = None,
    json: bool = False,
) -> None:
    """Read posts into a store and look at their photos.

    What lies at a path is found out by looking: posts in JSON Lines, CSV or Parquet (also .gz and
    .zst), folders of NAME.jpg beside NAME.txt, an instaloader folder, or Instagram's own archive
    (a folder or its zips, in JSON). It may be interrupted and run again: nothing comes twice.

    Args:
        paths: Files and folders; several zips are one archive.
        store: The store; made when it is missing.
        kind: What the paths are, where looking is not enough; an unknown one lists them all.
        user: The person, for sources that name nobody.
        comments: Add hashtags of own comments made within ten minutes of a post.
        copy: Keep a copy of every photo beside the store (those in zips always are).
        embed: Look at the photos now; needed before pixels can help.
        encoder: The ONNX file to look at photos with; the one in the package by default.
        json: Print the summary as one JSON object.

    Examples:
        pixtag import instagram-ana-2026.zip --store my.sqlite
        pixtag import posts.jsonl more.csv.gz --store my.sqlite --no-embed
        pixtag import part-1.zip part-2.zip --store my.sqlite --user ana
    """
    from pixtag.encoder import load_encoder
    from pixtag.ingest import find_sources, import_posts
    from pixtag.store import Store

    # First, so that a wrong path leaves no empty store.
    sources = find_sources(paths, kind)
    looker = load_encoder(encoder) if embed else None
    looked: EmbedResult | None = None
    with Store.open(store, create=True) as opened:
        with output.progress("reading posts") as bar:
            report = import_posts(
                sources,
                opened,
                user_id=user,
                join_comments=comments,
                keep_copies=copy,
                on_progress=bar.update,
            )
        if not json:
            _show_report(report)
        if looker is not None:
            from pixtag.embed import embed_missing

            with output.progress("looking at photos", unit="photos") as bar:
                looked = embed_missing(opened, looker, on_progress=bar.update)
        if json:
            output.print_json({**report.as_dict(), "embedding": looked, "store": str(store)})
        n_posts = opened.summary().n_posts
    if looked is not None and looked.failed:
        faults = ", ".join(f"{count:,} {fault}" for fault, count in looked.faults.items())
        output.say(
            f"{_count(looked.failed, 'photo')} could not be looked at ({faults}); "
            f"`pixtag doctor {store}` lists them"
        )
    seen = "" if looked is None else f", {_count(looked.embedded, 'photo')} looked at"
    output.say(f"{store} now holds {_count(n_posts, 'post')} ({report.added:,} new{seen})")


def export(*, store: Path, out: Path, user: str | None = None) -> None:
    """Write the posts of a store as JSON Lines, in the form that import reads.

    Photos are named by their path; they are not copied.

    Args:
        store: The store.
        out: The file to write; a name in .gz is compressed.
        user: Only this person's posts.

    Examples:
        pixtag export --store my.sqlite --out posts.jsonl
    """
    from pixtag.ingest import export_posts
    from pixtag.store import Store

    with Store.open(store, read_only=True) as opened, output.progress("writing posts") as bar:
        if user is not None:
            _require_person(opened, user)
        n_posts = export_posts(opened, out, user_id=user, on_progress=bar.update)
    output.say(f"wrote {_count(n_posts, 'post')} to {out}")


def posts(*, store: Path, json: bool = False) -> None:
    """Show what a store holds, and how many posts each person has.

    Args:
        store: The store.
        json: Print one JSON object, with every person.

    Examples:
        pixtag posts --store my.sqlite
    """
    from pixtag.store import Store
    from pixtag.times import iso_time

    with Store.open(store, read_only=True) as opened:
        summary = opened.summary()
        n_failures = len(opened.failures())
    record = {
        "posts": summary.n_posts,
        "without a time": summary.n_untimed,
        "people": summary.n_people,
        "tags": summary.n_tags,
        "tag uses": summary.n_tag_uses,
        "photos": summary.n_photos,
        "embeddings": summary.n_embeddings,
        "photos that failed": n_failures,
        "first post": iso_time(summary.first_at),
        "last post": iso_time(summary.last_at),
    }
    if json:
        plain = {name.replace(" ", "_"): value for name, value in record.items()}
        output.print_json({**plain, "posts_per_person": dict(summary.posts_per_person)})
        return
    output.describe({k: f"{v:,}" if isinstance(v, int) else v for k, v in record.items()})
    shown = summary.posts_per_person[:_SHOWN_PEOPLE]
    if shown:
        output.print_table({"person": "left", "posts": "right"}, [(u, f"{n:,}") for u, n in shown])
    if summary.n_people > len(shown):
        output.say(f"{summary.n_people - len(shown):,} more people: --json lists everybody")


def history(user: str, *, store: Path, at: str | None = None, json: bool = False) -> None:
    """Show which hashtags a person uses, how often and since when.

    Args:
        user: The person.
        store: The store.
        at: Only posts before this time, as 2026-05-01 or 2026-05-01T18:30+02:00 (else UTC).
        json: Print one JSON object, with every hashtag.

    Examples:
        pixtag history ana --store my.sqlite
        pixtag history ana --store my.sqlite --at 2026-01-01
    """
    from pixtag.store import Store
    from pixtag.times import iso_time, parse_time

    before = None if at is None else parse_time(at).timestamp()
    times: dict[str, list[float | None]] = {}
    n_posts = n_untimed = 0
    with Store.open(store, read_only=True) as opened:
        _require_person(opened, user)
        for post in opened.posts(user_id=user):  # those without a time, then in time order
            if before is not None and (post.posted_at is None or post.posted_at >= before):
                continue
            n_posts += 1
            n_untimed += post.posted_at is None
            for tag in post.tags:
                times.setdefault(tag, []).append(post.posted_at)
    uses = [(tag, len(ats), [t for t in ats if t is not None]) for tag, ats in times.items()]
    uses.sort(key=lambda use: (-use[1], -(use[2] or [0.0])[-1], use[0]))
    rows = [
        (tag, n_uses, *((iso_time(timed[0]), iso_time(timed[-1])) if timed else (None, None)))
        for tag, n_uses, timed in uses
    ]
    if json:
        names = ("tag", "uses", "first_at", "last_at")
        tags = [dict(zip(names, row, strict=True)) for row in rows]
        output.print_json({"user": user, "posts": n_posts, "untimed": n_untimed, "tags": tags})
        return
    output.print_table(
        {"hashtag": "left", "uses": "right", "first": "left", "last": "left"},
        [
            (f"#{tag}", f"{n_uses:,}", (first or "")[:10], (last or "")[:10])
            for tag, n_uses, first, last in rows[:_SHOWN_TAGS]
        ],
    )
    if len(rows) > _SHOWN_TAGS:
        output.say(f"{len(rows) - _SHOWN_TAGS:,} more hashtags: --json lists all")
    if n_untimed:
        output.say(
            f"{_count(n_untimed, 'post')} without a time: listed here, but no part of the "
            "history that suggestions use"
        )
    output.say(f"{user}: {_count(n_posts, 'post')}, {_count(len(rows), 'hashtag')}")


def forget(user: str, *, store: Path, json: bool = False) -> None:
    """Remove a person from a store: posts, embeddings, lists, kept copies and derived files.

    The person's own files elsewhere and bundles that were trained on them are not touched; the
    latter are named, so that you can train them again.

    Args:
        user: The person.
        store: The store; its file shrinks.
        json: Print what was removed as one JSON object.

    Examples:
        pixtag forget ana --store my.sqlite
    """
    from pixtag.lists import Lists
    from pixtag.store import Store

    with Store.open(store) as opened:
        if opened.lists(user) == Lists():
            _require_person(opened, user)
        result = opened.forget(user)
    if json:
        output.print_json(result)
    else:
        _show_forgotten(result)
    if not result.is_compacted:
        output.say(
            f"hint: {store} could not shrink yet, because another process has it open or the disk "
            f"is full; the next command that writes to it tries again"
        )
    for bundle in result.bundles:
        output.say(
            f"the bundle {bundle.path} was trained on this person and is unchanged; to be rid of "
            f"what it learned: pixtag train --store {store} --out {bundle.path}"
        )
    output.say(
        f"forgot {user}: {_count(result.posts, 'post')} gone from {store} "
        f"({result.bytes_before:,} to {result.bytes_after:,} bytes)"
    )


def _require_person(store: Store, user: str) -> None:
    from difflib import get_close_matches

    from pixtag.errors import InputError

    people = [name for name, _ in store.summary().posts_per_person]
    if user in people:
        return
    close = get_close_matches(user, people, n=3)
    raise InputError(
        f"{user!r} has no posts in {store.path}",
        hint=f"did you mean {', '.join(close)}?" if close else "`pixtag posts` lists the people",
    )


def _show_report(report: ImportReport) -> None:
    known = f"{report.added:,} new, {report.updated:,} changed, {report.unchanged:,} known"
    copied = f"{report.n_photos_copied:,} beside the store" if report.n_photos_copied else None
    met = {
        "videos skipped": report.n_videos_skipped,
        "stories skipped": report.n_stories_skipped,
        "reels skipped": report.n_reels_skipped,
        "comments joined": report.n_comments_joined,
        "texts repaired": report.n_texts_repaired,
    }
    output.describe(
        {
            "read": "; ".join(f"{path} ({kind})" for path, kind in report.sources),
            "posts": f"{report.n_posts:,} ({known})",
            "without a time": f"{report.n_untimed:,}" if report.n_untimed else None,
            "time span": f"{report.first_at} to {report.last_at}" if report.first_at else None,
            "photos": f"{report.n_photos:,}",
            "copied": copied,
            "people": f"{report.n_people:,}",
            "hashtags": f"{report.n_tags:,} in {report.n_tag_uses:,} uses",
            **{what: f"{count:,}" for what, count in met.items() if count},
        }
    )
    rows: list[tuple[str, str, str]] = []
    for what, counts in (("changed", report.tags.changed), ("dropped", report.tags.dropped)):
        for reason, count in counts.most_common():
            example = report.tags.examples.get(reason, "")
            rows.append((f"hashtag {what}: {reason}", f"{count:,}", example))
    for kind, count in report.problems.counts.most_common():
        rows.append((kind, f"{count:,}", report.problems.examples[kind]))
    if rows:
        output.print_table({"noted": "left", "count": "right", "example": "left"}, rows)


def _show_forgotten(result: ForgetResult) -> None:
    output.describe(
        {
            "posts": f"{result.posts:,}",
            "hashtag uses": f"{result.tag_uses:,}",
            "photos": f"{result.photos:,} (the files themselves stay where they are)",
            "embeddings": f"{result.embeddings:,}",
            "lists of hashtags": "removed" if result.had_lists else None,
            "copies and derived files": f"{result.files:,}",
        }
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
