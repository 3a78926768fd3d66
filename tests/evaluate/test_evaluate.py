"""The protocol from end to end, with a model that is a baseline in disguise."""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pytest

from logs import invented_log
from pixtag.baselines import base_level, image_neighbours, popularity, random_tags
from pixtag.cli.output import to_json
from pixtag.errors import InputError
from pixtag.evaluate import (
    PIXTAG,
    compare,
    evaluate,
    evaluate_cold,
    log_look,
    reference_methods,
    tag_gains,
    write_predictions,
    write_trec,
)
from pixtag.evaluate.protocol import choose
from pixtag.evaluate.run import _cold_figures
from pixtag.splits import Split, temporal_split
from pixtag.types import Post, PostLog, Rankings


def model(log, start, stop, k, sources):
    """History when it may, pixels when it may, else popularity; with invented probabilities."""
    ranker = popularity
    if sources.pixels:
        ranker = image_neighbours(10)
    if sources.history:
        ranker = base_level(0.5)
    ranked = ranker(log, start, stop, k)
    probs = np.tile(1 / np.arange(2, k + 2), (stop - start, 1)).astype(np.float32)
    return Rankings(ranked.rows, ranked.tag_ids, probs, ranked.tags)


@pytest.fixture(scope="module")
def log():
    return invented_log(400, n_users=15, seed=5)


@pytest.fixture(scope="module")
def found(log):
    return evaluate(log, model=model, split=temporal_split(log))


@pytest.fixture(scope="module")
def figures(found):
    return json.loads(to_json(found.as_dict()))


def test_every_method_and_metric_is_there(figures):
    methods = figures["methods"]
    assert set(methods) == {
        PIXTAG, "random", "popularity", "popularity_day", "popularity_week", "most_used",
        "most_recent", "base_level", "base_level_popularity", "co_occurrence", "image_neighbours",
        "linear_probe",
    }  # fmt: skip
    for name in ("p@1", "p@3", "p@5", "p@10", "r@5", "r@10", "hit@5", "ndcg@5", "mrr"):
        figure = methods[PIXTAG][name]
        assert figure["low"] <= figure["mean"] <= figure["high"] <= 1, name
        assert figure["mean"] <= figures["ceiling"][name]
    assert figures["split"]["train"]["n_posts"] == 280
    assert figures["split"]["measured"]["n_posts"] == 80
    assert 0 < figures["calibration"]["ece"] < 1


def test_the_order_of_methods_is_as_it_should_be(figures):
    p5 = {name: figure["p@5"]["mean"] for name, figure in figures["methods"].items()}
    assert p5["random"] < p5["popularity"] < p5["base_level"]
    assert p5["image_neighbours"] > p5["popularity"]


def test_paired_differences_are_of_pixtag_minus_the_other(figures):
    methods, paired = figures["methods"], figures["paired"]
    assert PIXTAG not in paired
    for name, difference in paired.items():
        expected = methods[PIXTAG]["r@5"]["mean"] - methods[name]["r@5"]["mean"]
        assert difference["r@5"]["mean"] == pytest.approx(expected)
    assert paired["base_level"]["p@5"] == pytest.approx({"mean": 0, "low": 0, "high": 0})
    assert paired["random"]["p@5"]["low"] > 0


def test_the_ablation_has_all_eight_sets_of_sources(figures):
    ablation = figures["ablation"]
    assert set(ablation) == {
        "pixels", "history", "trend", "pixels+history", "pixels+trend", "history+trend",
        "pixels+history+trend", "nothing",
    }  # fmt: skip
    assert ablation["pixels+history+trend"] == figures["methods"][PIXTAG]
    assert ablation["nothing"]["p@5"] == figures["methods"]["popularity"]["p@5"]
    assert ablation["history"]["p@5"]["mean"] > ablation["nothing"]["p@5"]["mean"]


def test_segments_divide_the_posts_and_the_uses(log, figures):
    segments = figures["segments"]
    assert sum(s["n_posts"] for s in segments["history"].values()) == 80
    assert sum(s["n_posts"] for s in segments["set"].values()) == 80
    start, stop = temporal_split(log).bounds("test")
    n_uses = log.tag_start[stop] - log.tag_start[start]
    assert sum(s["n_uses"] for s in segments["tags"].values()) == n_uses
    weighted = sum(
        s["n_posts"] * s["methods"]["popularity"]["p@5"]["mean"]
        for s in segments["set"].values()
        if s["n_posts"]
    )
    assert weighted / 80 == pytest.approx(figures["methods"]["popularity"]["p@5"]["mean"])


def test_segments_say_what_the_model_adds_there(figures):
    for part in figures["segments"]["set"].values():
        methods, added = part["methods"], part["paired"]
        assert set(added) == set(methods) - {PIXTAG}
        expected = methods[PIXTAG]["p@5"]["mean"] - methods["random"]["p@5"]["mean"]
        assert added["random"]["p@5"]["mean"] == pytest.approx(expected)
        assert added["random"]["p@5"]["low"] <= expected <= added["random"]["p@5"]["high"]
    head = figures["segments"]["tags"]["head"]
    expected = head["methods"][PIXTAG]["r@10"]["mean"] - head["methods"]["random"]["r@10"]["mean"]
    assert head["paired"]["random"]["r@10"]["mean"] == pytest.approx(expected)


