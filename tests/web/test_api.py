"""The API in one process: what it takes, what it refuses, and who sees what."""

from __future__ import annotations

import io
import json
import re
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import anyio
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import handmade
from pixtag.store import Store
from pixtag.store.keys import add_key, revoke_key
from pixtag.types import Post
from pixtag.web.app import create_app
from pixtag.web.guard import Rules
from pixtag.web.service import Service

HERE = "http://localhost"
OPENAPI = Path(__file__).parent.parent.parent / "docs" / "openapi.json"


def jpeg(look: str = "sky", seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    handmade.picture(look, seed).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


SKY = jpeg()
IMAGE = {"content-type": "image/jpeg"}
JSON = {"content-type": "application/json"}


@pytest.fixture
def store(tmp_path: Path):
    with Store.open(tmp_path / "s.sqlite", create=True) as store:
        store.add_posts(Post(f"ana-{i}", "ana", 1e9 + i, ("coffee", "espresso")) for i in range(9))
        store.add_posts(Post(f"bo-{i}", "bo", 1e9 + i, ("secretproject",)) for i in range(9))
        yield store


@pytest.fixture
def client(store: Store):
    app = create_app(Service(store, handmade.bundle()))
    with TestClient(app, base_url=HERE) as client:
        yield client


@pytest.fixture
def keyed(store: Store):
    app = create_app(Service(store, handmade.bundle()), Rules(needs_key=True, hosts=None))
    with TestClient(app, base_url="http://photos.example") as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def posting(path: str, **headers: str) -> dict:
    """A POST as a server hands it on."""
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "path": path, "raw_path": path.encode(), "query_string": b"", "scheme": "http",
        "root_path": "", "client": ("10.0.0.1", 1), "server": ("x", 80),
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
    }  # fmt: skip


def everything(client: TestClient, user: str, post_id: str, headers: dict[str, str]) -> list[str]:
    """Every endpoint that takes a person or a thing of theirs; texts of the answers."""
    api = "/api/v1"
    asked = [
        client.post(f"{api}/suggest", json={"user": user}, headers=headers),
        client.post(f"{api}/suggest?user={user}", content=SKY, headers=headers | IMAGE),
        client.post(f"{api}/suggest", files={"photo": SKY}, data={"user": user}, headers=headers),
        client.post(f"{api}/suggest", json={"post_id": post_id}, headers=headers),
        client.post(f"{api}/posts", json={"user": user, "tags": ["x1"]}, headers=headers),
        client.get(f"{api}/users/{user}/history", headers=headers),
        client.delete(f"{api}/users/{user}", headers=headers),
    ]
    assert {answer.status_code for answer in asked} == {404}
    texts = [answer.json() for answer in asked]
    for text in texts:
        text.pop("instance")
    return [json.dumps(text) for text in texts]


def test_a_key_for_one_person_neither_sees_nor_knows_of_another(
    keyed: TestClient, store: Store
) -> None:
    ana = bearer(add_key(store, "phone", user="ana"))
    boss = bearer(add_key(store, "boss", scopes=["read", "write", "admin"]))
    photo = {"photos": ("a.jpg", SKY)}
    made = keyed.post(
        "/api/v1/posts", data={"user": "bo", "post_id": "seen"}, files=photo, headers=boss
    )
    assert made.status_code == 201
    # Somebody who is there and somebody who is not are answered alike, to the letter.
    assert everything(keyed, "bo", "seen", ana) == everything(keyed, "nobody", "unseen", ana)
    served = keyed.post("/api/v1/suggest", json={"user": "bo"}, headers=boss).json()
    assert "secretproject" in [one["tag"] for one in served["suggestions"]]
    for name in (served["id"], "no-such-id"):
        said = keyed.post("/api/v1/feedback", json={"id": name, "accepted": ["x"]}, headers=ana)
        assert said.status_code == 404
    # Without a name it is the key's own person.
    own = keyed.post("/api/v1/suggest", json={}, headers=ana).json()
    assert own["user"] == "ana"
    tags = [one["tag"] for one in own["suggestions"]]
    assert "coffee" in tags
    assert "secretproject" not in tags
    assert keyed.get("/api/v1/tags/secretproject", headers=ana).status_code == 404
    # A name that is taken neither shows nor is replaced.
    for name in ("bo-1", "free"):
        made = keyed.post("/api/v1/posts", json={"post_id": name, "tags": ["t1"]}, headers=ana)
        assert made.json()["post_id"].startswith(f"{name}@")
    again = keyed.post("/api/v1/posts", json={"post_id": "ana-1", "tags": ["t2"]}, headers=ana)
    assert again.json()["post_id"] == "ana-1"
    assert keyed.get("/api/v1/users/bo/history", headers=boss).json()["n_posts"] == 10
    history = keyed.get("/api/v1/users/ana/history", headers=ana).json()
    assert history["n_posts"] == 11
    assert keyed.delete("/api/v1/users/ana", headers=ana).status_code == 200
    assert keyed.get("/api/v1/users/ana/history", headers=ana).status_code == 401
    assert keyed.get("/api/v1/users/ana/history", headers=boss).status_code == 404


