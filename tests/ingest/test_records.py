from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archives import jpeg
from pixtag.errors import ArchiveError, InputError
from pixtag.ingest import export_posts, find_sources, import_posts
from pixtag.ingest.context import composed
from pixtag.ingest.records import COLUMNS
from pixtag.store import Store
from pixtag.tags import normalise_tag
from pixtag.types import DOUBTFUL, EARLIEST_US, LATEST_US, TWO_DATES, Photo, Post, iso_time

ROWS = [
    {
        "post_id": "p1",
        "user_id": "ana",
        "posted_at": "2026-01-05T00:14:24+00:00",
        "image": "images/1.jpg",
        "tags": ["Sea", "Sün"],
    },
    {
        "post_id": "p2",
        "user_id": "ben",
        "posted_at": "2026-01-06T01:00:00+02:00",
        "image": "",
        "tags": "#sea #Sun",
    },
    {
        "post_id": "p3",
        "user_id": "ben",
        "posted_at": None,
        "image": None,
        "caption": "Dusk, #dusk!",
    },
]
EXPECTED = [
    ("p3", "ben", None, ("dusk",)),
    ("p1", "ana", "2026-01-05T00:14:24+00:00", ("sea", "sün")),
    ("p2", "ben", "2026-01-05T23:00:00+00:00", ("sea", "sun")),
]


def write_json_lines(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))


def write_csv(path: Path, separator: str = ",") -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        names = ["post_id", "user_id", "posted_at", "image", "tags", "caption"]
        table = csv.DictWriter(file, names, delimiter=separator)
        table.writeheader()
        for row in ROWS:
            tags = row.get("tags")
            table.writerow({**row, "tags": str(tags) if isinstance(tags, list) else tags})


def write_parquet(path: Path) -> None:
    lists = [row.get("tags") if isinstance(row.get("tags"), list) else None for row in ROWS]
    captions = [
        row.get("caption") or (row["tags"] if isinstance(row["tags"], str) else None)
        for row in ROWS
    ]
    times = [row["posted_at"] and datetime.fromisoformat(row["posted_at"]) for row in ROWS]
    pq.write_table(
        pa.table(
            {
                "post_id": [row["post_id"] for row in ROWS],
                "user_id": [row["user_id"] for row in ROWS],
                "posted_at": pa.array(times, pa.timestamp("ns", "Europe/Berlin")),
                "image": [row["image"] for row in ROWS],
                "tags": lists,
                "caption": captions,
                "else": [1, 2, 3],
            }
        ),
        path,
    )


def packed(path: Path, how: str) -> Path:
    if how == "gz":
        out = path.with_name(path.name + ".gz")
        out.write_bytes(gzip.compress(path.read_bytes()))
        return out
    if how == "zst":
        out = path.with_name(path.name + ".zst")
        with pa.output_stream(str(out), compression="zstd") as file:
            file.write(path.read_bytes())
        return out
    return path


