"""Posts as somebody wrote them: records in JSON Lines, CSV or Parquet, photos beside text files."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from pixtag.errors import ArchiveError
from pixtag.ingest import files
from pixtag.ingest.context import PHOTO_SUFFIXES, VIDEO_SUFFIXES, Context
from pixtag.ingest.files import Look, walk
from pixtag.tags import find_hashtags, given_tags, join_surrogates, split_tags, tidy_tags
from pixtag.types import Post

COLUMNS = ("post_id", "user_id", "posted_at", "image", "tags", "caption")
# Folders beside labelled photos that hold other forms of them.
SKIPPED_FOLDERS = frozenset({"extra", "original"})
_NUMBERED = re.compile(r"(.+)_(\d+)")
_CONTENT = {"image", "tags", "caption"}
_COUNTABLE_BYTES = 512 * 2**20
_Records = Iterator[tuple[str, dict[str, Any]]]  # where it stands, its values by column name


def looks_like(kind: str, look: Look) -> Path | None:
    """Tell a file of a kind by how it begins: a JSON object, Parquet's signature, other text."""
    is_text = look.text and not look.text.startswith(b"[") and b"\0" not in look.text
    found = "jsonl" if look.text.startswith(b"{") else "csv" if is_text else ""
    found = "parquet" if look.head.startswith(b"PAR1") else found
    return look.path if found == kind else None


def read(kind: str, paths: Sequence[Path], context: Context) -> Iterator[Post]:
    """Read posts from a file of `KINDS`, plain or compressed; broken rows are counted, left out.

    ArchiveError: it cannot be opened, no line is a post, or no column is known.
    """
    (path,) = paths
    for where, record in _READ[kind](path, context):
        yield read_record(record, path, where, context)


def _read_json_lines(path: Path, context: Context) -> _Records:
    context.report.n_expected += _count_lines(path)
    n_broken = n_good = 0
    with files.open_bytes(path) as file:
        for number, line in files.lines(file, path, context.report):
            try:
                record: Any = json.loads(line.decode("utf-8-sig", "surrogateescape"))
            except (ValueError, RecursionError):
                record = None
            if isinstance(record, dict):
                n_good += 1
                yield f"{path}:{number}", cast("dict[str, Any]", record)
            elif line.strip():
                n_broken += 1
                kind = "broken line" if line.endswith(b"\n") else "half-written last line"
                start = line[:60].decode(errors="replace").strip()
                context.report.add(kind, f"{path}:{number}: {start}")
    if n_broken and not n_good:
        form = '{"post_id": .., "user_id": .., "posted_at": .., "image": .., "tags": [..]}'
        what = f"no line of {path} is a JSON object with a post"
        raise ArchiveError(what, hint=f"each line needs the form {form}")


def _read_csv(path: Path, context: Context) -> _Records:
    context.report.n_expected += max(_count_lines(path) - 1, 0)
    separator = _separator(path)
    csv.field_size_limit(2**24)  # a caption with 10,000 tags exceeds the default of 128 kB
    with files.open_bytes(path) as raw:
        # Bytes that are no UTF-8 become lone surrogates, which cleaning removes.
        text = io.TextIOWrapper(raw, "utf-8-sig", errors="surrogateescape", newline="")
        rows = csv.DictReader(text, delimiter=separator)
        with files.until_damage(lambda: f"{path}:{rows.line_num}", context.report):
            while True:
                try:
                    row = next(rows)
                except csv.Error as error:
                    context.report.add("broken line", f"{path}:{rows.line_num}: {error}")
                except StopIteration:
                    return
                else:
                    record = {key.strip().lower(): row[key] for key in row if isinstance(key, str)}
                    yield f"{path}:{rows.line_num}", record


def _read_parquet(path: Path, context: Context) -> _Records:
    import pyarrow as pa  # only where Parquet is read: it takes a quarter of a second
    import pyarrow.parquet as pq

    try:
        with files.open_bytes(path) as file:
            is_packed = files.compression(path)
            table = pq.ParquetFile(pa.BufferReader(file.read()) if is_packed else path)
        names = [name for name in table.schema_arrow.names if name in COLUMNS]
    except (*files.DAMAGED, pa.ArrowException) as error:
        what = f"{path} is no readable Parquet file: {error}"
        raise ArchiveError(what, hint="write it again, or use CSV") from error
    _check_columns(table.schema_arrow.names, path)
    context.report.n_expected += table.metadata.num_rows
    number = 0
    with files.until_damage(
        lambda: f"{path} after row {number}", context.report, pa.ArrowException
    ):
        for batch in table.iter_batches(batch_size=1000, columns=names):
            columns = [_plain_column(batch.column(name)) for name in names]
            for values in zip(*columns, strict=True):
                number += 1
                yield f"{path} row {number}", dict(zip(names, values, strict=True))


_READ = {"jsonl": _read_json_lines, "parquet": _read_parquet, "csv": _read_csv}
KINDS = tuple(_READ)


def read_record(record: dict[str, Any], path: Path, where: str, context: Context) -> Post:
    """Make a post of a record, which may lack any of `COLUMNS`; image paths start at its file."""
    tags = given_tags(record.get("tags"))
    if not tags and isinstance(record.get("caption"), str):
        tags = find_hashtags(record["caption"])
    user_id = _name(record.get("user_id")) or context.user_id
    posted_at = context.report.read_time(record.get("posted_at"), where)
    kept = tidy_tags(tags, context.report.tags)
    images = _images(record.get("image"), path)
    post_id = _name(record.get("post_id"))
    if not post_id:
        post_id = context.post_id("row", json.dumps([user_id, posted_at, images, kept]))
    for link in (one for one in images if "://" in one):
        context.report.add("photo is a link, not fetched", link)
    photos = tuple(context.photo_at(one) for one in images if "://" not in one)
    return Post(post_id, user_id, posted_at, kept, photos)


