"""`pixtag config`: every setting, its value and where it came from."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pixtag.cli import output

if TYPE_CHECKING:
    from cyclopts import App, ArgumentCollection
    from pydantic import BaseModel

    from pixtag.config import Common, ConfigT

TABLES: dict[str, str] = {
    "": "pixtag.config:Common",
    "train": "pixtag.train.config:TrainConfig",
}
"""The class of each table of the settings file, imported only when its values are asked for."""

FILLED: dict[str, frozenset[str] | None] = {
    "store": None,
    "encoder": None,
    "bundle": frozenset({"predict"}),
    "k": frozenset({"predict"}),
    "platform": frozenset({"predict"}),
    "platforms": frozenset({"predict"}),
    "restricted": frozenset({"predict"}),
}
"""Flags that settings fill when they are not typed, and the verbs where; None means every verb."""


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
    from pixtag.config import default_files, load_settings

    settings = load_settings({table: _class_of(table) for table in TABLES}).explain()
    files = [(str(path), path.exists()) for path in default_files()]
    if json:
        output.print_json(
            {
                "settings": {
                    setting.name: {
                        "value": setting.value,
                        "source": setting.source,
                        "origin": setting.origin,
                        "default": setting.default,
                        "meaning": setting.meaning,
                    }
                    for setting in settings
                },
                "files": [{"path": path, "exists": exists} for path, exists in files],
            }
        )
        return
    output.print_table(
        {"setting": "left", "value": "left", "from": "left", "what it is": "left"},
        [(one.name, one.shown, one.origin, one.meaning) for one in settings],
    )
    for path, exists in files:
        output.say(f"{'read' if exists else 'not there'}: {path}")


def fill_flags(app: App, verbs: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give flags that were not typed the value of their setting (a hook of cyclopts).

    So a verb that takes `--store` also takes `PIXTAG_STORE` and `store` in pixtag.toml.

    Args:
        app: The command line.
        verbs: The verb that was typed.
        arguments: What it takes; those without a value are filled.

    Raises:
        ConfigError: A file or a variable holds what cannot be.
    """
    from cyclopts import Token

    from pixtag.config import Common, load_settings

    del app
    loaded = load_settings({"": Common}, other_tables=TABLES)
    settings = {one.name: one for one in loaded.explain() if one.source != "default"}
    for argument in arguments:
        if argument.tokens:
            continue
        for flag in argument.names:
            setting = settings.get(flag.lstrip("-"))
            if setting is None or not flag.startswith("-"):
                continue
            where = FILLED.get(setting.name, frozenset())
            if where is None or where.intersection(verbs):
                token = Token(keyword=setting.origin, value=str(setting.value), source="settings")
                argument.append(token)
                break


def common(**flags: object) -> Common:
    """Give the settings that verbs share, with the flags of this call on top.

    Args:
        **flags: `store`, `bundle` and `k` as typed; None where a flag was not given.

    Raises:
        ConfigError: A file, a variable or a flag holds what cannot be.
    """
    from pixtag.config import Common

    return section(Common, "", flags)


def section(model: type[ConfigT], table: str, flags: dict[str, object]) -> ConfigT:
    """Give the settings of one table, with the flags of this call on top.

    Args:
        model: The class of the table.
        table: Its name in `TABLES`.
        flags: Values by key as typed; None where a flag was not given.

    Raises:
        ConfigError: A file, a variable or a flag holds what cannot be.
    """
    from pixtag.config import Common, load_settings

    dotted = {f"{table}.{key}" if table else key: value for key, value in flags.items()}
    sections: dict[str, type[BaseModel]] = {"": Common, table: model}
    return load_settings(sections, other_tables=TABLES, flags=dotted).of(model)


def _class_of(table: str) -> type[BaseModel]:
    module, _, name = TABLES[table].partition(":")
    return getattr(import_module(module), name)
