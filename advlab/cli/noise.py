"""Show a classifier images without meaning."""

from __future__ import annotations

from typing import Any

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import dump, json_option, near


@main.command()
@click.argument("model", metavar="MODEL")
@click.option("--dataset", help="Whose images are shuffled: a name or path [default: what the model was trained on].")
@click.option("--samples", type=click.IntRange(1), default=1000, show_default=True, help="Images of each distribution.")
@click.option(
    "--distribution",
    "distributions",
    multiple=True,
    metavar="NAME",
    help="One distribution of noise; repeatable [default: all of them].",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of all random draws.")
@click.option("--trust", is_flag=True, help="Run code embedded in the model file.")
@json_option
def noise(model: str, distributions: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """How confidently does MODEL name a class for images that show nothing?

    MODEL is a name ('advlab list models') or a path. The distributions are uniform, gaussian, salt-and-pepper,
    constant (one grey level), smooth (light and shade) and shuffled (real images with their pixels permuted).

    Example: advlab noise fashion
    """
    found = advlab.evaluate_noise(model, distributions=distributions or None, **options)
    if as_json:
        dump(found.to_dict())
        return
    click.echo(found.table())
    if found.knows_unknown:
        click.echo(f"Next: advlab attack --method fgsm --model {near(model)}", err=True)
    else:
        click.echo("Next: advlab train fashion-unknown, which learns a class for what shows nothing", err=True)
