"""One registry says what can be read: a new kind of source is a reader and a line there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from archives import jpeg, write_tree, write_zip
from pixtag.errors import ArchiveError, InputError
from pixtag.ingest import KINDS, READERS, Reader, find_sources
from pixtag.store import Store
from pixtag.types import Post


@pytest.fixture
def outbox() -> Reader:
    """A reader of a made-up kind: one post, from a file named box.json."""

    def looks_like(look):
        return look.path / "box.json" if "box.json" in look.names else None

    def read(paths, context):
        (path,) = paths
        yield Post("note-1", context.user_id, None, (path.read_text(),))

    return Reader(looks_like, read)


def test_a_registered_reader_is_found_by_looking_and_by_name(
    tmp_path, importer, monkeypatch, outbox
):
    monkeypatch.setitem(READERS, "outbox", outbox)
    (tmp_path / "box.json").write_text("sea")
    (source,) = find_sources([tmp_path])
    assert (source.kind, source.paths) == ("outbox", (tmp_path / "box.json",))
    report = importer(tmp_path, user_id="ana")
    assert report.sources == ((str(tmp_path / "box.json"), "outbox"),)
    assert importer.tags == [("sea",)]
    (source,) = find_sources([tmp_path / "box.json"], "outbox")
    assert source.kind == "outbox"


def test_an_unknown_kind_lists_the_known_ones(tmp_path):
    with pytest.raises(InputError) as caught:
        find_sources([tmp_path], "fax")
    assert all(kind in caught.value.hint for kind in KINDS)


def test_a_named_kind_is_not_looked_for(tmp_path, importer):
    path = tmp_path / "posts.jsonl"
    path.write_text("post_id,tags\n{odd},sea\n")
    assert find_sources([path], "csv")[0].kind == "csv"


def test_files_of_posts_in_a_folder_are_each_read_in_their_way(tmp_path, importer):
    (tmp_path / "posts.jsonl").write_text('{"post_id": "a", "tags": ["sea"]}\n')
    (tmp_path / "posts.csv").write_text("post_id,tags\nb,sun\n")
    assert {source.kind for source in find_sources([tmp_path])} == {"jsonl", "csv"}
    assert importer(tmp_path).n_posts == 2


def test_what_names_nobody_goes_to_the_only_person_of_a_store(tmp_path, importer):
    labels = write_tree(tmp_path / "a", {"a.jpg": jpeg(1), "a.txt": "sea"})
    importer(labels, user_id="ana")
    report = importer(labels)
    assert {post.user_id for post in importer.posts} == {"ana"}
    assert (report.added, report.unchanged) == (0, 1)
    assert "names nobody, kept as 'ana', the only person here" in report.problems
    outbox = {"orderedItems": [{"id": "1", "content": "#x", "published": "2026-03-01T12:00:00Z"}]}
    importer(write_tree(tmp_path / "b", {"outbox.json": outbox}))
    profile = write_tree(tmp_path / "ben", {"2026-03-01_12-00-00_UTC.jpg": jpeg(2)})
    importer(profile)  # its folder says whose it is
    assert [post.user_id for post in importer.posts] == ["ana", "ana", "ben"]
    importer(write_tree(tmp_path / "c", {"c.jpg": jpeg(3), "c.txt": "sea"}))
    assert None in {post.user_id for post in importer.posts}


def test_what_was_given_to_somebody_stays_theirs_when_others_have_come(tmp_path, importer):
    def rows(*given: dict[str, object]) -> Path:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in given))
        return path

    importer(rows({"post_id": "1", "user_id": "ana", "tags": ["a"]}))
    nameless = rows({"post_id": "2", "tags": ["b"]}, {"tags": ["c"]})
    labels = write_tree(tmp_path / "pets", {"x.jpg": jpeg(1), "x.txt": "sea"})
    importer(nameless)
    importer(labels)
    assert [post.user_id for post in importer.posts] == ["ana"] * 4
    importer(rows({"post_id": "9", "user_id": "ben", "tags": ["d"]}))
    for again in (nameless, labels):
        report = importer(again)
        assert (report.added, report.updated) == (0, 0)
    assert sorted(str(post.user_id) for post in importer.posts) == ["ana"] * 4 + ["ben"]


def test_posts_of_nobody_stay_nobodys_when_they_are_read_again(tmp_path, importer):
    rows = [{"post_id": "1", "user_id": "ana", "tags": ["a"]}, {"post_id": "2", "tags": ["b"]}]
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for n_new in (2, 0):
        assert importer(tmp_path / "posts.jsonl").added == n_new
        assert {post.post_id: post.user_id for post in importer.posts} == {"1": "ana", "2": None}


def test_several_archives_in_one_folder_are_all_read(tmp_path, importer):
    note = {"id": "n", "type": "Note", "published": "2026-03-01T12:00:00Z", "content": "#sea"}
    photo, media = "media_attachments/files/1/original/1.jpg", "media/posts/1.jpg"
    note |= {"attachment": [{"type": "Document", "mediaType": "image/jpeg", "url": f"/{photo}"}]}
    made = {"type": "Create", "object": note}
    posted = {"media": [{"uri": media, "creation_timestamp": 1767225600, "title": "#sun"}]}
    write_tree(tmp_path, {"instagram-ana/content/posts_1.json": [posted]})
    write_tree(tmp_path, {f"instagram-ana/{media}": jpeg(1), "posts.csv": "tags\nsky\n"})
    actor = {"id": "https://m.example/users/ana", "preferredUsername": "ana"}
    files = {"outbox.json": {"orderedItems": [made]}, "actor.json": actor, photo: jpeg(2)}
    write_zip(tmp_path / "archive.zip", files)
    write_tree(tmp_path, {"actor.json": actor})
    found = {source.kind for source in find_sources([tmp_path])}
    assert found == {"instagram", "activitypub", "csv"}
    importer(tmp_path)
    assert sorted(importer.tags) == [("sea",), ("sky",), ("sun",)]
    assert sorted(len(post.photos) for post in importer.posts) == [0, 1, 1]


def test_a_store_is_no_source_of_posts(tmp_path):
    Store.open(tmp_path / "s.sqlite", create=True).close()
    with pytest.raises(ArchiveError, match="is a store") as caught:
        find_sources([tmp_path / "s.sqlite"])
    assert "pixtag copy" in caught.value.hint
