"""Verbs of the service: serve, keys, report."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from pixtag.cli import output
from pixtag.cli.main import open_store, your_store
from pixtag.cli.parser import Model
from pixtag.errors import InputError, StoreError, extra_hint
from pixtag.places import printable

if TYPE_CHECKING:
    from collections.abc import Generator

    from pixtag.errors import PixtagError
    from pixtag.store import Store
    from pixtag.store.served import ServedReport
    from pixtag.web.guard import Rules

HOUR_S = 3600.0


def serve(
    *,
    store: str | None = None,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 8000,
    allow_host: list[str] | None = None,
    require_key: bool = False,
    rate: Annotated[int, Parameter(validator=Number(gte=1))] = 6000,
    log: Annotated[bool, Parameter(negative="--no-log")] = True,
    trends: list[str] | None = None,
    open: Annotated[bool, Parameter(negative="--no-open")] = True,
    bundle: Model = None,
) -> None:
    """Open the page in your browser, and answer programs at /api/v1.

    On this machine alone (127.0.0.1) no key is needed. A server that others can reach asks each
    for a key: `pixtag keys add NAME`. Posts and feedback are on the disk before they are answered,
    and the next answer knows them. Ctrl-C ends it, after what is being answered.

    Args:
        store: The store, made when it is missing; yours, in your data folder, by default.
        host: The address to listen at; 0.0.0.0 for every network of this machine.
        port: The port; 0 takes any that is free.
        allow_host: A further name by which browsers reach it, as behind a proxy.
        require_key: Ask for keys on this machine too.
        rate: Requests a minute of one key or address.
        log: Keep what was suggested, so that `pixtag report --served` can tell how good it was.
        trends: A server of the Mastodon API whose rising hashtags are read now and every hour; may
            be repeated.
        open: Open the page in a browser.
        bundle: The trained model; the one in the package by default.

    Examples:
        pixtag serve
        pixtag serve --store my.sqlite --port 0 --no-open
        pixtag serve --host 0.0.0.0
        pixtag serve --trends mastodon.social
    """
    from pixtag.bundle import load_bundle

    _require_parts()
    from pixtag.web.app import create_app
    from pixtag.web.server import free_port
    from pixtag.web.server import serve as run
    from pixtag.web.service import Service

    logging.basicConfig(format="%(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it tells of every bad form
    rules = _rules(host, allow_host or [], require_key=require_key, rate=rate)
    path, port = your_store(store, is_new=True), free_port(host, port)

    def ready(url: str) -> None:
        output.say(f"Pixtag is at {url} (store {printable(path)}); Ctrl-C ends it")
        if open and _has_screen():
            import webbrowser

            webbrowser.open(url)

    with open_store(path, is_new=True) as opened:
        if rules.needs_key:
            _say_keys(opened, store)
        with (
            _following(opened, trends or []),
            Service(opened, load_bundle(bundle), is_logging=log) as service,
        ):
            run(create_app(service, rules), host, port, ready)
    output.say("stopped; everything is kept")


@contextmanager
def _following(store: Store, urls: list[str]) -> Generator[None]:
    """Read what rises on other servers every hour, on a thread of its own, until the end."""
    from threading import Event, Thread

    from pixtag.integrations.trends import follow

    def failed(url: str, error: PixtagError) -> None:
        output.say(f"note: no trends from {url}: {error.message}")

    stop = Event()
    thread = Thread(
        target=partial(follow, store, urls, HOUR_S, stop, on_error=failed), name="pixtag-trends"
    )
    if urls:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if urls:
            thread.join()


def _require_parts() -> None:
    from importlib.util import find_spec

    if missing := [name for name in ("fastapi", "granian", "limits") if find_spec(name) is None]:
        what = f"the server needs what is not installed: {', '.join(missing)}"
        raise InputError(what, hint=extra_hint("serve"))


def _rules(host: str, names: list[str], *, require_key: bool, rate: int) -> Rules:
    from pixtag.web.guard import LOOPBACK, Rules, host_name, is_loopback

    needs_key = require_key or not is_loopback(host)
    further = {host_name(name) for name in names}
    # Beyond loopback a page of another name has no key, unless its name is given.
    hosts = LOOPBACK | further | {host} if further or is_loopback(host) else None
    return Rules(needs_key=needs_key, hosts=hosts, requests_per_minute=rate)


def _say_keys(opened: Store, given: str | None) -> None:
    from pixtag.store.keys import list_keys

    if not any(key.revoked_at is None for key in list_keys(opened)):
        where = f" --store {opened.address}" if given else ""
        output.say(f"note: nobody has a key yet: `pixtag keys add NAME{where}` makes one")
    output.say("note: keys travel unencrypted unless a proxy adds HTTPS")


def _has_screen() -> bool:
    """Whether a browser with a window can be opened, and not one that takes the terminal."""
    is_desktop = sys.platform in {"darwin", "win32"}
    has_window = is_desktop or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())
    return has_window and sys.stderr.isatty()


def keys(
    action: Literal["list", "add", "revoke"] = "list",
    name: str | None = None,
    /,
    *,
    scopes: str = "read,write",
    user: str | None = None,
    store: str | None = None,
    json: bool = False,
) -> None:
    """Make, list or revoke the keys that a server asks for when others can reach it.

    A key is shown once, when it is made; only its digest is kept. Servers that are running know
    of a change at once.

    Args:
        action: list, add or revoke.
        name: What the key is called.
        scopes: What it allows, by commas: read (ask), write (publish, give feedback), admin (forget
            anybody, see /metrics).
        user: A person: the key reaches them alone, and learns of nobody else.
        store: The store; yours by default.
        json: Print JSON.

    Examples:
        pixtag keys add phone --user ana
        pixtag keys add uploader --scopes read
        pixtag keys list
        pixtag keys revoke phone
    """
    from pixtag.store.keys import add_key, list_keys, revoke_key
    from pixtag.types import iso_time

    if action != "list" and name is None:
        raise InputError("which key?", hint=f"`pixtag keys {action} NAME`")
    is_new = action == "add"
    with open_store(store, is_new=is_new) as opened:
        if action == "add":
            wanted = scopes.replace(",", " ").split()
            key = add_key(opened, str(name), scopes=wanted, user=user)
            output.print_json({"name": name, "key": key}) if json else output.print_line(key)
            reach = f"for {user} alone" if user else "for everybody"
            output.say(f"keep it, it is not shown again: {name}, {reach}, in {opened.address}")
        elif action == "revoke":
            if not revoke_key(opened, str(name)):
                hint = "`pixtag keys list` shows them"
                raise StoreError(
                    f"there is no key {name!r} that counts in {opened.address}", hint=hint
                )
            output.say(f"revoked {name}: no server takes it any more")
        else:
            found = list_keys(opened)
            rows = [
                {
                    "name": one.name,
                    "scopes": [s for s in ("read", "write", "admin") if s in one.scopes],
                    "user": one.user,
                    "made_at": iso_time(one.made_at),
                    "revoked_at": iso_time(one.revoked_at),
                }
                for one in found
            ]
            if json:
                output.print_json({"keys": rows})
                return
            columns = ("key", "allows", "for", "made", "revoked")
            output.print_table(
                dict.fromkeys(columns, "left"),
                [
                    (one.name, " ".join(sorted(one.scopes)), one.user or "everybody",
                     str(r["made_at"])[:10], str(r["revoked_at"] or "")[:10])
                    for one, r in zip(found, rows, strict=True)
                ],
            )  # fmt: skip


def report(
    *, served: bool = False, user: str | None = None, store: str | None = None, json: bool = False
) -> None:
    """Tell what became of the hashtags that a server suggested.

    Args:
        served: Of those that were served by `pixtag serve`; there is no other report yet.
        user: Only of what was suggested to this person.
        store: The store; yours by default.
        json: Print one JSON object.

    Examples:
        pixtag report --served
        pixtag report --served --user ana --json
    """
    from pixtag.store.served import served_report

    if not served:
        raise InputError("a report of what?", hint="`pixtag report --served`")
    with open_store(store, read_only=True) as opened:
        found = served_report(opened, user=user)
    if json:
        bins = [{**asdict(b), "share": b.share, "interval": b.interval} for b in found.bins]
        output.print_json({**asdict(found), "bins": bins})
        return
    _show(found)


def _show(found: ServedReport) -> None:
    output.print_line(
        f"{found.n_served:,} sets of hashtags were suggested; people said what became of "
        f"{found.n_judged:,} of them."
    )
    if not found.n_shown:
        output.say("nothing was said of any yet: the page does it, or POST /api/v1/feedback")
        return
    kept, refused = found.n_kept / found.n_shown, found.n_refused / found.n_shown
    output.print_line(
        f"Of {found.n_shown:,} hashtags in those they kept {found.n_kept:,} ({kept:.0%}) and "
        f"refused {found.n_refused:,} ({refused:.0%}); they added {found.n_added:,} of their own."
    )
    output.print_table(
        {"chance given": "left", "hashtags": "right", "mean chance": "right", "kept": "right",
         "95 % interval": "right"},
        [
            (f"{b.low:.0%} to {b.high:.0%}", f"{b.n:,}", f"{b.mean_prob:.0%}", f"{b.share:.0%}",
             "{:.0%} to {:.0%}".format(*b.interval))
            for b in found.bins
        ],
    )  # fmt: skip
