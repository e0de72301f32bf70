"""Make a model sturdier."""

from __future__ import annotations

from typing import Any

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import classifier_options, complete, json_option
from advlab.cli.output import print_json, relative_path, say_if_fewer
from advlab.cli.tables import print_table

SECTION = "defend"


@main.command()
@click.argument("classifier", metavar="MODEL", shell_complete=complete("models"))
@click.option("--minutes", type=float, default=5.0, show_default=True, help="Time to train; measuring comes on top.")
@click.option("--dataset", help="A name or path, with both splits [default: what the model was trained on].")
@click.option("--epsilon", metavar="E", help="Radius for pixels in [0, 1]: 0.1 or 8/255 [default: linf 0.1, l2 1.5].")
@click.option("--norm", default="linf", show_default=True, help="linf or l2.")
@click.option("--method", default="pgd", show_default=True, help="pgd, or fgsm-rs: more steps, and may overfit.")
@click.option("--learning-rate", type=float, default=1e-3, show_default=True, help="The highest, of Adam.")
@click.option("--samples", type=click.IntRange(1), default=200, show_default=True, help="The first N test images.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all random draws.")
@click.option("--output", metavar="PATH", help="The HDF5 file to write [default: models/MODEL-hardened.h5].")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@classifier_options("classifier")
@json_option
def harden(classifier: str, as_json: bool, **options: Any) -> None:
    """Train a model against adversarial images for some minutes.

    MODEL is a name ('advlab list models') or the path of a Keras file; it is not changed.

    Example: advlab harden digits --minutes 1
    """
    result = advlab.harden(classifier, **options)
    say_if_fewer(len(result.before))
    if as_json:
        print_json(result.to_dict())
    else:
        print_table(result.table())
    path = relative_path(str(result.path))
    click.echo(f"Wrote {path}. Next: advlab defense-report {relative_path(classifier)} {path}", err=True)
