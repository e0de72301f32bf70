"""The security curve."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

import advlab
from advlab.cli.main import main
from advlab.cli.options import classifier_options, complete, dataset_options, json_option, parse_settings
from advlab.cli.output import print_json, relative_path, say_if_fewer
from advlab.cli.tables import print_table

SECTION = "attack"


@main.command()
@click.argument("archives", nargs=-1, metavar="[ARCHIVE]...", shell_complete=complete())
@click.option(
    "--model", metavar="NAME|PATH", shell_complete=complete("models"), help="Craft the curve of this classifier."
)
@dataset_options()
@click.option(
    "--method",
    shell_complete=complete("methods"),
    help="A name, or your own file my.py [default: fmn; ddn for l2, sigma_zero for l0].",
)
@click.option("--norm", help="linf, l2, l1 or l0 [default: the method's first].")
@click.option(
    "--epsilon", metavar="E", help="Upper end of the bisection of a bounded method [default: linf 0.3, l2 4.5, l1 30]."
)
@click.option("--rounds", type=int, default=6, show_default=True, help="Attacks on each image in a bisection.")
@click.option("--samples", type=click.IntRange(1), default=1000, show_default=True, help="The first N test images.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A parameter of the method; repeatable.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all random draws.")
@click.option("--at", metavar="E,E,...", help="Epsilons to look up: 0.01,0.05,8/255 [default: round ones].")
@click.option("--certificate", "certificates", multiple=True, metavar="FILE", help="Show what it proves below.")
@click.option("--output", metavar="PATH", help="Draw the curve into this file: .png, .svg or .pdf.")
@json_option
@click.option("--force", is_flag=True, help="Craft again; replace an archive of another result.")
@classifier_options()
@click.pass_context
def curve(
    ctx: click.Context,
    /,
    archives: tuple[str, ...],
    model: str | None,
    settings: tuple[str, ...],
    at: str | None,
    certificates: tuple[str, ...],
    output: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Print robust accuracy over epsilon, of archives or a run.

    ARCHIVEs must be of the same images. With --model, a minimal method is run once, or a bounded one in a bisection
    over epsilon; then any epsilon is a look-up.

    Example: advlab curve --model fashion --at 0.01,8/255
    """
    if bool(archives) == bool(model):
        raise click.UsageError("Name either archives, or --model NAME to craft the curve of a classifier.")
    crafting = [name for name in options if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if archives and (crafting or settings):
        raise click.UsageError(
            f"Archives are crafted already; --{(crafting or ['set'])[0]} is for crafting. Leave it out."
        )
    if archives:
        result = advlab.SecurityCurve.from_results([advlab.load_result(path) for path in archives])
    else:
        parameters = parse_settings(settings, advlab.curve)
        result = advlab.curve(model, save=True, **options, **parameters)
        say_if_fewer(len(result))
    if certificates:
        proofs = [advlab.Certificate.load(path) for path in certificates]
        result = advlab.SecurityCurve.from_results(result.results, proofs)
    epsilons = at.split(",") if at else None
    if as_json:
        print_json(result.to_dict(epsilons))
    else:
        print_table(result.table(epsilons))
    if output:
        click.echo(f"Wrote {advlab.figures.save(advlab.figures.security_curve(result), output)}.", err=True)
    paths = archives or [str(result.results[0].path)]
    click.echo(
        f"{'' if archives else 'Saved. '}Next: advlab report {' '.join(relative_path(path) for path in paths)}",
        err=True,
    )
