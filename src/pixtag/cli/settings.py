"""`pixtag config` and `pixtag lists`: what was set, and tags never, only or always suggested."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cyclopts import App, ArgumentCollection

from pixtag.cli import output
from pixtag.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pixtag.lists import Lists
    from pixtag.settings import ConfigT

TABLES: dict[str, str] = {"": "pixtag.settings:Common", "train": "pixtag.train.config:TrainConfig"}
"""The class of each table of the settings file, imported only when its values are asked for."""

ListName = Literal["deny", "allow", "always"]


def register(app: App) -> None:
    """Add this file's verbs."""
    app.command(config)
    app.command(lists)


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

    classes: dict[str, type[BaseModel]] = {}
    for table, place in TABLES.items():
        module, _, name = place.partition(":")
        classes[table] = getattr(import_module(module), name)
    settings = load_settings(classes).explain()
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
    """Give flags that were not typed the value of their setting (a hook of cyclopts)."""
    from cyclopts.config import Dict

    from pixtag.settings import Common, load_settings

    for one in load_settings({"": Common}, other_tables=TABLES).explain():
        if one.source != "default" and (one.verbs is None or {*one.verbs} & {*verbs}):
            value = {one.name: str(one.value)}
            fill = Dict(value, source=one.origin, use_commands_as_keys=False, allow_unknown=True)
            fill(app, verbs, arguments)


def section(model: type[ConfigT], table: str, flags: dict[str, object]) -> ConfigT:
    """Give the settings of one of `TABLES`, with the flags of this call (or None) by key on top.

    ConfigError: A file, a variable or a flag holds what cannot be.
    """
    from pixtag.settings import Common, load_settings

    dotted = {f"{table}.{key}" if table else key: value for key, value in flags.items()}
    sections: dict[str, type[BaseModel]] = {"": Common, table: model}
    return load_settings(sections, other_tables=TABLES, flags=dotted).of(model)


def lists(
    name: ListName | None = None,
    action: Literal["add", "remove"] | None = None,
    /,
    *tags: str,
    user: str | None = None,
    store: Path | None = None,
    json: bool = False,
) -> None:
    """Show or change the hashtags that are never, only or always suggested.

    deny: never suggested, whatever else is said. allow: as long as it holds any, only these are
    suggested. always: added after the suggestions, within their number. `pixtag predict` obeys
    all three; --no-lists there switches them off.

    The lists hold for everybody, or with --user for one person of a store, beside those for
    everybody. The latter are a plain file, named on stderr, that you may edit; a person's are
    in the store, and `pixtag forget` removes them.

    Args:
        name: Which list: deny, allow or always; all when absent.
        action: add or remove; without it the lists are shown.
        tags: Hashtags, with or without the sign.
        user: A person of the store, for lists of their own.
        store: The store of the person.
        json: Print one JSON object instead of a table.

    Examples:
        pixtag lists
        pixtag lists deny add love instagood
        pixtag lists always add studioana --user ana --store my.sqlite
        pixtag lists deny remove love
    """
    from pixtag.lists import LIST_NAMES, Lists, edit_global_lists, global_lists, global_lists_path
    from pixtag.store import Store
    from pixtag.tags import split_tags

    if user is not None and store is None:
        what = f"lists of {user!r} need the store that they belong to"
        raise InputError(what, hint="add --store my.sqlite")
    given = [tag for text in tags for tag in split_tags(text)]
    is_removal = action == "remove"
    if action and name and not given:
        raise InputError(f"no hashtags to {action}", hint=f"pixtag lists {name} {action} TAG")

    def say_changed(changed: list[str], place: Path) -> None:
        n_same = len(given) - len(changed)
        same = f", {n_same} {'not there' if is_removal else 'there already'}" if n_same else ""
        what = "removed" if is_removal else "added"
        output.say(f"{name}: {len(changed)} {what}{same}; {place}")

    path = global_lists_path()
    if user is None and action and name:
        say_changed(edit_global_lists(name, given, remove=is_removal), path)
    found = {"everybody": global_lists()}
    if store is not None and user is not None:
        with Store.open(store, read_only=not (action and name)) as opened:
            if user not in dict(opened.summary().posts_per_person):
                output.say(f"note: {user!r} has no posts in {store}")
            if action and name:
                changed = opened.edit_lists(name, given, user_id=user, remove=is_removal)
                say_changed(changed, store)
            found[user] = opened.lists(user)
            if opened.lists() != Lists():  # taken in from a file of an earlier version
                found[f"everybody in {store.name}"] = opened.lists()
    names = LIST_NAMES if name is None else (name,)
    shown = {whose: {n: getattr(lists, n) for n in names} for whose, lists in found.items()}
    if json:
        output.print_json(shown)
        return
    rows = [
        (n, whose, " ".join(f"#{tag}" for tag in shown[whose][n]) or "none")
        for n in names
        for whose in shown
    ]
    output.print_table({"list": "left", "for": "left", "hashtags": "left"}, rows)
    output.say(f"{'read' if path.exists() else 'not there'}: {path}")


def lists_of(user: str | None, store: Path | None) -> Lists:
    """Give the lists that hold for a person: everybody's, the store's and their own."""
    from pixtag.lists import global_lists
    from pixtag.store import Store

    if store is None:
        return global_lists()
    with Store.open(store, read_only=True) as opened:
        found = global_lists().joined(opened.lists())
        return found if user is None else found.joined(opened.lists(user))
