"""Work that a test kills: a process that is warm and begins each piece in a fork of its own.

It reads one line of JSON for each piece, forks, and prints the child's number; a further line lets
it wait for the child and print how that ended. Run as `python killed.py`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


class Victims:
    """Begins pieces of work, and kills them at random moments."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._rng = random.Random(17)

    @classmethod
    @contextmanager
    def ready(cls) -> Generator[Self]:
        """Start the process."""
        here = str(Path(__file__).parent)
        path = os.pathsep.join([here, *sys.path])
        process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        try:
            yield cls(process)
        finally:
            process.kill()
            process.communicate()

    def run(self, work: str, *given: object) -> float:
        """Do a piece of work to its end; seconds that it took."""
        self._begin(work, given)
        started_s = time.perf_counter()
        assert self._ended() == 0, work
        return time.perf_counter() - started_s

    def kill(self, work: str, *given: object, within_s: float) -> bool:
        """Begin a piece of work and kill it at a random moment; whether it was not over yet."""
        pid = self._begin(work, given)
        time.sleep(self._rng.uniform(0, within_s))
        os.kill(pid, signal.SIGKILL)
        return self._ended() == -signal.SIGKILL

    def _begin(self, work: str, given: tuple[object, ...]) -> int:
        return int(self._say([work, *map(str, given)]))

    def _ended(self) -> int:
        return int(self._say("wait"))

    def _say(self, what: object) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


def import_posts(store: str, path: str) -> None:
    from pixtag.ingest import find_sources
    from pixtag.ingest import import_posts as run
    from pixtag.store import Store

    with Store.open(store, create=True) as opened:
        run(find_sources([path]), opened, keep_copies=True, now=2e9)


def embed(store: str) -> None:
    import handmade
    from pixtag.photos import embed_missing
    from pixtag.store import Store

    with Store.open(store) as opened:
        embed_missing(opened, handmade.encoder())


def migrate(store: str) -> None:
    from pixtag.store import Store

    Store.open(store).close()


def forget(store: str, user: str) -> None:
    from pixtag.store import Store

    with Store.open(store) as opened:
        opened.forget(user)


def follow(store: str, model: str) -> None:
    """Read all of a store, which writes a snapshot."""
    import handmade
    from pixtag.bundle import load_bundle
    from pixtag.predictor import Predictor
    from pixtag.store import Store

    with (
        Store.open(store) as opened,
        Predictor(load_bundle(Path(model)), store=opened, encoder=handmade.encoder()) as predictor,
    ):
        predictor.now()


def train(out: str) -> None:
    from pixtag.train.fit import fit
    from worlds import QUICK, world

    fit(world(), out=Path(out), config=QUICK)


WORK: dict[str, Callable[..., None]] = {
    one.__name__: one for one in (import_posts, embed, migrate, forget, follow, train)
}


def main() -> None:
    """Take pieces of work until the input ends."""
    import pixtag.ingest
    import pixtag.predictor  # noqa: F401 - warm, before the fork

    child = 0
    for line in sys.stdin:
        asked: Any = json.loads(line)
        if asked == "wait":
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        child = os.fork()
        if child:
            print(child, flush=True)
            continue
        status = 1
        try:
            WORK[asked[0]](*asked[1:])
            status = 0
        except BaseException:  # noqa: BLE001 - the fork must not go on
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)


if __name__ == "__main__":
    main()