def test_each_set_of_sources_is_held_against_all_three(figures):
    assert set(figures["ablation_paired"]) == set(figures["ablation"]) - {"pixels+history+trend"}
    for name, difference in figures["ablation_paired"].items():
        expected = (
            figures["methods"][PIXTAG]["p@1"]["mean"] - (figures["ablation"][name]["p@1"]["mean"])
        )
        assert difference["p@1"]["mean"] == pytest.approx(expected)


def test_everyone_weighs_the_same_in_differences_too(figures):
    per_person, added = figures["per_person"], figures["paired_per_person"]["popularity"]
    expected = per_person[PIXTAG]["p@5"]["mean"] - per_person["popularity"]["p@5"]["mean"]
    assert added["p@5"]["mean"] == pytest.approx(expected)


def test_tenths_in_time_divide_the_period(figures):
    parts = figures["drift"]
    assert [part["n_posts"] for part in parts] == [8] * 10
    times = [at for part in parts for at in (part["from"], part["to"])]
    assert times == sorted(times)
    mean = np.mean([part["methods"][PIXTAG]["p@5"]["mean"] for part in parts])
    assert mean == pytest.approx(figures["methods"][PIXTAG]["p@5"]["mean"])


def test_new_tags_count_as_known_once_their_person_or_three_others_used_them():
    old = [Post(f"a{i:02d}", f"u{i % 8}", float(i), ("old",)) for i in range(80)]
    users = ["ana", "ana", "ben", None, "cat", "ana", "dan"]
    new = [Post(f"b{i}", user, 100.0 + i, ("new", "old")) for i, user in enumerate(users)]
    # At one instant nobody knows what the other posts.
    tied = [Post(f"c{i}", f"t{i}", 200.0, ("other", "old")) for i in range(5)]
    log = PostLog.of([*old, *new, *tied])
    split = Split(70, 80, len(log))
    measured = evaluate(log, split=split, methods={"popularity": popularity}).as_dict()
    parts = measured["segments"]["new_tags"]
    n_uses = {name: part["n_uses"] for name, part in parts.items()}
    # Ana twice more; Cat's comes after Ana, Ben and nobody's; so does Dan's.
    assert n_uses == {"known": 4, "by_own": 2, "by_others": 2, "not_yet": 8}
    assert measured["segments"]["tags"]["new"]["n_uses"] == 12
    # "new" is second in everyone's list once it was used at all.
    assert parts["known"]["methods"]["popularity"]["r@10"]["mean"] == 1
    assert parts["not_yet"]["methods"]["popularity"]["r@10"]["mean"] == 2 / 8


def test_settings_are_chosen_before_the_period(log):
    split = temporal_split(log)
    for period in ("test", "validation"):
        start, _ = split.bounds(period)
        chosen = reference_methods(log, split, period=period).settings
        known = log.select(np.arange(start))
        assert reference_methods(known, split, period=period).settings == chosen
        assert set(chosen["co_occurrence"]) == {"n_posts", "own_share"}
    tried = {"bad": random_tags(), "good": base_level(0.5), "also bad": random_tags(seed=1)}
    assert choose(log, *split.bounds("validation"), tried) == "good"


def test_breadth_tells_narrow_from_wide(figures):
    breadth = figures["breadth"]
    assert breadth["popularity"]["coverage"] < breadth["random"]["coverage"] <= 1
    assert breadth["popularity"]["popularity"] > breadth["random"]["popularity"]
    assert "truth" in breadth


def test_the_same_seed_gives_the_same_figures_to_the_last_digit():
    log = invented_log(150, n_users=5, seed=6)
    runs = [
        to_json(evaluate(log, model=model, split=temporal_split(log), seed=seed).as_dict())
        for seed in (3, 3, 4)
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]  # the random ranking


def test_one_person_alone(log):
    split = temporal_split(log)
    user = log.users[log.user_of_post[-1]]
    alone = evaluate(log, split=split, user=user, methods={"popularity": popularity})
    rows = alone.comparison.rows
    assert {log.users[u] for u in log.user_of_post[rows]} == {user}
    everyone = compare(log, *split.bounds("test"), {"popularity": popularity})
    mine = np.isin(everyone.rows, rows)
    assert (
        alone.comparison.methods["popularity"].values["p@5"]
        == everyone.methods["popularity"].values["p@5"][mine]
    ).all()
    assert alone.as_dict()["interval"]["resampled"] == "post"
    with pytest.raises(InputError, match="nobody named 'zoe'"):
        evaluate(log, split=split, user="zoe")


