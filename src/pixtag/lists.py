"""Which tags may be suggested: lists of never, only and always.

Lists of everybody who works here lie in `~/.config/pixtag/lists.toml`, a plain file to edit
(`deny = ["love"]`); those of one person lie in the store and go with `Store.forget`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args

from pixtag.errors import ConfigError, InputError
from pixtag.outputs import replacing
from pixtag.places import config_folder, read_toml
from pixtag.tags import normalise_tag

ListName = Literal["deny", "allow", "always"]
LIST_NAMES: tuple[ListName, ...] = get_args(ListName)

_HEAD = """\
# Lists of tags for `pixtag predict`: edit them here or with `pixtag lists`, which keeps the
# entries and not further comments.
#   deny    never suggested; stronger than the other two
#   allow   when not empty, only these are suggested
#   always  added to every set, within its size
"""


@dataclass(frozen=True, slots=True)
class Lists:
    """Three lists of normalised tags, each tag once."""

    deny: tuple[str, ...] = ()  # never suggested; stronger than the other two
    allow: tuple[str, ...] = ()  # when not empty, only these are suggested
    always: tuple[str, ...] = ()  # added to every set, within its size

    def joined(self, other: Lists) -> Lists:
        """These lists with the entries of others after them."""
        return self.with_entries(other.entries())

    def entries(self) -> Iterator[tuple[str, str]]:
        """Each tag with the name of its list before it."""
        return ((name, tag) for name in LIST_NAMES for tag in getattr(self, name))

    def with_entries(self, entries: Iterable[tuple[str, str]]) -> Lists:
        """These lists with more tags at their ends, each tag once."""
        made = {name: dict.fromkeys(getattr(self, name)) for name in LIST_NAMES}
        for name, tag in entries:
            made[name][tag] = None
        return Lists(**{name: tuple(tags) for name, tags in made.items()})

    def edited(
        self, name: ListName, tags: Iterable[str], *, remove: bool
    ) -> tuple[Lists, list[str]]:
        """Add tags, as somebody wrote them (`InputError` for none), to a list or remove them.

        Gives the lists after that, and which tags were added or removed, normalised.
        """
        wanted = dict.fromkeys(_tag(raw, InputError, "the command line") for raw in tags)
        before: tuple[str, ...] = getattr(self, name)
        changed = [tag for tag in wanted if (tag in before) == remove]
        kept = tuple(tag for tag in before if tag not in changed)
        return replace(self, **{name: kept if remove else (*before, *changed)}), changed


def global_lists_path() -> Path:
    """The file of the lists that hold for everybody here; it may not exist."""
    return config_folder() / "lists.toml"


def global_lists() -> Lists:
    """Read the lists that hold for everybody here.

    ConfigError: The file is no TOML, a list has another name, or an entry is no tag.
    """
    path = global_lists_path()
    return _lists(read_toml(path, hint="correct that line, or delete the file") or {}, str(path))


def edit_global_lists(name: ListName, tags: Iterable[str], *, remove: bool) -> list[str]:
    """Change a list for everybody as `Lists.edited`, safe beside other writers.

    ConfigError: The file holds what cannot be, or cannot be written.
    """
    import fcntl

    path = global_lists_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opened:
            folder = os.open(path.parent, os.O_RDONLY)
            opened.callback(os.close, folder)
            fcntl.flock(folder, fcntl.LOCK_EX)  # a writer that is killed holds nothing
            after, changed = global_lists().edited(name, tags, remove=remove)
            if changed:
                with replacing(path) as file:
                    file.write(_HEAD.encode())
                    for key, kept in asdict(after).items():  # JSON and TOML escape tags the same
                        file.write(f"{key} = {json.dumps(kept, ensure_ascii=False)}\n".encode())
    except OSError as error:
        what = f"cannot write {path}: {error.strerror}"
        raise ConfigError(what, hint="check who owns the file and its folder") from error
    return changed


def _lists(table: Mapping[str, object], place: str) -> Lists:
    entries: list[tuple[str, str]] = []
    for name, values in table.items():
        if name not in LIST_NAMES:
            hint = f"lists are {', '.join(LIST_NAMES)}"
            raise ConfigError(f"unknown list {name!r} in {place}", hint=hint)
        where = f"{name} in {place}"
        if not isinstance(values, list):
            raise ConfigError(f"{where} is no list", hint=f'write {name} = ["tag"]')
        entries += [(name, _tag(raw, ConfigError, where)) for raw in cast("list[object]", values)]
    return Lists().with_entries(entries)


def _tag(raw: object, error: type[ConfigError | InputError], place: str) -> str:
    tag = normalise_tag(raw) if isinstance(raw, str) else None
    if tag is None:
        hint = "a tag is letters, digits and underscores, and not only digits"
        raise error(f"{raw!r} in {place} is no tag", hint=hint)
    return tag
