"""Verbs about what a store holds: import, export, copy, posts, history, forget, doctor."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from pixtag.cli import output
from pixtag.cli.main import open_store, person_in, standard_input, your_store
from pixtag.errors import ArchiveError, InputError, PixtagError, did_you_mean
from pixtag.places import is_server, printable, store_file

if TYPE_CHECKING:
    from collections.abc import Generator

    from pixtag.encoder import Encoder
    from pixtag.engine import Engine
    from pixtag.ingest import ImportReport
    from pixtag.photos import EmbedResult
    from pixtag.store import Store

_SHOWN_PEOPLE = 20
_SHOWN_ROWS = 50


def import_(
    *paths: Path,
    store: str | None = None,
    kind: str | None = None,
    user: str | None = None,
    comments: Annotated[bool, Parameter(negative="--no-comments")] = True,
    private: bool = False,
    copy: bool = False,
    embed: Annotated[bool, Parameter(negative="--no-embed")] = True,
    encoder: Path | None = None,
    json: bool = False,
) -> None:
    """Read posts into a store and look at their photos.

    What lies at a path is found out by looking: posts in JSON Lines, CSV or Parquet (also .gz and
    .zst), folders of NAME.jpg beside NAME.txt, photos with keywords (XMP, IPTC), an instaloader
    folder, or an archive of Instagram (in JSON), Mastodon, Pixelfed or Flickr, as folders or zips.
    It may be interrupted and run again: nothing comes twice.

    A record has user_id, posted_at (ISO 8601 or Unix seconds), image (a path, or a list) and tags
    (a list, or text) or caption; post_id where there is one. Other usual names are known:
    docs/posts.md lists them.

    Args:
        paths: Files and folders; several zips or folders may be one archive. `-` is standard
            input: posts in JSON Lines, with whole paths of photos.
        store: The store, a file or `postgresql://USER@HOST/DATABASE`, made when it is missing;
            yours, in your data folder, by default.
        kind: What the paths are, where looking is not enough; an unknown one lists them all.
        user: The person, for sources that name nobody; the only one of the store by default.
        comments: Add hashtags of own comments made within ten minutes of a post.
        private: Read Mastodon's posts for followers or for single people, too.
        copy: Keep a copy of every photo beside the store, as it is now (those in zips always are);
            a photo that was edited since is copied anew when its folder is imported again.
        embed: Look at the photos now; needed before pixels can help.
        encoder: The ONNX file to look at photos with; the one in the package by default.
        json: Print the summary as one JSON object.

    Examples:
        pixtag import instagram-ana-2026.zip
        pixtag import posts.jsonl more.csv.gz --store my.sqlite --no-embed
        pixtag import posts.parquet --store postgresql://pixtag@db.example.org/pixtag
        pixtag import part-1.zip part-2.zip --user ana
        ssh camera cat posts.jsonl | pixtag import -
    """
    from pixtag.encoder import load_encoder
    from pixtag.ingest import find_sources, import_posts

    with standard_input(paths, "posts.jsonl") as files, kept_on_ctrl_c():
        sources = find_sources(files, kind)  # first, so that a wrong path leaves no empty store
        looker = load_encoder(encoder) if embed else None
        looked: EmbedResult | None = None
        is_yours, store = store is None, your_store(store, is_new=True)
        shown = printable(store)
        with gone_if_empty(store), open_store(store, is_new=True) as opened:
            with output.progress("reading posts") as bar:
                report = import_posts(
                    sources, opened, user_id=user, join_comments=comments, private=private,
                    keep_copies=copy, on_progress=bar.update,
                )  # fmt: skip
            report.call(dict(zip(map(str, files), map(str, paths), strict=True)))
            if not json:
                _show_report(report)
            n_posts = opened.summary().n_posts
            if not (report.n_posts or n_posts):
                what = f"no post came of {', '.join(map(str, paths))}, and {shown} holds none"
                raise ArchiveError(what, hint="docs/posts.md says what is read")
            if looker is not None:
                looked = look_at_photos(opened, looker)
            if json:
                output.print_json({**report.as_dict(), "embedding": looked, "store": shown})
            people = opened.people(at_most=4)
    if looked is not None and looked.failed:
        faults = ", ".join(f"{count:,} {fault}" for fault, count in looked.faults.items())
        failed = f"{_count(looked.failed, 'photo')} could not be looked at ({faults})"
        output.say(f"{failed}; `pixtag doctor {shown}` lists them")
    seen = "" if looked is None else f", {_count(looked.embedded, 'photo')} looked at"
    output.say(f"{shown} now holds {_count(n_posts, 'post')} ({report.added:,} new{seen})")
    _say_next(report, is_only=len(people) == 1, store=None if is_yours else shown)


def look_at_photos(store: Store, encoder: Encoder, engine: Engine | None = None) -> EmbedResult:
    """Embed what the encoder has not looked at yet, and show how far it is."""
    from pixtag.engine import LOCAL
    from pixtag.photos import embed_missing

    with output.progress("looking at photos", unit="photos") as bar:
        return embed_missing(store, encoder, engine=engine or LOCAL, on_progress=bar.update)


@contextmanager
def gone_if_empty(address: str) -> Generator[None]:
    """Take the file of a new store away again when what was to fill it failed with nothing in."""
    from pixtag.store.outside import outside_revision

    path = store_file(address)
    is_new = path is not None and not path.exists()
    try:
        yield
    except PixtagError:
        if path is not None and is_new and path.exists():
            is_filled = False  # a new file that cannot be opened holds nothing
            with suppress(PixtagError), open_store(address, read_only=True) as store:
                is_filled = bool(store.summary().n_posts or outside_revision(store))
            if not is_filled:
                for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                    path.with_name(name).unlink(missing_ok=True)
        raise


@contextmanager
def kept_on_ctrl_c() -> Generator[None]:
    """Say on an interruption that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note("what is done is kept, and the same command goes on from there")
        raise


