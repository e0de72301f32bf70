"""What a classifier says about images."""

from __future__ import annotations

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import dump, json_option, near


@main.command()
@click.argument("model")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, help="Classes named for each image.")
@click.option("--invert", is_flag=True, help="Swap black and white in files: for dark ink on white paper.")
@click.option("--figure", metavar="PATH", help="Draw images and probabilities: .png, .svg or .pdf.")
@click.option("--trust", is_flag=True, help="Run code embedded in the model file.")
@json_option
def predict(
    model: str, images: tuple[str, ...], top: int, invert: bool, figure: str | None, trust: bool, as_json: bool
) -> None:
    """Print what MODEL takes each IMAGE for, and how confidently.

    IMAGE is a file (PNG, JPEG, ...), fashion-mnist:6 for test image 6 of a data set, 6 for one of the data set that
    MODEL was trained on, or 0-14 for fifteen of them.

    Example: advlab predict fashion 0-14 shoe.png --figure predictions.png
    """
    found = advlab.predict(model, images, invert=invert, trust=trust)
    for note in found.notes:
        click.echo(f"warning: {note}", err=True)
    if figure:
        advlab.figures.save(advlab.figures.predictions(found), figure)
    if as_json:
        dump(found.to_dict())
    else:
        click.echo(found.table(top))
    if figure:
        click.echo(f"Wrote {near(figure)}.", err=True)
