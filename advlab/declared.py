"""Reading declarations: TOML whose every key and value is checked, with errors that finish the user's job.

A check takes the ``key`` as the user wrote it and raises ``InvalidValue``, or ``UnknownName`` with the nearest name.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from advlab.errors import AdvlabError, InvalidFile, InvalidValue, unknown


def read(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; ``InvalidFile`` with line and column where it is not TOML."""
    import tomllib

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InvalidFile(f"'{path}' cannot be read as TOML: {error}. Mend that place, or restore the file.") from error


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


def is_whole(value: Any) -> bool:
    """Whether it is an integer; true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is an integer or a float; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def whole(key: str, value: Any, low: int, high: float = math.inf) -> None:
    """Require a whole number in [low, high]."""
    if not (is_whole(value) and low <= value <= high):
        end = f"{high}]" if high < math.inf else "inf)"
        raise invalid(key, value, f"a whole number in [{low}, {end}")


def share(key: str, value: Any) -> None:
    """Require a number in [0, 1)."""
    if not (is_number(value) and 0 <= value < 1):
        raise invalid(key, value, "a share in [0, 1)")


def text(key: str, value: Any) -> None:
    """Require a text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise invalid(key, value, "a text in quotes")


def choice(key: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Require one of the allowed names."""
    if value not in allowed:
        raise unknown(key, value, allowed)


def described(declaration: Any) -> None:
    """Require what every declaration has: a title and a version."""
    text("title", declaration.title)
    whole("version", declaration.version, 1)


def invalid(key: str, value: Any, allowed: str) -> InvalidValue:
    """The error for a value outside what is allowed."""
    return InvalidValue(f"{key} must be {allowed}. Got {value!r}.")
