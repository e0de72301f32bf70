"""Test an attack on planted adversarial examples."""

from __future__ import annotations

from typing import Any

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import classifier_options, complete, dataset_options, json_option, model_option, parse_settings
from advlab.cli.output import print_json, say_if_fewer

SECTION = "judge"


@main.command()
@click.option(
    "--method",
    shell_complete=complete("methods"),
    default="pgd",
    show_default=True,
    help="A name, or your own file my.py, which is run.",
)
@model_option("classifier")
@dataset_options()
@click.option("--norm", help="linf, l2, l1 or l0 [default: the method's first].")
@click.option("--epsilon", metavar="E", help="Radius for pixels in [0, 1] [default: linf 0.1, l2 1.5, l1 10, l0 20].")
@click.option("--mask", metavar="FILE", help="A picture, white where pixels may change: plant only there.")
@click.option("--samples", type=click.IntRange(1), default=100, show_default=True, help="The first N test images.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A parameter of the method; repeatable.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all random draws.")
@classifier_options("classifier")
@json_option
def selftest(settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Plant adversarial examples; count how many a method finds.

    They lie close to the decision boundary. A sound attack finds nearly all of them; a random search should find few.

    Example: advlab selftest --method apgd --model mnist --epsilon 0.2
    """
    result = advlab.selftest(**options, **parse_settings(settings, advlab.selftest))
    say_if_fewer(result.samples)
    if as_json:
        print_json(result.to_dict())
        return
    click.echo(f"{result}")
    if result.planted < result.samples:
        click.echo(
            f"Around {result.samples - result.planted} of {result.samples} images none could be planted.", err=True
        )
