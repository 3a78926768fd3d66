"""Counts from files and servers into a store: what is read, and that nothing comes half."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from functools import partial

import pytest

from pixtag.errors import ArchiveError, InputError, ServerError, StoreError
from pixtag.integrations import trends
from pixtag.integrations.trends import MOST_BYTES, address_of, fetch_trends, follow, import_trends
from pixtag.store import Store
from pixtag.store.outside import (
    note_fetch,
    outside_counts,
    outside_revision,
    outside_sources,
    put_outside,
)
from pixtag.types import OutsideCount, Post
from trend_server import PATH, STEADY, listed, pages_of, reply, serving

DAY_S = 86_400
NOW = 1_780_000_000.0
DAY = int(NOW // DAY_S)


@pytest.fixture
def store():
    with Store.in_memory() as store:
        yield store


def held(store: Store) -> dict[tuple[str, int, str], tuple[int, int]]:
    return {(c.source, c.day, c.tag): (c.uses, c.accounts) for c in outside_counts(store)[1]}


# ------------------------------------------------------------------ the store


def test_the_same_source_day_and_tag_is_replaced(store):
    one = OutsideCount("a", "sky", DAY, 10, 5, NOW)
    assert put_outside(store, [one, OutsideCount("b", "sky", DAY, 3, 3, NOW)]) == 2
    before = outside_revision(store)
    put_outside(store, [OutsideCount("a", "sky", DAY, 20, 9, NOW + 1)])
    assert outside_revision(store) > before
    assert held(store) == {("a", DAY, "sky"): (20, 9), ("b", DAY, "sky"): (3, 3)}


@pytest.mark.parametrize(
    "bad",
    [
        OutsideCount("a", "Sky", DAY, 1, 1, NOW),
        OutsideCount("a", "<script>", DAY, 1, 1, NOW),
        OutsideCount("a", "sky", DAY, -1, -1, NOW),
        OutsideCount("a", "sky", DAY, 1, 2, NOW),
        OutsideCount("a", "sky", DAY + 2, 1, 1, NOW),
        OutsideCount("a", "sky", 1, 1, 1, NOW),
        OutsideCount("a", "sky", DAY, 10**15, 1, NOW),
        OutsideCount("", "sky", DAY, 1, 1, NOW),
        OutsideCount("a\ud800", "sky", DAY, 1, 1, NOW),
    ],
)
def test_what_cannot_be_a_count_is_refused_and_nothing_is_kept(store, bad):
    with pytest.raises(InputError) as error:
        put_outside(store, [OutsideCount("a", "good", DAY, 1, 1, NOW), bad])
    assert error.value.hint
    assert held(store) == {}
    assert outside_revision(store) == 0


def test_forgetting_a_person_leaves_counts_alone(store):
    store.add_posts([Post("1", "ana", NOW, ("sky",))])
    put_outside(store, [OutsideCount("a", "sky", DAY, 10, 5, NOW)])
    before = outside_revision(store)
    store.forget("ana")
    assert held(store) == {("a", DAY, "sky"): (10, 5)}
    assert outside_revision(store) == before


def test_a_source_tells_how_its_last_fetch_went(store):
    put_outside(store, [OutsideCount("a", "sky", DAY - i, 1, 1, NOW) for i in range(3)])
    note_fetch(store, "b", at=NOW)
    note_fetch(store, "b", at=NOW + 60, problem="gone")
    a, b = outside_sources(store)
    assert (a.n_tags, a.n_counts, a.first_day, a.last_day, a.tried_at) == (1, 3, DAY - 2, DAY, None)
    assert (b.n_counts, b.tried_at, b.fetched_at, b.problem) == (0, NOW + 60, NOW, "gone")
    note_fetch(store, "b", at=NOW + 120)
    assert outside_sources(store)[1].problem == ""


# ------------------------------------------------------------------ files

CSV = """tag,time,count,accounts
#Sunset,2026-05-01,12,9
sunset,2026-05-01T18:30+02:00,3,2
sky,1777593600,5,
"""
EXPECTED = {("tags", 20_574, "sunset"): (15, 11), ("tags", 20_574, "sky"): (5, 5)}


@pytest.mark.parametrize("form", ["csv", "csv.gz", "jsonl", "jsonl.gz", "semicolons.csv"])
def test_files_of_every_form_say_the_same(store, tmp_path, form):
    lines = CSV.splitlines()
    text = CSV
    if form.startswith("json"):
        rows = (dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:])
        text = "\n".join(json.dumps(row) for row in rows)
    elif form.startswith("semi"):
        text = "\ufeff" + CSV.replace(",", ";").replace("time;count", "Date;uses")
    data = text.encode()
    path = tmp_path / f"tags.{form}"
    path.write_bytes(gzip.compress(data) if form.endswith("gz") else data)
    report = import_trends(store, path, now=NOW)
    assert held(store) == EXPECTED
    assert (report.source, report.n_tags, report.n_counts) == ("tags", 2, 2)
    assert not report.problems
    import_trends(store, path, now=NOW)  # again: replaced, not added
    assert held(store) == EXPECTED


def test_lines_that_cannot_be_are_told_and_left_out(store, tmp_path):
    path = tmp_path / "tags.csv"
    bad = ["<script>alert(1)</script>,2026-05-01,4", "12345,2026-05-01,4", "sky,soon,4"]
    bad += ["sky,2026-05-01,-4", "sky,2026-05-01,4.5", "sky,2096-05-01,4", "sky,2026-05-01,1e400"]
    bad += ["x" * 5000 + ",2026-05-01,4", "sky", '"sky,2026-05-01,4', "sky,2026-05-01,nan"]
    path.write_text("\n".join(["tag,time,count", *bad, "good,2026-05-01,4"]))
    report = import_trends(store, path, source="campus", now=NOW)
    tags = {tag for _, _, tag in held(store)}
    assert "good" in tags
    assert "sky" not in tags
    assert not any("<" in tag for tag in tags)
    assert sum(report.problems.values()) >= len(bad) - 2
    assert {c.source for c in outside_counts(store)[1]} == {"campus"}


@pytest.mark.parametrize(
    "text",
    ["", "tag,time\nsky,2026-05-01\n", "tag,time,count\nsky,soon,4\n", "{}\n", "[1]\n", "\0\1"],
)
def test_a_file_without_counts_is_an_error_with_a_hint(store, tmp_path, text):
    path = tmp_path / "tags.csv"
    path.write_text(text)
    with pytest.raises(ArchiveError) as error:
        import_trends(store, path, now=NOW)
    assert error.value.hint
    assert held(store) == {}
    with pytest.raises(ArchiveError):
        import_trends(store, tmp_path / "none.csv")


def test_an_error_names_its_file_once(store, tmp_path):
    path = tmp_path / "tags.csv.gz"
    text = "tag,time,count\n" + "".join(f"sky,soon,{n}\n" for n in range(5000))
    path.write_bytes(gzip.compress(text.encode())[:-2000])
    with pytest.raises(ArchiveError) as error:
        import_trends(store, path, now=NOW)
    assert error.value.message.count(str(path)) == 1
    assert "damaged or ends early (after line " in error.value.message


# ------------------------------------------------------------------ servers


def test_every_page_of_a_server_is_read(store):
    tags = [listed(f"Tag{i}x", STEADY, now=NOW) for i in range(45)]
    with serving(pages_of(tags)) as url:
        report = fetch_trends(store, url, now=NOW)
    source = url.removeprefix("http://")
    assert (report.source, report.n_tags, report.n_counts) == (source, 45, 45 * 7)
    assert held(store)[source, DAY, "tag44x"] == (120, 60)
    (summary,) = outside_sources(store)
    assert (summary.tried_at, summary.fetched_at, summary.problem) == (NOW, NOW, "")


def test_a_server_that_knows_no_pages_is_asked_twice_at_most(store):
    asked = []
    tags = [listed(f"tag{i}x", now=NOW) for i in range(20)]

    def answer(to):
        asked.append(to.path)
        reply(to, json.dumps(tags).encode())

    with serving(answer) as url:
        assert fetch_trends(store, url + PATH, now=NOW).n_tags == 20
    assert len(asked) == 2


def test_what_is_hostile_in_a_list_is_left_out(store):
    odd = [
        None, 7, "sky", [], {}, {"name": "sky"}, {"name": "sky", "history": "no"},
        {"name": "<b>", "history": [{"day": str(DAY * DAY_S), "uses": "4", "accounts": "4"}]},
        {"name": "negative", "history": [{"day": str(DAY * DAY_S), "uses": "-4", "accounts": "9"}]},
        {"name": "later", "history": [{"day": "9" * 400, "uses": "4", "accounts": "4"}]},
        {"name": "huge", "history": [{"day": str(DAY * DAY_S), "uses": "1" * 400}]},
        {"name": "typed", "history": [{"day": {}, "uses": [], "accounts": {}}, 5, None]},
        {"name": "quiet", "history": [{"day": str(DAY * DAY_S), "uses": "50"}]},
        listed("good", now=NOW), listed("good", now=NOW),
    ]  # fmt: skip
    with serving(pages_of(odd)) as url:
        report = fetch_trends(store, url, now=NOW)
    found = {tag: counts for (_, day, tag), counts in held(store).items() if day == DAY}
    # Where a server doesn't tell accounts, nobody counts for sure; what comes twice counts once.
    assert {t: c for t, c in found.items() if t != "b"} == {"good": (1024, 512), "quiet": (50, 0)}
    assert report.problems


def huge(to):
    to.send_response(200)
    to.end_headers()
    for _ in range(3 * MOST_BYTES // 2**16):
        to.wfile.write(b" " * 2**16)


def cut(to):
    to.send_response(200)
    to.send_header("Content-Length", "5000")
    to.end_headers()
    to.wfile.write(b'[{"name": "sky", "hist')


def no_http(to):
    to.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


def loop(to):
    reply(to, b"", status=302, location=f"http://{to.headers['Host']}/round?{time.monotonic_ns()}")


BAD = {
    "html": (lambda to: reply(to, b"<!DOCTYPE html><title>Hi</title>"), "not answer in JSON"),
    "object": (lambda to: reply(to, b'{"error": "no"}'), "no list"),
    "no history": (lambda to: reply(to, b'[{"name": "sky", "history": []}]'), "history of days"),
    "deep": (lambda to: reply(to, b"[" * 100_000), "not answer in JSON"),
    "too long": (huge, "more than 1 MiB"),
    "cut off": (cut, "does not answer"),
    "no HTTP": (no_http, "does not answer"),
    "members only": (lambda to: reply(to, b"no", status=401), "answers 401"),
    "loop": (loop, "answers 302"),
    "elsewhere": (
        lambda to: reply(to, b"", status=302, location="http://localhost:1/api"),
        "not followed",
    ),
    "a file": (lambda to: reply(to, b"", status=302, location="file:///etc/passwd"), "answers 302"),
}


@pytest.mark.parametrize("case", BAD)
def test_an_odd_answer_is_told_and_what_was_known_stays(store, case):
    answer, said = BAD[case]
    with serving(answer) as url:
        source = url.removeprefix("http://")
        put_outside(store, [OutsideCount(source, "sky", DAY, 10, 5, NOW - DAY_S)])
        before = outside_counts(store)
        with pytest.raises(ServerError, match=said) as error:
            fetch_trends(store, url, now=NOW)
    assert error.value.hint
    assert outside_counts(store) == before
    (summary,) = outside_sources(store)
    assert summary.problem == error.value.message[:500]
    assert (summary.tried_at, summary.fetched_at) == (NOW, None)


def test_a_page_that_fails_after_a_good_one_keeps_nothing(store):
    tags = [listed(f"tag{i}x", now=NOW) for i in range(20)]

    def answer(to):
        is_first = "offset=0" in to.path
        reply(
            to, json.dumps(tags).encode() if is_first else b"oops", status=200 if is_first else 500
        )

    with serving(answer) as url, pytest.raises(ServerError):
        fetch_trends(store, url, now=NOW)
    assert held(store) == {}


def test_who_says_nothing_is_not_waited_for(store, monkeypatch):
    monkeypatch.setattr(trends, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(ServerError, match="takes too long"):
            fetch_trends(store, f"http://127.0.0.1:{port}", now=NOW)


@pytest.mark.parametrize(
    ("given", "address", "source"),
    [
        ("mastodon.example", f"https://mastodon.example{PATH}", "mastodon.example"),
        ("https://Pixel.example/", f"https://pixel.example{PATH}", "pixel.example"),
        (f"http://[::1]:8080{PATH}", f"http://[::1]:8080{PATH}", "::1:8080"),
        ("https://example.org/social", f"https://example.org/social{PATH}", "example.org"),
    ],
)
def test_a_server_may_be_named_in_several_ways(given, address, source):
    assert address_of(given) == (address, source)


@pytest.mark.parametrize(
    "given", ["file:///etc/passwd", "ftp://a.example", "", "https://", "http://a b", "http://a:x",
              "https://ana:secret@a.example", "https://a.example:99999", "http://a\n.example"],
)  # fmt: skip
def test_other_addresses_are_refused(store, given):
    with pytest.raises(InputError) as error:
        fetch_trends(store, given)
    assert "secret" not in error.value.message
    assert outside_sources(store) == []


def test_following_asks_again_after_a_failure_until_it_is_stopped(store):
    stop, answers, told = threading.Event(), [], []

    def answer(to):
        answers.append(to.path)
        if len(answers) == 1:
            reply(to, b"busy", status=503)
            return
        reply(to, json.dumps([listed("sky")]).encode())
        stop.set()

    with serving(answer) as url:
        urls, tell = [url], partial(lambda into, *what: into.append(what), told)
        thread = threading.Thread(
            target=follow, args=(store, urls, 0.01, stop), kwargs={"on_error": tell}
        )
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
    assert [url for url, _ in told] == [url]
    assert isinstance(told[0][1], ServerError)
    assert {tag for _, _, tag in held(store)} == {"sky"}


def test_a_store_for_reading_takes_nothing(tmp_path):
    Store.open(tmp_path / "a.sqlite", create=True).close()
    with (
        Store.open(tmp_path / "a.sqlite", read_only=True) as store,
        serving(pages_of([listed("sky")])) as url,
        pytest.raises(StoreError),
    ):
        fetch_trends(store, url)
