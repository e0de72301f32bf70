"""The leaderboard: one self-contained, sortable HTML page; each number leads to its archive and its command."""

from __future__ import annotations

from typing import Any, NamedTuple

from advlab.evaluation.comparison import Comparison, Score
from advlab.evaluation.comparison_tables import caption, images, names_of
from advlab.evaluation.metrics import Rate
from advlab.reporting.comparison import blocks
from advlab.reporting.pages import render


class Source(NamedTuple):
    """Where a number comes from: its anchor on the page, what it is called, and the score."""

    anchor: str
    name: str
    images: str
    score: Score


class Entry(NamedTuple):
    """One number in the table: text, what it is sorted by, whether it is the best, and the sources of its seeds."""

    rate: Rate
    spread: str
    is_best: bool
    anchor: str


def leaderboard(result: Comparison) -> str:
    """The page as HTML text: a table for each set of images, sorted by the first column of numbers under attack.

    It makes no request, and without scripts it is still a table.
    """
    numbers = {id(score): f"n{number}" for number, score in enumerate(result.scores, 1)}
    tables = []
    for digest, block in zip(result.by_images, blocks(result), strict=True):
        models = [model for model in result.models if result.clean(model, digest)]
        rows: list[dict[str, Any]] = []
        for model, (name, clean, summaries) in zip(models, block.rows, strict=True):
            entries: list[Entry | None] = []
            for column, summary in zip(block.columns, summaries, strict=True):
                if summary is None:
                    entries.append(None)
                    continue
                spread = f" ±{100 * summary.spread:.1f}" if summary.seeds > 1 else ""
                anchor = numbers[id(result.of(model, column)[0])]
                entries.append(Entry(summary.rate, spread, summary.is_best, anchor))
            rows.append({"name": name, "digest": model.digest, "clean": clean, "entries": entries})
        rows.sort(key=lambda row: -(row["entries"][0].rate.value if row["entries"][0] else -1))
        tables.append({"images": block.images, "columns": block.columns, "rows": rows})
    named = dict(zip(result.models, names_of(result, result.models), strict=True))
    sources = [
        Source(numbers[id(s)], named[s.model], images(result, s.column.dataset_digest), s) for s in result.scores
    ]
    context = {"title": result.title, "caption": caption(result, "bold where"), "tables": tables, "sources": sources}
    return render("leaderboard.html", context)
