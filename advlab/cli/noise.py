"""Evaluate a classifier on noise."""

from __future__ import annotations

from typing import Any

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import classifier_options, complete, dataset_options, json_option
from advlab.cli.output import print_json, relative_path
from advlab.cli.tables import print_table

SECTION = "judge"


@main.command()
@click.argument("model", metavar="MODEL", shell_complete=complete("models"))
@dataset_options("Data set to shuffle: a name or path [default: what the model was trained on].")
@click.option("--samples", type=click.IntRange(1), default=1000, show_default=True, help="Images of each distribution.")
@click.option(
    "--distribution",
    "distributions",
    multiple=True,
    metavar="NAME",
    help="One distribution of noise; repeatable [default: all].",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all random draws.")
@classifier_options()
@json_option
def noise(model: str, distributions: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Print how confidently a model classifies noise.

    MODEL is a name ('advlab list models') or a path. The distributions are uniform, gaussian, salt-and-pepper,
    constant (one grey level), smooth (light and shade) and shuffled (real images with their pixels permuted).

    Example: advlab noise fashion
    """
    evaluation = advlab.evaluate_noise(model, distributions=distributions or None, **options)
    if as_json:
        print_json(evaluation.to_dict())
        return
    print_table(evaluation.table())
    if evaluation.knows_unknown and isinstance(model, str):
        click.echo(f"Next: advlab attack --method fgsm --model {relative_path(model)}", err=True)
    elif not evaluation.knows_unknown:
        click.echo("Next: advlab train fashion-unknown, which learns a class 'unknown' for noise", err=True)
