"""Posts from a photo library: keywords (XMP, IPTC, EXIF) in photos and sidecars, times of EXIF.

What Pixtag wrote itself is marked, so that it is not read as the person's: in XMP it stands in bags
of a namespace of its own, in a text sidecar in a line of its own.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

from pixtag.errors import ArchiveError, ImageError
from pixtag.formats import PHOTO_SUFFIXES
from pixtag.ingest.context import BROKEN_ZIP, Context, ImportReport
from pixtag.ingest.files import Entry, Look, Tree, take_photo, text_of
from pixtag.tags import normalise_tag, tidy_tags
from pixtag.types import Post

NAMESPACE = "urn:pixtag:xmp:1.0/"  # its lists: Written, Removed, Photo
LINE = "tags by pixtag:"  # a word that the person took away stands there with a minus before it
MAX_XMP_BYTES = 16 * 2**20
_N_TRIED = 200  # photos that are looked into to tell whether a folder is a library


def _list(name: str) -> re.Pattern[str]:
    """Find lists; it stops at the next, so that a text of many without an end takes no longer."""
    return re.compile(rf"<{name}\b(?:(?!<{name}\b).)*?</{name}>", re.DOTALL)


# Keywords as nearly every program writes them, then as Immich and digiKam, and Lightroom and
# darktable do; with what parts their paths.
_LISTS = (
    (_list("dc:subject"), "|"),
    (_list("digiKam:TagsList"), "/"),
    (_list("lr:hierarchicalSubject"), "|"),
)
_WRITTEN = _list("pixtag:Written")
_ITEM = re.compile(r"<rdf:li[^<>]*>([^<]*)</rdf:li>")
_TAKEN = re.compile(
    r"\b(?:exif:DateTimeOriginal|photoshop:DateCreated|xmp:CreateDate)(?:=[\"']|>)([^<\"']+)"
)


def looks_like(look: Look) -> Path | None:
    """Tell a folder or zip of photos of which some carry keywords, or with XMP sidecars."""
    if any(name.lower().endswith(".xmp") for name in look.names):
        return look.path
    if not any(_is_photo(name) for name in look.names) or look.post_files or look.zips:
        return None
    with ExitStack() as opened, suppress(ArchiveError):
        entries = Tree([look.path], ImportReport(), opened).entries
        photos = islice((one for one in entries if _is_photo(one.name)), _N_TRIED)
        return look.path if any(_noted(one)[0] for one in photos) else None
    return None


def read(paths: Sequence[Path], context: Context) -> Iterator[Post]:
    """Read each photo with keywords as a post, by name; a sidecar's keywords come first.

    A sidecar without a photo that is known here (a raw file's) is a post without one.
    ArchiveError: a zip is damaged or locked, or no photo has keywords.
    """
    n_posts = 0
    for n_posts, post in enumerate(read_photos(paths, context), start=1):  # noqa: B007
        yield post
    if not n_posts:
        what = f"no photo in {', '.join(map(str, paths))} has keywords"
        raise ArchiveError(what, hint="write them into the photos or sidecars, or use NAME.txt")


def read_photos(
    paths: Sequence[Path], context: Context, unlabelled: Collection[str] | None = None
) -> Iterator[Post]:
    """Read the same, which may be nothing; or only photos at some paths, that have no text file."""
    with ExitStack() as opened:
        tree = Tree(paths, context.report, opened)
        sidecars = {
            one.name[:-4].lower(): one for one in tree.entries if one.name.lower().endswith(".xmp")
        }
        photos = [one for one in tree.entries if _is_photo(one.name)]
        raws = sidecars.keys() - {key for one in photos for key in _keys(one)}
        left_out = "photo without keywords, left out"
        if unlabelled is not None:
            photos = [one for one in photos if one.path in unlabelled]
            raws, left_out = set[str](), "photo without a text file"
        context.report.n_expected += len(photos) + len(raws)
        for entry in (*photos, *(sidecars[name] for name in sorted(raws))):
            is_photo = _is_photo(entry.name)
            near = [sidecars[k] for k in _keys(entry) if k in sidecars] if is_photo else [entry]
            notes = [_in_xmp(tree.read(one) or b"", one.name) for one in near]
            notes += [_noted(entry)] if is_photo else []
            # What Pixtag wrote counts only where another place has it too.
            keywords = [word for words, _ in notes for word in words]
            if not keywords:
                context.report.add(left_out, entry.path or entry.name)
                context.report.n_expected -= 1
                continue
            name = PurePosixPath(entry.path or entry.name)
            stamp = next((taken for _, taken in notes if taken), None)
            photo = take_photo(entry, entry.name, context) if is_photo else None
            where = str(paths[0])
            yield Post(
                context.post_id("library", name.parent.name, name.name, stamp),
                context.owner("", where) if unlabelled is None else context.person(where),
                context.report.read_time(stamp, entry.name),
                tidy_tags(keywords, context.report.tags),
                () if photo is None else (photo,),
            )


def _is_photo(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".")


def _keys(photo: Entry) -> tuple[str, str]:
    """What a photo's sidecar is called: `NAME.jpg.xmp` or `NAME.xmp`."""
    name = photo.name.lower()
    return name, name.rpartition(".")[0]


def _in_xmp(data: bytes, name: str) -> tuple[list[str], str]:
    try:
        text = text_of(data if len(data) <= MAX_XMP_BYTES else b"", name)
    except ArchiveError:
        return [], ""
    words: dict[str, str] = {}
    for one, mark in _LISTS:
        for word in (item.rpartition(mark)[2].strip() for item in _items(one, text)):
            words.setdefault(key_of(word), word)
    taken = _TAKEN.search(text)
    found = without(words.values(), written_in(text))
    return found, taken[1].strip() if taken else ""


def _items(lists: re.Pattern[str], text: str) -> list[str]:
    return [html.unescape(one) for found in lists.findall(text) for one in _ITEM.findall(found)]


def keywords_in(photo: Path) -> list[str]:
    """List the keywords that a photo carries in itself; none where it cannot be read."""
    return _noted(Entry(photo.name, partial(photo.open, "rb"), str(photo)))[0]


def _noted(photo: Entry) -> tuple[list[str], str]:
    """Read the keywords that a photo carries, and when it was taken, as its camera wrote it."""
    from pixtag.images import notes  # takes Pillow along

    try:
        with photo.open() as file:
            noted = notes(file)
    except (OSError, ImageError, *BROKEN_ZIP):
        return [], ""
    words, taken = _in_xmp(noted.xmp, photo.name)
    for raw in noted.iptc:
        with suppress(ArchiveError):
            words.append(text_of(raw, photo.name).rpartition("|")[2].strip())
    words += [word.strip() for word in noted.exif.split(";") if word.strip()]
    return list(dict.fromkeys(words)), noted.taken or taken


# ------------------------------------------------------------------ what Pixtag wrote


def key_of(word: str) -> str:
    """What words are compared by: the tag that a word is, else the word in lower case."""
    return normalise_tag(word) or word.strip().casefold().replace("|", "/")


def written_in(xmp: str) -> list[str]:
    """List the words that a text of XMP says Pixtag wrote and nobody has confirmed."""
    return _items(_WRITTEN, xmp)


def split_line(text: str) -> tuple[str, list[str]]:
    """Take Pixtag's line, if any, out of a text sidecar: the rest, and the words in that line."""
    kept: list[str] = []
    words: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.strip().casefold().startswith(LINE):
            found = line.strip()[len(LINE) :].split(",")
            words += [word.strip() for word in found if word.strip()]
        else:
            kept.append(line)
    return "".join(kept), words


def without(words: Iterable[str], written: Iterable[str]) -> list[str]:
    """Leave out words that are among those that Pixtag wrote, however they are spelt."""
    own = {key_of(word) for word in written}
    return [word for word in words if key_of(word) not in own] if own else list(words)
