"""Mastodon's and Pixelfed's published API, as a small server on this machine speaks it."""

from __future__ import annotations

import json

import pytest

from archives import write_tree
from pixtag.errors import InputError
from pixtag.integrations.mastodon import Handle
from pixtag.store import Store
from places import Asked, Reply, command, small

TOKEN = "token-4711"


class FakeMastodon:
    """One account with statuses 1 to n, of which each third is shared from others."""

    def __init__(self, n: int = 100) -> None:
        self.n = n
        self.needs_token, self.has_lookup = False, True
        self.url = ""
        self.broken_at: int | None = None  # id below which statuses cannot be listed
        self.limits: tuple[tuple[str, str], ...] = (("X-RateLimit-Remaining", "299"),)

    def status(self, number: int) -> dict[str, object]:
        kind = ("cat", "coffee", "flower")[number % 3]
        media = {
            "id": f"m{number}",
            "type": "image",
            "url": f"{self.url}/original/{number}.jpg",
            "preview_url": f"{self.url}/small/{kind}/{number}.jpg",
        }
        return {
            "id": str(number),
            "uri": f"https://mastodon.example/users/ana/statuses/{number}",
            "url": f"https://mastodon.example/@ana/{number}",
            "created_at": f"2024-05-01T10:{number % 60:02}:33.901Z",
            "visibility": "private" if number == 5 else "public",
            "spoiler_text": "",
            "content": f'<p>Morning <a href="/tags/{kind}">#<span>{kind}</span></a> &amp; #Sea</p>',
            "tags": [{"name": kind, "url": ""}, {"name": "sea", "url": ""}],
            "reblog": {"id": "x"} if number % 10 == 0 else None,
            "media_attachments": [media] if number % 4 == 0 and number <= 24 else [],
        }

    def __call__(self, asked: Asked) -> Reply:
        match asked.path.split("/")[1:]:
            case ["api", "v1", "accounts", *rest]:
                if self.needs_token and asked.headers.get("authorization") != f"Bearer {TOKEN}":
                    return Reply({"error": "This method requires an authenticated user"}, 401)
                if rest == ["verify_credentials"] and self.needs_token:
                    return Reply({"id": "77", "username": "ana"})
                if rest == ["lookup"] and self.has_lookup and asked.query == {"acct": "ana"}:
                    return Reply({"id": "77", "username": "ana", "statuses_count": self.n})
                if rest == ["77", "statuses"]:
                    return self._page(asked.query)
            case ["small", kind, name]:
                assert "authorization" not in asked.headers
                if name == "8.jpg":
                    return Reply({}, 403)
                return Reply(small(kind, int(name.partition(".")[0])))
        return Reply({"error": "Record not found"}, 404)

    def _page(self, query: dict[str, str]) -> Reply:
        assert query["exclude_reblogs"] == "true"
        top = int(query.get("max_id", self.n + 1))
        if self.broken_at is not None and top < self.broken_at:
            return Reply({}, 400)
        low = max(top - int(query["limit"]), 1)
        numbers = range(top - 1, low - 1, -1)
        shown = [self.status(n) for n in numbers if n != 5 or self.needs_token]
        return Reply(shown, 200, self.limits)


@pytest.fixture
def mastodon() -> FakeMastodon:
    return FakeMastodon()


@pytest.fixture
def run(capsys, serve, mastodon, tmp_path):
    server = serve(mastodon)
    mastodon.url = server.url

    def call(*words: object, account: str = "ana"):
        at = (f"{server.url}/@{account}", "--store", call.store)
        return command(capsys, "mastodon", *at, *words)

    call.server, call.store = server, tmp_path / "s.sqlite"
    return call


def test_own_posts_are_history_once(run, pixtag):
    words = (f"{run.server.url}/@ana", "--store", run.store, "--json")
    done = pixtag("mastodon", *words)  # in a process of its own, once
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert (report["posts"], report["added"], report["people"]) == (89, 89, 1)
    # Three pages of forty, and one that says that there is nothing more.
    assert len(run.server.paths("/api/v1/accounts/77")) == 4
    with Store.open(run.store) as store:
        posts = list(store.posts(user_id="ana"))
        assert {post.tags for post in posts} == {(k, "sea") for k in ("cat", "coffee", "flower")}
        assert store.summary().n_embeddings == 4  # 20 is shared from others, 8 is refused
        assert not store.photos_folder.exists()
    n_photos = len(run.server.paths("/small"))
    again = json.loads(run("--json").stdout)
    assert (again["added"], again["unchanged"]) == (0, 89)
    assert len(run.server.paths("/small")) == n_photos + 1


