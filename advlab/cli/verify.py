"""Verify an archive."""

from __future__ import annotations

from typing import Any

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import classifier_options, complete, json_option
from advlab.cli.output import print_json

SECTION = "judge"


@main.command()
@click.argument("archive", metavar="ARCHIVE", shell_complete=complete())
@click.option(
    "--model", metavar="NAME|PATH", shell_complete=complete("models"), help="The classifier [default: as recorded]."
)
@classifier_options()
@json_option
def verify(archive: str, model: str | None, trust: bool, as_json: bool) -> None:
    """Predict an archive's images again and re-check its budget.

    Exits with 1 if the archive does not hold on this machine.

    Example: advlab verify attacks/fashion/pgd-linf-0.1.h5
    """
    result = advlab.verify(archive, model=model, trust=trust)
    if as_json:
        print_json(result.to_dict())
    else:
        _print(result)
    if not result.holds:
        raise click.ClickException(f"'{archive}' does not hold on this machine.")


def _print(result: Any) -> None:
    for row, margin in zip(result.flips, result.margins, strict=True):
        click.echo(f"row {row}: classified differently here, by a margin of {margin:.2g} in probability")
    for row in result.outside:
        click.echo(f"row {row}: outside the budget, the box or the mask")
    accuracies = f"{result.recorded_accuracy:.2%} recorded, {result.accuracy:.2%} here"
    click.echo(
        f"{result.samples} images: robust accuracy {accuracies}; {len(result.flips)} flips; "
        f"largest perturbation {result.largest:.6g}; {len(result.outside)} outside"
    )
    if result.holds:
        click.echo("It holds.")
