"""Posts as somebody wrote them: records in JSON Lines, CSV or Parquet, photos beside text files."""

from __future__ import annotations

import csv
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

from pixtag.errors import ArchiveError
from pixtag.formats import PHOTO_SUFFIXES, VIDEO_SUFFIXES
from pixtag.ingest import files, library
from pixtag.ingest.context import Context, composed
from pixtag.ingest.files import Look, walk
from pixtag.tags import find_hashtags, given_tags, join_surrogates, split_tags, tidy_tags
from pixtag.types import Post, day_first_in

# The columns of a post, and what others call them; a post's own name for one comes first. After
# the English ones German, Spanish, French, Portuguese, Italian, Dutch and Indonesian ones.
COLUMNS = {
    "post_id": "id shortcode mediaid",
    "user_id": "user username userid author owner account profile screenname"
    " benutzer benutzername nutzer nutzername konto usuario nombredeusuario cuenta autor"
    " utilisateur compte auteur utilizador conta utente autore gebruiker gebruikersnaam pengguna"
    " akun",
    "posted_at": "timestamp createdat created takenat datetaken takenattimestamp datetime date time"
    " posted published publishedat dateposted postdate uploaddate"
    " datum aufnahmedatum zeitpunkt veroffentlicht erstellt fecha fechayhora fechadepublicacion"
    " publicado datedepublication publie datahora pubblicato datapubblicazione geplaatst tanggal"
    " waktu data",
    "image": "images photo photos photopath imagepath filename file filepath picture media path"
    " bild bilder foto fotos datei dateiname imagen imagenes archivo fichier imagem imagens arquivo"
    " ficheiro immagine immagini afbeelding bestand gambar berkas",
    "tags": "hashtags tag hashtag keywords"
    " schlagworte schlagworter schlusselworter stichworte stichworter etiketten etiquetas"
    " palabrasclave etiquettes motscles palavraschave etichette parolechiave trefwoorden tagar"
    " katakunci",
    "caption": "captions captiontext text content description title message"
    " bildunterschrift beschreibung titel texto descripcion titulo texte legende titre legenda"
    " descricao didascalia descrizione testo titolo bijschrift beschrijving tekst keterangan"
    " deskripsi judul",
}
_COLUMN_OF = {
    alias: name
    for name, others in COLUMNS.items()
    for alias in (name.replace("_", ""), *others.split())
}
# Folders beside labelled photos that hold other forms of them.
SKIPPED_FOLDERS = frozenset({"extra", "original"})
_SEPARATOR = re.compile(r"[,;|\uFF0C\u3001]")
_NUMBERED = re.compile(r"(.+)_(\d+)")
_CONTENT = {"image", "tags", "caption"}
_COUNTABLE_BYTES = 512 * 2**20
_LOOKED_AHEAD = 1000  # records, of which one may tell whether 1/2/2026 begins with the day
_MOST_UNREAD = 100
_Records = Iterator[tuple[str, dict[str, Any]]]  # where it stands, its values by column name


def looks_like(kind: str, look: Look) -> Path | None:
    """Tell a file of a kind by how it begins: a JSON object, Parquet's signature, other text."""
    is_text = look.text and look.text[0] not in "[<"
    found = "jsonl" if look.text.startswith("{") else "csv" if is_text else ""
    found = "parquet" if look.head.startswith(b"PAR1") else found
    return look.path if found == kind else None


def read(kind: str, paths: Sequence[Path], context: Context) -> Iterator[Post]:
    """Read posts from a file of `KINDS`, plain or compressed; broken rows are counted, left out.

    ArchiveError: it cannot be opened, no line is a post, or no column is known.
    """
    (path,) = paths
    records = _READ[kind](path, context, _Heading(path, context))
    ahead = list(islice(records, _LOOKED_AHEAD))
    day_first = day_first_in(record.get("posted_at") for _, record in ahead)
    n_alike = Counter[str]()
    for where, record in chain(ahead, records):
        post = _read_record(record, path, where, context, day_first, n_alike)
        if post is not None:
            yield post


