from __future__ import annotations

import json
import lzma

import pytest

from archives import MP4, jpeg, write_tree
from pixtag.errors import ArchiveError
from pixtag.ingest import find_sources
from pixtag.types import iso_time

AT = 1_772_366_400  # 2026-03-01T12:00:00Z
NAME = "2026-03-01_12-00-00_UTC"


def node(caption: str, user: str = "ana", code: str = "CabcdEFGhij", **more: object):
    return {
        "node": {
            "__typename": "GraphImage",
            "shortcode": code,
            "taken_at_timestamp": AT,
            "owner": {"id": "1", "username": user},
            "edge_media_to_caption": {"edges": [{"node": {"text": caption}}]},
            **more,
        },
        "instaloader": {"version": "4.14", "node_type": "Post"},
    }


def packed(content: object) -> bytes:
    return lzma.compress(json.dumps(content).encode())


def test_captions_in_text_files_and_the_folder_names_the_profile(tmp_path, importer):
    root = write_tree(
        tmp_path / "ana",
        {
            f"{NAME}.jpg": jpeg(1),
            f"{NAME}.txt": "Dusk #Dusk #sea « #été\u00a0» #CAFÉ\u00a0!",
            f"{NAME}_old_01.txt": "Dawn #dawn",
            "2026-03-02_08-30-00_UTC_1.jpg": jpeg(2),
            "2026-03-02_08-30-00_UTC_2.jpg": jpeg(3),
            "2026-03-02_08-30-00_UTC_10.webp": jpeg(4, image_format="WEBP"),
            "2026-03-02_08-30-00_UTC.txt": "Three #three",
            # One text a picture, all alike.
            "2026-03-03_08-30-00_UTC_1.jpg": jpeg(5),
            "2026-03-03_08-30-00_UTC_2.jpg": jpeg(6),
            "2026-03-03_08-30-00_UTC_1.txt": "#each",
            "2026-03-03_08-30-00_UTC_2.txt": "#each",
            "2026-03-04_08-30-00_UTC_profile_pic.jpg": jpeg(7),
            "ana_profile_pic.jpg": jpeg(8),
            "id": "12345",
            "iterator_abc.json.xz": packed({}),
        },
    )
    assert find_sources([root])[0].kind == "instaloader"
    report = importer(root)
    posts = importer.posts
    assert [post.tags for post in posts] == [("dusk", "sea", "été", "café"), ("three",), ("each",)]
    assert [len(post.photos) for post in posts] == [1, 3, 2]
    assert posts[1].photos[2].path.endswith("_10.webp")
    assert {post.user_id for post in posts} == {"ana"}
    assert [iso_time(post.posted_at) for post in posts] == [
        "2026-03-01T12:00:00+00:00",
        "2026-03-02T08:30:00+00:00",
        "2026-03-03T08:30:00+00:00",
    ]
    assert not report.problems
    assert not report.tags.dropped
    assert importer(root).unchanged == 3


@pytest.mark.parametrize(
    ("metadata", "user"),
    [
        (node("#Meta é"), "ana"),
        (
            {
                "node": {
                    "code": "CabcdEFGhij",
                    "date": AT,
                    "caption": "#Meta é",
                    "owner": {"username": "ben"},
                },
                "instaloader": {"node_type": "Post"},
            },
            "ben",
        ),
        ({"node": {"taken_at": AT, "caption": {"text": "#Meta é"}, "owner": {"id": 1}}}, "folder"),
        (
            {
                "edge_media_to_caption": {"edges": [{"node": {"text": "#Meta é"}}]},
                "taken_at_timestamp": AT,
            },
            "folder",
        ),
    ],
)
@pytest.mark.parametrize("ending", [".json", ".json.xz"])
def test_metadata_in_every_form(tmp_path, importer, metadata, user, ending):
    content = packed(metadata) if ending.endswith("xz") else metadata
    importer(write_tree(tmp_path / "folder", {f"{NAME}.jpg": jpeg(1), f"{NAME}{ending}": content}))
    (post,) = importer.posts
    assert (post.tags, post.user_id, post.posted_at) == (("meta",), user, float(AT))


def test_names_with_shortcodes(tmp_path, importer):
    files = {}
    for n, code in enumerate(
        ["CabcdEFGhij", "C_bc-EFGh_1", "BsOGu", "CabcdEFGhijKLMNOPQRSTUVWXYZ_abc"]
    ):
        files[f"{NAME}_{code}_1.jpg"] = jpeg(n)
        files[f"{NAME}_{code}_2.jpg"] = jpeg(n + 10)
        files[f"{NAME}_{code}.txt"] = f"#tag{n}"
    importer(write_tree(tmp_path / "ana", files))
    assert sorted(importer.tags) == [("tag0",), ("tag1",), ("tag2",), ("tag3",)]
    assert [len(post.photos) for post in importer.posts] == [2] * 4


