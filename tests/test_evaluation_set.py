"""The evaluation set that ships in the repository."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from pixtag.bundle import load_bundle
from pixtag.encoder import load_encoder
from pixtag.evaluate import compare
from pixtag.evaluate.baselines import base_level, image_neighbours
from pixtag.evaluate.labelled import read_photos, unpack
from pixtag.evaluate.past import read_post_ids
from pixtag.splits import temporal_split
from pixtag.store import Store

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location(
        "evaluation_set", ROOT / "tools" / "evaluation_set.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_packing_loses_next_to_nothing(tool):
    rng = np.random.default_rng(0)
    exact = np.maximum(rng.gamma(0.5, 0.5, (200, 64)) - 0.1, 0).astype(np.float32)
    again = unpack(*tool.pack(exact))
    cosine = (exact * again).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(again, axis=1)
    assert cosine.min() > 0.9999
    constant = np.full((3, 2), 7.0, np.float32)
    assert np.array_equal(unpack(*tool.pack(constant)), constant)


def test_the_set_is_small_and_gives_the_known_figures(tool, tmp_path):
    folder = ROOT / "evalset"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 20e6
    path = tmp_path / "world.sqlite"
    tool.build_store(folder, path)
    with Store.open(path, read_only=True) as store:
        log = store.log(load_encoder().digest)
    assert (len(log), len(log.users), len(log.tags)) == (11_975, 448, 1_131)
    assert log.has_photo.all()
    start, stop = temporal_split(log).bounds("test")
    rankers = {"base_level": base_level(0.5), "image_neighbours": image_neighbours()}
    made = compare(log, start, stop, rankers).methods
    assert made["base_level"].values["p@5"].mean() == pytest.approx(0.420, abs=0.002)
    # The neighbours show that each embedding lies at its own post.
    assert made["image_neighbours"].values["p@5"].mean() == pytest.approx(0.273, abs=0.005)


def test_town_deals_the_same_photos_to_other_people(tool, tmp_path):
    folder, path = ROOT / "evalset", tmp_path / "town.sqlite"
    tool.build_store(folder, path, "town")
    with Store.open(path, read_only=True) as store:
        log = store.log(load_encoder().digest)
    is_tagged = np.diff(log.tag_start) > 0
    assert (len(log), len(log.users), len(log.tags)) == (11_975, 418, 813)
    assert int(is_tagged.sum()) == 8_850
    assert log.has_photo.all()
    # Posts without tags are part of the past and count for the cut; only tagged ones are scored.
    start, stop = temporal_split(log).bounds("test")
    assert (start, stop) == (9_580, 11_975)
    rankers = {"base_level": base_level(0.5), "image_neighbours": image_neighbours()}
    found = compare(log, start, stop, rankers)
    assert len(found.rows) == int(is_tagged[start:].sum())
    assert found.methods["base_level"].values["r@5"].mean() == pytest.approx(0.296, abs=0.003)
    neighbours = found.methods["image_neighbours"].values["r@5"].mean()
    assert neighbours == pytest.approx(0.219, abs=0.005)
    told = read_post_ids(folder / tool.NEW_SUBJECTS)
    assert told <= set(log.post_ids)
    assert sum(log.post_ids[row] in told for row in found.rows) == 198


def test_labelled_photos_name_rows_of_the_set(tool):
    folder = ROOT / "evalset"
    photos = read_photos(folder, None, load_bundle())
    exact = {}
    for ground, name in tool.POSTS.items():
        with gzip.open(folder / name, "rt") as file:
            posts = [json.loads(line) for line in file]
        exact[ground] = {p["post_id"]: p.get("photo", row) for row, p in enumerate(posts)}
    with (folder / "manifest.csv").open(newline="") as file:
        for record in csv.DictReader(file):
            if record["row"]:
                world, town = record["posts"].split()
                assert exact["world"][world] == exact["town"][town] == int(record["row"])
            else:
                assert (folder / record["file"]).exists()
    assert len(photos) > 400
    assert all(photo.tags[0] in photo.names for photo in photos)


def test_shares_of_the_knowable_are_told(tool):
    known = tomllib.loads((ROOT / "evalset" / "grounds.toml").read_text())
    assert set(known) == set(tool.GROUNDS) == set(tool.POSTS)
    row = {"method": "pixtag", "kind": "mean", "over": "posts", "metric": "r@5", "mean": 0.4203}
    found = {"rows": [{**row, "segment": "all"}, {**row, "segment": "new subject", "mean": 0.291}]}
    lines = tool.shares_of(found, "town", known["town"]["knowable"])
    assert lines == [
        ["town", "all", "r@5", "0.420", "0.518", "0.81"],
        ["town", "new subject", "r@5", "0.291", "0.485", "0.60"],
    ]


def test_town_is_written_with_the_rows_of_its_photos(tool, tmp_path):
    folder = tmp_path / "world"
    folder.mkdir()
    posts = [{"post_id": f"p{i}", "image": f"images/{i}.jpg", "tags": []} for i in range(3)]
    dealt = [{**post, "post_id": f"q{i}"} for i, post in enumerate(reversed(posts))]
    for name, lines in (("posts.jsonl", posts), ("town.jsonl", dealt)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / tool.NEW_SUBJECTS).write_text("q1\n")
    tool.make_town(folder, tmp_path, {"p0": 7, "p1": 5, "p2": 6})
    with gzip.open(tmp_path / tool.POSTS["town"], "rt") as file:
        written = [json.loads(line) for line in file]
    assert [(p["post_id"], p["photo"], p["image"]) for p in written] == [
        ("q0", 6, ""), ("q1", 5, ""), ("q2", 7, ""),
    ]  # fmt: skip
    assert (tmp_path / tool.NEW_SUBJECTS).read_text() == "q1\n"
