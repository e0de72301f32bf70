"""Tables and messages as a terminal shows them: drawn by rich, with whole words; anywhere else they are plain text."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import click

_NARROWEST = 80  # columns: below that a terminal breaks lines by itself


class Cells(NamedTuple):
    """A table without heads, each row a name and what is said of it."""

    rows: Sequence[Sequence[str]]
    heads: Sequence[str] = ()
    left: Sequence[str] = ()
    gap: str = "  "
    wraps: bool = False


def on_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def print_table(table: str) -> None:
    """A table of the library: its parts drawn on a terminal, where it has some, and its text as it is elsewhere."""
    if on_terminal() and hasattr(table, "parts"):
        draw(table.parts)
    else:
        click.echo(table)


def folded(message: str, behind: str = "") -> str:
    """A message for standard error, behind some words: on a terminal its lines end between words."""
    if sys.stderr is None or not sys.stderr.isatty():
        return message
    lines = textwrap.wrap(
        f"{behind}{message}", _columns(), break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )
    return "\n".join(lines).removeprefix(behind)


def _columns() -> int:
    return max(shutil.get_terminal_size().columns, _NARROWEST)


def draw(parts: Iterable[Any]) -> None:
    """Draw tables (heads, rows, the heads of columns to the left, gap) and lines; words stay whole."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # With NO_COLOR there are no styles at all, bold among them.
    colours = None if os.environ.get("NO_COLOR") else "auto"
    console = Console(color_system=colours, force_terminal=True, width=_columns(), highlight=False)  # type: ignore[arg-type]
    for part in parts:
        if isinstance(part, str):
            console.print(Text(part))
            continue
        table = Table(
            box=box.SIMPLE_HEAD,
            show_edge=False,
            show_header=bool(part.heads),
            pad_edge=False,
            padding=(0, len(part.gap) - 1, 0, 0),
            header_style="bold",
            border_style="dim",
        )
        for _ in () if part.heads else part.rows[0]:
            table.add_column(overflow="fold")
        for head in part.heads:
            is_left = head in part.left
            table.add_column(Text(head), justify="left" if is_left else "right", no_wrap=not is_left)
        for column in table.columns[:-1] if part.wraps else ():
            column.no_wrap = True
        for row in part.rows:
            table.add_row(*map(_text, row))
        console.print(table)


def _text(cell: str) -> Any:
    """The cell without what steers a terminal, and without any markup of rich."""
    from rich.text import Text

    return Text("".join(c if c.isprintable() or c == "\n" else "?" for c in cell))
