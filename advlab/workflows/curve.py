"""A security curve from one run: by a minimal method, or by a bisection with a bounded one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from advlab import workspace
from advlab.data.dataset import Dataset
from advlab.declarations.methods import describe, load_method
from advlab.distances import distance
from advlab.errors import InvalidValue
from advlab.evaluation.curve import SecurityCurve
from advlab.progress import Progress
from advlab.results.result import AttackResult, load_result, refuse_other
from advlab.threat import DEFAULT_EPSILON, Attack
from advlab.workflows.inputs import resolve_classifier, resolve_dataset

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier
    from advlab.problem.problem import Craft

METHODS = {"linf": "fmn", "l2": "ddn", "l1": "fmn", "l0": "sigma_zero"}  # the default of each norm
EPSILON_FACTOR = 3  # a bisection searches up to this many default epsilons
MAX_ROUNDS = 16


def curve(
    classifier: Classifier | str,
    dataset: Dataset | str | None = None,
    method: str | Craft | None = None,
    *,
    norm: str | None = None,
    epsilon: float | str | None = None,
    rounds: int = 6,
    samples: int = 1000,
    seed: int = 0,
    save: bool = False,
    force: bool = False,
    trust: bool = False,
    progress: bool | None = None,
    **parameters: Any,
) -> SecurityCurve:
    """Robust accuracy at every epsilon, from one run.

    ``classifier`` and ``dataset`` may be names or paths; of a data set given so, the first ``samples`` test images are
    used. ``method`` None: fmn, for l2 ddn, for l0 sigma_zero. A minimal method is run once and takes no ``epsilon``. A
    bounded one is run ``rounds`` times on each sample, in a bisection over ``2**rounds - 1`` levels up to ``epsilon``
    (None: three times the default, linf 0.3, l2 4.5, l1 30); ``parameters`` are the method's. ``save`` writes the
    archive of the curve, or loads an existing one of the same specification; ``force`` crafts it again.
    """
    if method is None:
        method = METHODS.get(norm or "linf", METHODS["linf"])
    declaration = load_method(method) if isinstance(method, str) else describe(method)
    norm = norm or declaration.norms[0]
    is_bounded = declaration.goal == "bounded"
    if is_bounded and epsilon is None and norm in DEFAULT_EPSILON:
        epsilon = min(EPSILON_FACTOR * DEFAULT_EPSILON[norm], 1.0 if norm == "linf" else math.inf)
    spec = declaration.attack(norm=norm, epsilon=epsilon, seed=seed, early_stop=is_bounded, parameters=parameters)
    if norm == "none":
        raise InvalidValue("Norm 'none' has no distance to draw a curve over. Choose one of: linf, l2, l1, l0.")
    if is_bounded:
        spec = _with_rounds(spec, rounds)

    from advlab.engine.attack import attack

    classifier = resolve_classifier(classifier, trust)
    data = resolve_dataset(dataset, classifier, samples)
    path = workspace.archive_path(classifier.name, spec.slug)
    if save and not force:
        workspace.require_writable(path)
        digests = {"classifier_digest": classifier.digest, "dataset_digest": data.digest}
        refuse_other(path, {"attack": spec.to_dict(), **digests})
        if path.exists():
            return SecurityCurve.from_results([load_result(path)])
    if is_bounded:
        result = _bisect(classifier, data, method, spec, int(rounds), parameters, progress)
    else:
        result = attack(classifier, data, method, norm=norm, seed=seed, progress=progress, **parameters)
    if save:
        result.save(path, force=force)
    return SecurityCurve.from_results([result])


def _with_rounds(spec: Attack, rounds: int) -> Attack:
    """The specification of the whole bisection: that of the attack at the largest epsilon, and the rounds."""
    if isinstance(rounds, bool) or not hasattr(rounds, "__index__") or not 1 <= rounds <= MAX_ROUNDS:
        raise InvalidValue(f"rounds must be an int in the range [1, {MAX_ROUNDS}]. Got {rounds!r}.")
    if not spec.threat.epsilon:
        raise InvalidValue(
            "The epsilon of a curve is its largest and must be above 0. Got 0. Leave it out, or try 0.3."
        )
    return replace(
        spec,
        parameters={**spec.parameters, "rounds": int(rounds)},
        overrides=tuple(sorted((*spec.overrides, "rounds"))),
    )


def _bisect(
    classifier: Classifier,
    data: Dataset,
    method: str | Craft,
    spec: Attack,
    rounds: int,
    parameters: dict[str, Any],
    progress: bool | None,
) -> AttackResult:
    """The nearest adversarial image of each sample, by a bisection over epsilon: each round attacks at the midpoint.

    The levels are 1 to ``2**rounds - 1``, the last one epsilon itself. Level 0 counts as robust, ``2**rounds`` means
    never misclassified: so every sample is attacked once in each round, and those at one level together.
    """
    from advlab.engine.attack import attack

    norm, largest = spec.threat.norm, spec.threat.epsilon
    robust_level, broken_level = np.zeros(len(data), np.int64), np.full(len(data), 2**rounds)

    with Progress(len(data) * rounds, f"curve of {spec.method} on {classifier.name}", show=progress) as bar:

        def attack_at(rows: np.ndarray, level: int) -> AttackResult:
            epsilon = largest * level / (2**rounds - 1)
            result = attack(
                classifier,
                replace(data, x=data.x[rows], y=data.y[rows], indices=data.indices[rows]),
                method,
                norm=norm,
                epsilon=math.ceil(epsilon) if norm == "l0" else epsilon,
                seed=spec.seed,
                early_stop=True,
                # Groups have all sizes, and XLA would compile each.
                compile="graph",
                progress=False,
                **parameters,
            )
            broken_level[rows[result.success]] = level
            robust_level[rows[~result.success]] = level
            bar.advance(len(rows))
            return result

        merged = attack_at(np.arange(len(data)), 2 ** (rounds - 1))
        seconds = merged.seconds
        for _ in range(rounds - 1):
            midpoints = (robust_level + broken_level) // 2
            for level in np.unique(midpoints[merged.correct]):
                rows = np.flatnonzero(merged.correct & (midpoints == level))
                part = attack_at(rows, int(level))
                _merge_nearer(merged, part, rows)
                seconds += part.seconds

    # As with any minimal method, x_adv is the clean image where no attack succeeded.
    success = merged.success
    x_adv = np.where(success[:, None, None, None], merged.x_adv, merged.x)
    return replace(
        merged,
        attack=spec,
        x_adv=x_adv,
        adversarial_probabilities=np.where(
            success[:, None], merged.adversarial_probabilities, merged.clean_probabilities
        ),
        seconds=round(seconds, 3),
        settings={**merged.settings, "goal": "minimal", "limit": largest, "rounds": rounds},
        diagnostics={name: merged.diagnostics[name] for name in ("zero_gradient", "nonfinite", "repeat_difference")}
        | {"unchanged": np.all(x_adv == merged.x, axis=(1, 2, 3))},
    )


def _merge_nearer(merged: AttackResult, part: AttackResult, rows: np.ndarray) -> None:
    """Write into ``merged``, whose arrays the bisection owns, where another round on ``rows`` found a nearer image."""
    norm = part.attack.threat.norm
    old_distance = np.where(merged.success[rows], distance(merged.x[rows], merged.x_adv[rows], norm), np.inf)
    new_distance = np.where(part.success, distance(part.x, part.x_adv, norm), np.inf)
    nearer = new_distance < old_distance
    merged.x_adv[rows[nearer]] = part.x_adv[nearer]
    merged.adversarial_probabilities[rows[nearer]] = part.adversarial_probabilities[nearer]
    merged.forward_passes[rows] += part.forward_passes
    merged.backward_passes[rows] += part.backward_passes
    for flag in ("zero_gradient", "nonfinite"):
        merged.diagnostics[flag][rows] |= part.diagnostics[flag]
