"""List what there is."""

from __future__ import annotations

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import dump, json_option

_CATEGORIES = ("models", "studies", "methods", "suites", "datasets", "archives")


@main.command(name="list")
@click.argument("category", required=False, metavar=f"[{'|'.join(_CATEGORIES)}]")
@json_option
def list_(category: str | None, as_json: bool) -> None:
    """List what there is to work with; without a category, everything."""
    found = {each: advlab.available(each) for each in ([category] if category else _CATEGORIES)}
    if as_json:
        dump({"schema": 1, **found})
        return
    lines = []
    for each, entries in found.items():
        if category and not entries:
            click.echo(f"No {each} here.", err=True)
        width = max((len(name) for name in entries), default=0)
        lines += [] if category else ["", each.upper()]
        lines += [f"{name:<{width}}  {text}" for name, text in entries.items()]
    click.echo("\n".join(lines).lstrip("\n"))
