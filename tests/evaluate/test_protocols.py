"""The table of protocols, and those for people whom the model never met."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from pixtag.bundle import hash_post_ids, load_bundle
from pixtag.cli.evaluate import Protocol
from pixtag.errors import InputError, LeakError
from pixtag.evaluate import PROTOCOLS, Request, run_protocol
from pixtag.evaluate.cold_start import evaluate_first_users, first_users, without_first_users
from pixtag.evaluate.labelled import evaluate_strangers, read_photos
from pixtag.splits import temporal_split
from pixtag.train.fit import fit
from worlds import QUICK, world


def test_the_command_line_knows_every_protocol():
    assert set(get_args(Protocol)) == set(PROTOCOLS)


@pytest.mark.parametrize("name", sorted(PROTOCOLS.keys() - {"strangers", "histories"}))
def test_a_protocol_on_posts_wants_a_store(name):
    with pytest.raises(InputError, match="measures on posts") as caught:
        run_protocol(name, Request(baselines_only=True))
    assert "--store" in caught.value.hint


# ------------------------------------------------------------------ first users


@pytest.fixture(scope="module")
def log():
    return world(900, seed=3, has_photos=False)


@pytest.fixture(scope="module")
def met_nobody(log, tmp_path_factory):
    """A bundle of the others' posts."""
    known = without_first_users(log, temporal_split(log))
    out = tmp_path_factory.mktemp("first") / "bundle"
    return fit(known, out=out, config=QUICK, use_all=True)


def test_first_users_are_kept_out_of_what_is_learned(log):
    people = first_users(log)
    assert len(people) == 10
    known = without_first_users(log, temporal_split(log))
    assert not set(known.user_of_post.tolist()) & set(people.tolist())
    assert known.at.max() < log.at[temporal_split(log).train_stop]


def test_first_users_are_replayed_from_their_first_post(log, met_nobody):
    split = temporal_split(log)
    found = evaluate_first_users(log, met_nobody, split=split, stop=split.test_stop)
    first = found.find("pixtag", "p@5", segment="post 1")
    assert first.n == first.n_people == 10
    # At the first post an own history says nothing: the baselines are all popularity.
    own = [found.find(m, "p@5", segment="post 1").mean for m in ("most_used", "most_recent")]
    assert own[0] == own[1]
    best = found.about["best_baseline"]
    each = found.find("each person's best baseline", "p@5").mean
    assert each >= found.find(best, "p@5").mean
    added = found.find("pixtag", "p@5", minus=best)
    expected = found.find("pixtag", "p@5").mean - found.find(best, "p@5").mean
    assert added.mean == pytest.approx(expected)
    whole = found.find("pixtag", "p@5").n
    steps = [s for s in found.values("segment") if s.startswith("post ")]
    assert sum(found.find("pixtag", "p@5", segment=s).n for s in steps) == whole


def test_a_bundle_that_met_the_people_is_refused(log, met_nobody):
    split = temporal_split(log)
    mine = [log.post_ids[i] for i in np.flatnonzero(np.isin(log.user_of_post, first_users(log)))]
    met = replace(met_nobody, seen=hash_post_ids(mine[:3], salt=met_nobody.manifest.salt))
    with pytest.raises(LeakError, match="of the people taken out"):
        evaluate_first_users(log, met, split=split, stop=split.test_stop)


# ------------------------------------------------------------------ strangers


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "labelled"
    folder.mkdir()
    lines = ["file,concept,tags"]
    for i, (concept, colour) in enumerate([("sea", (10, 40, 200)), ("fox", (200, 90, 20))] * 3):
        Image.new("RGB", (64, 48), colour).save(folder / f"{i}.png")
        lines.append(f"{i}.png,{concept},{concept} {concept}lover nature")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_labelled_photos_are_read_with_the_tags_that_fit(photos, tmp_path):
    found = read_photos(photos, None, load_bundle())
    assert [p.concept for p in found] == ["sea", "fox"] * 3
    assert found[0].tags == ("sea", "sealover", "nature")
    reviewed = tmp_path / "tags.toml"
    reviewed.write_text('[tags]\nsea = ["ocean"]\nfox = ["foxes", "wild"]\n')
    assert read_photos(photos, reviewed, load_bundle())[1].tags == ("foxes", "wild")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read the labelled photos"),
        ("file,concept,tags\n", "lists no photo"),
        ("file,concept\na.png,sea\n", "line 2 lacks file, concept or tags"),
    ],
)
def test_a_folder_without_what_is_needed_is_an_error(photos, text, message):
    if text is None:
        (photos / "manifest.csv").unlink()
    else:
        (photos / "manifest.csv").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        run_protocol("strangers", Request(photos=photos))
    assert "manifest.csv" in caught.value.hint


def test_without_photos_one_line_says_what_to_give():
    with pytest.raises(InputError, match="none are given") as caught:
        run_protocol("strangers", Request())
    assert "--photos" in caught.value.hint


def test_a_stranger_is_answered_by_the_shipped_model(photos):
    shipped = load_bundle()
    found = evaluate_strangers(shipped, read_photos(photos, None, load_bundle()))
    assert found.values("method") == ["pixtag", "popularity", "class names alone"]
    for method in found.values("method"):
        row = found.find(method, "share that fits")
        assert row.n == 6
        assert -1e-9 <= row.low - 1e-9 <= row.mean <= row.high + 1e-9 <= 1 + 1e-8
    popular = shipped.vocabulary[int(np.argmax(shipped.extras["prior_people"]))]
    every = [replace(photo, tags=(popular,)) for photo in read_photos(photos, None, load_bundle())]
    assert evaluate_strangers(shipped, every).find("popularity", "the thing").mean == 1


def test_photos_that_the_model_learned_from_are_left_out(photos):
    labelled = read_photos(photos, None, load_bundle())

    class Knowing:
        """The shipped bundle, had it seen some of them."""

        def __init__(self, n_seen):
            self._bundle, self._n_seen = load_bundle(), n_seen

        def __getattr__(self, name):
            return getattr(self._bundle, name)

        def has_seen(self, post_ids):
            assert not post_ids or list(post_ids)[1] == "photo-fox-1"
            return np.arange(len(post_ids)) < self._n_seen

    assert evaluate_strangers(Knowing(2), labelled).find("pixtag", "the thing").n == 4
    with pytest.raises(LeakError, match="all 6 photos"):
        evaluate_strangers(Knowing(6), labelled)
