"""Answer the checklists of an evaluation."""

from __future__ import annotations

from typing import Any

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import classifier_options, complete, dataset_options, json_option, model_option
from advlab.cli.output import print_json, relative_path, say_if_fewer
from advlab.cli.tables import print_table

SECTION = "judge"


@main.command()
@model_option("classifier")
@dataset_options()
@click.option(
    "--epsilon", metavar="E", help="Radius for pixels in [0, 1]: 0.1 or 8/255 [default: linf 0.1, l2 1.5, l1 10]."
)
@click.option("--norm", default="linf", show_default=True, help="linf, l2 or l1.")
@click.option("--samples", type=click.IntRange(1), default=200, show_default=True, help="The first N test images.")
@click.option(
    "--surrogate",
    shell_complete=complete("models"),
    metavar="NAME|PATH",
    help="Another model: images crafted on it are evaluated on this one; 'distilled': train one in the recovery.",
)
@click.option(
    "--recover-seconds",
    type=click.FloatRange(0),
    default=120,
    show_default=True,
    help="Go on so long after a finding that gradients are masked; 0: not at all.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all random draws.")
@click.option("--output", metavar="PATH", help="Write the answers and all attacks as a page as well: audit.html.")
@json_option
@classifier_options("classifier")
def audit(output: str | None, as_json: bool, **options: Any) -> None:
    """Run the attacks that two checklists ask for; answer them.

    Each question is answered with pass, fail or not tested, and with the evidence: can the robust accuracy of a model
    be believed? The checklists are those of Carlini et al. (arXiv:1902.06705) and Pintor et al. (arXiv:2106.09947).

    Example: advlab audit --model digits --surrogate mnist
    """
    result = advlab.audit(**options)
    say_if_fewer(result.robust_accuracy.total)
    if output:
        advlab.report(result, output)
    if as_json:
        print_json(result.to_dict())
        return
    click.echo(f"{result}\n")
    print_table(result.table())
    for finding in result.findings:
        click.echo(f"{finding.severity}: {finding.evidence}. {finding.do}", err=True)
    if output:
        click.echo(f"Wrote {relative_path(output)}. Open it in a browser.", err=True)
    elif isinstance(options["classifier"], str):
        click.echo(f"Next: advlab run standard --model {relative_path(options['classifier'])}", err=True)
