"""Adding a signal is one file and one line: it is then trained, silenced, measured and told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pixtag

SOURCE = Path(pixtag.__file__).parent
TESTS = Path(__file__).parent.parent

TOY = '''
    """Toy: whether the name of a tag ends as the person's name does, once they have a history."""

    import numpy as np

    from pixtag.signals.spec import Feature, Signal


    def _toy(asked, pairs):
        names = [asked.view.people.names[u] if u >= 0 else "-" for u in asked.user]
        ends = [names[q][-1:] == asked.names[t][-1:] for q, t in zip(pairs.question, pairs.tag)]
        return np.array(ends, np.float32)[:, None]


    TOY = Signal("toy", (Feature("ends_alike", ("history",), "own uses"),), _toy)
'''

CHECK = """
    import sys
    from dataclasses import replace
    from pathlib import Path

    import numpy as np

    from pixtag.bundle import load_bundle
    from pixtag.model import evidence_of
    from pixtag.rank import candidates, questions_of, rank
    from pixtag.reasons import contributions
    from pixtag.signals import FEATURES, REASONS, SIGNALS, SOURCES
    from pixtag.train.fit import fit
    from pixtag.types import Sources
    from worlds import QUICK, world

    log = world(400)
    config = QUICK.model_copy(update={"epochs": 1, "head_epochs": 5, "topics": 0})
    fit(log, out=Path(sys.argv[1]) / "model", config=config)
    bundle = load_bundle(Path(sys.argv[1]) / "model")
    (column,) = FEATURES.of_signal("toy")

    # Trained: its name is in the file, it has a scale of its own, and the network weighs it.
    assert FEATURES.names[column] == "ends_alike"
    assert "ends_alike" in bundle.manifest.feature_names["features"]
    assert bundle.weights["norm/std"][column] > 0
    assert abs(bundle.weights["score/linear"][column]) > 0

    model, evidence = evidence_of(bundle, log)
    questions = questions_of(log, np.arange(300, 340), width=log.embeddings.shape[1])

    def values(sources):
        return candidates(model, evidence.view(), questions, sources=sources).features[:, :, column]

    # Silenced with its source, and with no other.
    assert values(Sources()).any()
    assert values(Sources(pixels=False, trend=False)).any()
    assert not values(Sources(history=False)).any()
    assert bundle.weights["source/needed"][:, column].tolist() == [0, 1, 0]

    # A row of the ablation table, and in a group of reasons that is told as history.
    assert "toy" in [signal.name for signal in SIGNALS]
    assert column in FEATURES.of_reason("own uses")
    assert REASONS["own uses"] == "history"

    # It takes part in what is answered.
    heavier = {n: a.copy() for n, a in model.weights.items()}
    heavier["score/linear"][column] += 5.0
    ranked = [
        rank(m, evidence.view(), questions, k=5).tag_ids
        for m in (model, replace(model, weights=heavier))
    ]
    assert not np.array_equal(*ranked)

    # And in what is told of it: the group of its reason has added what it added.
    found = candidates(model, evidence.view(), questions)
    row = int(np.flatnonzero(found.features[:, :, column].any(axis=1))[0])
    places = np.flatnonzero(found.features[row, :, column] > 0)
    rows, group = np.full(len(places), row), list(REASONS).index("own uses")
    added, more = (
        contributions(w, found, rows, places)[:, group] for w in (model.weights, heavier)
    )
    assert (more > added + 0.1).all()
    print("the toy is a signal")
"""


def test_one_file_and_one_line_make_a_signal(tmp_path):
    package = tmp_path / "src" / "pixtag"
    shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("data", "__pycache__"))
    (package / "data").symlink_to(SOURCE / "data")
    (package / "signals" / "toy.py").write_text(textwrap.dedent(TOY))
    table = package / "signals" / "__init__.py"
    lines = table.read_text().splitlines()
    lines.insert(lines.index("    CO_OCCURRENCE,") + 1, "    TOY,")
    first = next(i for i, line in enumerate(lines) if line.startswith("from "))
    lines.insert(first, "from pixtag.signals.toy import TOY")
    table.write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHECK), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{tmp_path / 'src'}{os.pathsep}{TESTS}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "the toy is a signal" in done.stdout
