"""Static against adaptive: attack a defended classifier without and with knowledge of it."""

from __future__ import annotations

from typing import Any

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import classifier_options, complete, dataset_options, json_option
from advlab.cli.output import print_json, say_if_fewer
from advlab.cli.tables import print_table

SECTION = "defend"


@main.command()
@click.argument("base", metavar="BASE", shell_complete=complete("models"))
@click.argument("defended", metavar="DEFENDED", shell_complete=complete("models"))
@dataset_options("A name or path [default: what the defended model was trained on].")
@click.option(
    "--epsilon", metavar="E", help="Radius for pixels in [0, 1]: 0.1 or 8/255 [default: linf 0.1, l2 1.5, l1 10]."
)
@click.option("--norm", default="linf", show_default=True, help="linf, l2 or l1.")
@click.option("--samples", type=click.IntRange(1), default=200, show_default=True, help="The first N test images.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all random draws.")
@click.option("--output", metavar="PATH", help="Write a report of all attacks, an HTML page.")
@click.option("--figure", metavar="PATH", help="Draw the attackers into this file: .png, .svg or .pdf.")
@classifier_options("base", "defended")
@json_option
def defense_report(
    base: str, defended: str, output: str | None, figure: str | None, as_json: bool, **options: Any
) -> None:
    """Compare a defended model under static and adaptive attacks.

    BASE is the model before the defence, DEFENDED the one after it: names ('advlab list models') or paths.

    Example: advlab defense-report digits digits-robust
    """
    result = advlab.defense_report(base, defended, **options)
    say_if_fewer(result.robust_accuracy.total)
    if output:
        advlab.report(result.all_evaluations(), output)
    if as_json:
        print_json(result.to_dict())
    else:
        print_table(result.table())
        for finding in result.findings:
            click.echo(f"{finding.severity}: {finding.evidence}. {finding.do}", err=True)
    if figure:
        click.echo(f"Wrote {advlab.figures.save(advlab.figures.defense(result), figure)}.", err=True)
    if output:
        click.echo(f"Wrote {output}. Open it in a browser.", err=True)
