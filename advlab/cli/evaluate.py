"""The numbers of archives."""

from __future__ import annotations

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import classifier_options, json_option, print_evaluations, print_json, relative_path

SECTION = "judge"


@main.command()
@click.argument("archives", nargs=-1, required=True, metavar="ARCHIVE...")
@click.option("--model", metavar="NAME|PATH", help="Evaluate the images on this classifier instead (transfer).")
@classifier_options()
@json_option
def evaluate(archives: tuple[str, ...], model: str | None, trust: bool, as_json: bool) -> None:
    """Print accuracies and confidence shift of archives.

    Example: advlab evaluate attacks/fashion/*.h5
    """
    classifier = advlab.load_classifier(model, trust=trust) if model else None
    evaluations = [advlab.evaluate(advlab.load_result(path), classifier) for path in archives]
    if as_json:
        print_json(advlab.to_records(evaluations, archives))
        return
    print_evaluations(evaluations)
    if not model:
        click.echo(f"Next: advlab report {' '.join(relative_path(path) for path in archives)}", err=True)
