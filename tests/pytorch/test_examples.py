"""What fine-tuning learns from: nothing that is measured on later, and tags that say something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from pixtag.errors import ModelError
from pixtag.pytorch.examples import OTHERS_WEIGHT, read_examples
from pixtag.splits import cold_people, temporal_split
from pixtag.store import Store
from pixtag.types import Photo, Post

if TYPE_CHECKING:
    from collections.abc import Generator

N_POSTS = 300


def post(i: int, user: str | None, *tags: str, path: str = "") -> Post:
    photo = Photo(path or f"/photos/{i}.jpg", f"{i:064x}")
    return Post(f"p{i:03d}", user, 1e9 + i * 1000.0, tags, (photo,))


@pytest.fixture
def store() -> Generator[Store]:
    """Ten people; ana signs everything and posts cats and dogs, the others post more."""
    with Store.in_memory() as opened:
        things = ("cat", "dog", "sea", "car")
        posts: list[Post] = []
        for i in range(N_POSTS):
            user = f"u{i % 10}"
            thing = things[(i // 10) % (2 if user == "u3" else 4)]
            posts.append(post(i, user, thing, *(("byana",) if user == "u3" else ())))
        opened.add_posts(posts)
        yield opened


def test_nothing_is_read_that_is_measured_later(store: Store) -> None:
    log, found = store.log(), read_examples(store, most_tags=100, use_all=False)
    split = temporal_split(log)
    cold = {log.users[i] for i in np.flatnonzero(cold_people(log))}
    assert len(cold) == 2
    train, judges = ({p.post_id for p in part} for part in (found.train, found.validation))
    place = {post_id: i for i, post_id in enumerate(log.post_ids)}
    assert len(train) == split.train_stop * 0.8
    assert max(place[p] for p in train) < split.train_stop
    assert {place[p] for p in judges} <= {*range(split.train_stop, split.valid_stop)}
    assert not cold & {p.user_id for p in (*found.train, *found.validation)}

    everything = read_examples(store, most_tags=100, use_all=True)
    assert {p.user_id for p in everything.train} == set(log.users)
    assert len(everything.train) == N_POSTS * 0.9
    assert len(everything.validation) == N_POSTS * 0.1


def test_which_cells_count(store: Store) -> None:
    store.add_posts(post(1000 + i, None, "sea", "byana") for i in range(5))
    found = read_examples(store, most_tags=100, use_all=True)
    asked = [post(1, "u3", "cat", "byana"), post(2, "u4", "sea"), post(3, None, "sea")]
    wanted, weight = found.targets(asked)
    column = {tag: i for i, tag in enumerate(found.vocabulary)}
    cat, dog, sea, signature = (column[t] for t in ("cat", "dog", "sea", "byana"))
    assert wanted[0, [cat, dog, sea]].tolist() == [1, 0, 0]
    # Her own tags count, what she never says little, what she says always nothing.
    assert weight[0, [cat, dog]].tolist() == [1, 1]
    assert weight[0, sea] == weight[1, signature] == np.float32(OTHERS_WEIGHT)
    assert weight[0, signature] == 0
    # Of nobody is known what they use beside it.
    assert weight[2, [cat, sea]].tolist() == [np.float32(OTHERS_WEIGHT), 1]
    assert found.share[cat] == pytest.approx(np.mean(["cat" in p.tags for p in found.train]))


def test_photos_elsewhere_and_unreadable_ones_are_left_out(store: Store) -> None:
    far = post(2000, "u1", "cat", path="https://example.org/1.jpg")
    store.add_posts([far, Post("lost", "u1", 1e9, ("cat",), (Photo("/gone.jpg", ""),))])
    found = read_examples(store, most_tags=100, use_all=True)
    ids = {p.post_id for p in (*found.train, *found.validation)}
    assert not ids & {"p2000", "lost"}


def test_too_little_to_learn_from() -> None:
    with Store.in_memory() as store:
        store.add_posts(post(i, "u", "cat") for i in range(30))
        with pytest.raises(ModelError, match="too little to learn from") as caught:
            read_examples(store, most_tags=100, use_all=False)
    assert "pixtag encoder" in caught.value.hint
