"""The service without HTTP: the log of what was served, forgetting, and photos of a post."""

from __future__ import annotations

import hashlib
import io
import threading
from pathlib import Path

import numpy as np
import pytest

import handmade
from pixtag.errors import ImageError, InputError, StoreError
from pixtag.photos import check_store
from pixtag.store import Store
from pixtag.store.keys import SCOPES, add_key, find_key, is_key, list_keys, new_key
from pixtag.store.served import Bin, ServedRow, add_feedback, add_served, served_report
from pixtag.types import Post, Suggestion
from pixtag.web.service import Service


def jpeg(look: str = "sky") -> bytes:
    buffer = io.BytesIO()
    handmade.picture(look, 1).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.fixture
def store(tmp_path: Path):
    with Store.open(tmp_path / "s.sqlite", create=True) as store:
        yield store


@pytest.fixture
def service(store: Store):
    with Service(store, handmade.bundle()) as service:
        yield service


def rows(n: int, *suggestions: Suggestion, user: str | None = None, start: int = 0):
    return [
        ServedRow(f"s{i}", user, 1e9 + i, 1e9, "model", 1, False, suggestions)
        for i in range(start, start + n)
    ]


def test_only_the_newest_are_kept_with_their_feedback(store: Store) -> None:
    add_served(store, rows(5), kept=3)
    assert not add_feedback(store, "s1", [("sky", "accepted")])
    assert add_feedback(store, "s2", [("sky", "accepted")])
    add_served(store, rows(1, start=5), kept=3)
    report = served_report(store)
    assert (report.n_served, report.n_judged) == (3, 0)


def test_the_report_counts_what_was_said_and_bins_chances(store: Store) -> None:
    shown = Suggestion("sky", 0.75), Suggestion("sea", 0.72), Suggestion("rare", 0.05)
    add_served(store, rows(10, *shown, user="ana"))
    add_served(store, rows(2, *shown, start=10))
    for i in range(8):
        said = [("sky", "accepted"), ("sea", "refused" if i < 3 else "accepted"), ("own", "added")]
        assert add_feedback(store, f"s{i}", said, user="ana")
    add_feedback(store, "s0", [("sea", "accepted")])  # the last word holds
    assert not add_feedback(store, "s10", [("sky", "accepted")], user="ana")
    found = served_report(store, user="ana")
    assert (found.n_served, found.n_judged, found.n_shown) == (10, 8, 24)
    assert (found.n_kept, found.n_refused, found.n_added) == (14, 2, 8)
    low, high = found.bins
    assert (low.n, low.n_kept, high.n, high.n_kept) == (8, 0, 16, 14)
    assert high.mean_prob == pytest.approx(0.735)
    assert served_report(store, user="bo").n_served == 0


def test_intervals_are_wilsons() -> None:
    # R: binom::binom.wilson(14, 16) and (0, 8)
    assert Bin(0, 1, 16, 14, 0.5).interval == pytest.approx((0.6398, 0.9650), abs=1e-4)
    assert Bin(0, 1, 8, 0, 0.5).interval == pytest.approx((0.0, 0.3244), abs=1e-4)


def test_who_is_forgotten_while_they_ask_leaves_no_trace(
    service: Service, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.publish(Post("p", "ana", 1e9, ("coffee",)))
    asked, go = threading.Event(), threading.Event()
    plain = service.predictor.answer

    def slow(*given, **named):
        asked.set()
        go.wait(30)
        return plain(*given, **named)

    monkeypatch.setattr(service.predictor, "answer", slow)
    question = threading.Thread(target=service.suggest, kwargs={"user": "ana"})
    question.start()
    asked.wait(30)
    service.forget("ana")
    go.set()
    question.join()
    service.close()
    assert served_report(store).n_served == 0


def test_a_post_keeps_what_its_photos_look_like(service: Service, store: Store) -> None:
    photos = [jpeg("sky"), jpeg("leaves")]
    service.publish(Post("p", "ana", 1e9, ("walk",)), photos=photos)
    (done,) = store.posts(user_id="ana")
    assert [p.digest for p in done.photos] == [hashlib.sha256(p).hexdigest() for p in photos]
    log = store.log(handmade.encoder().digest, ["p"])
    mean = np.mean([service.embed(photo) for photo in photos], axis=0)
    np.testing.assert_allclose(log.embeddings[0], mean, rtol=1e-2, atol=2e-3)
    assert not store.photos_folder.exists()
    with pytest.raises(ImageError):
        service.publish(Post("q", "ana", 1e9, ()), photos=[photos[0], b"none"])
    assert store.log(post_ids=["q"]).post_ids == []
    service.publish(Post("r", "ana", 1e9, ()), service.embed(photos[0]))
    # They are told apart from photos that are gone.
    assert check_store(store, handmade.encoder().digest) == ([], 3)
    assert store.log(handmade.encoder().digest, ["r"]).has_photo[0]


def test_what_goes_wrong_within_the_transaction_takes_the_post_back(
    service: Service, store: Store
) -> None:
    def fail(_: Store) -> None:
        raise InputError("no")

    with pytest.raises(InputError):
        service.publish(Post("p", "ana", 1e9, ("x",)), within=fail)
    assert store.summary().n_posts == 0
    assert store.revision == 0


def test_a_store_for_reading_cannot_be_served(store: Store) -> None:
    with Store.open(store.path, read_only=True) as reader, pytest.raises(StoreError):
        Service(reader, handmade.bundle())


def test_keys_are_told_by_their_checksum_and_found_until_revoked(store: Store) -> None:
    key = add_key(store, "phone", scopes=SCOPES, user="ana")
    assert is_key(key)
    assert not is_key(key[:-1] + ("0" if key[-1] != "0" else "1"))
    assert not is_key("")
    assert not is_key(key + "0")
    found = find_key(store, key)
    assert found is not None
    assert (found.name, found.user, found.scopes) == ("phone", "ana", frozenset(SCOPES))
    assert find_key(store, new_key()) is None
    for name, scopes in (("phone", ["read"]), ("x", ["fly"]), ("x", []), (" ", ["read"])):
        with pytest.raises(InputError):
            add_key(store, name, scopes=scopes)
    with pytest.raises(InputError, match="is no name"):
        add_key(store, "x", user="an\x02a")  # the API takes no such name
    assert [one.name for one in list_keys(store)] == ["phone"]
    store.forget("ana")
    assert find_key(store, key) is None