def test_an_archive_and_the_api_give_each_post_once(run, capsys, tmp_path):
    ids = [f"https://mastodon.example/users/ana/statuses/{n}" for n in (4, 7)]
    notes = [
        {
            "id": name,
            "type": "Note",
            "published": f"2024-05-01T10:0{name[-1]}:33Z",
            "content": "<p>Morning #coffee &amp; #Sea</p>",
            "to": ["https://www.w3.org/ns/activitystreams#Public"],
            "tag": [{"type": "Hashtag", "name": "#coffee"}, {"type": "Hashtag", "name": "#sea"}],
            "attachment": [{"mediaType": "image/jpeg", "url": "/media_attachments/a.jpg"}]
            if name[-1] == "4"
            else [],
        }
        for name in ids
    ]
    archive = write_tree(
        tmp_path / "archive",
        {
            "actor.json": {"id": "https://mastodon.example/users/ana", "preferredUsername": "ana"},
            "outbox.json": {
                "orderedItems": [
                    {"type": "Create", "actor": "https://mastodon.example/users/ana", "object": one}
                    for one in notes
                ]
            },
            "media_attachments/a.jpg": small("coffee", 99),
        },
    )
    assert command(capsys, "import", archive, "--store", run.store).returncode == 0
    with Store.open(run.store) as store:
        before = {post.post_id: post for post in store.posts()}
    report = json.loads(run("--json").stdout)
    assert (report["added"], report["unchanged"]) == (87, 2)
    with Store.open(run.store) as store:
        after = {post.post_id: post for post in store.posts()}
    assert before.items() <= after.items()  # the archive's own photos stay, too
    again = json.loads(command(capsys, "import", archive, "--store", run.store, "--json").stdout)
    assert (again["added"], again["unchanged"]) == (0, 2)


def test_a_run_that_breaks_off_keeps_what_it_has(run, mastodon):
    mastodon.broken_at = 50
    broken = run()
    assert broken.returncode == 1
    assert "answers 400" in broken.stderr
    with Store.open(run.store) as store:
        n_posts = store.summary().n_posts
    assert 0 < n_posts < 89
    mastodon.broken_at = None
    report = json.loads(run("--json").stdout)
    assert (report["added"], report["unchanged"]) == (89 - n_posts, n_posts)


def test_a_token_and_posts_for_followers(run, mastodon, monkeypatch):
    mastodon.needs_token, mastodon.has_lookup = True, False  # as an older Pixelfed
    refused = run()
    assert refused.returncode == 1
    assert "PIXTAG_MASTODON_TOKEN" in refused.stderr
    assert not run.store.exists()
    monkeypatch.setenv("PIXTAG_MASTODON_TOKEN", TOKEN)
    done = run("--no-embed")
    assert "followers-only post, left out" in done.stderr
    assert TOKEN not in done.stderr
    assert not run.server.paths("/small")
    assert json.loads(run("--private", "--no-embed", "--json").stdout)["added"] == 1


def test_copies_and_names_on_request(run, mastodon):
    mastodon.n = 12
    run("--copy", "--user", "Anna")
    with Store.open(run.store) as store:
        assert store.people(at_most=3) == ["Anna"]
        kept = [photo.path for post in store.posts() for photo in post.photos]
        assert len(kept) == len(list(store.photos_folder.iterdir())) == 2


def test_a_limit_is_waited_for(run, mastodon):
    mastodon.n = 3
    mastodon.limits = (("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "1"))
    done = run("--no-embed")
    assert "asked again in 1 seconds (its limit" in done.stderr


def test_nobody_of_that_name(run):
    done = run(account="bob")
    assert done.returncode == 1
    assert "knows no account 'bob'" in done.stderr


@pytest.mark.parametrize(
    ("text", "handle"),
    [
        ("@ana@pixelfed.social", ("https://pixelfed.social", "ana")),
        ("ana@mastodon.example", ("https://mastodon.example", "ana")),
        ("https://mastodon.example/@ana", ("https://mastodon.example", "ana")),
        ("https://mastodon.example/users/ana", ("https://mastodon.example", "ana")),
        ("https://pixelfed.social/ana/", ("https://pixelfed.social", "ana")),
    ],
)
def test_handles(text, handle):
    assert Handle.of(text) == handle


@pytest.mark.parametrize("text", ["ana", "@ana", "https://mastodon.example", "a@b@c", ""])
def test_what_is_no_handle(text):
    with pytest.raises(InputError, match="no account"):
        Handle.of(text)
