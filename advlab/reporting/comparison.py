"""The page that compares classifiers: their numbers, where they differ, the same images side by side, transfer."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from advlab import figures
from advlab.evaluation.comparison import Column, Comparison, Model, Summary
from advlab.evaluation.comparison_tables import caption, images, names_of
from advlab.evaluation.evaluation import Evaluation
from advlab.evaluation.metrics import Rate
from advlab.evaluation.significance import McNemar, mcnemar
from advlab.evaluation.transfer import TransferMatrix
from advlab.reporting.pages import render
from advlab.reporting.pictures import Picture, picture
from advlab.reporting.sections import inline_svg

_ROWS = 12  # images of each set that are shown
_MAX_BYTES = 2_500_000


class Block(NamedTuple):
    """The models on one set of images: ``rows`` have a model's name, its clean accuracy and a summary by column."""

    images: str
    columns: tuple[Column, ...]
    rows: list[tuple[str, Rate | None, list[Summary | None]]]


class Pair(NamedTuple):
    """Two models in one column: on which images only one of them is robust."""

    first: str
    second: str
    test: McNemar


class Shown(NamedTuple):
    """One image as every model sees it: clean, and as it was perturbed against that model."""

    position: int
    label: str
    clean: Picture
    perturbed: list[Picture]


def comparison_page(
    result: Comparison, shown: Mapping[Column, Sequence[Evaluation]], transfers: Sequence[TransferMatrix]
) -> str:
    """The page as HTML text, self-contained and below 5 MB.

    ``shown`` has, of each column whose images are shown, an evaluation of each model with a score there, in their
    order; ``transfers`` the matrices of these images on the other models.
    """
    panels = []
    for column, evaluations in shown.items():
        models = [model for model in result.models if result.of(model, column)]
        named = names_of(result, models)
        panels.append(
            {
                "column": column,
                "images": images(result, column.dataset_digest),
                "models": named,
                "pairs": _pairs(result, column, models, named),
                "samples": _samples(evaluations, _MAX_BYTES // len(shown)),
            }
        )
    context: dict[str, Any] = {
        "title": result.title,
        "blocks": blocks(result),
        "caption": caption(result, "bold where"),
        "figure": inline_svg(figures.comparison(result)),
        "panels": panels,
        "transfers": [Markup(matrix._repr_html_()) for matrix in transfers],
        "failed": dict(result.failed or {}),
    }
    return render("comparison.html", context)


def blocks(result: Comparison) -> list[Block]:
    """A table for each set of images."""
    made = []
    for digest, columns in result.by_images.items():
        models = [model for model in result.models if result.clean(model, digest)]
        rows = [
            (name, result.clean(model, digest), [result.summary(model, column) for column in columns])
            for model, name in zip(models, names_of(result, models), strict=True)
        ]
        made.append(Block(images(result, digest), columns, rows))
    return made


def _pairs(result: Comparison, column: Column, models: Sequence[Model], named: Sequence[str]) -> list[Pair]:
    robust = [result.of(model, column)[0].robust for model in models]
    return [
        Pair(named[i], named[j], mcnemar(robust[i], robust[j]))
        for i, j in itertools.combinations(range(len(models)), 2)
    ]


def _samples(evaluations: Sequence[Evaluation], most_bytes: int) -> list[Shown]:
    """Images on which the models differ most, in the random order of all reports where several differ as much."""
    robust = np.stack([evaluation.result.robust for evaluation in evaluations])
    agreement = np.abs(2 * robust.sum(0) - len(robust))
    order = evaluations[0].result.shown_order
    chosen = order[np.argsort(agreement[order], kind="stable")][:_ROWS]
    shown, size = [], 0
    for row in sorted(map(int, chosen)):
        first = evaluations[0]
        clean = picture(first, first.result.clean_probabilities[row], first.result.x[row], row)
        perturbed = [picture(e, e.result.adversarial_probabilities[row], e.result.x_adv[row], row) for e in evaluations]
        label = first.per_class[first.result.labels[row]].name
        shown.append(Shown(int(first.result.indices[row]), label, clean, perturbed))
        size += sum(len(each.source) for each in (clean, *perturbed))
        if size > most_bytes:
            break
    return shown
