"""List what is available."""

from __future__ import annotations

from typing import Any

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import json_option, print_json

_CATEGORIES = ("models", "studies", "methods", "suites", "benchmarks", "datasets", "archives")

SECTION = "look around"


@main.command(name="list")
@click.argument("category", required=False, metavar=f"[{'|'.join(_CATEGORIES)}]")
@json_option
def list_(category: str | None, as_json: bool) -> None:
    """List models, methods, suites, benchmarks and more.

    Without a category, all of them.

    Example: advlab list methods
    """
    listing = {name: advlab.available(name, details=True) for name in ([category] if category else _CATEGORIES)}
    if as_json:
        print_json({"schema": 2, **{name: _plain(entries) for name, entries in listing.items()}})
        return
    lines = []
    for name, entries in listing.items():
        if category and not entries:
            click.echo(f"No {name} here.", err=True)
        width = max((len(entry) for entry in entries), default=0)
        lines += [] if category else ["", name.upper()]
        lines += [f"{entry:<{width}}  {details!s}" for entry, details in entries.items()]
    click.echo("\n".join(lines).lstrip("\n"))


def _plain(entries: dict[str, Any]) -> dict[str, Any]:
    """Name -> one line of text, or the fields of what has some."""
    return {name: entry if isinstance(entry, str) else entry.to_dict() for name, entry in entries.items()}
