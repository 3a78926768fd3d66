"""`pixtag evaluate` and `pixtag leakcheck`, as a person runs them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest

import handmade
from logs import invented_log

QUICK = {"PIXTAG_TRAIN_EPOCHS": "8", "PIXTAG_TRAIN_BATCH": "32", "PIXTAG_TRAIN_FOLDS": "2"}


def write_posts(path, log, *, timed=True):
    with path.open("w", encoding="utf-8") as file:
        for i in range(len(log)):
            at = datetime.fromtimestamp(float(log.at[i]), UTC).isoformat()
            line = {
                "post_id": log.post_ids[i],
                "user_id": log.users[log.user_of_post[i]],
                "posted_at": at if timed else None,
                "image": "",
                "tags": log.tags_of(i),
            }
            file.write(json.dumps(line) + "\n")


def read_figures(path):
    """The long table, and its figures by what they are about."""
    whole = json.loads(path.read_text())
    return whole, {
        (r["segment"], r["method"], r["metric"], r["over"], r["kind"], r["other"]): r
        for r in whole["rows"]
    }


def mean(rows, method, metric, segment="all", kind="mean", other=""):
    return rows[segment, method, metric, "posts", kind, other]["mean"]


@pytest.fixture
def store(tmp_path, pixtag):
    write_posts(tmp_path / "posts.jsonl", invented_log(420, n_users=12, width=0, seed=4))
    done = pixtag("import", "posts.jsonl", "--store", "my.sqlite", "--no-embed")
    assert done.returncode == 0, done.stderr
    return tmp_path / "my.sqlite"


def test_baselines_alone_need_no_training(store, pixtag):
    done = pixtag("evaluate", "--store", store, "--baselines-only", "--json", "f.json")
    assert done.returncode == 0, done.stderr
    assert "base_level" in done.stdout
    sentence = done.stdout.partition("\n")[0]
    assert re.fullmatch(
        r"With \w+ the first hashtag is right on \d+ of 100 posts and the first five hold \d+ % of "
        r"a post's own hashtags; with \w+, the best of the other methods, \d+ and \d+\.",
        sentence,
    ), sentence
    assert "perfect ranking" in done.stdout
    _, rows = read_figures(store.parent / "f.json")
    assert "pixtag" not in {method for _, method, *_ in rows}
    look = json.loads((store.parent / "my.sqlite.looks.jsonl").read_text())
    assert look["bundle"] is None
    assert look["period"] == "test"
    assert look["command"].startswith("pixtag evaluate --store")


def test_everything_in_one_run_then_the_kept_bundle_again(store, pixtag):
    folder = store.parent
    done = pixtag(
        "evaluate", "--store", store, "--size", "tiny", "--json", "f.json", "--predictions",
        "p.jsonl", "--trec", "runs", "--html", "r.html", env=QUICK, timeout_s=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "trained" in done.stderr
    figures, rows = read_figures(folder / "f.json")
    methods = {method for segment, method, *_ in rows if segment == "all"}
    assert figures["rows"][0]["method"] == "pixtag"
    assert len({m for s, m, *_ in rows if s == "all, by sources"} - {"perfect ranking"}) == 8
    whole = ("all, by sources", "pixels+history+trend", "p@5", "posts", "difference")
    assert rows[*whole, "pixels+trend"]["low"] > 0
    cold = rows["cold people", "pixtag", "p@5", "posts", "difference", "base_level"]
    assert cold["n_people"] >= 1
    assert set(figures["chosen"]) < methods
    for heading in ("p@5 by tenths in time", "everyone weighs the same"):
        assert heading in done.stdout
    assert "expected calibration error" in done.stdout
    lines = [json.loads(line) for line in (folder / "p.jsonl").read_text().splitlines()]
    assert len(lines) == figures["split"]["measured"]["n_posts"] == 84
    assert (folder / "runs" / "pixtag.run").exists()
    page = (folder / "r.html").read_text()
    assert "data:image/svg+xml" in page
    assert "http" not in page
    assert (folder / "my.sqlite.evaluated").is_file()

    again = pixtag(
        "evaluate", "--store", store, "--model", "my.sqlite.evaluated", "--json", "g.json",
        "--no-ablation",
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    _, same = read_figures(folder / "g.json")
    for metric in ("p@1", "p@5", "r@10"):
        key = ("all", "pixtag", metric, "posts", "mean", "")
        assert same[key] == rows[key]
    assert len((folder / "my.sqlite.looks.jsonl").read_text().splitlines()) == 2

    early = pixtag(
        "evaluate", "--store", store, "--model", "my.sqlite.evaluated", "--period", "validation"
    )
    assert early.returncode == 1
    assert "error: the model learned from 42 of the 42 posts" in early.stderr
    assert "hint:" in early.stderr

    check = pixtag(
        "leakcheck", "--store", store, "--model", "my.sqlite.evaluated", "--times", "4",
        "--last", "84", "--json",
    )  # fmt: skip
    assert check.returncode == 0, check.stderr
    report = json.loads(check.stdout)
    assert report["leaks"] == []
    assert report["n_compared"] > 100
    assert "no leak" in check.stderr


def test_an_oracle_is_a_ceiling_and_a_broken_one_an_error(store, pixtag):
    log = invented_log(420, n_users=12, width=0, seed=4)
    oracle = store.parent / "oracle.jsonl"
    with oracle.open("w", encoding="utf-8") as file:
        for row in range(len(log)):
            tags = list(dict.fromkeys([*log.tags_of(row), *log.tags]))[:10]
            file.write(json.dumps({"post_id": log.post_ids[row], "tags": tags}) + "\n")
    words = ["evaluate", "--store", store, "--baselines-only", "--no-cold"]
    done = pixtag(*words, "--oracle", oracle, "--json", "f.json")
    assert done.returncode == 0, done.stderr
    assert "share of the oracle" in done.stdout
    _, rows = read_figures(store.parent / "f.json")
    assert mean(rows, "oracle", "p@5") == pytest.approx(mean(rows, "perfect ranking", "p@5"))
    assert 0 < mean(rows, "base_level", "p@5", "all", "share of the oracle", "oracle") < 1
    n_looks = len((store.parent / "my.sqlite.looks.jsonl").read_text().splitlines())
    for text, message in (("{", "line 1 is not JSON"), ("", "lacks 84 of the 84 posts")):
        oracle.write_text(text)
        done = pixtag(*words, "--oracle", oracle)
        assert done.returncode == 2
        assert message in done.stderr
        assert "hint:" in done.stderr
    assert len((store.parent / "my.sqlite.looks.jsonl").read_text().splitlines()) == n_looks


def test_new_subjects_come_from_a_file(store, pixtag):
    log = invented_log(420, n_users=12, width=0, seed=4)
    (store.parent / "new.txt").write_text("\n".join(log.post_ids[-5:]))
    words = ["evaluate", "--store", store, "--baselines-only", "--no-cold"]
    done = pixtag(*words, "--new-subjects", "new.txt", "--json", "f.json")
    assert done.returncode == 0, done.stderr
    assert "new subject" in done.stdout
    _, rows = read_figures(store.parent / "f.json")
    assert rows["new subject", "base_level", "p@5", "posts", "mean", ""]["n"] == 5
    assert rows["familiar subject", "base_level", "p@5", "posts", "mean", ""]["n"] == 79


def test_histories_before_labelled_photos_are_measured_as_served(tmp_path, pixtag):
    lines = ["file,concept,tags"]
    for concept, look in (("zebra", "stripes"), ("wood", "leaves")):
        for i in range(2):
            handmade.photo(tmp_path / f"{concept}{i}.jpg", look, i)
            lines.append(f"{concept}{i}.jpg,{concept},{' '.join(handmade.LOOKS[look])}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    handmade.bundle_file(tmp_path / "model")
    words = ["evaluate", "--protocol", "histories", "--photos", ".", "--model", "model"]
    done = pixtag(*words, "--json", "f.json")
    assert done.returncode == 0, done.stderr
    assert "4 photos of 2 concepts" in done.stdout
    assert "20 signed alone, photos too" in done.stdout
    _, rows = read_figures(tmp_path / "f.json")
    assert mean(rows, "nothing", "of a stranger's") == 1
    assert mean(rows, "typed: the right tag", "typed first") == 1


def test_a_store_of_few_posts_says_what_to_do(tmp_path, pixtag):
    write_posts(tmp_path / "posts.jsonl", invented_log(30, width=0))
    pixtag("import", "posts.jsonl", "--store", "small.sqlite", "--no-embed")
    done = pixtag("evaluate", "--store", "small.sqlite")
    assert done.returncode == 1
    assert "too little to learn from" in done.stderr
    assert "hint:" in done.stderr
    alone = pixtag("evaluate", "--store", "small.sqlite", "--baselines-only", "--no-cold")
    assert alone.returncode == 0, alone.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("leakcheck", "--times", "0"),
        ("leakcheck", "--last", "-5"),
        ("evaluate", "--protocol", "given", "--given", "0"),
        ("evaluate", "--seed", "-1"),
    ],
)
def test_numbers_out_of_range_are_refused(pixtag, words):
    done = pixtag(*words, "--store", "any.sqlite")
    assert done.returncode == 2
    assert "must be >=" in done.stderr.replace("Must", "must")


def test_what_baselines_alone_leave_idle_is_said(store, pixtag):
    alone = ("evaluate", "--store", store, "--baselines-only")
    done = pixtag(*alone, "--size", "tiny", "--no-ablation")
    assert done.returncode == 0, done.stderr
    said = "note: no model is measured (--baselines-only), whatever --size, --no-ablation says"
    assert said in done.stderr
    for protocol in ("strangers", "histories", "first-user"):
        done = pixtag(*alone, "--protocol", protocol)
        assert done.returncode == 2
        assert f"--protocol {protocol} measures Pixtag, which --baselines-only" in done.stderr
        assert "hint: " in done.stderr


def test_an_unknown_person_and_a_missing_store_are_errors(store, pixtag):
    done = pixtag("evaluate", "--store", store, "--user", "nobody", "--baselines-only")
    assert done.returncode == 2
    assert "nobody named 'nobody'" in done.stderr
    done = pixtag("evaluate", "--store", "missing.sqlite")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_posts_without_times_have_the_old_protocol(tmp_path, pixtag):
    log = invented_log(300, n_users=5, n_tags=40, width=0)
    write_posts(tmp_path / "posts.jsonl", log, timed=False)
    pixtag("import", "posts.jsonl", "--store", "old.sqlite", "--no-embed")
    done = pixtag("evaluate", "--store", "old.sqlite", "--baselines-only")
    assert done.returncode == 2
    assert "--protocol ancestor" in done.stderr
    done = pixtag(
        "evaluate", "--store", "old.sqlite", "--protocol", "ancestor", "--baselines-only",
        "--json", "old.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "history includes the test posts" in done.stdout
    figures, rows = read_figures(tmp_path / "old.json")
    assert len(figures["labels"]) == 32
    assert mean(rows, "counts (history includes the test posts)", "p@1") > mean(
        rows, "most frequent (no history)", "p@1"
    )
