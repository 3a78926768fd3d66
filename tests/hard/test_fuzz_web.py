"""Whatever is sent to a server: an answer below 500, and problems as problem documents."""

from __future__ import annotations

import gc
import io
import json
import warnings
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

import handmade
from fuzzing import ODD, altered, cases, damaged, tallied
from pixtag.store import Store
from pixtag.types import Post
from pixtag.web.app import create_app
from pixtag.web.forms import signed
from pixtag.web.guard import Rules
from pixtag.web.service import Service

if TYPE_CHECKING:
    from fuzzing import Tally

AT = 1_772_366_400.0
BUSY = {503, 507}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("store") / "s.sqlite"
    with Store.open(path, create=True) as store:
        store.add_posts(Post(f"a{i}", "ana", AT + i, ("coffee", "sea")) for i in range(5))
        app = create_app(Service(store, handmade.bundle()), Rules(requests_per_minute=10**7))
        with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as one:
            yield one


def sky() -> bytes:
    buffer = io.BytesIO()
    handmade.picture("sky").resize((64, 64)).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


WIDTH = handmade.encoder().width
BODIES: dict[str, Any] = {
    "/api/v1/suggest": {
        "user": "ana", "history": ["sea"], "accepted": ["coffee"], "refused": ["tea"], "k": 5,
        "platform": "instagram", "at": "2026-03-01T12:00:00Z", "embedding": [0.1, 0.2],
        "post_id": "a1",
    },
    "/api/v1/posts": {
        "user": "ana", "tags": ["sea"], "caption": "at the #sea", "post_id": "new",
        "posted_at": "2026-03-01T12:00:00Z", "embedding": [0.1], "keep_photos": False,
    },
    "/api/v1/feedback": {"id": "x", "accepted": ["sea"], "refused": ["tea"], "added": ["dusk"]},
}  # fmt: skip
DEFECTS = {400, 404, 405, 408, 409, 411, 413, 415, 421, 422, 429}


def check_answer(answer: Any, path: str) -> None:
    status = answer.status_code
    assert status < 500 or status in BUSY, (path, status, answer.text[:500])
    if path.startswith("/api/") and status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        said = answer.json()
        assert said["status"] == status
        assert said["detail"]
    assert "Traceback" not in answer.text


def test_json_bodies(client: TestClient) -> None:
    one = st.sampled_from(sorted(BODIES)).flatmap(
        lambda path: st.tuples(st.just(path), altered(BODIES[path]))
    )

    def check(tally: Tally) -> None:
        @given(one, st.booleans())
        @cases(8)
        def run(asked: tuple[str, Any], is_wide: bool) -> None:
            path, body = asked
            if is_wide and isinstance(body, dict) and "embedding" in body:
                body["embedding"] = [0.01] * WIDTH
            with tally.case(asked):
                head = {"content-type": "application/json"}
                check_answer(client.post(path, content=json.dumps(body), headers=head), path)

        run()

    tallied("JSON bodies", check)


def test_raw_bodies(client: TestClient) -> None:
    photo = sky()
    mark = b"--x\r\nContent-Disposition: form-data; name="
    form = mark + b'"photo"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n' + photo
    form += b"\r\n" + mark + b'"user"\r\n\r\nana\r\n--x--\r\n'
    seeds = [photo, form, json.dumps(BODIES["/api/v1/suggest"]).encode(), b"user=ana&k=5"]
    kinds = ["image/jpeg", "image/heic", "multipart/form-data; boundary=x", "multipart/form-data"]
    kinds += ["application/json", "application/x-www-form-urlencoded", "text/plain", ""]
    paths = [*BODIES, "/", "/who", "/language", "/mine/lists", "/mine/sets", "/sign-in", "/import"]
    words = (b"\r\n", b"--x", b'filename="../../x"', b"name=", b"filename*=utf-8''%ff", b"\0")

    def check(tally: Tally) -> None:
        @given(damaged(seeds, words), st.sampled_from(kinds), st.sampled_from(paths))
        @cases(5)
        def run(data: bytes, kind: str, path: str) -> None:
            with tally.case((path, kind, data)):
                head = {"content-type": kind}
                answer = client.post(path, content=data, headers=head, follow_redirects=False)
                check_answer(answer, path)

        run()

    tallied("raw bodies", check)


