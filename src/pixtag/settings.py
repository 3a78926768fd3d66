"""Settings: `~/.config/pixtag/config.toml`, then `pixtag.toml` here, then variables, then flags.

Each knob lives beside the code that it configures, in a frozen pydantic model. A top-level key
belongs to `Common`, a table `[train]` to the class that the caller names for it; the variable of
`epochs` in `[train]` is `PIXTAG_TRAIN_EPOCHS`.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from pixtag.errors import ConfigError, did_you_mean
from pixtag.places import PREFIX, default_files, default_store, is_server, printable, read_toml

_PREDICT = ("predict",)
_SUGGEST = ("predict", "tag", "watch", "immich")
Source = Literal["default", "file", "environment", "flag"]


ConfigT = TypeVar("ConfigT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Reads:
    """How None reads, and the verbs where a setting stands in for its flag (None: every verb)."""

    when_none: str = "none"
    verbs: tuple[str, ...] | None = None


def _own_file(name: str) -> Reads:
    return Reads(f"{name} among the settings, if any", _PREDICT)


class Common(BaseModel):
    """Knobs that several verbs share.

    Attributes:
        store: The store of posts: an SQLite file, or postgresql://USER@HOST/DATABASE.
        user: Whose photos they are: a person in the store.
        model: The trained model: a file that `pixtag train` made.
        encoder: The ONNX file that turns photos into embeddings; a model understands one encoder's.
        k: Hashtags suggested for a photo.
        platform: Where the photos will be posted: its cap on hashtags holds.
        platforms: Your own file of platforms and their caps, on top of the one in the package.
        restricted: Your own file of hashtags that platforms hide: they are warned of.
    """

    # Made at every start: docstrings of attributes cost 20 ms, the check only where it is needed.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    store: Annotated[Path | str, Field(default_factory=default_store)]
    user: Annotated[
        str | None, Reads("the only person of the store", (*_SUGGEST, "history", "import"))
    ] = None
    model: Annotated[Path | None, Reads("the one in the package", (*_SUGGEST, "serve"))] = None
    encoder: Annotated[Path | None, Reads("the one in the package")] = None
    k: Annotated[int, Field(ge=1, le=100), Reads(verbs=_SUGGEST)] = 5
    platform: Annotated[str | None, Reads("no platform", _PREDICT)] = None
    platforms: Annotated[Path | None, _own_file("platforms.toml")] = None
    restricted: Annotated[Path | None, _own_file("restricted_tags.toml")] = None


@dataclass(frozen=True, slots=True)
class Setting:
    """One knob, by its dotted name, with its value and where that is from."""

    name: str
    value: object
    shown: str  # the value in words
    source: Source
    origin: str  # a file's path, a variable's name, a flag, or `default`
    default: object
    meaning: str
    verbs: tuple[str, ...] | None = None  # as for `Reads`


@dataclass(frozen=True, slots=True)
class _Knob:
    """One leaf of a class, or of a class inside it: which attributes lead there."""

    path: tuple[str, ...]
    owner: type[object]
    field: FieldInfo

    @property
    def is_path(self) -> bool:
        return "Path" in str(self.field.annotation)

    @property
    def meaning(self) -> str:
        """Its own docstring, or its lines among the `Attributes:` of the class."""
        lines = rf"^    {self.path[-1]}: (.+(?:\n {{8,}}.+)*)"
        found = re.search(lines, inspect.getdoc(self.owner) or "", re.MULTILINE)
        return " ".join((self.field.description or (found[1] if found else "")).split())


_Given = tuple[object, Source, str]
"""A value that somebody gave, before it is checked, its source and its origin."""


class Settings:
    """Checked settings and where each came from. Made by `load_settings`."""

    def __init__(self, sections: Mapping[str, BaseModel], given: Mapping[str, _Given]) -> None:
        self._sections, self._given = sections, given

    def of(self, model: type[ConfigT]) -> ConfigT:
        """Give the settings of one of the classes that were loaded."""
        return next(one for one in self._sections.values() if isinstance(one, model))

    def explain(self) -> list[Setting]:
        """List every knob with its value and origin, in the order of the classes."""
        found: list[Setting] = []
        for table, config in self._sections.items():
            for name, knob in _knobs(type(config), table).items():
                value: object = reduce(getattr, knob.path, cast("object", config))
                _, source, origin = self._given.get(name, (None, "default", "default"))
                reads = next((x for x in knob.field.metadata if isinstance(x, Reads)), Reads())
                shown = reads.when_none if value is None else printable(str(value))
                default = cast("object", knob.field.get_default(call_default_factory=True))
                about = (source, origin, default, knob.meaning, reads.verbs)
                found.append(Setting(name, value, shown, *about))
        return found


def load_settings(
    sections: Mapping[str, type[BaseModel]],
    *,
    other_tables: Iterable[str] = (),
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    files: Sequence[Path] | None = None,
) -> Settings:
    """Read and check the settings of some classes, by table (`""` is the top level).

    `other_tables` may appear and are skipped. `flags` are by dotted name (`train.epochs`), None
    where one was not given; `environment` and `files` (lowest rank first; a missing one is
    skipped) those of this process when None.

    ConfigError: a file is no TOML, a key is unknown, or a value is out of bounds.
    """
    variables = os.environ if environment is None else environment
    skipped = {*other_tables} - {*sections, ""}
    knobs = {name: knob for t, m in sections.items() for name, knob in _knobs(m, t).items()}
    given: dict[str, _Given] = {}
    for path in default_files() if files is None else files:
        for name, value in _leaves(read_toml(path) or {}, knobs):
            if name.partition(".")[0] not in skipped:
                _require_known(name, knobs, skipped, str(path))
                if knobs[name].is_path and isinstance(value, str) and not is_server(value):
                    value = path.parent / Path(value).expanduser()
                given[name] = (value, "file", str(path))
    name_of = {PREFIX + name.replace(".", "_").upper(): name for name in knobs}
    others = tuple(f"{PREFIX}{table.upper()}_" for table in skipped)
    for variable, text in variables.items():
        if variable.startswith(PREFIX) and not variable.startswith(others):
            _require_known(variable, name_of, set(), "the environment")
            name = name_of[variable]
            is_path = knobs[name].is_path and not is_server(text)
            value = Path(text).expanduser() if is_path else text
            given[name] = (value, "environment", variable)
    for name, value in (flags or {}).items():
        if value is not None:
            _require_known(name, knobs, set(), "the command line")
            given[name] = (value, "flag", "--" + name.rpartition(".")[2].replace("_", "-"))
    checked = {name: _check(model, _knobs(model, name), given) for name, model in sections.items()}
    return Settings(checked, given)


def _knobs(model: type[object], table: str, path: tuple[str, ...] = ()) -> dict[str, _Knob]:
    """Find the knobs of a class by dotted name; a class inside it is a table inside its table."""
    found: dict[str, _Knob] = {}
    for key, field in _fields(model).items():
        inner: object = field.annotation
        name = f"{table}.{key}" if table else key
        if isinstance(inner, type) and (issubclass(inner, BaseModel) or is_dataclass(inner)):
            found |= _knobs(inner, name, (*path, key))
        else:
            found[name] = _Knob((*path, key), model, field)
    return found


def _fields(model: type[object]) -> dict[str, FieldInfo]:
    """The fields of a pydantic model, or of a plain dataclass with a default for each."""
    if issubclass(model, BaseModel):
        return model.model_fields
    hints = get_type_hints(model, include_extras=True).items()
    return {n: FieldInfo.from_annotated_attribute(h, getattr(model, n)) for n, h in hints}


def _leaves(
    content: Mapping[str, object], knobs: Mapping[str, _Knob], table: str = ""
) -> Iterator[tuple[str, object]]:
    """Walk a file's tables to their values, each with its dotted name."""
    for key, value in content.items():
        if isinstance(value, dict) and value and table + key not in knobs:
            yield from _leaves(cast("dict[str, object]", value), knobs, f"{table}{key}.")
        else:
            yield table + key, value


