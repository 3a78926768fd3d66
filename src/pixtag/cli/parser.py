"""The command line as cyclopts reads it: verbs with their flags, help and settings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from typing import Annotated

from cyclopts import App, ArgumentCollection, Group, Parameter
from cyclopts.validators import Number

from pixtag.cli import output
from pixtag.cli.main import ALIASES, GROUPS, TABLES, VERBS
from pixtag.places import is_anything_set

Model = Annotated[Path | None, Parameter(name="--model")]
HowMany = Annotated[int, Parameter(name=("-k", "--k"), validator=Number(gte=1, lte=100))]

_HELP = """Predict the hashtags that a person will put on a photo.

Evidence: the picture, the person's earlier posts, and what is rising now."""

_EPILOGUE = """Examples:

    pixtag photo.jpg                                  hashtags for a photo
    pixtag import my-archive.zip                      read your own posts
    pixtag photo.jpg                                  from now on: fitted to your habits
    pixtag photo.jpg --user ana --store my.sqlite     another person, another store
    pixtag VERB --help                                options and examples of a verb

`pixtag PHOTO` is short for `pixtag predict PHOTO`. With -v (--verbose) an error shows where
in the code it arose."""


def build_app(verbs: Sequence[str]) -> App:
    """Make the parser with some verbs; only their files are imported."""
    app = App(
        "pixtag",
        help=_HELP,
        help_epilogue=_EPILOGUE,
        help_format="plaintext",
        version=_version,
        version_flags=("--version", "-V"),
        config=_fill_flags,
        # A switch, or nothing, is plain without its default.
        default_parameter=Parameter(
            negative=(), show_default=lambda v: None if v is None or isinstance(v, bool) else str(v)
        ),
        console=output.stdout_console(pipe_width=100),
        error_console=output.stderr_console(),
        exit_on_error=False,
        suppress_keyboard_interrupt=False,
        print_error=False,
        result_action="return_value",
    )
    if len(verbs) == len(VERBS):
        app.register_install_completion_command()
    groups: dict[str, Group] = {}
    for place, (title, (_, names)) in enumerate(GROUPS.items()):
        groups |= dict.fromkeys(names, Group(title, sort_key=place))
    for position, verb in enumerate(verbs):
        function_name = f"{verb}_" if iskeyword(verb) else verb
        function = getattr(import_module(f"pixtag.cli.{VERBS[verb]}"), function_name)
        examples = _examples(function)
        function.__doc__ = _unwrapped(inspect.getdoc(function) or "")
        names = (verb, *(alias for alias, meant in ALIASES.items() if meant == verb))
        app.command(
            function, name=names, group=groups[verb], sort_key=position, help_epilogue=examples
        )
    return app


def _version() -> str:
    from importlib.metadata import version  # takes long

    return f"pixtag {version('pixtag')}"


def _examples(function: object) -> str | None:
    """Take the `Examples:` section out of a verb's docstring, for its help page."""
    text = (inspect.getdoc(function) or "") + "\n"
    found = re.search(r"^Examples?:\n((?:[ \t].*\n|\n)+)", text, re.MULTILINE)
    return f"Examples:\n\n{found[1].rstrip()}" if found else None


def _unwrapped(doc: str) -> str:
    """Join the lines of each paragraph, so that help wraps where the terminal ends."""
    body, mark, examples = doc.partition("\nExamples:\n")
    return re.sub(r"(?<=\S)\n(?=\S)|\n {8,}(?=\S)", " ", body) + mark + examples


def _fill_flags(app: App, verbs: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give flags that were not typed the value of their setting (a hook of cyclopts)."""
    if not is_anything_set():
        return
    from cyclopts.config import Dict

    from pixtag.settings import Common, load_settings

    for one in load_settings({"": Common}, other_tables=TABLES).explain():
        if one.source != "default" and (one.verbs is None or {*one.verbs} & {*verbs}):
            value = {one.name: str(one.value)}
            fill = Dict(value, source=one.origin, use_commands_as_keys=False, allow_unknown=True)
            fill(app, verbs, arguments)
