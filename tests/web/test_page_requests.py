"""What the page answers to plain requests, as browsers without scripts send them."""

from __future__ import annotations

import hashlib
import html
import io
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from starlette.exceptions import HTTPException

import handmade
from pixtag.signals.calendar import calendar
from pixtag.store import Store
from pixtag.store.keys import add_key
from pixtag.store.sets import saved_sets
from pixtag.store.usage import Kept, kept
from pixtag.types import Photo, Post
from pixtag.web import charts, forms, import_page
from pixtag.web.frame import PERSON
from pixtag.web.guard import COOKIE, Rules
from pixtag.web.service import Service
from web.page_server import serving

WEB = Path(charts.__file__).parent
HOSTILE = (
    "<script>alert(1)</script>",
    "\u202egnp.exe",
    "é" * 5000,
    '"><img src=x onerror=alert(1)>',
)
NOW = 1_790_000_000.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("store")
    store = Store.open(folder / "my.sqlite", create=True)
    with store, Service(store, handmade.bundle()) as found:
        yield found


@pytest.fixture(scope="module")
def address(service: Service):
    with serving(service) as found:
        yield found


@pytest.fixture
def client(address: str):
    with httpx2.Client(base_url=address, follow_redirects=True) as one:
        yield one


BEYOND = Rules(needs_key=True)


def with_key(place: str, key: str) -> httpx2.Client:
    return httpx2.Client(base_url=place, cookies={COOKIE: key})


def beside(service: Service) -> Service:
    """Another service of the same store, which the end of its server closes."""
    return Service(service.store, handmade.bundle())


def picture(look: str = "stripes", seed: int = 0) -> bytes:
    out = io.BytesIO()
    handmade.picture(look, seed).save(out, "JPEG")
    return out.getvalue()


def fields_of(page: str) -> dict[str, list[str]]:
    """What a browser without scripts would send back."""
    found: dict[str, list[str]] = {}
    for one in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page):
        found.setdefault(one[0], []).append(html.unescape(one[1]))
    found.pop("back", None)
    return found


def tags_shown(page: str) -> list[str]:
    return re.findall(r'value="(?:take|drop):[^":]+:([^"]+)" aria-pressed', page)


def send(client, page: str, do: str, **more: str):
    return client.post("/", data={**fields_of(page), "do": do, **more}).text


def test_from_upload_to_copy_without_scripts(client, service: Service) -> None:
    files = {"photos": ("zebra.jpg", picture(), "image/jpeg")}
    page = client.post("/", files=files, data={"person": "uma"}).text
    tags, key = tags_shown(page), fields_of(page)["photo"][0]
    assert tags[0] in handmade.LOOKS["stripes"]
    page = send(client, page, f"take:{key}:{tags[0]}", person="uma")
    assert tags_shown(page)[0] == tags[0]
    page = send(client, page, f"refuse:{key}:{tags_shown(page)[1]}", person="uma")
    assert tags[1] not in tags_shown(page)
    page = send(client, page, f"again:{key}", person="uma", **{f"{key}.caption": "at the #Zoo"})
    assert f">#{tags[0]} #zoo</textarea>" in page
    assert f">#{tags[0].capitalize()} #Zoo</textarea>" in page
    page = send(client, page, f"publish:{key}", person="uma", **{f"{key}.caption": "at the #Zoo"})
    page = send(client, page, f"publish:{key}", person="uma", **{f"{key}.caption": "at the #Zoo"})
    (post,) = service.store.posts(user_id="uma")
    assert post.tags == (tags[0], "zoo")
    assert kept(service.store, "uma") == Kept(accepted=1, refused=1, added=1)


@pytest.mark.parametrize("is_ranked_again", [True, False])  # by a script, when a name is typed
def test_what_was_judged_before_the_name_was_typed_is_the_persons_too(
    client, service: Service, is_ranked_again: bool
) -> None:
    person = f"ada{is_ranked_again}"
    files = {"photos": ("zebra.jpg", picture(), "image/jpeg")}
    page = client.post("/", files=files, data={"person": ""}).text
    tags, key = tags_shown(page), fields_of(page)["photo"][0]
    page = send(client, page, f"take:{key}:{tags[0]}", person="")
    page = send(client, page, f"refuse:{key}:{tags[1]}", person="")
    if is_ranked_again:
        page = send(client, page, "again", person=person)
        page = send(client, page, f"take:{key}:{tags[2]}", person=person)
    send(client, page, f"publish:{key}", person=person)
    assert kept(service.store, person) == Kept(accepted=1 + is_ranked_again, refused=1)


