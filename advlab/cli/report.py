"""The report about archives."""

from __future__ import annotations

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import complete, json_option
from advlab.cli.output import print_json

SECTION = "share"


@main.command()
@click.argument("archives", nargs=-1, required=True, metavar="ARCHIVE...", shell_complete=complete())
@click.option("--output", default="report.html", show_default=True, metavar="PATH", help="The page to write.")
@json_option
def report(archives: tuple[str, ...], output: str, as_json: bool) -> None:
    """Write one self-contained HTML page about archives.

    Certificates among them bracket the archives of the same classifier, images and threat.

    Example: advlab report attacks/fashion/*.h5
    """
    evaluations = advlab.evaluate_files(archives)
    advlab.report(evaluations, output)
    if as_json:
        print_json({"schema": 1, "path": output, "evaluations": len(evaluations)})
    else:
        click.echo(output)
