"""Archives of one account from different times: one person, one post."""

from __future__ import annotations

import json
import lzma

import pytest

from archives import MP4, jpeg, write_tree, write_zip
from pixtag.store import Store

AT = 1_772_366_400  # 2026-03-01T12:00:00Z
DAY = 86_400


def instagram(name: str, numbers: range, *, media: str = "{}", clip: bool = False):
    """An archive of a post a day, each with a photo; and of a video, where asked for."""
    where, files, posts = "media/posts/202603/", {}, []
    for i in numbers:
        uri = f"{where}{media.format(i)}.jpg"
        files[uri] = jpeg(i)
        posts.append(
            {"media": [{"uri": uri, "creation_timestamp": AT + i * DAY, "title": f"#day{i} #sea"}]}
        )
    if clip:
        uri = f"{where}{media.format('clip')}.mp4"
        files[uri] = MP4
        posts.append({"media": [{"uri": uri, "creation_timestamp": AT + 60, "title": "#film"}]})
    person = {"profile_user": [{"string_map_data": {"Username": {"value": name}}}]}
    return {
        "your_instagram_activity/media/posts_1.json": posts,
        "personal_information/personal_information/personal_information.json": person,
        **files,
    }


def kept(importer):
    return [(post.user_id, post.tags) for post in importer.posts]


def days(name: str, numbers: range):
    return [(name, (f"day{i}", "sea")) for i in numbers]


def test_media_that_were_renamed_are_the_same_posts(tmp_path, importer):
    first = write_zip(tmp_path / "1.zip", instagram("ana", range(3), clip=True))
    later = write_zip(
        tmp_path / "2.zip", instagram("ana", range(4), media="1797{}_n_178", clip=True)
    )
    importer(first)
    report = importer(later)
    assert sorted(kept(importer)) == sorted([("ana", ("film",)), *days("ana", range(4))])
    assert (report.added, report.updated) == (1, 4)
    assert report.problems["post known from an earlier archive, under another name"] == 4
    again = importer(later)
    assert (again.added, again.updated, again.unchanged) == (0, 0, 5)
    assert importer(first).added == 0
    assert len(importer.posts) == 5


@pytest.mark.parametrize("media", ["{}", "1797{}_n"])
def test_an_account_that_was_renamed_is_one_person(tmp_path, importer, media):
    first = write_zip(tmp_path / "1.zip", instagram("ana", range(5)))
    # One of the posts was deleted, another is new.
    later = write_zip(tmp_path / "2.zip", instagram("ana.photo", range(1, 6), media=media))
    importer(first)
    with Store.open(importer.path) as store:
        store.edit_lists("deny", ["love"], user_id="ana", remove=False)
    report = importer(later)
    assert kept(importer) == days("ana.photo", range(6))
    assert report.problems["account renamed: ana is ana.photo now"] == 1
    assert report.people == ["ana.photo"]
    assert report.added == 1
    with Store.open(importer.path) as store:
        assert store.people(at_most=4) == ["ana.photo"]
        assert store.lists("ana.photo").deny == ("love",)
        assert store.lists("ana").deny == ()
    # The older archive once more brings the old name not back.
    report = importer(first)
    assert kept(importer) == days("ana.photo", range(6))
    assert (report.added, report.people) == (0, ["ana.photo"])


def test_posts_of_an_archive_that_named_nobody_get_their_person(tmp_path, importer):
    files = instagram("ana", range(3))
    unnamed = {name: value for name, value in files.items() if "personal" not in name}
    importer(write_zip(tmp_path / "1.zip", unnamed))
    importer(write_zip(tmp_path / "2.zip", files))
    assert kept(importer) == days("ana", range(3))


def test_people_who_share_a_photo_stay_two(tmp_path, importer):
    importer(write_zip(tmp_path / "ana.zip", instagram("ana", range(6))))
    report = importer(write_zip(tmp_path / "ben.zip", instagram("ben", range(4, 12))))
    assert sorted(kept(importer)) == sorted([*days("ana", range(6)), *days("ben", range(4, 12))])
    assert report.added == 8
    assert not report.problems


def test_an_account_to_which_somebody_posts_some_of_theirs_too_stays_another(tmp_path, importer):
    importer(write_zip(tmp_path / "club.zip", instagram("club", range(0, 9, 4))))
    importer(write_zip(tmp_path / "ben.zip", instagram("ben", range(9))))
    assert sorted(kept(importer)) == sorted([*days("club", range(0, 9, 4)), *days("ben", range(9))])
    importer(tmp_path / "club.zip")
    assert len(importer.posts) == 12


def test_posts_of_one_second_with_other_photos_stay_two(tmp_path, importer):
    importer(write_zip(tmp_path / "1.zip", instagram("ana", range(1))))
    other = {
        name: jpeg(99) if name.endswith("jpg") else value
        for name, value in instagram("ana", range(1), media="other{}").items()
    }
    importer(write_zip(tmp_path / "2.zip", other))
    assert len(importer.posts) == 2


def test_flickr_and_instaloader_know_posts_by_number_and_code(tmp_path, importer):
    def flickr(name: str, numbers: range):
        pages = {
            f"photo_100000{i}.json": {
                "id": f"100000{i}",
                "date_imported": f"2024-05-0{i} 10:00:00",
                "tags": [{"tag": "sea"}],
            }
            for i in numbers
        }
        return {**pages, "account_profile.json": {"screen_name": name, "nsid": "1@N01"}}

    importer(write_tree(tmp_path / "1", flickr("ana", range(1, 5))))
    importer(write_tree(tmp_path / "2", flickr("ana.photo", range(2, 7))))
    assert kept(importer) == [("ana.photo", ("sea",))] * 6

    def instaloader(name: str, numbers: range):
        def node(i: int):
            caption = {"edges": [{"node": {"text": f"#food{i}"}}]}
            return {
                "node": {
                    "shortcode": f"CQabcdefgh{i}",
                    "taken_at_timestamp": AT + i,
                    "edge_media_to_caption": caption,
                    "owner": {"username": name, "id": "7"},
                },
                "instaloader": {"node_type": "Post"},
            }

        base = "2026-03-01_12-00-0{}_UTC"
        meta = {
            f"{name}/{base.format(i)}.json.xz": lzma.compress(json.dumps(node(i)).encode())
            for i in numbers
        }
        return {**meta, **{f"{name}/{base.format(i)}.jpg": jpeg(i) for i in numbers}}

    importer(write_tree(tmp_path / "3", instaloader("lena", range(4))))
    importer(write_tree(tmp_path / "4", instaloader("lena_k", range(1, 5))))
    found = [one for one in kept(importer) if one[0] != "ana.photo"]
    assert found == [("lena_k", (f"food{i}",)) for i in range(5)]