def test_posts_without_tags_are_left_out_and_counted():
    log = invented_log(100)
    posts = [
        Post(log.post_ids[i], log.users[log.user_of_post[i]], float(log.at[i]),
             () if i in {95, 97} else tuple(log.tags_of(i)))
        for i in range(100)
    ]  # fmt: skip
    bare = PostLog.of(posts)
    measured = evaluate(bare, split=temporal_split(bare), methods={"popularity": popularity})
    described = measured.as_dict()["split"]["measured"]
    assert (described["n_posts"], described["n_without_tags"]) == (18, 2)


def test_an_empty_period_is_an_error_with_a_next_step():
    log = PostLog.of([])
    with pytest.raises(InputError, match="no post with tags") as caught:
        evaluate(log, split=temporal_split(log))
    assert "import" in caught.value.hint


def test_validation_is_another_period(log):
    split = temporal_split(log)
    early = evaluate(log, split=split, period="validation", methods={"popularity": popularity})
    assert early.comparison.rows.tolist() == list(range(280, 320))


def test_cold_people_are_measured_on_their_first_posts(log):
    asked = []

    def fit(cold_log, split):
        asked.append((len(cold_log), split))
        return model

    cold = evaluate_cold(log, fit=fit, split=temporal_split(log))
    assert cold.n_people == 3
    assert next(iter(cold.comparison.methods)) == PIXTAG
    assert 1 <= len(cold.comparison.rows) <= 15
    by_post = _cold_figures(cold)["by_post"]
    assert sum(part["n_posts"] for part in by_post.values()) == len(cold.comparison.rows)
    assert by_post["1"]["n_posts"] == max(part["n_posts"] for part in by_post.values())
    assert asked[0][0] < len(log)
    assert asked[0][1].test_stop == asked[0][0]


def test_predictions_are_lines_in_time_order(tmp_path, log, found):
    path = tmp_path / "predictions.jsonl"
    assert write_predictions(path, log, found.comparison.methods[PIXTAG]) == 80
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["post_id"] for line in lines] == log.post_ids[320:]
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    for line in lines:
        assert set(line) == {"post_id", "user_id", "at", "tags", "probs"}
        assert len(line["tags"]) == len(set(line["tags"])) == len(line["probs"]) == 10
        assert line["probs"] == sorted(line["probs"], reverse=True)
    by_hand = np.mean([
        len(set(line["tags"][:5]) & set(log.tags_of(320 + i))) / 5
        for i, line in enumerate(lines)
    ])  # fmt: skip
    assert by_hand == pytest.approx(found.comparison.methods[PIXTAG].values["p@5"].mean())


def test_run_files_give_the_same_figures_in_another_evaluator(tmp_path, found):
    files = write_trec(tmp_path / "trec", found.comparison)
    assert files[0].name == "qrels.txt"
    assert len(files) == 1 + len(found.comparison.methods)
    alone = write_trec(tmp_path / "mine.run", found.comparison)
    assert alone[1].read_text() == (tmp_path / "trec" / f"{PIXTAG}.run").read_text()
    assert alone[0].read_text() == files[0].read_text()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba's own
        patch.setenv("NUMBA_DISABLE_JIT", "1")
        import ranx

        qrels = ranx.Qrels.from_file(str(files[0]), kind="trec")
        run = ranx.Run.from_file(str(tmp_path / "trec" / f"{PIXTAG}.run"), kind="trec")
        theirs = ranx.evaluate(qrels, run, ["precision@5", "ndcg@10", "mrr"])
    ours = found.comparison.methods[PIXTAG].values
    assert theirs["precision@5"] == pytest.approx(ours["p@5"].mean(), abs=1e-9)
    assert theirs["ndcg@10"] == pytest.approx(ours["ndcg@10"].mean(), abs=1e-9)
    assert theirs["mrr"] == pytest.approx(ours["mrr"].mean(), abs=1e-9)


def test_every_look_is_a_line_of_its_own(tmp_path):
    store = tmp_path / "my.sqlite"
    for _ in range(2):
        path = log_look(
            store, command="evaluate", period="test", bundle_digest=None, headline={"p@5": 0.5}
        )
    assert path == tmp_path / "my.sqlite.looks.jsonl"
    looks = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(looks) == 2
    assert looks[0]["headline"] == {"p@5": 0.5}
    assert looks[0]["looked_at"].endswith("+00:00")


def test_gains_count_what_each_method_found(found):
    gains = tag_gains(found.comparison, "random")
    assert gains[0][2] - gains[0][3] >= gains[-1][2] - gains[-1][3]
    total = sum(ours for _, _, ours, _ in gains)
    scored = found.comparison.methods[PIXTAG]
    assert total == scored.hits[:, :5].sum()


def test_no_figure_is_lost_to_nan_where_there_is_something_to_measure(figures):
    def walk(value, path):
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from walk(inner, (*path, key))
        elif value is None or (isinstance(value, float) and not math.isfinite(value)):
            yield path

    # A band without uses has no recall; everything else is a number.
    assert {path[:2] for path in walk(figures, ())} <= {("segments", "tags")}
