"""The numbers of archives."""

from __future__ import annotations

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import classifier_options, complete, json_option
from advlab.cli.output import print_evaluations, print_json, relative_path

SECTION = "judge"


@main.command()
@click.argument("archives", nargs=-1, required=True, metavar="ARCHIVE...", shell_complete=complete())
@click.option(
    "--model",
    metavar="NAME|PATH",
    shell_complete=complete("models"),
    help="Evaluate the images on this classifier instead (transfer).",
)
@click.option(
    "--certificate", "certificates", multiple=True, metavar="FILE", help="Bracket by what 'advlab certify' proved."
)
@classifier_options()
@json_option
def evaluate(
    archives: tuple[str, ...], model: str | None, certificates: tuple[str, ...], trust: bool, as_json: bool
) -> None:
    """Print accuracies and confidence shift of archives.

    A certificate of the same classifier, images and threat brackets robust accuracy from below.

    Example: advlab evaluate attacks/fashion/*.h5
    """
    classifier = advlab.load_classifier(model, trust=trust) if model else None
    evaluations = advlab.evaluate_files([*archives, *certificates], classifier)
    if as_json:
        print_json(advlab.to_records(evaluations, [each.result.path for each in evaluations]))
        return
    print_evaluations(evaluations)
    if not model:
        paths = [relative_path(path) for path in (*archives, *certificates)]
        click.echo(f"Next: advlab report {' '.join(paths)}", err=True)