def _check_columns(heading: list[str], path: Path) -> None:
    """Make sure that a table has something to learn from."""
    if not {name.strip().lower() for name in heading} & _CONTENT:
        found = ", ".join(repr(name) for name in heading[:12])
        what = f"{path} has no column named tags, caption or image, only: {found}"
        raise ArchiveError(what, hint=f"rename its columns: {', '.join(COLUMNS)}")


def _separator(path: Path) -> str:
    """Choose the separator that makes the heading line show known columns."""
    heading = files.read_head(path, 2**16).partition(b"\n")[0].decode("utf-8-sig", "replace")
    parts = {mark: next(csv.reader([heading], delimiter=mark), []) for mark in ",;\t"}
    known = {mark: {part.strip().lower() for part in parts[mark]} & {*COLUMNS} for mark in parts}
    best = max(parts, key=lambda mark: len(known[mark]))
    _check_columns(parts[best], path)
    return best


def _plain_column(column: Any) -> list[Any]:  # noqa: ANN401 - a pyarrow array
    """Turn a column into Python values, times into ISO text exact to the microsecond."""
    import pyarrow as pa

    if not (pa.types.is_date(column.type) or pa.types.is_timestamp(column.type)):
        return column.to_pylist()
    zone = "+00:00" if getattr(column.type, "tz", None) else ""
    texts = column.cast(pa.timestamp("us"), safe=False).cast(pa.string())
    return [None if text is None else text + zone for text in texts.to_pylist()]


def _count_lines(path: Path) -> int:
    """Count lines to show how much is left; 0 where that would take long."""
    if files.compression(path) or path.stat().st_size > _COUNTABLE_BYTES:
        return 0
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(2**20), b""))


def _name(value: object) -> str | None:
    """Read an id: text as it is, whole numbers as text, nothing for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return join_surrogates(str(value)).replace("\0", "") or None


def _images(value: object, path: Path) -> list[str]:
    """List the paths of photos, absolute (one that is stays as it is), and links to them."""
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    texts = (item for item in items if isinstance(item, str) and item)
    names = ((one, "://" in one or os.path.isabs(one)) for one in texts)  # noqa: PTH117
    return [one if is_whole else os.path.abspath(path.parent / one) for one, is_whole in names]  # noqa: PTH100


def looks_labelled(look: Look) -> Path | None:
    """Tell a folder of photos with text files beside them."""
    photos = {n.rsplit(".", 1)[0] for n in look.names if Path(n).suffix.lower() in PHOTO_SUFFIXES}
    photos |= {re.sub(r"_\d+$", "", name) for name in photos}
    is_labelled = any(n[:-4] in photos for n in look.names if n.lower().endswith(".txt"))
    return look.path if is_labelled and not look.post_files else None


def read_labelled(paths: Sequence[Path], context: Context) -> Iterator[Post]:
    """Read photos with a text file beside them (else ArchiveError), in order of folder and name.

    `NAME_1.jpg`, `NAME_2.jpg`, ... share `NAME.txt` and are one post.
    """
    (root,) = paths
    n_posts = 0
    for folder, names in walk(root, SKIPPED_FOLDERS):
        posts = _labelled(folder, [name for name in names if name[0] != "."], context)
        context.report.n_expected += len(posts)
        for stem, label, photo_names in posts:
            n_posts += 1
            tags, user_id = _read_label(folder / label, context)
            photos = tuple(context.photo_at(str(folder / name)) for name in photo_names)
            # Named by folder, name and content: the same after a move, and in parent or child.
            digests = (photo.digest for photo in photos)
            post_id = context.post_id("folder", folder.name, stem, user_id or "", *digests)
            yield Post(post_id, user_id, None, tags, photos)
    if not n_posts:
        hint = "put NAME.txt beside NAME.jpg: line 1 comma-separated tags, line 2 the user"
        raise ArchiveError(f"no photo in {root} has a text file beside it", hint=hint)


def _labelled(folder: Path, names: list[str], context: Context) -> list[tuple[str, str, list[str]]]:
    """Group the files of one folder: name of the post, label file, photos in order."""
    labels = {name[:-4]: name for name in names if name.lower().endswith(".txt")}
    photos: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        stem, suffix = os.path.splitext(name)  # noqa: PTH122 - as text
        context.report.n_videos_skipped += suffix.lower() in VIDEO_SUFFIXES
        if suffix.lower() not in PHOTO_SUFFIXES:
            continue
        numbered = _NUMBERED.fullmatch(stem)
        if stem in labels:
            photos.setdefault(stem, []).append((0, name))
        elif numbered is not None and numbered[1] in labels:
            photos.setdefault(numbered[1], []).append((int(numbered[2]), name))
        else:
            context.report.add("photo without a text file", str(folder / name))
    for stem in sorted(labels.keys() - photos.keys()):
        context.report.add("text file without a photo", str(folder / labels[stem]))
    return [(s, labels[s], [name for _, name in sorted(photos[s])]) for s in sorted(photos)]


def _read_label(path: Path, context: Context) -> tuple[tuple[str, ...], str | None]:
    try:
        with path.open("rb") as file:
            text = file.read(2**20).decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        context.report.add("text file cannot be read", f"{path}: {error.strerror}")
        return (), context.user_id
    first, second = (*join_surrogates(text).replace("\0", "").splitlines(), "", "")[:2]
    if not first.strip():
        context.report.add("text file without tags", str(path))
    user_id = second.strip() or context.user_id
    if user_id is None:
        context.report.add("text file without a user", str(path))
    return tidy_tags(split_tags(first), context.report.tags), user_id
