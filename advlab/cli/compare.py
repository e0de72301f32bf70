"""Compare models by archives at hand."""

from __future__ import annotations

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import complete, json_option
from advlab.cli.output import print_json
from advlab.cli.tables import print_table

SECTION = "judge"


@main.command()
@click.argument("archives", nargs=-1, required=True, shell_complete=complete("archives"))
@click.option(
    "--epsilon", multiple=True, metavar="E", help="Of archives of the smallest change: what counts; repeatable."
)
@click.option("--output", metavar="DIR", help="A folder for the tables, the figure and the pages [default: none].")
@json_option
def compare(archives: tuple[str, ...], epsilon: tuple[str, ...], output: str | None, as_json: bool) -> None:
    """Compare the models of archives at hand.

    With --output the folder gets the table as Markdown, CSV and LaTeX, a figure, a page that compares the models image
    by image, and a leaderboard.

    Example: advlab compare attacks/*/pgd-linf-0.1.h5 --output comparison
    """
    result = advlab.compare_archives(archives, epsilon=epsilon, output=output)
    if as_json:
        print_json(result.to_dict())
        return
    print_table(result.table())
    if output is not None:
        click.echo(f"Wrote {output}/report.html and {output}/leaderboard.html. Open them in a browser.", err=True)
