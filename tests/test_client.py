"""`pixtag.client` against a real server: every endpoint, both ways."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import handmade
import servers
from pixtag.client import (
    AsyncClient,
    Client,
    KeyRefusedError,
    MissingError,
    RefusedError,
    UnreachableError,
)
from pixtag.errors import InputError, ServerError
from pixtag.store import Store
from pixtag.types import Post

NOW = datetime.now(UTC)


def past() -> list[Post]:
    """Ana drinks coffee; three friends write #sky, lately #eclipse."""

    def post(name: str, user: str, days_ago: float, *tags: str) -> Post:
        return Post(name, user, (NOW - timedelta(days=days_ago)).timestamp(), tags)

    posts = [post(f"ana-{i}", "ana", i, "coffee") for i in range(3, 15)]
    posts += [post(f"{u}-{i}", u, i, "sky") for u in ("bo", "cy", "di") for i in range(5, 30)]
    return posts + [post(f"{u}-new", u, 0.2, "eclipse", "sky") for u in ("bo", "cy", "di")]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("server")
    bundle = handmade.bundle_file(folder / "bundle")
    with Store.open(folder / "my.sqlite", create=True) as store:
        store.add_posts(past())
    with servers.running(folder / "my.sqlite", "--model", bundle) as server:
        yield server.url


@pytest.fixture
def client(url: str):
    with Client(url) as client:
        yield client


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handmade.photo(tmp_path_factory.mktemp("photos") / "sky.jpg", "sky", seed=3)


def test_a_photo_by_file_bytes_or_embedding_is_the_same(client: Client, sky: Path) -> None:
    at = NOW + timedelta(hours=1)
    found = client.suggest(sky, k=3, at=at, with_embedding=True)
    assert set(found.tags[:2]) == set(handmade.LOOKS["sky"])
    assert found.suggestions[0].reasons[0].text == "in the picture"
    assert found.at == at
    assert found.embedding is not None
    again = client.suggest(embedding=found.embedding, k=3, at=at)
    assert again.tags == found.tags
    assert client.suggest(sky.read_bytes(), k=3, at=at).tags == found.tags
    assert again.id != found.id


def test_what_callers_have_is_taken_as_it_is(client: Client, sky: Path) -> None:
    at = NOW + timedelta(hours=1)
    found = client.suggest(str(sky), k=3, at=at, with_embedding=True)
    assert set(found.tags[:2]) == set(handmade.LOOKS["sky"])
    row = np.array(found.embedding, np.float32)
    for embedding in (row, list(row), tuple(map(float, row)), row.astype(np.float16)):
        assert client.suggest(embedding=embedding, k=3, at=at).tags == found.tags
    assert len(client.suggest(sky, accepted="#one #two,three", k=4).tags) == 1
    for photos in ([], [str(sky)]):
        done = client.post("coffee, New York, #dusk", user="zed", photos=photos)
        assert done.tags == ("coffee", "newyork", "dusk")
    client.forget("zed")
    found = client.suggest(accepted="sky", history="sky", refused="dusk")
    client.feedback(found.id, accepted="sky", refused="dusk", added="a b")


