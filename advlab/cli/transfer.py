"""Evaluate adversarial images on other classifiers."""

from __future__ import annotations

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import classifier_options, complete, json_option
from advlab.cli.output import print_json
from advlab.cli.tables import print_table

SECTION = "attack"


@main.command()
@click.argument("archives", nargs=-1, required=True, metavar="ARCHIVE...", shell_complete=complete())
@click.option(
    "--model",
    "models",
    shell_complete=complete("models"),
    multiple=True,
    required=True,
    metavar="NAME|PATH",
    help="Evaluate on this classifier; repeatable.",
)
@classifier_options("models")
@click.option("--output", metavar="PATH", help="Write a report of all pairs, an HTML page.")
@json_option
def transfer(
    archives: tuple[str, ...], models: tuple[str, ...], trust: bool, output: str | None, as_json: bool
) -> None:
    """Evaluate the images of archives on other classifiers.

    Prints sources by targets; nothing is crafted.

    Example: advlab transfer attacks/fashion/pgd-linf-0.1.h5 --model fashion-128 --model other.h5
    """
    matrix = advlab.transfer(archives, models, trust=trust)
    if output:
        advlab.report(matrix.evaluations, output)
        click.echo(f"Wrote {output}. Open it in a browser.", err=True)
    if as_json:
        print_json(matrix.to_dict())
    else:
        print_table(matrix.table())