def _say_next(report: ImportReport, *, is_only: bool, store: str | None) -> None:
    """Say whose posts came, how many carry hashtags, and what to type next."""
    people = report.people
    names = ", ".join(people[:3]) + (", ..." if len(people) > 3 else "")
    who = names if len(people) == 1 else f"{len(people):,} people ({names})" if people else "nobody"
    carry = f"{report.n_tagged:,} of {_count(report.n_posts, 'post')} carry hashtags"
    output.say(f"{who}: {carry}" + ("" if people else "; add --user NAME to make them yours"))
    words = ["pixtag photo.jpg"]
    if people and not is_only:
        words.append(f"--user {shlex.quote(people[0])}")
    if store is not None:
        words.append(f"--store {shlex.quote(store)}")
    output.say(f"next: {' '.join(words)}")


def export(*, store: str | None = None, out: Path = Path("-"), user: str | None = None) -> None:
    """Write the posts of a store as JSON Lines, in the form that import reads.

    Photos are named by their path; they are not copied.

    Args:
        store: The store; yours by default.
        out: The file to write; a name in .gz is compressed, `-` is standard output.
        user: Only this person's posts.

    Examples:
        pixtag export --out posts.jsonl.gz
        pixtag export --store my.sqlite | wc -l
    """
    from pixtag.ingest import export_posts

    with (
        open_store(store, read_only=True) as opened,
        output.progress("writing posts") as bar,
        TemporaryDirectory(prefix="pixtag-") as folder,
    ):
        if user is not None:
            _require_person(opened, user)
        is_piped = out == Path("-")
        file = Path(folder) / "posts.jsonl" if is_piped else out
        n_posts = export_posts(opened, file, user_id=user, on_progress=bar.update)
        if is_piped:
            with file.open("rb") as lines:
                shutil.copyfileobj(lines, sys.stdout.buffer)
            return
    output.say(f"wrote {_count(n_posts, 'post')} to {out}")