def test_what_cannot_be_sent_is_told_with_a_hint(url: str, client: Client, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    for photo in (b"", tmp_path / "empty.jpg", tmp_path / "none.jpg", "none.jpg", "a\0b", tmp_path):
        for ask in (client.suggest, lambda photo: client.post("sea", photos=[photo])):
            with pytest.raises(InputError, match=r"the photo (is empty|cannot be read)") as refused:
                ask(photo)
            assert refused.value.hint
    for kind in (Client, AsyncClient):
        for key in ("pixtag_ü", "pixtag_\n1", "pixtag_\0"):
            with pytest.raises(InputError, match="the key holds") as refused:
                kind(url, key)
            assert "pixtag_" not in refused.value.message
    with pytest.raises(InputError, match="idempotency key"):
        client.post("sea", idempotency_key="ü")
    with pytest.raises(RefusedError, match="nothing in this post"):
        client.post()


def test_accepting_and_refusing_change_the_rest(client: Client, sky: Path) -> None:
    found = client.suggest(sky, accepted=["blue"], refused=["sky"], k=4)
    assert not {"blue", "sky"} & set(found.tags)
    assert len(found.tags) == 3
    assert len(client.suggest(sky, accepted=["New York, Bronx", "mine"], k=4).tags) == 2  # of two


def test_what_is_published_is_in_the_next_answer(client: Client, sky: Path) -> None:
    for i in range(3):
        done = client.post(
            ["#Kite Surfing"], user="eve", photos=[sky], caption="at #dawn", post_id=f"eve-{i}"
        )
        assert done.tags == ("kitesurfing", "dawn")
        assert done.n_photos == 1
    assert set(client.suggest(sky, user="eve").tags) >= {"kitesurfing", "dawn"}
    used = client.history("eve")
    assert used.n_posts == 3
    assert [(one.tag, one.n_uses) for one in used.tags] == [("dawn", 3), ("kitesurfing", 3)]
    # A photo of the store, judged as of when it was posted, when two of three were known.
    found = client.suggest(post_id="eve-2")
    assert found.user == "eve"
    assert found.at == done.posted_at
    client.forget("eve")
    with pytest.raises(MissingError):
        client.history("eve")
    assert not {"kitesurfing", "dawn"} & set(client.suggest(sky, user="eve").tags)


def test_feedback_on_what_was_just_served(client: Client) -> None:
    for _ in range(20):
        found = client.suggest(user="ana")
        client.feedback(found.id, accepted=found.tags[:1], refused=["love"], added=["mine"])
    with pytest.raises(MissingError):
        client.feedback("nothing", accepted=["sky"])


def test_trends_and_a_tag_of_everybody(client: Client) -> None:
    assert [one.tag for one in client.trending(k=1)] == ["eclipse"]
    found = client.tag("#Sky")
    assert (found.tag, found.n_people) == ("sky", 3)
    assert found.people_by_hours["24"] == 3
    assert found.goes_with == ("eclipse",)
    with pytest.raises(MissingError):
        client.tag("coffee")  # ana's alone


def test_errors_come_with_their_hint(client: Client) -> None:
    with pytest.raises(RefusedError, match="k: ") as refused:
        client.suggest(k=0)
    assert refused.value.status == 422
    assert refused.value.hint
    assert refused.value.request_id
    with pytest.raises(RefusedError, match=r"image") as refused:
        client.suggest(b"no photo")
    assert refused.value.status == 422
    with pytest.raises(RefusedError, match="embedding"):
        client.suggest(embedding=[1.0, 2.0])
    with pytest.raises(RefusedError, match="platform"):
        client.suggest(platform="nowhere")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}") as nobody, pytest.raises(UnreachableError) as gone:
        nobody.suggest()
    assert "pixtag serve" in gone.value.hint
    assert gone.value.status is None
    assert isinstance(gone.value, ServerError)


def test_the_same_to_await(url: str, sky: Path) -> None:
    async def everything() -> None:
        async with AsyncClient(url) as client:
            found = await client.suggest(sky, user="fay")
            await client.feedback(found.id, accepted=found.tags[:1])
            done = await client.post(found.tags, user="fay", photos=[sky])
            assert done.tags == found.tags
            assert (await client.history("fay")).n_posts == 1
            assert (await client.tag("sky")).n_people >= 3
            assert await client.trending()
            answers = await asyncio.gather(*(client.suggest(sky) for _ in range(12)))
            assert {one.tags for one in answers} == {answers[0].tags}
            await client.forget("fay")
            with pytest.raises(MissingError):
                await client.history("fay")

    asyncio.run(everything())


def test_a_wrong_key_is_told_apart(tmp_path: Path) -> None:
    bundle = handmade.bundle_file(tmp_path / "bundle")
    with (
        servers.running(tmp_path / "s.sqlite", "--model", bundle, "--require-key") as server,
        Client(server.url, "pixtag_wrong") as client,
        pytest.raises(KeyRefusedError) as refused,
    ):
        client.suggest()
    assert refused.value.status == 401
    assert any("nobody has a key yet" in note for note in server.notes)
