"""Where a person's own files lie: settings, lists and the store; free of what checks them."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

from pixtag.errors import ConfigError

PREFIX = "PIXTAG_"  # of variables that hold settings
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def config_folder() -> Path:
    """The folder of a person's own settings; it may not exist."""
    return _own_folder("XDG_CONFIG_HOME", "~/.config")


def default_store() -> Path:
    """The store where none is named, in the user's data folder; it may not exist."""
    return _own_folder("XDG_DATA_HOME", "~/.local/share") / "posts.sqlite"


def cache_folder() -> Path:
    """The folder of what can be made again; it may not exist."""
    return _own_folder("XDG_CACHE_HOME", "~/.cache")


def _own_folder(variable: str, usual: str) -> Path:
    return Path(os.environ.get(variable) or Path(usual).expanduser()) / "pixtag"


def is_server(address: str | Path) -> bool:
    """Whether a store's address names a database (`postgresql://...`), not a file."""
    return isinstance(address, str) and _ADDRESS.match(address) is not None


def printable(address: str | Path) -> str:
    """The address without a password."""
    if not is_server(address):
        return str(address)
    hidden = re.sub(r"(://[^:/@?]*):[^/@?]*@", r"\1@", str(address))
    hidden = re.sub(r"([?&])(ssl)?password=[^&]*", r"\1", hidden, flags=re.IGNORECASE)
    return re.sub(r"&{2,}", "&", hidden.replace("?&", "?")).rstrip("?&")


def store_file(address: str | Path | None) -> Path | None:
    """The file of a store with this address; None for a database or nothing."""
    return None if address is None or is_server(address) else Path(address)


def default_files() -> list[Path]:
    """List the files that are read, lowest rank first, whether or not they exist."""
    return [config_folder() / "config.toml", Path("pixtag.toml").absolute()]


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
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not in UTF-8: {error}", hint="save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}", hint=hint) from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
