"""Commands that carry adversarial images elsewhere: to other classifiers, to other programs, and back."""

from __future__ import annotations

from typing import Any

import click

import advlab
from advlab.cli.shared import dump, json_option, main, near, show


@main.command()
@click.argument("archives", nargs=-1, required=True, metavar="ARCHIVE...")
@click.option(
    "--model", "models", multiple=True, required=True, metavar="NAME|PATH", help="Show them to this one; repeatable."
)
@click.option("--trust", is_flag=True, help="Run code embedded in the model files.")
@click.option("--output", metavar="PATH", help="Write a report of all pairs, an HTML page.")
@json_option
def transfer(
    archives: tuple[str, ...], models: tuple[str, ...], trust: bool, output: str | None, as_json: bool
) -> None:
    """Print how the images of archives fare on other classifiers: sources by targets.

    Nothing is crafted. Example: advlab transfer attacks/fashion/pgd-linf-0.1.h5 --model fashion-128 --model other.h5
    """
    matrix = advlab.transfer(archives, models, trust=trust)
    if output:
        advlab.report(matrix.evaluations, output)
        click.echo(f"Wrote {output}. Open it in a browser.", err=True)
    if as_json:
        dump(matrix.to_dict())
    else:
        click.echo(matrix.table())


@main.command()
@click.argument("archive", metavar="ARCHIVE")
@click.option("--csv", metavar="PATH", help="A table with a row for each image: predictions, confidences, distances.")
@click.option("--png", metavar="DIR", help="Perturbed images as INDEX-LABEL-PREDICTED.png.")
@click.option("--npy", metavar="PATH", help="The layout of MNIST's public attack challenge: float32 (n, 784).")
@click.option("--samples", type=click.IntRange(1), default=100, show_default=True, help="PNG of the first N images.")
@click.option("--beside", is_flag=True, help="PNG of the clean image and of the change as well.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
@json_option
def export(archive: str, as_json: bool, **options: Any) -> None:
    """Write what ARCHIVE holds for other programs, and print the paths.

    PNG has 256 levels of grey, and rounding can undo a small change; the others are exact.

    Example: advlab export attacks/mnist/pgd-linf-0.3.h5 --csv samples.csv --png images
    """
    paths = [str(path) for path in advlab.export(archive, **options)]
    if as_json:
        dump({"schema": 1, "paths": paths})
    else:
        click.echo("\n".join(paths))


@main.command(name="import")
@click.argument("images", metavar="IMAGES.npy")
@click.option("--model", required=True, metavar="NAME|PATH", help="The classifier that they are meant to fool.")
@click.option("--dataset", help="A name or path [default: what the model was trained on].")
@click.option("--norm", default="linf", show_default=True, help="linf, l2, l1 or l0.")
@click.option("--epsilon", metavar="E", help="Budget that they claim: 0.3 or 8/255 [default: linf 0.1, l2 1.5, l1 10].")
@click.option("--output", metavar="PATH", help="[default: attacks/MODEL/imported-NORM-EPSILON.h5]")
@click.option("--force", is_flag=True, help="Replace an archive of something else.")
@click.option("--trust", is_flag=True, help="Run code embedded in the model file.")
@json_option
def import_(images: str, model: str, output: str | None, as_json: bool, **options: Any) -> None:
    """Judge images that another program made, and save them as an archive.

    IMAGES.npy holds the first n test images, perturbed: floating point in [0, 1], (n, 784) or (n, 28, 28).

    Example: advlab import attack.npy --model mnist --epsilon 0.3
    """
    result = advlab.import_images(images, model, output=output, save=True, **options)
    path = output or result.path
    evaluations = [advlab.evaluate(result)]
    if as_json:
        dump(advlab.as_json(evaluations, [path]))
        return
    show(evaluations)
    click.echo(f"Saved {near(path)}. Next: advlab report {near(path)}", err=True)
