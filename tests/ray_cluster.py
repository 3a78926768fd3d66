"""A Ray cluster of two nodes on this machine, which asks for a token."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

STORE_BYTES = 80 * 2**20
STARTED = "Ray runtime started"  # what `ray start` says of a node that is ready
DOOMED = "PIXTAG_TEST_DOOMED"
"""A variable that the processes of the second node have."""


class Cluster:
    """Two nodes with a processor each; the second one may be killed."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._nodes = folder, list[subprocess.Popen[bytes]]()
        self._log = (folder / "log").open("ab")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"

    def start(self) -> None:
        """Start both nodes, and wait until they are ready."""
        port = self.address.rpartition(":")[2]
        self._start("--head", f"--port={port}", "--include-dashboard=false",
                    f"--temp-dir={self._folder}/r")  # fmt: skip
        self._start(f"--address={self.address}", **{DOOMED: "1"})

    def _start(self, *words: str, **env: str) -> None:
        """Start a node; again when it gives up, as on a busy machine after half a minute."""
        own = ("--block", "--num-cpus=1", "--node-ip-address=127.0.0.1", "--disable-usage-stats",
               f"--object-store-memory={STORE_BYTES}")  # fmt: skip
        python_path = os.pathsep.join(path for path in sys.path if path)
        known = {**os.environ, "HOME": str(self._folder), "PYTHONPATH": python_path, **env}
        command = [Path(sys.executable).with_name("ray"), "start", *own, *words]
        log = self._folder / "log"
        for _ in range(4):
            n_started = log.read_text().count(STARTED)
            node = subprocess.Popen(
                command, env=known, stdout=self._log, stderr=self._log, start_new_session=True
            )
            while node.poll() is None:
                if log.read_text().count(STARTED) > n_started:
                    self._nodes.append(node)
                    return
                time.sleep(0.1)
            self._kill(node)
        raise TimeoutError(log.read_text())

    def kill_second(self) -> None:
        """End all of the second node's processes at once, as a power cut would."""
        self._kill(self._nodes.pop())

    def _kill(self, node: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)
        node.wait()

    def stop(self) -> None:
        """End it."""
        while self._nodes:
            self._kill(self._nodes.pop())
        self._log.close()


@contextmanager
def running() -> Generator[Cluster]:
    """Run a cluster; the tests have its token (conftest.py)."""
    # A short path: names of sockets have a limit.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as name:
        cluster = Cluster(Path(name))
        try:
            cluster.start()
            yield cluster
        finally:
            import ray

            ray.shutdown()
            cluster.stop()
