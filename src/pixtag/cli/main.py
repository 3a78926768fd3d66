"""Entry of the `pixtag` command: finds the verb, runs it, turns failures into exit codes.

How to add a verb: write a function in the group file that it belongs to (`archive.py`, ...). Its
signature is the command line, its docstring the help (`Args:` one line each), and the `Examples:`
section of the docstring is printed below the options:

    def shrink(store: Path, *, dry_run: bool = False) -> int | None:
        \"\"\"Give unused space in a store back to the disk.

        Args:
            store: The store to shrink.
            dry_run: Only say how much it would give back.

        Examples:
            pixtag shrink my.sqlite --dry-run
        \"\"\"
        from pixtag.store import Store  # heavy imports inside: `pixtag --help` stays fast

Return nothing (0) or an exit code. Raise errors of `pixtag.errors`. Print with
`pixtag.cli.output`: data to stdout, all else to stderr. Add it in that file's `register(app)` and
its name to `VERBS` below; only the group of the verb that was typed is imported.
"""  # noqa: D214 - the docstring inside is an example

from __future__ import annotations

import errno
import inspect
import os
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App, CycloptsError, Parameter

from pixtag.cli import output
from pixtag.cli.settings import fill_flags
from pixtag.errors import ConfigError, InputError, PixtagError

if TYPE_CHECKING:
    from collections.abc import Sequence

VERBS: dict[str, str] = {
    "predict": "predict",
    "trending": "predict",
    "lists": "lists",
    "import": "posts",
    "export": "posts",
    "posts": "posts",
    "history": "posts",
    "forget": "posts",
    "train": "train",
    "tags": "train",
    "evaluate": "evaluate",
    "leakcheck": "evaluate",
    "doctor": "posts",
    "config": "settings",
}
"""Each verb and the file in this folder that registers it, in the order of the help."""

DONE, WORLD_IS_WRONG, COMMAND_IS_WRONG, OUR_BUG, INTERRUPTED = 0, 1, 2, 3, 130

_CHECK_OWNER = "check who owns the file and its folder"
_OS_HINTS = {
    errno.ENOSPC: "make room on the disk and run it again: what was finished is kept",
    errno.EDQUOT: "make room in your quota and run it again: what was finished is kept",
    errno.EACCES: _CHECK_OWNER,
    errno.EPERM: _CHECK_OWNER,
    errno.EROFS: "choose a place that can be written to",
    errno.ENOENT: "check the path",
    errno.EISDIR: "give a file, not a folder",
    errno.ENOTDIR: "check the path",
}

_HELP = """Predict the hashtags that a person will put on a photo.

Evidence: the picture, the person's earlier posts, and what is rising now."""

