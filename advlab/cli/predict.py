"""Predict images."""

from __future__ import annotations

from typing import Any

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import classifier_options, complete, json_option, range_option
from advlab.cli.output import print_json, relative_path
from advlab.cli.tables import print_table

SECTION = "judge"


@main.command()
@click.argument("model", shell_complete=complete("models"))
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", shell_complete=complete())
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, help="Classes printed for each image.")
@click.option("--invert", is_flag=True, help="Swap black and white in files: for dark ink on white paper.")
@click.option("--figure", metavar="PATH", help="Draw images and probabilities: .png, .svg or .pdf.")
@range_option
@classifier_options()
@json_option
def predict(model: str, images: tuple[str, ...], top: int, figure: str | None, as_json: bool, **options: Any) -> None:
    """Print the predicted classes of images, with probabilities.

    IMAGE is a file (PNG, JPEG, ...), fashion-mnist:6 for test image 6 of a data set, 6 for one of the data set that
    MODEL was trained on, or 0-14 for fifteen of them.

    Example: advlab predict fashion 0-14 shoe.png --figure predictions.png
    """
    predictions = advlab.predict(model, images, **options)
    for note in predictions.notes:
        click.echo(f"warning: {note}", err=True)
    if figure:
        advlab.figures.save(advlab.figures.predictions(predictions), figure)
    if as_json:
        print_json(predictions.to_dict())
    else:
        print_table(predictions.table(top))
    if figure:
        click.echo(f"Wrote {relative_path(figure)}.", err=True)
