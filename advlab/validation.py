"""Checks of single values: each takes the ``key`` as the user wrote it; its error says what is allowed."""

from __future__ import annotations

import json
import math
import operator
from typing import Any

from advlab.errors import InvalidValue, unknown

# Of steps, restarts, samples and everything else that is counted: more is a slip of the keyboard.
MOST = 1_000_000


def is_int(value: Any) -> bool:
    """Whether it is an integer; true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_count(text: str) -> bool:
    """Whether it is a whole number in decimal digits, of a length that Python turns into an int at once."""
    return text.isdecimal() and len(text) <= 9


def is_number(value: Any) -> bool:
    """Whether it is an integer or a float; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def require_int(key: str, value: Any, low: int, high: int = MOST) -> None:
    """Require an int in the range [low, high]."""
    if not (is_int(value) and low <= value <= high):
        raise invalid(key, value, f"an int in the range [{low}, {high}]")


def as_int(key: str, value: Any, low: int, high: int = MOST) -> int:
    """The value as Python's own int, where it is an integer in the range [low, high]; NumPy's are taken."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or not low <= value <= high:
        end = "2**64)" if high == 2**64 - 1 else f"{high}]"
        raise invalid(key, value, f"an int in the range [{low}, {end}")
    return operator.index(value)


def require_fraction(key: str, value: Any) -> None:
    """Require a float in the range [0, 1)."""
    if not (is_number(value) and 0 <= value < 1):
        raise invalid(key, value, "a float in the range [0, 1)")


def require_str(key: str, value: Any) -> None:
    """Require a str that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise invalid(key, value, "a string in quotes")


def require_choice(key: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Require one of the allowed names."""
    if value not in allowed:
        raise unknown(key, value, allowed)


def invalid(key: str, value: Any, allowed: str) -> InvalidValue:
    """The error for a value outside what is allowed."""
    return InvalidValue(f"{key} must be {allowed}. Got {shown(value)}.")


def shown(value: Any) -> str:
    """The value as an error message shows it, shortened: it may be of any size and depth."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    except RecursionError:
        return "a deeply nested value"
    return text if len(text) <= 100 else f"{text[:97]}..."


def json_object(text: str | bytes, subject: str, constants_as: float | None = math.nan) -> dict[str, Any]:
    """The JSON object in a text of unknown origin; raises ``ValueError``, also for nesting without end.

    NaN and infinity, which JSON does not have, are read as such, or with ``constants_as=None`` as null.
    """
    finite: dict[str, Any] = {}
    if constants_as is None:
        finite = {"parse_constant": lambda _: None, "parse_float": lambda digits: _finite_or_none(float(digits))}
    try:
        value = json.loads(text, **finite)
    except RecursionError:
        raise ValueError(f"{subject} is nested too deeply") from None
    except ValueError:
        raise ValueError(f"{subject} is not valid JSON") from None
    if not isinstance(value, dict):
        raise ValueError(f"{subject} is not a JSON object")
    return value


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def largest_content(file_size: int) -> int:
    """How many bytes a packed file may unpack to: far more than images do, far less than a file made to fill memory."""
    return 256 * 2**20 + 50 * file_size