def test_a_photo_that_is_none_says_so_beside_the_others(client) -> None:
    files = [
        ("photos", ("a.jpg", picture(), "image/jpeg")),
        ("photos", ("b.jpg", b"GIF89a", "image/gif")),
        ("photos", ("c.txt", b"hello", "text/plain")),
        ("photos", ("", b"", "application/octet-stream")),
    ]
    page = client.post("/", files=files, headers={"Accept-Language": "de"}).text
    assert page.count("<article") == 3
    n_wrong = page.count("Das ist kein Foto.")
    assert n_wrong
    assert len(tags_shown(page)) == 5
    # A tap on another photo's chip leaves it at that.
    key = fields_of(page)["photo"][0]
    data = {**fields_of(page), "do": f"take:{key}:{tags_shown(page)[0]}"}
    page = client.post("/", data=data, headers={"Accept-Language": "de"}).text
    assert page.count('role="alert"') == 2
    assert page.count("Das ist kein Foto.") == n_wrong
    assert "zehn Minuten" not in page


def test_what_was_tampered_with_is_not_looked_at(client) -> None:
    page = client.post("/", files={"photos": ("a.jpg", picture(), "image/jpeg")}).text
    fields = fields_of(page)
    key = fields["photo"][0]
    token = fields[f"{key}.token"][0]
    fields[f"{key}.token"] = ["A" * len(token)]
    answer = client.post("/", data=fields)
    assert answer.status_code == 200
    assert tags_shown(answer.text) == []
    assert "ten minutes" in answer.text


def test_what_was_chosen_is_still_there_when_a_photo_is_too_old(client, monkeypatch) -> None:
    page = client.post("/", files={"photos": ("a.jpg", picture(), "image/jpeg")}).text
    key, tags = fields_of(page)["photo"][0], tags_shown(page)
    page = send(client, page, f"take:{key}:{tags[1]}")
    page = send(client, page, f"refuse:{key}:{tags[0]}")
    monkeypatch.setattr(forms, "LIFE_S", -1.0)
    more = {f"{key}.caption": "at the #zoo"}
    page = send(client, page, f"again:{key}", **more)
    assert "ten minutes" in page
    assert tags_shown(page) == [tags[1]]
    assert f">#{tags[1]} #zoo</textarea>" in page
    assert f"back:{key}:{tags[0]}" in page
    page = send(client, page, f"drop:{key}:{tags[1]}", **more)
    assert ">#zoo</textarea>" in page
    files = {f"{key}.file": ("a.jpg", picture(), "image/jpeg")}  # as the script sends it again
    data = {**fields_of(page), "do": f"take:{key}:{tags[1]}", **more}
    page = client.post("/", data=data, files=files).text
    assert "ten minutes" not in page
    assert len(tags_shown(page)) > 1
    assert f">#{tags[1]} #zoo</textarea>" in page


def test_a_photo_whose_file_comes_again_is_published_once_with_it(
    client, service, monkeypatch
) -> None:
    page = client.post("/", files={"photos": ("a.jpg", picture(), "image/jpeg")}).text
    key, tags = fields_of(page)["photo"][0], tags_shown(page)
    page = send(client, page, f"take:{key}:{tags[0]}")
    n_before = service.reader.summary().n_posts
    monkeypatch.setattr(forms, "LIFE_S", -1.0)
    data = {**fields_of(page), "do": f"publish:{key}", "person": "ana", "again": key}
    page = client.post("/", data=data).text
    assert "data-expired" in page
    assert service.reader.summary().n_posts == n_before, "its file was not there yet"
    files = {f"{key}.file": ("a.jpg", picture(), "image/jpeg")}
    client.post("/", data=data, files=files)
    assert service.reader.summary().n_posts == n_before + 1


