"""attack(): everything about an attack that is not its arithmetic.

Batches, compilation, restarts, randomness, best-keeping, dropping of misclassified samples, verification, counting,
progress, storage of unfinished work: once, for all methods. The diagnostics of a result, rows first:

``loss_trace`` float32 ``(n, t)``  the loss at queries ``trace_steps`` int32 ``(t,)``, of each sample's best restart
``first_success`` int32 ``(n,)``   the query at which that restart first succeeded, -1 for never or not known
``zero_gradient, nonfinite``       bool ``(n,)``: in some query the gradient was zero; it or the loss NaN or infinite
``unchanged`` bool ``(n,)``        the result equals the clean image
``repeat_difference`` float32      the largest difference between two predictions of a clean image, for the first 1,000
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from advlab.classifiers.classifier import Classifier
from advlab.data.dataset import Dataset
from advlab.declarations.methods import Method, describe, load_method
from advlab.distances import distance, exceeds
from advlab.engine.run import Run
from advlab.errors import AdvlabError, InvalidValue, unknown
from advlab.problem.problem import Craft
from advlab.provenance import command_line, versions
from advlab.results.result import AttackResult
from advlab.threat import Attack
from advlab.validation import as_int

COMPILE = ("auto", "xla", "graph")


def attack(
    classifier: Classifier,
    dataset: Dataset,
    method: str | Craft = "fgsm",
    *,
    epsilon: float | str | None = None,
    norm: str | None = None,
    target: int | None = None,
    seed: int = 0,
    restarts: int = 1,
    early_stop: bool = False,
    batch_size: int | None = None,
    precision: str = "float32",
    compile: str = "auto",
    attempted: np.ndarray | None = None,
    progress: bool | None = None,
    **parameters: Any,
) -> AttackResult:
    """Craft an adversarial example for each image of a data set.

    ``method`` is a name (``advlab list methods``) or a function ``craft(problem, *, ...)``; ``parameters`` are its own.
    ``epsilon`` is in pixel units of a [0, 1] image; None means linf 0.1, l2 1.5, l1 10, l0 20. ``norm`` None means the
    method's first. ``target`` is the class to reach (None: any wrong one). With ``early_stop`` each sample ends at its
    first success, else at the highest loss among its successes. ``precision="bfloat16"`` takes gradients in that type,
    fast where the processor has units for it, and verifies success in float32. ``compile`` is ``auto``, ``xla`` or
    ``graph``. ``attempted``, bool ``(n,)``, says which images to attack (None: all); the others count as not robust.
    ``progress`` None shows a bar on a terminal.

    Interrupted after some seconds of work, it leaves ``attacks/<classifier>/<slug>.partial.h5`` in the workspace, from
    which the same call resumes. Raises ``UnknownName``, ``InvalidValue`` or ``Mismatch`` before any work.
    """
    description, craft = _resolve(method)
    spec = description.attack(
        epsilon=epsilon,
        norm=norm,
        target=target,
        parameters=parameters,
        seed=seed,
        restarts=restarts,
        early_stop=early_stop,
        precision=precision,
    )
    if compile not in COMPILE:
        raise unknown("compile mode", compile, COMPILE)
    if batch_size is not None:
        batch_size = as_int("batch_size", batch_size, 1)
    classifier.check(dataset)
    if target is not None and target >= classifier.classes:
        raise InvalidValue(f"target must be a class in 0..{classifier.classes - 1}. Got {target}.")
    if target is not None and spec.parameters.get("n_target_classes"):
        raise InvalidValue(
            f"A target leaves no other classes to aim at. Got target={target} and n_target_classes; leave one out."
        )
    if attempted is not None and (np.shape(attempted) != (len(dataset),) or np.asarray(attempted).dtype != bool):
        raise InvalidValue(
            f"attempted must be a bool array of shape ({len(dataset)},), one for each image. "
            f"Got {np.asarray(attempted).dtype} {np.shape(attempted)}."
        )
    run = Run(classifier, dataset, craft, spec, description.goal, batch_size, compile, attempted)
    run.execute(progress, f"{spec.method} on {classifier.name}")
    return _result(run)


def _resolve(method: str | Craft) -> tuple[Method, Craft]:
    if isinstance(method, str):
        return load_method(method), import_module(f"advlab.methods.{method}").craft
    return describe(method), method


def _result(run: Run) -> AttackResult:
    """The finished result: re-predicted on exactly the stored images, its bounds checked in float64."""
    classifier, dataset, spec, best = run.classifier, run.dataset, run.spec, run.best
    x, x_adv = dataset.x, best["x"]
    _refuse_outside(spec, x, x_adv)
    names = ("loss_trace", "first_success", "zero_gradient", "nonfinite")
    diagnostics = {name: best[name] for name in names} | {
        "trace_steps": run.trace_steps,
        "unchanged": np.all(x_adv == x, axis=(1, 2, 3)),
        "repeat_difference": run.repeat_difference,
    }
    return AttackResult(
        attack=spec,
        classifier=classifier.name,
        classifier_digest=classifier.digest,
        dataset=dataset.name,
        split=dataset.split,
        dataset_digest=dataset.digest,
        classes=dataset.classes,
        x=x,
        x_adv=x_adv,
        labels=dataset.y,
        indices=dataset.indices,
        clean_probabilities=run.clean_probabilities,
        adversarial_probabilities=classifier.probabilities(x_adv),
        attempted=run.attempted,
        forward_passes=best["forward"],
        backward_passes=best["backward"],
        seconds=round(run.seconds, 3),
        versions=versions(),
        command=command_line(),
        settings=run.settings | {"computed_fraction": round(run.computed_fraction, 4)},
        notes=classifier.notes,
        diagnostics=diagnostics,
    )


def _refuse_outside(spec: Attack, x: np.ndarray, x_adv: np.ndarray) -> None:
    # Not "below 0 or above 1", so that NaN is outside too.
    outside = ~((x_adv.min((1, 2, 3)) >= 0) & (x_adv.max((1, 2, 3)) <= 1))
    if spec.threat.norm != "none":
        sizes = distance(x, x_adv, spec.threat.norm)
        outside |= exceeds(sizes, spec.threat.norm, spec.threat.epsilon)
    if np.any(outside):
        raise AdvlabError(
            f"Method '{spec.method}' left its ball ({spec.threat.norm}, epsilon {spec.threat.epsilon:g}) or the box "
            f"[0, 1] on {outside.sum()} of {len(x)} images. Let it end each update with problem.ball.project(x)."
        )
