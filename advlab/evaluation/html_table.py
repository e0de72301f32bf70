"""A table as a notebook shows it."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

_LEFT = ' style="text-align:left"'


def html_table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], *, named: bool = False, left: bool = False
) -> str:
    """Caption, heads and rows of texts, which are escaped.

    ``named``: the first cell of each row is its head; ``left``: cells hold words rather than numbers.
    """
    head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in heads)
    body = ""
    for row in rows:
        cells = [f"<td{_LEFT if left else ''}>{html.escape(text)}</td>" for text in row]
        if named:
            cells[0] = f'<th scope="row"{_LEFT}>{html.escape(row[0])}</th>'
        body += f"<tr>{''.join(cells)}</tr>"
    return (
        f"<table><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )
