"""What platforms do to tags: how many a post may carry, and which are reported as limited.

Both come from dated files in the package (`data/platforms.toml`, `data/restricted_tags.toml`).
A file of the same form and name in `~/.config/pixtag`, or one that is named, adds entries and
replaces those of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pixtag.errors import ConfigError, InputError
from pixtag.settings import config_folder, read_toml
from pixtag.tags import normalise_tag

_DATA = Path(__file__).parent / "data"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str  # as in the file
    source: str = ""
    as_of: date | None = None
    note: str = ""

    @staticmethod
    def name_of(key: str) -> str | None:
        """The name that a key of the file stands for; None when it is none."""
        return key.casefold()

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

    @staticmethod
    def name_of(key: str) -> str | None:
        """The tag that a key of the file stands for; None when it is none."""
        return normalise_tag(key)


EntryT = TypeVar("EntryT", bound=_Entry)


def platforms(path: Path | None = None) -> dict[str, Platform]:
    """Read what is known of platforms, with a person's own file (that among the settings if None).

    ConfigError: A file holds what cannot be, or the named one is not there.
    """
    return _merged(Platform, "platforms.toml", path)


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
    found = _merged(RestrictedTag, "restricted_tags.toml", path)
    return {tag: entry for tag, entry in found.items() if entry.platforms}


def warning_of(tag: str, known: Mapping[str, RestrictedTag], platform: str | None) -> str:
    """Say what is reported of a normalised tag, on a platform or anywhere; empty for nothing."""
    entry = known.get(tag)
    if entry is None or (platform is not None and platform not in entry.platforms):
        return ""
    said = f"#{tag} is reported as hidden or limited on {', '.join(entry.platforms)}"
    origin = f" ({entry.origin})" if entry.origin else ""
    return said + origin + (f": {entry.note}" if entry.note else "")


def _merged(model: type[EntryT], file: str, path: Path | None) -> dict[str, EntryT]:
    own = config_folder() / file if path is None else path
    is_given = path is not None or own.exists()
    return _read(model, _DATA / file) | (_read(model, own) if is_given else {})


def _read(model: type[EntryT], path: Path) -> dict[str, EntryT]:
    content = read_toml(path)
    if content is None:
        raise ConfigError(f"there is no file {path}", hint="check the path")
    found: dict[str, EntryT] = {}
    for key, table in content.items():
        name = model.name_of(key)
        if name is None or not isinstance(table, dict):
            what = "is no tag" if name is None else "is no table"
            raise ConfigError(f"{key!r} in {path} {what}", hint="write a table such as [instagram]")
        try:
            found[name] = model.model_validate({**cast("dict[str, object]", table), "name": name})
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join([key, *map(str, problem["loc"])])
            hint = f"an entry may have {', '.join(f for f in model.model_fields if f != 'name')}"
            raise ConfigError(f"{where} in {path}: {problem['msg']}", hint=hint) from error
    return found
