"""Reading declarations: TOML whose every key and value is checked, with errors that finish the user's job."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from advlab.errors import AdvlabError, InvalidFile, InvalidValue, unknown
from advlab.validation import invalid, require_int, require_str

_MOST_BYTES = 1 << 20
# First word of a field's annotation: the types that TOML may give it, and what an error calls them. Strings are taken
# for numbers, since "8/255" is one; what they hold is checked where they are used.
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "bool": ((bool,), "true or false"),
    "Adversary": ((dict,), "a table"),
    "Certified": ((dict,), "a table"),
    "EarlyStopping": ((dict,), "a table"),
    "Training": ((dict,), "a table"),
    "float": ((int, float, str), "a number"),
    "int": ((int, float, str), "a whole number"),
    "Mapping": ((dict,), "a table"),
    "str": ((str,), "a string in quotes"),
    "tuple": ((list,), "a list"),
}


def read(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; ``InvalidFile`` with line and column where it is not TOML."""
    import tomllib

    fix = "Fix that place, or restore the file."
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            raise InvalidFile(f"'{path}' is no text file of at most {_MOST_BYTES:,} bytes. {fix}")
        content = tomllib.loads(path.read_text("utf-8"))
        _refuse_huge(content)
    except RecursionError:
        raise InvalidFile(f"'{path}' cannot be read as TOML: it is nested too deeply. {fix}") from None
    except (ValueError, OSError) as error:
        # A number of more than 4,300 digits is a ValueError too.
        raise InvalidFile(f"'{path}' cannot be read as TOML: {error}. {fix}") from error
    return content


def _refuse_huge(value: Any) -> None:
    """Raise ``ValueError`` for an integer beyond TOML's own 64 bits, which Python reads all the same."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _refuse_huge(inner)
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError("a number is beyond 64 bits")


@contextlib.contextmanager
def about(subject: object) -> Iterator[None]:
    """Prefix every error of the block with the file, row or attack that it concerns."""
    try:
        yield
    except AdvlabError as error:
        raise type(error)(f"{subject}: {error}") from error


def known_keys(cls: type, table: Mapping[str, Any], prefix: str, extra: str = "") -> None:
    """Refuse keys that are neither a field of ``cls`` nor ``extra``, and values of another kind than their field's.

    Fields that have no default are required.
    """
    known = {f.name: f for f in fields(cls) if f.name not in ("name", "attacks")}
    for key in table:
        if key not in known:
            raise unknown("key", f"{prefix}{key}", [f"{prefix}{name}" for name in (*known, extra) if name])
        types, allowed = _TYPES[re.split(r"\W", str(known[key].type), maxsplit=1)[0]]
        value = table[key]
        if not isinstance(value, types) and value is not None and not is_dataclass(value):
            raise invalid(f"{prefix}{key}", value, allowed)
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
