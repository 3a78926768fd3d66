"""Loading and explaining settings: files, environment and flags, in rising order of rank.

Each knob lives beside the code that it configures, in a frozen pydantic model. This module reads
values for such classes from `~/.config/pixtag/config.toml`, then `pixtag.toml` in the working
folder, then variables `PIXTAG_*`, then flags; the last that speaks wins. A top-level key belongs
to `Common`, a table `[train]` to the class that was given for `train`; the variable of
`epochs` in `[train]` is `PIXTAG_TRAIN_EPOCHS`. Unknown keys are errors.
"""

from __future__ import annotations

import inspect
import os
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pixtag.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_PREFIX = "PIXTAG_"

Source = Literal["default", "file", "environment", "flag"]


class Config(BaseModel):
    """Base of the classes that hold knobs: frozen, no unknown keys, docstrings kept."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


ConfigT = TypeVar("ConfigT", bound=BaseModel)


class Common(Config):
    """Knobs that several verbs share."""

    store: Path | None = Field(None, json_schema_extra={"when_none": "no store"})
    """The store of posts: one SQLite file."""

    bundle: Path | None = Field(None, json_schema_extra={"when_none": "the one in the package"})
    """The trained bundle: a folder that `pixtag train` made."""

    encoder: Path | None = Field(None, json_schema_extra={"when_none": "the one in the package"})
    """The ONNX file that turns photos into embeddings; a bundle understands one encoder's."""

    k: int = Field(5, ge=1, le=100)
    """Hashtags suggested for a photo."""

    platform: str | None = Field(None, json_schema_extra={"when_none": "no platform"})
    """Where the photos will be posted: its cap on hashtags holds."""

    platforms: Path | None = Field(
        None, json_schema_extra={"when_none": "platforms.toml among the settings, if any"}
    )
    """Your own file of platforms and their caps, on top of the one in the package."""

    restricted: Path | None = Field(
        None, json_schema_extra={"when_none": "restricted_tags.toml among the settings, if any"}
    )
    """Your own file of hashtags that are reported as limited, on top of the one in the package."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One knob, for `pixtag config`.

    Attributes:
        name: As in the file, with the table: `train.epochs`.
        value: Resolved and checked.
        shown: The value as text; None is put into words.
        source: What kind of place it came from.
        origin: The place itself: a file's path, a variable's name, a flag, or `default`.
        default: What it is when nobody speaks.
        meaning: One line for the person.
    """

    name: str
    value: object
    shown: str
    source: Source
    origin: str
    default: object
    meaning: str


@dataclass(frozen=True, slots=True)
class _Given:
    """A value that somebody gave, before it is checked."""

    value: object
    source: Source
    origin: str
    folder: Path | None = None  # what a relative path in a file is relative to


class Settings:
    """Checked settings and where each came from. Made by `load_settings`."""

    def __init__(self, sections: Mapping[str, BaseModel], given: Mapping[str, _Given]) -> None:
        self._sections = dict(sections)
        self._given = dict(given)

    def of(self, model: type[ConfigT]) -> ConfigT:
        """Give the settings of one class.

        Args:
            model: One of the classes that were loaded.

        Raises:
            KeyError: It was not loaded.
        """
        for config in self._sections.values():
            if isinstance(config, model):
                return config
        raise KeyError(model.__name__)

    def explain(self) -> list[Setting]:
        """List every knob with its value and origin, in the order of the classes."""
        found: list[Setting] = []
        for table, config in self._sections.items():
            for knob in _knobs(type(config), table).values():
                value = knob.value_in(config)
                given = self._given.get(knob.name)
                field = knob.owner.model_fields[knob.key]
                extra = field.json_schema_extra
                when_none = extra.get("when_none") if isinstance(extra, dict) else None
                found.append(
                    Setting(
                        name=knob.name,
                        value=value,
                        shown=str(when_none or "none") if value is None else str(value),
                        source=given.source if given else "default",
                        origin=given.origin if given else "default",
                        default=cast("object", field.get_default(call_default_factory=True)),
                        meaning=_meaning(knob.owner, knob.key),
                    )
                )
        return found


