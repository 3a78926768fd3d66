from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from archives import MP4, jpeg, write_tree, write_zip
from pixtag.errors import ArchiveError
from pixtag.ingest import find_sources
from pixtag.types import iso_time

AT = 1_772_366_400  # 2026-03-01T12:00:00Z


def garbled(text: str) -> str:
    """As the export writes text: every byte of UTF-8 as a character."""
    return text.encode().decode("latin-1")


def medium(uri: str, title: str = "", at: int = 0) -> dict[str, object]:
    return {"uri": uri, "creation_timestamp": at, "title": title, "media_metadata": {}}


def owner(name: str = "ana") -> dict[str, object]:
    return {"profile_user": [{"string_map_data": {"Username": {"value": name}}}]}


def comment(text: str, at: int, media_owner: str = "ana") -> dict[str, object]:
    return {
        "media_list_data": [{"uri": ""}],
        "string_map_data": {
            "Comment": {"value": text},
            "Media Owner": {"value": media_owner},
            "Time": {"timestamp": at},
        },
    }


ONE = {"media": [medium("media/posts/202603/1.jpg", garbled("Café 🌅 #Café #🌅sunset"), AT)]}
SEVERAL = {
    "title": garbled("Two at sea #sea &amp; #Meer &#039;"),
    "creation_timestamp": AT + 3600,
    "media": [
        medium("media/posts/202603/2.jpg", at=AT + 3590),
        medium("media/posts/202603/3.webp", at=AT + 3591),
    ],
}
PHOTOS = {
    "media/posts/202603/1.jpg": jpeg(1),
    "media/posts/202603/2.jpg": jpeg(2),
    "media/posts/202603/3.webp": jpeg(3, image_format="WEBP"),
}
TAGS = [("café", "🌅sunset"), ("sea", "meer")]


def archive_2025(**more: object) -> dict[str, object]:
    return {
        "your_instagram_activity/media/posts_1.json": [ONE, SEVERAL],
        "personal_information/personal_information/personal_information.json": owner(),
        "your_instagram_activity/threads/personal_information.json": owner("decoy"),
        **PHOTOS,
        **more,
    }


OLD_OWNER = "personal_information/personal_information.json"
LAYOUTS = {
    "2021": {
        "content/posts_1.json": [ONE, SEVERAL],
        "account_information/personal_information.json": owner(),
        **PHOTOS,
    },
    "2021 in two files": {
        "content/posts_1.json": [ONE],
        "content/posts_2.json": [SEVERAL],
        "account_information/personal_information.json": owner(),
        **PHOTOS,
    },
    "2023": {
        "your_instagram_activity/content/posts_1.json": [ONE, SEVERAL],
        OLD_OWNER: owner(),
        **PHOTOS,
    },
    "2025": archive_2025(),
}


