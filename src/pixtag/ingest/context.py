"""What readers of posts share: a report, a place for photos, captions and comments."""

from __future__ import annotations

import errno
import hashlib
import html
import json
import os
import unicodedata
import zipfile
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import IO, cast

import regex

from pixtag.errors import FullError
from pixtag.formats import PHOTO_SUFFIXES
from pixtag.tags import TagTally, find_hashtags, join_surrogates, tidy_tags
from pixtag.types import NO_ZONE, Photo, Post, iso_time, read_time

NOBODY = "me"  # who posted, when neither the archive nor the person at the keyboard says it
MAX_PHOTO_BYTES = 512 * 2**20
COMMENT_WINDOW_S = 600.0
_MARKUP, _BREAK = regex.compile(r"<[^<>]*>"), regex.compile(r"<br\b[^<>]*>|</p>")
# A character of two to four bytes, each taken for a character; then what is left of one: some of
# its bytes, or alone the first of Latin and Cyrillic letters, which no lower case goes on with.
_WHOLE = "[\u00c2-\u00df]~|[\u00e0-\u00ef]~{2}|[\u00f0-\u00f4]~{3}".replace("~", "[\u0080-\u00bf]")
_PART = "[\u0080-\u009f\u00a1-\u00bf]"
_GARBLED = regex.compile(rf"{_WHOLE}|[\u00e0-\u00f4][\u0080-\u009f]|[a-z]\u00c3")
_PIECES = regex.compile(
    rf"({_WHOLE})|[\u00f0-\u00f4]{_PART}{{1,2}}|[\u00e0-\u00ef]{_PART}"
    # A \u00d1 before a letter is Spanish, no lead byte of Cyrillic that was cut off.
    r"|(?<![A-Z])(?:[\u00c2\u00c3\u00d0]|\u00d1(?![A-Za-z]))"
)
_CONTROLS = regex.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
Opener = Callable[[], IO[bytes]]
BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What reading a damaged or encrypted zip raises, beside OSError."""


@dataclass(slots=True)
class ImportReport:
    """What an import read and met: readers count in it while they read."""

    sources: tuple[tuple[str, str], ...] = ()  # path and kind of each
    problems: Counter[str] = field(default_factory=Counter[str])  # by kind
    examples: dict[str, str] = field(default_factory=dict[str, str])  # of each kind the first case
    tags: TagTally = field(default_factory=TagTally)
    n_expected: int = 0  # posts that will come, as far as readers know; 0 while unknown
    n_posts: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    n_photos: int = 0  # those that are readable
    n_photos_copied: int = 0
    n_people: int = 0
    n_tags: int = 0
    n_tagged: int = 0  # posts with a tag
    n_tag_uses: int = 0
    n_untimed: int = 0
    first_at: str | None = None  # earliest and latest time, ISO 8601 UTC
    last_at: str | None = None
    n_videos_skipped: int = 0
    n_stories_skipped: int = 0
    n_videos: int = 0  # posts that are a video: kept for their tags, with their cover if there is
    n_reels: int = 0  # those of them that are reels
    n_comments_joined: int = 0
    n_texts_repaired: int = 0
    _people: set[str | None] = field(default_factory=lambda: {None})
    _tags: set[str] = field(default_factory=set[str])
    _seen: dict[str, int] = field(default_factory=dict[str, int])

    def add(self, kind: str, example: str, n_cases: int = 1) -> None:
        """Count problems of a kind (a few words); the example says where to look."""
        self.problems[kind] += n_cases
        self.examples.setdefault(kind, example[:160])

    def read_time(
        self, value: object, where: str, *, day_first: bool | None = None
    ) -> float | None:
        """Read a time as `types.read_time` does, and count what is odd about it."""
        at, oddity = read_time(value, day_first=day_first)
        if oddity:
            self.add(oddity, f"{where}: {value if oddity == NO_ZONE else repr(value)}")
        return at

    def count(self, post: Post, *, now: float) -> None:
        """Count a post that was read; one later than `now` and one met before are told."""
        self.n_posts += 1
        self.n_photos += sum(1 for photo in post.photos if photo.digest)
        self.n_tag_uses += len(post.tags)
        self.n_tagged += bool(post.tags)
        self._tags.update(post.tags)
        self._people.add(post.user_id)
        self.n_tags, self.n_people = len(self._tags), len(self._people) - 1  # None is nobody
        form, before = hash(post), self._seen.get(post.post_id)
        if before is not None:
            how = "" if before == form else " with other content, the last one holds"
            self.add(f"same post again{how}", post.post_id)
        self._seen[post.post_id] = form
        at = iso_time(post.posted_at)
        if at is None or post.posted_at is None:
            self.n_untimed += 1
            return
        if post.posted_at > now:
            self.add("time in the future, kept", f"{post.post_id}: {at}")
        self.first_at = min(self.first_at or at, at)  # text in UTC sorts like the times
        self.last_at = max(self.last_at or at, at)

    @property
    def people(self) -> list[str]:
        """Whose posts were read, by name."""
        return sorted(self._people - {None})  # pyright: ignore[reportArgumentType]

    def rename(self, old: str, new: str) -> None:
        """Call a person by another name."""
        self._people = {new if name == old else name for name in self._people}
        self.n_people = len(self._people) - 1

    def call(self, names: Mapping[str, str]) -> None:
        """Call sources by other names than their paths."""
        for path, name in names.items():
            self.sources = tuple((shown.replace(path, name), kind) for shown, kind in self.sources)
            self.examples = {k: one.replace(path, name) for k, one in self.examples.items()}

    def as_dict(self) -> dict[str, object]:
        """Give the report as plain values, for `--json`."""
        names = [one.name for one in fields(self)[5:] if not one.name.startswith("_")]
        found = self.problems.most_common()
        return {
            "sources": [{"path": path, "kind": kind} for path, kind in self.sources],
            **{name.removeprefix("n_"): getattr(self, name) for name in names},
            "tags_changed": dict(self.tags.changed.most_common()),
            "tags_dropped": dict(self.tags.dropped.most_common()),
            "tag_examples": self.tags.examples,
            "problems": {kind: {"count": n, "example": self.examples[kind]} for kind, n in found},
        }


@dataclass(frozen=True, slots=True)
class Comment:
    """An own comment on own media: Unix seconds UTC, and its hashtags as written."""

    at: float
    tags: tuple[str, ...]


@dataclass(slots=True)
class Context:
    """What every reader of posts is given."""

    report: ImportReport
    photos_folder: Path  # where copies of photos go; made when the first one comes
    keep_copies: bool = False  # of every photo, not only of those inside archives
    user_id: str | None = None  # the person, for sources that do not name one
    join_comments: bool = True  # whether own first comments belong to the post
    private: bool = False  # whether posts for followers or for single people are read
    only_for: str | None = None  # whose all posts become; no paths of photos are taken then
    only_person: str | None = None  # whose posts the store holds, where that is one person
    known_ids: Mapping[str, str] = field(default_factory=dict[str, str])  # by first photo
    _part: Path | None = None

    @staticmethod
    def clean_name(name: object) -> str:
        """Make a person's name sound and composed (NFC); "" for anything but text."""
        text = name if isinstance(name, str) else ""
        return composed(join_surrogates(text)).replace("\0", "").strip()

    def owner(self, stated: object, where: str) -> str:
        """Name the person of an archive: as it states, as the context does, or `NOBODY` (told)."""
        if name := self.clean_name(stated) or self.person(where):
            return name
        what = f"the archive names nobody: posts are kept as {NOBODY!r} (--user NAME says who)"
        if what not in self.report.problems:
            self.report.add(what, where)
        return NOBODY

    def person(self, where: str) -> str | None:
        """Name the person where the source does not: who was said, or the only one (told)."""
        if self.user_id is None and self.only_person:
            what = f"names nobody, kept as {self.only_person!r}, the only person here"
            self.report.add(what, where)
        return self.user_id or self.only_person

    @staticmethod
    def post_id(kind: str, *parts: object) -> str:
        """Name a post by what identifies it in its source, the same whenever that is read again."""
        key = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
        return f"{kind}-{hashlib.sha256(key).hexdigest()[:24]}"

    def photo_at(self, path: str) -> Photo:
        """Take a photo's SHA-256 ("" if unreadable); raises FullError for no space for a copy."""
        path = _as_on_disk(path)
        if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113 - text in, text out
            self.report.add("photo is not a file", path)
            return Photo(path, "")
        opener = partial(open, path, "rb")
        return self._photo(opener, path, is_copied=self.keep_copies) or Photo(path, "")

    def photo_in(self, opener: Opener, name: str) -> Photo | None:
        """Copy a photo out of an archive; None when it can't be read. Raises as `photo_at`."""
        return self._photo(opener, name, is_copied=True)

    def keep_origin(self, copy: Photo, path: str, post_id: str) -> None:
        """Note beside a copy which file it is of: the post keeps its id when that is edited."""
        note, line = self.photos_folder / f"{copy.digest}.from", json.dumps([path, post_id]) + "\n"
        if not note.exists() or line not in note.read_text("ascii"):
            with note.open("a", encoding="ascii") as file:
                file.write(line)

    def origins(self) -> dict[str, str]:
        """Post ids by the file that was copied for them."""
        found: dict[str, str] = {}
        notes = self.photos_folder.glob("*.from")
        for note in sorted(notes, key=lambda one: one.stat().st_mtime_ns):
            lines = note.read_text("ascii").splitlines()
            found |= dict(json.loads(line) for line in lines)
        return found

    @staticmethod
    def assign_comments(
        posted_at: list[float | None], comments: list[Comment]
    ) -> list[list[Comment]]:
        """Give each comment to the latest post (Unix seconds UTC) of the ten minutes before it."""
        timed = sorted((at, i) for i, at in enumerate(posted_at) if at is not None)
        given: list[list[Comment]] = [[] for _ in posted_at]
        for comment in sorted(comments, key=lambda one: one.at):
            place = bisect_right(timed, comment.at, key=lambda one: one[0]) - 1
            if place >= 0 and comment.at - timed[place][0] <= COMMENT_WINDOW_S:
                given[timed[place][1]].append(comment)
        return given

    def own_comment(
        self,
        author: object,
        owner: str | None,
        text: object,
        stamp: object,
        where: str,
        *,
        is_plain: bool = False,
    ) -> list[Comment]:
        """Read a comment; none when it is of somebody else, without a hashtag or without a time.

        One that `is_plain` is true Unicode, so nothing is repaired.
        """
        if owner is None or self.clean_name(author).casefold() != owner.casefold():
            return []
        said = text if isinstance(text, str) else ""
        tags = find_hashtags(self.plain_text(said) if is_plain else self._repaired(said))
        at = self.report.read_time(stamp or None, where) if tags else None
        return [] if at is None else [Comment(at, tuple(tags))]

    def tags_of(self, texts: Iterable[str], comments: list[Comment]) -> tuple[str, ...]:
        """Find and normalise the hashtags of a post's captions and comments, in that order."""
        self.report.n_comments_joined += len(comments)
        found = [tag for text in texts for tag in find_hashtags(text)]
        return tidy_tags([*found, *(t for said in comments for t in said.tags)], self.report.tags)

    def repair_texts(self, texts: Iterable[object]) -> list[str]:
        """Restore captions of one post that may stand in several places, each once, none empty."""
        return list(dict.fromkeys(filter(None, map(self._repaired, texts))))

    def _repaired(self, text: object) -> str:
        """Restore a text as `plain_text` does; "" for anything else.

        Instagram writes every byte of the UTF-8 form as a character of its own. Each run that
        decodes is restored, one that was cut off becomes U+FFFD, and true Unicode stays.
        """
        if not isinstance(text, str):
            return ""
        if not text.isascii():
            text = join_surrogates(text)
            if _GARBLED.search(text):
                text = _PIECES.sub(lambda found: _decoded(found[1]), text)
                self.report.n_texts_repaired += 1
                if "\ufffd" in text:
                    self.report.add("character cut off in a caption", text)
        return self.plain_text(text)

    @staticmethod
    def plain_text(text: str) -> str:
        """Take HTML's marks and entities and control characters out of a text."""
        if "</" in text or "<br" in text:
            text = _MARKUP.sub("", _BREAK.sub("\n", text))
        return _CONTROLS.sub("", html.unescape(text)).strip()

    def _photo(self, opener: Opener, name: str, *, is_copied: bool) -> Photo | None:
        try:
            with opener() as source:
                if is_copied:
                    return self._copy(source, Path(name).suffix.lower())
                plain = cast("BufferedReader", source)
                return Photo(name, hashlib.file_digest(plain, "sha256").hexdigest())
        except FileNotFoundError:
            self.report.add("photo is missing", name)
        except (OSError, ValueError, *BROKEN_ZIP) as error:
            if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
                what = f"no space left for copies of photos in {self.photos_folder}"
                hint = "make room on the disk and run it again: what was finished is kept"
                raise FullError(what, hint=hint) from error
            self.report.add("photo cannot be read", f"{name}: {error}")
        return None

    def _copy(self, source: IO[bytes], suffix: str) -> Photo | None:
        """Copy to FOLDER/DIGEST.ext, which appears at once when it is whole."""
        part = self._part = self._part or self._first_part()
        digest = hashlib.sha256()
        try:
            with part.open("wb") as target:
                while chunk := source.read(2**20):
                    if target.tell() + len(chunk) > MAX_PHOTO_BYTES:
                        self.report.add("photo is too large", getattr(source, "name", ""))
                        return None
                    digest.update(chunk)
                    target.write(chunk)
            ending = suffix if suffix in PHOTO_SUFFIXES else ".bin"
            kept = self.photos_folder / f"{digest.hexdigest()}{ending}"
            if not kept.exists():
                part.replace(kept)
                self.report.n_photos_copied += 1
            return Photo(str(kept), digest.hexdigest())
        finally:
            part.unlink(missing_ok=True)

    def _first_part(self) -> Path:
        """Make the folder and sweep away what killed runs left half-written."""
        self.photos_folder.mkdir(0o700, exist_ok=True)
        for file in self.photos_folder.glob("*.part"):
            if not is_running(file.stem):
                file.unlink(missing_ok=True)
        return self.photos_folder / f"{os.getpid()}.part"


def _decoded(run: str | None) -> str:
    try:
        return run.encode("latin-1").decode("utf-8") if run else "\ufffd"
    except UnicodeDecodeError:
        return cast("str", run)


def composed(text: str) -> str:
    """Compose characters (NFC): files made on a Mac take names apart."""
    return unicodedata.normalize("NFC", text)


def _as_on_disk(path: str) -> str:
    """Find a file whose name is written in another form than the one that is asked for."""
    forms = (path, composed(path), unicodedata.normalize("NFD", path), path.replace("\\", "/"))
    return next(filter(os.path.isfile, forms), path)


def is_running(process_id: str) -> bool:
    """Whether a process of this number runs; no number counts as none."""
    try:
        os.kill(int(process_id), 0)
    except (OSError, OverflowError, ValueError) as error:
        return isinstance(error, PermissionError)  # it is somebody else's
    return True
