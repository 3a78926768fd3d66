"""Verbs that write files keep what they read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pixtag.store import Store
from pixtag.types import Post


@pytest.mark.parametrize(
    "words",
    [
        ("export", "--out", "my.sqlite"),
        ("export", "--out", "./my.sqlite"),
        ("export", "--out", "pipe"),
        ("train", "--out", "."),
        ("evaluate", "--json", "my.sqlite"),
        ("evaluate", "--html", "my.sqlite"),
        ("evaluate", "--predictions", "my.sqlite"),
        ("evaluate", "--trec", "my.sqlite"),
        ("evaluate", "--json", "same", "--html", "same"),
        ("evaluate", "--protocol", "given", "--json", "my.sqlite"),
    ],
)
def test_no_verb_writes_over_its_store_or_a_device(pixtag, tmp_path: Path, words) -> None:
    if words[0] == "train":
        pytest.importorskip("optax", reason="training needs the extra")
    with Store.open(tmp_path / "my.sqlite", create=True) as store:
        store.add_posts([Post("p", "ana", 1e9, ("coffee",))])
    os.mkfifo(tmp_path / "pipe")  # stands for a device, which a failing test would destroy
    done = pixtag(words[0], "--store", "my.sqlite", *words[1:])
    assert done.returncode == 2, done.stderr
    assert "hint:" in done.stderr
    assert {p.name.partition("-")[0] for p in tmp_path.iterdir()} == {"my.sqlite", "pipe"}
    assert (tmp_path / "pipe").is_fifo()
    with Store.open(tmp_path / "my.sqlite") as store:
        assert store.summary().n_posts == 1


def test_export_leaves_its_neighbours(pixtag, tmp_path: Path) -> None:
    with Store.open(tmp_path / "posts.part", create=True) as store:
        store.add_posts([Post("p", "ana", 1e9, ("coffee",))])
    assert pixtag("export", "--store", "posts.part", "--out", "posts").returncode == 0
    with Store.open(tmp_path / "posts.part") as store:
        assert store.summary().n_posts == 1
    assert "coffee" in (tmp_path / "posts").read_text()