class _Heading:
    """Which column is what, told by names; those of a file that are not understood are told."""

    def __init__(self, path: Path, context: Context) -> None:
        self.path, self._report = path, context.report
        self._told: set[str] = set()

    def columns(self, names: Iterable[str]) -> dict[str, str]:
        """Give the names that are read, by column; of several for one column that listed first."""
        found: dict[str, dict[str, str]] = {column: {} for column in COLUMNS}
        for name in names:
            plain = _plain(name)
            if (column := _COLUMN_OF.get(plain)) is not None:
                found[column].setdefault(plain, name)
            elif name.strip():
                self._unread(name)
        chosen: dict[str, str] = {}
        for column, others in found.items():
            order = (column.replace("_", ""), *COLUMNS[column].split())
            first, *rest = sorted(others, key=order.index) or [""]
            if first:
                chosen[column] = others[first]
            for plain in rest:
                self._unread(others[plain])
        return chosen

    def indices(self, names: list[str]) -> dict[str, int]:
        """Place the columns of a table; ArchiveError: one comes twice, or nothing to learn from."""
        for name, n in Counter(map(str.lower, names)).items():
            if n > 1 and _COLUMN_OF.get(_plain(name)):
                what = f"{self.path} has the column {name!r} {n} times"
                raise ArchiveError(what, hint="keep one of them, or rename the others")
        chosen = self.columns(names)
        if not chosen.keys() & _CONTENT:
            found = ", ".join(map(repr, names[:12]))
            what = f"{self.path} has no column named tags, caption or image, only: {found}"
            raise ArchiveError(what, hint=f"rename its columns: {', '.join(COLUMNS)}")
        return {column: names.index(name) for column, name in chosen.items()}

    def _unread(self, name: str) -> None:
        if name not in self._told and len(self._told) < _MOST_UNREAD:
            self._told.add(name)
            self._report.add("unknown column, not read", f"{self.path}: {name}")


def _read_json_lines(path: Path, context: Context, heading: _Heading) -> _Records:
    context.report.n_expected += _count_lines(path)
    n_broken = n_good = 0
    keys: dict[str, Any] = {}
    names: dict[str, str] = {}
    shape: tuple[str, ...] | None = None
    with files.open_text(path) as file:
        for number, line in files.lines(file, path, context.report):
            where = f"{path}:{number}"
            try:
                record: Any = json.loads(line.removeprefix("\ufeff"))
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                if line.strip():
                    n_broken += 1
                    kind = "broken line" if line.endswith("\n") else "half-written last line"
                    context.report.add(kind, f"{where}: {line[:60].strip()}")
                continue
            keys = cast("dict[str, Any]", record)
            if shape != (shape := tuple(keys)):
                names = heading.columns(shape)
            if names:
                n_good += 1
                yield where, {column: keys[name] for column, name in names.items()}
            else:
                n_broken += 1
                context.report.add("record without a known name, left out", where)
    if n_broken and not n_good:
        form = '{"post_id": .., "user_id": .., "posted_at": .., "image": .., "tags": [..]}'
        what = f"no line of {path} is a JSON object with a post"
        what += f", only with: {', '.join(map(repr, list(keys)[:12]))}" if keys else ""
        raise ArchiveError(what, hint=f"each line needs the form {form}")


