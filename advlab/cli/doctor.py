"""What works here."""

from __future__ import annotations

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import json_option
from advlab.cli.output import print_json

SECTION = "look around"


@main.command()
@json_option
def doctor(as_json: bool) -> None:
    """Say what is found, what is broken, and how to fix it.

    Nothing is changed and nothing downloaded. Exits with 1 if something is broken.

    Example: advlab doctor
    """
    diagnosis = advlab.doctor()
    if as_json:
        print_json(diagnosis.to_dict())
    else:
        click.echo(str(diagnosis))
    if not diagnosis.healthy:
        raise click.ClickException("Something is broken; see above.")