def test_parquet_without_its_package_says_what_to_install(tmp_path, importer, monkeypatch):
    write_parquet(tmp_path / "posts.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ArchiveError, match="is a Parquet file, which needs the package") as caught:
        importer(tmp_path / "posts.parquet")
    assert "pip install pyarrow" in caught.value.hint


def test_the_documentation_names_every_column():
    text = (Path(__file__).parents[2] / "docs" / "posts.md").read_text("utf-8")
    told = {name.replace("_", "") for name in re.findall(r"`(\w+)`", text)}
    for column, others in COLUMNS.items():
        assert {column.replace("_", ""), *others.split()} <= told


@pytest.mark.parametrize(
    "heading",
    [
        "Benutzer;Datum;Bild;Schlagwörter",
        "Usuario;Fecha;Imagen;Etiquetas",
        "Utilisateur;Date;Photo;Mots-clés",
        "Utilizador;Data;Imagem;Palavras-chave",
        "Utente;Data;Immagine;Parole chiave",
        "Gebruiker;Datum;Afbeelding;Trefwoorden",
        "PENGGUNA;Tanggal;Gambar;Kata kunci",
    ],
)
def test_columns_have_names_in_other_languages(tmp_path, importer, heading):
    rows = f"{heading}\nana;13.01.2026 18:30;x.jpg;Kaffee, Berlin\n"
    (tmp_path / "posts.csv").write_text(rows, "utf-8")
    importer(tmp_path / "posts.csv")
    ((_, user, at, tags),) = shown(importer)
    assert (user, at, tags) == ("ana", "2026-01-13T18:30:00+00:00", ("kaffee", "berlin"))


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        (("1/2/2026", "13/2/2026"), ("2026-02-01", "2026-02-13")),
        (("1/2/2026 6:30 PM", "2/13/2026"), ("2026-01-02", "2026-02-13")),
        (("1.2.2026", "3-14-2026", "1-2-2026"), ("2026-02-01", "2026-03-14", None)),
        (("1/2/2026", "3/4/2026"), (None, None)),
        (("1/2/2026", "13/2/2026", "2/13/2026"), (None, "2026-02-13", "2026-02-13")),
    ],
)
def test_dates_tell_each_other_whether_the_day_comes_first(tmp_path, importer, dates, expected):
    rows = "".join(f"ana,{at},tag{i}\n" for i, at in enumerate(dates))
    (tmp_path / "posts.csv").write_text(f"user,date,tags\n{rows}", "utf-8")
    report = importer(tmp_path / "posts.csv")
    found = {tags: at and at[:10] for _, _, at, tags in shown(importer)}
    assert [found[(f"tag{i}",)] for i in range(len(dates))] == list(expected)
    assert report.problems[TWO_DATES] == expected.count(None)


def test_rows_without_a_time_and_a_photo_are_posts_of_their_own(tmp_path, importer):
    rows = "user,date,tags\nana,someday,cat\nana,other day,cat\nana,,dog\n"
    (tmp_path / "posts.csv").write_text(rows, "utf-8")
    importer(tmp_path / "posts.csv")
    assert sorted(tags for _, _, _, tags in shown(importer)) == [("cat",), ("cat",), ("dog",)]
    assert importer(tmp_path / "posts.csv").added == 0


def test_a_sum_below_a_table_is_no_post(tmp_path, importer):
    rows = "Date,Photo,Hashtags,Likes\n2026-01-13,,cat,3\n,,,\nTotal,,,99\n"
    (tmp_path / "posts.csv").write_text(rows, "utf-8")
    report = importer(tmp_path / "posts.csv")
    assert len(importer.posts) == report.n_posts == 1
    assert report.problems["row without a time, tags or a photo, left out"] == 1


def shown(importer):
    return [(p.post_id, p.user_id, iso_time(p.posted_at), p.tags) for p in importer.posts]


@pytest.mark.parametrize("how", ["plain", "gz", "zst"])
@pytest.mark.parametrize("write", [write_json_lines, write_csv, write_parquet])
def test_every_table_gives_the_same_posts(tmp_path, importer, write, how):
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "1.jpg").write_bytes(jpeg(1))
    write(folder / "posts")
    report = importer(packed(folder / "posts", how))
    assert shown(importer) == EXPECTED
    assert (report.n_posts, report.added, report.n_people, report.n_photos) == (3, 3, 2, 1)
    (photo,) = importer.posts[1].photos
    assert photo.path == str(folder / "images" / "1.jpg")
    assert len(photo.digest) == 64
    again = importer(packed(folder / "posts", how))
    assert (again.added, again.unchanged) == (0, 3)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_tables_with_other_separators_and_a_byte_order_mark(tmp_path, importer, separator):
    path = tmp_path / "posts.csv"
    write_csv(path, separator)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    importer(path)
    assert shown(importer) == EXPECTED


