"""Reading declarations: TOML whose every key and value is checked, with errors that finish the user's job."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from advlab.errors import AdvlabError, InvalidFile, InvalidValue, unknown
from advlab.validation import invalid, require_int, require_str


def read(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; ``InvalidFile`` with line and column where it is not TOML."""
    import tomllib

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InvalidFile(f"'{path}' cannot be read as TOML: {error}. Fix that place, or restore the file.") from error


@contextlib.contextmanager
def about(subject: object) -> Iterator[None]:
    """Prefix every error of the block with the file, row or attack that it concerns."""
    try:
        yield
    except AdvlabError as error:
        raise type(error)(f"{subject}: {error}") from error


def known_keys(cls: type, table: Mapping[str, Any], prefix: str, extra: str = "") -> None:
    """Refuse keys that are neither a field of ``cls`` nor ``extra``; require its fields that have no default."""
    known = {f.name: f for f in fields(cls) if f.name not in ("name", "attacks")}
    for key in table:
        if key not in known:
            raise unknown("key", f"{prefix}{key}", [f"{prefix}{name}" for name in (*known, extra) if name])
    for name, f in known.items():
        if name not in table and f.default is MISSING and f.default_factory is MISSING:
            raise InvalidValue(f"The key {prefix}{name} is missing. Add it; a shipped file of this folder shows how.")


def table(value: Any, key: str) -> dict[str, Any]:
    """The value, which must be a table."""
    if not isinstance(value, dict):
        raise invalid(key, value, f"a table, headed [{key}]")
    return value


def require_description(declaration: Any) -> None:
    """Require what every declaration needs: a title and a version."""
    require_str("title", declaration.title)
    require_int("version", declaration.version, 1)
