"""Run a suite of attacks."""

from __future__ import annotations

from typing import Any

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import (
    backward_options,
    classifier_options,
    complete,
    dataset_options,
    json_option,
    model_option,
    passes_option,
    take_stand_ins,
    track_option,
)
from advlab.cli.output import print_cost, print_evaluations, print_json, say_if_fewer

SECTION = "attack"


@main.command()
@click.argument("suite", shell_complete=complete("suites"))
@model_option()
@dataset_options()
@click.option("--samples", type=click.IntRange(1), default=1000, show_default=True, help="The first N test images.")
@click.option("--norm", help="linf, l2, l1 or l0 [default: the suite's].")
@click.option("--epsilon", metavar="E", help="Radius for pixels in [0, 1]: 0.1 or 8/255 [default: the suite's].")
@click.option("--seed", type=int, help="Seed of all random draws [default: the suite's, else 0].")
@passes_option
@backward_options
@click.option("--dry-run", is_flag=True, help="Say what it would cost, and attack nothing.")
@click.option("--output", default="report.html", show_default=True, metavar="PATH", help="The page to write.")
@click.option("--force", is_flag=True, help="Craft everything again; replace archives of other results.")
@track_option
@classifier_options()
@json_option
def run(
    suite: str,
    model: str,
    dataset: str | None,
    output: str,
    track: str | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Run a suite of attacks, save archives and write a report.

    SUITE is a name ('advlab list suites') or the path of a TOML file. After an interruption, the same command resumes.

    Example: advlab run standard --model mnist --epsilon 0.2
    """
    backward = take_stand_ins(options)
    if dry_run:
        declared = advlab.load_suite(suite).under(options["norm"], options["epsilon"])
        attacks = [attack.replace(passes=options["passes"] or attack.passes) for attack in declared]
        inputs = {name: options[name] for name in ("samples", "trust")}
        print_cost(advlab.cost(model, dataset, attacks, **inputs), as_json)
        return
    evaluations = advlab.run(model, dataset, suite, save=True, backward=backward, **options)
    say_if_fewer(len(evaluations[0]))
    advlab.report(evaluations, output)
    if track:
        advlab.track(evaluations, track, artifacts=[output])
    if as_json:
        print_json(advlab.to_records(evaluations))
    else:
        print_evaluations(evaluations)
    click.echo(f"Wrote {output}. Open it in a browser.", err=True)