def _require_known(name: str, known: Iterable[str], tables: set[str], place: str) -> None:
    names, parts = [*known], name.split(".")
    if name in names:
        return
    for depth, part in enumerate(parts):
        table = "".join(f"{one}." for one in parts[:depth])
        siblings = {n[len(table) :].partition(".")[0] for n in names if n.startswith(table)}
        siblings |= set() if depth else tables
        if part not in siblings:
            guess = did_you_mean(part, sorted(siblings), cutoff=0.5)
            hint = guess or "`pixtag config` lists the settings"
            where = f"{place} [{table[:-1]}]" if depth else place
            raise ConfigError(f"unknown setting {part!r} in {where}", hint=hint)
    raise ConfigError(f"{name} in {place} is a table, not a value", hint=f"write [{name}]")


def _check(
    model: type[BaseModel], knobs: Mapping[str, _Knob], given: Mapping[str, _Given]
) -> BaseModel:
    values: dict[str, Any] = {}
    for name, knob in knobs.items():
        if name in given:
            inner = reduce(lambda table, part: table.setdefault(part, {}), knob.path[:-1], values)
            inner[knob.path[-1]] = given[name][0]
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        where = tuple(str(part) for part in problem["loc"])
        for name, knob in knobs.items():
            if name in given and where[: len(knob.path)] == knob.path:
                value, _, origin = given[name]
                what = f"{name} = {value!r} ({origin}): {problem['msg']}"
                hint = f"{name} is: {knob.meaning}" if knob.meaning else ""
                raise ConfigError(what, hint=hint) from error
        raise ConfigError(f"settings do not fit together: {problem['msg']}") from error
