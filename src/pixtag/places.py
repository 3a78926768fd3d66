"""Where a person's own files lie: settings, lists and the store; free of what checks them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

from pixtag.errors import ConfigError

PREFIX = "PIXTAG_"  # of variables that hold settings


def config_folder(environment: Mapping[str, str] | None = None) -> Path:
    """The folder of a person's own settings, by these variables; it may not exist."""
    variables = os.environ if environment is None else environment
    base = variables.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path("~/.config").expanduser()) / "pixtag"


def default_store(environment: Mapping[str, str] | None = None) -> Path:
    """The store where none is named, in the user's data folder; it may not exist."""
    variables = os.environ if environment is None else environment
    base = variables.get("XDG_DATA_HOME")
    folder = Path(base) if base else Path("~/.local/share").expanduser()
    return folder / "pixtag" / "posts.sqlite"


def default_files(environment: Mapping[str, str] | None = None) -> list[Path]:
    """List the files that are read, lowest rank first, whether or not they exist."""
    return [config_folder(environment) / "config.toml", Path("pixtag.toml").absolute()]


def is_anything_set() -> bool:
    """Tell whether a file or a variable of this process may hold a setting."""
    is_variable = any(name.startswith(PREFIX) for name in os.environ)
    return is_variable or any(file.exists() for file in default_files())


def read_toml(path: Path, *, hint: str = "correct that line") -> dict[str, object] | None:
    """Read a TOML file, None when it is missing; ConfigError when it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}", hint=hint) from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
