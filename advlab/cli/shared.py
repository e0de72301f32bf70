"""The command that all others belong to, and what several of them say alike."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import click

import advlab
from advlab.errors import AdvlabError

# The file of each command, so that one does not wait for the others.
_HOME = {
    **dict.fromkeys(("attack", "demo", "run", "train"), "making"),
    **dict.fromkeys(("evaluate", "list", "report", "selftest", "verify"), "judging"),
    **dict.fromkeys(("export", "import", "transfer"), "sharing"),
    **dict.fromkeys(("predict", "show"), "looking"),
    "audit": "audits",
    "curve": "curves",
    "study": "studying",
    "noise": "noises",
}


class _Group(click.Group):
    """Shows errors without a traceback, unless ``--debug``; loads a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_HOME)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _HOME:
            import_module(f"advlab.cli.{_HOME[cmd_name]}")
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (AdvlabError, OSError) as error:
            if ctx.params.get("debug") or isinstance(error, BrokenPipeError):
                raise
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt as error:
            raise click.ClickException(f"Interrupted. {str(error) or 'Nothing was left half written.'}") from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--workspace", metavar="DIR", help="Where models/ and attacks/ live [default: ADVLAB_WORKSPACE or here].")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(advlab.__version__, prog_name="advlab")
@click.pass_context
def main(ctx: click.Context, workspace: str | None, debug: bool) -> None:
    """How robust is a Keras image classifier, and can that number be believed?

    \b
    First steps:
      advlab demo                                 the whole path on small data, in under a minute
      advlab attack --method pgd --model fashion  craft adversarial examples
      advlab report attacks/fashion/*.h5          a page to look at
    """
    if workspace:
        os.environ["ADVLAB_WORKSPACE"] = workspace


def pair(setting: str) -> tuple[str, str]:
    key, equals, value = setting.partition("=")
    if not equals or not key:
        raise click.UsageError(f"--set takes KEY=VALUE, such as --set steps=100. Got '{setting}'.")
    return key.strip(), value.strip()


def show(evaluations: list[advlab.Evaluation]) -> None:
    """The table on standard output; what speaks against its numbers on standard error."""
    click.echo(advlab.table(evaluations))
    for evaluation in evaluations:
        for finding in evaluation.findings:
            click.echo(f"{finding.severity}: {evaluation.attack.slug}: {finding.evidence}. {finding.do}", err=True)
    for finding in advlab.cross_findings(evaluations):
        click.echo(f"{finding.severity}: {finding.evidence}. {finding.do}", err=True)


def near(path: str | os.PathLike[str]) -> str:
    import shlex

    relative = os.path.relpath(path)
    return shlex.quote(os.fspath(path) if relative.startswith("..") else relative)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines (docs/json.md).")


def dump(data: object) -> None:
    """JSON on standard output, of what is ready for it."""
    import json

    click.echo(json.dumps(data, indent=2, allow_nan=False))
