"""Evaluate a detector of adversarial images."""

from __future__ import annotations

from typing import Any

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import classifier_options, dataset_options, json_option, model_option
from advlab.cli.output import print_json, say_if_fewer
from advlab.cli.tables import print_table

SECTION = "defend"


@main.command()
@click.argument("detector")
@model_option("classifier")
@dataset_options()
@click.option(
    "--epsilon", metavar="E", help="Radius for pixels in [0, 1]: 0.1 or 8/255 [default: linf 0.1, l2 1.5, l1 10]."
)
@click.option("--norm", default="linf", show_default=True, help="linf, l2 or l1.")
@click.option("--rate", type=float, default=0.05, show_default=True, help="Fraction of clean images to refuse.")
@click.option("--passes", type=int, default=1, show_default=True, help="Draws over which the attack on both averages.")
@click.option("--samples", type=click.IntRange(1), default=200, show_default=True, help="The first N test images.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all random draws.")
@click.option("--output", metavar="PATH", help="Draw the ROC curves into this file: .png, .svg or .pdf.")
@json_option
@classifier_options("classifier")
def detect(detector: str, rate: float, output: str | None, as_json: bool, **options: Any) -> None:
    """Ask whether a detector survives an attacker who knows it.

    DETECTOR is maximum-softmax, energy, dropout, feature-squeezing or mahalanobis. It is fitted on the test images
    after those attacked, then attacked together with the model.

    Example: advlab detect feature-squeezing --model digits
    """
    result = advlab.evaluate_detector(detector=detector, false_positive_rate=rate, **options)
    say_if_fewer(result.attacks[0].misclassified.total)
    if as_json:
        print_json(result.to_dict())
    else:
        print_table(result.table())
    if output:
        click.echo(f"Wrote {advlab.figures.save(advlab.figures.roc(result), output)}.", err=True)
