"""Immich's published API, as a small server on this machine speaks it; the command in processes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pixtag.integrations.immich import Asset, Record
from pixtag.store import Store
from pixtag.store.written import Written
from places import Asked, Reply, command, small

KEY = "immich-key-4711"
NAMES = ("cat", "coffee", "flower", "cat", "coffee")


class FakeImmich:
    """Tags and assets of one account, and a partner's asset."""

    def __init__(self, version: tuple[int, int] = (2, 1)) -> None:
        self.version = version
        self.allowed = True
        self.page = 2  # assets of a page, whatever is asked for
        self.tags: dict[str, str] = {}  # value by id
        self.broken_after: int | None = None  # how many further tagging requests go through
        self.on: dict[str, set[str]] = {f"asset-{i}": set() for i in range(len(NAMES))}
        self.tag("asset-0", "Animals/Cat")
        self.tag("asset-0", "New York")
        self.tag("asset-1", "espresso")

    def id_of(self, value: str) -> str:
        """The tag of a path, made with those above it, as Immich does."""
        parts = value.split("/")
        for depth in range(1, len(parts) + 1):
            path = "/".join(parts[:depth])
            if path not in self.tags.values():
                self.tags[f"tag-{len(self.tags)}"] = path
        return next(name for name, path in self.tags.items() if path == value)

    def tag(self, asset: str, value: str) -> None:
        self.on[asset].add(self.id_of(value))

    def words(self, asset: str) -> set[str]:
        return {self.tags[name] for name in self.on[asset]}

    def __call__(self, asked: Asked) -> Reply:
        if asked.path == "/api/server/version":
            return Reply({"major": self.version[0], "minor": self.version[1], "patch": 0})
        if asked.headers.get("x-api-key") != KEY or not self.allowed:
            return Reply({"message": "Invalid API key", "statusCode": 401}, 401)
        match asked.method, asked.path.removeprefix("/api").split("/")[1:]:
            case "GET", ["users", "me"]:
                return Reply({"id": "me", "name": "Ana", "email": "ana@example.org"})
            case "GET", ["tags"]:
                return Reply([self._tag(name) for name in self.tags])
            case "PUT", ["tags"]:
                return Reply([self._tag(self.id_of(v)) for v in asked.body["tags"]])
            case "PUT", ["tags", "assets"]:
                if self.broken_after is not None:
                    self.broken_after -= 1
                    if self.broken_after < 0:
                        return Reply({"message": "down"}, 400)
                for asset in asked.body["assetIds"]:
                    self.on[asset] |= {*asked.body["tagIds"]}
                return Reply({"count": len(asked.body["assetIds"])})
            case "POST", ["search", "metadata"]:
                return Reply(self._found(asked.body))
            case "GET", ["assets", asset, "thumbnail"] if asked.query == {"size": "preview"}:
                if asset == "asset-4":
                    return Reply({"message": "Not found"}, 404)
                number = int(asset.rpartition("-")[2])
                return Reply(small(NAMES[number], number))
        return Reply({"message": "Not Found"}, 404)

    def _tag(self, name: str) -> dict[str, str]:
        value = self.tags[name]
        return {"id": name, "value": value, "name": value.rpartition("/")[2]}

    def _found(self, body: dict[str, Any]) -> dict[str, Any]:
        """A page of assets; a tag finds what carries it or one below it."""
        assert body["type"] == "IMAGE"
        names = [*self.on, "of-a-partner"]
        for wanted in body.get("tagIds", []):
            path = self.tags[wanted]
            names = [
                name
                for name in self.on
                if any(v == path or v.startswith(f"{path}/") for v in self.words(name))
            ]
        start = (body["page"] - 1) * self.page
        items = [
            {
                "id": name,
                "ownerId": "me" if name in self.on else "partner",
                "originalFileName": f"{name}.jpg",
                "fileCreatedAt": "2024-05-01T08:00:00.000Z",
                "type": "IMAGE",
            }
            for name in names[start : start + self.page]
        ]
        more = str(body["page"] + 1) if start + self.page < len(names) else None
        return {"assets": {"items": items, "nextPage": more}, "albums": {"items": []}}


@pytest.fixture
def immich() -> FakeImmich:
    return FakeImmich()


@pytest.fixture
def run(capsys, serve, immich, tmp_path, monkeypatch):
    server = serve(immich)
    monkeypatch.setenv("PIXTAG_IMMICH_KEY", KEY)

    def call(action: str, *words: object):
        return command(capsys, "immich", action, *call.at, *words)

    call.server, call.store = server, tmp_path / "s.sqlite"
    call.at = ("--url", server.url, "--store", call.store)
    return call


