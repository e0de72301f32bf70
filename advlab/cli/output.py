"""What several commands print: evaluations and their findings, costs, JSON, and the next command to type."""

from __future__ import annotations

import os
from typing import Any

import click
from click.core import ParameterSource

import advlab
from advlab.cli.tables import folded, print_table


def print_evaluations(evaluations: list[advlab.Evaluation]) -> None:
    """The table on standard output, its findings on standard error."""
    print_table(advlab.table(evaluations))
    caused = [(finding, evaluation.attack.slug) for evaluation in evaluations for finding in evaluation.findings]
    said: set[str] = set()
    for finding, slug in caused:
        others = [other for same, other in caused if same.code == finding.code and other != slug]
        also = f" So it is with {', '.join(others)}." if finding.severity == "info" and others else ""
        if not also or finding.code not in said:
            _say(finding.severity, f"{slug}: {finding.evidence}. {finding.do}{also}")
        said.add(finding.code)
    for finding in advlab.cross_findings(evaluations):
        _say(finding.severity, f"{finding.evidence}. {finding.do}")


def _say(severity: str, words: str) -> None:
    coloured = _styled(severity, fg={"error": "red", "warning": "yellow"}.get(severity, "cyan"))
    click.echo(f"{coloured}: {folded(words, f'{severity}: ')}", err=True)


def _styled(text: str, **style: Any) -> str:
    """The text as a terminal shows it; in a pipe click leaves the style out, and with ``NO_COLOR`` there is none."""
    return text if os.environ.get("NO_COLOR") else click.style(text, **style)


def print_cost(cost: advlab.Cost, as_json: bool) -> None:
    """What --dry-run says."""
    if as_json:
        print_json(cost.to_dict())
    else:
        print_table(cost.table())


def print_json(data: object) -> None:
    """JSON on standard output, of JSON-ready data."""
    import json

    click.echo(json.dumps(data, indent=2, allow_nan=False))


def say_if_fewer(images: int) -> None:
    """Say on standard error that --samples asked for more than there are."""
    context = click.get_current_context()
    asked = context.params["samples"]
    if context.get_parameter_source("samples") is ParameterSource.COMMANDLINE and asked > images:
        click.echo(f"note: --samples asks for {asked:,}; there are only {images:,} images.", err=True)


def relative_path(path: str | os.PathLike[str]) -> str:
    """A path for the next command to type: relative to the current folder if it is inside, quoted for a shell."""
    import shlex

    relative = os.path.relpath(path)
    return shlex.quote(os.fspath(path) if relative.startswith("..") else relative)