@pytest.mark.parametrize("packing", ["folder", "folder around", "zip", "zip with a folder around"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_posts(tmp_path, importer, layout, packing):
    files = LAYOUTS[layout]
    if "around" in packing:
        files = {f"instagram-archive/{name}": content for name, content in files.items()}
    write = write_zip if "zip" in packing else write_tree
    path = write(tmp_path / "archive", files)
    assert find_sources([path])[0].kind == "instagram"
    report = importer(path)
    posts = importer.posts
    assert [post.tags for post in posts] == TAGS
    assert [post.user_id for post in posts] == ["ana", "ana"]
    assert [iso_time(post.posted_at) for post in posts] == [
        "2026-03-01T12:00:00+00:00",
        "2026-03-01T13:00:00+00:00",
    ]
    assert [len(post.photos) for post in posts] == [1, 2]
    assert report.n_photos == 3
    assert report.n_photos_copied == (3 if "zip" in packing else 0)
    assert not report.problems
    assert importer(path).unchanged == 2


def test_a_later_download_in_another_form_adds_nothing_twice(tmp_path, importer):
    importer(write_zip(tmp_path / "a.zip", LAYOUTS["2021"]))
    report = importer(write_tree(tmp_path / "b", LAYOUTS["2025"]))
    assert report.added == 0
    assert len(importer.posts) == 2


def test_an_archive_of_somebody_else_takes_nothing_over(tmp_path, importer):
    """Imported for one person, all of it is theirs: nothing is replaced, joined or renamed."""
    folder = write_tree(tmp_path / "a", LAYOUTS["2025"])
    importer(folder)
    before = importer.posts
    assert {post.user_id for post in before} == {"ana"}
    for _ in range(2):
        importer(folder, only_for="dan")
        assert [post for post in importer.posts if post.user_id == "ana"] == before
        mine = [post for post in importer.posts if post.user_id != "ana"]
        assert [(post.user_id, post.tags) for post in mine] == [("dan", p.tags) for p in before]


def test_the_form_to_2020_joins_photos_of_one_post(tmp_path, importer):
    def row(n: int, caption: str, at: str) -> dict[str, object]:
        return {"caption": caption, "taken_at": at, "path": f"photos/201903/{n}.jpg"}

    files = {
        "media.json": {
            "photos": [
                row(1, "Zwei Bilder, schön #Meer", "2019-03-01T12:00:00+00:00"),
                row(2, "Zwei Bilder, schön #Meer", "2019-03-01T12:00:00+00:00"),
                row(3, "same time, other #caption", "2019-03-01T12:00:00+00:00"),
                row(4, "no zone #zone", "2019-03-02T12:00:00"),
            ],
            "videos": [
                {"caption": "#film", "taken_at": "2019-03-01T12:00:00", "path": "videos/1.mp4"}
            ],
            "stories": [{"path": "stories/1.jpg"}, {"path": "stories/2.mp4"}],
            "profile": [{"path": "profile/1.jpg"}],
            "direct": [{"path": "direct/1.jpg"}],
        },
        "profile.json": {"username": "ana"},
        **{f"photos/201903/{n}.jpg": jpeg(n) for n in range(1, 5)},
    }
    report = importer(write_tree(tmp_path / "a", files))
    assert sorted((post.tags, len(post.photos)) for post in importer.posts) == [
        (("caption",), 1),
        (("film",), 0),
        (("meer",), 2),
        (("zone",), 1),
    ]
    assert {post.user_id for post in importer.posts} == {"ana"}
    assert (report.n_videos, report.n_stories_skipped) == (1, 2)
    assert report.n_texts_repaired == 0
    assert report.problems == {"time without a zone, read as UTC": 2}


def test_media_of_every_kind(tmp_path, importer):
    post = {
        "title": "#all",
        "creation_timestamp": AT,
        "media": [
            medium("media/posts/1.jpg"),
            medium("media/posts/2.heic"),
            medium("media/posts/3"),  # without an ending: a photo by its bytes
            medium("media/posts/4"),  # without an ending: a video by its bytes
            medium("media/other/5.mp4"),
            medium("media/posts/gone.jpg"),
            medium("media/posts/6.srt"),
            {"uri": "media/posts/7.jpg", "backup_uri": "https://example.com/7.jpg"},
        ],
    }
    video_only = {"media": [medium("media/posts/8.mp4", "#clip", AT)]}
    files = {
        "your_instagram_activity/media/posts_1.json": [post, video_only],
        "media/posts/1.jpg": jpeg(1),
        "media/posts/2.heic": b"\0\0\0\x18ftypheic" + b"\0" * 50,
        "media/posts/3": jpeg(3),
        "media/posts/4": MP4,
        "media/other/5.mp4": MP4,
        "media/posts/6.srt": b"1\n00:00",
        "media/posts/7.jpg": jpeg(7),
        "media/posts/8.mp4": MP4,
        OLD_OWNER: owner(),
    }
    report = importer(write_tree(tmp_path / "a", files))
    clip, only = sorted(importer.posts, key=lambda post: len(post.photos))
    assert (clip.tags, only.tags) == (("clip",), ("all",))
    assert [photo.path.rsplit("/", 1)[1] for photo in only.photos] == [
        "1.jpg",
        "2.heic",
        "3",
        "7.jpg",
    ]
    assert (report.n_videos, report.n_videos_skipped) == (1, 2)
    assert report.problems == {"photo is missing from the archive": 1}


def test_videos_and_reels_are_posts_with_their_cover_and_stories_stay_out(tmp_path, importer):
    reel_post = {"media": [medium("media/posts/r.mp4", "#clip", AT)]}
    folder = "your_instagram_activity/media"
    files = archive_2025(
        **{
            f"{folder}/posts_1.json": [ONE, SEVERAL, reel_post],
            f"{folder}/stories.json": {
                "ig_stories": [medium("media/stories/1.jpg"), medium("media/stories/2.mp4")]
            },
            f"{folder}/reels.json": {
                "ig_reels_media": [
                    {"media": [medium("media/posts/r.mp4")]},
                    {"media": [medium("media/reels/2.mp4", "#reel", AT + 7)]},
                    {
                        "media": [
                            {**medium("media/reels/3.mp4", "#two"), "thumbnail": {"uri": "t.jpg"}}
                        ]
                    },
                ]
            },
            f"{folder}/profile_photos.json": {
                "ig_profile_picture": [medium("media/profile/1.jpg")]
            },
            f"{folder}/archived_posts.json": {
                "ig_archived_post_media": [{"media": [medium("media/archived/1.jpg", "#old", AT)]}]
            },
            f"{folder}/igtv_videos.json": {
                "ig_igtv_media": [{"media": [medium("media/igtv/1.mp4")]}]
            },
            f"{folder}/other_content.json": {"ig_other_media": []},
            f"{folder}/reposts.json": {"ig_reposts": []},
            "media/posts/r.mp4": MP4,
            "media/reels/2.jpg": jpeg(11),
            "t.jpg": jpeg(12),
            "media/stories/1.jpg": jpeg(9),
            "media/archived/1.jpg": jpeg(10),
        }
    )
    report = importer(write_tree(tmp_path / "a", files))
    photos = {post.tags: [Path(p.path).name for p in post.photos] for post in importer.posts}
    assert photos.keys() == {*TAGS, ("clip",), ("reel",), ("two",), ()}
    assert (photos["clip",], photos["reel",], photos["two",]) == ([], ["2.jpg"], ["t.jpg"])
    assert (report.n_stories_skipped, report.n_reels, report.n_videos) == (2, 2, 4)
    assert report.problems == {"archived post, left out": 1}


@pytest.mark.parametrize(
    ("post_title", "media_titles", "tags"),
    [
        ("#sea", ["", ""], ("sea",)),
        ("#sea", ["#sea", "#sea"], ("sea",)),
        ("", ["#sea", ""], ("sea",)),
        ("", ["", ""], ()),
        (None, [None, 7], ()),
    ],
)
def test_a_caption_is_found_wherever_it_stands_and_read_once(
    tmp_path, importer, post_title, media_titles, tags
):
    media = [medium(f"m/{n}.jpg", title, AT) for n, title in enumerate(media_titles)]
    post = {"title": post_title, "creation_timestamp": AT, "media": media}
    files = {
        "content/posts_1.json": [post],
        OLD_OWNER: owner(),
        "m/0.jpg": jpeg(0),
        "m/1.jpg": jpeg(1),
    }
    report = importer(write_tree(tmp_path / "a", files))
    assert importer.tags == [tags]
    assert not report.tags.dropped


def test_text_is_repaired_run_by_run(tmp_path, importer):
    titles = [
        garbled("#Größe 🌅"),
        "#Größe real",
        "#мир real",
        garbled("half #Größe") + " real 🌅",
        "#tab\there\x01 and #line\nbreak",
        "#caf\u00e9",
    ]
    posts = [{"media": [medium(f"m/{n}.jpg", title, AT + n)]} for n, title in enumerate(titles)]
    raw = json.dumps(posts, ensure_ascii=False).replace("\\u0001", "\x01").replace("\\t", "\t")
    files = {
        "content/posts_1.json": "\ufeff \n" + raw,
        OLD_OWNER: owner(),
        **{f"m/{n}.jpg": jpeg(n) for n in range(6)},
    }
    report = importer(write_tree(tmp_path / "a", files))
    tags = importer.tags
    assert tags[:4] == [("größe",), ("größe",), ("мир",), ("größe",)]
    assert tags[4:] == [("tab", "line"), ("café",)]
    assert report.n_texts_repaired == 2
    assert len(tags) == 6


@pytest.mark.parametrize(
    ("title", "tags"),
    [
        (garbled("#café"), ("café",)),
        (garbled("#niñ"), ("niñ",)),
        (garbled("#пляж #море"), ("пляж", "море")),
        (garbled("#münchen ") + "#k\u00c3", ("münchen",)),
        (garbled("#münchen ") + "#x #\u00c3", ("münchen", "x")),
        ("#k\u00c3ln " + garbled("#grün"), ("grün",)),
        (garbled("#東京")[:-1] + " #x", ("x",)),
        (garbled("#a #море")[:-1], ("a",)),
        (garbled("#a #b🌅")[:-1], ("a",)),
        ("#k\u00c3", ()),
        (garbled("#grün ") + "#été #olé #MANHÃ #ESPAÑA", ("grün", "été", "olé", "manhã", "españa")),
        (garbled("#grün ") + "#Ñandú #Ñame", ("grün", "ñandú", "ñame")),
        ("#olá #é #MANHÃ #Ângela #voilà\u00a0! #à", ("olá", "é", "manhã", "ângela", "voilà", "à")),
    ],
)
def test_a_broken_character_takes_its_hashtag_along_and_no_true_letter(
    tmp_path, importer, title, tags
):
    files = {
        "content/posts_1.json": [{"media": [medium("m/1.jpg", title, AT)]}],
        OLD_OWNER: owner(),
        "m/1.jpg": jpeg(1),
    }
    importer(write_tree(tmp_path / "a", files))
    assert importer.tags == [tags]


def test_own_comments_within_ten_minutes_belong_to_the_post(tmp_path, importer):
    comments = [
        comment(garbled("#Spät #first"), AT + 30),
        comment("#nine", AT + 599),
        comment("#late", AT + 601),
        comment("#before", AT - 1),
        comment("no tags", AT + 5),
        comment("#theirs", AT + 30, "ben"),
        comment("#second", AT + 3600),
        {"text": "#unknown"},
    ]
    files = archive_2025(**{"your_instagram_activity/comments/post_comments_1.json": comments})
    path = write_tree(tmp_path / "a", files)
    report = importer(path)
    assert importer.tags == [(*TAGS[0], "spät", "first", "nine"), (*TAGS[1], "second")]
    assert report.n_comments_joined == 3
    assert report.problems["comment not understood, left out"] == 1
    without = importer(path, join_comments=False)
    assert without.n_comments_joined == 0
    assert importer.tags == TAGS


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("comments/post_comments_1.json", [comment("#first", AT + 3)]),
        ("comments/post_comments.json", {"comments_media_comments": [comment("#first", AT + 3)]}),
        ("comments.json", {"media_comments": [["2026-03-01T12:00:03+00:00", "#first", "ana"]]}),
        ("comments.json", [comment("#first", AT + 3)]),
    ],
)
def test_comments_in_older_places_and_forms(tmp_path, importer, name, content):
    importer(write_tree(tmp_path / "a", {**LAYOUTS["2021"], name: content}))
    assert importer.tags[0] == (*TAGS[0], "first")


