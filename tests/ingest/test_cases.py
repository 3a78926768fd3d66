# ruff: noqa: RUF001 - odd characters are what this file is about
"""Inputs on which importers fall short: the shared cases, and small ones of the same kinds."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import unicodedata
import zipfile
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archives import jpeg, write_tree, write_zip
from pixtag.errors import ArchiveError, InputError, StoreError
from pixtag.images import check
from pixtag.ingest import find_sources
from pixtag.photos import photos_under
from pixtag.types import iso_time

UMLAUTS = [("jörg", ("münchen", "café")), ("jörg", ("köln", "düsseldorf"))]
MIRA = [("mira", ("münchen", "sonne☀")), ("mira", ("zwei",))]
PART = "parts_as_folders/instagram-mira-2024-06-01-part-"

# What each input gives: who posted which tags, in order of time.
READ = {
    "comments_localised/comments_de.zip": [
        ("mira", ("münchen", "sonne☀", "firstcomment")),
        MIRA[1],
    ],
    "csv_cp1252/posts.csv": UMLAUTS,
    "csv_cr_only/posts.csv": UMLAUTS,
    "csv_sep_line/sep_line.csv": UMLAUTS,
    "csv_sep_line/blank_lines_first.csv": [("a", ("x",))],
    "csv_unclosed_quote/posts.csv": [
        ("ana", ()),
        ("ana", ("x",)),
        ("ana", ("y",)),
        ("ana", ("z",)),
    ],
    "instaloader_cover": [("mira", ("ramen",))],
    "instaloader_geotags": [("mira", ("ramen",))],
    "instaloader_pattern/short": [
        ("mira", ("sun", "berlin", "party")),
        ("mira", ("food", "ramen")),
    ],
    "instaloader_pattern/prof": [("mira", ("custom",))],
    "labels_edited_photo": [("ana", ("x", "y"))],
    "labels_one_per_line": [
        (None, ("cat", "bluesky", "sunset", "beach")),
        (None, ("dog", "park", "run")),
    ],
    "mojibake_partly/mixed.zip": [("mira", ("crème",))],
    "mojibake_partly/cutchar.zip": [("mira", ("münchen", "köln"))],
    "parquet_odd/bin.parquet": [("a", ("x",))],
    "parquet_odd/caps.parquet": [("a", ("x", "y"))],
    "parquet_odd/struct.parquet": [("a", ("x",))],
    "parquet_odd/imgstruct.parquet": [(None, ("x",))],
    f"{PART}1 {PART}2": MIRA,
    f"parts_as_folders/p1.zip {PART}2": MIRA,
    "tag_cut/posts.jsonl": [
        ("ana", ("il·lusió", "ぼっち・ざ・ろっく", "メ〜テレ", "צה״ל", "བོད་སྐད", "各〃"))
    ],
    "tag_in_link/posts.jsonl": [("ana", ())],
    "tag_spelling/posts.jsonl": [("ana", ("straße", "ελλάς", "istanbul", "น้ำตก", "ㅋㅋㅋ"))],
    "unknown_keys/cols.csv": [("ana", ("cats",)), ("ana", ("dogs",))],
    "unknown_keys/mastodon_status.jsonl": [("ana", ("cats", "dogs"))],
    "unknown_keys/unknown_keys.jsonl": [("ana", ("cats",)), ("ana", ("dogs",))],
    "utf16_text/posts.csv": UMLAUTS,
    "utf16_text/posts.jsonl": [("a", ("x",))],
}
REFUSED = {
    "parquet_odd/dup.parquet": "column 'tags' 2 times",
    "zip_encrypted/enc.zip": "locked with a password",
    "zip_encrypted/encrypted.zip": "locked with a password",
    "zip_method/deflate64.zip": "Deflate64",
}


@pytest.mark.shared
@pytest.mark.parametrize("names", READ)
def test_a_shared_case_is_read(names, importer, shared_data):
    importer(*(shared_data / "cases" / name for name in names.split()))
    assert sorted((p.user_id or "", p.tags) for p in importer.posts) == sorted(
        (user or "", tags) for user, tags in READ[names]
    )


@pytest.mark.shared
@pytest.mark.parametrize("name", REFUSED)
def test_a_shared_case_is_refused_with_its_reason(name, importer, shared_data):
    with pytest.raises(ArchiveError, match=REFUSED[name]) as caught:
        importer(shared_data / "cases" / name)
    assert caught.value.hint


@pytest.mark.shared
def test_shared_photos_are_found_and_whole(shared_data):
    for name in ("avif_skipped", "jpeg_without_eoi"):
        (photo,) = photos_under([shared_data / "cases" / name])
        assert photo.is_file()
        assert check(photo) is None


@pytest.mark.shared
def test_shared_dates_are_right_or_told(importer, shared_data):
    report = importer(shared_data / "cases" / "number_dates" / "posts.csv")
    at = {int(post.post_id): (iso_time(post.posted_at) or "")[:16] for post in importer.posts}
    evening = "2024-05-01T18:30"
    assert at == {
        1: "2024-05-01T00:00",
        2: "",
        3: "",
        4: "2024-01-01T00:00",
        5: "2018-10-10T20:19",
        6: "2024-03-31T01:30",
        7: evening,
        8: evening,
        9: evening,
        10: evening,
    }
    assert sum(n for kind, n in report.problems.items() if "zone" not in kind) == 2


CSV = """post_id,user_id,posted_at,tags,caption
1,jörg,2024-05-01,münchen café,
2,jörg,2024-05-02,,#Köln #Düsseldorf
"""


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
@pytest.mark.parametrize("hint", ["", "sep=,\n", '"sep=,"\n', "\n\n"])
def test_tables_in_every_encoding_with_all_line_ends(tmp_path, importer, encoding, ends, hint):
    path = tmp_path / "posts.csv"
    path.write_bytes((hint + CSV).replace("\n", ends).encode(encoding))
    importer(path)
    assert [(post.user_id, post.tags) for post in importer.posts] == UMLAUTS


def test_a_macintosh_table_is_read_in_its_own_encoding(tmp_path, importer):
    (tmp_path / "posts.csv").write_bytes(CSV.replace("\n", "\r").encode("mac_roman"))
    importer(tmp_path / "posts.csv")
    assert [(post.user_id, post.tags) for post in importer.posts] == UMLAUTS


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("tags\nкот собака море солнце\n", "cp1251"),
        ("tags\nmünchen café\n", "mac_roman"),
        ("tags\nmünchen köln café\n", "cp850"),
        ("tags\n写真 東京\n", "shift_jis"),
        ("tags\n照片 北京\n", "gbk"),
    ],
)
def test_text_in_an_unknown_encoding_is_refused_and_never_mangled(
    tmp_path, importer, text, encoding
):
    path = tmp_path / "posts.csv"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(ArchiveError, match="encoding") as caught:
        importer(path)
    assert "UTF-8" in caught.value.hint


@pytest.mark.parametrize(
    ("row", "posts", "told"),
    [
        ("3,jörg,köln".encode("cp1252"), [("jörg", ("köln",))], "line in Windows-1252, read as"),
        ("3,аня,кот".encode("cp1251"), [], "line in an unknown encoding, left out"),
        ("3,jörg,grün maß k".encode() + b"\xc3ln", [("jörg", ("grün", "maß"))], "damaged"),
    ],
)
def test_one_row_in_another_encoding_is_never_mangled(tmp_path, importer, row, posts, told):
    path = tmp_path / "posts.csv"
    path.write_bytes(
        "post_id,user_id,tags\n1,jörg,münchen größe маяк 東京\n".encode() + row + b"\n"
    )
    report = importer(path)
    assert [(post.user_id, post.tags) for post in importer.posts] == [
        ("jörg", ("münchen", "größe", "маяк", "東京")),
        *posts,
    ]
    assert sum(kind.startswith(told) for kind in report.problems) == 1


def test_names_in_composed_and_decomposed_characters_are_the_same(tmp_path, importer):
    one, two = (unicodedata.normalize(form, "jörg") for form in ("NFC", "NFD"))
    files = {
        f"{two}.jpg": jpeg(1),
        "posts.csv": f"user_id,image,tags\n{one},{one}.jpg,{two}\n{two},.\\{two}.jpg,x {one}\n",
    }
    report = importer(write_tree(tmp_path / "a", files))
    assert {(post.user_id, post.tags) for post in importer.posts} == {
        (one, (one,)),
        (one, ("x", one)),
    }
    assert report.n_photos == 2
    report = importer(
        write_tree(tmp_path / "b", {f"{two}.jpg": jpeg(2), f"{one}.txt": f"y\n{two}"})
    )
    assert (report.n_posts, report.n_photos, len(report.problems)) == (1, 1, 0)


def test_a_stray_quote_swallows_no_rows(tmp_path, importer):
    path = tmp_path / "posts.csv"
    rows = ["a,ana,x,one", '"b,ana,x,two', "c,ana,x,three", 'd,ana,x,"say ""hi"", four"']
    path.write_text("post_id,user_id,tags,caption\n" + "\n".join(rows) + '\ne,ana,x,"two\nlines"\n')
    importer(path)
    assert [post.post_id for post in importer.posts] == list("abcde")


def test_records_without_a_known_name_are_refused_and_odd_columns_told(tmp_path, importer):
    path = tmp_path / "posts.jsonl"
    path.write_text('{"foo": 1, "bar": "#cats"}\n{"foo": 2}\n')
    with pytest.raises(ArchiveError, match="'foo'"):
        importer(path)
    path.write_text('{"foo": 1}\n{"ID": 2, "Hash Tags": ["a"], "foo": 2}\n')
    report = importer(path)
    assert importer.tags == [("a",)]
    assert report.problems == {
        "record without a known name, left out": 1,
        "unknown column, not read": 1,
    }


def test_columns_by_the_names_that_downloaders_give(tmp_path, importer):
    for name in ("date_posted", "Upload Date", "post-date"):
        (tmp_path / "a.csv").write_text(f"id,{name},Caption Text\n1,2024-05-01T10:00:00Z,#x\n")
        importer(tmp_path / "a.csv")
        assert [(post.posted_at, post.tags) for post in importer.posts] == [(1714557600.0, ("x",))]


def test_parquet_with_bytes_and_values_that_are_not_understood(tmp_path, importer):
    columns = {"Tags": [b"x, \xc3\xbc"], "image": [{"bytes": b"\xff\xd8", "path": "a.jpg"}]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    report = importer(tmp_path / "a.parquet")
    assert importer.tags == [("x", "ü")]
    assert report.problems == {"image not understood": 1}
    pq.write_table(pa.table({"Tags": [[b"caf\xc3\xa9", b"y"]]}), tmp_path / "b.parquet")
    importer(tmp_path / "b.parquet")
    assert ("café", "y") in importer.tags


def test_labels_one_a_line_captions_and_an_edited_photo(tmp_path, importer):
    files = {
        "lists/a.txt": "cat\nblue sky\nsunset\n\n",
        "lists/b.txt": "dog\npark\n",
        "said/a.txt": "A day, with friends #sun\nThank you all!",
        "plain/a.txt": "кот, собака\nаня\n".encode("utf-16"),
    }
    photos = {name.replace(".txt", ".jpg"): jpeg(n) for n, name in enumerate(files)}
    root = write_tree(tmp_path / "pets", files | photos)
    importer(root)
    assert {(post.user_id, post.tags) for post in importer.posts} == {
        (None, ("cat", "bluesky", "sunset")),
        (None, ("dog", "park")),
        (None, ("sun",)),
        ("аня", ("кот", "собака")),
    }
    with (root / "plain" / "a.jpg").open("ab") as file:
        file.write(b"x")
    assert importer(root).updated == 1
    assert len(importer.posts) == 4


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("user_data_tiktok.json", "TikTok"),
        ("your_facebook_activity/posts/your_posts_1.json", "Facebook"),
        ("data/tweets.js", "Twitter"),
        ("Takeout/Google Photos/a.jpg.json", "Google"),
        ("pins/0001.html", "Pinterest"),
        ("iCloud Photos/Photos/Photo Details.csv", "iCloud"),
    ],
)
@pytest.mark.parametrize("write", [write_tree, write_zip])
def test_archives_of_other_kinds_are_named(tmp_path, name, kind, write):
    path = write(tmp_path / "a", {name: {}, "messages/inbox/a/message_1.json": {}})
    with pytest.raises(ArchiveError, match=f"{kind}.* archive; not read yet"):
        find_sources([path])


def test_zips_and_pipes_that_cannot_be_read_say_why(tmp_path):
    (tmp_path / "a.7z").write_bytes(b"7z\xbc\xaf\x27\x1c")
    (tmp_path / "a.rar").write_bytes(b"Rar!\x1a\x07")
    write_zip(tmp_path / "posts.zip", {"posts.csv": "tags\nx"})
    write_zip(tmp_path / "empty.zip", {})
    write_zip(tmp_path / "threads.zip", {"your_instagram_activity/threads/posts.json": {}})
    for name, said in {
        "a.7z": "7z archive",
        "a.rar": "RAR archive",
        "posts.zip": "with posts.csv in it",
        "empty.zip": "an empty zip",
        "threads.zip": "Threads archive; not read",
    }.items():
        with pytest.raises(ArchiveError, match=said) as caught:
            find_sources([tmp_path / name])
        assert "Customise" not in caught.value.hint
    inner = write_zip(tmp_path / "inner.zip", {"content/posts_1.json": []})
    outer = write_zip(tmp_path / "outer.zip", {"inner.zip": inner.read_bytes()})
    with pytest.raises(ArchiveError, match="zip inside"):
        find_sources([outer])
    with pytest.raises(ArchiveError, match="no posts that are known"):
        find_sources([write_zip(tmp_path / "other.zip", {"a.pdf": "x"})])
    shutil.make_archive(str(tmp_path / "a"), "gztar", tmp_path, "inner.zip")
    with pytest.raises(ArchiveError, match="tar archive"):
        find_sources([tmp_path / "a.tar.gz"])
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArchiveError, match="pipe"):
        find_sources([tmp_path / "pipe"])


def test_a_zip_packed_in_an_unknown_way_says_so(tmp_path, importer):
    path = write_zip(tmp_path / "a.zip", {"content/posts_1.json": [], "media/posts/1.jpg": jpeg(1)})
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        starts = [info.header_offset for info in archive.infolist()]
    at = raw.find(b"PK\x01\x02")
    while at != -1:
        raw[at + 10] = 9
        at = raw.find(b"PK\x01\x02", at + 4)
    for start in starts:
        raw[start + 8] = 9
    path.write_bytes(raw)
    with pytest.raises(ArchiveError, match="Deflate64"):
        importer(path)


def test_a_failed_import_leaves_no_store(tmp_path, pixtag):
    (tmp_path / "a.csv").write_bytes(b"tags\nm\x81nchen\n")
    result = pixtag("import", "a.csv", "--store", "s.sqlite", "--no-embed")
    assert result.returncode == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_damaged_store_is_not_called_old(tmp_path):
    from pixtag.store import Store

    with Store.open(tmp_path / "s.sqlite", create=True):
        pass
    with closing(sqlite3.connect(tmp_path / "s.sqlite")) as db, db:
        db.execute("DELETE FROM schema_version")
    for read_only in (True, False):
        with pytest.raises(StoreError, match="is damaged"):
            Store.open(tmp_path / "s.sqlite", read_only=read_only)


def test_an_export_never_replaces_the_store_or_a_device(tmp_path, importer):
    from pixtag.ingest import export_posts
    from pixtag.store import Store

    (tmp_path / "a.jsonl").write_text(json.dumps({"post_id": "1", "tags": ["a"]}) + "\n")
    importer(tmp_path / "a.jsonl")
    with Store.open(importer.path) as store:
        for out in (importer.path, Path(os.devnull)):
            with pytest.raises(InputError):
                export_posts(store, out)
    assert importer.tags == [("a",)]