def test_addresses_and_headers(client: TestClient) -> None:
    words = st.one_of(st.sampled_from([o for o in ODD if isinstance(o, str)]), st.text(max_size=9))
    places = st.sampled_from(
        ["/api/v1/users/{}/history", "/api/v1/tags/{}", "/api/v1/trending", "/static/{}/page.css",
         "/static/x/{}", "/import/{}", "/import/{}/events", "/tag/{}", "/complete", "/mine", "/{}",
         "/icon-{}.png", "/rising", "/why", "/photo/{}", "/mine/export", "/sign-in"]
    )  # fmt: skip
    names = st.sampled_from(
        ["user", "at", "k", "tag", "q", "next", "who", "person", "post", "since"]
    )
    header = st.sampled_from(
        ["accept", "accept-language", "authorization", "cookie", "content-length", "content-type",
         "if-none-match", "idempotency-key", "origin", "range", "sec-fetch-site", "x-request-id",
         "x-forwarded-for", "pixtag-part", "referer", "transfer-encoding"]
    )  # fmt: skip
    # What a server hands on of a header: any bytes but controls.
    value = st.one_of(
        st.binary(max_size=40).map(lambda raw: bytes(b for b in raw if b >= 32 and b != 127)),
        st.sampled_from(
            [b"Bearer \xff", b"pixtag_key=\xff; a", b"9" * 400, b"-1", b"null", b"de;q=x"]
        ),
    )

    def check(tally: Tally) -> None:
        @given(
            places,
            words,
            st.dictionaries(names, words, max_size=3),
            st.dictionaries(header, value, max_size=3),
            st.sampled_from(["GET", "HEAD", "DELETE", "PUT", "OPTIONS", "POST"]),
        )
        @cases(8)
        def run(place: str, word: str, query: Any, headers: Any, method: str) -> None:
            path = place.format(quote(word, safe="/.", errors="surrogatepass"))
            asked = urlencode(query, errors="surrogatepass")
            given = {name.encode(): value for name, value in headers.items()}
            with tally.case((method, path, query, headers)):
                answer = client.request(
                    method, f"{path}?{asked}", headers=given, follow_redirects=False
                )
                if method != "HEAD":
                    check_answer(answer, path)
                assert answer.status_code < 500

        run()

    tallied("addresses and headers", check)


def test_files_that_nobody_asked_for_are_closed(client: TestClient) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for path in ("/language", "/who", "/mine/lists"):
            client.post(path, files={"x": ("a.jpg", sky())}, follow_redirects=False)
        gc.collect()
    assert [str(one.message) for one in said if one.category is ResourceWarning] == []


def test_forms_of_the_page(client: TestClient) -> None:
    secret = client.app.state.service.reader.secret
    token = signed(handmade.embedding("sky"), "k1", secret)
    acts = st.sampled_from(
        ["take", "drop", "refuse", "back", "remove", "set", "save", "publish", "why", "again"]
    )
    words = st.one_of(st.sampled_from([o for o in ODD if isinstance(o, str)]), st.text(max_size=9))
    words = words.map(lambda text: text.encode("utf-8", "replace").decode())
    names = st.sampled_from(
        ["k1.order", "k1.served", "k1.caption", "k1.things", "k1.why", "k1.post", "k1.taken",
         "k1.refused", "k1.set", "k1.name", "person", "platform", "list", "add", "remove", "tags",
         "name", "user", "agreed", "back", "language", "key", "photo", "k1.token"]
    )  # fmt: skip
    paths = st.sampled_from(
        ["/", "/", "/who", "/language", "/mine/lists", "/mine/sets", "/mine/forget", "/sign-in"]
    )

    def check(tally: Tally) -> None:
        @given(paths, acts, words, st.dictionaries(names, words, max_size=6))
        @cases(6)
        def run(path: str, act: str, word: str, form: dict[str, str]) -> None:
            form = {"photo": "k1", "k1.token": token, "person": "ana", **form}
            form["do"] = f"{act}:k1:{word}"
            with tally.case((path, form)):
                head = {"accept": "text/html"}
                answer = client.post(path, data=form, headers=head, follow_redirects=False)
                check_answer(answer, path)
                assert "<script>" not in answer.text

        run()

    tallied("forms of the page", check)
