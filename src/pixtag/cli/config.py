"""`pixtag config`: every setting, its value and where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts import App


def register(app: App) -> None:
    """Add this group's verbs.

    Args:
        app: The command line that is being built.
    """
    app.command(config)


def config(*, json: bool = False) -> None:
    """Show every setting, its value and where it came from.

    Args:
        json: Print one JSON object instead of a table.

    Examples:
        pixtag config
        pixtag config --json
    """
