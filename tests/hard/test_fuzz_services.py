"""Whatever a service answers: posts come of it, or one error; and no answer keeps us for ever."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

import handmade
import trend_server
from fuzzing import altered, cases, damaged, tallied
from pixtag.errors import ServerError
from pixtag.integrations.history import Keeper
from pixtag.integrations.immich import Immich, ImmichConfig, Record, read_history
from pixtag.integrations.mastodon import Account, MastodonConfig
from pixtag.store import Store
from pixtag.store.written import Written

if TYPE_CHECKING:
    from fuzzing import Tally

ACCOUNT = {"id": "77", "username": "ana", "statuses_count": 2}
STATUSES = [
    {
        "id": str(n), "uri": f"https://m.example/users/ana/statuses/{n}",
        "created_at": "2024-05-01T10:00:33.901Z", "visibility": "public", "spoiler_text": "",
        "content": "<p>Morning #Sea</p>", "tags": [{"name": "sea"}], "reblog": None,
        "media_attachments": [{"type": "image", "url": "PLACE/x.jpg"}],
    }
    for n in (9, 8)
]  # fmt: skip
TAGS = [{"id": "tag-1", "value": "Animals/Cat"}, {"id": "tag-2", "value": "New York"}]
ASSET = {
    "id": "a1", "ownerId": "me", "originalFileName": "a.jpg",
    "fileCreatedAt": "2024-05-01T08:00:00.000Z",
}  # fmt: skip
FOUND = {"assets": {"items": [ASSET], "nextPage": None}}
IMMICH: dict[str, Any] = {
    "/api/server/version": {"major": 1, "minor": 134},
    "/api/users/me": {"id": "me", "name": "Ana"},
    "/api/tags": TAGS,
    "/api/search/metadata": FOUND,
}
MASTODON: dict[str, Any] = {
    "/api/v1/accounts/lookup": ACCOUNT,
    "/api/v1/accounts/77/statuses": STATUSES,
}
NO_WAIT = {"on_wait": lambda *_: None}


class Service:
    """Answers each address with what it is told to; after some requests with nothing more."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers, self.n, self.most = answers, 0, 50

    def __call__(self, to: Any) -> None:
        self.n += 1
        to.rfile.read(int(to.headers.get("content-length", 0)))
        path = urlsplit(to.path).path
        if self.n > self.most or path not in self.answers:
            trend_server.reply(to, b"{}", status=404)
            return
        said = self.answers[path]
        data = said if isinstance(said, bytes) else json.dumps(said).encode()
        place = f"http://127.0.0.1:{to.server.server_port}"
        trend_server.reply(to, data.replace(b"PLACE", place.encode()))


def told(answers: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of the answers are altered or damaged."""
    each = {
        path: st.one_of(st.just(said), altered(said), damaged([json.dumps(said).encode()]))
        for path, said in answers.items()
    }
    return st.fixed_dictionaries(each)


def read_mastodon(url: str, store: Store) -> None:
    keeper = Keeper(store, handmade.encoder(), user=None, keep_copies=False)
    Account(f"{url}/@ana", MastodonConfig(), **NO_WAIT).read(keeper)


def read_immich(url: str, store: Store) -> None:
    immich = Immich(ImmichConfig(url=url, key="k"), **NO_WAIT)
    record = Record(Written(store, immich.place), tagged := immich.tagged())
    keeper = Keeper(store, None, user=None, keep_copies=False)
    read_history(immich, keeper, record, tagged)


READERS = {"mastodon": (read_mastodon, MASTODON), "immich": (read_immich, IMMICH)}


@pytest.mark.parametrize("name", READERS)
def test_answers_of_services(name: str) -> None:
    reader, answers = READERS[name]
    service = Service(answers)

    def check(tally: Tally) -> None:
        with trend_server.serving(service) as url:

            @given(told(answers))
            @cases(2)
            def run(said: dict[str, Any]) -> None:
                service.answers, service.n = said, 0
                with tally.case(said), Store.in_memory() as store:
                    reader(url, store)
                    assert len(store.log().post_ids) == store.summary().n_posts

            run()

    tallied(f"answers of {name}", check)


@pytest.mark.parametrize("name", READERS)
def test_pages_that_come_again_are_read_once(name: str) -> None:
    """A list whose pages follow each other in a ring, which no service in order gives."""
    reader, answers = READERS[name]
    ring = {"assets": {"items": [ASSET], "nextPage": "1"}}
    service = Service({**answers, "/api/search/metadata": ring})
    turn = [STATUSES, [{**STATUSES[0], "id": "7"}]]

    def answer(to: Any) -> None:
        service.answers["/api/v1/accounts/77/statuses"] = turn[service.n % 2]
        service(to)

    with trend_server.serving(answer) as url, Store.in_memory() as store:
        reader(url, store)
        assert store.summary().n_posts >= 1
    assert service.n < service.most


@pytest.mark.parametrize("odd", ["http://[", "https://a.b:x/", "https://m.example/\ud800"])
def test_photos_at_impossible_addresses_are_left_out(odd: str) -> None:
    rows = [{**STATUSES[0], "media_attachments": [{"type": "image", "url": odd}]}]
    service = Service({**MASTODON, "/api/v1/accounts/77/statuses": rows})
    with trend_server.serving(service) as url, Store.in_memory() as store:
        read_mastodon(url, store)
        assert [post.photos for post in store.posts()] == [()]


def test_what_works_works() -> None:
    for reader, answers in READERS.values():
        with trend_server.serving(Service(answers)) as url, Store.in_memory() as store:
            with pytest.raises(ServerError):
                reader("http://127.0.0.1:1", store)
            reader(url, store)
            assert store.summary().n_posts >= 1
