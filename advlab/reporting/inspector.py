"""What the page's script needs to show one image after another: plain data, ready for JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from advlab.evaluation.curve import SecurityCurve
from advlab.evaluation.evaluation import Evaluation
from advlab.reporting.phrases import NORMS
from advlab.reporting.pictures import Sample
from advlab.reporting.sections import Curved

BARS = 10
STOPS = 200


def inspector(
    shown: Sequence[Evaluation],
    names: Sequence[str],
    pictures: Sequence[Sequence[Sample]],
    curved: Sequence[Curved],
) -> dict[str, Any]:
    """``pictures``, each data URI once, and ``choices``: of each curve the nearest images, then of each attack its own.

    A choice has ``name``, ``images`` in words, ``classes``, ``curve`` (null where epsilon is fixed) and ``samples``.
    """
    sources: dict[str, int] = {}
    by_evaluation = {id(e): samples for e, samples in zip(shown, pictures, strict=True)}
    alone = {id(c.members[0]) for c in curved if len(c.members) == 1}
    several = len({e.classifier for e in shown}) > 1
    choices = []
    for each in curved:
        drawn = zip(*(by_evaluation[id(e)] for e in each.members), strict=True)
        samples = [_nearest(each, row, sources) for row in drawn]
        name = f"any epsilon, {NORMS[each.curve.norm]}"
        choices.append(_choice(each.members[0], name, several, samples) | {"curve": _stops(each.curve)})
    for evaluation, name, drawn_here in zip(shown, names, pictures, strict=True):
        if id(evaluation) not in alone:
            entries = [_entry(evaluation, s, sources) for s in drawn_here]
            choices.append(_choice(evaluation, name, several, entries) | {"curve": None})
    return {"pictures": list(sources), "choices": choices}


def embedded(data: dict[str, Any]) -> Markup:
    """The data as JSON that no HTML parser can mistake for markup, whatever the names in it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)  # ASCII, thus without U+2028 and U+2029
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _choice(evaluation: Evaluation, name: str, several: bool, samples: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": f"{evaluation.classifier}: {name}" if several else name,
        "images": evaluation.images,
        "classes": [score.name for score in evaluation.per_class],
        "samples": samples,
    }


def _nearest(curved: Curved, samples: Sequence[Sample], sources: dict[str, int]) -> dict[str, Any]:
    """Of one image the smallest change that misleads, and its size: null where no attack found one."""
    row = samples[0].row
    best = max(int(curved.curve.breaking[row]), 0)
    falls = float(curved.curve.smallest[row])
    entry = _entry(curved.members[best], samples[best], sources)
    return entry | {"falls": falls if math.isfinite(falls) else None}


def _entry(evaluation: Evaluation, sample: Sample, sources: dict[str, int]) -> dict[str, Any]:
    """One image; the classes worth a bar stand in the order of the classes."""
    result, row = evaluation.result, sample.row
    before, after = (
        np.clip(np.nan_to_num(p[row].astype(np.float64)), 0, 1)
        for p in (result.clean_probabilities, result.adversarial_probabilities)
    )
    label = int(result.labels[row])
    predicted = [int(result.clean_probabilities[row].argmax()), int(result.adversarial_probabilities[row].argmax())]
    likely = np.argsort(-np.maximum(before, after), kind="stable")
    kept = sorted(list(dict.fromkeys([label, *predicted, *likely.tolist()]))[:BARS])
    pictures = {
        "clean": sample.clean.source,
        "perturbation": sample.perturbation,
        "adversarial": sample.adversarial.source,
    }
    return {
        "position": sample.position,
        "label": label,
        "predicted": predicted,
        "bars": kept,
        "before": np.round(before[kept], 4).tolist(),
        "after": np.round(after[kept], 4).tolist(),
        "amplified": float(f"{sample.amplified:.3g}"),
        "outcome": sample.outcome,
        **{name: sources.setdefault(source, len(sources)) for name, source in pictures.items()},
    }


def _stops(curve: SecurityCurve) -> dict[str, Any]:
    """The curve at no more than ``STOPS`` + 1 places between 0 and where it ends: what a slider looks up."""
    known = curve.smallest[np.isfinite(curve.smallest)]
    end = curve.limit if math.isfinite(curve.limit) else float(known.max(initial=0.0))
    epsilons = np.linspace(0, end, STOPS + 1)
    if curve.norm == "l0":
        epsilons = np.unique(np.floor(epsilons))
    rates = [curve.robust_accuracy(float(epsilon)) for epsilon in epsilons]
    return {
        "norm": NORMS[curve.norm],
        "total": len(curve.smallest),
        "epsilon": epsilons.tolist(),
        "accuracy": [[rate.value, rate.low, rate.high] for rate in rates],
    }
