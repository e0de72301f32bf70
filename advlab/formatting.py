"""Texts, plain tables and JSON-ready data from values, for every result that is displayed."""

from __future__ import annotations

import math
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from advlab.errors import AdvlabError, InvalidValue

if TYPE_CHECKING:
    import numpy as np

NARROWEST, WIDTH = 80, 100  # columns of a plain table: on a narrow terminal, and elsewhere
_NARROWEST_COLUMN = 20


def page_width() -> int:
    """The columns that plain tables and captions may take: 100, or those of a narrower terminal, 80 at least."""
    if sys.stdout is None or not sys.stdout.isatty():
        return WIDTH
    return min(max(shutil.get_terminal_size().columns, NARROWEST), WIDTH)


def as_list(items: Any, attribute: str, what: str) -> list[Any]:
    """One item, or any iterable of them, as a list; each must have ``attribute``, which tells what it is.

    Raises ``InvalidValue`` that names ``what`` is wanted.
    """
    listed = [items] if hasattr(items, attribute) or not isinstance(items, Iterable) else list(items)
    for item in listed:
        if not hasattr(item, attribute):
            raise InvalidValue(f"Give {what}. Got {type(item).__name__}.")
    return listed


def in_time(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def in_bytes(count: float) -> str:
    """``3.2 MB``: bytes in the largest unit that leaves at least one."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def number(value: float, specification: str) -> str:
    """A formatted number; ``-`` for NaN."""
    return "-" if math.isnan(value) else format(value, specification)


class Grid(NamedTuple):
    """A table before it is drawn: the columns in ``left`` to the left, the others to the right; all left without heads.

    ``wraps``: the last column is folded between words where the page ends.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Collection[str] = ()
    gap: str = "  "
    wraps: bool = False

    def lines(self) -> list[str]:
        """As plain text, the heads first."""
        rows = [self.heads, *self.rows] if self.heads else self.rows
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        names = self.heads or [""] * len(widths)
        sides = ["<" if head in self.left or not self.heads else ">" for head in names]
        room = max(page_width() - sum(widths[:-1]) - len(self.gap) * (len(widths) - 1), _NARROWEST_COLUMN)
        lines = []
        for row in rows:
            last = (textwrap.wrap(row[-1], room, break_on_hyphens=False) if self.wraps else []) or [row[-1]]
            for cells in ([*row[:-1], last[0]], *([""] * (len(row) - 1) + [more] for more in last[1:])):
                shown = (f"{cell:{side}{width}}" for cell, side, width in zip(cells, sides, widths, strict=True))
                lines.append(self.gap.join(shown).rstrip())
        return lines


class Page(str):
    """Tables and lines as plain text, which still knows its ``parts``, so that a terminal can draw the tables."""

    parts: tuple[Grid | str, ...]

    @classmethod
    def of(cls, *parts: Grid | str) -> Page:
        """From tables and lines, one below the other."""
        texts = ["\n".join(part.lines()) if isinstance(part, Grid) else part for part in parts]
        page = cls("\n".join(texts))
        page.parts = parts
        return page


def shortened(text: str, width: int) -> str:
    """The text, its middle replaced by an ellipsis where it is longer than ``width``."""
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


def printable(text: str) -> str:
    """The text with ``?`` for control characters: names come from files and must not steer a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def frame(columns: Mapping[str, np.ndarray]) -> Any:
    """The columns as a ``pandas.DataFrame``; raises ``AdvlabError`` where pandas is not installed."""
    try:
        import pandas
    except ImportError as error:
        raise AdvlabError("to_frame() needs pandas, which is not installed. Install it: pip install pandas") from error
    return pandas.DataFrame(dict(columns))


def plain(value: Any) -> Any:
    """Ready for JSON: named tuples and dataclasses become dictionaries, NaN and infinity null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        value = value.tolist()
    elif is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    elif isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value
