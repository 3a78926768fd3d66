"""`pixtag config`: every setting, its value and where it came from."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pixtag.cli import output

if TYPE_CHECKING:
    from cyclopts import App

    from pixtag.config import Common, Config, ConfigT

TABLES: dict[str, str] = {
    "": "pixtag.config:Common",
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
    sections: dict[str, type[Config]] = {"": Common, table: model}
    return load_settings(sections, other_tables=TABLES, flags=dotted).of(model)


def _class_of(table: str) -> type[Config]:
    module, _, name = TABLES[table].partition(":")
    return getattr(import_module(module), name)
