"""A ceiling from outside: read with care, measured like any method."""

from __future__ import annotations

import json

import numpy as np
import pytest

from logs import invented_log
from pixtag.baselines import base_level, popularity
from pixtag.errors import InputError
from pixtag.evaluate import ORACLE, References, evaluate, oracle, read_oracle
from pixtag.splits import temporal_split

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
    split = temporal_split(log)
    more = References({ORACLE: oracle(read_oracle(path))}, {})
    return evaluate(log, split=split, methods=methods, more=more).as_dict()


def test_one_that_knows_everything_reaches_the_ceiling(tmp_path, log):
    figures = measured(log, write(tmp_path / "o.jsonl", log), base_level=base_level(0.5))
    for metric in ("p@1", "p@5", "r@10", "ndcg@5"):
        assert figures["methods"][ORACLE][metric]["mean"] == pytest.approx(
            figures["ceiling"][metric]
        )
    share = figures["knowable"]["of_all"]["p@5"]
    expected = figures["methods"]["base_level"]["p@5"]["mean"] / figures["ceiling"]["p@5"]
    assert share["mean"] == pytest.approx(expected)
    assert share["low"] < expected < share["high"]


def test_above_the_base_nothing_is_gained_by_the_base_itself(tmp_path, log):
    path = write(tmp_path / "o.jsonl", log)
    found = measured(log, path, popularity=popularity, base_level=base_level(0.5))
    assert next(iter(found["methods"])) == "base_level"
    gained = found["knowable"]["above_base"]["p@5"]
    assert gained == pytest.approx({"mean": 0, "low": 0, "high": 0})


def test_an_oracle_below_the_base_has_no_share_above_it(tmp_path, log):
    found = measured(log, write(tmp_path / "o.jsonl", log, n_right=0), base_level=base_level(0.5))
    assert np.isnan(found["knowable"]["above_base"]["p@1"]["mean"])
    assert found["knowable"]["of_all"]["p@5"]["mean"] > 1


def test_tags_may_be_written_with_their_sign(tmp_path, log):
    path = tmp_path / "o.jsonl"
    tags = ["#Sea", "sun", *(f"t{i}" for i in range(8))]
    path.write_text(json.dumps({"post_id": "x", "tags": tags}))
    assert read_oracle(path)["x"][:2] == ["sea", "sun"]


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