def test_a_tag_that_is_reported_as_hidden_is_told_in_the_pages_language(
    client, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "pixtag").mkdir()
    own = '[zoo]\nplatforms = ["instagram"]\nsource = "my notes"\nnote = "since May"\n'
    (tmp_path / "pixtag" / "restricted_tags.toml").write_text(own)
    client.headers["accept-language"] = "de"
    page = client.post("/", files={"photos": ("a.jpg", picture(), "image/jpeg")}).text
    key = fields_of(page)["photo"][0]
    for platform, is_told in (("", True), ("instagram", True), ("threads", False)):
        more = {f"{key}.caption": "#zoo", "platform": platform}
        told = "#zoo gilt als verborgen oder eingeschränkt auf instagram (my notes): since May"
        assert (told in send(client, page, f"again:{key}", **more)) == is_told


def test_photos_never_touch_the_disk(client, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError):
        (tmp_path / "none" / "x").open("wb")
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (1200, 1200, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "PNG")  # 4 MB, beyond what the parser holds by default
    page = client.post("/", files={"photos": ("big.png", out.getvalue(), "image/png")})
    assert page.status_code == 200
    assert tags_shown(page.text)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_and_tags_are_text(client, service: Service, name: str) -> None:
    person = name[:150]
    tag = "".join(c for c in name if c.isalpha())[:90]
    service.store.add_posts([Post(f"h{name[:20]}", person, NOW, (tag, "sun"))] * 1)
    client.post("/who", data={"person": person})
    client.post("/mine/sets", data={"name": name[:60], "tags": "sun"})
    files = {"photos": (name[:300], picture(), "image/jpeg")}
    page = client.post("/", files=files, data={"person": person}).text
    key = fields_of(page)["photo"][0]
    page += send(client, page, f"take:{key}:{name}", person=person, **{f"{key}.caption": name})
    for path in ("/mine", f"/tag/{name[:200]}", f"/tag/{tag}", "/rising", "/import", "/sign-in"):
        page += client.get(path, params={"next": name[:500]} if path == "/sign-in" else {}).text
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    bare = re.sub(
        r"<bdi.*?</bdi>|<textarea.*?</textarea>|<title>.*?</title>", "", page, flags=re.DOTALL
    )
    for shown in re.findall(r">([^<]*\u202e[^<]*)<", bare):
        raise AssertionError(f"turns what follows around: {shown!r}")


def test_where_nothing_rises_stands_what_is_usual_at_this_time_of_the_year() -> None:
    alone = Service(Store.in_memory(), handmade.bundle())
    with serving(alone) as place, httpx2.Client(base_url=place) as client:
        page = client.get("/rising").text
    assert "Usual at this time of the year" in page
    named = re.findall(r"<bdi>#(.*?)</bdi>", page)
    assert named == [one.tag for one in calendar().usual(time.time(), k=20)]


def test_pages_say_what_a_browser_may_do(client) -> None:
    answer = client.get("/")
    assert answer.headers["content-security-policy"].startswith(
        "default-src 'self'; img-src 'self' blob:"
    )
    for name, value in (("x-content-type-options", "nosniff"), ("cache-control", "no-store")):
        assert answer.headers[name] == value
    assert "<script>" not in answer.text
    for place in re.findall(r'(?:src|href)="(/static/[^"]+)"', answer.text):
        file = client.get(place)
        assert file.status_code == 200
        assert "immutable" in file.headers["cache-control"]
    assert client.get("/static/x/../page.py").status_code == 404
    assert client.get("/nothing").status_code == 404
    assert sum(len((WEB / "static" / name).read_bytes()) for name in _scripts()) <= 30 * 1024


def _scripts() -> list[str]:
    return [path.name for path in (WEB / "static").glob("*.js")]


def test_head_is_get_without_its_body(client) -> None:
    for path in ("/", "/api/v1/healthz", "/healthz", "/readyz", "/api/v1/trending", "/nothing"):
        whole, head = client.get(path), client.head(path)
        assert head.status_code == whole.status_code
        assert head.content == b""
        for name in ("content-type", "content-security-policy", "content-length"):
            assert head.headers[name] == whole.headers[name], path
    assert client.head("/api/v1/suggest").status_code == 405


