"""Archives for other programs."""

from __future__ import annotations

from typing import Any

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import classifier_options, complete, json_option
from advlab.cli.output import print_json

SECTION = "share"


@main.command()
@click.argument("archive", metavar="ARCHIVE", shell_complete=complete())
@click.option("--csv", metavar="PATH", help="A table with a row for each image: predictions, confidences, distances.")
@click.option("--png", metavar="DIR", help="Perturbed images as INDEX-LABEL-PREDICTED.png.")
@click.option("--npy", metavar="PATH", help="The layout of MNIST's public attack challenge: float32 (n, 784).")
@click.option("--patch", metavar="PATH", help="The adversarial patch of the method 'patch' as a PNG to print.")
@click.option("--samples", type=click.IntRange(1), default=100, show_default=True, help="Number of images as PNG.")
@click.option("--with-clean", is_flag=True, help="PNG of the clean image and of the change as well.")
@click.option("--quantize", is_flag=True, help="Round pixels towards the clean image, so that the budget is kept.")
@click.option(
    "--model", metavar="NAME|PATH", shell_complete=complete("models"), help="The classifier; by default as recorded."
)
@classifier_options()
@click.option("--force", is_flag=True, help="Replace existing files.")
@json_option
def export(archive: str, as_json: bool, **options: Any) -> None:
    """Write an archive, or its patch, as CSV, PNG or .npy.

    PNG has 256 levels, and rounding can undo a small change: names state what the model predicts for the file.

    Example: advlab export attacks/mnist/pgd-linf-0.3.h5 --csv samples.csv --png images
    """
    paths = [str(path) for path in advlab.export(archive, **options)]
    if as_json:
        print_json({"schema": 1, "paths": paths})
    else:
        click.echo("\n".join(paths))
