from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from archives import jpeg, write_tree
from pixtag.errors import ArchiveError
from pixtag.ingest import find_sources
from pixtag.store import Store


def test_photos_beside_text_files(tmp_path, importer):
    root = write_tree(
        tmp_path / "pets",
        {
            "dogs/rex.jpg": jpeg(1),
            "dogs/rex.txt": "dog, Cute,dogsofinstagram\n7\n",
            # Several photos of one post share the text file.
            "cats/tom_1.jpg": jpeg(2),
            "cats/tom_2.png": jpeg(3, image_format="PNG"),
            "cats/tom_10.jpg": jpeg(4),
            "cats/tom.txt": "cat\nana",
            # A name that ends in a number has a text file of its own.
            "cats/no_1.jpg": jpeg(5),
            "cats/no_1.txt": "kitty,meow\n7",
            # Skipped, at any depth.
            "dogs/extra/rex.jpg": jpeg(6),
            "dogs/extra/rex.txt": "extra\n7",
            "original/a.jpg": jpeg(7),
            "original/a.txt": "original\n7",
        },
    )
    assert find_sources([root])[0].kind == "folders"
    report = importer(root)
    posts = {post.tags: post for post in importer.posts}
    assert set(posts) == {("dog", "cute", "dogsofinstagram"), ("cat",), ("kitty", "meow")}
    assert {post.user_id for post in posts.values()} == {"7", "ana"}
    assert all(post.posted_at is None for post in posts.values())
    names = [photo.path.rsplit("/", 1)[1] for photo in posts[("cat",)].photos]
    assert names == ["tom_1.jpg", "tom_2.png", "tom_10.jpg"]
    assert (report.n_posts, report.n_untimed, report.n_photos) == (3, 3, 5)
    assert not report.problems
    # Again, from one folder deeper, and after the whole has moved: nothing twice.
    assert importer(root / "cats").unchanged == 2
    assert importer(root.rename(tmp_path / "moved")).updated == 3
    assert len(importer.posts) == 3


def test_what_does_not_fit_together_is_told(tmp_path, importer):
    root = write_tree(
        tmp_path / "pets",
        {
            "a.jpg": jpeg(1),
            "a.txt": "dog\n",
            "b.jpg": jpeg(2),
            "c.txt": "cat\nana",
            "d.jpg": jpeg(3),
            "d.txt": "",
            "e.jpg": jpeg(4),
            "e.txt": b"\xef\xbb\xbfcaf\xc3\xa9,\xff,2026\r\nana\r\n",
            "v.mp4": b"video",
        },
    )
    report = importer(root)
    assert report.problems == {
        "photo without a text file": 1,
        "text file without a photo": 1,
        "text file without tags": 1,
        "text file without a user": 2,
    }
    assert report.n_videos_skipped == 1
    assert sorted(importer.tags) == [(), ("café",), ("dog",)]
    assert {post.user_id for post in importer.posts} == {None, "ana"}


def test_labels_named_after_the_whole_photo_hold_one_tag_a_line(tmp_path, importer):
    files = {"a.jpg": jpeg(1), "a.jpg.txt": "cat\nblue sky", "b.png": jpeg(2), "b.png.txt": "dog"}
    importer(write_tree(tmp_path / "hydrus", files))
    assert {(p.user_id, p.tags) for p in importer.posts} == {
        (None, ("cat", "bluesky")),
        (None, ("dog",)),
    }
    importer(write_tree(tmp_path / "own", {"c.jpg": jpeg(3), "c.jpg.txt": "sea, sun\nana"}))
    assert ("ana", ("sea", "sun")) in {(p.user_id, p.tags) for p in importer.posts}


def test_one_list_of_a_program_does_not_make_lists_of_the_other_labels(tmp_path, importer):
    files = {
        "a.jpg": jpeg(1),
        "a.txt": "cat, dog\nana",
        "b.jpg": jpeg(2),
        "b.jpg.txt": "sunset\nsea",
    }
    importer(write_tree(tmp_path / "pets", files))
    assert {(p.user_id, p.tags) for p in importer.posts} == {
        ("ana", ("cat", "dog")),
        (None, ("sunset", "sea")),
    }