def copy(source: str, target: str, *, json: bool = False) -> None:
    """Copy all that a store holds into another one: from a file into a database, or back.

    It may be interrupted and run again: nothing comes twice. What the other store holds besides
    stays. Photos are not copied.

    Args:
        source: The store to copy, a file or `postgresql://USER@HOST/DATABASE`.
        target: The store to copy to, made when it is missing.
        json: Print what came over as one JSON object.

    Examples:
        pixtag copy my.sqlite postgresql://pixtag@db.example.org/pixtag
        pixtag copy postgresql://pixtag@db.example.org/pixtag backup.sqlite
    """
    from pixtag.store.copy import copy_store

    with (
        kept_on_ctrl_c(),
        open_store(source, read_only=True) as of,
        open_store(target, is_new=True) as to,
    ):
        with output.progress("copying posts") as bar:
            result = copy_store(of, to, on_progress=bar.update)
        n_posts = to.summary().n_posts
    if json:
        output.print_json(result)
    new = f"{result.posts.added:,} new, {result.posts.updated:,} changed"
    looked = _count(result.embeddings, "embedding")
    output.say(f"{to.address} now holds {_count(n_posts, 'post')} ({new}, {looked} copied)")


def posts(*, store: str | None = None, json: bool = False) -> None:
    """Show what a store holds, and how many posts each person has.

    Args:
        store: The store; yours by default.
        json: Print one JSON object, with every person.

    Examples:
        pixtag posts
        pixtag posts --store my.sqlite
    """
    from pixtag.types import iso_time

    with open_store(store, read_only=True) as opened:
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


def history(
    user: str | None = None, *, store: str | None = None, at: str | None = None, json: bool = False
) -> None:
    """Show which hashtags a person uses, how often and since when.

    Args:
        user: The person; the only one of the store by default.
        store: The store; yours by default.
        at: Only posts before this time, as 2026-05-01 or 2026-05-01T18:30+02:00 (else UTC).
        json: Print one JSON object, with every hashtag.

    Examples:
        pixtag history
        pixtag history ana --store my.sqlite --at 2026-01-01
    """
    from pixtag.types import iso_time, parse_time

    before = None if at is None else parse_time(at).timestamp()
    with open_store(store, read_only=True) as opened:
        if (user := person_in(opened, user)) is None:
            name, *_ = opened.people(at_most=1) or ["PERSON"]
            raise InputError("whose history?", hint=f"`pixtag history {shlex.quote(name)}`")
        _require_person(opened, user)
        posts = list(opened.posts(user_id=user))  # those without a time, then in time order
    if before is not None:
        posts = [post for post in posts if post.posted_at is not None and post.posted_at < before]
    uses = [(tag, post.posted_at) for post in posts for tag in post.tags]
    n_uses = Counter(tag for tag, _ in uses)
    timed = [(tag, at) for tag, at in uses if at is not None]
    last, first = dict(timed), dict(reversed(timed))
    tags = sorted(n_uses, key=lambda tag: (-n_uses[tag], -last.get(tag, 0.0), tag))
    names = ("tag", "uses", "first_at", "last_at")
    rows = [(t, n_uses[t], iso_time(first.get(t)), iso_time(last.get(t))) for t in tags]
    n_untimed = sum(post.posted_at is None for post in posts)
    if json:
        found = [dict(zip(names, row, strict=True)) for row in rows]
        counts = {"posts": len(posts), "untimed": n_untimed}
        output.print_json({"user": user, **counts, "tags": found})
        return
    output.print_table(
        {"hashtag": "left", "uses": "right", "first": "left", "last": "left"},
        [(f"#{t}", f"{n:,}", (a or "")[:10], (b or "")[:10]) for t, n, a, b in rows[:_SHOWN_ROWS]],
    )
    if len(rows) > _SHOWN_ROWS:
        output.say(f"{len(rows) - _SHOWN_ROWS:,} more hashtags: --json lists all")
    if n_untimed:
        untimed = f"{_count(n_untimed, 'post')} without a time"
        output.say(f"{untimed}: listed here, but no part of the history that suggestions use")
    output.say(f"{user}: {_count(len(posts), 'post')}, {_count(len(rows), 'hashtag')}")


