"""Checks of single values: each takes the ``key`` as the user wrote it; its error says what is allowed."""

from __future__ import annotations

import math
import operator
from typing import Any

from advlab.errors import InvalidValue, unknown


def is_int(value: Any) -> bool:
    """Whether it is an integer; true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is an integer or a float; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def require_int(key: str, value: Any, low: int, high: float = math.inf) -> None:
    """Require an int in the range [low, high]."""
    if not (is_int(value) and low <= value <= high):
        end = f"{high}]" if high < math.inf else "inf)"
        raise invalid(key, value, f"an int in the range [{low}, {end}")


def as_int(key: str, value: Any, low: int, high: float = math.inf) -> int:
    """The value as Python's own int, where it is an integer in the range [low, high]; NumPy's are taken."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or not low <= value <= high:
        end = "inf)" if math.isinf(high) else "2**64)" if high == 2**64 - 1 else f"{high}]"
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
    return InvalidValue(f"{key} must be {allowed}. Got {value!r}.")
