"""Reading declarations: TOML whose every key and value is checked, with errors that finish the user's job."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from advlab.errors import AdvlabError, InvalidFile, InvalidValue, unknown
from advlab.validation import invalid, require_int, require_text


def read(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; ``InvalidFile`` with line and column where it is not TOML."""
    import tomllib

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InvalidFile(f"'{path}' cannot be read as TOML: {error}. Fix that place, or restore the file.") from error


@contextlib.contextmanager
def about(place: object) -> Iterator[None]:
    """Let every error of the block begin with the place it concerns."""
    try:
        yield
    except AdvlabError as error:
        raise type(error)(f"{place}: {error}") from error


def known_keys(cls: type, table: Mapping[str, Any], prefix: str, besides: str = "") -> None:
    """Refuse keys that ``cls`` has no field for, and the absence of a field that it needs."""
    given = {f.name: f for f in fields(cls) if f.name not in ("name", "attacks")}
    for key in table:
        if key not in given:
            raise unknown("key", f"{prefix}{key}", [f"{prefix}{name}" for name in (*given, besides) if name])
    for name, f in given.items():
        if name not in table and f.default is MISSING and f.default_factory is MISSING:
            raise InvalidValue(f"The key {prefix}{name} is missing. Add it; a shipped file of this folder shows how.")


def table(value: Any, key: str) -> dict[str, Any]:
    """The value, which must be a table."""
    if not isinstance(value, dict):
        raise invalid(key, value, f"a table, headed [{key}]")
    return value


def described(declaration: Any) -> None:
    """Require what every declaration has: a title and a version."""
    require_text("title", declaration.title)
    require_int("version", declaration.version, 1)