def test_it_can_be_installed_and_shared_to(client) -> None:
    held = client.get("/manifest.webmanifest").json()
    target = held["share_target"]
    assert (target["method"], target["action"]) == ("POST", "/")
    field = target["params"]["files"][0]["name"]
    page = client.post(target["action"], files={field: ("s.jpg", picture(), "image/jpeg")}).text
    assert tags_shown(page)
    for icon in held["icons"]:
        assert client.get(icon["src"]).status_code == 200


def test_lists_sets_export_and_forget(client, service: Service) -> None:
    client.post("/who", data={"person": "lea"})
    service.store.add_posts([Post("lea-1", "lea", NOW, ("sun",))])
    client.post("/mine/lists", data={"list": "deny", "tags": "#zebra, forest"})
    client.post("/mine/lists", data={"list": "deny", "remove": "forest"})
    assert service.store.lists("lea").deny == ("zebra",)
    assert client.post("/mine/lists", data={"list": "other", "tags": "a"}).status_code == 400
    page = client.post("/", files={"photos": ("a.jpg", picture(), "image/jpeg")}).text
    assert "zebra" not in tags_shown(page)
    client.post("/mine/sets", data={"name": "sea", "tags": "#sun #sea"})
    key = fields_of(page)["photo"][0]
    page = send(client, page, f"set:{key}:sea", person="lea")
    assert ">#sun #sea</textarea>" in page
    lines = client.get("/mine/export").text.splitlines()
    assert [json.loads(line)["post_id"] for line in lines] == ["lea-1"]
    assert client.post("/mine/forget", data={"agreed": ""}).status_code == 400
    assert PERSON in client.cookies
    assert "lea" in client.post("/mine/forget", data={"agreed": "yes"}).text
    assert list(service.store.posts(user_id="lea")) == []
    assert saved_sets(service.store, "lea") == []
    assert PERSON not in client.cookies, "the browser forgot the name too"


def test_an_archive_is_read_and_gone(client, service: Service, tmp_path: Path) -> None:
    lines = [
        {"post_id": f"i{i}", "user_id": "kim", "posted_at": "2026-05-01", "tags": ["boat"]}
        for i in range(2)
    ]
    lines.append({"post_id": "i2", "user_id": "kim", "posted_at": "<May>", "tags": ["boat"]})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    answer = client.post("/import", files={"archive": ("posts.jsonl", text, "text/plain")})
    with client.stream("GET", f"{answer.url.path}/events") as events:
        told = [json.loads(line[5:]) for line in events.iter_lines() if line.startswith("data:")]
    assert told[-1]["over"]
    assert "3" in told[-1]["line"]
    assert len(list(service.store.posts(user_id="kim"))) == 3
    page = client.get(answer.url.path).text
    assert "Without a time, and so in no history: 1 of 3." in page
    assert "unreadable time: 1 (such as posts.jsonl:3: " in page
    assert "&lt;May&gt;" in page
    bad = client.post("/import", files={"archive": ("x.zip", b"PK\3\4no", "application/zip")})
    for _ in range(100):
        page = client.get(bad.url.path).text
        if "x.zip" in page and "data-events" not in page:
            break
        time.sleep(0.05)
    assert "could not be imported" in page
    page = client.get(bad.url.path, headers={"accept-language": "de"}).text
    assert "Die Datei ist beschädigt" in page
    assert re.search('<p class="fine" lang="en"><bdi>[^<]*x.zip', page)
    assert client.post("/import", files={"archive": ("x.exe", b"MZ", "x/y")}).status_code == 400
    assert client.post("/import", files={"archive": ("", b"", "x/y")}).status_code == 400
    assert list(service.store.path.parent.glob("*.upload-*")) == []
    assert client.get("/import/nothing").status_code == 404


def test_a_photo_of_a_post_is_small_and_read_from_the_store_alone(
    client, service: Service, tmp_path: Path
) -> None:
    path = handmade.photo(tmp_path / "own.jpg", "sky")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    service.store.add_posts([Post("pic/1", "ana", NOW, ("sky",), (Photo(str(path), digest),))])
    answer = client.get("/photo", params={"post": "pic/1"})
    assert answer.headers["content-type"] == "image/jpeg"
    assert len(answer.content) < 60_000
    for other in (str(path), "../my.sqlite", "/etc/passwd", ""):
        assert client.get("/photo", params={"post": other}).status_code == 404
    path.unlink()
    assert client.get("/photo", params={"post": "pic/1"}).status_code == 404


