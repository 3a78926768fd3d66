"""A person's lists of tags: never these, only these, always these; plain files to edit.

The lists of everybody who works here lie in `~/.config/pixtag/lists.toml`, those of one person
of a store beside it, in `STORE.lists.toml`, and go with `Store.forget`:

    deny = ["love"]            # never suggested
    allow = []                 # when not empty, only these are suggested
    always = ["studioana"]     # added to every set, within its size

    [users."ana"]              # in a store's file: the same lists for one person
    deny = ["cat"]

A file is replaced as a whole while its folder is locked, so two writers lose nothing.
"""

from __future__ import annotations

import json
import os
import tempfile
import tomllib
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, cast, get_args

from pixtag.config import config_folder
from pixtag.errors import ConfigError, InputError
from pixtag.tags import normalise_tag

ListName = Literal["deny", "allow", "always"]
LIST_NAMES: tuple[ListName, ...] = get_args(ListName)
USERS = "users"
_SUFFIX = ".lists.toml"

_HEAD = """\
# Lists of tags for `pixtag predict`: edit them here or with `pixtag lists`, which keeps the
# entries and not further comments.
#   deny    never suggested; stronger than the other two
#   allow   when not empty, only these are suggested
#   always  added to every set, within its size
"""


@dataclass(frozen=True, slots=True)
class Lists:
    """Three lists of normalised tags, each tag once.

    Attributes:
        deny: Never suggested; stronger than the other two.
        allow: When not empty, only these are suggested.
        always: Added to every set, within its size.
    """

    deny: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    always: tuple[str, ...] = ()

    def joined(self, other: Lists) -> Lists:
        """These lists with the entries of others after them."""
        return Lists(
            *(
                tuple(dict.fromkeys((*getattr(self, name), *getattr(other, name))))
                for name in LIST_NAMES
            )
        )


def global_lists_path() -> Path:
    """The file of the lists that hold for everybody here; it may not exist."""
    return config_folder() / "lists.toml"


def store_lists_path(store: Path) -> Path:
    """The file of the lists of a store's people; it may not exist."""
    return store.with_name(store.name + _SUFFIX)


def lists_for(user: str | None = None, store: Path | None = None) -> Lists:
    """Give the lists that hold for a person: the global ones and, in a store, their own.

    Args:
        user: The person; None for nobody in particular.
        store: The store's file.

    Raises:
        ConfigError: A file holds what cannot be.
    """
    lists = read_lists(global_lists_path())
    if store is None:
        return lists
    path = store_lists_path(store)
    lists = lists.joined(read_lists(path))
    return lists if user is None else lists.joined(read_lists(path, user))


def read_lists(path: Path, user: str | None = None) -> Lists:
    """Read the lists of a file.

    Args:
        path: The file; without one, or without the person, all lists are empty.
        user: Whose lists; those above all people's when None.

    Raises:
        ConfigError: The file is no TOML, a list has another name, or an entry is no tag.
    """
    return _read(path).get(user, Lists())


def edit_lists(
    path: Path, name: ListName, tags: Iterable[str], *, user: str | None = None, remove: bool
) -> list[str]:
    """Add tags to a list or remove them from it; safe beside other writers.

    Args:
        path: The file; made when it is missing.
        name: The list.
        tags: As written, with or without the sign.
        user: Whose list; the one above all people's when None.
        remove: Take them out instead of adding them.

    Returns:
        The tags that were added or removed, normalised; known ones, or absent ones, are not.

    Raises:
        InputError: One is no tag.
        ConfigError: The file holds what cannot be, or cannot be written.
    """
    if user is not None and (not user or user != user.encode("utf-8", "replace").decode()):
        raise InputError(f"{user!r} is no name of a person", hint="give a name in valid Unicode")
    wanted = list(dict.fromkeys(_tag(raw, InputError, "the command line") for raw in tags))
    changed: list[str] = []

    def edited(known: dict[str | None, Lists]) -> None:
        before = cast("tuple[str, ...]", getattr(known.get(user, Lists()), name))
        changed.extend(tag for tag in wanted if (tag in before) == remove)
        after = (
            tuple(tag for tag in before if tag not in changed) if remove else (*before, *changed)
        )
        known[user] = replace(known.get(user, Lists()), **{name: after})

    _edit(path, edited)
    return changed


def forget_lists(path: Path, user: str) -> bool:
    """Remove a person's lists from a file.

    Args:
        path: The file; nothing happens when it is missing.
        user: The person.

    Returns:
        Whether there were any.

    Raises:
        ConfigError: The file holds what cannot be, or cannot be written.
    """
    if not path.exists():
        return False
    found: list[Lists] = []

    def without(known: dict[str | None, Lists]) -> None:
        found.extend([known.pop(user)] if user in known else [])

    _edit(path, without)
    return bool(found)


def _edit(path: Path, change: Callable[[dict[str | None, Lists]], None]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.parent):
            known = _read(path)
            before = dict(known)
            change(known)
            if known != before:
                _write(path, known)
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}", hint="check who owns the file and its folder"
        ) from error


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """Hold a folder against other writers of lists; a killed one holds nothing."""
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _read(path: Path) -> dict[str | None, Lists]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not valid TOML: {error}", hint="correct that line, or delete the file"
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    people = content.pop(USERS, {})
    if not isinstance(people, dict):
        raise ConfigError(f"{USERS} in {path} is no table", hint='write [users."ana"]')
    found: dict[str | None, Lists] = {None: _lists(content, str(path))}
    for user, table in cast("dict[str, object]", people).items():
        place = f'{path} [users."{user}"]'
        if not isinstance(table, dict):
            raise ConfigError(f"{place} is no table", hint='write [users."ana"]')
        found[user] = _lists(cast("dict[str, object]", table), place)
    return found


def _lists(table: Mapping[str, object], place: str) -> Lists:
    read: dict[str, tuple[str, ...]] = {}
    for name, values in table.items():
        if name not in LIST_NAMES:
            raise ConfigError(
                f"unknown list {name!r} in {place}", hint=f"lists are {', '.join(LIST_NAMES)}"
            )
        if not isinstance(values, list):
            raise ConfigError(f"{name} in {place} is no list", hint=f'write {name} = ["tag"]')
        tags = [
            _tag(raw, ConfigError, f"{name} in {place}") for raw in cast("list[object]", values)
        ]
        read[name] = tuple(dict.fromkeys(tags))
    return Lists(**read)


def _tag(raw: object, error: type[ConfigError | InputError], place: str) -> str:
    tag = normalise_tag(raw) if isinstance(raw, str) else None
    if tag is None:
        raise error(
            f"{raw!r} in {place} is no tag",
            hint="a tag is letters, digits and underscores, and not only digits",
        )
    return tag


def _write(path: Path, known: Mapping[str | None, Lists]) -> None:
    parts = [_HEAD + _table(known.get(None, Lists()))]
    parts += [
        f"[{USERS}.{_quoted(user)}]\n{_table(lists)}"
        for user, lists in known.items()
        if user is not None and lists != Lists()
    ]
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.new-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write("\n".join(parts))
            file.flush()
            os.fsync(file.fileno())
        # Whoever may read the file, or else the store that it belongs to, may go on to do so.
        for old in (path, path.with_name(path.name.removesuffix(_SUFFIX))):
            if old.exists():
                Path(name).chmod(old.stat().st_mode & 0o777)
                break
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _table(lists: Lists) -> str:
    lines = [
        f"{field.name} = [{', '.join(_quoted(tag) for tag in getattr(lists, field.name))}]"
        for field in fields(lists)
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # JSON's escapes are TOML's; it leaves only DEL as it is, which TOML does not.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