def test_a_folder_with_a_file_of_posts_is_read(tmp_path, importer):
    write_json_lines(tmp_path / "posts.jsonl")
    assert importer(tmp_path).n_posts == 3


def test_broken_lines_are_counted_and_the_rest_is_read(tmp_path, importer):
    good = json.dumps({"post_id": "ok", "tags": ["sea"]}).encode()
    path = tmp_path / "posts.jsonl"
    deep = b'{"tags":' + b"[" * 100_000 + b"\n"
    path.write_bytes(good + b'\nnot json\n[1, 2]\n"text"\n\n' + deep + b"\xff\xfe\n" + good[:20])
    report = importer(path)
    problems = report.problems
    assert report.n_posts == 1
    assert problems["broken line"] == 5
    assert problems["half-written last line"] == 1
    assert report.examples["broken line"].startswith(f"{path}:2: not json")


def test_a_compressed_file_that_ends_early_gives_what_is_there(tmp_path, importer):
    lines = "".join(json.dumps({"post_id": f"p{i}", "tags": [f"t{i}"]}) + "\n" for i in range(5000))
    whole = gzip.compress(lines.encode())
    path = tmp_path / "posts.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    report = importer(path)
    assert 100 < report.n_posts < 5000
    assert report.problems["file is damaged or ends early"] == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"{broken\n{broken\n", "no line of"),
        (b"\x00\x01\x02binary", "not a file of posts"),
        (b"a,b,c\n1,2,3\n", "no column named tags"),
        (b"PAR1 and nothing more", "no readable Parquet"),
        (b"[1, 2]", "one JSON list"),
        (b"\x1f\x8b damaged gzip", "is damaged"),
        (b"\x28\xb5\x2f\xfd damaged zstd", "is damaged"),
    ],
)
def test_files_that_hold_no_posts_say_so(tmp_path, importer, content, words):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match=words) as caught:
        importer(path)
    assert caught.value.hint


def test_paths_and_kinds_that_are_nothing(tmp_path):
    with pytest.raises(ArchiveError, match="nothing at"):
        find_sources([tmp_path / "none"])
    with pytest.raises(ArchiveError, match="no posts that are known"):
        find_sources([tmp_path])
    with pytest.raises(InputError, match="unknown kind"):
        find_sources([tmp_path], "zip")
    with pytest.raises(InputError, match="no file"):
        find_sources([])
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    with pytest.raises(ArchiveError, match="without tags"):
        find_sources([tmp_path])


def test_problems_with_times_photos_and_repeats_are_told(tmp_path, importer):
    rows = [
        {"post_id": "future", "posted_at": "2199-01-01T00:00:00Z", "tags": ["a"]},
        {"post_id": "old", "posted_at": "1901-02-03T04:05:06.000007Z", "tags": ["a"]},
        {"post_id": "zoneless", "posted_at": "2026-01-01 00:00:00", "tags": ["a"]},
        {"post_id": "wrong", "posted_at": "yesterday", "tags": ["a"]},
        {"post_id": "far", "posted_at": 1e300, "tags": ["a"]},
        {"post_id": "twice", "posted_at": 1_500_000_000, "tags": ["a"]},
        {"post_id": "twice", "posted_at": 1_500_000_000, "tags": ["b"]},
        {"post_id": "twice", "posted_at": 1_500_000_000, "tags": ["b"]},
        {"post_id": "gone", "image": "gone.jpg", "tags": ["2026", "A"]},
        {"post_id": "link", "image": "https://example.com/a.jpg", "tags": []},
        {"post_id": "odd", "image": "/dev/zero", "tags": []},
        {"post_id": "several", "image": ["one.jpg", "two.jpg"], "tags": []},
    ]
    for name in ("one.jpg", "two.jpg"):
        (tmp_path / name).write_bytes(jpeg(1))
    path = tmp_path / "posts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = importer(path, user_id="ana", now=1.8e9)
    assert report.problems == {
        "time in the future, kept": 1,
        "time without a zone, read as UTC": 1,
        "unreadable time": 1,
        "time out of range": 1,
        "same post again": 1,
        "same post again with other content, the last one holds": 1,
        "photo is missing": 1,
        "photo is a link, not fetched": 1,
        "photo is not a file": 1,
    }
    posts = {post.post_id: post for post in importer.posts}
    assert posts["twice"].tags == ("b",)
    assert posts["twice"].posted_at == 1.5e9
    assert iso_time(posts["old"].posted_at) == "1901-02-03T04:05:06.000007+00:00"
    assert posts["wrong"].posted_at is None
    assert posts["gone"].photos == (Photo(str(tmp_path / "gone.jpg"), ""),)
    assert len(posts["several"].photos) == 2
    assert {post.user_id for post in importer.posts} == {"ana"}
    assert report.tags.dropped == {"only digits": 1}
    assert report.n_untimed == 6
    # The photo comes back: importing again finds it.
    (tmp_path / "gone.jpg").write_bytes(jpeg(3))
    assert importer(path, user_id="ana").n_photos == report.n_photos + 1


