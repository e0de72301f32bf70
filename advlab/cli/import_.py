"""Images made by another program."""

from __future__ import annotations

from typing import Any

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import classifier_options, complete, dataset_options, json_option
from advlab.cli.output import print_evaluations, print_json, relative_path

SECTION = "attack"


@main.command(name="import")
@click.argument("images", metavar="IMAGES.npy", shell_complete=complete())
@click.option(
    "--model", required=True, metavar="NAME|PATH", shell_complete=complete("models"), help="The attacked classifier."
)
@dataset_options()
@click.option("--norm", default="linf", show_default=True, help="linf, l2, l1 or l0.")
@click.option("--epsilon", metavar="E", help="Claimed budget: 0.3 or 8/255 [default: linf 0.1, l2 1.5, l1 10].")
@click.option("--output", metavar="PATH", help="[default: attacks/MODEL/imported-NORM-EPSILON.h5]")
@click.option("--force", is_flag=True, help="Replace an archive of another result.")
@classifier_options()
@json_option
def import_(images: str, model: str, output: str | None, as_json: bool, **options: Any) -> None:
    """Evaluate images made by another program; save an archive.

    IMAGES.npy holds the first n test images, perturbed: floating point in [0, 1], (n, 784) or (n, 28, 28).

    Example: advlab import attack.npy --model mnist --epsilon 0.3
    """
    result = advlab.import_images(images, model, output=output, save=True, **options)
    path = output or result.path
    evaluations = [advlab.evaluate(result)]
    if as_json:
        print_json(advlab.to_records(evaluations, [path]))
        return
    print_evaluations(evaluations)
    click.echo(f"Saved {relative_path(path)}. Next: advlab report {relative_path(path)}", err=True)