def test_a_zip_with_names_as_windows_writes_them(tmp_path, importer):
    files = {name.replace("/", "\\"): content for name, content in archive_2025().items()}
    importer(write_zip(tmp_path / "a.zip", files))
    assert importer.tags == TAGS


def test_several_zips_are_one_archive(tmp_path, importer):
    parts = [
        write_zip(
            tmp_path / "part-1.zip",
            {
                "your_instagram_activity/media/posts_1.json": [ONE, SEVERAL],
                OLD_OWNER: owner(),
                "media/posts/202603/1.jpg": jpeg(1),
            },
        ),
        write_zip(tmp_path / "part-2.zip", {"media/posts/202603/2.jpg": jpeg(2)}),
        write_zip(tmp_path / "part-3.zip", {"media/posts/202603/3.webp": jpeg(3)}),
    ]
    # The first alone: the posts come, photos are missing.
    report = importer(parts[0])
    assert (report.n_posts, report.n_photos) == (2, 1)
    assert report.problems == {"photo is missing from the archive": 2}
    # All together, in any order, or as the folder that holds them.
    report = importer(*reversed(parts))
    assert (report.updated, report.unchanged, report.n_photos) == (1, 1, 3)
    assert len(report.sources) == 1
    assert importer(tmp_path).sources[0][1] == "instagram"