def forget(user: str, *, store: str | None = None, yes: bool = False, json: bool = False) -> int:
    """Remove a person from a store: posts, embeddings, lists, kept copies and derived files.

    The person's own files elsewhere and models that were trained on them are not touched; the
    latter are named, so that you can train them again.

    Args:
        user: The person.
        store: The store, yours by default; its file shrinks where whole pages of it came free.
        yes: Do not ask first.
        json: Print what was removed as one JSON object.

    Examples:
        pixtag forget ana
        pixtag forget ana --store my.sqlite --yes
    """
    from pixtag.lists import Lists

    with open_store(store) as opened:
        shown = opened.address
        if opened.lists(user) == Lists():
            _require_person(opened, user)
        if not (yes or _agrees(opened, user)):
            output.say("nothing was removed")
            return 1
        result = opened.forget(user)
    removed = {
        "posts": f"{result.posts:,}",
        "hashtag uses": f"{result.tag_uses:,}",
        "photos": f"{result.photos:,} (the files themselves stay where they are)",
        "embeddings": f"{result.embeddings:,}",
        "lists of hashtags": "removed" if result.had_lists else None,
        "copies and derived files": f"{result.files:,}",
    }
    output.print_json(result) if json else output.describe(removed)
    if not result.is_compacted:
        why = "because another process has it open or the disk is full"
        later = "the next command that writes to it tries again"
        output.say(f"hint: {shown} could not shrink yet, {why}; {later}")
    for model in result.bundles:
        again = f"pixtag train --store {shown} --out {model.path}"
        learned = "was trained on this person and is unchanged; to be rid of what it learned"
        output.say(f"the model {model.path} {learned}: {again}")
    # A small file keeps its size; a database gives room to what comes next.
    is_smaller = not is_server(shown) and result.bytes_after < result.bytes_before
    sizes = f" ({result.bytes_before:,} to {result.bytes_after:,} bytes)" if is_smaller else ""
    output.say(f"forgot {user}: {_count(result.posts, 'post')} gone from {shown}{sizes}")
    return 0


