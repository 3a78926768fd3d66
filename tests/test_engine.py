"""The engines: the same bytes from all, and nothing lost or counted twice when one is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import engines
from pixtag import rank as ranking
from pixtag.engine import LOCAL, Arrays, Engine, in_order
from pixtag.errors import InputError, ServerError
from pixtag.evaluate import model_of
from pixtag.photos import embed_missing
from pixtag.store import Store
from pixtag.train.fit import fit
from pixtag.types import Sources
from ray_cluster import DOOMED
from worlds import QUICK, world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pixtag.bundle import Bundle


Embedded = tuple[bytes, int, dict[str, int]]


def replayed(engine: Engine, bundle: Bundle) -> bytes:
    log = world()
    found = model_of(bundle, engine)(log, log.n_untimed, len(log), 20, Sources())
    return found.tag_ids.tobytes() + found.probs.tobytes()


def trained(engine: Engine, out: Path) -> Bundle:
    less = {"head_epochs": 3, "epochs": 1, "teachers": 0, "drop_sources": 0, "new_subjects": 0}
    quickest = QUICK.model_copy(update=less)
    return fit(world(), out=out, config=quickest, engine=engine)


def embedded(
    engine: Engine, address: str | Path, folder: Path
) -> tuple[bytes, int, dict[str, int]]:
    folder.mkdir()
    with Store.open(address, create=True) as store:
        engines.fill(store, folder)
        (folder / "050.png").write_bytes(b"not what it was")
        eyes = engines.encoder(folder)
        found = embed_missing(store, eyes, engine=engine)
        log = store.log(eyes.digest)
        assert np.flatnonzero(~log.has_photo).tolist() == [50]
        assert [one.kind for one in store.failures()] == ["changed"]
        return log.embeddings.tobytes(), found.embedded, found.faults


@pytest.fixture(autouse=True)
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut even a small world into parts."""
    monkeypatch.setattr(ranking, "LEAST_PART", 60)


@cache
def alone() -> tuple[Bundle, bytes, Embedded]:
    """What this machine alone gives."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        model = trained(LOCAL, place / "model")
        photos = embedded(LOCAL, place / "s.sqlite", place / "photos")
        return model, replayed(LOCAL, model), photos


class Counted:
    """An engine, and how often it was asked."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.n_asked = engine, 0

    def map(self, *work: Any, **told: Any) -> Iterator[Arrays]:
        self.n_asked += 1
        return self._engine.map(*work, **told)


def same_from(engine: Engine, folder: Path, address: str | Path) -> None:
    model, replay, photos = alone()
    assert replayed(engine, model) == replay
    assert embedded(engine, address, folder / "photos") == photos
    assert photos[1:] == (engines.N_PHOTOS - 1, {"changed": 1})
    counted = Counted(engine)
    assert trained(counted, folder / "model").manifest.digest == model.manifest.digest
    assert counted.n_asked >= 2


# This machine


def test_results_come_in_order_and_few_shards_are_begun_ahead():
    begun: list[int] = []

    def work(shard: int) -> int:
        begun.append(shard)
        time.sleep(0.01 * (shard % 3))
        return shard * shard

    found = in_order(work, range(1000))
    assert [next(found) for _ in range(20)] == [i * i for i in range(20)]
    assert len(begun) < 1000
    found.close()
    assert len(begun) < 1000


# PostgreSQL


def test_leases_give_the_same_bytes_and_leave_nothing_behind(database, tmp_path):
    from pixtag.engine.postgres import PostgresEngine

    with Store.open(database) as store, PostgresEngine(store, "a") as engine:
        same_from(engine, tmp_path, database)
        assert rows(store, "shards") > 0
    with Store.open(database) as store:
        assert (rows(store, "shards"), rows(store, "workers")) == (0, 0)