def test_keys_allow_what_they_say_until_they_are_revoked(keyed: TestClient, store: Store) -> None:
    reader = bearer(add_key(store, "reader", scopes=["read"]))
    writer = bearer(add_key(store, "writer", scopes=["write"]))
    post = {"user": "ana", "tags": ["x"]}
    assert keyed.post("/api/v1/suggest", json={}, headers=reader).status_code == 200
    assert keyed.post("/api/v1/suggest", json={}, headers=writer).status_code == 403
    assert keyed.post("/api/v1/posts", json=post, headers=reader).status_code == 403
    assert keyed.post("/api/v1/posts", json=post, headers=writer).status_code == 201
    for headers in (reader, writer):
        assert keyed.delete("/api/v1/users/ana", headers=headers).status_code == 403
        assert keyed.get("/metrics", headers=headers).status_code == 403
    assert revoke_key(store, "reader")
    gone = keyed.post("/api/v1/suggest", json={}, headers=reader)
    assert gone.status_code == 401
    assert gone.headers["www-authenticate"].startswith("Bearer")
    assert keyed.get("/healthz").status_code == 200


def test_a_browser_may_send_its_key_as_a_cookie(keyed: TestClient, store: Store) -> None:
    keyed.cookies.set("pixtag_key", add_key(store, "laptop", user="ana"))
    assert keyed.post("/api/v1/suggest", json={}).json()["user"] == "ana"
    forged = keyed.post("/api/v1/suggest", json={}, headers={"sec-fetch-site": "cross-site"})
    assert forged.status_code == 403
    keyed.cookies.clear()
    sent = keyed.get("/me", headers={"accept": "text/html"}, follow_redirects=False)
    assert (sent.status_code, sent.headers["location"]) == (303, "/sign-in?next=/me")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("localhost:8000", 200), ("127.0.0.1", 200), ("[::1]:8000", 200)),
        *(("evil.example", 421), ("localhost.evil.example", 421), ("", 421)),
    ],
)
def test_on_loopback_only_its_own_names_are_answered(
    client: TestClient, host: str, status: int
) -> None:
    assert client.get("/api/v1/trending", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"sec-fetch-site": "same-origin"}, 201),
        ({"sec-fetch-site": "none"}, 201),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": HERE}, 403),
        ({"origin": HERE}, 201),
        ({"origin": "http://localhost:9"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://evil.example", "authorization": "Bearer x"}, 201),
    ],
)
def test_no_other_site_may_post(client: TestClient, headers: dict[str, str], status: int) -> None:
    made = client.post("/api/v1/posts", json={"user": "ana", "tags": ["x"]}, headers=headers)
    assert made.status_code == status
    read = client.get("/api/v1/trending", headers=headers)
    assert read.status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "photos.example"}, 401),
        ({"host": "photos.example", "authorization": "Bearer pixtag_wrong"}, 401),
        ({"host": "photos.example", "content-length": "999999999999"}, 401),
        ({"host": "photos.example", "sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_nothing_of_a_body_is_read_before_the_key(
    store: Store, headers: dict[str, str], status: int
) -> None:
    service = Service(store, handmade.bundle())
    app = create_app(service, Rules(needs_key=True, hosts=None))
    sent: list[dict] = []

    async def receive() -> dict:
        raise AssertionError("the body was read")

    async def send(message: dict) -> None:
        sent.append(message)

    anyio.run(app, posting("/api/v1/posts", **headers), receive, send)
    assert sent[0]["status"] == status
    service.close()


def test_bodies_are_bounded_whether_they_say_their_size_or_not(store: Store) -> None:
    rules = Rules(body_limits={"/api/v1/suggest": 200_000, "/": 1000})
    app = create_app(Service(store, handmade.bundle()), rules)
    with TestClient(app, base_url=HERE) as client:

        def asked(content, **headers: str):
            return client.post("/api/v1/suggest", content=content, headers=headers)

        assert asked(SKY, **IMAGE).status_code == 200
        form = {"content-type": "multipart/form-data; boundary=x"}
        head = b'--x\r\ncontent-disposition: form-data; name="photo"; filename="a"\r\n\r\n'
        for answer in (
            asked(b"x" * 200_001, **IMAGE),
            asked((b"x" * 10_000 for _ in range(21)), **IMAGE),
            asked(iter([head, *(b"x" * 10_000 for _ in range(21))]), **form),
            client.post("/api/v1/feedback", content=(b" " for _ in range(1001)), headers=JSON),
        ):
            assert answer.status_code == 413
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["hint"]


def test_bodies_that_find_no_room_are_refused_and_give_it_back(store: Store) -> None:
    app = create_app(Service(store, handmade.bundle()), Rules(bytes_at_once=64 * 2**20))
    part = b"x" * (24 * 2**20)

    async def everything() -> None:
        begun, go = anyio.Event(), anyio.Event()

        async def send_in_parts(*parts: bytes, wait: bool = False) -> int:
            waiting, statuses = list(parts), []

            async def receive() -> dict:
                if wait and len(waiting) == 1:
                    begun.set()
                    await go.wait()
                body = waiting.pop(0)
                return {"type": "http.request", "body": body, "more_body": bool(waiting)}

            async def send(message: dict) -> None:
                statuses.append(message.get("status"))

            await app(posting("/api/v1/suggest", host="localhost", **IMAGE), receive, send)
            return statuses[0]

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: send_in_parts(part, SKY, wait=True))
            await begun.wait()
            assert await send_in_parts(part, part) == 503  # beside the one that waits
            assert await send_in_parts(SKY) == 200
            go.set()
        for _ in range(3):
            assert await send_in_parts(part, part) == 422  # no photo, but there is room

    anyio.run(everything)
    app.state.service.close()


