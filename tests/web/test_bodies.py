"""Bodies of the API's requests: what is lost of them is told, never left out unseen."""

from __future__ import annotations

import io
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

import handmade
from pixtag.store import Store
from pixtag.types import Post
from pixtag.web.app import create_app
from pixtag.web.service import Service

SUGGEST, POSTS = "/api/v1/suggest", "/api/v1/posts"
NONE_CHOSEN = ("", b"", "application/octet-stream")  # as browsers send it


def jpeg() -> bytes:
    buffer = io.BytesIO()
    handmade.picture("sky").save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


SKY = jpeg()


@pytest.fixture
def client(tmp_path: Path):
    with Store.open(tmp_path / "s.sqlite", create=True) as store:
        store.add_posts(Post(f"ana-{i}", "ana", 1e9 + i, ("coffee",)) for i in range(9))
        app = create_app(Service(store, handmade.bundle()))
        with TestClient(app, base_url="http://localhost") as client:
            yield client


def test_a_photo_of_no_bytes_is_no_photo_left_out(client: TestClient) -> None:
    empty = ("empty.jpg", b"", "image/jpeg")
    for path, given in ((SUGGEST, {"user": "ana"}), (POSTS, {"user": "ana", "tags": "sea"})):
        found = client.post(path, files={"photo": empty}, data=given)
        assert found.status_code == 422
        assert "empty" in found.json()["detail"]
        assert client.post(path, files={"photo": NONE_CHOSEN}, data=given).is_success
    assert client.get("/api/v1/users/ana/history").json()["n_posts"] == 10
    for kind in ("image/jpeg", "application/octet-stream"):
        assert client.post(SUGGEST, headers={"content-type": kind}).status_code == 422
    for embedding, status in (("", 200), ("[1, 2", 422), ("1", 422)):
        form = {"data": {"embedding": embedding}, "files": {"photo": NONE_CHOSEN}}
        assert client.post(SUGGEST, **form).status_code == status


@pytest.mark.parametrize("path", [SUGGEST, POSTS, "/"])
def test_a_form_that_was_cut_is_refused_wherever_it_was(client: TestClient, path: str) -> None:
    fields = ((b'name="user"', b"ana"), (b'name="photos"; filename="a.jpg"', SKY))
    head = b"--x\r\ncontent-disposition: form-data; "
    whole = b"".join(head + of + b"\r\n\r\n" + value + b"\r\n" for of, value in fields) + b"--x--"
    form = {"content-type": "multipart/form-data; boundary=x"}
    parts_end = [whole.index(b"--x", 1), whole.rindex(b"--x")]
    for length in (0, 20, *parts_end, len(whole) // 2, len(whole) - 1):
        cut = client.post(path, content=whole[:length], headers=form)
        assert cut.status_code == 400, length
    assert client.post(path, content=whole, headers=form).is_success


def test_twenty_photos_are_the_most_of_a_post(client: TestClient) -> None:
    photos = [("photos", ("a.jpg", SKY))] * 20
    more = [("more", NONE_CHOSEN)] * 3
    assert client.post(POSTS, files=photos + more).json()["n_photos"] == 20
    for n in (21, 25, 50):
        refused = client.post(POSTS, files=[*photos, *[("photos", ("b.jpg", SKY))] * (n - 20)])
        assert refused.status_code == 422
        assert refused.json()["detail"] == f"{n} photos, but 20 are the most of a form"
    page = client.post("/", files=[*photos, ("photos", ("b.jpg", SKY))] * 2).text
    assert page.count('name="photo"') == 20
    assert "20 photos are the most at a time" in page


@pytest.mark.parametrize(
    "texts", [["#sea #dusk"], ["sea,dusk"], ["sea dusk"], ['["sea", "dusk"]'], ["sea", "#dusk"]]
)
def test_lists_of_tags_are_read_alike_wherever_they_stand(
    client: TestClient, texts: list[str]
) -> None:
    service, asked = client.app.state.service, []
    plain = service.suggest

    def noted(*photo, **wanted):
        asked.append([tuple(wanted[name]) for name in ("history", "accepted", "refused")])
        return plain(*photo, **wanted)

    service.suggest = noted
    lists = {"history": texts, "accepted": texts, "refused": [*texts, "a,b"]}
    for more in ({"params": lists}, {"params": lists, "content": SKY}, {"data": lists}):
        form = {"files": {"photo": NONE_CHOSEN}} if "data" in more else {}
        assert client.post(SUGGEST, **more, **form).status_code == 200
    pair = ("sea", "dusk")
    assert asked == [[pair, pair, (*pair, "a", "b")]] * 3
    made = client.post(POSTS, data={"tags": texts}, files={"photos": NONE_CHOSEN})
    assert made.json()["tags"] == ["sea", "dusk"]


def test_many_texts_are_no_way_past_the_most_tags(client: TestClient) -> None:
    many = ",".join(f"t{i}" for i in range(201))
    for more in ({"params": {"accepted": many}}, {"data": {"accepted": many}}):
        form = {"files": {"photo": NONE_CHOSEN}} if "data" in more else {}
        assert client.post(SUGGEST, **more, **form).status_code == 422


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "\x7f", "a\x85", ".", "..", "", "\0", "x" * 201])
def test_a_name_that_no_path_can_hold_is_not_taken(client: TestClient, name: str) -> None:
    post = {"user": "eve", "post_id": "e", "tags": ["sea"]}
    for field in ("user", "post_id"):
        found = client.post(POSTS, json=post | {field: name})
        assert found.status_code == 422
        assert found.json()["hint"]
        assert client.post(SUGGEST, json={field: name}).status_code == 422
    assert client.post(SUGGEST, params={"user": name}).status_code == 422
    for fine in ("a b", "...", ".a", "a/b", "ä@ö"):
        assert client.post(POSTS, json=post | {"user": fine}).status_code == 201
        assert client.get(f"/api/v1/users/{quote(fine, safe='')}/history").is_success


@pytest.mark.parametrize(
    "post", [{}, {"user": "eve"}, {"tags": []}, {"tags": ["2026", "!!!"]}, {"caption": " "}]
)
def test_a_post_of_nothing_is_not_taken(client: TestClient, post: dict) -> None:
    found = client.post(POSTS, json=post | {"post_id": "e"})
    assert found.status_code == 422
    assert found.json()["hint"] == "a post has at least one of tags, caption and photos"
    if len(post.get("tags", ())) > 1:
        assert "'2026', '!!!'" in found.json()["detail"]
    for more in ({"tags": ["2026", "sea"]}, {"caption": "dusk"}, {"caption": "#dusk"}):
        assert client.post(POSTS, json=post | more).status_code == 201
    photo = {"files": {"photos": ("a.jpg", SKY)}}
    assert client.post(POSTS, data=post, **photo).status_code == 201


@pytest.mark.parametrize("path", [SUGGEST, POSTS, "/api/v1/feedback"])
def test_other_types_of_bodies_are_told_which_are_taken(client: TestClient, path: str) -> None:
    kinds = ["text/plain", "application/x-www-form-urlencoded", "application/xml"]
    if path.endswith("feedback"):
        kinds += ["multipart/form-data; boundary=x", "image/jpeg", ""]
    for kind in kinds:
        found = client.post(path, content=b"id=x", headers={"content-type": kind})
        assert found.status_code == 415
        assert "application/json" in found.json()["hint"]
