"""Whatever the world sends ends well or in one error that says what to do (`make fuzz`: 100,000).

Each target takes damage of its own kind. A case that takes over a second is printed, not failed:
machines differ. Memory is bounded.
"""

from __future__ import annotations

import io
import json
import lzma
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import archives
from fuzzing import altered, cases, damaged, tallied
from pixtag.images import decode, notes
from pixtag.ingest import READERS, find_sources, import_posts
from pixtag.ingest.context import ImportReport
from pixtag.ingest.files import read_json
from pixtag.integrations.sidecars import Text, Word, Xmp
from pixtag.integrations.trends import import_trends
from pixtag.store import Store
from pixtag.tags import (
    MAX_TAG_LENGTH,
    find_hashtags,
    given_tags,
    normalise_tag,
    split_tags,
    tidy_tags,
)

if TYPE_CHECKING:
    from fuzzing import Tally

ROOT = Path(__file__).parents[2]
AT = 1_772_366_400  # 2026-03-01T12:00:00Z
NOW = AT + 86_400.0


# Photos


def photo_files() -> list[bytes]:
    """A real photo, small, in every format that is read, with notes in it."""
    import pillow_heif

    with Image.open(ROOT / "samples" / "cat.jpg") as image:
        small = image.convert("RGB").resize((72, 54))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x9C9E] = "dusk;night".encode("utf-16-le")
    exif.get_ifd(0x8769).update({0x9003: "2024:05:01 10:00:00", 0x9011: "+02:00"})
    made = []
    forms: list[tuple[str, dict[str, Any]]] = [
        ("JPEG", {"exif": exif}), ("JPEG", {"progressive": True, "xmp": XMP}),
        ("PNG", {"exif": exif}), ("WEBP", {"exif": exif}), ("WEBP", {"lossless": True}),
        ("GIF", {}), ("AVIF", {"exif": exif}), ("TIFF", {"exif": exif}),
        ("TIFF", {"compression": "tiff_lzw"}), ("BMP", {}),
    ]  # fmt: skip
    for form, options in forms:
        out = io.BytesIO()
        small.save(out, form, **options)
        made.append(out.getvalue())
    out = io.BytesIO()
    pillow_heif.from_pillow(small).save(out, exif=exif.tobytes())
    return [*made, out.getvalue()]


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:lr="http://ns.adobe.com/lightroom/1.0/" '
    b'xmlns:digiKam="http://www.digikam.org/ns/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
    b'xmp:Rating="3"><dc:subject><rdf:Bag><rdf:li>Berlin</rdf:li><rdf:li>sea &amp; sun</rdf:li>'
    b"</rdf:Bag></dc:subject><lr:hierarchicalSubject><rdf:Bag><rdf:li>Places|Berlin</rdf:li>"
    b"</rdf:Bag></lr:hierarchicalSubject><digiKam:TagsList><rdf:Seq><rdf:li>Places/Berlin</rdf:li>"
    b"</rdf:Seq></digiKam:TagsList><dc:title/></rdf:Description></rdf:RDF></x:xmpmeta>"
)


@pytest.mark.filterwarnings("ignore")  # of Pillow, which a person does not see either
def test_photos() -> None:
    pytest.importorskip("pillow_heif", reason="HEIC needs the package pillow-heif")
    seeds = photo_files()

    def check(tally: Tally) -> None:
        @given(damaged(seeds))
        @cases(20)
        def run(data: bytes) -> None:
            with tally.case(data[:40]):
                pixels = decode(data, target_px=32)
                assert pixels.shape == (32, 32, 3)
            with tally.case(data[:40]):
                notes(io.BytesIO(data))

        run()

    tallied("photos", check)


# Readers of posts