def test_photos_never_touch_the_disk_unless_they_are_to_be_kept(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    buffer = io.BytesIO()
    handmade.picture("sky", side_px=1200).save(buffer, "BMP")
    large = buffer.getvalue()
    assert len(large) > 4_000_000
    before = {path.name for path in store.path.parent.iterdir()}
    found = client.post("/api/v1/suggest", files={"photo": ("a.bmp", large)})
    assert {one["tag"] for one in found.json()["suggestions"][:2]} == set(handmade.LOOKS["sky"])
    made = client.post("/api/v1/posts", data={"user": "ana"}, files={"photos": ("../a.bmp", large)})
    assert made.json()["n_photos"] == 1
    assert {path.name for path in store.path.parent.iterdir()} == before
    kept = {"user": "ana", "keep_photos": "true"}
    made = client.post("/api/v1/posts", data=kept, files={"photos": ("../../b.jpg", SKY)})
    assert made.status_code == 201
    (copy,) = store.photos_folder.iterdir()
    assert copy.read_bytes() == SKY
    client.delete("/api/v1/users/ana")
    assert list(store.photos_folder.iterdir()) == []


def test_a_post_that_is_sent_twice_is_made_once(client: TestClient, store: Store) -> None:
    def send(key: str, **post: object):
        return client.post("/api/v1/posts", json=post, headers={"idempotency-key": key})

    first = send("k1", user="ana", tags=["once"])
    again = send("k1", user="ana", tags=["once"])
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert send("k1", user="ana", tags=["other"]).status_code == 422
    assert send("k2", user="ana", tags=["once"]).json()["post_id"] != first.json()["post_id"]
    assert client.get("/api/v1/users/ana/history").json()["n_posts"] == 11
    # The caller's own name for a post does the same for good.
    for _ in range(2):
        own = {"post_id": "mine", "user": "ana", "tags": ["once"]}
        assert client.post("/api/v1/posts", json=own).is_success
    assert client.get("/api/v1/users/ana/history").json()["n_posts"] == 12
    # Nobody finds the answer to a request of somebody who was forgotten.
    client.delete("/api/v1/users/ana")
    assert send("k1", user="ana", tags=["once"]).json()["post_id"] != first.json()["post_id"]


def test_of_many_equal_requests_at_once_one_is_done(client: TestClient, store: Store) -> None:
    start = threading.Barrier(8)

    def send(_: int) -> int:
        start.wait()
        return client.post(
            "/api/v1/posts", data={"user": "eve", "tags": "once"},
            files=[("photos", ("a.jpg", SKY))], headers={"idempotency-key": "same"},
        ).status_code  # fmt: skip

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(send, range(8)))
    assert set(found) <= {201, 409}
    assert 201 in found
    assert client.get("/api/v1/users/eve/history").json()["n_posts"] == 1


