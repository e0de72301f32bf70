"""The display of data sets and attack results in a notebook."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import numpy as np

from advlab import figures

if TYPE_CHECKING:
    from advlab.data.dataset import Dataset
    from advlab.lazy import Images
    from advlab.results.result import AttackResult

_MAX_IMAGES = 8
_IMAGE = "width:72px;height:72px;object-fit:contain;image-rendering:pixelated"
_CELL = "text-align:center;vertical-align:top;font-size:85%"


def dataset_html(dataset: Dataset) -> str:
    """The first images with the names of their classes."""
    rows = range(min(_MAX_IMAGES, len(dataset)))
    sources = (figures.sample_uri(dataset.x[row], dataset.vocabulary) for row in rows)
    cells = [_cell(source, dataset.classes[dataset.y[row]]) for source, row in zip(sources, rows, strict=True)]
    return _table(repr(dataset), {"": cells})


def result_html(result: AttackResult, rows: np.ndarray | None = None) -> str:
    """Images clean and perturbed, each with its prediction and confidence, and with ``rows`` also what was changed.

    ``rows`` are positions in the result; None: a fixed random sample.
    """
    with_change = rows is not None
    if rows is None:
        rows = np.sort(np.random.default_rng(0).permutation(len(result))[:_MAX_IMAGES])
    shown = {"clean": [_prediction_cell(result, row, result.x, result.clean_probabilities) for row in rows]}
    if with_change:
        shown["change"] = [_change_cell(result, row) for row in rows]
    shown["perturbed"] = [_prediction_cell(result, row, result.x_adv, result.adversarial_probabilities) for row in rows]
    return _table(repr(result), shown)


def _change_cell(result: AttackResult, row: int) -> str:
    clean, perturbed = np.asarray(result.x[row]), np.asarray(result.x_adv[row])
    largest = float(np.abs(perturbed - clean).max())
    caption = "none" if not largest else "" if result.vocabulary else f"× {0.5 / largest:.3g}"
    return _cell(figures.change_uri(clean, perturbed, result.vocabulary, None), caption)


def _prediction_cell(result: AttackResult, row: int, images: Images, probabilities: np.ndarray) -> str:
    predicted = int(probabilities[row].argmax())
    sign = "✓" if predicted == result.labels[row] else "✗"
    compared = None if images is result.x else np.asarray(result.x[row])
    source = figures.sample_uri(np.asarray(images[row]), result.vocabulary, compared)
    return _cell(source, f"{sign} {result.class_names[predicted]} {probabilities[row, predicted]:.0%}")


def _cell(source: str, caption: str) -> str:
    text = html.escape(caption)
    return f'<td style="{_CELL}"><img src="{source}" alt="{text}" style="{_IMAGE}"><br>{text}</td>'


def _table(caption: str, rows: dict[str, list[str]]) -> str:
    lines = "".join(f'<tr><th scope="row">{name}</th>{"".join(cells)}</tr>' for name, cells in rows.items())
    return f'<table><caption style="text-align:left">{html.escape(caption)}</caption><tbody>{lines}</tbody></table>'