def test_zips_of_two_people_are_two_archives(tmp_path, importer):
    for name, at in (("ana", AT), ("ben", AT + 10)):
        post = {"media": [medium("media/posts/1.jpg", f"#{name}s", at)]}
        write_zip(
            tmp_path / f"{name}.zip",
            {"content/posts_1.json": [post], OLD_OWNER: owner(name), "media/posts/1.jpg": jpeg(at)},
        )
    report = importer(tmp_path / "ana.zip", tmp_path / "ben.zip")
    posts = importer.posts
    assert [(post.user_id, post.tags) for post in posts] == [("ana", ("anas",)), ("ben", ("bens",))]
    assert posts[0].photos[0].digest != posts[1].photos[0].digest
    assert report.n_people == 2


def test_the_json_alone_leads_to_its_archive(tmp_path, importer):
    for layout in ("2021", "2025"):
        write_tree(tmp_path / layout, LAYOUTS[layout])
    importer(tmp_path / "2021" / "content" / "posts_1.json")
    assert importer.tags == TAGS
    path = tmp_path / "2025" / "your_instagram_activity" / "media" / "posts_1.json"
    assert importer(path).n_photos == 3


def test_zips_among_other_files(tmp_path, importer):
    folder = write_tree(tmp_path / "downloads", {"holiday.jpg": jpeg(1), "notes.txt": "hello"})
    write_zip(
        folder / "instagram-ana-2026-03-01-x.zip",
        {"your_instagram_activity/media/posts_1.json": [ONE, SEVERAL]},
    )
    write_zip(folder / "instagram-ana-2026-03-01-y.zip", PHOTOS)
    write_zip(folder / "other.zip", {"posts_1.json": "[]"})
    report = importer(folder)
    assert (report.n_photos, importer.tags) == (3, TAGS)
    assert "other.zip" not in report.sources[0][0]


