"""Archives of Mastodon, Pixelfed and Flickr, in the forms in which they are met."""

from __future__ import annotations

import pytest

from archives import MP4, jpeg, write_tree, write_zip
from pixtag.errors import ArchiveError
from pixtag.ingest import find_sources
from pixtag.types import iso_time

PUBLIC = "https://www.w3.org/ns/activitystreams#Public"
ANA = "https://m.example/users/ana"
LINK = '<a href="https://m.example/tags/{0}" class="hashtag" rel="tag">#<span>{0}</span></a>'


def note(number: int, tag: str, *, to: str = PUBLIC, kind: str = "Note", **more: object):
    return {
        "id": f"{ANA}/statuses/{number}",
        "type": kind,
        "published": f"2026-03-0{number}T12:00:00Z",
        "to": [to],
        "cc": [f"{ANA}/followers"] if to == PUBLIC else [],
        "content": f"<p>Hi &amp; {LINK.format(tag)}</p><p>#more</p>",
        "tag": [
            {"type": "Hashtag", "name": f"#{tag}", "href": "https://m.example/tags/x"},
            {"type": "Emoji", "name": ":cat:", "icon": {"mediaType": "image/png", "url": "/e.png"}},
        ],
        "attachment": [],
        **more,
    }


def document(url: str, kind: str = "image/jpeg", form: str = "Document", **more: object):
    return {"type": form, "mediaType": kind, "url": url, "name": "alt #text", **more}


def create(what: dict[str, object]) -> dict[str, object]:
    return {"id": f"{what['id']}/activity", "type": "Create", "actor": ANA, "object": what}


FILE = "media_attachments/files/001/original/{}"
NOTES = [
    note(1, "sea", attachment=[document("/" + FILE.format("1.jpg"))]),
    note(2, "sun", kind="Question", attachment=[document("/bucket/" + FILE.format("2.png"))]),
    note(
        3, "far", attachment=[document("https://f.example/" + FILE.format("3.jpg?1"), form="Image")]
    ),
    note(4, "clip", attachment=[document("/" + FILE.format("4.mp4"), "video/mp4")]),
    note(5, "secret", to=f"{ANA}/followers"),
    note(6, "direct", to="https://m.example/users/ben"),
]
BOOST = {"id": "b", "type": "Announce", "actor": ANA, "object": "https://other.example/1"}
MEDIA = {
    FILE.format("1.jpg"): jpeg(1),
    FILE.format("2.png"): jpeg(2, image_format="PNG"),
    FILE.format("3.jpg"): jpeg(3),
    FILE.format("4.mp4"): MP4,
}
ACTOR = {"id": ANA, "preferredUsername": "ana"}
OUTBOX = {"totalItems": 99, "orderedItems": [*map(create, NOTES), BOOST]}
TAGS = [("sea", "more"), ("sun", "more"), ("far", "more"), ("clip", "more")]


@pytest.mark.parametrize("packing", ["folder", "zip", "folder around", "zips", "folders", "file"])
@pytest.mark.parametrize("outbox", [OUTBOX, OUTBOX["orderedItems"]])
def test_an_outbox_gives_what_everybody_may_see(tmp_path, importer, packing, outbox):
    files = {"outbox.json": outbox, "actor.json": ACTOR, "likes.json": {}}
    write = write_zip if "zip" in packing else write_tree
    if packing.endswith("s"):
        paths = [write(tmp_path / "1", files), write(tmp_path / "2", MEDIA)]
    elif packing == "folder around":
        paths = [write(tmp_path / "a", {f"in/{n}": one for n, one in (files | MEDIA).items()})]
    else:
        paths = [write(tmp_path / "a", files | MEDIA)]
        paths = [paths[0] / "outbox.json"] if packing == "file" else paths
    assert {source.kind for source in find_sources(paths)} == {"activitypub"}
    report = importer(*paths)
    posts = importer.posts
    assert [post.tags for post in posts] == TAGS
    assert [len(post.photos) for post in posts] == [1, 1, 1, 0]
    assert {post.user_id for post in posts} == {"ana"}
    assert iso_time(posts[0].posted_at) == "2026-03-01T12:00:00+00:00"
    assert report.n_videos == 1
    assert {kind.partition(",")[0]: n for kind, n in report.problems.items()} == {
        "followers-only post": 1,
        "direct post": 1,
        "boost or other activity": 1,
    }
    assert not report.tags.dropped, "a hashtag stands in the text and in the list"
    assert importer(*paths).unchanged == 4
    assert importer(*paths, private=True).added == 2


