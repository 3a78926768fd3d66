"""The protocol from end to end, with a model that is a baseline in disguise."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest

from logs import invented_log
from pixtag.cli.output import to_json
from pixtag.errors import InputError
from pixtag.evaluate import (
    PIXTAG,
    References,
    compare,
    evaluate,
    evaluate_cold,
    log_look,
    reference_methods,
    tag_gains,
    write_predictions,
    write_trec,
)
from pixtag.evaluate.baselines import base_level, image_neighbours, popularity, random_tags
from pixtag.evaluate.metrics import metric_names
from pixtag.evaluate.report import tables_of
from pixtag.evaluate.tables import (
    BY_OTHERS,
    BY_OWN,
    FIRST_FIVE,
    KNOWN,
    NOT_YET,
    OWN_ALONE,
    PERFECT,
    SOURCES,
    WRITTEN,
)
from pixtag.evaluate.temporal import ONE_MORE, choose
from pixtag.splits import HISTORY_SEGMENTS, Split, history_length, temporal_split
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


def knowing(log, chance=None):
    """Ten tags, those of the post first; what it says is true, or `chance` of all of them."""

    def ranked(log, start, stop, k, sources):
        own = [[log.tags.index(t) for t in log.tags_of(row)] for row in range(start, stop)]
        ids = [list(dict.fromkeys([*tags, *range(len(log.tags))]))[:10] for tags in own]
        probs = [[float(t in tags) if chance is None else chance for t in row]
                 for tags, row in zip(own, ids, strict=True)]  # fmt: skip
        shown = np.array(ids), np.array(probs, np.float32)
        return Rankings(np.arange(start, stop), *shown, log.tags)

    return ranked


@pytest.fixture(scope="module")
def log():
    return invented_log(400, n_users=15, seed=5)


@pytest.fixture(scope="module")
def found(log):
    return evaluate(log, model=model, split=temporal_split(log))


@pytest.fixture(scope="module")
def figures(found):
    return found.figures()


ONLY_POPULARITY = References({"popularity": popularity})


def test_every_method_and_metric_is_there(figures):
    assert figures.first == PIXTAG
    assert set(figures.values("method", segment="all", over="posts")) == {
        PIXTAG, "random", "popularity", "popularity_day", "popularity_week", "most_used",
        "popularity_day_others", "popularity_week_others", "most_recent", "base_level",
        "base_level_popularity", "co_occurrence", "image_neighbours", "linear_probe", PERFECT,
    }  # fmt: skip
    for name in metric_names():
        row = figures.find(PIXTAG, name)
        assert row.low <= row.mean <= row.high <= 1, name
        assert row.mean <= figures.find(PERFECT, name).mean
        assert (row.n, row.n_people) == (80, 15)
    assert figures.about["split"]["train"]["n_posts"] == 280
    assert figures.about["split"]["measured"]["n_posts"] == 80


def test_chances_are_held_against_what_came_true_by_length_of_history(log):
    exact = evaluate(log, model=knowing(log), split=temporal_split(log), ablation=False)
    figures = exact.figures()
    parts = {s: figures.find(PIXTAG, "ece", segment=s) for s in figures.values("segment")}
    parts = {s: row for s, row in parts.items() if row}
    assert parts.pop("all, chances").mean == pytest.approx(0, abs=1e-6)
    shown = {s.removeprefix("chances, "): row.n for s, row in parts.items()}
    lengths = history_length(log)[320:]
    inside = {
        f"history {name}": (lengths >= low) & (lengths <= (999 if high is None else high))
        for name, low, high in HISTORY_SEGMENTS
    }
    assert shown == {name: 10 * int(mask.sum()) for name, mask in inside.items() if mask.any()}
    boastful = evaluate(log, model=knowing(log, 1.0), split=temporal_split(log), ablation=False)
    told = boastful.figures().find(PIXTAG, "ece", segment="chances, history 20+")
    true = boastful.figures().find(PIXTAG, "came true", segment="chances, history 20+")
    assert told.mean == pytest.approx(1 - true.mean)


def test_a_source_that_takes_something_away_is_told(log):
    """History hears popularity where trend speaks too."""

    def worse(log, start, stop, k, sources):
        is_heard = sources.history and not sources.trend
        return model(log, start, stop, k, replace(sources, pixels=False, history=is_heard))

    figures = evaluate(log, model=worse, split=temporal_split(log)).figures()
    told = [note for note in figures.notes if "should not make an answer worse" in note]
    pairs = {(more, less) for more, less in ONE_MORE if "trend" in more and "trend" not in less}
    assert {(n.split(" has ")[0], n.split(" than ")[1].split(":")[0]) for n in told} == {
        pair for pair in pairs if "history" in pair[1]
    }
    (table,) = [t for t in tables_of(figures, is_brief=True) if t.heads[-1] == "flag"]
    assert len(table.lines) == len(ONE_MORE) == 12
    flagged = {line[0] for line in table.lines if line[-1]}
    assert flagged == {"trend to history", "trend to pixels+history"}


def test_the_table_as_json_is_one_list_of_rows_that_names_the_protocol(figures):
    whole = json.loads(to_json(figures.as_dict()))
    assert whole["protocol"] == "temporal"
    assert whole["interval"]["resampled"] == "person"
    assert len(whole["rows"]) == len(figures.rows)
    row = whole["rows"][0]
    assert (row["protocol"], row["segment"], row["method"], row["kind"]) == (
        "temporal", "all", PIXTAG, "mean",
    )  # fmt: skip
    keys = [tuple(r[k] for k in ("segment", "method", "metric", "over", "kind", "other"))
            for r in whole["rows"]]  # fmt: skip
    assert len(keys) == len(set(keys))


def test_the_order_of_methods_is_as_it_should_be(figures):
    p5 = {name: figures.find(name, "p@5").mean for name in figures.values("method", segment="all")}
    assert p5["random"] < p5["popularity"] < p5["base_level"]
    assert p5["image_neighbours"] > p5["popularity"]


def test_differences_are_of_pixtag_minus_the_other(figures):
    others = figures.values("other", segment="all", kind="difference")
    assert PIXTAG not in others
    assert "base_level" in others
    for name in others:
        expected = figures.find(PIXTAG, "r@5").mean - figures.find(name, "r@5").mean
        assert figures.find(PIXTAG, "r@5", minus=name).mean == pytest.approx(expected)
    same = figures.find(PIXTAG, "p@5", minus="base_level")
    assert (same.mean, same.low, same.high) == pytest.approx((0, 0, 0))
    assert figures.find(PIXTAG, "p@5", minus="random").low > 0


def test_the_ablation_has_all_eight_sets_of_sources(figures):
    assert set(figures.values("method", segment=SOURCES)) - {PERFECT} == {
        "pixels", "history", "trend", "pixels+history", "pixels+trend", "history+trend",
        "pixels+history+trend", "nothing",
    }  # fmt: skip

    def p5(name, segment=SOURCES):
        return figures.find(name, "p@5", segment=segment).mean

    whole = "pixels+history+trend"
    assert p5(whole) == p5(PIXTAG, "all")
    assert p5("nothing") == p5("popularity", "all")
    assert p5("history") > p5("nothing")
    for name in figures.values("other", segment=SOURCES, kind="difference"):
        added = figures.find(whole, "p@5", segment=SOURCES, minus=name)
        assert added.mean == pytest.approx(p5(whole) - p5(name))


def sizes(figures, prefix="", suffix=""):
    """Posts or uses behind each segment of some name."""
    names = [s for s in figures.values("segment") if s.startswith(prefix) and s.endswith(suffix)]
    return {name: next(r.n for r in figures.rows if r.segment == name) for name in names}


def test_segments_divide_the_posts_and_the_uses(log, figures):
    for part in (sizes(figures, "history "), sizes(figures, suffix=" set")):
        assert sum(part.values()) == 80
    start, stop = temporal_split(log).bounds("test")
    assert sum(sizes(figures, suffix=" tags").values()) == (
        log.tag_start[stop] - log.tag_start[start]
    )
    weighted = sum(
        n * figures.find("popularity", "p@5", segment=name).mean
        for name, n in sizes(figures, suffix=" set").items()
    )
    assert weighted / 80 == pytest.approx(figures.find("popularity", "p@5").mean)


def test_segments_say_what_the_model_adds_there(figures):
    for name, metric, over in (("fresh set", "p@5", "posts"), ("head tags", "r@10", "uses")):
        mine, other = (figures.find(m, metric, segment=name, over=over) for m in (PIXTAG, "random"))
        added = figures.find(PIXTAG, metric, segment=name, over=over, minus="random")
        assert added.mean == pytest.approx(mine.mean - other.mean)
        assert added.low <= added.mean <= added.high


def test_new_subjects_are_told_by_a_file_or_by_photos(log, found):
    told = frozenset(log.post_ids[row] for row in (330, 340))
    by_file = replace(found, new_subjects=told).figures()
    assert sizes(by_file, suffix=" subject") == {"new subject": 2, "familiar subject": 78}
    hits = found.comparison.methods[PIXTAG].values["p@5"][[10, 20]]
    assert by_file.find(PIXTAG, "p@5", segment="new subject").mean == pytest.approx(hits.mean())
    by_photos = sizes(found.figures(), suffix=" subject")
    assert by_photos["familiar subject"] > 70  # everybody here repeats themselves


def test_everyone_weighs_the_same_in_differences_too(figures):
    ours, theirs, added = (
        figures.find(PIXTAG, "p@5", over="people"),
        figures.find("popularity", "p@5", over="people"),
        figures.find(PIXTAG, "p@5", over="people", minus="popularity"),
    )
    assert added.mean == pytest.approx(ours.mean - theirs.mean)


def test_tenths_in_time_divide_the_period(figures):
    parts = sizes(figures, "tenth ")
    assert list(parts.values()) == [8] * 10
    days = [day for name in parts for day in name.split(": ")[1].split(" to ")]
    assert days == sorted(days)
    mean = np.mean([figures.find(PIXTAG, "p@5", segment=name).mean for name in parts])
    assert mean == pytest.approx(figures.find(PIXTAG, "p@5").mean)


def test_new_tags_count_as_known_once_three_others_used_them():
    old = [Post(f"a{i:02d}", f"u{i % 8}", float(i), ("old",)) for i in range(80)]
    users = ["ana", "ana", "ben", None, "cat", "ana", "dan", "dan"]
    new = [Post(f"b{i}", user, 100.0 + i, ("new", "old")) for i, user in enumerate(users)]
    # At one instant nobody knows what the other posts.
    tied = [Post(f"c{i}", f"t{i}", 200.0, ("other", "old")) for i in range(5)]
    log = PostLog.of([*old, *new, *tied])
    found = evaluate(log, split=Split(70, 80, len(log)), methods=ONLY_POPULARITY).figures()
    # Cat's first comes after Ana's, Ben's and nobody's, as Dan's; Dan's second and Ana's third are
    # repeats; Ana's second came when nobody else had used it.
    wanted = {KNOWN: 4, BY_OTHERS: 2, BY_OWN: 2, OWN_ALONE: 1, NOT_YET: 8}
    assert sizes(found, "new tags ") == wanted
    assert sizes(found, "new tags")["new tags"] == 13
    # "new" is second in everyone's list once it was used at all.
    assert found.find("popularity", "r@10", segment=KNOWN, over="uses").mean == 1
    assert found.find("popularity", "r@10", segment=NOT_YET, over="uses").mean == 2 / 8


def test_a_tag_of_the_validation_posts_is_not_new():
    old = [Post(f"a{i:02d}", f"u{i % 8}", float(i), ("old",)) for i in range(70)]
    late = [Post(f"b{i}", f"u{i}", 70.0 + i, ("late", "old")) for i in range(10)]
    asked = [Post(f"c{i}", f"u{i % 8}", 80.0 + i, ("late", "old")) for i in range(20)]
    log = PostLog.of([*old, *late, *asked])
    found = evaluate(log, split=temporal_split(log), methods=ONLY_POPULARITY).figures()
    assert sizes(found, "new tags ") == {}


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
    def of(method, metric):
        return figures.find(method, metric, segment=FIRST_FIVE).mean

    assert of("popularity", "coverage") < of("random", "coverage") <= 1
    assert of("popularity", "popularity") > of("random", "popularity")
    assert 0 < of(WRITTEN, "redundancy") < 1


def test_the_same_seed_gives_the_same_figures_to_the_last_digit():
    log = invented_log(150, n_users=5, seed=6)
    runs = [evaluate(log, model=model, split=temporal_split(log), seed=s) for s in (3, 3, 4)]
    tables = [to_json(run.figures().as_dict()) for run in runs]
    assert tables[0] == tables[1]
    # The seed is that of the random ranking.
    first, _, third = (run.comparison.methods["random"].rankings.tag_ids for run in runs)
    assert (first != third).any()


def test_one_person_alone(log):
    split = temporal_split(log)
    user = log.users[log.user_of_post[-1]]
    alone = evaluate(log, split=split, user=user, methods=ONLY_POPULARITY)
    rows = alone.comparison.rows
    assert {log.users[u] for u in log.user_of_post[rows]} == {user}
    everyone = compare(log, *split.bounds("test"), {"popularity": popularity})
    mine = np.isin(everyone.rows, rows)
    assert (
        alone.comparison.methods["popularity"].values["p@5"]
        == everyone.methods["popularity"].values["p@5"][mine]
    ).all()
    assert alone.figures().about["interval"]["resampled"] == "post"
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
    measured = evaluate(bare, split=temporal_split(bare), methods=ONLY_POPULARITY)
    described = measured.figures().about["split"]["measured"]
    assert (described["n_posts"], described["n_without_tags"]) == (18, 2)


def test_an_empty_period_is_an_error_with_a_next_step():
    log = PostLog.of([])
    with pytest.raises(InputError, match="no post with tags") as caught:
        evaluate(log, split=temporal_split(log))
    assert "import" in caught.value.hint


def test_validation_is_another_period(log):
    split = temporal_split(log)
    early = evaluate(log, split=split, period="validation", methods=ONLY_POPULARITY)
    assert early.comparison.rows.tolist() == list(range(280, 320))


def test_cold_people_are_measured_on_their_first_posts(log):
    asked = []

    def fit(cold_log, split):
        asked.append((len(cold_log), split))
        return model

    cold = evaluate_cold(log, fit=fit, split=temporal_split(log))
    assert next(iter(cold.methods)) == PIXTAG
    assert 1 <= len(cold.rows) <= 15
    assert len(np.unique(cold.log.user_of_post[cold.rows])) <= 3
    whole = evaluate(log, split=temporal_split(log), methods=ONLY_POPULARITY)
    by_post = sizes(replace(whole, cold=cold).figures(), "cold people")
    assert by_post.pop("cold people") == len(cold.rows) == sum(by_post.values())
    assert by_post["cold people, post 1"] == max(by_post.values())
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
    order = [theirs - ours for _, _, ours, theirs in gains]
    assert order == sorted(order)
    total = sum(ours for _, _, ours, _ in gains)
    scored = found.comparison.methods[PIXTAG]
    assert total == scored.hits[:, :5].sum()


def test_no_figure_is_lost_to_nan_where_there_is_something_to_measure(figures):
    assert [row for row in figures.rows if not math.isfinite(row.mean)] == []