PUBLIC = "https://www.w3.org/ns/activitystreams#Public"
ANA = "https://m.example/users/ana"
RECORDS: list[Any] = [
    {
        "post_id": "p1",
        "user_id": "ana",
        "posted_at": "2026-03-01T12:00:00Z",
        "image": "a.jpg",
        "tags": ["sea", "sun"],
    },
    {
        "post_id": "p2",
        "user_id": "ben",
        "posted_at": AT,
        "image": ["a.jpg", "b.jpg"],
        "tags": "#sea #dusk",
        "caption": "x #more",
    },
]
INSTAGRAM: dict[str, Any] = {
    "your_instagram_activity/media/posts_1.json": [
        {"media": [{"uri": "media/1.jpg", "creation_timestamp": AT, "title": "CafÃ© #CafÃ©"}]},
        {
            "title": "Two #sea &amp; #Meer",
            "creation_timestamp": AT + 60,
            "media": [{"uri": "media/1.jpg", "creation_timestamp": AT + 50, "title": ""}] * 2,
        },
    ],
    "your_instagram_activity/comments/post_comments_1.json": [
        {
            "media_list_data": [{"uri": ""}],
            "string_map_data": {
                "Comment": {"value": "#first"},
                "Media Owner": {"value": "ana"},
                "Time": {"timestamp": AT + 90},
            },
        }
    ],
    "personal_information/personal_information/personal_information.json": {
        "profile_user": [{"string_map_data": {"Username": {"value": "ana"}}}]
    },
}
NOTE: dict[str, Any] = {
    "id": f"{ANA}/statuses/1",
    "type": "Note",
    "published": "2026-03-01T12:00:00Z",
    "to": [PUBLIC],
    "cc": [f"{ANA}/followers"],
    "content": "<p>Hi &amp; #more</p>",
    "tag": [{"type": "Hashtag", "name": "#sea", "href": "https://m.example/tags/sea"}],
    "attachment": [
        {"type": "Document", "mediaType": "image/jpeg", "url": "/media/1.jpg", "name": "alt"}
    ],
}
OUTBOX: dict[str, Any] = {
    "outbox.json": {
        "orderedItems": [
            {"id": "a", "type": "Create", "actor": ANA, "object": NOTE},
            {"id": "b", "type": "Announce", "actor": ANA, "object": "https://o.example/1"},
        ]
    },
    "actor.json": {"id": ANA, "preferredUsername": "ana"},
}
FLICKR: dict[str, Any] = {
    "photo_17.json": {
        "id": "17",
        "name": "sea",
        "description": "at the sea #dusk",
        "date_taken": "2026-03-01 12:00:00",
        "date_imported": "2026-03-02 12:00:00",
        "tags": [{"tag": "sea"}, {"tag": "new york"}],
        "original": "https://live.staticflickr.com/1/17_o.jpg",
        "privacy": "public",
    },
    "account_profile.json": {"screen_name": "ana", "nsid": "1@N01"},
}
LOADED = "2026-03-01_12-00-00_UTC"
NODE: dict[str, Any] = {
    "node": {
        "__typename": "GraphImage",
        "shortcode": "CabcdEFGhij",
        "taken_at_timestamp": AT,
        "owner": {"id": "1", "username": "ana"},
        "edge_media_to_caption": {"edges": [{"node": {"text": "Dusk #dusk"}}]},
        "edge_media_to_comment": {
            "edges": [{"node": {"text": "#own", "owner": {"username": "ana"}, "created_at": AT}}]
        },
    },
    "instaloader": {"version": "4.14", "node_type": "Post"},
}
WORDS = (b"#", b'"', b"\\", b"\\ud800", b"[", b"{", b"\xef\xbb\xbf", b"\xff\xfe", b"\r", b"\0")
WORDS += (b"1e999", b"\xf0\x9f\x8c\x85", b"&#x110000;", b"</p>", b"<br>", b"\t", b";")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path


def read(place: Path, files: dict[str, bytes], kind: str | None, *, is_zip: bool = False) -> None:
    """Import files as a folder or zip into a store; the posts come back and go out again."""
    path = place / "in.zip"
    if is_zip:
        archives.write_zip(path, files)
    else:
        path = place / "in"
        shutil.rmtree(path, ignore_errors=True)
        archives.write_tree(path, files)
    only = next(iter(files))
    if len(files) == 1 and not is_zip:
        path = path / only
    import_all(path, kind)


def import_all(path: Path, kind: str | None) -> None:
    with Store.in_memory() as store:
        store.photos_folder = path.parent / "store" / "kept"
        report = import_posts(find_sources([path], kind), store, now=NOW)
        assert json.dumps(report.as_dict())
        posts = list(store.posts())
        assert len(posts) <= report.n_posts
        for post in posts:
            assert tidy_tags(post.tags) == post.tags
        assert len(store.log().post_ids) == len(posts)
        assert store.add_posts(posts).unchanged == len(posts)


TREES = {
    "instagram": (INSTAGRAM, "media/1.jpg"),
    "activitypub": (OUTBOX, "media/1.jpg"),
    "flickr": (FLICKR, "sea_17_o.jpg"),
}


@pytest.mark.parametrize("kind", TREES)
def test_json_of_archives(kind: str, place: Path) -> None:
    tree, photo = TREES[kind]
    assert READERS[kind]
    jpeg = archives.jpeg(1)

    def check(tally: Tally) -> None:
        @given(altered(tree), st.booleans(), st.booleans())
        @cases(7)
        def run(files: Any, is_zip: bool, is_named: bool) -> None:
            content = {photo: jpeg}
            for name, value in files.items() if isinstance(files, dict) else ():
                safe = "".join(c for c in name if c.isprintable()).strip("/.")[:80] or "x"
                content[safe] = json.dumps(value).encode()
            with tally.case(files):
                read(place, content, kind if is_named else None, is_zip=is_zip)

        run()

    tallied(f"JSON of {kind}", check)


