"""Verbs that write words beside photos: tag, watch."""

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
from pixtag.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pixtag.integrations.tagging import Rules, Tagged
    from pixtag.lists import Lists

Prob = Annotated[float, Parameter(validator=Number(gte=0, lte=1))]
Words = Annotated[int, Parameter(name=("-k", "--k"), validator=Number(gte=1, lte=100))]
Model = Annotated[Path | None, Parameter(name="--model")]

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
    k: Words = 5,
    user: str | None = None,
    store: str | None = None,
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
    from pixtag.predictor import Predictor

    folder = find(paths, sidecar)
    if not folder.photos:
        where = ", ".join(map(str, paths))
        raise InputError(f"no photo in {where}", hint="give photos, or a folder of photos")
    user, store, lists = _whose(user, store)
    rules = Rules(sidecar, naming, k, min_prob, user, lists, again, confirm, dry_run)
    tally = _Tally(rules, is_json=json)
    with (
        Predictor.load(model, store=store) as predictor,
        output.progress("tagging", len(folder.photos), unit="photos") as bar,
    ):
        for note in predictor.notes(user=user):
            output.say(f"note: {note}")
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
    k: Words = 5,
    user: str | None = None,
    store: str | None = None,
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
        model: File of a trained model; the shipped one by default.
        json: Print JSON Lines, one object for each photo.

    Examples:
        pixtag watch ~/Pictures/phone
        pixtag watch ~/Pictures --interval 60 --min-prob 0.3
        pixtag watch ~/Pictures --once
    """
    from pixtag.integrations.tagging import Rules, Tagger, Watch
    from pixtag.predictor import Predictor

    if not folder.is_dir():
        raise InputError(f"there is no folder at {folder}", hint="give a folder to watch")
    user, store, lists = _whose(user, store)
    rules = Rules(sidecar, naming, k, min_prob, user, lists)
    tally = _Tally(rules, is_json=json, is_watching=True)
    looks = Watch(folder, sidecar)
    with Predictor.load(model, store=store) as predictor:
        tagger = Tagger(predictor, rules)
        for note in predictor.notes(user=user):
            output.say(f"note: {note}")
        if not once:
            output.say(f"watching {folder}, every {interval:g} seconds; Ctrl-C ends it")
        try:
            while True:
                found, n_waiting = looks.poll()
                with output.progress("tagging", len(found.photos), unit="photos") as bar:
                    tally.show(tagger.tag(found, bar.update))
                if once and not n_waiting:
                    break
                time.sleep(interval)
        except KeyboardInterrupt as stop:
            stop.add_note("what is done is kept, and the same command goes on from there")
            raise
    tally.say()
    return 1 if tally.counts["failed"] else 0


def _whose(user: str | None, store: str | None) -> tuple[str | None, str | None, Lists]:
    from pixtag.cli.answers import lists_of, whose

    user, store = whose(user, store)
    return user, store, lists_of(user, store)


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
                line = "  ".join([one.sidecar, *words])
                output.print_line(output.printable(line))
                sys.stdout.flush()  # a reader can follow

    def say(self) -> None:
        """Say how many photos of each sort there were."""
        parts = [f"{self.counts[state]:,} {said}" for state, said in _SAID.items()]
        shown = [part for part in parts if not part.startswith("0 ")]
        would = " (nothing was written: --dry-run)" if self.rules.dry_run else ""
        n = sum(self.counts.values())
        counted = f"{n:,} photo{'' if n == 1 else 's'}: {', '.join(shown) or 'none'}"
        words = f"; {self.n_words:,} word{'' if self.n_words == 1 else 's'}"
        output.say(counted + (words if self.n_words else "") + would)


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
