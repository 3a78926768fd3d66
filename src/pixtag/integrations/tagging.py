"""Suggested words into sidecars beside photos: whom they belong to, what changes, once or watched.

What was done stands in the sidecars themselves, so a run that was killed goes on where it was.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from pixtag import images
from pixtag.choose import Wishes
from pixtag.errors import InputError, PixtagError
from pixtag.formats import PHOTO_SUFFIXES
from pixtag.ingest.context import is_running
from pixtag.ingest.library import key_of, keywords_in
from pixtag.integrations.sidecars import MAX_BYTES, Notes, Revision, SidecarError, Text, Word, Xmp
from pixtag.lists import Lists
from pixtag.photos import BATCH
from pixtag.predictor import Predictor
from pixtag.tags import tidy_tags

Kind = Literal["xmp", "txt"]
Naming = Literal["full", "stem"]
State = Literal["tagged", "changed", "confirmed", "moved", "known", "nothing", "failed"]

_SIDECAR = {"xmp": Xmp, "txt": Text}
_TRIES = 3  # while another program changes the sidecar
_SETTLED_S = 10.0  # a photo that nobody has written to for this long is whole


@dataclass(frozen=True, slots=True)
class Rules:
    """What to write, and for whom."""

    kind: Kind = "xmp"
    naming: Naming | None = None  # of a new sidecar: photo.jpg.xmp or photo.xmp; by kind if None
    k: int = 5  # new words for one photo
    min_prob: float = 0.1  # of a word that is written
    user: str | None = None
    lists: Lists = field(default_factory=Lists)
    again: bool = False  # also photos that have got words before
    confirm: bool = False  # make the person's own what Pixtag wrote, and write nothing else
    dry_run: bool = False

    def likely(
        self, predictor: Predictor, photo: Path | bytes, own: Sequence[str], removed: Sequence[str]
    ) -> list[str]:
        """The likeliest tags for a photo beside the person's own, and those that are always added.

        PixtagError: the photo cannot be looked at.
        """
        wishes = Wishes.of(self.k + len(own), own, removed, lists=self.lists, user=self.user)
        always, found = set(wishes.always), predictor.answer(photo, wishes).suggestions
        return [one.tag for one in found if one.prob >= self.min_prob or one.tag in always]


@dataclass(frozen=True, slots=True)
class Tagged:
    """What became of one photo."""

    photo: str
    sidecar: str
    state: State
    words: tuple[str, ...] = ()  # that were written or confirmed
    taken_away: tuple[str, ...] = ()  # that somebody had removed, gone from the other lists too
    error: PixtagError | None = None


class Folder(NamedTuple):
    """Photos in order, and sidecars whose photo is not there."""

    photos: list[Path]
    orphans: list[Path]


class _Plan(NamedTuple):
    photo: Path
    sidecar: Path
    notes: Notes


def find(paths: Iterable[Path], kind: Kind = "xmp") -> Folder:
    """List the photos of files and folders, at any depth, without hidden ones.

    InputError: a path is not there. Parts that killed runs left are swept away.
    """
    photos: dict[Path, None] = {}
    orphans: list[Path] = []
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise InputError(f"there is nothing at {path}", hint="check the path")
            photos[path] = None
        for place, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            here, known = Path(place), set(names)
            others = (Path(name) for name in names if not name.lower().endswith((".xmp", ".txt")))
            ends = {other.stem for other in others}
            for name in sorted(names):
                stem, suffix = os.path.splitext(name)  # noqa: PTH122 - as text
                if name.startswith(".pixtag-") and suffix == ".part":
                    if not is_running(stem.rpartition("-")[2]):  # who wrote it
                        with suppress(OSError):
                            (here / name).unlink()
                elif name.startswith("."):
                    continue
                elif suffix.lower() in PHOTO_SUFFIXES:
                    photos[here / name] = None
                elif suffix.lower() == f".{kind}" and stem not in known and stem not in ends:
                    orphans.append(here / name)
    return Folder(list(photos), orphans)


def sidecar_of(photo: Path, kind: Kind, naming: Naming | None = None) -> Path:
    """Name a photo's sidecar: the one that is there, else as told: photo.jpg.xmp, photo.txt."""
    full, stem = photo.with_name(f"{photo.name}.{kind}"), photo.with_suffix(f".{kind}")
    # In text, NAME.txt belongs to NAME_1.jpg too.
    shared = photo.with_name(re.sub(r"_\d+$", "", photo.stem) + f".{kind}")
    for one in (full, stem, shared) if kind == "txt" else (full, stem):
        for there in (one, one.with_suffix(one.suffix.upper())):
            if there.exists():
                return there
    wanted = naming or ("full" if kind == "xmp" else "stem")
    return full if wanted == "full" else stem


