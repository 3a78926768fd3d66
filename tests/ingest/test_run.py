"""One registry says what can be read: a new kind of source is a reader and a line there."""

from __future__ import annotations

import pytest

from pixtag.errors import InputError
from pixtag.ingest import KINDS, READERS, Reader, find_sources
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
