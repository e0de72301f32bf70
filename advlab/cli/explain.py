"""Explain an archive's predictions."""

from __future__ import annotations

from typing import Any

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import classifier_options, complete, json_option
from advlab.cli.output import print_json, relative_path

SECTION = "judge"


@main.command()
@click.argument("archive", metavar="ARCHIVE", shell_complete=complete())
@click.option(
    "--method",
    type=click.Choice(["integrated-gradients", "saliency"]),
    default="integrated-gradients",
    show_default=True,
    help="How pixels are credited.",
)
@click.option("--steps", type=int, default=64, show_default=True, help="Gradients from black to the image.")
@click.option("--samples", type=click.IntRange(1), default=40, show_default=True, help="Those a report shows first.")
@click.option(
    "--model", metavar="NAME|PATH", shell_complete=complete("models"), help="The classifier; by default as recorded."
)
@classifier_options()
@json_option
def explain(archive: str, as_json: bool, **options: Any) -> None:
    """Add to an archive which pixels speak for a prediction.

    A report of the archive then draws them, for clean and perturbed images.

    Example: advlab explain attacks/fashion/pgd-linf-0.1.h5
    """
    result = advlab.explain(archive, save=True, **options)
    method, images = options["method"], min(options["samples"], len(result))
    if as_json:
        print_json({"schema": 1, "archive": str(result.path), "method": method, "images": images})
        return
    click.echo(f"{method} of {images} images, clean and perturbed, are now in {relative_path(result.path)}")
    click.echo(f"Next: advlab report {relative_path(result.path)}", err=True)
