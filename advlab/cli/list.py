"""List what there is."""

from __future__ import annotations

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import dump, json_option

_KINDS = ("models", "studies", "methods", "suites", "datasets", "archives")


@main.command(name="list")
@click.argument("kind", required=False, metavar=f"[{'|'.join(_KINDS)}]")
@json_option
def list_(kind: str | None, as_json: bool) -> None:
    """List what there is to work with; without a kind, everything."""
    found = {each: advlab.available(each) for each in ([kind] if kind else _KINDS)}
    if as_json:
        dump({"schema": 1, **found})
        return
    lines = []
    for each, entries in found.items():
        if kind and not entries:
            click.echo(f"No {each} here.", err=True)
        width = max((len(name) for name in entries), default=0)
        lines += [] if kind else ["", each.upper()]
        lines += [f"{name:<{width}}  {text}" for name, text in entries.items()]
    click.echo("\n".join(lines).lstrip("\n"))