def test_pixelfeds_notes_without_tags_or_content(tmp_path, importer):
    bare = {"id": "p1", "type": "Note", "published": "2026-03-01T12:00:00Z", "to": [PUBLIC]}
    url = "https://pixelfed.example/storage/m/1.jpg"
    rows = [
        {
            **bare,
            "attributedTo": "https://p.example/users/ben",
            "content": "At #sea",
            "attachment": [document(url)],
        },
        {**bare, "id": "p2", "attributedTo": "https://p.example/users/ben", "content": None},
        7,
    ]
    report = importer(write_tree(tmp_path / "a", {"outbox.json": {"data": rows}}))
    assert sorted((post.user_id, post.tags) for post in importer.posts) == [
        ("ben", ()),
        ("ben", ("sea",)),
    ]
    assert report.problems["photo is a link, not fetched"] == 1


def test_a_broken_outbox_says_so(tmp_path, importer):
    with pytest.raises(ArchiveError, match="broken JSON"):
        importer(write_tree(tmp_path / "a", {"outbox.json": "{broken", "actor.json": ACTOR}))


def test_media_alone_are_no_archive(tmp_path, importer):
    with pytest.raises(ArchiveError, match="holds no posts"):
        importer(write_zip(tmp_path / "a.zip", MEDIA))


def page(number: str | None, *tags: str, **more: object) -> dict[str, object]:
    given = [{"tag": tag, "user": "1@N01"} for tag in tags]
    return {"id": number, "name": "T", "description": "", "geo": {}, "tags": given, **more}


@pytest.mark.parametrize("write", [write_tree, write_zip])
def test_flickrs_account_data_in_parts(tmp_path, importer, write):
    pages = {
        "photo_1000001.json": page(
            "1000001", "new york", "geo:lat=5", date_taken="2024-05-01 10:00:00.000000000"
        ),
        "photo_1000002.json": page("1000002", "sea", date_taken="0000-00-00 00:00:00", geo=[]),
        "photo_1000003.json": page(
            None, date_imported="2024-05-03 10:00:00", description="<b>Hi</b> #dusk"
        ),
        "photo_1000004.json": page("1000004", "clip", date_taken="2024-05-04 10:00:00"),
        "account_profile.json": {"screen_name": "ana", "real_name": "Ana B"},
    }
    media = {
        "a-title_1000001_o.jpg": jpeg(1),
        "1000002_0abc12def3_o.jpg": jpeg(2),
        "photo_1000003.jpg": jpeg(3),
        "film_1000004_o.mp4": MP4,
    }
    parts = [write(tmp_path / "72157.zip", pages), write(tmp_path / "data-1.zip", media)]
    if write is write_tree:
        parts = [write_tree(tmp_path / "all", pages | media)]
    report = importer(*parts)
    found = {post.tags: (len(post.photos), iso_time(post.posted_at)) for post in importer.posts}
    assert found == {
        ("newyork",): (1, "2024-05-01T10:00:00+00:00"),
        ("sea",): (1, None),
        ("dusk",): (1, "2024-05-03T10:00:00+00:00"),
        ("clip",): (0, "2024-05-04T10:00:00+00:00"),
    }
    assert {post.user_id for post in importer.posts} == {"ana"}
    assert report.n_videos == 1
    assert set(report.problems) == {"time without a zone, read as UTC"}


@pytest.mark.parametrize(
    "name", ["photo_53712345678.jpg", "a_53712345678_b.jpg", "clip_53712345678.jpg"]
)
def test_flickr_media_are_told_by_their_number_alone(tmp_path, importer, name):
    posts = write_zip(tmp_path / "1.zip", {"photo_53712345678.json": page("53712345678", "sea")})
    importer(posts, write_zip(tmp_path / "2.zip", {name: jpeg(1)}), user_id="ana")
    assert [(post.tags, len(post.photos)) for post in importer.posts] == [(("sea",), 1)]
    for other in ("IMG_20240501_101112.jpg", "1714557600.jpg", "1714557600000.jpg"):
        with pytest.raises(ArchiveError, match=r"without tags|no posts that are known"):
            importer(write_zip(tmp_path / "3.zip", {other: jpeg(1)}))