def test_keywords_beside_labels_are_nobodys_where_nobody_is_named(tmp_path, importer):
    words = "<dc:subject><rdf:Bag><rdf:li>beach</rdf:li></rdf:Bag></dc:subject>"
    files = {"a.jpg": jpeg(1), "a.txt": "cat\nana", "b.jpg": jpeg(2), "b.xmp": words}
    root = write_tree(tmp_path / "mixed", files)
    importer(root, kind="folders")
    assert {(p.user_id, p.tags) for p in importer.posts} == {("ana", ("cat",)), (None, ("beach",))}


def test_beside_labelled_photos_those_with_keywords_are_read(tmp_path, importer):
    words = "<dc:subject><rdf:Bag><rdf:li>{}</rdf:li></rdf:Bag></dc:subject>"
    files = {
        **{f"{name}.jpg": jpeg(n) for n, name in enumerate("abc")},
        "a.txt": "cat\nana",
        "a.xmp": words.format("not read"),
        "b.xmp": words.format("beach"),
        "original/d.jpg": jpeg(4),
        "original/d.xmp": words.format("not read"),
    }
    report = importer(write_tree(tmp_path / "mixed", files), user_id="ana", kind="folders")
    assert {(p.user_id, p.tags) for p in importer.posts} == {("ana", ("cat",)), ("ana", ("beach",))}
    assert report.problems == {"photo without a text file": 1}


def test_the_same_photo_and_name_in_two_folders_are_two_posts(tmp_path, importer):
    root = write_tree(
        tmp_path / "pets",
        {
            f"{folder}/1.{end}": content
            for folder in "ab"
            for end, content in (("jpg", jpeg(1)), ("txt", "dog\n7"))
        },
    )
    assert importer(root).added == 2


def test_a_folder_without_labels_says_how_they_are_given(tmp_path):
    root = write_tree(tmp_path / "pets", {"a.jpg": jpeg(1), "notes.txt": "hello"})
    with pytest.raises(ArchiveError, match="without tags") as caught:
        find_sources([root])
    assert "NAME.txt" in caught.value.hint


@pytest.mark.shared
def test_the_ancestors_data_is_read_whole(tmp_path, importer, shared_data):
    script = shared_data / "ancestor" / "lay_out.py"
    subprocess.run([sys.executable, script, tmp_path / "pets"], check=True)
    report = importer(tmp_path / "pets")
    assert (report.n_posts, report.n_photos, report.n_people) == (3902, 3902, 10)
    assert not report.problems


def test_an_edited_photo_keeps_its_copy_until_its_folder_is_imported_again(tmp_path, importer):
    files = {"pets/a.jpg": jpeg(1), "pets/a.txt": "cat\nana", "pets/b.jpg": jpeg(1)}
    root = write_tree(tmp_path, files | {"pets/b.txt": "dog\nana"}) / "pets"
    importer(root, keep_copies=True)
    (kept,) = {photo.path for post in importer.posts for photo in post.photos}
    for seed in (2, 3):  # edited twice
        (root / "a.jpg").write_bytes(jpeg(seed))
        assert Path(kept).read_bytes() == jpeg(1)
        report = importer(root, keep_copies=True)
        assert (report.added, report.updated, report.unchanged) == (0, 1, 1)
        shown = {post.tags: Path(post.photos[0].path) for post in importer.posts}
        assert {tags: path.read_bytes() for tags, path in shown.items()} == {
            ("cat",): jpeg(seed),
            ("dog",): jpeg(1),
        }
        assert all(path.parent == Path(kept).parent for path in shown.values())
    # Without copies the same posts show the files themselves.
    assert importer(root).added == 0
    (root / "a.jpg").write_bytes(jpeg(4))
    assert importer(root, keep_copies=True).added == 0
    assert len(importer.posts) == 2
    with Store.open(importer.path) as store:
        store.forget("ana")
        assert list(store.photos_folder.iterdir()) == []
