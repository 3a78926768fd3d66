"""A ceiling from outside: read with care, measured like any method."""

from __future__ import annotations

import json

import numpy as np
import pytest

from logs import invented_log
from pixtag.errors import InputError
from pixtag.evaluate import ORACLE, References, evaluate, read_oracle
from pixtag.evaluate.baselines import base_level, popularity
from pixtag.evaluate.past import read_post_ids
from pixtag.evaluate.tables import PERFECT
from pixtag.splits import temporal_split
from pixtag.types import Post, PostLog

TWICE = json.dumps({"post_id": "p00250", "tags": [f"t{i}" for i in range(10)]})


@pytest.fixture(scope="module")
def log():
    return invented_log(300, n_users=12, seed=5)


def write(path, log, *, n_right=10, change=None):
    """An oracle that knows the first tags of each post and fills up with others."""
    with path.open("w", encoding="utf-8") as file:
        for row in range(240, 300):
            tags = list(dict.fromkeys([*log.tags_of(row)[:n_right], *log.tags]))[:10]
            file.write(json.dumps({"post_id": log.post_ids[row], "tags": tags}) + "\n")
        file.write("\n" if change is None else change)
    return path


def measured(log, path, **methods):
    split, more = temporal_split(log), References({ORACLE: read_oracle(path)})
    return evaluate(log, split=split, methods=References(methods), more=more).figures()


def share(found, metric, kind):
    return found.find("base_level", metric, kind=kind, minus=ORACLE)


def test_one_that_knows_everything_reaches_the_ceiling(tmp_path, log):
    found = measured(log, write(tmp_path / "o.jsonl", log), base_level=base_level(0.5))
    for metric in ("p@1", "p@5", "r@10", "ndcg@5"):
        ceiling = found.find(PERFECT, metric).mean
        assert found.find(ORACLE, metric).mean == pytest.approx(ceiling)
    reached = share(found, "p@5", "share of the oracle")
    expected = found.find("base_level", "p@5").mean / found.find(PERFECT, "p@5").mean
    assert reached.mean == pytest.approx(expected)
    assert reached.low < expected < reached.high


def test_above_the_base_nothing_is_gained_by_the_base_itself(tmp_path, log):
    path = write(tmp_path / "o.jsonl", log)
    found = measured(log, path, popularity=popularity, base_level=base_level(0.5))
    assert found.first == "base_level"
    gained = share(found, "p@5", "share above base_level")
    assert (gained.mean, gained.low, gained.high) == pytest.approx((0, 0, 0))


def test_an_oracle_below_the_base_has_no_share_above_it(tmp_path, log):
    found = measured(log, write(tmp_path / "o.jsonl", log, n_right=0), base_level=base_level(0.5))
    assert np.isnan(share(found, "p@1", "share above base_level").mean)
    assert share(found, "p@5", "share of the oracle").mean > 1


def test_tags_may_be_written_with_their_sign(tmp_path, log):
    path = tmp_path / "o.jsonl"
    tags = ["#Sea", "sun", *(f"t{i}" for i in range(8))]
    path.write_text(json.dumps({"post_id": "x", "tags": tags}))
    ranked = read_oracle(path)(PostLog.of([Post("x", "ana", 1.0, ("sea",))]), 0, 1, 2)
    assert [ranked.tags[t] for t in ranked.tag_ids[0]] == ["sea", "sun"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 61 is not JSON"),
        ("[]", "line 61 lacks post_id or tags"),
        ('{"post_id": "x"}', "line 61 lacks post_id or tags"),
        ('{"post_id": 5, "tags": []}', "line 61 lacks post_id or tags"),
        ('{"post_id": "x", "tags": ["a", "a", 3]}', "line 61: 1 different tags where 10"),
        (TWICE, "line 61: post 'p00250' stands there twice"),
    ],
)  # fmt: skip
def test_a_broken_line_is_named(tmp_path, log, line, message):
    path = write(tmp_path / "o.jsonl", log, change=line)
    with pytest.raises(InputError, match=message) as caught:
        read_oracle(path)
    assert "each line is" in caught.value.hint


def test_a_file_that_is_missing_or_not_text_is_an_error(tmp_path):
    with pytest.raises(InputError, match="cannot read the oracle"):
        read_oracle(tmp_path / "none.jsonl")
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        read_oracle(tmp_path / "b.jsonl")


def test_posts_that_the_oracle_lacks_are_counted_and_one_is_named(tmp_path, log):
    path = write(tmp_path / "o.jsonl", log)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[3:]))
    with pytest.raises(InputError, match=r"lacks 3 of the 60 posts.*'p00240'"):
        measured(log, path, popularity=popularity)


def test_names_of_posts_are_read_one_a_line(tmp_path):
    path = tmp_path / "new.txt"
    path.write_text("a\n b \n\n")
    assert read_post_ids(path) == {"a", "b"}
    path.write_text("\n")
    with pytest.raises(InputError, match="names no post") as caught:
        read_post_ids(path)
    assert "one post_id a line" in caught.value.hint
