"""Shared by several commands: the options --json and --model, KEY=VALUE settings, tables, JSON on standard output."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from click.core import ParameterSource

import advlab

_Function = TypeVar("_Function", bound=Callable[..., Any])


def parse_settings(settings: Sequence[str], function: Callable[..., Any]) -> dict[str, Any]:
    """The ``KEY=VALUE`` of --set as parameters for a function, whose own arguments are no parameters of a method."""
    parameters: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = (part.strip() for part in setting.partition("="))
        if not equals or not key:
            raise click.UsageError(f"--set takes KEY=VALUE, such as --set steps=100. Got '{setting}'.")
        if key in inspect.signature(function).parameters:
            option = f"; use --{key.replace('_', '-')}" if key in ("norm", "epsilon", "seed", "target") else ""
            raise click.UsageError(f"--set takes parameters of the method, and '{key}' is none{option}.")
        parameters[key] = value
    return parameters


def print_evaluations(evaluations: list[advlab.Evaluation]) -> None:
    """The table on standard output, its findings on standard error."""
    click.echo(advlab.table(evaluations))
    for evaluation in evaluations:
        for finding in evaluation.findings:
            click.echo(f"{finding.severity}: {evaluation.attack.slug}: {finding.evidence}. {finding.do}", err=True)
    for finding in advlab.cross_findings(evaluations):
        click.echo(f"{finding.severity}: {finding.evidence}. {finding.do}", err=True)


def relative_path(path: str | os.PathLike[str]) -> str:
    """A path for the next command to type: relative to the current folder if it is inside, quoted for a shell."""
    import shlex

    relative = os.path.relpath(path)
    return shlex.quote(os.fspath(path) if relative.startswith("..") else relative)


def _asked_for(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The model, or an error that names those there are."""
    if value is None and not ctx.resilient_parsing:
        names = ", ".join(sorted(advlab.available("models")))
        raise click.UsageError(f"Which model? Name it with --model: {names}, or the path of a file.")
    return value


def model_option(*names: str) -> Callable[[_Function], _Function]:
    """The option --model of a command that judges a classifier: nobody should read the numbers of another one."""
    description = "A name ('advlab list models') or a path; required."
    return click.option("--model", *names, metavar="NAME|PATH", callback=_asked_for, help=description)


def say_if_fewer(images: int) -> None:
    """Say on standard error that --samples asked for more than there are."""
    context = click.get_current_context()
    asked = context.params["samples"]
    if context.get_parameter_source("samples") is ParameterSource.COMMANDLINE and asked > images:
        click.echo(f"note: --samples asks for {asked:,}; there are only {images:,} images.", err=True)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines (docs/json.md).")


def print_json(data: object) -> None:
    """JSON on standard output, of JSON-ready data."""
    import json

    click.echo(json.dumps(data, indent=2, allow_nan=False))
