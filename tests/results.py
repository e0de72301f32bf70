"""Synthetic attack results with NumPy alone, so that evaluation is tested without any model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from advlab.declarations.attack import Attack
from advlab.results.diagnostics import Diagnostics
from advlab.results.result import AttackResult
from advlab.threat import ThreatModel


def one_hot_like(predicted: np.ndarray, k: int, confidence: float = 0.9) -> np.ndarray:
    """Probabilities float32 ``(n, k)`` that give ``confidence`` to ``predicted`` and share the rest."""
    probabilities = np.full((len(predicted), k), (1 - confidence) / (k - 1), np.float32)
    probabilities[np.arange(len(predicted)), predicted] = confidence
    return probabilities


def build(
    labels: Any,
    clean: Any,
    adversarial: Any,
    *,
    k: int = 3,
    method: str = "pgd",
    norm: str = "linf",
    epsilon: float = 0.1,
    target: int | None = None,
    change: Any = None,
    shape: tuple[int, int, int] = (4, 4, 1),
    goal: str | None = None,
    attack: dict[str, Any] | None = None,
    apart: float = 0.0,
    **fields: Any,
) -> AttackResult:
    """A result with the given labels and predictions, int ``(n,)`` each.

    ``change`` is added to a grey image: a number, an array ``(n,)`` for the first pixel of each image, or a full array;
    by default the whole budget of Linf on every pixel. Each class is brighter by ``apart`` than
    the one before.
    """
    labels, clean, adversarial = (np.asarray(a, np.int64) for a in (labels, clean, adversarial))
    n = len(labels)
    x = np.full((n, *shape), 0.5, np.float32) + np.float32(apart) * labels.reshape(-1, 1, 1, 1).astype(np.float32)
    if change is None:
        change = epsilon if norm == "linf" and math.isfinite(epsilon) else 0.01
    change = np.asarray(change, np.float64)
    x_adv = x.astype(np.float64)
    if change.ndim == 1:
        x_adv[:, 0, 0, 0] += change
    else:
        x_adv = x_adv + change
    values: dict[str, Any] = {
        "classifier": "stub",
        "classifier_digest": "c" * 64,
        "dataset": "digits",
        "split": "test",
        "dataset_digest": "d" * 64,
        "classes": tuple("abcdefghijklmnop"[:k]),
        "x": x,
        "x_adv": x_adv.astype(np.float32),
        "labels": labels,
        "indices": np.arange(n),
        "clean_probabilities": one_hot_like(clean, k),
        "adversarial_probabilities": one_hot_like(adversarial, k),
        "attempted": np.ones(n, bool) if target is None else labels != target,
        "forward_passes": np.full(n, 41, np.int32),
        "backward_passes": np.full(n, 40, np.int32),
        "seconds": 2.5,
        "versions": {"advlab": "0.1.0"},
        "command": "advlab attack --method pgd",
    }
    threat = ThreatModel(norm, epsilon, target)
    goal = goal or ("minimal" if math.isinf(epsilon) and norm != "none" else "bounded")
    values["diagnostics"] = Diagnostics.from_arrays(fields.pop("diagnostics", {}))
    return AttackResult(attack=Attack.recorded(method, threat, goal, **(attack or {})), **(values | fields))


def many(n: int = 10_000, k: int = 10, seed: int = 0, **fields: Any) -> AttackResult:
    """``n`` noise images of 28 x 28, of which about 87 % are classified correctly and 5 % stay so."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    clean = np.where(rng.random(n) < 0.87, labels, (labels + 1) % k)
    adversarial = np.where(rng.random(n) < 0.05, labels, (labels + rng.integers(1, k, n)) % k)
    x = rng.random((n, 28, 28, 1), np.float32)
    x_adv = np.clip(x + 0.099 * np.sign(rng.standard_normal(x.shape)), 0, 1).astype(np.float32)
    return build(labels, clean, adversarial, k=k, shape=(28, 28, 1), **({"x": x, "x_adv": x_adv} | fields))
