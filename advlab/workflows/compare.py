"""Compare classifiers by the archives of attacks on them: tables, a figure and two pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from advlab import figures, remote, writing
from advlab.errors import InvalidValue
from advlab.evaluation import comparison_tables as tables
from advlab.evaluation.comparison import Column, Comparison, Score
from advlab.evaluation.evaluation import Evaluation
from advlab.evaluation.scores import scores_of_archive
from advlab.evaluation.transfer import TransferMatrix
from advlab.reporting.comparison import comparison_page
from advlab.reporting.leaderboard import leaderboard

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier


def compare_archives(
    archives: Iterable[str | PathLike[str]],
    *,
    epsilon: Sequence[float | str] = (),
    output: str | PathLike[str] | None = None,
) -> Comparison:
    """The numbers of archives side by side, the models in rows, what they were attacked with in columns.

    Args:
        archives: Paths; those of one attack and budget on the same images, by seed, are a column.
        epsilon: For archives that look for the smallest change: what counts, in pixel units.
        output: A folder, or its URL, that gets what ``advlab.benchmark`` leaves: tables, figure and pages; None
            writes nothing.

    Raises:
        InvalidFile: For anything else than an archive.
        InvalidValue: Without any archive, or where one looks for the smallest change and no epsilon is given.
    """
    paths = [Path(path) for path in archives]
    if not paths:
        raise InvalidValue("There is nothing to compare. Give the paths of archives.")
    result, evaluations = Comparison("Comparison of archives", ()), {}
    for path in paths:
        for score, evaluation in scores_of_archive(path, epsilon):
            result = result.adding(score)
            evaluations[score.model, score.column, score.seed] = evaluation
    if output is not None:
        with remote.local(output) as folder:
            publish(result, folder, lambda score: evaluations[score.model, score.column, score.seed])
    return result


def publish(
    result: Comparison,
    folder: Path,
    evaluation_of: Callable[[Score], Evaluation],
    models: Mapping[str, Classifier] | None = None,
) -> None:
    """Write the tables, the figure and the pages of a comparison into a folder.

    ``models``, by digest, are what the images are evaluated on that were crafted against another one.
    """
    texts = {
        "table.md": tables.markdown(result),
        "table.csv": tables.as_csv(result),
        "table.tex": tables.latex(result),
        "leaderboard.html": leaderboard(result),
    }
    shown = {column: [evaluation_of(score) for score in _first_seeds(result, column)] for column in _shown(result)}
    crossed = [matrix for each in shown.values() if (matrix := _transferred(each, models or {})) is not None]
    texts["report.html"] = comparison_page(result, shown, crossed)
    result.save(folder / "results.json")
    for name, text in texts.items():
        with writing.atomic_write(folder / name) as temporary:
            temporary.write_bytes(text.encode("utf-8", "replace"))
    figures.save(figures.comparison(result), folder / "figure.svg")


def _shown(result: Comparison) -> list[Column]:
    """Of each set of images the column whose images the page shows: the one in which the models differ most."""

    def range_of(column: Column) -> float:
        values = [score.accuracy.value for score in result.of(column=column)]
        return max(values) - min(values)

    return [max(columns, key=range_of) for columns in result.by_images.values()]


def _first_seeds(result: Comparison, column: Column) -> list[Score]:
    """One score of each model."""
    return [scores[0] for model in result.models if (scores := result.of(model, column))]


def _transferred(evaluations: Sequence[Evaluation], models: Mapping[str, Classifier]) -> TransferMatrix | None:
    """The images of each evaluation on the models of the others; None where there are fewer than two."""
    from advlab.workflows.transfer import transfer

    targets = [models[digest] for e in evaluations if (digest := e.result.classifier_digest) in models]
    if len(targets) < 2:
        return None
    return transfer([evaluation.result for evaluation in evaluations], targets)
