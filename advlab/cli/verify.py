"""Verify an archive."""

from __future__ import annotations

from typing import Any

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import dump, json_option


@main.command()
@click.argument("archive", metavar="ARCHIVE")
@click.option("--model", metavar="NAME|PATH", help="Where the classifier lies now [default: where it was].")
@click.option("--trust", is_flag=True, help="Run code embedded in the model file.")
@json_option
def verify(archive: str, model: str | None, trust: bool, as_json: bool) -> None:
    """Score the images of ARCHIVE again and re-check its budget, on this machine.

    Exits with 1 where it does not hold. Example: advlab verify attacks/fashion/pgd-linf-0.1.h5
    """
    found = advlab.verify(archive, model=model, trust=trust)
    if as_json:
        dump(found.to_dict())
    else:
        _tell(found)
    if not found.holds:
        raise click.ClickException(f"'{archive}' does not hold on this machine.")


def _tell(found: Any) -> None:
    for row, margin in zip(found.flips, found.margins, strict=True):
        click.echo(f"row {row}: classified differently here, by a margin of {margin:.2g} in probability")
    for row in found.outside:
        click.echo(f"row {row}: outside the budget or the box")
    click.echo(
        f"{found.samples} images: robust accuracy {found.recorded_accuracy:.2%} recorded, {found.accuracy:.2%} here; "
        f"{len(found.flips)} flips; largest perturbation {found.largest:.6g}; {len(found.outside)} outside"
    )
    if found.holds:
        click.echo("It holds.")
