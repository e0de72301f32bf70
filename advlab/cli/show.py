"""The summary of a classifier."""

from __future__ import annotations

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import json_option, print_json, relative_path


@main.command()
@click.argument("model")
@click.option("--trust", is_flag=True, help="Run code embedded in the model file.")
@json_option
def show(model: str, trust: bool, as_json: bool) -> None:
    """Print the layers of a model and its model card.

    MODEL is a name ('advlab list models') or the path of any Keras file.

    Example: advlab show fashion
    """
    summary = advlab.summary(model, trust=trust)
    if as_json:
        print_json(summary.to_dict())
        return
    click.echo(summary.table())
    click.echo(f"Next: advlab predict {relative_path(model)} IMAGE.png", err=True)
