"""What a classifier is."""

from __future__ import annotations

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import dump, json_option, near


@main.command()
@click.argument("model")
@click.option("--trust", is_flag=True, help="Run code embedded in the model file.")
@json_option
def show(model: str, trust: bool, as_json: bool) -> None:
    """Print the layers of MODEL and what its model card says.

    MODEL is a name ('advlab list models') or the path of any Keras file. Example: advlab show fashion
    """
    found = advlab.summary(model, trust=trust)
    if as_json:
        dump(found.to_dict())
        return
    click.echo(found.table())
    click.echo(f"Next: advlab predict {near(model) if found.path == model else model} IMAGE.png", err=True)
