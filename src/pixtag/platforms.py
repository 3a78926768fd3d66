"""Platforms' caps on hashtags, and hashtags that a person knows to be hidden or limited there.

Caps come from a dated file in the package (`data/platforms.toml`); a file of the same form and name
in `~/.config/pixtag`, or one that is named, adds entries and replaces those of the same name. Of
hidden hashtags platforms publish no list, so the package has none: they come from a person's own
`restricted_tags.toml` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pixtag.errors import ConfigError, InputError, did_you_mean
from pixtag.places import config_folder, read_toml
from pixtag.tags import normalise_tag

_DATA = Path(__file__).parent / "data"


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
    """A tag that platforms are reported to hide or to limit."""

    platforms: tuple[str, ...]

    @property
    def details(self) -> str:
        """Who reports it, when, and a note, to stand behind what is said of it; maybe empty."""
        origin = f" ({self.origin})" if self.origin else ""
        return origin + (f": {self.note}" if self.note else "")


EntryT = TypeVar("EntryT", bound=_Entry)


def platforms(path: Path | None = None) -> dict[str, Platform]:
    """Read what is known of platforms, with a person's own file (that among the settings if None).

    ConfigError: A file holds what cannot be, or the named one is not there.
    """
    own = config_folder() / "platforms.toml" if path is None else path
    files = [_DATA / "platforms.toml"] + [own] * (path is not None or own.exists())
    return {n: entry for one in files for n, entry in _entries(Platform, one, str.casefold)}


def find_platform(name: str, path: Path | None = None) -> Platform:
    """Look one of the `platforms` up, in any case of letters; InputError if there is none."""
    known = platforms(path)
    found = known.get(name.strip().casefold())
    if found is None:
        hint = f"{did_you_mean(name.casefold(), known)} known: {', '.join(known)}".strip()
        raise InputError(f"unknown platform {name!r}", hint=hint)
    return found


def restricted_tags(path: Path | None = None) -> dict[str, RestrictedTag]:
    """Read which tags a file has as hidden or limited; errors as for `platforms`.

    Without a path it is `restricted_tags.toml` among the settings; nothing where there is none.
    """
    own = config_folder() / "restricted_tags.toml" if path is None else path
    is_there = path is not None or own.exists()
    return dict(_entries(RestrictedTag, own, normalise_tag)) if is_there else {}


def restricted_on(
    tag: str, known: Mapping[str, RestrictedTag], platform: str | None
) -> RestrictedTag | None:
    """What is reported of a normalised tag, on a platform or anywhere; None for nothing."""
    entry = known.get(tag)
    is_there = entry is not None and platform in {None, *entry.platforms}
    return entry if is_there else None


def warning_of(tag: str, known: Mapping[str, RestrictedTag], platform: str | None) -> str:
    """Say what is reported of a normalised tag, on a platform or anywhere; empty for nothing."""
    entry = restricted_on(tag, known, platform)
    if entry is None:
        return ""
    where = ", ".join(entry.platforms)
    return f"#{tag} is reported as hidden or limited on {where}{entry.details}"


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