def test_suggested_tags_are_merged_and_never_read_back(run, immich, pixtag, capsys):
    tried = run("suggest", "--dry-run")
    assert "nothing was written" in tried.stderr
    assert not run.store.exists()
    assert not run.server.paths("/api/tags/assets")
    done = pixtag("immich", "suggest", *run.at, "--json")  # in a process of its own, once
    records = {one["asset"]: one for one in map(json.loads, done.stdout.splitlines())}
    assert records["asset-4"]["error"]
    assert done.returncode == 1
    # What was there is there; a cat gets the account's own path for it, and no twin.
    assert immich.words("asset-0") >= {"Animals/Cat", "New York"}
    assert "cat" not in immich.words("asset-0")
    assert "Animals/Cat" in immich.words("asset-3")
    assert "coffee" in immich.words("asset-1") >= {"espresso"}
    assert {asked.method for asked in run.server.asked} == {"GET", "POST", "PUT"}
    before = {asset: immich.words(asset) for asset in immich.on}
    # A second look asks for no photo but the one that was not there.
    n_photos = len(run.server.paths("/api/assets"))
    assert run("suggest").stdout == ""
    assert len(run.server.paths("/api/assets")) == n_photos + 1
    assert {asset: immich.words(asset) for asset in immich.on} == before
    assert run("import").returncode == 0
    with Store.open(run.store) as store:
        assert sorted(post.tags for post in store.posts()) == [("cat", "newyork"), ("espresso",)]
        assert {post.user_id for post in store.posts()} == {"Ana"}
        assert store.summary().n_embeddings == 2
    assert command(capsys, "doctor", run.store).returncode == 0


def test_removed_words_stay_away_and_confirmed_ones_are_history(run, immich):
    run("suggest")
    coffee = next(name for name, value in immich.tags.items() if value == "coffee")
    immich.on["asset-1"].discard(coffee)
    run("suggest", "--again", "--min-prob", "0.05")
    assert "coffee" not in immich.words("asset-1")
    done = run("import", "--confirm", "--json")
    report = json.loads(done.stdout)
    assert report["posts"] == 4
    with Store.open(run.store) as store:
        tags = [{*post.tags} for post in store.posts()]
        assert {"cat", "newyork"} < next(one for one in tags if "newyork" in one)
        assert not any({"coffee", "espresso"} <= one for one in tags)
        rows = Written(store, "immich:me").all()
        assert rows["asset-1"]["coffee"] == "removed"
        store.forget("Ana")
    again = run("import", "--confirm", "--json")
    assert json.loads(again.stdout)["posts"] == 4


def test_importing_again_fetches_no_photo_twice(run, immich):
    run("import")
    n_photos = len(run.server.paths("/api/assets"))
    immich.tag("asset-1", "morning")
    done = json.loads(run("import", "--json").stdout)
    assert (done["added"], done["updated"], done["unchanged"]) == (0, 1, 1)
    assert len(run.server.paths("/api/assets")) == n_photos == 2


def test_a_run_that_breaks_off_is_finished_by_the_next(run, immich):
    immich.broken_after = 1
    broken = run("suggest")
    assert broken.returncode == 1
    assert "answers 400" in broken.stderr
    with Store.open(run.store) as store:
        states = {s for words in Written(store, "immich:me").all().values() for s in words.values()}
    assert "begun" in states
    # What may have been written is not taken for the person's meanwhile.
    run("import")
    with Store.open(run.store) as store:
        assert sorted(post.tags for post in store.posts()) == [("cat", "newyork"), ("espresso",)]
    immich.broken_after = None
    run("suggest")
    assert "coffee" in immich.words("asset-1")
    assert "Animals/Cat" in immich.words("asset-3")


def test_the_record_goes_with_the_person():
    with Store.in_memory() as store:
        ana, bob = Written(store, "immich:1", "ana"), Written(store, "immich:2", "bob")
        for one in (ana, bob):
            one.put([("asset", "cat"), ("asset", "")], "begun")
            one.put([("asset", "cat")], "written")
        assert ana.all() == bob.all() == {"asset": {"": "begun", "cat": "written"}}
        store.forget("ana")
        assert ana.all() == {}
        assert bob.all() != {}
        # Then nobody knows whose the words are, as docs/photo-libraries.md says.
        tagged = {Asset("asset", "cat.jpg", ""): ["cat"]}
        assert Record(ana, tagged).own("asset") == ["cat"]
        assert Record(bob, tagged).own("asset") == []


@pytest.mark.parametrize(
    ("change", "said"),
    [({"allowed": False}, "answers 401"), ({"version": (1, 100)}, "has no tags yet")],
)
def test_what_the_server_refuses_is_said(run, immich, change, said):
    for name, value in change.items():
        setattr(immich, name, value)
    done = run("import")
    assert done.returncode == 1
    assert said in done.stderr
    assert "hint: " in done.stderr
    assert KEY not in done.stderr + done.stdout
    assert not run.store.exists()


def test_another_server_and_a_missing_key(capsys, serve):
    server = serve(lambda _: Reply({}, 404))
    done = command(capsys, "immich", "import", "--url", server.url, "--key", KEY)
    assert "is no Immich" in done.stderr
    done = command(capsys, "immich", "import", "--url", server.url)
    assert done.returncode == 2
    assert "PIXTAG_IMMICH_KEY" in done.stderr


def test_the_key_is_never_shown(capsys, monkeypatch):
    monkeypatch.setenv("PIXTAG_IMMICH_KEY", KEY)
    shown = command(capsys, "config", "--all")
    assert shown.returncode == 0
    assert "immich.key" in shown.stdout
    as_json = command(capsys, "config", "--all", "--json")
    assert KEY not in shown.stdout + as_json.stdout