class Tagger:
    """Writes suggested words into the sidecars of photos.

    Words take the spelling, and the path above them, that most of the sidecars seen so far have,
    so that a library gets no twins of its own keywords.
    """

    def __init__(self, predictor: Predictor, rules: Rules) -> None:
        self._predictor, self._rules = predictor, rules
        self._spelt: dict[str, Counter[Word]] = defaultdict(Counter)
        self._moved: dict[str, Path] = {}

    def tag(
        self, folder: Folder, on_progress: Callable[[int, int], None] | None = None
    ) -> Iterator[Tagged]:
        """Tag photos, a batch at a time; each is done when it is told."""
        for n_done, one in enumerate(self._each(folder), 1):
            yield one
            if on_progress is not None:
                on_progress(n_done, len(folder.photos))

    def _each(self, folder: Folder) -> Iterator[Tagged]:
        self._moved = self._by_digest(folder.orphans)
        todo: list[_Plan] = []
        plans = list(map(self._plan, folder.photos))  # all, so that every spelling is known
        for plan in plans:
            if isinstance(plan, _Plan) and self._is_due(plan):
                todo.append(plan)
                continue
            yield plan if isinstance(plan, Tagged) else self._written(plan, ())
        with ThreadPoolExecutor(2, thread_name_prefix="pixtag-tag") as workers:
            for start in range(0, len(todo), BATCH):
                batch = todo[start : start + BATCH]
                for plan, words in zip(batch, workers.map(self._words, batch), strict=True):
                    if isinstance(words, PixtagError):
                        yield _failed(plan.photo, plan.sidecar, words)
                    else:
                        yield self._written(plan, words)

    def _is_due(self, plan: _Plan) -> bool:
        rules = self._rules
        return not rules.confirm and (rules.again or not plan.notes.is_known)

    def _by_digest(self, orphans: Iterable[Path]) -> dict[str, Path]:
        """Sidecars whose photo is gone, by the digest of the photo that they were written for."""
        found: dict[str, Path] = {}
        for path in orphans if self._rules.kind == "xmp" else ():
            with suppress(PixtagError):
                if digest := _read(path, self._rules.kind).notes.digest:
                    found[digest] = path
        return found

    def _plan(self, photo: Path) -> _Plan | Tagged:
        rules = self._rules
        sidecar = sidecar_of(photo, rules.kind, rules.naming)
        try:
            if self._moved and not sidecar.exists():
                orphan = self._moved.pop(images.digest(photo), None)
                if orphan is not None:
                    if not rules.dry_run:
                        orphan.rename(sidecar)
                    return Tagged(str(photo), str(sidecar), "moved")
            notes = _read(sidecar, rules.kind).notes
        except (PixtagError, OSError) as error:
            return _failed(photo, sidecar, error)
        for word in notes.own:
            self._spelt[key_of(word.text)][word] += 1
        return _Plan(photo, sidecar, notes)

    def _words(self, plan: _Plan) -> list[Word] | PixtagError:
        """The likeliest words for a photo, beside those that it has."""
        notes, photo = plan.notes, plan.photo
        own = tidy_tags([*(w.text for w in notes.own), *keywords_in(photo)])
        try:
            tags = self._rules.likely(self._predictor, photo, own, notes.removed)
        except PixtagError as error:
            return error
        spelt = ((tag, self._spelt.get(tag)) for tag in tags)
        return [words.most_common(1)[0][0] if words else Word.of(tag) for tag, words in spelt]

    def _written(self, plan: _Plan, words: Sequence[Word]) -> Tagged:
        """Bring one sidecar up to date."""
        rules, confirmed = self._rules, ()
        try:
            digest = images.digest(plan.photo) if words and rules.kind == "xmp" else ""
            if rules.confirm:
                confirmed = plan.notes.written
            revise = partial(_revised, plan, words, digest, rules)
            found = _replaced(plan.sidecar, revise, dry_run=rules.dry_run)
        except (PixtagError, OSError) as error:
            return _failed(plan.photo, plan.sidecar, error)
        state: State = "nothing"
        if found.added or confirmed:
            state = "confirmed" if confirmed else "tagged"
        elif found.taken_away:
            state = "changed"
        elif plan.notes.is_known:
            state = "known"
        words_told = tuple(confirmed) or found.added
        return Tagged(str(plan.photo), str(plan.sidecar), state, words_told, found.taken_away)