def _read_csv(path: Path, context: Context, heading: _Heading) -> _Records:
    report = context.report
    report.n_expected += max(_count_lines(path) - 1, 0)
    csv.field_size_limit(2**24)  # a caption with 10,000 tags exceeds the default of 128 kB
    with files.open_text(path) as file:
        numbered = files.lines(file, path, report)
        # Before the heading may stand blank lines and Excel's hint, as in `sep=;`.
        head, mark = "", ""
        for _, line in numbered:
            hint = re.fullmatch(r"\ufeff?\"?sep=(.)\"?\s*", line)
            mark, head = (hint[1], "") if hint else (mark, line)
            if head.strip():
                break
        heads = {m: next(csv.reader([head], delimiter=m), []) for m in mark or ",;\t|"}
        mark, names = max(heads.items(), key=lambda one: _n_known(one[1]))
        places = heading.indices(names)
        for number, row in _table_rows(numbered, mark, len(names)):
            if len(row) < len(names) or any(row[len(names) :]):
                report.add("row with too few or too many fields", f"{path}:{number}")
            if any(row):
                values = {name: row[i] for name, i in places.items() if i < len(row)}
                yield f"{path}:{number}", values


def _n_known(names: list[str]) -> int:
    return sum(_plain(name) in _COLUMN_OF for name in names)


def _plain(name: str) -> str:
    """A column's name in small letters and digits alone, without accents."""
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKD", name)).lower()


def _table_rows(
    numbered: Iterator[tuple[int, str]], mark: str, width: int
) -> Iterator[tuple[int, list[str]]]:
    """Split lines into fields; those that a stray quote would swallow are each read by itself."""
    taken: list[tuple[int, str]] = []
    reader = csv.reader(
        (taken.append(one) or one[1] for one in numbered), delimiter=mark, strict=True
    )
    while True:
        taken.clear()
        row: list[str] | None = None
        with suppress(csv.Error):
            row = next(reader, None)
            if row is None:
                return
        if row is not None and (len(taken) == 1 or len(row) == width):
            yield taken[0][0], row
            continue
        for number, line in taken:
            forms = (
                next(csv.reader([one], delimiter=mark), []) for one in (line, line.replace('"', ""))
            )
            yield number, next((row for row in forms if len(row) == width), [])


def _read_parquet(path: Path, context: Context, heading: _Heading) -> _Records:
    try:
        import pyarrow as pa  # only where Parquet is read: it is large and takes a quarter second
        import pyarrow.parquet as pq
    except ImportError as error:
        what = f"{path} is a Parquet file, which needs the package pyarrow"
        raise ArchiveError(what, hint="pip install pyarrow, or write it as CSV") from error
    try:
        with files.open_bytes(path) as file:
            is_packed = files.compression(path)
            table = pq.ParquetFile(pa.BufferReader(file.read()) if is_packed else path)
        names = table.schema_arrow.names
    except (*files.DAMAGED, pa.ArrowException) as error:
        what = f"{path} is no readable Parquet file: {error}"
        raise ArchiveError(what, hint="write it again, or use CSV") from error
    places = heading.indices(names)
    context.report.n_expected += table.metadata.num_rows
    number = 0
    with files.until_damage(
        lambda: f"{path} after row {number}", context.report, pa.ArrowException
    ):
        for batch in table.iter_batches(
            batch_size=1000, columns=[names[i] for i in places.values()]
        ):
            columns = [_plain_column(batch.column(names[i]), path) for i in places.values()]
            for values in zip(*columns, strict=True):
                number += 1
                yield f"{path} row {number}", dict(zip(places, values, strict=True))


_READ = {"jsonl": _read_json_lines, "parquet": _read_parquet, "csv": _read_csv}
KINDS = tuple(_READ)


