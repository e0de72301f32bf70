"""Show adversarial images to other classifiers."""

from __future__ import annotations

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import dump, json_option


@main.command()
@click.argument("archives", nargs=-1, required=True, metavar="ARCHIVE...")
@click.option(
    "--model", "models", multiple=True, required=True, metavar="NAME|PATH", help="Show them to this one; repeatable."
)
@click.option("--trust", is_flag=True, help="Run code embedded in the model files.")
@click.option("--output", metavar="PATH", help="Write a report of all pairs, an HTML page.")
@json_option
def transfer(
    archives: tuple[str, ...], models: tuple[str, ...], trust: bool, output: str | None, as_json: bool
) -> None:
    """Print how the images of archives fare on other classifiers: sources by targets.

    Nothing is crafted. Example: advlab transfer attacks/fashion/pgd-linf-0.1.h5 --model fashion-128 --model other.h5
    """
    matrix = advlab.transfer(archives, models, trust=trust)
    if output:
        advlab.report(matrix.evaluations, output)
        click.echo(f"Wrote {output}. Open it in a browser.", err=True)
    if as_json:
        dump(matrix.to_dict())
    else:
        click.echo(matrix.table())
