"""Verbs that measure: evaluate, leakcheck."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from pixtag.cli import output
from pixtag.cli.figures import show
from pixtag.errors import ConfigError, InputError, LeakError

if TYPE_CHECKING:
    from pixtag.bundle import Bundle
    from pixtag.evaluate import Evaluation, Figures, Model, References
    from pixtag.splits import Split
    from pixtag.store import Store
    from pixtag.train.config import TrainConfig
    from pixtag.train.network import Examples
    from pixtag.types import PostLog, Rankings, Sources

Size = Literal["tiny", "small", "base"]
Period = Literal["test", "validation"]
Protocol = Literal["temporal", "ancestor", "given"]


def register(app: App) -> None:
    """Add this group's verbs.

    Args:
        app: The command line that is being built.
    """
    app.command(evaluate)
    app.command(leakcheck)


def evaluate(
    *,
    store: Path,
    bundle: Path | None = None,
    user: str | None = None,
    period: Period = "test",
    protocol: Protocol = "temporal",
    n_given: Annotated[int, Parameter("--given"), Number(gte=1, lte=10)] = 1,
    cold: Annotated[bool, Parameter(negative="--no-cold")] = True,
    ablation: Annotated[bool, Parameter(negative="--no-ablation")] = True,
    baselines_only: bool = False,
    rankers: Annotated[bool, Parameter(negative="")] = False,
    oracle: Path | None = None,
    size: Size | None = None,
    seed: Annotated[int, Number(gte=0)] = 0,
    json: Path | None = None,
    predictions: Path | None = None,
    trec: Path | None = None,
    html: Path | None = None,
) -> None:
    """Measure how well tags are predicted on posts that nothing was fitted on.

    The last fifth of the posts is replayed in time order: each is ranked with what was known
    before it, then learned from. Pixtag stands beside the baselines, with 95 % intervals over
    people. Every look is noted in STORE.looks.jsonl.

    Args:
        store: The store.
        bundle: Measure this bundle. Without it one is trained on the train period first and kept
            as STORE.evaluated.
        user: Count only this person's posts; everyone's are replayed.
        period: The last fifth, or, while tuning, the tenth before it.
        protocol: `ancestor` repeats the old protocol of random splits, for posts without times;
            `given` gives some true tags and asks for the others, from tag sets alone.
        n_given: Tags given, with `--protocol given`.
        cold: Also train without a fifth of the people and measure on their first posts; not with
            --bundle, which knows them.
        ablation: Also measure every set of pixels, history and trend, and the network without
            each of its signals.
        baselines_only: Leave Pixtag out.
        rankers: Also fit a linear blend and LightGBM's ranker on the very examples that the
            network learns from; not with --bundle.
        oracle: A ceiling: JSON Lines with a `post_id` and ten `tags` for each post, by one who
            knew what can be known.
        size: Size of the bundle that is trained.
        seed: Of training, the cold people and the random ranking.
        json: Write all figures to this file.
        predictions: Write ten suggestions for each post to this file, JSON Lines.
        trec: Write run files for trec_eval: into this folder, or to this file when it has a
            suffix.
        html: Write a page with tables and plots to this file.

    Examples:
        pixtag evaluate --store my.sqlite
        pixtag evaluate --store my.sqlite --bundle my-bundle --json figures.json --html report.html
        pixtag evaluate --store my.sqlite --period validation --baselines-only
        pixtag evaluate --store old.sqlite --protocol ancestor
        pixtag evaluate --store tagsets.sqlite --protocol given --given 2
    """
    from pixtag.outputs import check_outputs

    files = [json, predictions, html]
    if trec is not None and trec.suffix and not trec.is_dir():
        files += [trec, trec.with_suffix(".qrels")]
    check_outputs(files, [store, bundle, oracle])
    if protocol == "ancestor":
        config = None if baselines_only else _config(size, seed)
        _ancestor(store, config, seed=seed, json=json)
        return
    if protocol == "given":
        from pixtag.bundle import load_bundle
        from pixtag.cli.given import measure_given

        whole = None if baselines_only else load_bundle(bundle)
        measure_given(store, whole, n_given=n_given, seed=seed, json=json)
        return
    from pixtag.evaluate import HEADLINE, References, log_look
    from pixtag.evaluate import evaluate as measure
    from pixtag.splits import temporal_split
    from pixtag.store import Store

    config = _config(size, seed)
    if rankers and (bundle is not None or baselines_only):
        raise InputError(
            "--rankers fits on the examples of a training, and nothing is trained here",
            hint="leave out --bundle and --baselines-only",
        )
    with Store.open(store) as opened:
        given = _load(bundle)
        log = opened.log(_encoder_digest(given))
        split = temporal_split(log)
        _require_posts(log, split, store)
        more = References({}, {}) if oracle is None else _oracle(oracle, log, split, period)
        examples: list[tuple[Examples, Examples]] = []
        notes: tuple[str, ...] = ()
        if given is not None:
            notes = _leak_notes(given, log, split, period)
        elif not baselines_only:
            given = _train(opened, log, split, period, config, examples if rankers else None)
        model = None if given is None or baselines_only else _model(given)
        if given is not None and examples:
            more, notes = _with_rankers(more, given, *examples.pop(), seed=seed)
        with output.progress("measuring", unit="methods") as bar:
            found = measure(
                log,
                model=model,
                split=split,
                period=period,
                user=user,
                more=more,
                ablation=ablation,
                notes=notes,
                seed=seed,
                on_progress=lambda done, total, name: bar.update(done, total, name),
            )
        if ablation and model is not None and given is not None:
            found = _with_signals(found, given, log, seed=seed)
        if cold and bundle is None and user is None:
            found = _with_cold(found, opened, log, split, period, None if model is None else config)
        figures = found.as_dict()
        look = log_look(
            store,
            command=" ".join(["pixtag", *sys.argv[1:]]),
            period=period,
            bundle_digest=None if model is None or given is None else given.manifest.digest,
            headline={
                name: figures["methods"][next(iter(figures["methods"]))][name]["mean"]
                for name in HEADLINE
            },
        )
        show(figures)
        _write(found, figures, opened, json=json, predictions=predictions, trec=trec, html=html)
    output.say(f"this look at the {period} period is noted in {look}")


def leakcheck(
    *,
    store: Path,
    bundle: Path | None = None,
    times: Annotated[int, Number(gte=1, lte=1000)] = 12,
    last: Annotated[int, Number(gte=50)] = 3000,
    seed: Annotated[int, Number(gte=0)] = 0,
    json: bool = False,
) -> int:
    """Change what lies after many query times and demand the same scores.

    The future is permuted, altered and deleted, and the tags of the very post that is asked
    about are exchanged. A score that moves has seen what it could not have known.

    Args:
        store: The store.
        bundle: The bundle whose scores are checked; the shipped one by default.
        times: How many query times, spread evenly.
        last: Check within this many of the last posts.
        seed: Of the changes.
        json: Print one JSON object.

    Examples:
        pixtag leakcheck --store my.sqlite
        pixtag leakcheck --store my.sqlite --bundle my-bundle --times 40
    """
    import numpy as np

    from pixtag.bundle import load_bundle
    from pixtag.evaluate import leakcheck as check
    from pixtag.store import Store
    from pixtag.types import Sources

    given = load_bundle(bundle)
    with Store.open(store, read_only=True) as opened:
        log = opened.log(_encoder_digest(given))
    # Two same instants must not be torn apart, or the first post kept would lose its company.
    first = int(np.searchsorted(log.at, log.at[max(0, len(log) - last)])) if len(log) else 0
    part = log.select(np.arange(first, len(log)))
    model = _model(given)

    def scorer(changed: PostLog, start: int, stop: int) -> Rankings:
        return model(changed, start, stop, 50, Sources())

    with output.progress("checking", unit="runs") as bar:
        report = check(part, scorer, n_times=times, seed=seed, on_progress=bar.update)
    if json:
        output.print_json(report)
    for leak in report.leaks[:10]:
        output.say(
            f"leak: {leak.change} after {_instant(leak.cut_at)} moved post {leak.post_id}: "
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


def _instant(at: float) -> str:
    from pixtag.evaluate.looks import iso

    return iso(at)


def _config(size: Size | None, seed: int) -> TrainConfig:
    from pixtag.cli.settings import section
    from pixtag.train.config import TrainConfig

    return section(TrainConfig, "train", {"size": size, "seed": seed or None})


def _load(path: Path | None) -> Bundle | None:
    from pixtag.bundle import load_bundle

    return None if path is None else load_bundle(path)


def _encoder_digest(bundle: Bundle | None) -> str:
    from pixtag.encoder import load_encoder

    return load_encoder(None if bundle is None else bundle.encoder).digest


def _require_posts(log: PostLog, split: Split, store: Path) -> None:
    if split.test_stop - split.valid_stop < 1:
        n_timed = len(log) - log.n_untimed
        raise InputError(
            f"{store} holds {n_timed} posts with a time: too few to set some apart and measure",
            hint="import more posts; for posts without times use --protocol ancestor",
        )


def _leak_notes(bundle: Bundle, log: PostLog, split: Split, period: Period) -> tuple[str, ...]:
    import numpy as np

    from pixtag.evaluate import check_bundle

    notes = check_bundle(bundle, log, np.arange(*split.bounds(period)))
    for note in notes:
        output.say(f"note: {note}")
    return tuple(notes)


def _beside(store: Path, name: str) -> Path:
    return store.with_name(f"{store.name}.{name}")


def _train(
    store: Store,
    log: PostLog,
    split: Split,
    period: Period,
    config: TrainConfig,
    examples: list[tuple[Examples, Examples]] | None,
) -> Bundle:
    """Train for the period that is measured, on what lies before it; append its examples."""
    if period == "test":
        return _fit(store, log, None, config, name="evaluated", examples=examples)
    start, _ = split.bounds(period)
    return _fit(store, log, start, config, name=f"evaluated-{period}", examples=examples)


def _fit(
    store: Store,
    log: PostLog,
    stop: int | None,
    config: TrainConfig,
    *,
    name: str,
    examples: list[tuple[Examples, Examples]] | None = None,
) -> Bundle:
    """Train and keep a bundle beside the store.

    Args:
        store: Notes whose posts were used, so that forgetting a person names the bundle.
        log: The whole log, cut as usual, when `stop` is None.
        stop: Hand over only what lies before this post, to fit on nine tenths of it.
        config: Knobs of training.
        name: After the store's name.
        examples: Gets what the network learned from and what it was chosen on.
    """
    import numpy as np

    from pixtag.encoder import load_encoder

    try:
        from pixtag.train.fit import fit
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "pixtag":
            raise
        raise ConfigError(
            f"without --bundle one is trained first, and {error.name} is not installed",
            hint="pip install 'pixtag[train]', or give a --bundle, or --baselines-only",
        ) from error

    def keep(train: Examples, valid: Examples) -> None:
        if examples is not None:
            examples.append((train, valid))

    known = log if stop is None else log.select(np.arange(stop))
    out = _beside(store.path, name)
    with output.progress("training", unit="steps") as bar:
        bundle = fit(
            known,
            out=out,
            config=config,
            use_all=stop is not None,
            encoder_digest=load_encoder().digest,
            title=store.path.name,
            on_stage=lambda stage, done, total: bar.update(done, total, stage),
            on_examples=keep,
        )
    trained = bundle.manifest.trained
    people = np.unique(known.user_of_post[: trained.n_posts])
    names = [known.users[u] for u in people if u < len(known.users)]
    store.record_bundle(out, bundle.manifest.digest, trained.until_at, names)
    output.say(f"trained {out}, which is kept")
    return bundle


def _model(bundle: Bundle) -> Model:
    from pixtag.predict import Predictor

    predictor = Predictor(bundle)

    def rank(log: PostLog, start: int, stop: int, k: int, sources: Sources) -> Rankings:
        return predictor.rank(log, start, stop, k=k, sources=sources)

    return rank


def _oracle(path: Path, log: PostLog, split: Split, period: Period) -> References:
    from pixtag.evaluate import ORACLE, References, oracle, read_oracle

    ranker = oracle(read_oracle(path))
    ranker(log, *split.bounds(period), 1)  # what it lacks is told before anything is trained
    return References({ORACLE: ranker}, {})


def _with_rankers(
    more: References, bundle: Bundle, train: Examples, valid: Examples, *, seed: int
) -> tuple[References, tuple[str, ...]]:
    from pixtag.evaluate import References, fitted_rankers

    with output.progress("fitting rankers", unit="methods") as bar:
        fitted, notes = fitted_rankers(bundle, train, valid, seed=seed, on_progress=bar.update)
    for note in notes:
        output.say(f"note: {note}")
    return References(fitted.rankers | more.rankers, fitted.settings | more.settings), notes


def _with_signals(found: Evaluation, bundle: Bundle, log: PostLog, *, seed: int) -> Evaluation:
    from dataclasses import replace

    from pixtag.evaluate import signal_lift

    with output.progress("measuring signals") as bar:
        signals = signal_lift(
            log,
            bundle,
            found.comparison,
            split=found.split,
            period=found.period,
            seed=seed,
            on_progress=bar.update,
        )
    return replace(found, signals=signals)


def _with_cold(
    found: Evaluation,
    store: Store,
    log: PostLog,
    split: Split,
    period: Period,
    config: TrainConfig | None,
) -> Evaluation:
    from dataclasses import replace

    from pixtag.evaluate import evaluate_cold

    def fit(kept: PostLog, cut: Split) -> Model:
        assert config is not None  # noqa: S101 - fit is handed over only with a config
        start, _ = cut.bounds(period)
        return _model(_fit(store, kept, start, config, name="evaluated-cold"))

    with output.progress("measuring cold people", unit="methods") as bar:
        cold = evaluate_cold(
            log,
            fit=None if config is None else fit,
            split=split,
            period=period,
            on_progress=lambda done, total, name: bar.update(done, total, name),
        )
    return replace(found, cold=cold)


def _write(
    found: Evaluation,
    figures: Figures,
    store: Store,
    *,
    json: Path | None,
    predictions: Path | None,
    trec: Path | None,
    html: Path | None,
) -> None:
    from pixtag.evaluate import write_predictions, write_trec

    compared = found.comparison
    first = next(iter(compared.methods))
    if json is not None:
        json.write_text(output.to_json(figures, indent=2) + "\n", encoding="utf-8")
        output.say(f"wrote all figures to {json}")
    if predictions is not None:
        n_lines = write_predictions(predictions, compared.log, compared.methods[first])
        output.say(f"wrote suggestions of {first} for {n_lines:,} posts to {predictions}")
    if trec is not None:
        files = write_trec(trec, compared)
        output.say(f"wrote {len(files)} files for trec_eval to {trec}")
    if html is not None:
        from pixtag.report import write_report

        write_report(html, found, figures, store, title=store.path.name)
        output.say(f"wrote a page to {html}")


def _ancestor(store: Path, config: TrainConfig | None, *, seed: int, json: Path | None) -> None:
    from pixtag.ancestor import evaluate_ancestor
    from pixtag.store import Store
    from pixtag.types import Sources

    with Store.open(store) as opened:
        log = opened.log(_encoder_digest(None))

        def model(ordered: PostLog, n_asked: int) -> Rankings:
            assert config is not None  # noqa: S101 - the model is handed over only with a config
            start = len(ordered) - n_asked
            bundle = _fit(opened, ordered, start, config, name="evaluated-ancestor")
            return _model(bundle)(ordered, start, len(ordered), 50, Sources())

        figures = evaluate_ancestor(log, seed=seed, model=None if config is None else model)
    shown = ("p@1", "p@3", "p@5", "p@10", "related p@1", "related p@5", "recall")
    output.print_table(
        {"method": "left", **dict.fromkeys(shown, "right"), "history": "left"},
        [
            [name, *(f"{figure[m]:.3f}" for m in shown), figure["history"]]
            for name, figure in figures["methods"].items()
        ],
        title=figures["title"],
    )
    for note in figures["notes"]:
        output.say(f"note: {note}")
    if json is not None:
        json.write_text(output.to_json(figures, indent=2) + "\n", encoding="utf-8")
        output.say(f"wrote all figures to {json}")
