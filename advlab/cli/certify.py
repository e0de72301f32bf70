"""Prove how robust a classifier is."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

import advlab
from advlab.cli.main import main
from advlab.cli.options import classifier_options, complete, dataset_options, json_option
from advlab.cli.output import print_json, relative_path
from advlab.cli.tables import print_table

SECTION = "judge"
_OF_PROPERTIES = ("method", "time_limit", "trust")


@main.command()
@click.argument("model", metavar="MODEL", shell_complete=complete("models"))
@dataset_options()
@click.option("--norm", default="linf", show_default=True, help="linf, l2 or l1; of texts l0.")
@click.option("--epsilon", metavar="E", help="Radius for pixels in [0, 1], such as 2/255; of texts words.")
@click.option("--samples", type=click.IntRange(1), default=1000, show_default=True, help="The first N test images.")
@click.option(
    "--method",
    default="crown",
    show_default=True,
    help="ibp, crown, alpha: bounds, from fast to tight. exact: branch and bound. smoothing: L2, of any classifier.",
)
@click.option("--radii", is_flag=True, help="Also the largest proven radius of each image, for 'advlab curve'.")
@click.option("--time-limit", type=float, metavar="S", help="After S seconds the rest stays unknown [default: none].")
@click.option("--sigma", type=float, default=0.25, show_default=True, help="smoothing: the noise's deviation.")
@click.option("--draws", type=click.IntRange(1), default=1000, show_default=True, help="smoothing: copies of an image.")
@click.option("--confidence", type=float, default=0.999, show_default=True, help="smoothing: of each radius.")
@click.option("--seed", type=int, default=0, show_default=True, help="smoothing: of all random draws.")
@click.option("--property", "stated", metavar="FILE", help="Instead of images and epsilon: a VNN-LIB property.")
@click.option("--attack", "archive", metavar="ARCHIVE", help="Bracket with an attack on the same images and threat.")
@click.option("--force", is_flag=True, help="Replace another certificate of that name.")
@classifier_options()
@json_option
def certify(model: str, archive: str | None, stated: str | None, as_json: bool, **options: Any) -> None:
    """Prove that no perturbation within a radius succeeds.

    MODEL is a name ('advlab list models') or a path. Each image ends as proven, misclassified or unknown. With
    --property the network, which may be an .onnx file, is proven to have it, or an input that violates it is shown.

    Example: advlab certify fashion --epsilon 0.01 --method exact
    """
    if stated is not None:
        _certify_property(model, stated, as_json, options)
        return
    if options["epsilon"] is None:
        raise click.UsageError("Give a radius with --epsilon, or a VNN-LIB property with --property.")
    result = advlab.load_result(archive) if archive else None
    certificate = advlab.certify(model, save=True, **options)
    if as_json:
        print_json(certificate.to_dict())
        return
    print_table(certificate.table({result.attack.method: result} if result else None))
    click.echo(f"Wrote {relative_path(certificate.path)}.", err=True)


def _certify_property(model: str, stated: str, as_json: bool, options: dict[str, Any]) -> None:
    """The answer about one property; options that speak of images are refused."""
    source = click.get_current_context().get_parameter_source
    given = [name for name in options if source(name) is ParameterSource.COMMANDLINE]
    refused = [f"--{name}" for name in given if name not in _OF_PROPERTIES]
    if refused:
        raise click.UsageError(f"A property says itself what is to be proven. Leave out {', '.join(refused)}.")
    certificate = advlab.certify_property(model, stated, **{name: options[name] for name in given})
    if as_json:
        print_json(certificate.to_dict())
    else:
        print_table(certificate.table())