def test_bytes_of_zips(place: Path) -> None:
    seeds = []
    for tree, photo in TREES.values():
        path = archives.write_zip(place / "seed.zip", {**tree, photo: archives.jpeg(1)})
        seeds.append(path.read_bytes())
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_BZIP2) as one:
        one.writestr("posts.jsonl", json.dumps(RECORDS[0]))
    seeds.append(out.getvalue())

    def check(tally: Tally) -> None:
        @given(damaged(seeds, (b"PK\1\2", b"PK\3\4", b"PK\5\6", b"../", b"/etc/x")))
        @cases(7)
        def run(data: bytes) -> None:
            path = place / "in.zip"
            path.write_bytes(data)
            with tally.case(data[:40]):
                import_all(path, None)

        run()

    tallied("bytes of zips", check)


CSV = (
    "post_id,user_id,posted_at,image,tags\n"
    "p1,ana,2026-03-01T12:00:00Z,a.jpg,\"#sea #sun\"\np2,ben,1772366400,,\"['sea', 'dusk']\"\n"
)
FILES: dict[str, list[bytes]] = {
    "posts.jsonl": ["\n".join(map(json.dumps, RECORDS)).encode()],
    "posts.csv": [CSV.encode(), CSV.encode("utf-16"), CSV.replace("\n", "\r").encode("mac_roman")],
    "posts.tsv": [CSV.replace(",", "\t").encode()],
    "outbox.json": [json.dumps(OUTBOX["outbox.json"]).encode()],
    "posts_1.json": [json.dumps(next(iter(INSTAGRAM.values()))).encode()],
}


def packed_files() -> dict[str, list[bytes]]:
    """The same packed, and Parquet."""
    import gzip

    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    rows = [{"post_id": "p1", "user_id": "ana", "posted_at": AT, "tags": ["sea", "sun"]}] * 2
    pq.write_table(pa.Table.from_pylist(rows), out)
    return {
        "posts.parquet": [out.getvalue()],
        "posts.jsonl.gz": [gzip.compress(FILES["posts.jsonl"][0])],
        "posts.csv.zst": [bytes(pa.compress(CSV.encode(), "zstd", asbytes=True))],
    }


@pytest.mark.parametrize("is_packed", [False, True])
def test_bytes_of_files(place: Path, is_packed: bool) -> None:
    files = packed_files() if is_packed else FILES
    named = st.sampled_from(sorted(files)).flatmap(
        lambda name: st.tuples(st.just(name), damaged(files[name], WORDS))
    )

    def check(tally: Tally) -> None:
        @given(named)
        @cases(4 if is_packed else 8)
        def run(file: tuple[str, bytes]) -> None:
            with tally.case(file):
                read(place, {file[0]: file[1]}, None)

        run()

    tallied("packed files" if is_packed else "files", check)


def test_records_of_posts(place: Path) -> None:
    def check(tally: Tally) -> None:
        @given(altered(RECORDS))
        @cases(6)
        def run(rows: Any) -> None:
            lines = map(json.dumps, rows if isinstance(rows, list) else [rows])
            with tally.case(rows):
                read(place, {"posts.jsonl": "\n".join(lines).encode()}, None)

        run()

    tallied("records", check)


def test_folders(place: Path) -> None:
    """A library with sidecars, a folder with labels, what instaloader saves."""
    jpeg = archives.jpeg(1)
    folders: list[dict[str, bytes]] = [
        {"a.jpg": jpeg, "a.xmp": XMP},
        {"a.jpg": jpeg, "a.txt": b"sea, sun\nana\n"},
        {f"{LOADED}.jpg": jpeg, f"{LOADED}.txt": b"Dusk #dusk"},
        {f"{LOADED}.jpg": jpeg, f"{LOADED}.json": json.dumps(NODE).encode()},
    ]
    one_of = st.sampled_from(folders).flatmap(
        lambda files: st.tuples(
            st.just(files), damaged([list(files.values())[1]], WORDS), st.just(None)
        )
    )
    node = st.tuples(st.just(folders[3]), st.just(b""), altered(NODE))

    def check(tally: Tally) -> None:
        @given(st.one_of(one_of, node), st.booleans())
        @cases(7)
        def run(case: tuple[dict[str, bytes], bytes, Any], is_xz: bool) -> None:
            files, data, value = case
            photo, other = files
            if value is not None:
                data = json.dumps(value).encode()
                if is_xz:
                    other, data = f"{other}.xz", lzma.compress(data)
            with tally.case(data):
                read(place, {photo: files[photo], other: data}, None)

        run()

    tallied("folders", check)


