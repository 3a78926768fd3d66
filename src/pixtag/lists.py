"""Which tags may be suggested: lists of never, only and always; platforms' caps; restricted tags.

Lists of everybody who works here lie in `~/.config/pixtag/lists.toml`, a plain file to edit
(`deny = ["love"]`); those of one person lie in the store and go with `Store.forget`. Caps and
restricted tags come from dated files in the package (`data/`); a file of the same form and name in
`~/.config/pixtag`, or one that is named, adds entries and replaces those of the same name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, TypeVar, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pixtag.errors import ConfigError, InputError
from pixtag.outputs import replacing
from pixtag.settings import config_folder, read_toml
from pixtag.tags import normalise_tag

ListName = Literal["deny", "allow", "always"]
LIST_NAMES: tuple[ListName, ...] = get_args(ListName)

_DATA = Path(__file__).parent / "data"
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
        return ((name, tag) for name, tags in asdict(self).items() for tag in tags)

    def with_entries(self, entries: Iterable[tuple[str, str]]) -> Lists:
        """These lists with more tags at their ends, each tag once."""
        made = {name: dict.fromkeys(tags) for name, tags in asdict(self).items()}
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


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str  # as in the file
    source: str = ""
    as_of: date | None = None
    note: str = ""

    @property
    def origin(self) -> str:
        """Source and date in a few words."""
        return ", ".join(part for part in (self.source, f"{self.as_of or ''}") if part)


class Platform(_Entry):
    """How many tags a post may carry on a platform, which enforces it, or somebody advises it."""

    cap: int | None = Field(None, ge=1, le=1000)  # None where no bound is known
    kind: Literal["limit", "advice"] = "advice"


class RestrictedTag(_Entry):
    """A tag that platforms are reported to hide or to limit; none take the package's entry back."""

    platforms: tuple[str, ...]


EntryT = TypeVar("EntryT", bound=_Entry)


def platforms(path: Path | None = None) -> dict[str, Platform]:
    """Read what is known of platforms, with a person's own file (that among the settings if None).

    ConfigError: A file holds what cannot be, or the named one is not there.
    """
    return _merged(Platform, "platforms.toml", path, str.casefold)


def find_platform(name: str, path: Path | None = None) -> Platform:
    """Look one of the `platforms` up, in any case of letters; InputError if there is none."""
    known = platforms(path)
    found = known.get(name.strip().casefold())
    if found is None:
        close = get_close_matches(name.casefold(), known, n=1)
        guess = f"did you mean {close[0]}? " if close else ""
        raise InputError(f"unknown platform {name!r}", hint=f"{guess}known: {', '.join(known)}")
    return found


def restricted_tags(path: Path | None = None) -> dict[str, RestrictedTag]:
    """Read which tags are reported as hidden or limited; `path` and errors as for `platforms`."""
    found = _merged(RestrictedTag, "restricted_tags.toml", path, normalise_tag)
    return {tag: entry for tag, entry in found.items() if entry.platforms}


def warning_of(tag: str, known: Mapping[str, RestrictedTag], platform: str | None) -> str:
    """Say what is reported of a normalised tag, on a platform or anywhere; empty for nothing."""
    entry = known.get(tag)
    if entry is None or (platform is not None and platform not in entry.platforms):
        return ""
    said = f"#{tag} is reported as hidden or limited on {', '.join(entry.platforms)}"
    origin = f" ({entry.origin})" if entry.origin else ""
    return said + origin + (f": {entry.note}" if entry.note else "")


def _merged(
    model: type[EntryT], file: str, path: Path | None, name_of: Callable[[str], str | None]
) -> dict[str, EntryT]:
    own = config_folder() / file if path is None else path
    files = [_DATA / file] + [own] * (path is not None or own.exists())
    return {name: entry for one in files for name, entry in _entries(model, one, name_of)}


def _entries(
    model: type[EntryT], path: Path, name_of: Callable[[str], str | None]
) -> Iterator[tuple[str, EntryT]]:
    content = read_toml(path)
    if content is None:
        raise ConfigError(f"there is no file {path}", hint="check the path")
    for key, table in content.items():
        name = name_of(key)
        if name is None or not isinstance(table, dict):
            what = "is no tag" if name is None else "is no table"
            raise ConfigError(f"{key!r} in {path} {what}", hint="write a table such as [instagram]")
        try:
            yield name, model.model_validate({**cast("dict[str, object]", table), "name": name})
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join([key, *map(str, problem["loc"])])
            hint = f"an entry may have {', '.join(f for f in model.model_fields if f != 'name')}"
            raise ConfigError(f"{where} in {path}: {problem['msg']}", hint=hint) from error
