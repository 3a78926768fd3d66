"""The HTTP client against real servers on this machine."""

from __future__ import annotations

import io
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.message import Message
from functools import partial
from http.client import HTTPMessage
from urllib.request import Request

import pytest

from pixtag.errors import InputError, ServerError
from pixtag.integrations import http
from pixtag.integrations.http import TRIES, Client, KeyRefusedError, NotThereError, checked, wait_of
from places import Reply

KEY = "secret-key-4711"


def client(url: str, **options) -> Client:
    return Client(url, headers={"x-api-key": KEY}, name="Photos", **options)


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        (Reply({}, 401), KeyRefusedError, "answers 401 to /a"),
        (Reply({}, 403), KeyRefusedError, "answers 403"),
        (Reply({}, 404), NotThereError, "answers 404"),
        (Reply({}, 400), ServerError, "answers 400"),
        (Reply(b"<html>"), ServerError, "not answer in JSON"),
        (Reply(b"[" * 100_000), ServerError, "not answer in JSON"),
        (Reply(b"x" * (32 * 2**20 + 1)), ServerError, "more than 32 MiB"),
        (Reply({}, 302, (("Location", "http://127.0.0.1:1/"),)), ServerError, "not followed"),
        (Reply({}, 302, (("Location", "https://evil.example/"),)), ServerError, "not followed"),
        (Reply({}, 302, (("Location", "file:///etc/passwd"),)), ServerError, "answers 302"),
    ],
)
def test_errors_are_typed_and_hold_no_key(serve, reply, kind, said):
    server = serve(lambda _: reply)
    with pytest.raises(kind, match=said) as caught:
        client(server.url).json("GET", "/a")
    assert caught.value.hint
    shown = repr(caught.value) + caught.value.message + caught.value.hint
    assert KEY not in shown + repr(caught.value.__cause__)
    assert len(server.asked) == 1
    assert server.asked[0].headers["x-api-key"] == KEY


def test_a_redirect_on_the_same_server_is_followed(serve):
    moved = Reply({}, 302, (("Location", "/there"),))
    server = serve(lambda asked: Reply([1]) if asked.path == "/there" else moved)
    assert client(server.url).json("GET", "/here") == [1]


def test_a_busy_server_is_asked_again(serve):
    busy = [Reply({}, 503, (("Retry-After", "0"),)), Reply({}, 429, (("Retry-After", "0"),))]
    server = serve(lambda _: busy.pop() if busy else Reply({"a": 1}))
    assert client(server.url).json("PUT", "/", {"b": [2]}) == {"a": 1}
    assert [one.body for one in server.asked] == [{"b": [2]}] * 3


def test_a_server_that_stays_busy_or_wants_hours_is_given_up(serve):
    server = serve(lambda _: Reply({}, 503, (("Retry-After", "0"),)))
    with pytest.raises(ServerError, match="answers 503"):
        client(server.url).json("GET", "/")
    assert len(server.asked) == TRIES
    server = serve(lambda _: Reply({}, 429, (("Retry-After", "7200"),)))
    with pytest.raises(ServerError, match="wait for 120 minutes"):
        client(server.url).json("GET", "/")


def test_waiting_is_told_and_follows_the_limits_headers(serve):
    soon = (datetime.now(UTC) + timedelta(seconds=1.7)).isoformat()
    headers = (("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", soon))
    server = serve(lambda _: Reply([], 200, headers))
    told: list[str] = []
    talk = client(server.url, on_wait=lambda seconds, why: told.append(why))
    talk.json("GET", "/")
    assert not told
    talk.json("GET", "/")
    assert told in (["its limit of requests is reached"], [])  # empty when the second was over
    assert datetime.now(UTC).isoformat() >= soon


@pytest.mark.parametrize(
    ("old", "new", "is_followed"),
    [
        ("http://a.example/x", "https://a.example/y", True),
        ("http://a.example/x", "http://a.example/y", True),
        ("https://a.example/x", "http://a.example/x", False),
        ("http://a.example/x", "http://a.example.evil/x", False),
        ("http://127.0.0.1:80/x", "http://127.0.0.1:22/x", False),
        ("https://a.example/x", "https://a.example:8443/x", False),
    ],
)
def test_redirects_stay_on_the_server(old, new, is_followed):
    follows = partial(
        http._SameHost().redirect_request, Request(old), io.BytesIO(), 302, "", HTTPMessage(), new
    )
    if is_followed:
        assert follows().full_url == new
    else:
        with pytest.raises(ServerError, match="not followed"):
            follows()


def test_who_drips_is_not_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"

        def drip():
            asked, _ = listening.accept()
            with asked, suppress(OSError):
                asked.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while True:
                    asked.sendall(b" ")
                    time.sleep(0.02)

        thread = threading.Thread(target=drip)
        thread.start()
        with pytest.raises(ServerError, match="takes too long"):
            client(url, timeout_s=0.1, tries=1).json("GET", "/")
        thread.join(30)
        assert not thread.is_alive()


def test_a_silent_or_absent_server_is_said():
    with socket.socket() as quiet:
        quiet.bind(("127.0.0.1", 0))
        quiet.listen()
        url = f"http://127.0.0.1:{quiet.getsockname()[1]}"
        with pytest.raises(ServerError, match="takes too long"):
            client(url, timeout_s=0.05, pause_s=0.01).json("GET", "/")
    with pytest.raises(ServerError, match="does not answer: Connection refused"):
        client(url).json("GET", "/")


def test_an_answer_that_breaks_off_is_asked_again(serve):
    cut = [Reply(b"[1]", 200, (("Content-Length", "100"),))]
    server = serve(lambda _: cut.pop() if cut else Reply([1]))
    assert client(server.url).json("GET", "/") == [1]
    assert len(server.asked) == 2


def test_photos_from_elsewhere_get_no_key(serve):
    server = serve(lambda _: Reply(b"photo"))
    assert client(server.url).photo_at(f"{server.url}/a.jpg") == b"photo"
    assert "x-api-key" not in server.asked[0].headers
    for url in (
        "http://127.0.0.1:9/a",
        "http://host.example/a",
        "https://192.168.1.1/a",
        "file:///a",
    ):
        with pytest.raises(ServerError, match="says that a photo lies"):
            client(server.url).photo_at(url)


@pytest.mark.parametrize(
    ("url", "made"),
    [
        ("photos.example", "https://photos.example"),
        ("http://192.168.1.2:2283", "http://192.168.1.2:2283"),
        ("http://nas.local/", "http://nas.local/"),
        ("http://nas:2283", "http://nas:2283"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_addresses(url, made):
    assert checked(url) == made


@pytest.mark.parametrize(
    "url",
    ["http://photos.example", "ftp://a", "https://", "https://u:p@a", "http://8.8.8.8", "https://a:x",
     "https://a?b=c", "http://a b", "http://a\n.local"],
)  # fmt: skip
def test_addresses_that_are_refused(url):
    with pytest.raises(InputError) as caught:
        checked(url)
    assert caught.value.hint
    assert "u:p" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "text", "least", "most"),
    [
        ("Retry-After", "7", 7, 7),
        ("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("X-RateLimit-Reset", "1700000000", 0, 0),
        ("X-RateLimit-Reset", "2999-01-01T00:00:00.000Z", 1e9, 1e11),
    ],
)
def test_how_long_a_server_asks_to_wait(name, text, least, most):
    headers = Message()
    headers[name] = text
    found = wait_of(headers)
    assert found is not None
    assert least <= found <= most
    headers.replace_header(name, "soon")
    assert wait_of(headers) is None