@dataclass(frozen=True, slots=True)
class _Knob:
    """One leaf of a class and of the classes inside it."""

    name: str  # dotted, with the table
    path: tuple[str, ...]  # attributes from the class of the table down
    owner: type[BaseModel]
    key: str

    def value_in(self, config: BaseModel) -> object:
        value: object = config
        for attribute in self.path:
            value = getattr(value, attribute)
        return value


def _knobs(model: type[BaseModel], table: str, path: tuple[str, ...] = ()) -> dict[str, _Knob]:
    """Find the knobs of a class by dotted name; a class inside it is a table inside its table."""
    found: dict[str, _Knob] = {}
    for key, field in model.model_fields.items():
        inner: object = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= _knobs(inner, _dotted(table, key), (*path, key))
        else:
            name = _dotted(table, key)
            found[name] = _Knob(name, (*path, key), model, key)
    return found


def config_folder(environment: Mapping[str, str] | None = None) -> Path:
    """The folder of a person's own settings; it may not exist.

    Args:
        environment: Variables; those of the process when None.
    """
    variables = os.environ if environment is None else environment
    base = variables.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path("~/.config").expanduser()) / "pixtag"


def default_files(environment: Mapping[str, str] | None = None) -> list[Path]:
    """List the files that are read, lowest rank first, whether or not they exist.

    Args:
        environment: Variables; those of the process when None.
    """
    return [config_folder(environment) / "config.toml", Path("pixtag.toml").absolute()]


def load_settings(
    sections: Mapping[str, type[BaseModel]],
    *,
    other_tables: Iterable[str] = (),
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    files: Sequence[Path] | None = None,
) -> Settings:
    """Read the settings of some classes.

    Args:
        sections: The class of each table; `""` is the top level.
        other_tables: Tables that may appear and that this caller has no use for.
        flags: Values from the command line by dotted name (`train.epochs`); None means that the
            flag was not given.
        environment: Variables; those of the process when None.
        files: TOML files, lowest rank first; `default_files` when None. A missing one is skipped.

    Returns:
        The settings, every one checked.

    Raises:
        ConfigError: A file is no TOML, a key is unknown, or a value is out of bounds.
    """
    variables = os.environ if environment is None else environment
    tables = {*other_tables, *sections} - {""}
    given: dict[str, _Given] = {}
    for path in default_files(variables) if files is None else files:
        given.update(_from_file(path, sections, tables))
    given.update(_from_environment(variables, sections, tables))
    for name, value in (flags or {}).items():
        if value is not None:
            flag = "--" + name.rpartition(".")[2].replace("_", "-")
            _require_known(name, list(_all_knobs(sections)), "the command line")
            given[name] = _Given(value, "flag", flag)
    checked: dict[str, BaseModel] = {}
    for table, model in sections.items():
        checked[table] = _check(model, _knobs(model, table), given)
    return Settings(checked, given)


def _all_knobs(sections: Mapping[str, type[BaseModel]]) -> dict[str, _Knob]:
    return {
        name: knob
        for table, model in sections.items()
        for name, knob in _knobs(model, table).items()
    }


def _from_file(
    path: Path, sections: Mapping[str, type[BaseModel]], tables: set[str]
) -> dict[str, _Given]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}", hint="correct that line") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    names = list(_all_knobs(sections))
    own = {key: value for key, value in content.items() if key not in tables - set(sections)}
    return {
        name: _Given(value, "file", str(path), path.parent)
        for name, value in _flat(own, "", names, tables, str(path))
    }


