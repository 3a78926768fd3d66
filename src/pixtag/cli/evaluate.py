"""Verbs that measure: evaluate, leakcheck."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from pixtag.cli import output
from pixtag.cli.main import open_store, section, your_store
from pixtag.cli.make import EngineName, Size, opened_engine
from pixtag.cli.parser import Model
from pixtag.errors import InputError, LeakError
from pixtag.outputs import check_outputs
from pixtag.places import printable, store_file

if TYPE_CHECKING:
    from pixtag.evaluate import Figures, Request

Period = Literal["test", "validation"]
Protocol = Literal["temporal", "ancestor", "given", "strangers", "histories", "first-user"]
Seed = Annotated[int, Parameter(validator=Number(gte=0))]
_WITHOUT_POSTS = {"strangers", "histories"}
_OF_PIXTAG = {*_WITHOUT_POSTS, "first-user"}


def evaluate(
    *, store: str | None = None, bundle: Model = None, encoder: Path | None = None,
    user: str | None = None, period: Period = "test", protocol: Protocol = "temporal",
    n_given: Annotated[int, Parameter("--given", validator=Number(gte=1, lte=10))] = 1,
    photos: Path | None = None, photo_tags: Path | None = None, new_subjects: Path | None = None,
    cold: Annotated[bool, Parameter(negative="--no-cold")] = True,
    ablation: Annotated[bool, Parameter(negative="--no-ablation")] = True,
    baselines_only: bool = False, oracle: Path | None = None, size: Size | None = None,
    seed: Seed = 0, json: Path | None = None, predictions: Path | None = None,
    trec: Path | None = None, html: Path | None = None, engine: EngineName = "local",
    address: str | None = None,
) -> None:  # fmt: skip
    """Measure how well tags are predicted on posts that nothing was fitted on.

    The last fifth of the posts is replayed in time order: each is ranked with what was known
    before it, then learned from. Pixtag stands beside the baselines, with 95 % intervals over
    people. Every look is noted in STORE.looks.jsonl.

    Args:
        store: The store; yours by default, where posts are measured on.
        bundle: Measure this model; else one is trained first and kept as STORE.evaluated.
        encoder: Whose embeddings of the store's photos are read: an ONNX file, as for `import`; a
            model brings its own.
        user: Count only this person's posts; everyone's are replayed.
        period: The last fifth, or, while tuning, the tenth before it.
        protocol: `ancestor`: random splits, for posts without times; `given`: some true tags are
            given; `strangers`: labelled photos, no history; `histories`: the same after made-up
            histories; `first-user`: people whom the model never met, with their own posts alone.
        n_given: Tags given, with `--protocol given`.
        photos: Folder with manifest.csv (file, concept, tags), for `strangers` and `histories`.
        photo_tags: The tags of each concept, its plain name first: TOML with a table `tags`, or CSV
            with topic and hashtags.
        new_subjects: Names of posts, one a line, on a subject that is new to their person; without
            it photos and tags tell.
        cold: Also train without a fifth of the people and measure on them; not with --model.
        ablation: Also measure every set of sources.
        baselines_only: Leave Pixtag out, with `temporal`, `ancestor` and `given`.
        oracle: A ceiling: JSON Lines with a `post_id` and the ten best possible `tags` of each.
        size: Size of the model that is trained.
        seed: Of training, splits, made-up histories and the random ranking.
        json: Write all figures to this file, as one long table.
        predictions: Write ten suggestions for each post to this file, JSON Lines.
        trec: Write run files for trec_eval into this folder, or this file when it has a suffix.
        html: Write a page with tables and plots to this file.
        engine: What replays posts, to train and to measure; each that runs the command does the
            rest. `local`: the processors of this machine. `postgres`: shared with everybody who
            runs the same command on the same posts. `ray`: tasks of a Ray cluster. All give the
            same figures.
        address: Of the Ray cluster, or of the store with the leases, as for `embed`.

    Examples:
        pixtag evaluate --store my.sqlite --model my-model --json figures.json --html report.html
        pixtag evaluate --store my.sqlite --period validation --baselines-only
        pixtag evaluate --store old.sqlite --protocol ancestor
        pixtag evaluate --protocol histories --photos labelled --model my-model
    """
    from pixtag.engine import runtime
    from pixtag.evaluate import Request
    from pixtag.train.config import TrainConfig

    if baselines_only:
        if protocol in _OF_PIXTAG:
            what = f"--protocol {protocol} measures Pixtag, which --baselines-only leaves out"
            raise InputError(what, hint="leave one of the two out")
        of_models = {"--model": bundle is not None, "--size": size is not None}
        of_models |= {"--no-ablation": not ablation}
        if idle := [flag for flag, is_given in of_models.items() if is_given]:
            output.say(
                f"note: no model is measured (--baselines-only), whatever {', '.join(idle)} says"
            )
    if protocol not in _WITHOUT_POSTS:
        store = your_store(store)
    files = [json, predictions, html]
    if trec is not None and trec.suffix and not trec.is_dir():
        files += [trec, trec.with_suffix(".qrels")]
    check_outputs(files, [store_file(store), bundle, encoder, oracle])
    request = Request(
        bundle=bundle, encoder=encoder, period=period, user=user, n_given=n_given, cold=cold,
        ablation=ablation, baselines_only=baselines_only, oracle=oracle,
        new_subjects=new_subjects, photos=photos, photo_tags=photo_tags, seed=seed, say=output.say,
        config=section(TrainConfig, "train", {"size": size, "seed": seed or None}),
    )  # fmt: skip
    with opened_engine(engine, address, store=store, job=f"evaluate, {runtime()}") as runs:
        request = replace(request, engine=runs)
        _measure(request, protocol, store, json=json, predictions=predictions, trec=trec, html=html)


def _measure(
    request: Request, protocol: Protocol, store: str | None, *, json: Path | None,
    predictions: Path | None, trec: Path | None, html: Path | None,
) -> None:  # fmt: skip
    """Run a protocol, note the look, show the figures and write what was asked for."""
    from pixtag.evaluate import report, run_protocol

    with nullcontext() if store is None else open_store(store) as opened:
        with output.progress("evaluating", unit="steps") as bar:
            asked = replace(request, store=opened, on_progress=bar.update)
            outcome = run_protocol(protocol, asked)
        found, compared = outcome.figures, outcome.comparison
        rows = {metric: found.find(found.first, metric) for metric in ("p@1", "p@5", "r@5")}
        look = None
        if opened is not None and outcome.looked_at is not None:
            words = map(printable, ["pixtag", *sys.argv[1:]])
            look = report.log_look(
                opened.path, command=" ".join(words), period=outcome.looked_at,
                bundle_digest=outcome.bundle_digest,
                headline={metric: row.mean for metric, row in rows.items() if row},
            )  # fmt: skip
        _show(found)
        if json is not None:
            json.write_text(_long_json(found), encoding="utf-8")
            output.say(f"wrote all figures to {json}")
        if compared is not None and predictions is not None:
            first = compared.methods[found.first]
            n_lines = report.write_predictions(predictions, compared.log, first)
            output.say(f"wrote suggestions of {found.first} for {n_lines:,} posts to {predictions}")
        if compared is not None and trec is not None:
            files = report.write_trec(trec, compared)
            output.say(f"wrote {len(files)} files for trec_eval to {trec}")
        if html is not None:
            html.write_text(report.make_report(found, compared, opened), encoding="utf-8")
            output.say(f"wrote a page to {html}")
    if look:
        output.say(f"this look at the {outcome.looked_at} period is noted in {look}")


def _show(found: Figures) -> None:
    from pixtag.evaluate.report import Row, in_words, tables_of, text

    if sentence := in_words(found):
        output.print_line(sentence + "\n")
    for table in tables_of(found, is_brief=True):
        sides: dict[str, output.Align] = {
            head: "right" if any(isinstance(line[i], Row) for line in table.lines) else "left"
            for i, head in enumerate(table.heads)
        }
        lines = [[text(cell) for cell in line] for line in table.lines]
        output.print_table(sides, lines, title=table.title)
    chance = next((row for row in found.rows if row.metric == "ece"), None)
    if chance is not None:
        output.print_line(f"expected calibration error {chance.mean:.3f}")
    for note in found.notes:
        output.say(f"note: {note}")


def _long_json(found: Figures) -> str:
    """All figures, a row a line."""
    whole = found.as_dict()
    rows = ",\n".join(output.to_json(row) for row in whole.pop("rows"))
    return output.to_json(whole)[:-1] + f', "rows": [\n{rows}\n]}}\n'


def leakcheck(
    *, store: str | None = None, bundle: Model = None,
    times: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 12,
    last: Annotated[int, Parameter(validator=Number(gte=50))] = 3000, seed: Seed = 0,
    json: bool = False,
) -> int:  # fmt: skip
    """Change what lies after many query times and demand the same scores.

    The future is permuted, altered and deleted, and the tags of the very post that is asked
    about are exchanged. A score that moves has seen what it could not have known.

    Args:
        store: The store; yours by default.
        bundle: The model whose scores are checked; the shipped one by default.
        times: How many query times, spread evenly.
        last: Check within this many of the last posts.
        seed: Of the changes.
        json: Print one JSON object.

    Examples:
        pixtag leakcheck
        pixtag leakcheck --store my.sqlite --model my-model --times 40
    """
    import numpy as np

    from pixtag.bundle import load_bundle
    from pixtag.evaluate import leakcheck as check
    from pixtag.evaluate import model_of
    from pixtag.types import Sources, iso_time

    given = load_bundle(bundle)
    with open_store(store, read_only=True) as opened:
        log = opened.log(given.manifest.encoder_digest)
    # Two same instants must not be torn apart, or the first post kept would lose its company.
    first = int(np.searchsorted(log.at, log.at[max(0, len(log) - last)])) if len(log) else 0
    part = log.select(np.arange(first, len(log)))
    model = model_of(given)
    with output.progress("checking", unit="runs") as bar:
        report = check(
            part, lambda changed, start, stop: model(changed, start, stop, 50, Sources()),
            n_times=times, seed=seed, on_progress=bar.update,
        )  # fmt: skip
    if json:
        output.print_json(report)
    for leak in report.leaks[:10]:
        output.say(
            f"leak: {leak.change} after {iso_time(leak.cut_at)} moved post {leak.post_id}: "
            f"{' '.join(leak.before)} became {' '.join(leak.after)}"
        )
    if report.leaks:
        raise LeakError(
            f"{len(report.leaks)} of {report.n_compared:,} suggestions moved with the future",
            hint="this is a bug in the model or in Pixtag: please report it",
        )
    output.say(
        f"no leak: {report.n_compared:,} lists of suggestions at {report.n_times} query times "
        "stayed the same to the last bit"
    )
    return 0