def test_posts_without_an_id_do_not_come_twice(tmp_path, importer):
    path = tmp_path / "posts.csv"
    path.write_text("user_id,tags\nana,sea sun\nben,sea sun\nana,dusk\n")
    assert importer(path).added == 3
    assert importer(path).unchanged == 3


def test_lone_surrogates_and_right_to_left_text_are_kept_sound(tmp_path, importer):
    path = tmp_path / "posts.jsonl"
    path.write_text(
        r'{"post_id": "\ud800p", "user_id": "a\udfffna", '
        r'"caption": "#\u05e9\u05d1\u05ea \ud83d #x\ud83dy"}'
        "\n"
    )
    importer(path)
    (post,) = importer.posts
    assert (post.post_id, post.user_id, post.tags) == ("p", "ana", ("שבת", "xy"))


def test_a_caption_with_ten_thousand_tags_ends_well(tmp_path, importer):
    text = " ".join(f"#tag{i}" for i in range(10_000))
    (tmp_path / "a.jsonl").write_text(json.dumps({"post_id": "a", "caption": text}) + "\n")
    (tmp_path / "b.csv").write_text(f"post_id,caption\nb,{text}\n")
    report = importer(tmp_path / "a.jsonl", tmp_path / "b.csv")
    assert [len(tags) for tags in importer.tags] == [200, 200]
    assert report.tags.dropped["beyond 200 in one post"] == 2 * 9_800


def test_a_photo_path_that_is_no_unicode(tmp_path, importer):
    name = os.fsdecode(b"photo-\xff.jpg")
    (tmp_path / name).write_bytes(jpeg(1))
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b'{"post_id": "p", "image": "photo-\xff.jpg", "tags": ["a"]}\n')
    assert importer(path).n_photos == 1
    assert importer.posts[0].photos[0].path == str(tmp_path / name)


@pytest.mark.parametrize("quote", ["", '"'])
def test_doubtful_times_are_left_out_and_told(tmp_path, importer, quote):
    rows = "".join(
        f'{{"post_id": "{number}", "posted_at": {quote}{number}{quote}, "tags": ["a"]}}\n'
        for number in (2026, 202605, 20260501, 1777593600, 0, 12345, 1234567, 123456789)
    )
    path = tmp_path / "posts.jsonl"
    path.write_text(rows)
    report = importer(path)
    assert {post.post_id: iso_time(post.posted_at) for post in importer.posts} == {
        "2026": "2026-01-01T00:00:00+00:00",
        "202605": "2026-05-01T00:00:00+00:00",
        "20260501": "2026-05-01T00:00:00+00:00",
        "1777593600": "2026-05-01T00:00:00+00:00",
        "0": None,
        "12345": None,
        "1234567": None,
        "123456789": None,
    }
    assert report.problems[DOUBTFUL] == 4
    assert report.n_untimed == 4


