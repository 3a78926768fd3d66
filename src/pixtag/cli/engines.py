"""Where long work runs: the words `--engine` and `--address` of embed, train and evaluate."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from pixtag.errors import ConfigError, InputError
from pixtag.places import is_server

if TYPE_CHECKING:
    from pixtag.engine import Engine

EngineName = Literal["local", "postgres", "ray"]


@contextmanager
def opened_engine(
    name: EngineName, address: str | None, *, store: str | None, job: str
) -> Generator[Engine]:
    """Open an engine.

    Args:
        name: Which one.
        address: Of the store in PostgreSQL that holds the leases, or of the Ray cluster.
        store: That of the command, which holds the leases where no other is named.
        job: Processes that give the same name share their results.
    """
    from pixtag.engine import LOCAL

    if name == "local":
        if address is not None:
            hint = "add --engine postgres or --engine ray"
            raise InputError(f"--address {address} is of no use on this machine alone", hint=hint)
        yield LOCAL
    elif name == "ray":
        try:
            from pixtag.engine.ray import RayEngine
        except ModuleNotFoundError as error:
            what = f"--engine ray needs {error.name}, which is not installed"
            raise ConfigError(what, hint="pip install 'pixtag[ray]'") from error
        with RayEngine(address) as engine:
            yield engine
    else:
        held = address or store
        if held is None or not is_server(held):
            hint = "name one, postgresql://USER@HOST/DATABASE, by --store or --address"
            raise InputError("--engine postgres needs a store in PostgreSQL", hint=hint)
        from pixtag.store import Store

        with Store.open(held) as opened:
            from pixtag.engine.postgres import PostgresEngine

            with PostgresEngine(opened, job) as engine:
                yield engine
