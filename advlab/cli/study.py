"""Run a study."""

from __future__ import annotations

from typing import Any

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import complete, json_option
from advlab.cli.output import print_json, relative_path
from advlab.cli.tables import print_table

SECTION = "make"


@main.command()
@click.argument("name", shell_complete=complete("studies"))
@click.option("--rows", metavar="ROWS", help="Numbers, ranges or names, such as 1,3-5 [default: all].")
@click.option("--resume", is_flag=True, help="Keep finished rows; compute what is missing or has changed.")
@click.option("--force", is_flag=True, help="Compute the chosen rows again.")
@click.option("--epochs", type=click.IntRange(1), metavar="N", help="Epochs of every row [default: the study's].")
@click.option("--samples", type=click.IntRange(1), metavar="N", help="Attacked test images [default: the study's].")
@json_option
def study(name: str, as_json: bool, **options: Any) -> None:
    """Train and attack each row of a study; write its table.

    NAME is a name ('advlab list studies') or the path of a TOML file. Each row is saved as soon as it is finished, in
    models/studies/.

    Example: advlab study mnist-dropout --rows 1,5-9
    """
    result = advlab.study(name, **options)
    if as_json:
        print_json(result.to_dict())
        return
    print_table(result.table())
    for note in result.notes():
        click.echo(note, err=True)
    if len(result.rows) < len(result.study.rows):
        adjusted = [f" --{option} {options[option]}" for option in ("epochs", "samples") if options[option]]
        click.echo(f"Next: advlab study {relative_path(name)} --resume{''.join(adjusted)}", err=True)