_EPILOGUE = """Examples:

    pixtag photo.jpg                                  hashtags for a photo
    pixtag import my-archive.zip --store my.sqlite    read your own posts
    pixtag photo.jpg --user me --store my.sqlite      fit them to your habits
    pixtag VERB --help                                options and examples of a verb

`pixtag PHOTO` is short for `pixtag predict PHOTO`. With -v (--verbose) an error shows where
in the code it arose."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code.

    Args:
        arguments: Words after `pixtag`; those of the process when None.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    code = run(words)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()
    sys.exit(code)


def run(words: list[str]) -> int:
    """Run one command and report its failure, if any, on stderr.

    Args:
        words: The command line without the program's name.

    Returns:
        0 done, 1 the world is wrong, 2 the command is wrong, 3 our bug, 130 interrupted.
    """
    words, is_verbose = _take_verbose(words)
    output.survive_odd_characters()
    try:
        return _dispatch(words)
    except BrokenPipeError:  # the reader has seen enough, as in `pixtag posts | head`
        _drop_stdout()
        return DONE
    except KeyboardInterrupt:
        output.say("interrupted")
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last stop before the user
        if is_verbose and not isinstance(error, CycloptsError):
            import traceback

            traceback.print_exc()
        code, message, hint = _explained(error, words)
        output.say(f"error: {message}")
        if hint:
            output.say(f"hint: {hint}")
        return code


def _explained(error: Exception, words: list[str]) -> tuple[int, str, str]:
    """The exit code of an error, what to say about it, and the next step."""
    if isinstance(error, CycloptsError):
        verb = f" {words[0]}" if words and words[0] in VERBS else ""
        hint = f"`pixtag{verb} --help` shows what it takes, with examples"
        return COMMAND_IS_WRONG, str(error), hint
    if isinstance(error, PixtagError):
        return exit_code(error), error.message, error.hint
    if isinstance(error, OSError):
        text = error.strerror or str(error)
        place = f": {error.filename}" if error.filename else ""
        return WORLD_IS_WRONG, text + place, _OS_HINTS.get(error.errno or 0, "")
    if isinstance(error, MemoryError):
        hint = "close other programs or work on fewer posts at once"
        return WORLD_IS_WRONG, "out of memory", hint
    hint = "run it again with -v and report what it prints, with the command that you typed"
    return OUR_BUG, f"this is a bug in Pixtag: {type(error).__name__}: {error}", hint


def exit_code(error: PixtagError) -> int:
    """Tell a command that cannot be meant from a world that is not as hoped."""
    return COMMAND_IS_WRONG if isinstance(error, InputError | ConfigError) else WORLD_IS_WRONG


def build_app(verbs: Sequence[str]) -> App:
    """Make the parser with some verbs.

    Args:
        verbs: Keys of `VERBS`. Only their groups are imported, with what else those register.
    """
    app = App(
        name="pixtag",
        help=_HELP,
        help_epilogue=_EPILOGUE,
        help_format="plaintext",
        version=_version,
        config=fill_flags,
        default_parameter=Parameter(negative=(), show_default=_shown_default),
    )
    for group in dict.fromkeys(VERBS[verb] for verb in verbs):
        module = import_module(f"pixtag.cli.{group}")
        module.register(app)
    for position, name in enumerate(VERBS):
        if name not in app:  # of a group that was not asked for
            continue
        command = app[name]
        command.sort_key = position
        if command.help_epilogue is None and command.default_command is not None:
            command.help_epilogue = _examples(command.default_command)
    return app


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in {"--help", "-h"}:
        tokens, verbs = ["--help"], list(VERBS)
    elif words[0] == "--version":
        tokens, verbs = words[:1], []
    elif words[0] in VERBS:
        tokens, verbs = words, [words[0]]
    else:
        _refuse_misspelt_verb(words[0])
        tokens, verbs = ["predict", *words], ["predict"]
    app = build_app(verbs)
    result: object = app(
        tokens,
        console=output.stdout_console(max_width=100),
        error_console=output.stderr_console(),
        exit_on_error=False,
        print_error=False,
        result_action="return_value",
    )
    return result if isinstance(result, int) else DONE


def _take_verbose(words: list[str]) -> tuple[list[str], bool]:
    """Take -v and --verbose out of the words before `--`: every verb knows them."""
    end = words.index("--") if "--" in words else len(words)
    kept = [word for word in words[:end] if word not in {"-v", "--verbose"}]
    return kept + words[end:], len(kept) < end


def _refuse_misspelt_verb(word: str) -> None:
    """A bare word that is no file may be a verb with a slip, not a photo.

    Raises:
        InputError: It looks like a verb.
    """
    if word.startswith("-") or not word.replace("-", "").isalpha() or Path(word).exists():
        return
    from difflib import get_close_matches

    close = get_close_matches(word, VERBS, n=1)
    hint = f"did you mean `pixtag {close[0]}`?" if close else "`pixtag --help` lists the verbs"
    raise InputError(f"{word!r} is neither a verb nor a photo or folder here", hint=hint)


def _examples(function: object) -> str | None:
    """Take the `Examples:` section out of a verb's docstring, for its help page."""
    text = (inspect.getdoc(function) or "") + "\n"
    found = re.search(r"^Examples?:\n((?:[ \t].*\n|\n)+)", text, re.MULTILINE)
    return f"Examples:\n\n{found[1].rstrip()}" if found else None


def _shown_default(value: object) -> str | None:
    """Leave out of the help what is plain: off, or nothing, unless given."""
    return None if value is False or value is None else str(value)


def _version() -> str:
    from importlib.metadata import version

    return f"pixtag {version('pixtag')}"


def _drop_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not complain."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
