"""Shared by several commands: the option --json, KEY=VALUE settings, tables and JSON on standard output."""

from __future__ import annotations

import os

import click

import advlab


def parse_setting(setting: str) -> tuple[str, str]:
    """Key and value of ``KEY=VALUE``; a usage error for anything else."""
    key, equals, value = setting.partition("=")
    if not equals or not key:
        raise click.UsageError(f"--set takes KEY=VALUE, such as --set steps=100. Got '{setting}'.")
    return key.strip(), value.strip()


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


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines (docs/json.md).")


def print_json(data: object) -> None:
    """JSON on standard output, of JSON-ready data."""
    import json

    click.echo(json.dumps(data, indent=2, allow_nan=False))
