"""Clean image + change = adversarial image: the picture that explains an attack in a lecture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np

from advlab.errors import InvalidValue
from advlab.figures.images import perturbation_image, rgb
from advlab.figures.style import MEAN, ROBUST, STYLE, Figure

if TYPE_CHECKING:
    from advlab.results.result import AttackResult

_CELL = (1.75, 2.0)  # inches
_MOST = 20


def addition(result: AttackResult, rows: Sequence[int] | None = None) -> Figure:
    """A row for each image: clean, the change made visible, and their sum, each with what the classifier says.

    The change is drawn around grey, amplified as the caption says. ``rows`` are positions in the result, at most 20;
    None: the first two images that the attack turns from right to wrong. Raises ``InvalidValue``.
    """
    if result.vocabulary:
        raise InvalidValue("This figure adds pixels, and the result holds texts. Show them with result.show().")
    if rows is None:
        rows = np.flatnonzero(result.correct & result.success)[:2].tolist()
    numbers = [int(row) for row in rows]
    if not 1 <= len(numbers) <= _MOST or not all(-len(result) <= number < len(result) for number in numbers):
        raise InvalidValue(
            f"A figure shows 1 to {_MOST} of the {len(result)} images, by position from 0; without rows the first "
            f"that the attack turns from right to wrong. Got {numbers}."
        )
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3 * _CELL[0], _CELL[1] * len(numbers)))
        for line, number in enumerate(numbers):
            clean, adversarial = np.asarray(result.x[number]), np.asarray(result.x_adv[number])
            largest = float(np.abs(adversarial - clean).max())
            label = int(result.labels[number])
            cells = (
                (clean, *_prediction(result, result.clean_probabilities[number], label)),
                (perturbation_image(clean, adversarial), f"change × {0.5 / largest if largest else 0:.3g}", None),
                (adversarial, *_prediction(result, result.adversarial_probabilities[number], label)),
            )
            for column, (image, caption, colour) in enumerate(cells):
                axes = figure.add_subplot(len(numbers), 3, 3 * line + column + 1)
                axes.imshow(rgb(image), interpolation="nearest")
                axes.set_axis_off()
                axes.set_title(caption, y=-0.17, fontsize=9, **({"color": colour} if colour else {}))
                if column:
                    axes.text(-0.1, 0.5, "+="[column - 1], transform=axes.transAxes, ha="center", va="center", size=14)
        figure.subplots_adjust(0.02, 0.1, 0.98, 0.99, 0.2, 0.2)
    return figure


def _prediction(result: AttackResult, probabilities: np.ndarray, label: int) -> tuple[str, Any]:
    predicted = int(probabilities.argmax())
    return f"{result.classes[predicted]} {probabilities[predicted]:.0%}", ROBUST if predicted == label else MEAN
