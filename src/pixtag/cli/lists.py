"""`pixtag lists`: tags never, only or always suggested."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pixtag.cli import output
from pixtag.errors import InputError

if TYPE_CHECKING:
    from cyclopts import App

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
    everybody. They are plain files, named on stderr, that you may edit; `pixtag forget` removes
    a person's.

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
    from pixtag.lists import LIST_NAMES, edit_lists, global_lists_path, store_lists_path
    from pixtag.tags import split_tags

    if user is not None:
        store = _checked(user, store)
    own = None if store is None else store_lists_path(store)
    if action is not None and name is not None:
        path = own if own is not None and user is not None else global_lists_path()
        given = [tag for text in tags for tag in split_tags(text)]
        if not given:
            raise InputError(f"no hashtags to {action}", hint=f"pixtag lists {name} {action} TAG")
        is_removal = action == "remove"
        changed = edit_lists(path, name, given, user=user, remove=is_removal)
        n_same = len(given) - len(changed)
        what = "removed" if is_removal else "added"
        same = "" if not n_same else f", {n_same} {'not there' if is_removal else 'there already'}"
        output.say(f"{name}: {len(changed)} {what}{same}; {path}")
    places: list[tuple[str, Path, str | None]] = [("everybody", global_lists_path(), None)]
    if own is not None and user is not None:
        places.append((user, own, user))
    _show(places, LIST_NAMES if name is None else (name,), is_json=json)


def _show(
    places: list[tuple[str, Path, str | None]], names: tuple[ListName, ...], *, is_json: bool
) -> None:
    from pixtag.lists import read_lists

    found = [(whose, read_lists(path, user)) for whose, path, user in places]
    if is_json:
        output.print_json(
            {whose: {name: getattr(lists, name) for name in names} for whose, lists in found}
        )
        return
    rows = [
        (name, whose, " ".join(f"#{tag}" for tag in getattr(lists, name)) or "none")
        for name in names
        for whose, lists in found
    ]
    output.print_table({"list": "left", "for": "left", "hashtags": "left"}, rows)
    for _, path, _ in places:
        output.say(f"{'read' if path.exists() else 'not there'}: {path}")


def _checked(user: str, store: Path | None) -> Path:
    from pixtag.store import Store

    if store is None:
        raise InputError(
            f"lists of {user!r} need the store that they belong to", hint="add --store my.sqlite"
        )
    with Store.open(store, read_only=True) as opened:
        people = [name for name, _ in opened.summary().posts_per_person]
        if user not in people:
            output.say(f"note: {user!r} has no posts in {store}")
        return opened.path
