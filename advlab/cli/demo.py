"""Everything once, on embedded data."""

from __future__ import annotations

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import json_option
from advlab.cli.output import print_evaluations, print_json

SECTION = "look around"


@main.command()
@click.option("--output", default="report.html", show_default=True, metavar="PATH", help="The page to write.")
@json_option
def demo(output: str, as_json: bool) -> None:
    """Train, attack, evaluate and report on the embedded digits.

    Takes less than a minute, needs no network, and leaves only the report.

    Example: advlab demo
    """
    evaluations = advlab.demo(output)
    if as_json:
        print_json(advlab.to_records(evaluations))
    else:
        print_evaluations(evaluations)
    click.echo(f"Wrote {output}. Open it in a browser. Next: advlab attack --method pgd --model digits", err=True)
