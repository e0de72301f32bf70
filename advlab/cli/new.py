"""Write a file to begin with."""

from __future__ import annotations

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import json_option
from advlab.cli.output import print_json, relative_path

SECTION = "make"
_NEXT = {
    "method": "advlab attack --method {path}",
    "recipe": "advlab train {name}",
    "study": "advlab study {name}",
}


@main.command()
@click.argument("kind", metavar=f"[{'|'.join(_NEXT)}]")
@click.argument("name")
@click.option("--force", is_flag=True, help="Replace a file of that name.")
@json_option
def new(kind: str, name: str, force: bool, as_json: bool) -> None:
    """Write a commented file of a method, recipe or study.

    It works as it is; change it from there. A method is written as NAME.py into the current folder, a recipe or a study
    into models/ of the workspace.

    Example: advlab new method my_method
    """
    path = advlab.new(kind, name, force=force)
    if as_json:
        print_json({"schema": 1, "path": str(path)})
    else:
        click.echo(str(path))
    click.echo(f"Next: edit it, then {_NEXT[kind].format(path=relative_path(path), name=name)}", err=True)
