"""A security curve from one run: by a method that looks for the smallest perturbation, or by a bisection."""

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

METHODS = {"linf": "fmn", "l2": "ddn", "l1": "fmn", "l0": "sigma_zero"}  # where none is named
REACH = 3  # how far a bisection goes unless told otherwise, in default epsilons
MOST_ROUNDS = 16


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

    ``classifier`` and ``dataset`` may be names or paths; of a data set that is loaded here the first ``samples`` test
    images are used. ``method`` None suits the norm. A minimal method is run once and takes no ``epsilon``. A bounded
    one is run ``rounds`` times on each sample, in a bisection over ``2**rounds - 1`` levels up to ``epsilon`` (None:
    three times the default, linf 0.3, l2 4.5, l1 30); ``parameters`` are its own. ``save`` writes the archive behind
    the curve, and takes up one of the same specification; ``force`` crafts it again.
    """
    chosen = METHODS.get(norm or "linf", METHODS["linf"]) if method is None else method
    declared = load_method(chosen) if isinstance(chosen, str) else describe(chosen)
    norm = norm or declared.norms[0]
    bisects = declared.goal == "bounded"
    if bisects and epsilon is None and norm in DEFAULT_EPSILON:
        epsilon = min(REACH * DEFAULT_EPSILON[norm], 1.0 if norm == "linf" else math.inf)
    spec = declared.attack(norm=norm, epsilon=epsilon, seed=seed, early_stop=bisects, parameters=parameters)
    if norm == "none":
        raise InvalidValue("Norm 'none' has no sizes to draw a curve over. Choose one of: linf, l2, l1, l0.")
    if bisects:
        spec = _with_rounds(spec, rounds)

    from advlab.engine.attack import attack

    classifier = resolve_classifier(classifier, trust)
    data = resolve_dataset(dataset, classifier, samples)
    place = workspace.archive_path(classifier.name, spec.slug)
    if save and not force:
        workspace.require_writable(place)
        known = {"classifier_digest": classifier.digest, "dataset_digest": data.digest}
        refuse_other(place, {"attack": spec.to_dict(), **known})
        if place.exists():
            return SecurityCurve.from_results([load_result(place)])
    if bisects:
        result = _bisected(classifier, data, chosen, spec, int(rounds), parameters, progress)
    else:
        result = attack(classifier, data, chosen, norm=norm, seed=seed, progress=progress, **parameters)
    if save:
        result.save(place, force=force)
    return SecurityCurve.from_results([result])


def _with_rounds(spec: Attack, rounds: int) -> Attack:
    """The specification of the whole bisection: that of the attack at the largest epsilon, and the rounds."""
    if isinstance(rounds, bool) or not hasattr(rounds, "__index__") or not 1 <= rounds <= MOST_ROUNDS:
        raise InvalidValue(f"rounds must be an int in the range [1, {MOST_ROUNDS}]. Got {rounds!r}.")
    if not spec.threat.epsilon:
        raise InvalidValue("A curve needs room: epsilon must be above 0. Got 0. Leave it out, or try 0.3.")
    return replace(
        spec,
        parameters={**spec.parameters, "rounds": int(rounds)},
        overrides=tuple(sorted((*spec.overrides, "rounds"))),
    )


def _bisected(
    classifier: Classifier,
    data: Dataset,
    method: str | Craft,
    spec: Attack,
    rounds: int,
    parameters: dict[str, Any],
    progress: bool | None,
) -> AttackResult:
    """For each sample the nearest of the images that its attacks found, each at the middle of what is still open.

    Of the levels 1 to ``2**rounds - 1``, the last one epsilon itself, level 0 stands and level ``2**rounds`` stands for
    never: so every sample is attacked once in each round, and those at one level together.
    """
    from advlab.engine.attack import attack

    norm, top = spec.threat.norm, spec.threat.epsilon
    stands, falls = np.zeros(len(data), np.int64), np.full(len(data), 2**rounds)

    with Progress(len(data) * rounds, f"curve of {spec.method} on {classifier.name}", show=progress) as bar:

        def attacked(rows: np.ndarray, level: int) -> AttackResult:
            epsilon = top * level / (2**rounds - 1)
            found = attack(
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
            falls[rows[found.success]] = level
            stands[rows[~found.success]] = level
            bar.advance(len(rows))
            return found

        whole = attacked(np.arange(len(data)), 2 ** (rounds - 1))
        seconds = whole.seconds
        for _ in range(rounds - 1):
            middle = (stands + falls) // 2
            for level in np.unique(middle[whole.correct]):
                rows = np.flatnonzero(whole.correct & (middle == level))
                part = attacked(rows, int(level))
                _keep_nearer(whole, part, rows)
                seconds += part.seconds

    # As with any minimal method, a sample that nothing broke has its clean image.
    broken = whole.success
    x_adv = np.where(broken[:, None, None, None], whole.x_adv, whole.x)
    return replace(
        whole,
        attack=spec,
        x_adv=x_adv,
        adversarial_probabilities=np.where(broken[:, None], whole.adversarial_probabilities, whole.clean_probabilities),
        seconds=round(seconds, 3),
        settings={**whole.settings, "goal": "minimal", "limit": top, "rounds": rounds},
        diagnostics={name: whole.diagnostics[name] for name in ("zero_gradient", "nonfinite", "repeat_difference")}
        | {"unchanged": np.all(x_adv == whole.x, axis=(1, 2, 3))},
    )


def _keep_nearer(whole: AttackResult, part: AttackResult, rows: np.ndarray) -> None:
    """Enter into ``whole``, whose arrays are the bisection's own, what another round found for some of its rows."""
    norm = part.attack.threat.norm
    before = np.where(whole.success[rows], distance(whole.x[rows], whole.x_adv[rows], norm), np.inf)
    now = np.where(part.success, distance(part.x, part.x_adv, norm), np.inf)
    nearer = now < before
    whole.x_adv[rows[nearer]] = part.x_adv[nearer]
    whole.adversarial_probabilities[rows[nearer]] = part.adversarial_probabilities[nearer]
    whole.forward_passes[rows] += part.forward_passes
    whole.backward_passes[rows] += part.backward_passes
    for flag in ("zero_gradient", "nonfinite"):
        whole.diagnostics[flag][rows] |= part.diagnostics[flag]
