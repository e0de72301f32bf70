"""List what is available."""

from __future__ import annotations

import re
from typing import Any

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import json_option
from advlab.cli.output import print_json
from advlab.cli.tables import Cells, draw, on_terminal

_CATEGORIES = ("models", "studies", "methods", "suites", "benchmarks", "datasets", "archives")
_LONGEST = 40  # columns of a name that leave room beside it

SECTION = "look around"


@main.command(name="list")
@click.argument("category", required=False, metavar=f"[{'|'.join((*_CATEGORIES, 'findings'))}]")
@json_option
def list_(category: str | None, as_json: bool) -> None:
    """List models, methods, suites, benchmarks and more.

    Without a category, all of them but the findings.

    Example: advlab list methods
    """
    listing = {name: advlab.available(name, details=True) for name in ([category] if category else _CATEGORIES)}
    if as_json:
        print_json({"schema": 2, **{name: _plain(entries) for name, entries in listing.items()}})
        return
    for name in (name for name, entries in listing.items() if category and not entries):
        click.echo(f"No {name} here.", err=True)
    if on_terminal():
        draw(part for name, entries in listing.items() for part in _parts(name, entries, titled=not category))
        return
    lines = []
    for name, entries in listing.items():
        width = max((len(entry) for entry in entries), default=0)
        lines += [] if category else ["", name.upper()]
        lines += [f"{entry:<{width}}  {details!s}" for entry, details in entries.items()]
    click.echo("\n".join(lines).lstrip("\n"))


def _parts(name: str, entries: dict[str, Any], titled: bool) -> list[Any]:
    """A category as a terminal shows it: its title, and a row for each entry."""
    said = [re.split(" {2,}", str(details).strip(), maxsplit=1) for details in entries.values()]
    columns = max(map(len, said), default=0)
    rows: list[tuple[str, ...]] = [(f"{entry}\n  {details}",) for entry, details in entries.items()]
    if max(map(len, entries), default=0) <= _LONGEST:
        rows = [(entry, *words, *[""] * (columns - len(words))) for entry, words in zip(entries, said, strict=True)]
    return [*([name.upper()] if titled else []), *([Cells(rows)] if rows else []), *([""] if titled else [])]


def _plain(entries: dict[str, Any]) -> dict[str, Any]:
    """Name -> one line of text, or the fields of what has some."""
    return {name: entry if isinstance(entry, str) else entry.to_dict() for name, entry in entries.items()}
