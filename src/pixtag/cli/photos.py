"""Verbs that write words beside photos, here and on servers: tag, watch, immich, mastodon."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from pixtag.cli import output
from pixtag.cli.answers import lists_of, loaded_predictor, whose
from pixtag.cli.main import open_store, person_in, section
from pixtag.cli.parser import HowMany, Model
from pixtag.cli.posts import kept_on_ctrl_c
from pixtag.errors import InputError
from pixtag.places import default_store, store_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pixtag.integrations.history import Keeper
    from pixtag.integrations.immich import Immich, Outcome, Record
    from pixtag.integrations.tagging import Rules, Tagged
    from pixtag.store import Store

Prob = Annotated[float, Parameter(validator=Number(gte=0, lte=1))]

_SAID = {
    "tagged": "tagged",
    "changed": "follow what you removed",
    "confirmed": "confirmed",
    "moved": "renamed, their sidecar with them",
    "known": "done before",
    "nothing": "with nothing sure enough",
    "failed": "could not be done",
}


def tag(
    paths: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    sidecar: Literal["xmp", "txt"] = "xmp",
    naming: Literal["full", "stem"] | None = None,
    min_prob: Prob = 0.1,
    k: HowMany = 5,
    user: str | None = None,
    store: str | None = None,
    stranger: bool = False,
    again: bool = False,
    confirm: bool = False,
    dry_run: bool = False,
    model: Model = None,
    json: bool = False,
) -> int:
    """Write suggested words into sidecars beside photos, where photo programs read them.

    Sidecars are read by darktable, digiKam, Immich, PhotoPrism and others. All that a sidecar
    holds stays; words that stand there in any spelling are not written again, and yours
    give the spelling. A photo is done once: run it again and nothing changes, and a word that you
    removed stays away. What Pixtag wrote is not read back as your history, until you confirm it.

    Args:
        paths: Photos, or folders that are searched for photos.
        sidecar: xmp, or txt: a line of comma-separated words.
        naming: New sidecars as photo.jpg.xmp (full) or photo.xmp (stem); one that is there is kept.
        min_prob: Write only words that you would use with at least this chance.
        k: How many new words for one photo at most.
        user: Whose photos they are; the only person of the store by default.
        store: Store of earlier posts, made by `pixtag import`; yours, if any, by default.
        stranger: Tag as for somebody unknown: no store, nobody's history.
        again: Look again at photos that were done before.
        confirm: Write nothing new: what Pixtag wrote and still stands there is yours from now on.
        dry_run: Show what would be written and write nothing.
        model: File of a trained model; the shipped one by default.
        json: Print JSON Lines, one object for each photo.

    Examples:
        pixtag tag holiday/
        pixtag tag holiday/ --dry-run
        pixtag tag photo.jpg --naming stem --min-prob 0.4
        pixtag tag dataset/ --sidecar txt -k 10
        pixtag tag holiday/ --confirm
    """
    from pixtag.integrations.tagging import Rules, Tagger, find

    folder = find(paths, sidecar)
    if not folder.photos:
        where = ", ".join(map(str, paths))
        raise InputError(f"no photo in {where}", hint="give photos, or a folder of photos")
    user, store = whose(user, store, stranger=stranger)
    lists = lists_of(user, store)
    rules = Rules(sidecar, naming, k, min_prob, user, lists, again, confirm, dry_run)
    tally = _Tally(rules, is_json=json)
    with (
        loaded_predictor(model, store, user=user) as predictor,
        output.progress("tagging", len(folder.photos), unit="photos") as bar,
    ):
        tally.show(Tagger(predictor, rules).tag(folder, bar.update))
    tally.say()
    return 1 if tally.counts["failed"] else 0


def watch(
    folder: Path,
    /,
    *,
    interval: Annotated[float, Parameter(validator=Number(gte=0.1, lte=86400))] = 10.0,
    once: bool = False,
    sidecar: Literal["xmp", "txt"] = "xmp",
    naming: Literal["full", "stem"] | None = None,
    min_prob: Prob = 0.1,
    k: HowMany = 5,
    user: str | None = None,
    store: str | None = None,
    stranger: bool = False,
    model: Model = None,
    json: bool = False,
) -> int:
    """Tag the photos of a folder, and new ones as they arrive, until Ctrl-C.

    Does what `pixtag tag` does. What was done stands in the sidecars, so it may be stopped and
    started at any time. A photo is taken when its size and time stay the same from one look to
    the next. A renamed photo keeps its sidecar, which is renamed with it.

    Args:
        folder: Looked through at any depth.
        interval: Seconds between two looks.
        once: Take what is there and leave: for cron.
        sidecar: As for `pixtag tag`.
        naming: As for `pixtag tag`.
        min_prob: Write only words that you would use with at least this chance.
        k: How many new words for one photo at most.
        user: Whose photos they are; the only person of the store by default.
        store: Store of earlier posts; yours, if any, by default.
        stranger: As for `pixtag tag`.
        model: File of a trained model; the shipped one by default.
        json: Print JSON Lines, one object for each photo.

    Examples:
        pixtag watch ~/Pictures/phone
        pixtag watch ~/Pictures --interval 60 --min-prob 0.3
        pixtag watch ~/Pictures --once
    """
    from pixtag.integrations.tagging import Rules, Tagger, Watch

    if not folder.is_dir():
        raise InputError(f"there is no folder at {folder}", hint="give a folder to watch")
    user, store = whose(user, store, stranger=stranger)
    rules = Rules(sidecar, naming, k, min_prob, user, lists_of(user, store))
    tally = _Tally(rules, is_json=json, is_watching=True)
    looks = Watch(folder, sidecar)
    with loaded_predictor(model, store, user=user) as predictor, kept_on_ctrl_c():
        tagger = Tagger(predictor, rules)
        if not once:
            output.say(f"watching {folder}, every {interval:g} seconds; Ctrl-C ends it")
        while True:
            found, n_waiting = looks.poll()
            with output.progress("tagging", len(found.photos), unit="photos") as bar:
                tally.show(tagger.tag(found, bar.update))
            if once and not n_waiting:
                break
            time.sleep(interval)
    tally.say()
    return 1 if tally.counts["failed"] else 0


@dataclass(slots=True)
class _Tally:
    """Shows what became of photos, and counts it."""

    rules: Rules
    is_json: bool
    is_watching: bool = False
    counts: Counter[str] = field(default_factory=Counter[str])
    n_words: int = 0

    def show(self, found: Iterable[Tagged]) -> None:
        """Print each photo that changed; errors go to stderr."""
        for one in found:
            self.counts[one.state] += 1
            self.n_words += len(one.words)
            if self.is_json:
                if not (self.is_watching and one.state == "known"):
                    output.print_json_line(_record(one))
            elif one.error is not None:
                hint = f"\nhint: {one.error.hint}" if one.error.hint else ""
                output.say(f"error: {one.error.message}{hint}")
            elif one.words or one.taken_away or one.state == "moved":
                words = [*(f"+{w}" for w in one.words), *(f"-{w}" for w in one.taken_away)]
                _print_words(one.sidecar, words)

    def say(self) -> None:
        """Say how many photos of each sort there were."""
        parts = [f"{self.counts[state]:,} {said}" for state, said in _SAID.items()]
        shown = [part for part in parts if not part.startswith("0 ")]
        n = sum(self.counts.values())
        counted = f"{n:,} photo{'' if n == 1 else 's'}: {', '.join(shown) or 'none'}"
        words = f"; {self.n_words:,} word{'' if self.n_words == 1 else 's'}"
        output.say(counted + (words if self.n_words else "") + _if_dry(self.rules))


def _print_words(place: str, words: Iterable[str]) -> None:
    """Print what changed at a place at once, so that a reader can follow."""
    output.print_line(output.printable("  ".join([place, *words])))
    sys.stdout.flush()


def _if_dry(rules: Rules) -> str:
    return " (nothing was written: --dry-run)" if rules.dry_run else ""


def _record(one: Tagged) -> dict[str, object]:
    error = one.error
    said = None if error is None else {"kind": error.kind, "message": error.message}
    return {
        "photo": one.photo,
        "sidecar": one.sidecar,
        "state": one.state,
        "words": one.words,
        "taken_away": one.taken_away,
        "error": said,
    }


# ------------------------------------------------------------------ servers


def immich(
    action: Literal["suggest", "import"],
    /,
    *,
    url: str | None = None,
    key: str | None = None,
    user: str | None = None,
    store: str | None = None,
    min_prob: Prob = 0.1,
    k: HowMany = 5,
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
    from pixtag.encoder import load_encoder
    from pixtag.integrations.history import Keeper
    from pixtag.integrations.immich import Immich, ImmichConfig, Record, read_history
    from pixtag.integrations.tagging import Rules
    from pixtag.store.written import Written

    config = section(ImmichConfig, "immich", {"url": url, "key": key})
    server = Immich(config, on_wait=_say_wait)
    with kept_on_ctrl_c(), _opened(store, dry_run=dry_run) as opened:
        user = person_in(opened, user) if action == "suggest" else user or server.person or None
        with output.progress("reading tags", unit="tags") as bar:
            tagged = server.tagged(bar.update)
        record = Record(Written(opened, server.place, user), tagged, keeps=not dry_run)
        if n := record.settle(confirm=confirm):
            output.say(f"confirmed: {n:,} tag{'' if n == 1 else 's'} of Pixtag's")
        if action == "suggest":
            rules = Rules(
                k=k, min_prob=min_prob, user=user, lists=lists_of(user, opened), again=again,
                dry_run=dry_run,
            )  # fmt: skip
            return _immich_suggest(server, opened, record, rules, model, json=json)
        if dry_run:
            n_own = sum(bool(record.own(asset.name)) for asset in tagged)
            output.say(f"{n_own:,} tagged photos would be read (nothing was written: --dry-run)")
            return 0
        keeper = Keeper(opened, load_encoder(encoder), user=user, keep_copies=copy)
        with output.progress("looking at photos", unit="photos") as bar:
            read_history(server, keeper, record, tagged, on_progress=bar.update)
        _show(keeper, opened, json=json)
    return 0


def _opened(store: str | None, *, dry_run: bool) -> Store:
    """Open a store, made when it is missing; for a dry run one in memory then."""
    from pixtag.store import Store

    file = store_file(default_store() if store is None else store)
    if dry_run and file is not None and not file.exists():
        return Store.in_memory()
    return open_store(store, is_new=True)


def _immich_suggest(
    server: Immich, store: Store, record: Record, rules: Rules, model: Path | None, *, json: bool
) -> int:
    from pixtag.integrations.immich import suggest

    n_words = n_photos = n_failed = 0
    with (
        loaded_predictor(model, store, user=rules.user) as predictor,
        output.progress("tagging", unit="photos") as bar,
    ):
        for one in suggest(server, predictor, record, rules, on_progress=bar.update):
            n_photos += bool(one.words)
            n_words += len(one.words)
            n_failed += one.error is not None
            _show_outcome(one, json=json)
    failed = f", {n_failed:,} could not be looked at" if n_failed else ""
    output.say(f"Immich: {n_words:,} tags for {n_photos:,} photos{failed}{_if_dry(rules)}")
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
        _print_words(one.file or one.asset, [f"+{word}" for word in one.words])


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
    from pixtag.encoder import load_encoder
    from pixtag.integrations.history import Keeper
    from pixtag.integrations.mastodon import Account, MastodonConfig

    config = section(MastodonConfig, "mastodon", {"token": token})
    reader = Account(account, config, on_wait=_say_wait)
    looker = load_encoder(encoder) if embed else None
    with kept_on_ctrl_c(), open_store(store, is_new=True) as opened:
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


def _say_wait(seconds: float, why: str) -> None:
    output.say(f"note: the server is asked again in {seconds:,.0f} seconds ({why})")