def test_a_key_for_one_person_shows_that_person_alone(service: Service, tmp_path: Path) -> None:
    path = handmade.photo(tmp_path / "eve.jpg", "sky")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    secret = Post("eve-1", "eve", NOW, ("evesecret",), (Photo(str(path), digest),))
    service.store.add_posts([secret, Post("dan-1", "dan", NOW, ("dansown",))])

    key = add_key(service.store, "dan's", user="dan")
    with serving(beside(service), BEYOND) as place, with_key(place, key) as client:
        client.cookies.set("pixtag_person", "eve")
        data = {"person": "eve"}
        page = client.post(
            "/", files={"photos": ("a.jpg", picture(), "image/jpeg")}, data=data
        ).text
        for path_ in ("/", "/mine", "/tag/evesecret", "/mine/export", "/rising"):
            page += client.get(path_).text
        page += client.get("/complete", params={"q": "eves", "person": "eve"}).text
        assert "dansown" in page
        assert ">eve<" not in page
        assert '"eve"' not in page
        assert "#evesecret" not in page.replace("<bdi>#evesecret</bdi></h1>", "").replace(
            "<title>#evesecret", ""
        )
        assert client.get("/photo", params={"post": "eve-1"}).status_code == 404
        key = fields_of(page)["photo"][0]
        client.post("/", data={**fields_of(page), "person": "eve", "do": f"publish:{key}"})
        client.post("/mine/sets", data={"name": "s", "tags": "a"})
        client.post("/who", data={"person": "eve"})
        assert "evesecret" not in client.get("/mine").text
        client.cookies.set("pixtag_person", "eve")
        gone = client.post("/mine/forget", data={"agreed": "yes", "person": "eve"})
        assert "dan" in gone.text
    assert list(service.store.posts(user_id="dan")) == []
    assert len(list(service.store.posts(user_id="eve"))) == 1
    assert saved_sets(service.store, "eve") == []


def finished(client, place: str) -> str:
    """The page of an import that is over."""
    for _ in range(200):
        page = client.get(place).text
        if "data-events" not in page:
            return page
        time.sleep(0.05)
    raise AssertionError(page)


