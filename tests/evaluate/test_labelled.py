"""Labelled photos: asked about by a stranger, and after made-up histories."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import handmade
import pixtag.evaluate.labelled as labelled
from pixtag.bundle import load_bundle
from pixtag.errors import InputError, LeakError, ModelError
from pixtag.evaluate import Request, run_protocol
from pixtag.evaluate.labelled import (
    FIRST,
    FITS,
    LEAST_UNSEEN,
    N_POSTS,
    NOTHING,
    OF_STRANGER,
    OUT_OF_PLACE,
    SIGNATURE,
    SIGNED,
    THING,
    History,
    LabelledPhoto,
    evaluate_histories,
    evaluate_strangers,
    histories_of,
    read_photos,
)

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


# ------------------------------------------------------------------ embeddings instead of photos


def packed(folder, embeddings, digest):
    """A folder whose manifest names rows of embeddings, packed as the evaluation set is."""
    folder.mkdir()
    floor = embeddings.min(axis=0)
    root = np.sqrt(embeddings - floor)
    step = np.maximum(root.max(axis=0) / 255, 1e-12)
    codes = np.rint(root / step).astype(np.uint8)
    np.savez(folder / "embeddings.npz", codes=codes, step=step, floor=floor, encoder=digest)
    lines = [f"{i},sky,sky blue,a{i} b{i}" for i in range(len(embeddings))]
    (folder / "manifest.csv").write_text("\n".join(["row,concept,tags,posts", *lines]) + "\n")
    return folder


def test_a_manifest_may_name_rows_of_embeddings(tmp_path):
    exact = np.stack([handmade.embedding("sky", i) for i in range(3)])
    model = handmade.bundle()
    folder = packed(tmp_path / "rows", exact, model.manifest.encoder_digest)
    found = read_photos(folder, None, model)
    assert [p.post_ids for p in found] == [("a0", "b0"), ("a1", "b1"), ("a2", "b2")]
    for photo, row in zip(found, exact, strict=True):
        cosine = photo.embedding @ row / np.linalg.norm(photo.embedding) / np.linalg.norm(row)
        assert cosine > 0.999
    (folder / "manifest.csv").write_text("row,concept,tags\n3,sky,sky\n")
    with pytest.raises(InputError, match="line 2 lacks"):
        read_photos(folder, None, model)
    other = packed(tmp_path / "other", exact, "0" * 64)
    with pytest.raises(ModelError):
        read_photos(other, None, model)


# ------------------------------------------------------------------ histories

FITTING = {"stripes": ("zebra", "pattern"), "leaves": ("forest", "nature"), "sky": ("sky", "blue")}


@pytest.fixture(scope="module")
def looks():
    """Photos that the model by hand knows, and one that it has no word for."""
    made = [
        LabelledPhoto(look, tags, (f"{look}-{i}",), embedding=handmade.embedding(look, i))
        for look, tags in FITTING.items()
        for i in range(3)
    ]
    odd = LabelledPhoto("odd", ("oddity",), ("odd-0",), embedding=handmade.embedding("sky", 9))
    return [*made, odd]


@pytest.fixture(scope="module")
def figures(looks):
    return evaluate_histories(handmade.bundle(), looks)


def test_histories_are_what_their_names_say(looks):
    made = dict(histories_of(looks, 0, np.random.default_rng(0)))
    embeddings = [photo.embedding for photo in looks]
    mine, theirs = set(looks[0].tags), {t for p in looks[1:] for t in p.tags} - set(looks[0].tags)
    for name, history in made.items():
        log = history.past(embeddings)
        tags = {tag for one in history.tags for tag in one}
        n_own = len(log) - len(history.others)
        assert n_own == (int(name.split()[0]) if name[0].isdigit() else 0), name
        assert bool(history.others) == name.endswith("beside others")
        assert not mine & {tag for _, tags in history.others for tag in tags}
        assert log.has_photo.all() == (name.endswith("photos too") or not len(log)), name
        if "another subject" in name and not history.typed:
            assert tags <= theirs or "unknown" in name
        if "unknown" in name:
            assert not tags & (mine | theirs)
    assert set(made[f"{N_POSTS} without tags"].tags) == {()}
    assert set(made[f"{N_POSTS} signed alone"].tags) == {(SIGNATURE,)}
    assert len({*made[f"{N_POSTS} with one set on everything"].tags}) == 1
    same = made[f"{N_POSTS} on the same subject, photos too"]
    assert 0 not in same.photos
    assert {looks[i].concept for i in same.photos} == {"stripes"}
    two = made[f"{2 * N_POSTS} on two other subjects, photos too"]
    own = [[tag for tag in tags if tag.endswith("qz")] for tags in two.tags]
    assert len({looks[i].concept for i in two.photos}) == 2
    assert {tag for one in own for tag in one} == {
        f"{looks[i].concept[::-1]}qz" for i in two.photos
    }
    assert made["typed: the right tag"].typed == ("zebra",)
    assert set(made["typed: a mixed handful"].typed) <= {"forest", "sky", "oddity"}
    again = dict(histories_of(looks, 0, np.random.default_rng(0)))
    assert again == made


def test_own_tags_are_out_of_place_unless_they_fit_or_are_on_every_post(looks, monkeypatch):
    posts = [("zebra", "mine", "odd"), ("mine", "cat")]
    given = ["zebra", "mine", "odd", "cat", "forest"]
    monkeypatch.setattr(labelled, "histories_of", lambda *_: iter(
        [(NOTHING, History()), ("after two", History(posts))]))  # fmt: skip
    monkeypatch.setattr(labelled.Asker, "fives", lambda *_: [given])
    found = evaluate_histories(handmade.bundle(), looks[:1])
    assert looks[0].tags == ("zebra", "pattern")
    assert found.find("after two", OUT_OF_PLACE).mean == 2, "odd and cat"
    assert found.find(NOTHING, OUT_OF_PLACE).mean == 0


def test_answers_after_a_history_are_held_against_a_strangers(figures, looks):
    assert figures.first == NOTHING
    thing = figures.find(NOTHING, THING)
    assert (thing.mean, thing.n, thing.n_people) == (pytest.approx(0.9), 10, 4)
    assert figures.find(NOTHING, OF_STRANGER).mean == 1
    for name in figures.values("method"):
        ratio, named = figures.find(name, OF_STRANGER), figures.find(name, THING)
        if named.n == 10:
            assert ratio.mean == pytest.approx(named.mean / thing.mean)
        if name != NOTHING:
            lost = figures.find(name, FITS, minus=NOTHING)
            assert lost.low <= lost.mean <= lost.high
    # The odd photo has no other of its kind.
    assert figures.find(f"{N_POSTS} on the same subject, photos too", THING).n == 9


def test_the_signature_and_the_typed_tag_are_looked_for_where_there_is_one(figures):
    signed = [n for n in figures.values("method") if figures.find(n, SIGNED)]
    assert len(signed) == 4
    assert all(figures.find(name, SIGNED).mean == 1 for name in signed)
    typed = [n for n in figures.values("method") if figures.find(n, FIRST)]
    assert typed == ["typed: the right tag"]
    assert figures.find(typed[0], FIRST).mean > 0.8


def test_the_same_seed_asks_the_same(figures, looks):
    assert evaluate_histories(handmade.bundle(), looks).rows == figures.rows


def test_photos_that_the_model_met_are_left_out_or_told(looks):
    class Knowing:
        def __init__(self, known):
            self._bundle, self._known = handmade.bundle(), known

        def __getattr__(self, name):
            return getattr(self._bundle, name)

        def has_seen(self, post_ids):
            return np.isin(post_ids, list(self._known))

    met = evaluate_histories(Knowing({"sky-0"}), looks)
    assert met.find(NOTHING, THING).n == 10
    assert "learned from 1 of the 10 photos" in met.notes[0]
    many = [replace(looks[i % 9], post_ids=(f"many-{i}",)) for i in range(LEAST_UNSEEN + 2)]
    apart = evaluate_histories(Knowing({"many-0", "many-1"}), many)
    assert apart.find(NOTHING, THING).n == LEAST_UNSEEN
    assert "2 photos that the model learned from are not asked about" in apart.notes[0]