def test_json_of_any_form() -> None:
    def check(tally: Tally) -> None:
        @given(damaged([json.dumps(RECORDS).encode(), b"[" * 5000, b'{"a":' * 5000], WORDS))
        @cases(3)
        def run(data: bytes) -> None:
            with tally.case(data):
                read_json(data, "x.json", ImportReport())

        run()

    tallied("JSON", check)


# Tags

_BITS = st.sampled_from(
    [
        "#",
        "\uff03",
        "\u200d",
        "\ufe0f",
        "🏳️‍🌈",
        "👍🏽",
        "\u0301",
        "ß",
        "İ",
        "ﬁ",
        "ก็",
        "한",
        "\ud83c",
        "\udf05",
        "_",
        "0",
        "٣",
        "@",
        "&",
        "\u202e",
        "'",
        "[",
        "]",
        ",",
        "\n",
    ]
)


def test_tags() -> None:
    text = st.lists(st.one_of(_BITS, st.text(st.characters(), max_size=4)), max_size=40)

    def check(tally: Tally) -> None:
        @given(text.map("".join), st.integers(1, 300))
        @cases(10)
        def run(text: str, times: int) -> None:
            with tally.case(text):
                many = (text * times)[:20_000]
                found = tidy_tags(find_hashtags(many))
                found += tidy_tags(split_tags(many)) + tidy_tags(given_tags(many))
                for tag in found:
                    assert 0 < len(tag) <= MAX_TAG_LENGTH
                    assert normalise_tag(tag) == tag
                    assert tag.encode()

        run()

    tallied("tags", check)


# Sidecars


def test_sidecars() -> None:
    new = [Word.of("sunset"), Word("Ufer", ("Places", "Ufer"))]
    first = Xmp(XMP, "a.xmp").revised(new, digest="d" * 64).data
    seeds = [XMP, first, first.replace(b"\n", b"\r\n"), XMP.decode().encode("utf-16")]
    words = (b"<rdf:li>", b"</rdf:li>", b"/>", b"<!DOCTYPE a>", b"<!--", b"-->", b"<![CDATA[")
    words += (b"&lt;", b"&#0;", b"&x;", b'xmlns:a="', b"<?xml encoding='x'?>", b"sunset", b">")

    def check(tally: Tally) -> None:
        @given(damaged(seeds, words))
        @cases(8)
        def run(data: bytes) -> None:
            with tally.case(data):
                once = Xmp(data, "a.xmp").revised(new, digest="d" * 64).data
                again = Xmp(once, "a.xmp")
                assert again.revised(new, digest="d" * 64).data == once

        @given(damaged([b"sea, sun\nana\n", b"#sea #sun\n", b"pixtag: sea\n"], WORDS))
        @cases(2)
        def run_text(data: bytes) -> None:
            with tally.case(data):
                once = Text(data, "a.txt").revised(new, digest="d" * 64).data
                assert Text(once, "a.txt").revised(new, digest="d" * 64).data == once

        run()
        run_text()

    tallied("sidecars", check)


# Trends from outside

TRENDS = b"tag,time,count,accounts\nsunset,2026-02-28,12,9\nsea,1772280000,4,\n"
TREND = {"name": "sunset", "history": [{"day": str(AT), "uses": "12", "accounts": "9"}] * 2}


def test_trends_of_files(place: Path) -> None:
    rows = [{"tag": "sunset", "time": "2026-02-28", "count": 12, "accounts": 9}] * 2

    def check(tally: Tally) -> None:
        @given(st.one_of(damaged([TRENDS], WORDS), altered(rows)))
        @cases(4)
        def run(case: Any) -> None:
            is_raw = isinstance(case, bytes)
            lines = map(json.dumps, case if isinstance(case, list) else [case])
            path = place / ("t.csv" if is_raw else "t.jsonl")
            path.write_bytes(case if is_raw else "\n".join(lines).encode())
            with tally.case(case), Store.in_memory() as store:
                report = import_trends(store, path, now=NOW)
                assert report.n_counts > 0

        run()

    tallied("trends of files", check)


def test_trends_of_servers(place: Path) -> None:
    import trend_server
    from pixtag.integrations.trends import fetch_trends

    said = [b"[]"]
    raw = damaged([json.dumps([TREND] * 2).encode()], WORDS)

    def check(tally: Tally) -> None:
        with trend_server.serving(lambda to: trend_server.reply(to, said[0])) as url:

            @given(st.one_of(raw, altered([TREND] * 2).map(lambda v: json.dumps(v).encode())))
            @cases(3)
            def run(data: bytes) -> None:
                said[0] = data
                with tally.case(data), Store.in_memory() as store:
                    fetch_trends(store, url, now=NOW)

            run()

    tallied("trends of servers", check)
