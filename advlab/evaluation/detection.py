"""How well a detector tells adversarial images from clean ones, and what it leaves of an attack that knows it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from advlab.evaluation.html_table import html_table
from advlab.evaluation.metrics import Rate, rate
from advlab.formatting import Grid, Page, number, page_width, plain, printable
from advlab.threat import ThreatModel

SCHEMA = 1
_POINTS = 200  # of a stored ROC curve
_HEADS = ("attack", "misclassified %", "AUC", "detected %", "accepted errors % [95%]")


class Roc(NamedTuple):
    """The curve of all thresholds: false positives among clean images and detected among adversarial ones, ascending.

    Both float64 in [0, 1], from (0, 0) to (1, 1).
    """

    false_positives: np.ndarray
    detected: np.ndarray


class Attacked(NamedTuple):
    """One attack before a detector.

    ``misclassified`` is over all images; ``detected`` over the misclassified ones; ``auc`` and ``roc`` tell these from
    the clean images, NaN and the diagonal where there are none. ``accepted_errors`` over all images are misclassified
    and not detected, the clean errors among them: what the attack gains.
    """

    attack: str
    misclassified: Rate
    detected: Rate
    auc: float
    roc: Roc
    accepted_errors: Rate


@dataclass(frozen=True, eq=False)
class Detection:
    """A detector before several attacks.

    ``adaptive`` attacks detector and classifier together; the last one, ``all``, is the attacker who tries every
    attack: of each image the error that the detector finds least suspicious. ``false_positives`` are the clean images
    refused, over the correctly classified ones.
    """

    detector: str
    settings: Mapping[str, Any]
    classifier: str
    digest: str
    threat: ThreatModel
    threshold: float
    false_positives: Rate
    attacks: tuple[Attacked, ...]

    def conclusion(self) -> str:
        """Which number counts."""
        *static, _, all_together = self.attacks
        best = max((attack.auc for attack in static if not np.isnan(attack.auc)), default=float("nan"))
        return (
            f"The number that counts is {all_together.accepted_errors.value:.1%}: of so many images an attacker who "
            f"knows '{self.detector}' makes errors that it accepts, at {self.false_positives.value:.1%} of clean "
            f"images refused. An AUC of {number(best, '.3f')} is against an attack that does not know it."
        )

    def rows(self) -> list[tuple[str, ...]]:
        """The cells of the table, a row for each attack."""
        return [
            (
                printable(attack.attack),
                number(100 * attack.misclassified.value, ".1f"),
                number(attack.auc, ".3f"),
                number(100 * attack.detected.value, ".1f"),
                "{:.1f} [{:.1f}, {:.1f}]".format(
                    *(100 * getattr(attack.accepted_errors, key) for key in ("value", "low", "high"))
                ),
            )
            for attack in self.attacks
        ]

    def table(self) -> str:
        """A row for each attack and the conclusion, as text."""
        grid = Grid(_HEADS, self.rows(), left=_HEADS[:1])
        return Page.of(grid, "", *textwrap.wrap(printable(self.conclusion()), page_width()))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; NaN is null."""
        return plain(
            {
                "schema": SCHEMA,
                "detector": self.detector,
                "settings": self.settings,
                "classifier": {"name": self.classifier, "digest": self.digest},
                "threat": {"norm": self.threat.norm, "epsilon": self.threat.epsilon, "target": None},
                "threshold": self.threshold,
                "false_positives": self.false_positives,
                "attacks": self.attacks,
                "conclusion": self.conclusion(),
            }
        )

    def __repr__(self) -> str:
        counts = self.attacks[-1].accepted_errors
        return (
            f"Detection by {self.detector} on {self.classifier}: {counts.value:.1%} accepted errors at "
            f"{self.false_positives.value:.1%} false positives"
        )

    def _repr_html_(self) -> str:
        return html_table(self.conclusion(), _HEADS, self.rows())


def roc(clean: np.ndarray, adversarial: np.ndarray) -> Roc:
    """The ROC curve of two sets of scores ``(n,)`` and ``(m,)``, where adversarial images should score higher.

    A long curve is thinned to points evenly spaced along it.
    """
    if not len(clean) or not len(adversarial):
        return Roc(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    thresholds = np.unique(np.concatenate([clean, adversarial]))[::-1]
    curve = [
        np.concatenate([[0.0], 1 - np.searchsorted(np.sort(scores), thresholds, "left") / len(scores)])
        for scores in (clean, adversarial)
    ]
    points = np.unique(np.linspace(0, len(thresholds), min(len(thresholds) + 1, _POINTS)).round().astype(int))
    return Roc(curve[0][points], curve[1][points])


def auc(clean: np.ndarray, adversarial: np.ndarray) -> float:
    """The probability that an adversarial image scores higher than a clean one, ties counting half; NaN for none."""
    if not len(clean) or not len(adversarial):
        return float("nan")
    ordered = np.sort(clean)
    below, not_above = (np.searchsorted(ordered, adversarial, side) for side in ("left", "right"))
    return float(np.mean((below + not_above) / 2) / len(clean))


def attacked(
    attack: str, misclassified: np.ndarray, scores: np.ndarray, clean: np.ndarray, threshold: float
) -> Attacked:
    """One attack: bool ``(n,)``, scores ``(n,)`` of its images, and scores of clean, correctly classified ones."""
    refused = scores > threshold
    return Attacked(
        attack=attack,
        misclassified=rate(misclassified),
        detected=rate(refused, misclassified),
        auc=auc(clean, scores[misclassified]),
        roc=roc(clean, scores[misclassified]),
        accepted_errors=rate(misclassified & ~refused),
    )
