"""Entry of the `pixtag` command: finds the verb, runs it, turns failures into exit codes.

A verb is a function in a file of this folder, added by its `register(app)` and named in `VERBS`.
Its signature is the command line, its docstring the help (`Examples:` are printed below the
options); it imports what is heavy inside, gives an exit code or nothing, raises errors of
`pixtag.errors`, and prints with `pixtag.cli.output`.
"""

from __future__ import annotations

import errno
import inspect
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from cyclopts import App, CycloptsError, Parameter

from pixtag.cli import output
from pixtag.cli.settings import fill_flags
from pixtag.errors import ConfigError, InputError, PixtagError

VERBS: dict[str, str] = {
    "predict": "predict",
    "trending": "predict",
    "lists": "settings",
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

_OWNER, _PATH = "check who owns the file and its folder", "check the path"
_OS_HINTS = {
    errno.ENOSPC: "make room on the disk and run it again: what was finished is kept",
    errno.EDQUOT: "make room in your quota and run it again: what was finished is kept",
    errno.EACCES: _OWNER,
    errno.EPERM: _OWNER,
    errno.EROFS: "choose a place that can be written to",
    errno.ENOENT: _PATH,
    errno.EISDIR: "give a file, not a folder",
    errno.ENOTDIR: _PATH,
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
    """Run the words after `pixtag`, those of the process when None; leave with the exit code."""
    code = run(list(sys.argv[1:] if arguments is None else arguments))
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()
    sys.exit(code)


def run(words: list[str]) -> int:
    """Run one command, report its failure, if any, on stderr, and give the exit code."""
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
        output.say(f"error: {message}" + (f"\nhint: {hint}" if hint else ""))
        return code


def _explained(error: Exception, words: list[str]) -> tuple[int, str, str]:
    """The exit code of an error, what to say about it, and the next step."""
    if isinstance(error, CycloptsError):
        verb = f" {words[0]}" if words and words[0] in VERBS else ""
        hint = f"`pixtag{verb} --help` shows what it takes, with examples"
        return COMMAND_IS_WRONG, str(error), hint
    if isinstance(error, PixtagError):
        is_command = isinstance(error, InputError | ConfigError)
        return COMMAND_IS_WRONG if is_command else WORLD_IS_WRONG, error.message, error.hint
    if isinstance(error, OSError):
        place = f": {error.filename}" if error.filename else ""
        hint = _OS_HINTS.get(error.errno or 0, "")
        return WORLD_IS_WRONG, (error.strerror or str(error)) + place, hint
    if isinstance(error, MemoryError):
        return (
            WORLD_IS_WRONG,
            "out of memory",
            "close other programs or work on fewer posts at once",
        )
    hint = "run it again with -v and report what it prints, with the command that you typed"
    return OUR_BUG, f"this is a bug in Pixtag: {type(error).__name__}: {error}", hint


def _build_app(verbs: Sequence[str]) -> App:
    """Make the parser with some verbs; only their groups are imported."""
    app = App(
        "pixtag",
        help=_HELP,
        help_epilogue=_EPILOGUE,
        help_format="plaintext",
        version=lambda: f"pixtag {version('pixtag')}",
        config=fill_flags,
        default_parameter=Parameter(negative=(), show_default=_shown_default),
    )
    for group in dict.fromkeys(VERBS[verb] for verb in verbs):
        import_module(f"pixtag.cli.{group}").register(app)
    for position, name in enumerate(VERBS):
        if name in app:  # else of a group that was not asked for
            app[name].sort_key = position
            app[name].help_epilogue = _examples(app[name].default_command)
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
    result: object = _build_app(verbs)(
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
    """A bare word that is no file may be a verb with a slip, not a photo."""
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
    """Leave out of the help what is plain: off, or nothing."""
    return None if value is False or value is None else str(value)


def _drop_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not complain."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