def test_two_servers_do_a_request_once(store: Store) -> None:
    with Store.open(store.path) as other:
        apps = [create_app(Service(one, handmade.bundle())) for one in (store, other)]
        with TestClient(apps[0], base_url=HERE) as a, TestClient(apps[1], base_url=HERE) as b:

            def send(client: TestClient):
                post, key = {"user": "eve", "tags": ["once"]}, {"idempotency-key": "same"}
                return client.post("/api/v1/posts", json=post, headers=key).json()["post_id"]

            for one in (a, b):  # FastAPI builds routes at the first request, not safe for threads
                one.get("/healthz")
            with ThreadPoolExecutor(2) as pool:
                assert len(set(pool.map(send, (a, b)))) == 1
            assert b.get("/api/v1/users/eve/history").json()["n_posts"] == 1


def test_more_than_can_be_done_is_refused_with_a_time_to_wait(client: TestClient) -> None:
    work, go = client.app.state.work, threading.Event()
    work._most = 3
    with ThreadPoolExecutor(3) as pool:
        service = client.app.state.service
        plain = service.suggest
        service.suggest = lambda *asked, **more: go.wait(30) and plain(*asked, **more)
        waiting = [pool.submit(client.post, "/api/v1/suggest", json={}) for _ in range(3)]
        while work._n < 3:
            time.sleep(0.01)
        refused = client.post("/api/v1/suggest", json={})
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert client.get("/healthz").status_code == 200
        go.set()
        assert [one.result().status_code for one in waiting] == [200] * 3
    assert client.post("/api/v1/suggest", json={}).status_code == 200
    assert "pixtag_too_busy_total 1.0" in client.get("/metrics").text


def test_photos_that_wait_together_are_looked_at_together(client: TestClient) -> None:
    photos = [jpeg(look, seed) for look in handmade.LOOKS for seed in range(4)]

    def tags(photo: bytes) -> list[str]:
        answer = client.post("/api/v1/suggest", content=photo, headers=IMAGE)
        return [one["tag"] for one in answer.json()["suggestions"]]

    alone = [tags(photo) for photo in photos]
    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(tags, photos)) == alone
        broken = pool.submit(client.post, "/api/v1/suggest", content=SKY[:99], headers=IMAGE)
        fine = [pool.submit(tags, photo) for photo in photos]
        assert broken.result().status_code == 422
        assert [one.result() for one in fine] == alone


def test_too_many_requests_are_told_how_many_are_left(store: Store) -> None:
    app = create_app(Service(store, handmade.bundle()), Rules(requests_per_minute=3))
    with TestClient(app, base_url=HERE) as client:
        found = [client.get("/api/v1/trending") for _ in range(4)]
    assert [one.status_code for one in found] == [200, 200, 200, 429]
    assert [one.headers["ratelimit"].split(";")[1] for one in found] == ["r=2", "r=1", "r=0", "r=0"]
    assert found[0].headers["ratelimit-policy"] == '"default";q=3;w=60'
    assert int(found[3].headers["retry-after"]) > 0


def test_wrong_keys_are_counted_by_their_address_and_keep_no_key_out(store: Store) -> None:
    ana = bearer(add_key(store, "phone", user="ana"))
    rules = Rules(needs_key=True, hosts=None, requests_per_minute=3)
    app = create_app(Service(store, handmade.bundle()), rules)
    with TestClient(app, base_url=HERE) as client:

        def asked(headers: dict[str, str]) -> int:
            return client.get("/api/v1/trending", headers=headers).status_code

        found = [asked(wrong) for wrong in ({}, bearer("pixtag_1"), bearer("pixtag_2"), {})]
        assert found == [401, 401, 401, 429]
        assert asked(bearer("pixtag_3")) == 429
        assert client.get("/healthz").status_code == 429
        assert asked(ana) == 200