def _read_record(
    record: dict[str, Any],
    path: Path,
    where: str,
    context: Context,
    day_first: bool | None,
    n_alike: Counter[str],
) -> Post | None:
    """Make a post of a record, which may lack any of `COLUMNS`; image paths start at its file.

    None where there is nothing: no id, no readable time, no tag and no photo, as in a sum below a
    table.
    """
    given, caption = record.get("tags"), record.get("caption")
    tags = given_tags(given)
    if not tags and isinstance(caption, str):
        tags = find_hashtags(context.plain_text(caption))
    named = composed(_name(record.get("user_id")) or "") or context.user_id
    posted_at = context.report.read_time(record.get("posted_at"), where, day_first=day_first)
    kept = tidy_tags(tags, context.report.tags)
    images = _images(record.get("image"), path)
    for name, value, found in (("tags", given, tags), ("image", record.get("image"), images)):
        if value and not found and not isinstance(value, str):
            context.report.add(f"{name} not understood", f"{where}: {value!r}")
    post_id = _name(record.get("post_id"))
    if not (post_id or posted_at is not None or kept or images):
        context.report.add("row without a time, tags or a photo, left out", where)
        return None
    if not post_id:
        form = json.dumps([named, posted_at, images, kept])
        # Without a time and a photo those with the same tags are posts nevertheless.
        n_before, n_alike[form] = n_alike[form], n_alike[form] + 1
        number = [str(n_before)] if n_before and posted_at is None and not images else []
        post_id = context.post_id("row", form, *number)
    for link in (one for one in images if "://" in one):
        context.report.add("photo is a link, not fetched", link)
    paths = [one for one in images if "://" not in one and context.only_for is None]
    photos = tuple(map(context.photo_at, paths))
    return Post(post_id, named or context.person(where), posted_at, kept, photos)


def _plain_column(column: Any, path: Path) -> list[Any]:  # noqa: ANN401 - a pyarrow array
    """Turn a column into Python values, times into ISO text exact to the microsecond."""
    import pyarrow as pa

    if not (pa.types.is_date(column.type) or pa.types.is_timestamp(column.type)):
        return [_plain_value(value, path) for value in column.to_pylist()]
    zone = "+00:00" if getattr(column.type, "tz", None) else ""
    texts = column.cast(pa.timestamp("us"), safe=False).cast(pa.string())
    return [None if text is None else text + zone for text in texts.to_pylist()]


def _plain_value(value: object, path: Path) -> object:
    """Read bytes as text, also inside a list."""
    if isinstance(value, list):
        return [_plain_value(one, path) for one in cast("list[object]", value)]
    if isinstance(value, bytes) and b"\0" not in value:
        return files.text_of(value, path)
    return value


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
    names = [*map(composed, look.names)]
    whole = {n for n in names if Path(n).suffix.lower() in PHOTO_SUFFIXES}
    photos = {name.rsplit(".", 1)[0] for name in whole}
    photos |= {re.sub(r"_\d+$", "", name) for name in photos} | whole
    is_labelled = any(n[:-4] in photos for n in names if n.lower().endswith(".txt"))
    return look.path if is_labelled and not look.post_files else None


def read_labelled(paths: Sequence[Path], context: Context) -> Iterator[Post]:
    """Read photos with a text file beside them (else ArchiveError), in order of folder and name.

    `NAME_1.jpg`, `NAME_2.jpg`, ... share `NAME.txt` and are one post. Photos without such a file
    come last, as those of a library.
    """
    (root,) = paths
    n_posts, known = 0, {*context.known_ids.values()}
    unlabelled: set[str] = set()
    for folder, names in walk(root, SKIPPED_FOLDERS):
        shown = [name for name in names if name[0] != "."]
        posts, others = _labelled(folder, shown, context)
        unlabelled |= {str(folder / name) for name in others}
        context.report.n_expected += len(posts)
        marked = [_label_lines(folder / label, context) for _, label, _ in posts]
        texts = [lines for lines, _ in marked]
        # A file of three lines or more, the first a single tag, shows that each line is a tag.
        is_list = any(len(text) > 2 and not _SEPARATOR.search(text[0]) for text in texts)
        for (stem, label, photo_names), (text, written) in zip(posts, marked, strict=True):
            n_posts += 1
            where = str(folder / label)
            # NAME.jpg.txt is written by programs that put each tag on a line.
            of_program = Path(stem).suffix.lower() in PHOTO_SUFFIXES
            is_lines = is_list or (of_program and not _SEPARATOR.search("".join(text[:1])))
            tags, named = _label(text, where, context, is_list=is_lines)
            user_id = named or context.person(where)
            if user_id is None:
                context.report.add("text file without a user", where)
            if written and not (tags := tuple(library.without(tags, written))):
                context.report.add("only words of Pixtag's own, left out", str(folder / label))
                continue
            photos = tuple(context.photo_at(str(folder / name)) for name in photo_names)
            # Named by folder, name and content: the same after a move, and in parent or child;
            # a file that was edited in its place keeps the name that it had.
            digests = (photo.digest for photo in photos)
            post_id = context.post_id("folder", folder.name, stem, named or "", *digests)
            source = str(folder / photo_names[0])
            if post_id not in known:
                post_id = context.known_ids.get(source, post_id)
            if context.keep_copies and photos[0].digest:
                context.keep_origin(photos[0], source, post_id)
            yield Post(post_id, user_id, None, tags, photos)
    if unlabelled:
        for post in library.read_photos(paths, context, unlabelled):
            n_posts += 1
            yield post
    if not n_posts:
        hint = "put NAME.txt beside NAME.jpg: line 1 comma-separated tags, line 2 the user"
        raise ArchiveError(f"no photo in {root} has a text file beside it", hint=hint)