def rows(store: Store, table: str) -> int:
    with store.reading() as db:
        return db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def until(holds: Callable[[], object]) -> None:
    for _ in range(2400):
        if holds():
            return
        time.sleep(0.025)
    raise TimeoutError


def test_a_worker_that_is_killed_in_the_middle_loses_nothing_and_counts_nothing_twice(
    database, tmp_path
):
    from pixtag.engine.postgres import PostgresEngine

    (tmp_path / "photos").mkdir()
    eyes, marker = engines.encoder(tmp_path), tmp_path / "hangs"
    with Store.open(database) as store:
        engines.fill(store, tmp_path / "photos")
        words = [engines.__file__, database, tmp_path / "mean.onnx", marker]
        path = os.pathsep.join(sys.path)
        worker = subprocess.Popen(
            [sys.executable, *map(str, words)], env={**os.environ, "PYTHONPATH": path}
        )
        try:
            until(marker.exists)
            until(lambda: store.summary().n_embeddings == 2 * 16)
            with PostgresEngine(store, "test", lease_s=1.5) as engine:
                with ThreadPoolExecutor(1) as pool:
                    running = pool.submit(embed_missing, store, eyes, engine=engine)
                    # All that the other one does not hold is done while it is alive.
                    until(lambda: store.summary().n_embeddings >= engines.N_PHOTOS - 2 * 16)
                    assert not running.done()
                    worker.send_signal(signal.SIGKILL)
                    found = running.result(60)
                assert (found.embedded, found.failed) == (engines.N_PHOTOS, 0)
                with store.reading() as db:
                    tries = [n for (n,) in db.execute("SELECT tries FROM shards ORDER BY place")]
                assert sorted(tries)[-1] == 2  # a shard that it held was done again,
                assert sorted(tries)[0] == 1  # and none that it had finished
            assert rows(store, "shards") == 0
        finally:
            worker.kill()
            worker.wait()
        alone_in = tmp_path / "alone"
        alone_in.mkdir()
        with Store.open(tmp_path / "s.sqlite", create=True) as other:
            engines.fill(other, alone_in)
            embed_missing(other, eyes)
            assert engines.embeddings(store, eyes.digest) == engines.embeddings(other, eyes.digest)


def test_two_processes_share_the_shards_and_each_gets_every_result(database):
    from pixtag.engine.postgres import PostgresEngine

    done: list[int] = []

    def work(shard: int) -> Arrays:
        done.append(shard)
        time.sleep(0.01)
        return {"square": np.array(shard**2), "text": np.array(["a\udcff", "é"])}

    def run() -> list[int]:
        with Store.open(database) as store, PostgresEngine(store, "b") as engine:
            found = engine.map(work, range(40), key=lambda: "squares", keep=None)
            return [int(one["square"]) for one in found]

    with ThreadPoolExecutor(2) as pool:
        one, other = (pool.submit(run) for _ in range(2))
        assert one.result() == other.result() == [i * i for i in range(40)]
    assert set(done) == set(range(40))


def test_what_a_shard_raises_is_raised_and_the_shard_given_back(database):
    from pixtag.engine.postgres import PostgresEngine

    def work(shard: int) -> Arrays:
        raise InputError("no such thing", hint="none")

    with Store.open(database) as store, PostgresEngine(store, "c") as engine:
        with pytest.raises(InputError, match="no such thing"):
            list(engine.map(work, range(3), key=lambda: "wrong", keep=None))
        with store.reading() as db:
            assert {*db.execute("SELECT owner, tries FROM shards")} == {(None, 0)}
        with store.writing() as db:
            db.execute("UPDATE shards SET tries = 4")
        with pytest.raises(ServerError, match="ended 4 processes"):
            list(engine.map(work, range(3), key=lambda: "wrong", keep=None))


