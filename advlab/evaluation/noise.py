"""How confidently a classifier classifies noise, distribution by distribution."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from advlab.data.noise import UNKNOWN
from advlab.errors import InvalidValue
from advlab.evaluation.html_table import html_table
from advlab.evaluation.metrics import Rate, rate
from advlab.formatting import Grid, Page, number, page_width, plain, printable, shortened

SCHEMA = 1
THRESHOLDS = (0.5, 0.9, 0.99)
_CLASS = 16  # the most columns that the name of a class may take


class NoiseScore(NamedTuple):
    """How images of one distribution of noise are classified.

    The confidence in an image is the largest probability of a class other than ``unknown``. ``confident`` has
    the fraction of images above each of ``THRESHOLDS``; such an image is never predicted as ``unknown``. ``predicted``
    is the class most often predicted and ``predicted_fraction`` its fraction of the images; ``unknown`` the fraction
    predicted as that class, None for a classifier without it.
    """

    distribution: str
    confidence: float
    confident: tuple[Rate, ...]
    predicted: str
    predicted_fraction: Rate
    unknown: Rate | None


@dataclass(frozen=True, eq=False)
class NoiseEvaluation:
    """A classifier's predictions on noise. ``left_out`` says which distribution is missing, and why."""

    classifier: str
    digest: str
    seed: int
    scores: tuple[NoiseScore, ...]
    left_out: str | None = None

    def __repr__(self) -> str:
        worst = max(self.scores, key=lambda score: score.confidence)
        return (
            f"NoiseEvaluation of {self.classifier}: {len(self.scores)} distributions of noise, "
            f"mean confidence up to {worst.confidence:.0%} ({worst.distribution})"
        )

    @property
    def knows_unknown(self) -> bool:
        """Whether the classifier has the class ``unknown``."""
        return self.scores[0].unknown is not None

    def rows(self) -> list[dict[str, str]]:
        """Column -> text, a row for each distribution; fractions in percent."""
        return [_cells(score) for score in self.scores]

    def table(self) -> str:
        """A row for each distribution of noise, and a caption: at most 100 columns wide."""
        rows = self.rows()
        grid = Grid(list(rows[0]), [list(row.values()) for row in rows], ("noise", "most often"))
        return Page.of(grid, "", *textwrap.wrap(printable(self.caption()), page_width()))

    def caption(self) -> str:
        """What a reader of the table must know."""
        rates = [r for s in self.scores for r in (*s.confident, s.predicted_fraction, s.unknown) if r is not None]
        widest = max(max(r.high - r.value, r.value - r.low) for r in rates)
        text = (
            f"{self.classifier} on images that show nothing. confidence: mean of the largest probability"
            f"{f' of a class other than {UNKNOWN}' if self.knows_unknown else ''}; > 50 %: fraction of images with a "
            f"confidence above 0.5. 95% Wilson intervals reach at most {100 * widest:.1f} points to a side."
        )
        return f"{text} {self.left_out}" if self.left_out else text

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; ``unknown`` is null for a classifier without that class."""
        scores = [
            {
                **score._asdict(),
                "confident": [
                    {"threshold": threshold, **vars(fraction)}
                    for threshold, fraction in zip(THRESHOLDS, score.confident, strict=True)
                ],
            }
            for score in self.scores
        ]
        return {
            "schema": SCHEMA,
            "classifier": {"name": self.classifier, "digest": self.digest},
            "seed": self.seed,
            "scores": plain(scores),
            "left_out": self.left_out,
        }

    def _repr_html_(self) -> str:
        rows = self.rows()
        return html_table(self.caption(), list(rows[0]), [list(row.values()) for row in rows])


def noise_score(distribution: str, probabilities: np.ndarray, classes: Sequence[str]) -> NoiseScore:
    """The score of one distribution from the probabilities ``(n, k)`` of its images; ``classes`` are the k names.

    Raises ``InvalidValue`` for arrays that do not fit.
    """
    if probabilities.ndim != 2 or not len(probabilities) or probabilities.shape[1] != len(classes):
        raise InvalidValue(
            f"probabilities must be (n, {len(classes)}), one column for each class name, with at least one row. "
            f"Got {probabilities.shape}."
        )
    named = [number for number, name in enumerate(classes) if name != UNKNOWN]
    confidence, predicted = probabilities[:, named].max(1), probabilities.argmax(1)
    most_frequent = int(np.bincount(predicted, minlength=len(classes)).argmax())
    return NoiseScore(
        distribution,
        float(np.mean(confidence, dtype=np.float64)),
        tuple(rate(confidence > threshold) for threshold in THRESHOLDS),
        classes[most_frequent],
        rate(predicted == most_frequent),
        rate(predicted == classes.index(UNKNOWN)) if UNKNOWN in classes else None,
    )


def _cells(score: NoiseScore) -> dict[str, str]:
    cells = {
        "noise": score.distribution,
        "images": f"{score.predicted_fraction.total:,}",
        "confidence %": number(100 * score.confidence, ".1f"),
        **{
            f"> {100 * threshold:.0f} %": number(100 * fraction.value, ".1f")
            for threshold, fraction in zip(THRESHOLDS, score.confident, strict=True)
        },
        "most often": shortened(printable(score.predicted), _CLASS),
        "fraction %": number(100 * score.predicted_fraction.value, ".1f"),
    }
    return cells if score.unknown is None else cells | {f"{UNKNOWN} %": number(100 * score.unknown.value, ".1f")}