def _labelled(
    folder: Path, names: list[str], context: Context
) -> tuple[list[tuple[str, str, list[str]]], list[str]]:
    """Group the files of one folder: name of the post, label file, photos in order; the others."""
    labels = {composed(name[:-4]): name for name in names if name.lower().endswith(".txt")}
    photos: dict[str, list[tuple[int, str]]] = {}
    others: list[str] = []
    for name in names:
        whole = composed(name)
        stem, suffix = os.path.splitext(whole)  # noqa: PTH122 - as text
        context.report.n_videos_skipped += suffix.lower() in VIDEO_SUFFIXES
        if suffix.lower() not in PHOTO_SUFFIXES:
            continue
        numbered = _NUMBERED.fullmatch(stem)
        if stem in labels or whole in labels:
            photos.setdefault(stem if stem in labels else whole, []).append((0, name))
        elif numbered is not None and numbered[1] in labels:
            photos.setdefault(numbered[1], []).append((int(numbered[2]), name))
        else:
            others.append(name)
    for stem in sorted(labels.keys() - photos.keys()):
        context.report.add("text file without a photo", str(folder / labels[stem]))
    groups = [(s, labels[s], [name for _, name in sorted(photos[s])]) for s in sorted(photos)]
    return groups, others


def _label_lines(path: Path, context: Context) -> tuple[list[str], list[str]]:
    """Read a text file's lines, without blank ones at its end, and the words of Pixtag's line."""
    raw = files.read_all(partial(path.open, "rb"), str(path), context.report, "text file")
    try:
        text = files.text_of(raw or b"", path)
    except ArchiveError as error:
        context.report.add("text file in an unknown encoding, not read", str(error))
        return [], []
    text, written = library.split_line(join_surrogates(text).replace("\0", ""))
    return [line.strip() for line in text.rstrip().splitlines()], written


def _label(
    lines: list[str], where: str, context: Context, *, is_list: bool
) -> tuple[tuple[str, ...], str | None]:
    """Read tags and the user, if named: of two lines, of one tag a line, or of a caption."""
    first, second, *others = (*lines, "", "")
    parts = [
        part.strip()
        for part in (_SEPARATOR.split(first) if _SEPARATOR.search(first) else first.split())
    ]
    is_caption = "#" in "".join(lines[1:]) or (
        "#" in first and any(p[:1] not in {"#", ""} for p in parts)
    )
    if is_caption or is_list:
        second = ""
    elif any(others):
        context.report.add("lines after the second in a text file, not read", where)
    text = "\n".join(lines)
    tags = find_hashtags(text) if is_caption else split_tags(text if is_list else first)
    if not first:
        context.report.add("text file without tags", where)
    return tidy_tags(tags, context.report.tags), composed(second) or context.user_id
