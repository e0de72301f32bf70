"""Defaults of options from ``advlab.toml``, or ``[tool.advlab]`` of ``pyproject.toml``, in the current folder."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from advlab.errors import AdvlabError, InvalidFile, InvalidValue, unknown

FILES = ("advlab.toml", "pyproject.toml")
_MOST_BYTES = 1 << 20
# The file may lie in a folder that came from a stranger: what runs code, replaces files or sends something elsewhere is
# asked for on the command line.
_ASKED_FOR = ("custom", "force", "ray", "track", "trust", "upload")


def read_defaults() -> tuple[Path, dict[str, Any]] | None:
    """The file that holds defaults, and its table; None without one. Raises ``InvalidFile`` for one that is no TOML."""
    for path in map(Path, FILES):
        if not path.is_file() or (path.name == "pyproject.toml" and b"[tool.advlab" not in path.read_bytes()):
            continue
        table = _read(path)
        if path.name == "pyproject.toml":
            tool = table.get("tool")
            inner = tool.get("advlab") if isinstance(tool, dict) else None
            if inner is None:
                continue  # the words stood in a comment
            if not isinstance(inner, dict):
                raise InvalidFile(f"'{path}' has 'advlab' = {inner!r:.40}, which is no table. Write [tool.advlab].")
            table = inner
        return path, table
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
        if len(content) > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
        return tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidFile(f"'{path}' cannot be read as TOML: {error}"[:300]) from error


def default_map(group: click.Group, ctx: click.Context) -> dict[str, Any]:
    """What click takes as defaults: parameters of the program, and of each command, by the names of its options.

    A variable of the environment counts more. Raises ``UnknownName`` or ``InvalidValue`` that names the file.
    """
    found = read_defaults()
    if found is None:
        return {}
    path, table = found
    try:
        commands = {name: value for name, value in table.items() if isinstance(value, Mapping)}
        defaults = _of_command(group, {name: value for name, value in table.items() if name not in commands}, "")
        for name, values in commands.items():
            command = group.get_command(ctx, name)
            if command is None:
                raise unknown("command", name, group.list_commands(ctx))
            defaults[name] = _of_command(command, values, f"{name}.")
    except AdvlabError as error:
        raise type(error)(f"'{path}': {error}") from error
    for name in ("workspace", "device"):
        if os.environ.get(f"ADVLAB_{name.upper()}"):
            defaults.pop(name, None)
    return defaults


def _of_command(command: click.Command, values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    options = {
        name.removeprefix("--"): parameter
        for parameter in command.params
        if isinstance(parameter, click.Option) and not (parameter.is_eager or parameter.hidden)
        for name in parameter.opts
        if name.startswith("--")
    }
    defaults: dict[str, Any] = {}
    for name, value in values.items():
        option = options.get(name)
        if option is None or option.name is None:
            raise unknown("option", f"{prefix}{name}", (f"{prefix}{known}" for known in options))
        runs_code = option.name == "method" and str(value).endswith(".py")
        if name in _ASKED_FOR or runs_code:
            raise InvalidValue(
                f"{prefix}{name} cannot be set in a file: what runs code, replaces files or sends something elsewhere "
                f"is asked for on the command line, --{name}."
            )
        defaults[option.name] = _checked(option, f"{prefix}{name}", value)
    return defaults


def _checked(option: click.Option, name: str, value: Any) -> Any:
    """The value as a command line would give it."""
    if option.is_flag != isinstance(value, bool):
        raise InvalidValue(
            f"{name} must be {'true or false' if option.is_flag else 'a number or a text'}. Got {value!r:.40}."
        )
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(single, bool | int | float | str) for single in values):
        raise InvalidValue(f"{name} must be a number, a text, or true or false. Got {value!r:.40}.")
    if option.multiple:
        return [str(single) for single in values]
    if isinstance(value, list):
        raise InvalidValue(f"{name} takes one value. Got {len(value)}.")
    return value if option.is_flag else str(value)
