"""Verbs about photos and posts on servers: immich, mastodon."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from pixtag.cli import output
from pixtag.cli.posts import kept_on_ctrl_c
from pixtag.cli.tag import Model, Prob, Words

if TYPE_CHECKING:
    from pixtag.encoder import Encoder
    from pixtag.integrations.history import Keeper
    from pixtag.integrations.immich import Immich, Outcome, Record
    from pixtag.integrations.tagging import Rules
    from pixtag.store import Store


def immich(
    action: Literal["suggest", "import"],
    /,
    *,
    url: str | None = None,
    key: str | None = None,
    user: str | None = None,
    store: str | None = None,
    min_prob: Prob = 0.1,
    k: Words = 5,
    again: bool = False,
    confirm: bool = False,
    copy: bool = False,
    dry_run: bool = False,
    encoder: Path | None = None,
    model: Model = None,
    json: bool = False,
) -> int:
    """Suggest tags for the photos of an Immich account, or read its tags as history.

    suggest adds tags to photos that were not looked at before; tags that are there stay, and one
    that you remove stays away. import reads tagged photos as posts; tags that Pixtag added are
    left out, until you confirm them. Photos are looked at as Immich's previews, in memory.

    The key (Account Settings, API Keys) needs asset.read, asset.view, tag.read and user.read; to
    suggest also tag.create and tag.asset. Give it in PIXTAG_IMMICH_KEY rather than as a flag,
    which others on this machine can see.

    Args:
        action: suggest or import.
        url: Immich's address; PIXTAG_IMMICH_URL by default.
        key: The API key; PIXTAG_IMMICH_KEY by default.
        user: Whose photos they are; for import by default as Immich names the account.
        store: The store; yours by default.
        min_prob: Add only tags that you would use with at least this chance.
        k: How many new tags for one photo at most.
        again: Look again at photos that were looked at before.
        confirm: Take the tags that Pixtag added and are still there as yours from now on.
        copy: Keep the previews of imported photos beside the store.
        dry_run: Show what would be done and change nothing.
        encoder: The ONNX file to look at imported photos with; the one in the package by default.
        model: File of a trained model; the shipped one by default.
        json: Print JSON Lines for suggest, one object for import.

    Examples:
        pixtag immich import --url http://192.168.1.2:2283
        pixtag immich suggest --url https://photos.example --dry-run
        pixtag immich suggest --url https://photos.example --min-prob 0.4
        pixtag immich import --url https://photos.example --confirm
    """
    from pixtag.cli.main import section
    from pixtag.integrations.history import Keeper
    from pixtag.integrations.immich import Immich, ImmichConfig, Record, read_history
    from pixtag.store.written import Written

    config = section(ImmichConfig, "immich", {"url": url, "key": key})
    server = Immich(config, on_wait=_say_wait)
    with kept_on_ctrl_c(), _opened(store, dry_run=dry_run) as opened:
        user = _person(opened, user) if action == "suggest" else user or server.person or None
        with output.progress("reading tags", unit="tags") as bar:
            tagged = server.tagged(bar.update)
        record = Record(Written(opened, server.place, user), tagged, keeps=not dry_run)
        if n := record.settle(confirm=confirm):
            output.say(f"confirmed: {n:,} tag{'' if n == 1 else 's'} of Pixtag's")
        if action == "suggest":
            rules = _rules(opened, user, k, min_prob, again=again, dry_run=dry_run)
            return _immich_suggest(server, opened, record, rules, model, json=json)
        if dry_run:
            n_own = sum(bool(record.own(asset.name)) for asset in tagged)
            output.say(f"{n_own:,} tagged photos would be read (nothing was written: --dry-run)")
            return 0
        keeper = Keeper(opened, _looker(encoder), user=user, keep_copies=copy)
        with output.progress("looking at photos", unit="photos") as bar:
            read_history(server, keeper, record, tagged, on_progress=bar.update)
        _show(keeper, opened, json=json)
    return 0


def _opened(store: str | None, *, dry_run: bool) -> Store:
    """Open a store, made when it is missing; for a dry run one in memory then."""
    from pixtag.cli.main import your_store
    from pixtag.places import default_store, store_file
    from pixtag.store import Store

    place = str(default_store()) if dry_run and store is None else your_store(store, is_new=True)
    file = store_file(place)
    if dry_run and file is not None and not file.exists():
        return Store.in_memory()
    return Store.open(place, create=True)


def _rules(
    store: Store, user: str | None, k: int, min_prob: float, *, again: bool, dry_run: bool
) -> Rules:
    from pixtag.integrations.tagging import Rules
    from pixtag.lists import global_lists

    lists = global_lists().joined(store.lists())
    lists = lists if user is None else lists.joined(store.lists(user))
    return Rules(k=k, min_prob=min_prob, user=user, lists=lists, again=again, dry_run=dry_run)


def _immich_suggest(
    server: Immich, store: Store, record: Record, rules: Rules, model: Path | None, *, json: bool
) -> int:
    from pixtag.integrations.immich import suggest
    from pixtag.predictor import Predictor

    n_words = n_photos = n_failed = 0
    with (
        Predictor.load(model, store=store) as predictor,
        output.progress("tagging", unit="photos") as bar,
    ):
        for note in predictor.notes(user=rules.user):
            output.say(f"note: {note}")
        for one in suggest(server, predictor, record, rules, on_progress=bar.update):
            n_photos += bool(one.words)
            n_words += len(one.words)
            n_failed += one.error is not None
            _show_outcome(one, json=json)
    would = " (nothing was written: --dry-run)" if rules.dry_run else ""
    failed = f", {n_failed:,} could not be looked at" if n_failed else ""
    output.say(f"Immich: {n_words:,} tags for {n_photos:,} photos{failed}{would}")
    return 1 if n_failed else 0


def _show_outcome(one: Outcome, *, json: bool) -> None:
    if json:
        error = None if one.error is None else one.error.message
        output.print_json_line(
            {"asset": one.asset, "file": one.file, "words": one.words, "error": error}
        )
    elif one.error is not None:
        output.say(f"error: {one.file}: {one.error.message}")
    elif one.words:
        line = "  ".join([one.file or one.asset, *(f"+{word}" for word in one.words)])
        output.print_line(output.printable(line))
        sys.stdout.flush()  # a reader can follow


def mastodon(
    account: str,
    /,
    *,
    token: str | None = None,
    user: str | None = None,
    store: str | None = None,
    private: bool = False,
    copy: bool = False,
    embed: Annotated[bool, Parameter(negative="--no-embed")] = True,
    encoder: Path | None = None,
    json: bool = False,
) -> int:
    """Read an account's own posts on Mastodon or Pixelfed as history, over the server's API.

    Posts get the names that the account's archive gives them: whoever imports both has each post
    once. Small previews of the photos are looked at, in memory. It may be interrupted and run
    again: photos that were looked at are not fetched again.

    Mastodon shows public posts to everybody; Pixelfed wants a token, as do posts for followers.

    Args:
        account: As @ana@mastodon.example or https://pixelfed.social/ana.
        token: An access token with read:accounts and read:statuses; PIXTAG_MASTODON_TOKEN by
            default.
        user: The person; as the account is called by default.
        store: The store, made when it is missing; yours by default.
        private: Read posts for followers or for single people, too.
        copy: Keep the previews beside the store.
        embed: Look at the photos.
        encoder: The ONNX file to look at photos with; the one in the package by default.
        json: Print the summary as one JSON object.

    Examples:
        pixtag mastodon @ana@mastodon.example
        PIXTAG_MASTODON_TOKEN=... pixtag mastodon https://pixelfed.social/ana
    """
    from pixtag.cli.main import section, your_store
    from pixtag.integrations.history import Keeper
    from pixtag.integrations.mastodon import Account, MastodonConfig
    from pixtag.store import Store

    config = section(MastodonConfig, "mastodon", {"token": token})
    reader = Account(account, config, on_wait=_say_wait)
    looker = _looker(encoder) if embed else None
    with kept_on_ctrl_c(), Store.open(your_store(store, is_new=True), create=True) as opened:
        keeper = Keeper(opened, looker, user=user, keep_copies=copy, private=private)
        with output.progress("reading posts") as bar:
            reader.read(keeper, on_progress=bar.update)
        _show(keeper, opened, json=json)
    return 0


def _show(keeper: Keeper, store: Store, *, json: bool) -> None:
    report = keeper.report
    if json:
        output.print_json({**report.as_dict(), "store": store.address})
    for what, n in report.problems.most_common():
        output.say(f"note: {n:,} {what} (as {report.examples[what]})")
    new = f"{report.added:,} new, {report.updated:,} changed, {report.unchanged:,} known"
    who = ", ".join(report.people) or "nobody"
    output.say(f"{report.n_posts:,} posts of {who} ({new}), {report.n_photos:,} photos")
    output.say(f"{store.address} now holds {store.summary().n_posts:,} posts")


def _looker(encoder: Path | None) -> Encoder:
    from pixtag.encoder import load_encoder

    return load_encoder(encoder)


def _person(store: Store, user: str | None) -> str | None:
    from pixtag.cli.main import person_in

    return person_in(store, user)


def _say_wait(seconds: float, why: str) -> None:
    output.say(f"note: the server is asked again in {seconds:,.0f} seconds ({why})")
