"""Entry of the `pixtag` command: finds the verb, fills in settings, makes failures exit codes.

A verb is a function of its name in its group's file in this folder, which `GROUPS` tells. Its
signature is the command line, its docstring the help (`Examples:` are printed below the options);
it imports what is heavy inside, gives an exit code or nothing, raises errors of `pixtag.errors`,
and prints with `pixtag.cli.output`.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pixtag.cli import output
from pixtag.errors import ConfigError, InputError, PixtagError, StoreError
from pixtag.places import default_store, is_anything_set

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pixtag.settings import ConfigT
    from pixtag.store import Store

GROUPS = {
    "Suggest": ("suggest", ("predict", "trending", "lists", "trends")),
    "Your posts": ("posts", ("import", "posts", "history", "export", "copy", "forget", "doctor")),
    "Your photos": ("photos", ("tag", "watch", "immich", "mastodon")),
    "Serve": ("serve", ("serve", "keys", "report")),
    "Measure": ("evaluate", ("evaluate", "leakcheck")),
    "Make": ("make", ("embed", "train", "tags", "encoder", "finetune", "config")),
}
"""Headings of the help, in order: the file in this folder that holds the verbs, and the verbs."""

VERBS = {verb: file for file, verbs in GROUPS.values() for verb in verbs}
"""Each verb and its file, in the order of the help."""

ALIASES = {"suggest": "predict"}

TABLES: dict[str, str] = {
    "": "pixtag.settings:Common",
    "train": "pixtag.train.config:TrainConfig",
    "finetune": "pixtag.pytorch:FinetuneConfig",
    "immich": "pixtag.integrations.immich:ImmichConfig",
    "mastodon": "pixtag.integrations.mastodon:MastodonConfig",
}
"""The class of each table of the settings file, imported only when its values are asked for."""

DONE, WORLD_IS_WRONG, COMMAND_IS_WRONG, OUR_BUG, INTERRUPTED = 0, 1, 2, 3, 130

_OS_HINTS = {
    errno.ENOSPC: "make room on the disk and run it again: what was finished is kept",
    errno.EDQUOT: "make room in your quota and run it again: what was finished is kept",
    errno.EROFS: "choose a place that can be written to",
    errno.EISDIR: "give a file, not a folder",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "check who owns the file and its folder"),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR), "check the path"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the words after `pixtag`, those of the process when None; leave with the exit code."""
    gc.set_threshold(50_000)  # a start makes many objects and hardly any garbage
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for some takes long
    code = run(list(sys.argv[1:] if arguments is None else arguments))
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()
    if code == INTERRUPTED:
        # All was put away; threads of libraries that still work crash while Python ends.
        sys.stderr.flush()
        os._exit(code)
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
    except KeyboardInterrupt as stop:
        notes = "; ".join(getattr(stop, "__notes__", ()))
        output.say(f"interrupted: {notes}" if notes else "interrupted")
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last stop before the user
        if is_verbose and not _is_of_parser(error):
            import traceback

            traceback.print_exc()
        code, message, hint = _explained(error, words)
        output.say(f"error: {message}" + (f"\nhint: {hint}" if hint else ""))
        return code


def _explained(error: Exception, words: list[str]) -> tuple[int, str, str]:
    """The exit code of an error, what to say about it, and the next step."""
    if _is_of_parser(error):
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
        hint = "close other programs or work on fewer posts at once"
        return WORLD_IS_WRONG, "out of memory", hint
    hint = "run it again with -v and report what it prints, with the command that you typed"
    return OUR_BUG, f"this is a bug in Pixtag: {type(error).__name__}: {error}", hint


def _is_of_parser(error: Exception) -> bool:
    return type(error).__module__.startswith("cyclopts")  # which may never have been imported


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in {"--help", "-h"}:
        tokens, verbs = ["--help"], list(VERBS)
    elif words[0] in {"--version", "-V"}:
        tokens, verbs = words[:1], []
    elif words[0] == "--install-completion":
        tokens, verbs = words, list(VERBS)
    else:
        words = [ALIASES.get(words[0], words[0]), *words[1:]]
        if words[0] not in VERBS:
            _refuse_misspelt_verb(words[0])
            words = ["predict", *words]
        tokens, verbs = words, words[:1]
        is_plain = verbs == ["predict"] and len(words) > 1 and not is_anything_set()
        if is_plain and not any(word.startswith("-") for word in words):
            from pixtag.cli.answers import show_answers  # photos alone: there is nothing to parse

            return show_answers([Path(word) for word in words[1:]])
    from pixtag.cli.parser import build_app

    tokens = ["./-" if word == "-" else word for word in tokens]  # else taken for an option
    result: object = build_app(verbs)(tokens)
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

    close = get_close_matches(word, [*VERBS, *ALIASES], n=1)
    hint = f"did you mean `pixtag {close[0]}`?" if close else "`pixtag --help` lists the verbs"
    raise InputError(f"{word!r} is neither a verb nor a photo or folder here", hint=hint)


def section(model: type[ConfigT], table: str, flags: dict[str, object]) -> ConfigT:
    """Give the settings of one of `TABLES`, with the flags of this call (or None) by key on top."""
    from pixtag.settings import Common, load_settings

    dotted = {f"{table}.{key}" if table else key: value for key, value in flags.items()}
    sections: dict[str, type[BaseModel]] = {"": Common, table: model}
    return load_settings(sections, other_tables=TABLES, flags=dotted).of(model)


def your_store(given: str | None, *, is_new: bool = False) -> str:
    """Give the store that was named, or the one in the user's data folder; its folder is made.

    An address is a text, not a Path: one would make `postgresql:/` of `postgresql://`.
    """
    if given is not None:
        return given
    store = default_store()
    if is_new:
        store.parent.mkdir(parents=True, exist_ok=True)
    elif not store.exists():
        hint = "`pixtag import YOUR_ARCHIVE` makes it, --store names another"
        raise StoreError(f"you have no store yet: nothing is at {store}", hint=hint)
    return str(store)


def open_store(given: str | None, *, is_new: bool = False, read_only: bool = False) -> Store:
    """Open the store that was named, or the user's own; one that `is_new` may be made."""
    from pixtag.store import Store

    return Store.open(your_store(given, is_new=is_new), create=is_new, read_only=read_only)


def person_in(store: Store, given: str | None) -> str | None:
    """Give the person who was named, or else the only one of a store; says whom it took."""
    if given is not None or not (people := store.people(at_most=4)):
        return given
    if len(people) == 1:
        output.say(f"note: for {people[0]}, the only person in {store.address}")
        return people[0]
    names = ", ".join(people[:3]) + (", ..." if len(people) > 3 else "")
    output.say(f"note: nobody in particular: {store.address} holds {names}; --user names one")
    return None


@contextmanager
def standard_input(paths: Sequence[Path], name: str) -> Generator[list[Path]]:
    """Put a file of that name with what comes on standard input in the place of `-`.

    InputError: nothing comes. Errors of what is done with the file call it standard input.
    """
    if Path("-") not in paths:
        yield list(paths)
        return
    import shutil
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="pixtag-") as folder:
        kept = Path(folder) / name
        with kept.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        if not kept.stat().st_size:
            what, hint = "nothing came on standard input", "pipe something into it, or name a file"
            raise InputError(what, hint=hint)
        try:
            yield [kept if path == Path("-") else path for path in paths]
        except PixtagError as error:
            error.message = error.message.replace(str(kept), "standard input")
            raise


def _drop_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not complain."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