# Export and back

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
TAGS = st.text(max_size=8).map(normalise_tag).filter(bool)
PATHS = st.binary(max_size=6).map(lambda raw: "/" + os.fsdecode(raw.replace(b"\0", b"")))


@settings(max_examples=50)
@given(
    st.lists(
        st.builds(
            Post,
            post_id=NAMES,
            user_id=st.none() | NAMES.map(composed),
            posted_at=st.none() | st.integers(EARLIEST_US, LATEST_US - 1).map(lambda us: us / 1e6),
            tags=st.lists(TAGS, max_size=4, unique=True).map(tuple),
            photos=st.lists(st.builds(Photo, PATHS, st.just("")), max_size=3).map(tuple),
        ),
        max_size=6,
    )
)
def test_export_import_export_is_byte_identical(posts):
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "1.jsonl", Path(folder) / "2.jsonl"
        with Store.open(Path(folder) / "a.sqlite", create=True) as store:
            store.add_posts(posts)
            n_posts = export_posts(store, first)
        if not n_posts:
            return
        with Store.open(Path(folder) / "b.sqlite", create=True) as store:
            import_posts(find_sources([first]), store)
            export_posts(store, second)
        assert first.read_bytes() == second.read_bytes()


def test_export_of_real_photos_reads_back_the_same(tmp_path, importer):
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "1.jpg").write_bytes(jpeg(1))
    write_json_lines(folder / "posts.jsonl")
    importer(folder / "posts.jsonl")
    with Store.open(importer.path) as store:
        export_posts(store, tmp_path / "out.jsonl.gz")
        assert export_posts(store, tmp_path / "ben.jsonl", user_id="ben") == 2
    with Store.open(tmp_path / "again.sqlite", create=True) as store:
        import_posts(find_sources([tmp_path / "out.jsonl.gz"]), store)
        assert list(store.posts()) == importer.posts
    assert not list(tmp_path.glob("*.part"))


def test_kept_copies_survive_the_loss_of_the_photos(tmp_path, importer):
    (tmp_path / "1.JPG").write_bytes(jpeg(1))
    path = tmp_path / "posts.jsonl"
    path.write_text('{"post_id": "p", "image": "1.JPG", "tags": ["a"]}\n')
    report = importer(path, keep_copies=True)
    assert report.n_photos_copied == 1
    (photo,) = importer.posts[0].photos
    kept = Path(photo.path)
    assert kept.parent == importer.path.with_name("s.sqlite.photos")
    assert kept.read_bytes() == jpeg(1)
    assert kept.name == f"{photo.digest}.jpg"
    assert importer(path, keep_copies=True).unchanged == 1


def test_parquet_that_breaks_off_inside(tmp_path, importer):
    table = pa.table({"post_id": [f"p{i}" for i in range(5000)], "tags": [["a"]] * 5000})
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=1000, compression="none", use_dictionary=False)
    bad = bytearray(out.getvalue())
    for place in range(len(bad) // 2, len(bad) // 2 + 400):
        bad[place] ^= 0xFF
    path = tmp_path / "posts.parquet"
    path.write_bytes(bad)
    try:
        report = importer(path)
        assert report.n_posts <= 5000
    except ArchiveError as error:
        assert error.hint  # noqa: PT017


@pytest.mark.shared
def test_the_world_comes_back_as_it_was(tmp_path, importer, shared_data):
    path = shared_data / "world" / "posts.jsonl"
    report = importer(path)
    assert (report.n_posts, report.n_photos, report.n_people) == (11_975, 11_975, 448)
    assert not report.problems
    with Store.open(importer.path) as store:
        export_posts(store, tmp_path / "out.jsonl")
    with path.open() as file, (tmp_path / "out.jsonl").open() as out:
        for written, given in zip(out, file, strict=True):
            expected = json.loads(given)
            expected["image"] = str(path.parent / expected["image"])
            assert json.loads(written) == expected