def _flat(
    content: dict[str, object], table: str, names: list[str], tables: set[str], place: str
) -> Iterator[tuple[str, object]]:
    """Walk a file's tables to their values, each with its dotted name."""
    for key, value in content.items():
        name = _dotted(table, key)
        has_inner = any(known.startswith(name + ".") for known in names)
        if isinstance(value, dict) and has_inner:
            yield from _flat(cast("dict[str, object]", value), name, names, tables, place)
            continue
        depth = len(table) + 1 if table else 0
        siblings = {known[depth:].partition(".")[0] for known in names if _is_in(known, table)}
        siblings |= set() if table else tables
        if name not in names:
            _require_known(key, sorted(siblings), f"{place} [{table}]" if table else place)
            raise ConfigError(f"{name} in {place} is a table, not a value")
        yield name, value


def _from_environment(
    variables: Mapping[str, str], sections: Mapping[str, type[BaseModel]], tables: set[str]
) -> dict[str, _Given]:
    names = {_PREFIX + name.replace(".", "_").upper(): name for name in _all_knobs(sections)}
    skipped = tuple(_PREFIX + table.upper() + "_" for table in tables - set(sections))
    given: dict[str, _Given] = {}
    for variable, text in variables.items():
        if not variable.startswith(_PREFIX) or (skipped and variable.startswith(skipped)):
            continue
        _require_known(variable, list(names), "the environment")
        given[names[variable]] = _Given(text, "environment", variable)
    return given


def _check(
    model: type[BaseModel], knobs: Mapping[str, _Knob], given: Mapping[str, _Given]
) -> BaseModel:
    values: dict[str, object] = {}
    for name, knob in knobs.items():
        if name in given:
            inner = values
            for part in knob.path[:-1]:
                inner = cast("dict[str, object]", inner.setdefault(part, {}))
            inner[knob.key] = _meant(knob, given[name])
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        where = tuple(str(part) for part in problem["loc"])
        knob = next((k for k in knobs.values() if where[: len(k.path)] == k.path), None)
        if knob is None or knob.name not in given:
            raise ConfigError(f"settings do not fit together: {problem['msg']}") from error
        one = given[knob.name]
        meaning = _meaning(knob.owner, knob.key)
        raise ConfigError(
            f"{knob.name} = {one.value!r} ({one.origin}): {problem['msg']}",
            hint=f"{knob.name} is: {meaning}" if meaning else "",
        ) from error


def _meant(knob: _Knob, given: _Given) -> object:
    """Read text of the environment as TOML where the knob is no text; anchor relative paths."""
    annotation = str(knob.owner.model_fields[knob.key].annotation)
    value = given.value
    if given.source == "environment" and isinstance(value, str) and _is_collection(annotation):
        try:
            return tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            return [part.strip() for part in value.split(",")]
    if isinstance(value, str) and "Path" in annotation:
        path = Path(value).expanduser()
        return path if given.folder is None else given.folder / path
    return value


def _meaning(model: type[BaseModel], key: str) -> str:
    """Say what a knob is: its own docstring, or its line among the `Attributes:` of the class."""
    text = model.model_fields[key].description
    if text is None:
        lines = (inspect.getdoc(model) or "").splitlines()
        starts = [i for i, line in enumerate(lines) if line.strip().startswith(f"{key}: ")]
        if not starts:
            return ""
        first = lines[starts[0]]
        indent = len(first) - len(first.lstrip())
        text = first.partition(": ")[2]
        for line in lines[starts[0] + 1 :]:
            if len(line) - len(line.lstrip()) <= indent:
                break
            text += " " + line
    return " ".join(text.split())


def _is_collection(annotation: str) -> bool:
    return any(word in annotation for word in ("tuple[", "list[", "dict[", "frozenset["))


def _require_known(key: str, known: Sequence[str], place: str) -> None:
    if key in known:
        return
    close = get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else "`pixtag config` lists the settings"
    raise ConfigError(f"unknown setting {key!r} in {place}", hint=hint)


def _dotted(table: str, key: str) -> str:
    return f"{table}.{key}" if table else key


def _is_in(name: str, table: str) -> bool:
    return not table or name.startswith(table + ".")
