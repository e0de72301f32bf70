"""The whole path on embedded data."""

from __future__ import annotations

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import dump, json_option, show


@main.command()
@click.option("--output", default="report.html", show_default=True, metavar="PATH", help="The page to write.")
@json_option
def demo(output: str, as_json: bool) -> None:
    """The whole path on the embedded digits, in under a minute: train, attack, evaluate, report."""
    evaluations = advlab.demo(output)
    if as_json:
        dump(advlab.to_records(evaluations))
    else:
        show(evaluations)
    click.echo(f"Wrote {output}. Open it in a browser. Next: advlab attack --method pgd --model digits", err=True)