def test_a_post_keeps_its_name_wherever_its_folder_goes(tmp_path, importer):
    files = {f"{NAME}.jpg": jpeg(1), f"{NAME}.json.xz": packed(node("#a"))}
    importer(write_tree(tmp_path / "ana", files))
    report = importer(write_tree(tmp_path / "#dusk", files))
    assert (report.added, report.updated) == (0, 1)


def test_posters_of_videos_stories_and_profiles_are_no_photos(tmp_path, importer):
    story = {"node": {"owner": {"username": "ana"}}, "instaloader": {"node_type": "StoryItem"}}
    root = write_tree(
        tmp_path / "ana",
        {
            # A video has its poster alone.
            f"{NAME}.mp4": MP4,
            f"{NAME}.jpg": jpeg(1),
            f"{NAME}.txt": "#clip",
            # A post with one photo and one video with its poster.
            "2026-03-02_12-00-00_UTC_1.jpg": jpeg(2),
            "2026-03-02_12-00-00_UTC_2.mp4": MP4,
            "2026-03-02_12-00-00_UTC_2.png": jpeg(3, image_format="PNG"),
            "2026-03-02_12-00-00_UTC.txt": "#mixed",
            "2026-03-03_12-00-00_UTC.jpg": jpeg(4),
            "2026-03-03_12-00-00_UTC.json.xz": packed(story),
            "2026-03-04_12-00-00_UTC.json.xz": packed(
                {"node": {}, "instaloader": {"node_type": "Profile"}}
            ),
            # Only the metadata of a video was saved.
            "2026-03-05_12-00-00_UTC.json.xz": packed(
                node("#v", code="Cvideo12345", is_video=True)
            ),
            # Only the caption of a photo was saved: it still tells what the person tags.
            "2026-03-06_12-00-00_UTC.txt": "#words",
        },
    )
    report = importer(root)
    assert [(post.tags, len(post.photos)) for post in importer.posts] == [
        (("clip",), 1),
        (("v",), 0),
        (("mixed",), 1),
        (("words",), 0),
    ]
    assert (report.n_videos, report.n_stories_skipped) == (2, 1)


def test_own_comments_within_ten_minutes_are_joined(tmp_path, importer):
    def said(text: str, after_s: int, user: str = "ana") -> dict[str, object]:
        return {
            "id": 1,
            "created_at": AT + after_s,
            "text": text,
            "owner": {"username": user},
            "answers": [],
        }

    comments = [
        said("#first é", 20),
        said("#late", 601),
        said("#theirs", 20, "ben"),
        said("hi", 30),
    ]
    root = write_tree(
        tmp_path / "ana",
        {f"{NAME}.jpg": jpeg(1), f"{NAME}.json": node("#cap"), f"{NAME}_comments.json": comments},
    )
    report = importer(root)
    assert importer.tags == [("cap", "first")]
    assert report.n_comments_joined == 1
    importer(root, join_comments=False)
    assert importer.tags == [("cap",)]


def test_comments_are_true_unicode_too(tmp_path, importer):
    text = "« #été\u00a0» #CAFÉ\u00a0! #Ñandú"
    comment = {"id": 1, "created_at": AT + 20, "text": text, "owner": {"username": "ana"}}
    root = write_tree(
        tmp_path / "ana",
        {f"{NAME}.jpg": jpeg(1), f"{NAME}.json": node("#cap"), f"{NAME}_comments.json": [comment]},
    )
    importer(root)
    assert importer.tags == [("cap", "été", "café", "ñandú")]


def test_several_profiles_and_folders_of_hashtags(tmp_path, importer):
    root = tmp_path / "downloads"
    write_tree(root / "ana", {f"{NAME}.jpg": jpeg(1), f"{NAME}.txt": "#a"})
    write_tree(root / "ben", {f"{NAME}.jpg": jpeg(2), f"{NAME}.txt": "#b"})
    write_tree(root / "#dusk", {f"{NAME}.jpg": jpeg(3), f"{NAME}.txt": "#c"})
    importer(root)
    assert {post.user_id: post.tags for post in importer.posts} == {
        "ana": ("a",),
        "ben": ("b",),
        None: ("c",),
    }


def test_broken_metadata_falls_back_to_what_is_there(tmp_path, importer):
    root = write_tree(
        tmp_path / "ana",
        {
            f"{NAME}.jpg": jpeg(1),
            f"{NAME}.txt": "#text",
            f"{NAME}.json.xz": packed(node("#a"))[:30],
            "2026-03-02_12-00-00_UTC.jpg": jpeg(2),
            "2026-03-02_12-00-00_UTC.json": "{broken",
            "2026-13-45_12-00-00_UTC.jpg": jpeg(3),
        },
    )
    report = importer(root)
    assert sorted(importer.tags) == [(), (), ("text",)]
    assert report.problems == {"file cannot be read": 1, "broken JSON": 1, "unreadable time": 1}


def test_a_folder_of_something_else_is_refused(tmp_path, importer):
    root = write_tree(tmp_path / "ana", {"a.jpg": jpeg(1)})
    with pytest.raises(ArchiveError, match="as instaloader names them"):
        importer(root, kind="instaloader")