def test_what_did_not_change_is_not_sent_again(client: TestClient) -> None:
    for path in ("/api/v1/users/ana/history", "/api/v1/trending"):
        first = client.get(path)
        known = {"if-none-match": first.headers["etag"]}
        tag = known["if-none-match"].removeprefix("W/")
        for same in (f"W/{tag}", tag, f'"a", W/"b",{tag}', f'"a" , W/{tag}', "*"):
            again = client.get(path, headers={"if-none-match": same})
            assert (again.status_code, again.content) == (304, b"")
        for other in ('"a"', tag.strip('"'), f"{tag}x", ""):
            assert client.get(path, headers={"if-none-match": other}).status_code == 200
    client.post("/api/v1/posts", json={"user": "ana", "tags": ["new"]})
    tag = client.get("/api/v1/users/ana/history").headers["etag"]
    assert client.get("/api/v1/users/ana/history").headers["etag"] == tag
    assert client.get("/api/v1/users/ana/history", headers=known).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/nothing", 404),
        ("PUT", "/api/v1/posts", 405),
        ("GET", "/api/v1/trending?k=0", 422),
        ("POST", "/api/v1/suggest?at=yesterday", 422),
    ],
)
def test_errors_are_problem_documents(
    client: TestClient, method: str, path: str, status: int
) -> None:
    found = client.request(method, path, headers={"x-request-id": "mine-1"})
    problem = found.json()
    assert found.status_code == problem["status"] == status
    assert found.headers["content-type"] == "application/problem+json"
    assert found.headers["x-request-id"] == "mine-1"
    assert problem["instance"] == "urn:request:mine-1"
    assert problem["hint"]
    assert found.headers["content-security-policy"].startswith("default-src 'self'")
    assert found.headers["x-content-type-options"] == "nosniff"


def test_a_request_is_called_by_the_trace_that_it_is_part_of(client: TestClient) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"

    def called(**headers: str) -> str:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.get("/healthz", headers=headers).headers["x-request-id"]

    parent = f"00-{trace}-00f067aa0ba902b7-01"
    assert called(traceparent=parent) == trace
    assert called(traceparent=parent, x_request_id="mine-1") == "mine-1"
    for broken in (f"ff{parent[2:]}", parent.replace(trace, "0" * 32), parent.upper(), trace, ""):
        assert called(traceparent=broken) != trace


