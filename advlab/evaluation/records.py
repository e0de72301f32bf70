"""An evaluation as data for other programs: an object for JSON, columns with a row for each sample, a pandas frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from advlab.distances import distances
from advlab.evaluation.findings.cross import cross_findings
from advlab.evaluation.table import as_evaluations
from advlab.evaluation.texts import per_text
from advlab.formatting import plain

if TYPE_CHECKING:
    from advlab.evaluation.evaluation import Evaluation

SCHEMA = 1


def to_record(evaluation: Evaluation) -> dict[str, Any]:
    """Everything but the per-sample arrays, ready for JSON; NaN and infinity are null."""
    result = evaluation.result
    return plain(
        {
            "schema": SCHEMA,
            "attack": result.attack.to_dict(),
            "classifier": {"name": result.classifier, "digest": result.classifier_digest},
            "transfer_from": evaluation.transfer_from,
            "dataset": {"name": result.dataset, "split": result.split, "digest": result.dataset_digest},
            "samples": len(evaluation),
            "classes": [score.name for score in evaluation.per_class],
            "clean_accuracy": evaluation.clean_accuracy,
            "robust_accuracy": evaluation.robust_accuracy,
            "success_rate": evaluation.success_rate,
            "shift": evaluation.shift,
            "shift_histogram": evaluation.shift_histogram,
            "shift_predicted": evaluation.shift_predicted,
            "shift_predicted_histogram": evaluation.shift_predicted_histogram,
            "calibration_clean": evaluation.calibration_clean,
            "calibration": evaluation.calibration,
            "confidently_wrong": evaluation.confidently_wrong,
            "distances": evaluation.distances,
            "median_distance": evaluation.median_distance,
            "per_class": evaluation.per_class,
            "transitions": evaluation.transitions,
            "flow_distance": evaluation.flow_distance,
            "texts": evaluation.texts,
            "findings": evaluation.findings,
            "bracket": _bracket(evaluation),
            "selftest": result.selftest,
            "forward_passes": evaluation.forward_passes,
            "backward_passes": evaluation.backward_passes,
            "seconds": result.seconds,
            "versions": result.versions,
            "command": result.command,
        }
    )


def _bracket(evaluation: Evaluation) -> dict[str, Any] | None:
    certificate, bracket = evaluation.certificate, evaluation.bracket
    if certificate is None or bracket is None:
        return None
    return {
        "method": certificate.method,
        "proven": bracket.low,
        "misclassified": bracket.misclassified,
        "unknown": bracket.unknown,
        "found": bracket.found,
        "missed": bracket.missed,
    }


def per_sample(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """Column -> array ``(n,)``, a row for each sample.

    ``index`` is the position in the full split; ``label``, ``predicted_clean`` and ``predicted_adversarial`` are class
    numbers; ``p_clean`` and ``p_adversarial`` the confidence in the label on the clean and on the perturbed image, in
    [0, 1]; ``attempted`` and ``robust`` bool, see ``AttackResult``; ``linf``, ``l2``, ``l1`` and ``l0`` the size of the
    perturbation, float64 in pixel units, ``l0`` in changed image positions; ``queries`` the forward passes that the
    attack spent on the sample. Of texts there are ``words_kept`` and ``similarity`` too, see ``texts.per_text``. With a
    certificate ``certified`` is text: ``proven``, ``misclassified`` or ``unknown``.
    """
    result = evaluation.result
    clean, adversarial, rows = result.clean_probabilities, result.adversarial_probabilities, np.arange(len(result))
    certified = evaluation.certified
    columns = {
        "index": result.indices,
        "label": result.labels,
        "predicted_clean": clean.argmax(1),
        "predicted_adversarial": adversarial.argmax(1),
        "p_clean": clean[rows, result.labels],
        "p_adversarial": adversarial[rows, result.labels],
        "attempted": result.attempted,
        "robust": evaluation.robust,
        **distances(result.x, result.x_adv)._asdict(),
        "queries": result.forward_passes,
        **per_text(result),
    }
    return columns if certified is None else columns | {"certified": certified}


def to_records(
    evaluations: Evaluation | Iterable[Evaluation], archives: Sequence[str | PathLike[str]] | None = None
) -> list[dict[str, Any]]:
    """A list of objects ready for JSON, described in ``docs/json.md``.

    To ``Evaluation.to_dict`` each adds ``archive``, its path (None: null), and ``cross_findings``: those raised by
    comparing it with the others of the list that are about the same classifier and samples.
    """
    evaluations = as_evaluations(evaluations)
    groups: dict[tuple[str, str], list[Evaluation]] = {}
    for evaluation in evaluations:
        groups.setdefault(_subject(evaluation), []).append(evaluation)
    raised = {subject: [finding._asdict() for finding in cross_findings(group)] for subject, group in groups.items()}
    paths = [None] * len(evaluations) if archives is None else [str(path) for path in archives]
    return [
        {**evaluation.to_dict(), "archive": path, "cross_findings": raised[_subject(evaluation)]}
        for evaluation, path in zip(evaluations, paths, strict=True)
    ]


def _subject(evaluation: Evaluation) -> tuple[str, str]:
    return evaluation.result.classifier_digest, evaluation.result.dataset_digest
