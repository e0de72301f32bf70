"""Train a classifier."""

from __future__ import annotations

from typing import Any

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import complete, json_option, range_option, size_type
from advlab.cli.output import print_json

SECTION = "make"


@main.command()
@click.argument("recipe", shell_complete=complete("models"))
@click.option("--dataset", metavar="DATA", help="Train on this data set: a name, .npz file or folder of images.")
@click.option("--resize", type=size_type, metavar="HxW", help="Height and width of images of a folder, such as 32x48.")
@range_option
@click.option("--name", help="Name of the classifier [default: RECIPE, or RECIPE-DATA with another data set].")
@click.option("--epochs", type=int, metavar="N", help="Passes over the training images [default: the recipe's].")
@click.option("--seed", type=int, metavar="N", help="Same seed, same machine: the same weights.")
@click.option("--resume", is_flag=True, help="Resume an interrupted training run.")
@click.option("--force", is_flag=True, help="Replace existing weights; start over.")
@click.option("--tensorboard", metavar="DIR", help="Write logs for TensorBoard.")
@json_option
def train(recipe: str, as_json: bool, **options: Any) -> None:
    """Train the classifier of a recipe, and save it as HDF5.

    RECIPE is a name ('advlab list models') or the path of a TOML file. The training curve is saved beside it as .svg.
    Your own images: a .npz file with x_train, y_train, x_test and y_test, or folders train/CLASS/ and test/CLASS/.

    Example: advlab train fashion --dataset photos/
    """
    classifier = advlab.train(recipe, **options)
    if as_json:
        print_json(classifier.to_dict())
        return
    card = classifier.card
    if card["ended"]:
        click.echo(f"note: {card['ended']}", err=True)
    published = card["published"].get("test_accuracy")
    accuracy = f"{card['test_accuracy']:.2%}" + (f" (published: {published:.2%})" if published else "")
    click.echo(f"{classifier.name}: test accuracy {accuracy}, {card['seconds']:.1f} s of training")
    click.echo(f"Next: advlab attack --method fgsm --model {classifier.name}", err=True)
