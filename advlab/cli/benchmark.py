"""Run a benchmark."""

from __future__ import annotations

from typing import Any

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import complete, json_option, track_option
from advlab.cli.output import print_json, relative_path
from advlab.cli.tables import print_table

SECTION = "judge"


@main.command()
@click.argument("file", shell_complete=complete("benchmarks"))
@click.option("--dry-run", is_flag=True, help="Check every cell, say what all would cost, and run none.")
@click.option("--resume", is_flag=True, help="Keep finished cells; compute what is missing or has changed.")
@click.option("--force", is_flag=True, help="Compute every cell again.")
@click.option("--samples", type=click.IntRange(1), metavar="N", help="The first N images [default: the benchmark's].")
@click.option("--trust", is_flag=True, help="Run code in the model files.")
@click.option("--upload", metavar="URL", help="A folder elsewhere, s3://bucket/name, that gets a copy at the end.")
@track_option
@json_option
def benchmark(file: str, dry_run: bool, track: str | None, as_json: bool, **options: Any) -> None:
    """Attack many models with many budgets; compare them.

    FILE is a name ('advlab list benchmarks') or the path of a TOML file: classifiers, data sets, suites or methods,
    epsilons of each norm, seeds. Each cell is kept as soon as it is finished; the table, also as LaTeX and CSV, a
    figure, a page that compares the models and a leaderboard lie in attacks/benchmarks/NAME/.

    Example: advlab benchmark zoo --samples 100
    """
    if dry_run:
        plan = advlab.plan_benchmark(file, samples=options["samples"], trust=options["trust"])
        if as_json:
            print_json(plan.to_dict())
        else:
            print_table(plan.table())
        return
    result = advlab.benchmark(file, **options)
    if track:
        advlab.track(result, track)
    if as_json:
        print_json(result.to_dict())
    else:
        print_table(result.table())
    if result.failed:
        click.echo(f"Next: advlab benchmark {relative_path(file)} --resume", err=True)