def test_bugs_and_the_disk_do_not_show(
    client: TestClient, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    client.app.state.service.suggest = lambda *_, **__: 1 / 0
    found = client.post("/api/v1/suggest", json={})
    assert found.status_code == 500
    assert "ZeroDivisionError" not in found.text
    assert "ZeroDivisionError" in caplog.text
    client.app.state.service.reader.close()
    found = client.get("/api/v1/users/ana/history")
    assert found.status_code == 503
    assert str(store.path) not in found.text


def test_who_goes_away_amid_a_photo_is_no_error(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    form = b'--x\r\ncontent-disposition: form-data; name="photo"; filename="a"\r\n\r\n'
    begun = {
        "image/jpeg": SKY[:100],
        "multipart/form-data; boundary=x": form + SKY[:100],
        "application/json": b'{"user": ',
    }
    for kind, body in begun.items():
        parts = [
            {"type": "http.request", "body": body, "more_body": True},
            {"type": "http.disconnect"},
        ]
        sent: list[dict] = []

        async def receive(parts: list[dict] = parts) -> dict:
            return parts.pop(0)

        async def send(message: dict, sent: list[dict] = sent) -> None:
            sent.append(message)

        scope = posting("/api/v1/suggest", host="localhost", **{"content-type": kind})
        client.portal.call(client.app, scope, receive, send)
        assert sent[0]["status"] == 400  # which nobody reads
    assert caplog.text == ""
    assert 'route="/api/v1/suggest",status="499"} 3.0' in client.get("/metrics").text


def test_odd_bodies_are_refused(client: TestClient) -> None:
    def asked(content: bytes, kind: str) -> int:
        headers = {"content-type": kind}
        return client.post("/api/v1/suggest", content=content, headers=headers).status_code

    assert asked(b"{", "application/json") == 400
    assert asked(b"[" * 100_000, "application/json") == 400
    assert asked(b"[]", "application/json") == 422
    assert asked(b'{"user": "a\\u0000b"}', "application/json") == 422
    assert asked(b'{"unknown": 1}', "application/json") == 422
    assert asked(b'{"at": "2026-05-01T00:00:00"}', "application/json") == 422
    assert asked(b"x", "text/plain") == 415
    assert asked(b"x", "multipart/form-data") == 400
    assert asked(b"", "image/jpeg") == 422
    assert asked(b"", "") == 200
    embedding = json.dumps({"embedding": [1e300] * 1280}).encode()
    assert asked(embedding, "application/json") == 422


def test_pixels_are_bounded(client: TestClient) -> None:
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")  # 400 million pixels in few bytes
    found = client.post("/api/v1/suggest", content=buffer.getvalue(), headers=IMAGE)
    assert found.status_code == 413


def test_hostile_names_come_back_as_they_are(client: TestClient) -> None:
    for user in ("<script>alert(1)</script>", "a/b/history", "شيء", "x" * 200, "../../etc"):
        made = client.post("/api/v1/posts", json={"user": user, "tags": ["<b>", "b" * 5000, "ok"]})
        assert made.json()["tags"] == ["b", "ok"]
        found = client.get(f"/api/v1/users/{quote(user, safe='')}/history")
        assert found.json()["user"] == user
        assert found.headers["content-type"] == "application/json"


def test_counters_tell_routes_and_no_names(client: TestClient) -> None:
    def n_batches() -> float:
        (line,) = re.findall(r"^pixtag_batch_photos_count (.*)$", client.get("/metrics").text, re.M)
        return float(line)

    while client.get("/readyz").status_code != 200:  # the question that warms up counts as well
        time.sleep(0.01)
    before = n_batches()
    client.post("/api/v1/suggest", content=SKY, headers=IMAGE)
    client.get("/api/v1/users/ana/history")
    text = client.get("/metrics").text
    assert 'route="/api/v1/users/{user}/history"' in text
    assert "/ana" not in text
    assert "pixtag_suggested_total 1.0" in text
    assert n_batches() == before + 1
    assert "\npixtag_store_revision 2" in text


def test_counters_are_told_while_the_store_cannot_be_read(client: TestClient) -> None:
    client.app.state.service.reader.close()
    found = client.get("/metrics")
    assert found.status_code == 200
    assert "pixtag_requests_total" in found.text
    assert "pixtag_store_revision" not in found.text


def test_it_is_ready_when_it_can_answer(client: TestClient) -> None:
    client.app.state.service._warming.join()
    assert client.get("/readyz").json() == {"status": "ready", "reasons": []}
    client.app.state.service._not_ready = "the model is being loaded"
    waiting = client.get("/readyz")
    assert waiting.status_code == 503
    assert waiting.json()["reasons"] == ["the model is being loaded"]
    client.app.state.service.reader.close()
    reasons = client.get("/readyz").json()["reasons"]
    assert reasons == ["the model is being loaded", "the store cannot be read"]
    assert client.get("/healthz").status_code == 200


def test_the_openapi_document_in_the_repository_is_the_servers(client: TestClient) -> None:
    served = client.get("/api/v1/openapi.json").json()
    assert served["openapi"].startswith("3.1")
    hint = "run `python tools/openapi.py` to write it anew"
    assert json.loads(OPENAPI.read_text()) == served, hint


def test_a_post_by_embedding_is_one_with_its_photo(client: TestClient, store: Store) -> None:
    row = handmade.embedding("leaves", 5)
    post = {"user": "ana", "tags": ["woods"], "embedding": [float(x) for x in row]}
    made = client.post("/api/v1/posts", json=post | {"post_id": "w"})
    assert made.json()["n_photos"] == 1
    log = store.log(handmade.encoder().digest, ["w"])
    np.testing.assert_allclose(log.embeddings[0], row.astype(np.float16), rtol=1e-2, atol=1e-3)
    found = client.post("/api/v1/suggest", json={"post_id": "w"}).json()
    assert {"forest", "nature"} <= {one["tag"] for one in found["suggestions"]}
    form = {k: json.dumps(v) if k == "embedding" else v for k, v in post.items()}
    assert client.post("/api/v1/posts", data=form, files={"x": ("", b"")}).status_code == 201
    assert client.post("/api/v1/posts", json=post | {"embedding": [1.0]}).status_code == 422