def _agrees(store: Store, user: str) -> bool:
    """Name what goes and ask; InputError where there is no terminal to ask at."""
    n_posts = dict(store.summary().posts_per_person).get(user, 0)
    what = f"{_count(n_posts, 'post')} of {user} in {store.address}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InputError(f"this removes {what} for good", hint="add --yes to do it unasked")
    output.say(f"These go for good: {what}, with embeddings, lists and kept copies.")
    output.say("Photos elsewhere and trained models stay. Remove them? [y/N]")
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def doctor(path: str | None = None, *, encoder: Path | None = None, json: bool = False) -> int:
    """Find broken photos in a folder, or check a store.

    Of a folder, every photo is decoded. Of a store, itself is checked, whether its photos are
    where they were and unchanged, and whether each has been looked at. The exit code is 1 when
    something is wrong.

    Args:
        path: A folder, a photo, or a store (a file or `postgresql://...`); yours by default.
        encoder: The ONNX file that should have looked at each photo; else the one in the package.
        json: Print one JSON object instead of a table.

    Examples:
        pixtag doctor holiday/
        pixtag doctor
        pixtag doctor my.sqlite --json
    """
    from pixtag.encoder import load_encoder
    from pixtag.photos import check_photos, check_store, photos_under

    given = path or your_store(None)
    path, file = printable(given), store_file(given)
    kind, n_not_kept = _kind_of(file), 0
    with output.progress("checking photos", unit="photos") as bar:
        if file is None or kind == "store":
            with open_store(given, read_only=True) as store:
                digest = load_encoder(encoder).digest
                problems, n_not_kept = check_store(store, digest, on_progress=bar.update)
                is_damaged = any(problem.fault == "damaged" for problem in problems)
                n_photos = 0 if is_damaged else store.summary().n_photos
        else:
            found = [photo for photo in photos_under([file]) if not photo.is_dir()]
            n_photos, problems = len(found), check_photos(found, on_progress=bar.update)
    counts = dict(Counter(problem.fault for problem in problems).most_common())
    if json:
        report = {"photos": n_photos, "not_kept": n_not_kept, "faults": counts}
        output.print_json({"path": path, "kind": kind, **report, "problems": problems})
    elif problems:
        rows = [(problem.fault, problem.target) for problem in problems[:_SHOWN_ROWS]]
        output.print_table({"fault": "left", "where": "left"}, rows)
        if len(problems) > len(rows):
            output.say(f"{len(problems) - len(rows):,} more: --json lists all")
        for fault, hint in {p.fault: p.hint for p in reversed(problems)}.items():
            output.say(f"hint: {fault}: {hint}")
    if n_not_kept:
        output.say(
            f"not kept: {_count(n_not_kept, 'photo')} that the server looked at and left out"
        )
    if not problems:
        output.say(f"{path} is in order: {_count(n_photos, 'photo')} checked")
        return 0
    wrong = ", ".join(f"{n:,} {fault}" for fault, n in counts.items())
    output.say(f"not in order: {wrong} in {path} ({_count(n_photos, 'photo')} checked)")
    return 1


def _kind_of(path: Path | None) -> str:
    if path is None:
        return "store"
    if path.is_dir():
        return "folder"
    if not path.exists():
        raise InputError(f"there is nothing at {path}", hint="give a folder, a photo or a store")
    with path.open("rb") as file:
        is_store = path.suffix == ".sqlite" or file.read(16) == b"SQLite format 3\x00"
        return "store" if is_store else "photo"


def _require_person(store: Store, user: str) -> None:
    people = [name for name, _ in store.summary().posts_per_person]
    if user in people:
        return
    hint = did_you_mean(user, people, n=3) or "`pixtag posts` lists the people"
    raise InputError(f"{user!r} has no posts in {store.address}", hint=hint)


def _show_report(report: ImportReport) -> None:
    def some(number: int) -> str | None:
        return f"{number:,}" if number else None

    known = f"{report.added:,} new, {report.updated:,} changed, {report.unchanged:,} known"
    copied = some(report.n_photos_copied)
    output.describe(
        {
            "read": "; ".join(f"{path} ({kind})" for path, kind in report.sources),
            "posts": f"{report.n_posts:,} ({known})",
            "without a time": some(report.n_untimed),
            "time span": f"{report.first_at} to {report.last_at}" if report.first_at else None,
            "photos": f"{report.n_photos:,}",
            "copied": f"{copied} beside the store" if copied else None,
            "people": f"{report.n_people:,}",
            "hashtags": f"{report.n_tags:,} in {report.n_tag_uses:,} uses",
            "videos skipped": some(report.n_videos_skipped),
            "stories skipped": some(report.n_stories_skipped),
            "video posts": f"{some(report.n_videos)} ({report.n_reels:,} reels), for their tags"
            if report.n_videos
            else None,
            "comments joined": some(report.n_comments_joined),
            "texts repaired": some(report.n_texts_repaired),
        }
    )
    kinds = [("hashtag changed: ", report.tags.changed), ("hashtag dropped: ", report.tags.dropped)]
    examples = report.tags.examples | report.examples
    noted = [
        (title + what, f"{n:,}", examples[what])
        for title, counts in [*kinds, ("", report.problems)]
        for what, n in counts.most_common()
    ]
    if noted:
        output.print_table({"noted": "left", "count": "right", "example": "left"}, noted)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
