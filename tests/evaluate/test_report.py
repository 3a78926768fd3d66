"""The page: complete, self-contained, harmless whatever names it shows."""

from __future__ import annotations

import base64
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from logs import invented_log
from pixtag.errors import ConfigError
from pixtag.evaluate import ORACLE, References, evaluate, model_of
from pixtag.evaluate.baselines import base_level, popularity
from pixtag.evaluate.report import make_report, tables_of, text
from pixtag.splits import temporal_split
from pixtag.store import Store
from pixtag.types import Photo, Post, Rankings
from worlds import bundle, world


def model(log, start, stop, k, sources):
    ranked = (base_level(0.5) if sources.history else popularity)(log, start, stop, k)
    probs = np.tile(1 / np.arange(2, k + 2), (stop - start, 1)).astype(np.float32)
    return Rankings(ranked.rows, ranked.tag_ids, probs, ranked.tags)


@pytest.fixture(scope="module")
def log():
    return invented_log(150, n_users=5, seed=6)


@pytest.fixture(scope="module")
def found(log):
    return evaluate(log, model=model, split=temporal_split(log), notes=("<b>careful</b>",))


class Nesting(HTMLParser):
    """Checks that every tag is closed where it was opened."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_has_every_part_and_asks_for_nothing(found):
    page = make_report(found.figures(), found.comparison, None)
    for heading in ("30 posts of", "What each source adds", "For whom", "percentages", "Beyond",
                    "gained and lost", "As time goes on", "minus each set",
                    "Everyone weighs the same"):  # fmt: skip
        assert heading in page
    p5 = found.comparison.methods["pixtag"].values["p@5"].mean()
    assert f"<td>{p5:.3f}<small>" in page
    for drawn in re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page):
        assert b"</svg>" in base64.b64decode(drawn)
    assert "<script" not in page
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    parser = Nesting()
    parser.feed(page)
    assert parser.open == []
    assert "nan" not in re.sub(r"<style>.*?</style>", "", page).lower().split()


def test_an_oracle_has_a_part_of_their_own():
    log = world()
    split = temporal_split(log)

    def knows(log, start, stop, k):
        ids = np.full((stop - start, 10), len(log.tags), np.int64)
        for i, row in enumerate(range(start, stop)):
            uses = log.tag_ids[log.tag_start[row] : log.tag_start[row + 1]][:10]
            ids[i, : len(uses)] = uses
        return Rankings(np.arange(start, stop), ids, np.zeros(ids.shape, np.float32), log.tags)

    found = evaluate(
        log, model=model_of(bundle()), split=split, ablation=False,
        methods=References({"base_level": base_level(0.5), ORACLE: knows}),
    )  # fmt: skip
    page = make_report(found.figures(), found.comparison, None)
    assert "How much of what can be known" in page
    parser = Nesting()
    parser.feed(page)
    assert parser.open == []


def test_names_cannot_break_out(found):
    figures = replace(found.figures(), title='<script>alert("x")</script>')
    page = make_report(figures, found.comparison, None)
    assert "<script" not in page
    assert "<b>careful" not in page
    assert "&lt;b&gt;careful" in page


def test_the_terminal_shows_the_same_figures_in_fewer_tables(found):
    figures = found.figures()
    brief, whole = (tables_of(figures, is_brief=is_brief) for is_brief in (True, False))
    assert {t.title for t in brief} < {t.title for t in whole}
    assert brief[0].lines[0][1] is figures.find("pixtag", "p@1") is whole[0].lines[0][1]
    row = figures.find("pixtag", "p@1")
    assert text(replace(row, mean=0.5, low=0.25, high=1.0)) == "0.500 .250\u20131.000"
    assert text(replace(row, mean=0.5, low=float("nan"))) == "0.500"
    assert text(replace(row, mean=float("nan"))) == "-"


def test_without_jinja_or_matplotlib_one_line_says_so(found, monkeypatch):
    for name in ("matplotlib", "jinja2"):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ConfigError, match=f"a page needs {name}") as caught:
            make_report(found.figures(), found.comparison, None)
        assert "pip install '.[train]'" in caught.value.hint


def test_a_page_without_a_model_leaves_out_what_it_has_not(log):
    bare = evaluate(log, split=temporal_split(log), methods=References({"popularity": popularity}))
    page = make_report(bare.figures(), bare.comparison, None)
    assert "What each source adds" not in page
    assert "percentages" not in page


def test_examples_show_readable_photos_and_skip_the_others(tmp_path, log, found):
    photos = {}
    for row in range(120, 150):
        path = tmp_path / f"{row}.png"
        Image.new("RGB", (60, 40), (row, 20, 90)).save(path)
        photos[log.post_ids[row]] = path
    photos[log.post_ids[120]].write_bytes(b"broken")
    with Store.open(tmp_path / "my.sqlite", create=True) as store:
        store.add_posts(
            Post(name, "ana", float(log.at[i]), tuple(log.tags_of(i)),
                 (Photo(str(photos[name]), f"{i:064x}"),))
            for i, name in enumerate(log.post_ids) if name in photos
        )  # fmt: skip
        page = make_report(found.figures(), found.comparison, store)
    assert 5 <= page.count("data:image/jpeg;base64,") <= 12
    assert 'class="right"' in page
