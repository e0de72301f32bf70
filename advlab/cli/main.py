"""The command ``advlab``: each file of this folder is a subcommand of that name."""

from __future__ import annotations

import ast
import contextlib
import keyword
import logging
import os
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click

import advlab
from advlab.cli.defaults import default_map
from advlab.cli.tables import folded
from advlab.errors import AdvlabError, for_terminal, in_words, unknown

_FOLDER = Path(__file__).parent
_NOT_COMMANDS = ("defaults", "main", "options", "output", "tables")
_ERROR = "Error: "  # what click writes before a message
_HELP = """How robust is a Keras classifier of images or texts, and can that number be believed?

\b
First steps:
  advlab demo                         everything on small data, in a minute
  advlab attack --method pgd          craft adversarial examples
  advlab report attacks/fashion/*.h5  write an HTML page about them

\b
The Tab key completes commands and names after this line in ~/.bashrc:
  eval "$(_ADVLAB_COMPLETE=bash_source advlab)"    (in ~/.zshrc: zsh_source)
  _ADVLAB_COMPLETE=fish_source advlab | source     (in fish's config.fish)

Defaults of options are read from advlab.toml, or [tool.advlab] of pyproject.toml, in the current folder.
"""
SECTIONS = {  # what a command's SECTION says -> the title that the help shows
    "make": "Make a model",
    "attack": "Attack it",
    "judge": "Judge the number",
    "defend": "Defend",
    "share": "Share",
    "look around": "Look around",
}


class _OnceOnly(click.Command):
    """Refuses an option given twice where only the last value would count, in silence."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, once no option that takes one value has been found twice."""
        if not ctx.resilient_parsing:
            _, _, found = self.make_parser(ctx).parse_args(args=list(args))
            single = [p for p in found if isinstance(p, click.Option) and not (p.multiple or p.is_flag or p.count)]
            twice = next((p for p in single if single.count(p) > 1), None)
            if twice is not None:
                raise click.UsageError(
                    f"{twice.opts[0]} takes one value, and was given {single.count(twice)} times. Keep one of them; "
                    f"for several values run '{ctx.command_path}' once for each.",
                    ctx,
                )
        return super().parse_args(ctx, args)


class ClassifierOption(click.Option):
    """An option of every command that opens a model; the help shows them in a section of their own."""