def test_who_posted(tmp_path, importer):
    files = {"content/posts_1.json": [ONE], **PHOTOS}
    plain = write_zip(tmp_path / "a.zip", files)
    report = importer(plain)
    assert importer.posts[0].user_id == "me"
    assert any("names nobody" in kind for kind in report.problems)
    named = write_zip(tmp_path / "instagram-ana.b-2026-03-01-xyz.zip", files)
    assert importer(named).n_people == 1
    assert {post.user_id for post in importer.posts} == {"ana.b"}  # they were hers
    importer(plain, user_id="cleo")
    assert {post.user_id for post in importer.posts} == {"cleo"}
    assert importer(plain).people == ["cleo"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"your_instagram_activity/media/posts_1.html": "<html>"}, "archive in HTML"),
        ({"content/posts_1.html": "<html>"}, "archive in HTML"),
        ({"messages/inbox/ben/message_1.json": {}, OLD_OWNER: owner()}, "holds no posts"),
        ({"content/posts_1.json": "{broken"}, "broken JSON"),
    ],
)
@pytest.mark.parametrize("write", [write_tree, write_zip])
def test_archives_without_readable_posts_say_what_to_do(tmp_path, importer, write, files, words):
    path = write(tmp_path / "a", files)
    with pytest.raises(ArchiveError, match=words) as caught:
        importer(path)
    hint = caught.value.hint
    assert "JSON" in hint or "download the archive again" in hint


def test_json_that_breaks_off_gives_what_is_there(tmp_path, importer):
    whole = json.dumps([ONE, SEVERAL])
    report = importer(
        write_tree(
            tmp_path / "a", {"content/posts_1.json": whole[:-40], OLD_OWNER: owner(), **PHOTOS}
        )
    )
    assert importer.tags == TAGS[:1]
    assert report.problems == {"JSON breaks off, read up to there": 1}


@pytest.mark.parametrize(
    "rows", [[7, None, "x", []], [{"media": "x"}], [{"media": [{"uri": 7}]}], [{}], {"media": []}]
)
def test_json_of_another_shape_is_no_crash(tmp_path, importer, rows):
    importer(write_tree(tmp_path / "a", {"content/posts_1.json": rows, OLD_OWNER: owner()}))
    assert importer.posts == []


# Hostile zips


