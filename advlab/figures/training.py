"""The training curve: loss and accuracy over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.ticker import MaxNLocator

from advlab.errors import InvalidValue
from advlab.figures.style import INK, MEAN, ROBUST, STYLE, WIDTH, Figure, remove_frame

_MAX_MARKERS = 20  # markers of more epochs would overlap


def training_curve(
    history: Mapping[str, Sequence[float]], *, title: str = "", published: float | None = None
) -> Figure:
    """Loss (left) and accuracy (right) over the epochs of a training run, on training and validation images.

    ``history`` is that of a model card: ``loss`` and ``accuracy``, one number for each epoch, accuracy as a fraction in
    [0, 1]; ``val_loss`` and ``val_accuracy`` where there were validation images, ``val_robust_accuracy`` or
    ``val_certified_accuracy`` where training met an adversary or bounds; ``epoch``, the numbers of the epochs (without
    it they are counted from 1). ``published`` is the published test accuracy in [0, 1], drawn as a dashed
    line. Raises ``InvalidValue`` for a history without epochs.
    """
    if not all(len(history.get(key, ())) for key in ("loss", "accuracy")):
        raise InvalidValue(
            "A training curve needs 'loss' and 'accuracy' of at least one epoch. Got a history of "
            f"{', '.join(f'{len(values)} {key}' for key, values in history.items()) or 'nothing'}. Train the model "
            "again: older model cards hold none."
        )
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.5 * WIDTH, 2.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        _lines(left, history, "loss", 1)
        _lines(right, history, "accuracy", 100)
        if published is not None:
            right.axhline(100 * published, color=INK, ls="--", lw=1, label=f"published, test {published:.2%}")
        right.yaxis.set_major_formatter("{x:g}%")
        right.legend(loc="best", frameon=False, handlelength=1.6)
        if title:
            figure.suptitle(title, fontsize=10)
    return figure


def _lines(axis: Any, history: Mapping[str, Sequence[float]], key: str, unit: float) -> None:
    for column, colour, label in (
        (key, ROBUST, "training"),
        (f"val_{key}", MEAN, "validation"),
        (f"val_robust_{key}", INK, "validation, under PGD"),
        (f"val_certified_{key}", INK, "validation, certified"),
    ):
        values = unit * np.asarray(history.get(column, ()), float)
        marker = "o" if len(values) <= _MAX_MARKERS else ""
        if len(values):
            epochs = history.get("epoch", np.arange(1, len(values) + 1))
            axis.plot(epochs, values, color=colour, marker=marker, ms=3.5, lw=1.6, label=label)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.set_xlabel("epoch")
    axis.set_ylabel(key)
    remove_frame(axis)
