"""`pixtag config`: every setting, its value and where it came from."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pixtag.cli import output

if TYPE_CHECKING:
    from cyclopts import App, ArgumentCollection
    from pydantic import BaseModel

    from pixtag.settings import ConfigT

TABLES: dict[str, str] = {
    "": "pixtag.settings:Common",
    "train": "pixtag.train.config:TrainConfig",
}
"""The class of each table of the settings file, imported only when its values are asked for."""


def register(app: App) -> None:
    """Add this group's verbs.

    Args:
        app: The command line that is being built.
    """
    app.command(config)


def config(*, json: bool = False) -> None:
    """Show every setting, its value and where it came from.

    Settings come from ~/.config/pixtag/config.toml, then pixtag.toml in the working folder, then
    variables such as PIXTAG_STORE, then flags; the last that speaks wins.

    Args:
        json: Print one JSON object instead of a table.

    Examples:
        pixtag config
        PIXTAG_K=10 pixtag config --json
    """
    from pixtag.settings import default_files, load_settings

    settings = load_settings({table: _class_of(table) for table in TABLES}).explain()
    files = [{"path": str(path), "exists": path.exists()} for path in default_files()]
    if json:
        shown = ("value", "source", "origin", "default", "meaning")
        named = {one.name: {key: getattr(one, key) for key in shown} for one in settings}
        output.print_json({"settings": named, "files": files})
        return
    output.print_table(
        {"setting": "left", "value": "left", "from": "left", "what it is": "left"},
        [(one.name, one.shown, one.origin, one.meaning) for one in settings],
    )
    for file in files:
        output.say(f"{'read' if file['exists'] else 'not there'}: {file['path']}")


def fill_flags(app: App, verbs: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give flags that were not typed the value of their setting (a hook of cyclopts).

    Args:
        app: The command line.
        verbs: The verb that was typed.
        arguments: What it takes; those without a value are filled.

    Raises:
        ConfigError: A file or a variable holds what cannot be.
    """
    from cyclopts.config import Dict

    from pixtag.settings import Common, load_settings

    for one in load_settings({"": Common}, other_tables=TABLES).explain():
        if one.source != "default" and (one.verbs is None or {*one.verbs} & {*verbs}):
            value = {one.name: str(one.value)}
            fill = Dict(value, source=one.origin, use_commands_as_keys=False, allow_unknown=True)
            fill(app, verbs, arguments)


def section(model: type[ConfigT], table: str, flags: dict[str, object]) -> ConfigT:
    """Give the settings of one table, with the flags of this call on top.

    Args:
        model: The class of the table.
        table: Its name in `TABLES`.
        flags: Values by key as typed; None where a flag was not given.

    Raises:
        ConfigError: A file, a variable or a flag holds what cannot be.
    """
    from pixtag.settings import Common, load_settings

    dotted = {f"{table}.{key}" if table else key: value for key, value in flags.items()}
    sections: dict[str, type[BaseModel]] = {"": Common, table: model}
    return load_settings(sections, other_tables=TABLES, flags=dotted).of(model)


def _class_of(table: str) -> type[BaseModel]:
    module, _, name = TABLES[table].partition(":")
    return getattr(import_module(module), name)
