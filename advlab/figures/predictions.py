"""Images with their predictions: the class in words, and the probabilities as bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np

from advlab.errors import InvalidValue, Mismatch
from advlab.evaluation.predictions import SIGNS, Predictions
from advlab.figures.style import CLEAN, INK, MEAN, ROBUST, STYLE, Figure, remove_frame
from advlab.formatting import shortened

_MAX_IMAGES = 60
_MAX_CLASSES = 20
_SHOWN_CLASSES = 10  # where there are more
_CELL = (2.9, 1.75)  # inches
_MAX_LETTERS = 12


def predictions(
    images: Predictions | np.ndarray,
    labels: Sequence[int] | np.ndarray | None = None,
    probabilities: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    *,
    columns: int = 3,
) -> Figure:
    """Each image with "predicted 97% (true)" below and bars of the class probabilities beside it, in a grid.

    Blue and ✓: correct; red and ✗: wrong, with the bar of the true class in blue; black: the true class is not known.
    Of more than 20 classes the ten likeliest are shown, and the true one.

    ``images`` is the return value of ``advlab.predict`` alone; or float ``(n, h, w)`` or ``(n, h, w, c)`` in [0, 1],
    with ``labels`` int ``(n,)`` (None, or -1 for one: not known), ``probabilities`` ``(n, k)`` and ``class_names``, k
    strings (None: numbers). For one image leave out n everywhere. Raises ``InvalidValue`` or ``Mismatch``.
    """
    batch = images if isinstance(images, Predictions) else _from_arrays(images, labels, probabilities, class_names)
    if not 1 <= len(batch) <= _MAX_IMAGES:
        raise InvalidValue(
            f"A figure shows 1 to {_MAX_IMAGES} images. Got {len(batch)}; draw some of them, such as predictions[:15]."
        )
    if columns < 1:
        raise InvalidValue(f"The number of columns must be an int in the range [1, inf). Got {columns}.")
    columns = min(columns, len(batch))
    rows = -(-len(batch) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(columns * _CELL[0], rows * _CELL[1]))
        for number in range(len(batch)):
            row, column = divmod(number, columns)
            _cell(figure, batch, number, column / columns, 1 - (row + 1) / rows, 1 / columns, 1 / rows)
    return figure


def _from_arrays(images: Any, labels: Any, probabilities: Any, class_names: Sequence[str] | None) -> Predictions:
    if probabilities is None:
        raise InvalidValue(
            "Images need the probabilities of their classes, (n, k), or give the return value of advlab.predict."
        )
    probabilities, images = np.asarray(probabilities, float), np.asarray(images, float)
    if probabilities.ndim == 1:
        images, probabilities = images[None], probabilities[None]
    labels = np.full(len(images), -1) if labels is None else np.atleast_1d(np.asarray(labels, np.int64))
    names = tuple(map(str, range(probabilities.shape[-1]) if class_names is None else class_names))
    if not (images.ndim in (3, 4) and len(images) == len(labels) == len(probabilities)):
        raise Mismatch(
            f"Images {images.shape}, labels {labels.shape} and probabilities {probabilities.shape} do not fit each "
            "other. Give (n, h, w) or (n, h, w, c), (n,) and (n, k)."
        )
    if len(names) != probabilities.shape[1] or labels.max(initial=-1) >= len(names):
        raise Mismatch(
            f"There are {probabilities.shape[1]} probabilities for each image, {len(names)} class names and labels up "
            f"to {labels.max(initial=-1)}. Give one name for each class, and labels from 0."
        )
    images = images[..., None] if images.ndim == 3 else images
    return Predictions("", images, probabilities, labels, names, tuple(map(str, range(len(images)))))


def _cell(
    figure: Figure, batch: Predictions, number: int, left: float, bottom: float, width: float, height: float
) -> None:
    """One image and its bars, in a part of the figure (fractions of its size)."""
    predicted, label = int(batch.predicted[number]), int(batch.labels[number])
    names = [shortened(name, _MAX_LETTERS) for name in batch.class_names]
    colour = INK if label < 0 else ROBUST if label == predicted else MEAN
    true = "" if label < 0 else f" ({names[label]}) {SIGNS[label == predicted]}"
    picture = figure.add_axes((left + 0.02 * width, bottom + 0.22 * height, 0.4 * width, 0.68 * height))
    pixels = batch.x[number]
    grey = pixels.mean(-1) if pixels.shape[-1] != 3 else pixels
    picture.imshow(np.clip(grey, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    picture.set_axis_off()
    caption = f"{names[predicted]} {batch.confidence[number]:.0%}{true}"
    figure.text(left + 0.02 * width, bottom + 0.07 * height, caption, color=colour, fontsize=9)

    classes = _classes(batch.probabilities[number], label)
    colours = {predicted: colour} | ({label: ROBUST} if label >= 0 else {})
    start = 0.46 + 0.02 * max(map(len, names))
    bars = figure.add_axes((left + start * width, bottom + 0.22 * height, (0.96 - start) * width, 0.68 * height))
    positions = np.arange(len(classes))
    bars.barh(
        positions, batch.probabilities[number, classes], 0.8, color=[colours.get(int(c), CLEAN) for c in classes], lw=0
    )
    bars.set_yticks(positions, [names[c] for c in classes], fontsize=6)
    bars.set_ylim(len(classes) - 0.4, -0.6)
    bars.set_xlim(0, 1)
    bars.set_xticks([])
    remove_frame(bars)
    bars.tick_params(length=0, pad=2)
    bars.spines["bottom"].set_visible(False)


def _classes(probabilities: np.ndarray, label: int) -> np.ndarray:
    """The classes that get a bar: all in order, or the likeliest first, with the true one among them."""
    if len(probabilities) <= _MAX_CLASSES:
        return np.arange(len(probabilities))
    likeliest = np.argsort(-probabilities, kind="stable")[:_SHOWN_CLASSES]
    return likeliest if label < 0 or label in likeliest else np.append(likeliest[:-1], label)