def _failed(photo: Path, sidecar: Path, error: PixtagError | OSError) -> Tagged:
    if isinstance(error, OSError):
        what = f"{sidecar} cannot be written: {error.strerror or error}"
        hint = "check who owns the folder and whether the disk has room"
        error = SidecarError(what, hint=hint)
    return Tagged(str(photo), str(sidecar), "failed", error=error)


def _revised(
    plan: _Plan, words: Sequence[Word], digest: str, rules: Rules, data: bytes | None
) -> Revision:
    sidecar = _SIDECAR[rules.kind](data, str(plan.sidecar))
    return sidecar.revised(words, digest=digest, confirm=rules.confirm)


def _read(path: Path, kind: Kind) -> Xmp | Text:
    return _SIDECAR[kind](_content(path), str(path))


def _content(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    with suppress(FileNotFoundError):
        found = path.stat()
        return found.st_size, found.st_mtime_ns, found.st_ino
    return None


def _replaced(path: Path, revise: Callable[[bytes | None], Revision], *, dry_run: bool) -> Revision:
    """Revise a file's content; it takes its place at once, unless somebody changed it meanwhile.

    Then it is read and revised again: what another program wrote in between is not lost.
    """
    path = path.resolve()  # a link stays one
    for _ in range(_TRIES):
        before = _stamp(path)
        data = _content(path)
        revision = revise(data)
        if dry_run or revision.data == (data or b""):
            return revision
        if data is not None and not os.access(path, os.W_OK):  # replacing it would not ask
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        name = hashlib.sha256(path.name.encode("utf-8", "surrogateescape")).hexdigest()[:12]
        part = path.with_name(f".pixtag-{name}-{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                file.write(revision.data)
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                part.chmod(path.stat().st_mode & 0o777)
            if _stamp(path) == before:
                part.replace(path)
                return revision
        finally:
            part.unlink(missing_ok=True)
    what = f"{path} is being changed by another program"
    raise SidecarError(what, hint="run it again when that program is done")


class Watch:
    """Tells which photos of a folder are new and whole, poll by poll.

    A photo is whole when its size and time are the same in two polls, or nobody has written to it
    for ten seconds. What was given once comes again only when it changes.
    """

    def __init__(self, folder: Path, kind: Kind = "xmp") -> None:
        self._folder = folder
        self._kind: Kind = kind
        self._seen: dict[Path, tuple[int, int, int] | None] = {}
        self._done: dict[Path, tuple[int, int, int] | None] = {}

    def poll(self) -> tuple[Folder, int]:
        """Give the photos that are ready, with orphaned sidecars, and how many are not yet.

        InputError: the folder is gone.
        """
        found = find([self._folder], self._kind)
        stamps: dict[Path, tuple[int, int, int] | None] = {}
        ready: list[Path] = []
        for photo in found.photos:
            try:
                stat = photo.stat()
            except OSError:
                continue
            stamp = stamps[photo] = stat.st_size, stat.st_mtime_ns, stat.st_ino
            if self._done.get(photo) == stamp:
                continue
            age_s = time.time() - max(stat.st_mtime, stat.st_ctime)
            if age_s > _SETTLED_S or self._seen.get(photo) == stamp:
                ready.append(photo)
                self._done[photo] = stamp
        waiting = sum(stamp != self._done.get(photo) for photo, stamp in stamps.items())
        self._done = {photo: at for photo, at in self._done.items() if photo in stamps}
        self._seen = stamps
        return Folder(ready, found.orphans if ready else []), waiting