def test_an_engine_that_was_thought_dead_goes_on(database):
    from pixtag.engine.postgres import PostgresEngine

    with Store.open(database) as store, PostgresEngine(store, "d", lease_s=3600) as engine:
        found = engine.map(lambda i: {"i": np.array(i)}, range(30), key=lambda: "k", keep=None)
        first = [int(next(found)["i"]) for _ in range(5)]
        with store.writing() as db:
            db.execute("DELETE FROM shards")
            db.execute("DELETE FROM workers")
        assert first + [int(one["i"]) for one in found] == [*range(30)]


def test_what_a_killed_job_has_left_goes_when_somebody_is_forgotten(database):
    with Store.open(database) as store:
        with store.writing() as db:
            db.execute("INSERT INTO shards VALUES ('j', 'k', 0, '[[\"/ana.jpg\", \"d\"]]')")
        store.forget("ana")
        assert rows(store, "shards") == 0


def test_the_command_line_takes_an_engine(pixtag, database, tmp_path):
    (tmp_path / "photos").mkdir()
    eyes = engines.encoder(tmp_path)
    with Store.open(database) as store:
        engines.fill(store, tmp_path / "photos")
    words = ("embed", "--store", database, "--encoder", tmp_path / "mean.onnx")
    done = pixtag(*words, "--engine", "postgres", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["embedding"]["embedded"] == engines.N_PHOTOS
    again = pixtag(*words)
    assert "0 photos looked at" in again.stderr
    with Store.open(database) as store:
        engines.embeddings(store, eyes.digest)
    wrong = pixtag("embed", "--store", tmp_path / "s.sqlite", "--engine", "postgres")
    assert wrong.returncode != 0
    wrong = pixtag("embed", "--store", database, "--address", "auto")
    assert (wrong.returncode, "--engine ray" in wrong.stderr) == (2, True)


@pytest.mark.parametrize("verb", ["embed", "train", "evaluate"])
def test_verbs_say_that_no_cluster_is_there(pixtag, tmp_path, verb):
    if find_spec("ray") is None:
        pytest.skip("needs the extra `ray`")
    Store.open(tmp_path / "s.sqlite", create=True).close()
    words = ("--out", tmp_path / "model") if verb == "train" else ()
    wrong = pixtag(verb, "--store", tmp_path / "s.sqlite", *words,
                   "--engine", "ray", "--address", "127.0.0.1:1")  # fmt: skip
    assert (wrong.returncode, "no Ray cluster at 127.0.0.1:1" in wrong.stderr) == (1, True)


# Ray


def test_ray_gives_the_same_bytes_and_does_the_shards_of_a_killed_node_again(cluster, tmp_path):
    from pixtag.engine.ray import RayEngine

    kept: list[int] = []
    folder = tmp_path / "begun"
    folder.mkdir()

    def work(shard: int) -> Arrays:
        is_doomed = DOOMED in os.environ
        (folder / f"{shard} {is_doomed} {uuid.uuid4()}").touch()
        while is_doomed or not list(folder.glob("* True *")):  # so that both nodes begin some
            time.sleep(0.02)
        return {"square": np.array(shard**2)}

    def keep(shard: int, found: Arrays) -> Arrays:
        kept.append(shard)
        return found

    def refuse(shard: int) -> Arrays:
        raise InputError("wrong", hint="none")

    def kill() -> None:
        until(lambda: list(folder.glob("* True *")))
        cluster.kill_second()

    with RayEngine(cluster.address) as engine:
        same_from(engine, tmp_path, tmp_path / "s.sqlite")
        with pytest.raises(InputError, match="wrong") as error:
            list(engine.map(refuse, [0], key=str, keep=None))
        assert error.value.hint == "none"
        with ThreadPoolExecutor(1) as pool:
            killed = pool.submit(kill)
            found = engine.map(work, range(30), key=str, keep=keep)
            assert [int(one["square"]) for one in found] == [i * i for i in range(30)]
            killed.result()
    assert kept == [*range(30)]
    begun = [int(path.name.split()[0]) for path in folder.iterdir()]
    assert len(begun) > len(set(begun)) == 30