class _Command(_OnceOnly):
    """Its help ends with what all commands share that open a model."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of the command, then those of the classifier."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": [], "Options of the classifier (docs/models.md)": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                list(sections.values())[isinstance(parameter, ClassifierOption)].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class _Group(_OnceOnly, click.Group):
    """Shows errors without a traceback, unless ``--debug``; loads a command only when it runs."""

    command_class = _Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the options of the whole program, which come before the command, after it as well."""
        ahead, rest = [], list(args)
        names = {name: option for option in self.params if isinstance(option, click.Option) for name in option.opts}
        position = 0
        while position < len(rest) and rest[position] != "--":
            option = names.get(rest[position].partition("=")[0])
            if option is None or option.is_eager:
                position += 1
                continue
            if rest[position] == "--ray" and not _is_address(rest[position + 1 :]):
                rest[position] = "--ray=local"
            count = 1 if option.is_flag or "=" in rest[position] else 2
            ahead += rest[position : position + count]
            del rest[position : position + count]
        return super().parse_args(ctx, [*ahead, *rest])

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        """As click makes it, with the defaults of a file in the current folder."""
        if not rest and not extra.get("resilient_parsing"):
            try:
                extra["default_map"] = default_map(self, click.Context(self, info_name=info_name))
            except AdvlabError as error:
                raise click.ClickException(folded(for_terminal(in_words(error)), _ERROR)) from error
        return super().make_context(info_name, args, *rest, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the files in this folder."""
        return sorted(_command(path.stem) for path in _FOLDER.glob("[a-z]*.py") if path.stem not in _NOT_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, imported now; None if there is none."""
        if cmd_name in self.list_commands(ctx):
            import_module(f"advlab.cli.{_module(cmd_name)}")
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names, or an error with the nearest one."""
        name, names = args[0], self.list_commands(ctx)
        if name not in names and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(folded(for_terminal(str(unknown("command", name, names))), _ERROR), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the first line of each command, read from its file without importing it, by what a person wants."""
        sections: dict[str, list[tuple[str, str]]] = {section: [] for section in SECTIONS}
        names = self.list_commands(ctx)
        for name in names:
            section, line = declared(name)
            sections[section].append((name, line))
        width = max(map(len, names))
        for section, rows in sections.items():
            with formatter.section(SECTIONS[section]):
                formatter.write_dl([(f"{name:<{width}}", line) for name, line in rows])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; errors that a user can fix become one line on standard error."""
        try:
            return super().invoke(ctx)
        except (AdvlabError, OSError, MemoryError) as error:
            if ctx.params.get("debug") or isinstance(error, BrokenPipeError):
                raise
            raise click.ClickException(folded(for_terminal(in_words(error)), _ERROR)) from error
        except KeyboardInterrupt as error:
            message = str(error) or "No incomplete file was left."
            raise click.ClickException(folded(for_terminal(f"Interrupted. {message}"), _ERROR)) from error


@click.group(
    cls=_Group,
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--workspace", metavar="DIR", help="Folder of models/ and attacks/ [default: $ADVLAB_WORKSPACE or .].")
@click.option("--device", metavar="auto|cpu|gpu:N", help="Where networks run [default: $ADVLAB_DEVICE or auto].")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Processes that share the images of attacks.")
@click.option(
    "--ray", is_flag=False, flag_value="local", metavar="[HOST:PORT]", help="Let Ray do so, here or in a cluster."
)
@click.option(
    "--docs-url",
    envvar="ADVLAB_DOCS_URL",
    metavar="URL",
    help="Where the findings of a report lead [default: $ADVLAB_DOCS_URL].",
)
@click.option("--quiet", "-q", is_flag=True, help="Print the result and errors alone.")
@click.option("--verbose", "-v", is_flag=True, help="Say what is read, how it is run, and what is written.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(advlab.__version__, prog_name="advlab")
@click.pass_context
def main(
    ctx: click.Context,
    workspace: str | None,
    device: str | None,
    workers: int | None,
    ray: str | None,
    docs_url: str | None,
    quiet: bool,
    verbose: bool,
    debug: bool,
) -> None:
    """Run the command line."""
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose are opposites. Keep one of them.")
    if verbose:
        logging.basicConfig(format="%(message)s", stream=sys.stderr)
        logging.getLogger("advlab").setLevel(logging.INFO)
    if quiet:
        nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  the context closes it
        ctx.with_resource(contextlib.redirect_stderr(ctx.with_resource(nowhere)))
    if device:
        os.environ["ADVLAB_DEVICE"] = device
    if docs_url is not None:
        os.environ["ADVLAB_DOCS_URL"] = advlab.docs_address(docs_url)
    if workspace:
        os.environ["ADVLAB_WORKSPACE"] = workspace
    if workers or ray:
        ctx.with_resource(advlab.use_workers(workers, ray=ray))


def _is_address(words: list[str]) -> bool:
    """Whether what follows --ray is its address, and not the command or one of its arguments."""
    return bool(words) and (words[0] == "auto" or re.fullmatch(r"(ray://)?[^\s/:=]+:\d+", words[0]) is not None)


def _module(command: str) -> str:
    """The module of a command: hyphens are underscores, and a Python keyword, such as ``import``, gets one."""
    return f"{command}_" if keyword.iskeyword(command) else command.replace("-", "_")


def _command(module: str) -> str:
    """The inverse."""
    return module.rstrip("_").replace("_", "-")


def declared(command: str) -> tuple[str, str]:
    """The SECTION of a command's file, and the first line of its help."""
    tree = ast.parse((_FOLDER / f"{_module(command)}.py").read_text("utf-8"))
    section = next(
        ast.literal_eval(n.value)
        for n in tree.body
        if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "SECTION"
    )
    function = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and _command(n.name) == command)
    return section, (ast.get_docstring(function) or "").partition("\n")[0]
