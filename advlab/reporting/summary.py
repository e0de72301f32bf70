"""The first screen: a summary of the evaluations of one classifier on one set of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from advlab.evaluation.evaluation import Evaluation, WorstCase, worst_case
from advlab.reporting.pictures import Sample

MAX_SHEET = 12


@dataclass(frozen=True)
class Summary:
    """The evaluations of one classifier: the first sentence of the page.

    ``strongest`` is the strongest bounded attack, or the strongest of all where ``bounded`` is False; ``sheet`` are
    some of its samples and ``example`` the first adversarial one.
    """

    strongest: Evaluation
    bounded: bool
    joint: WorstCase | None
    smallest: Evaluation | None
    confidence: tuple[float, float] | None
    example: Sample | None
    sheet: Sequence[Sample]


def summarize(evaluations: Sequence[Evaluation], pictures: Sequence[Sequence[Sample]]) -> list[Summary]:
    """One summary for each classifier and set of images, in the order of the evaluations."""
    groups: dict[tuple[str, str], list[tuple[Evaluation, Sequence[Sample]]]] = {}
    for evaluation, samples in zip(evaluations, pictures, strict=True):
        key = (evaluation.result.classifier_digest, evaluation.result.dataset_digest)
        groups.setdefault(key, []).append((evaluation, samples))
    return [_summary(group) for group in groups.values()]


def _summary(group: list[tuple[Evaluation, Sequence[Sample]]]) -> Summary:
    bounded = [pair for pair in group if math.isfinite(pair[0].attack.threat.epsilon)]
    minimal = [e for e, _ in group if not math.isnan(e.median_distance) and math.isinf(e.attack.threat.epsilon)]
    strongest, samples = min(bounded or group, key=lambda pair: (pair[0].robust_accuracy.value, not pair[0].joins))
    joint = worst_case([e for e, _ in bounded if e.attack.threat == strongest.attack.threat]) if bounded else None
    return Summary(
        strongest=strongest,
        bounded=bool(bounded),
        joint=joint if joint and joint.accuracy.count < strongest.robust_accuracy.count else None,
        smallest=min(minimal, key=lambda e: (e.median_distance, not e.joins), default=None),
        confidence=_confidence(strongest) if bounded else None,
        example=next((sample for sample in samples if sample.outcome == "adversarial"), None),
        # The page must stay small with these and the inspector's.
        sheet=samples[: min(MAX_SHEET, math.ceil(len(samples) / 3))],
    )


def _confidence(evaluation: Evaluation) -> tuple[float, float] | None:
    """Mean confidence in the label before and after, where the clean image is correct."""
    correct = evaluation.result.correct
    if evaluation.at_boundary or not correct.any():
        return None
    probabilities = evaluation.result.clean_probabilities[correct]
    before = float(np.take_along_axis(probabilities, evaluation.result.labels[correct][:, None], 1).mean())
    return before, before + evaluation.shift.mean