def test_a_key_for_one_person_imports_for_that_person_alone(
    service: Service, tmp_path: Path
) -> None:
    path = handmade.photo(tmp_path / "secret.jpg", "sky")
    service.store.add_posts([Post("pia-1", "pia", NOW, ("hers",))])
    lines = [
        {"post_id": "pia-1", "user_id": "pia", "tags": ["taken"], "image": str(path)},
        {"post_id": "new", "user_id": "pia", "tags": ["boat"], "image": path.name},
        {"post_id": "other", "tags": ["boat"]},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    keys = [add_key(service.store, f"{name}'s key", user=name) for name in ("tom", "pia")]
    with (
        serving(beside(service), BEYOND) as place,
        with_key(place, keys[0]) as tom,
        with_key(place, keys[1]) as pia,
    ):
        form = tom.get("/import").text
        assert 'href="/import"' in form
        assert 'name="user"' not in form
        files = {"archive": ("posts.jsonl", text, "text/plain")}
        for _ in range(2):  # a second time it is the same posts
            job = tom.post("/import", files=files, data={"user": "pia"}).headers["location"]
            assert "tom" in finished(tom, job)
        assert pia.get(job).status_code == 404
        assert pia.get(f"{job}/events").status_code == 404
        assert pia.post(f"{job}/stop", data={"x": "y"}).status_code == 404
        assert tom.post(f"{job}/stop", data={"x": "y"}).status_code == 303
    (hers,) = service.store.posts(user_id="pia")
    assert (hers.post_id, hers.tags) == ("pia-1", ("hers",))
    mine = list(service.store.posts(user_id="tom"))
    assert sorted(post.tags for post in mine) == [("boat",), ("boat",), ("taken",)]
    assert [post.photos for post in mine] == [()] * 3


def test_a_key_for_one_person_imports_one_archive_at_a_time(service: Service, monkeypatch) -> None:
    key = add_key(service.store, "one at a time", user="tom")
    go_on, real = threading.Event(), import_page.import_posts

    def waiting(*args: Any, **options: Any) -> Any:
        assert go_on.wait(60)
        return real(*args, **options)

    monkeypatch.setattr(import_page, "import_posts", waiting)
    files = {"archive": ("posts.jsonl", '{"post_id": "a", "tags": ["boat"]}\n', "text/plain")}
    with serving(beside(service), BEYOND) as place, with_key(place, key) as tom:
        first = tom.post("/import", files=files).headers["location"]
        assert tom.post("/import", files=files).headers["location"] == first
        go_on.set()
        finished(tom, first)
        assert tom.post("/import", files=files).headers["location"] != first
    names = [thread.name for thread in threading.enumerate()]
    assert "pixtag-import" not in names, "a server that ends waits for its imports"


def test_a_key_for_one_person_sends_one_archive_at_a_time(service: Service) -> None:
    imports = import_page.Imports(service)
    with imports.sending("tom"), imports.sending("pia"), imports.sending(None):
        with imports.sending(None):
            pass
        with pytest.raises(HTTPException), imports.sending("tom"):
            pass
    with imports.sending("tom"):
        pass


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>.zip", "\u202egpj.zip", "w" * 190])
def test_a_hostile_name_of_an_archive_is_text(client, name: str) -> None:
    name = name if name.endswith(".zip") else f"{name}.zip"
    files = {"archive": (name, b"PK\3\4no", "application/zip")}
    page = finished(client, client.post("/import", files=files).url.path)
    assert "could not be imported" in page
    assert html.escape(name.replace("\u202e", "")) in page
    assert "<img src=x" not in page
    bare = re.sub(r"<bdi.*?</bdi>", "", page, flags=re.DOTALL)
    assert "\u202e" not in bare


def test_a_key_to_read_changes_nothing(service: Service) -> None:
    key = add_key(service.store, "reader", scopes=["read"])
    with serving(beside(service), BEYOND) as place, with_key(place, key) as client:
        client.cookies.set("pixtag_person", "ana")
        page = client.post("/", files={"photos": ("a.jpg", picture(), "image/jpeg")}).text
        key = fields_of(page)["photo"][0]
        fields = {**fields_of(page), "person": "ana"}
        first = tags_shown(page)[0]
        taken = client.post("/", data={**fields, "do": f"take:{key}:{first}"})
        assert taken.status_code == 200
        fields |= fields_of(taken.text)
        assert client.post("/", data={**fields, "do": f"publish:{key}"}).status_code == 403
        for path, data in (
            ("/mine/lists", {"list": "deny", "tags": "x"}),
            ("/mine/sets", {"name": "x", "tags": "x"}),
            ("/mine/forget", {"agreed": "yes"}),
        ):
            assert client.post(path, data=data).status_code == 403
        assert client.get("/import").status_code == 403


def test_beyond_loopback_a_key_opens_the_page(service: Service) -> None:
    key = add_key(service.store, "page")
    with serving(beside(service), BEYOND) as place, httpx2.Client(base_url=place) as client:
        client.headers["accept"] = "text/html"
        away = client.get("/mine")
        assert (away.status_code, away.headers["location"]) == (303, "/sign-in?next=/mine")
        page = client.get(away.headers["location"])
        assert 'type="password"' in page.text
        for shown in re.findall(r'(?:src|href)="(/(?:static|icon|manifest)[^"]+)"', page.text):
            assert client.get(shown).status_code == 200
        wrong = client.post("/sign-in", data={"key": "wrong", "back": "/mine"})
        assert (wrong.status_code, COOKIE in wrong.cookies) == (401, False)
        away = client.post("/sign-in", data={"key": key, "back": "//evil.example"})
        assert away.headers["location"] == "/"
        right = client.post("/sign-in", data={"key": key, "back": "/mine"})
        assert (right.status_code, right.headers["location"]) == (303, "/mine")
        said = right.headers["set-cookie"].lower()
        assert "httponly" in said
        assert "samesite=lax" in said
        assert client.get("/mine").status_code == 200
        forged = client.post("/who", data={"person": "x"}, headers={"sec-fetch-site": "cross-site"})
        assert forged.status_code == 403
        assert "not for that" in forged.text
        client.post("/sign-out", data={"x": "y"})
        assert client.get("/mine").status_code == 303
