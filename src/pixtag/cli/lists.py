"""`pixtag lists`: tags never, only or always suggested."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pixtag.cli import output
from pixtag.errors import InputError

if TYPE_CHECKING:
    from cyclopts import App

    from pixtag.lists import Lists

ListName = Literal["deny", "allow", "always"]


def register(app: App) -> None:
    """Add this group's verbs.

    Args:
        app: The command line that is being built.
    """
    app.command(lists)


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
    from pixtag.lists import (
        LIST_NAMES,
        Lists,
        edit_global_lists,
        global_lists,
        global_lists_path,
    )
    from pixtag.store import Store
    from pixtag.tags import split_tags

    if user is not None and store is None:
        raise InputError(
            f"lists of {user!r} need the store that they belong to", hint="add --store my.sqlite"
        )
    given = [tag for text in tags for tag in split_tags(text)]
    is_change, is_removal = action is not None and name is not None, action == "remove"
    if is_change and not given:
        raise InputError(f"no hashtags to {action}", hint=f"pixtag lists {name} {action} TAG")
    path = global_lists_path()
    if user is None and is_change and name is not None:
        changed = edit_global_lists(name, given, remove=is_removal)
        _say_changed(name, given, changed, path, is_removal=is_removal)
    found = {"everybody": global_lists()}
    if store is not None and user is not None:
        with Store.open(store, read_only=not is_change) as opened:
            if user not in dict(opened.summary().posts_per_person):
                output.say(f"note: {user!r} has no posts in {store}")
            if is_change and name is not None:
                changed = opened.edit_lists(name, given, user_id=user, remove=is_removal)
                _say_changed(name, given, changed, store, is_removal=is_removal)
            found[user] = opened.lists(user)
            if opened.lists() != Lists():  # taken in from a file of an earlier version
                found[f"everybody in {store.name}"] = opened.lists()
    names = LIST_NAMES if name is None else (name,)
    if json:
        shown = {whose: {n: getattr(lists, n) for n in names} for whose, lists in found.items()}
        output.print_json(shown)
        return
    rows = [
        (n, whose, " ".join(f"#{tag}" for tag in getattr(lists, n)) or "none")
        for n in names
        for whose, lists in found.items()
    ]
    output.print_table({"list": "left", "for": "left", "hashtags": "left"}, rows)
    output.say(f"{'read' if path.exists() else 'not there'}: {path}")


def lists_of(user: str | None, store: Path | None) -> Lists:
    """Give the lists that hold for a person: everybody's, the store's and their own.

    Raises:
        ConfigError: The file of everybody's lists holds what cannot be.
        StoreError: There is no usable store.
    """
    from pixtag.lists import global_lists
    from pixtag.store import Store

    found = global_lists()
    if store is None:
        return found
    with Store.open(store, read_only=True) as opened:
        found = found.joined(opened.lists())
        return found if user is None else found.joined(opened.lists(user))


def _say_changed(
    name: str, given: list[str], changed: list[str], place: Path, *, is_removal: bool
) -> None:
    n_same = len(given) - len(changed)
    what = "removed" if is_removal else "added"
    same = "" if not n_same else f", {n_same} {'not there' if is_removal else 'there already'}"
    output.say(f"{name}: {len(changed)} {what}{same}; {place}")
