"""An evaluation as data for other programs: an object for JSON, columns with a row for each sample, a pandas frame."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from advlab.calibration import Reliability
from advlab.errors import AdvlabError
from advlab.metrics import Rate, distances

if TYPE_CHECKING:
    from advlab.evaluation import Evaluation

SCHEMA = 1


def as_json(evaluation: Evaluation) -> dict[str, Any]:
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
            "findings": evaluation.findings,
            "forward_passes": evaluation.forward_passes,
            "backward_passes": evaluation.backward_passes,
            "seconds": result.seconds,
            "versions": result.versions,
            "command": result.command,
        }
    )


def per_sample(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """Column -> array ``(n,)``, a row for each sample.

    ``index`` is the position in the full split; ``label``, ``predicted_clean`` and ``predicted_adversarial`` are class
    numbers; ``p_clean`` and ``p_adversarial`` the confidence in the label on the clean and on the perturbed image, in
    [0, 1]; ``attempted`` and ``robust`` bool, see ``AttackResult``; ``linf``, ``l2``, ``l1`` and ``l0`` the size of the
    perturbation, float64 in pixel units, ``l0`` in changed image positions.
    """
    result = evaluation.result
    clean, adversarial, rows = result.clean_probabilities, result.adversarial_probabilities, np.arange(len(result))
    return {
        "index": result.indices,
        "label": result.labels,
        "predicted_clean": clean.argmax(1),
        "predicted_adversarial": adversarial.argmax(1),
        "p_clean": clean[rows, result.labels],
        "p_adversarial": adversarial[rows, result.labels],
        "attempted": result.attempted,
        "robust": evaluation.robust,
        **distances(result.x, result.x_adv)._asdict(),
    }


def frame(columns: Mapping[str, np.ndarray]) -> Any:
    """The columns as a ``pandas.DataFrame``; raises ``AdvlabError`` where pandas is not installed."""
    try:
        import pandas
    except ImportError as error:
        raise AdvlabError("to_frame() needs pandas, which is not installed. Install it: pip install pandas") from error
    return pandas.DataFrame(dict(columns))


def plain(value: Any) -> Any:
    """Ready for JSON: named tuples and rates become dictionaries, NaN and infinity null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.ndarray):
        value = value.tolist()
    elif isinstance(value, Rate | Reliability):
        value = asdict(value)
    elif isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value