def test_unsafe_names_are_refused_and_nothing_is_written_outside(tmp_path, importer):
    evil = ["../evil.jpg", "/tmp/evil.jpg", "media/../../evil.jpg", "C:/evil.jpg", "..\\evil.jpg"]
    posts = [{"media": [medium(name, "#evil", AT + n)]} for n, name in enumerate(evil)]
    files = {
        "content/posts_1.json": [ONE, *posts],
        OLD_OWNER: owner(),
        **PHOTOS,
        **dict.fromkeys(evil, jpeg(66)),
    }
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    report = importer(write_zip(tmp_path / "a.zip", files))
    counts = report.problems
    assert counts["unsafe name in a zip, refused"] == len(evil)
    assert counts["photo is missing from the archive"] == len(evil)
    assert report.n_photos == 1
    made = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    folder = importer.path.parent
    assert all(path.is_relative_to(folder) or path.name == "a.zip" for path in made)


def test_json_cannot_reach_files_outside_of_a_folder(tmp_path, importer):
    (tmp_path / "secret.jpg").write_bytes(jpeg(1))
    names = ["../secret.jpg", str(tmp_path / "secret.jpg"), "media/../../secret.jpg"]
    posts = [{"media": [medium(name, "#x", AT + n)]} for n, name in enumerate(names)]
    report = importer(
        write_tree(tmp_path / "a", {"content/posts_1.json": posts, OLD_OWNER: owner()})
    )
    assert report.n_photos == 0


def test_a_zip_inside_a_zip_is_told_and_not_read(tmp_path, importer):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("x.jpg", jpeg(1))
    files = {**LAYOUTS["2021"], "inner.zip": inner.getvalue()}
    report = importer(write_zip(tmp_path / "a.zip", files))
    assert report.problems == {"zip inside a zip, not read": 1}
    assert len(importer.posts) == 2


def test_a_photo_that_is_a_zip_bomb_is_refused(tmp_path, importer):
    files = {**LAYOUTS["2021"], "media/posts/202603/1.jpg": b"\0" * 50_000_000}
    report = importer(write_zip(tmp_path / "a.zip", files))
    counts = report.problems
    assert counts["file in a zip grows too much (a zip bomb), refused"] == 1
    assert counts["photo is missing from the archive"] == 1
    assert report.n_photos == 2


def test_a_zip_that_grows_beyond_measure_is_refused_whole(tmp_path, importer):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("content/posts_1.json", "[]")
        for n in range(3):
            with archive.open(zipfile.ZipInfo(f"{n}.bin"), "w", force_zip64=True) as entry:
                entry.write(b"")
    # Claim 4 GB in the directory instead of writing them.
    raw = bytearray(path.read_bytes())
    at = raw.find(b"PK\x01\x02")
    while at != -1:
        if raw[at + 46 : at + 51].endswith(b".bin"):
            raw[at + 24 : at + 28] = (2_000_000_000).to_bytes(4, "little")
        at = raw.find(b"PK\x01\x02", at + 4)
    path.write_bytes(raw)
    with pytest.raises(ArchiveError, match="zip bomb"):
        importer(path)


def test_damaged_zips_end_well(tmp_path, importer):
    whole = write_zip(tmp_path / "whole.zip", LAYOUTS["2025"]).read_bytes()
    cut = tmp_path / "cut.zip"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArchiveError, match="no whole zip") as caught:
        importer(cut)
    assert "download it again" in caught.value.hint
    rng = np.random.default_rng(0)
    flipped = tmp_path / "flipped.zip"
    for _ in range(150):
        raw = bytearray(whole)
        for place in rng.integers(0, len(raw), 8):
            raw[place] ^= 1 << int(rng.integers(8))
        flipped.write_bytes(raw)
        try:
            importer(flipped)
        except ArchiveError as error:
            assert error.hint  # noqa: PT017


def test_an_encrypted_zip_is_told(tmp_path, importer):
    path = write_zip(tmp_path / "a.zip", LAYOUTS["2021"])
    raw = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = raw.find(mark)
        while at != -1:
            raw[at + offset] |= 1
            at = raw.find(mark, at + 4)
    path.write_bytes(raw)
    with pytest.raises(ArchiveError, match="locked with a password"):
        importer(path)
