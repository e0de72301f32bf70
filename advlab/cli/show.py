"""The summary of a classifier."""

from __future__ import annotations

import click

import advlab
from advlab.cli.main import main
from advlab.cli.options import classifier_options, complete, json_option
from advlab.cli.output import print_json, relative_path
from advlab.cli.tables import print_table

SECTION = "look around"


@main.command()
@click.argument("model", shell_complete=complete("models"))
@click.option(
    "--save-settings", is_flag=True, help="Keep the options below in MODEL.toml, read with the model from now on."
)
@classifier_options()
@json_option
def show(model: str, save_settings: bool, trust: bool, as_json: bool) -> None:
    """Print the layers of a model, or explain a method or finding.

    MODEL is a name ('advlab list models') or the path of any Keras file; or the name of a method ('advlab list
    methods'), whose parameters are explained; or the code of a finding ('advlab list findings'): its cause and remedy.

    Example: advlab show net.h5 --preprocess caffe --save-settings
    """
    method = advlab.available("methods", details=True).get(model) if isinstance(model, str) else None
    if method is not None:
        if as_json:
            print_json({"schema": 1, **method.to_dict()})
            return
        click.echo(method.page())
        click.echo(f"Next: advlab attack --method {model}", err=True)
        return
    finding = advlab.available("findings", details=True).get(model) if isinstance(model, str) else None
    if finding is not None:
        if as_json:
            print_json({"schema": 1, **finding.to_dict()})
        else:
            click.echo(finding.page())
        return
    summary = advlab.summary(model, save_settings=save_settings, trust=trust)
    if as_json:
        print_json(summary.to_dict())
        return
    print_table(summary.table())
    if save_settings:
        click.echo(f"Wrote {relative_path(f'{summary.path}.toml')}.", err=True)
    if isinstance(model, str) or save_settings:
        click.echo(f"Next: advlab predict {relative_path(model)} IMAGE.png", err=True)
    else:
        click.echo(
            "Next: the same with --save-settings, which keeps what was said, but for the code and the architecture.",
            err=True,
        )
