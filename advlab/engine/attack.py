"""craft(): everything about an attack that is not its arithmetic.

Batches, compilation, restarts, randomness, best-keeping, dropping of misclassified samples, verification, counting,
progress, storage of unfinished work: once, for all methods.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from advlab import workspace
from advlab.classifiers.classifier import Classifier
from advlab.data.dataset import Dataset
from advlab.declarations.attack import Attack
from advlab.distances import distance, exceeds
from advlab.engine import steps
from advlab.engine.compile import xla_pays
from advlab.engine.cost import require_memory
from advlab.engine.executor import current
from advlab.engine.parts import craft_in_parts
from advlab.engine.plan import make_plan
from advlab.engine.refusals import refuse_targets
from advlab.engine.run import Run
from advlab.engine.slices import Task, can_travel, craft_in_slices, shared_classifier, slices_of, worth_sending
from advlab.errors import AdvlabError, InvalidValue, Mismatch, unknown
from advlab.lazy import fits_in_memory
from advlab.problem.problem import Craft, Loop, UniversalLoop
from advlab.provenance import command_line, versions
from advlab.results.diagnostics import Diagnostics
from advlab.results.per_image import PerImage
from advlab.results.result import AttackResult
from advlab.threat import GIVEN, NAMED_TARGETS, ThreatModel
from advlab.validation import as_int

COMPILE = ("auto", "xla", "graph")


def craft(
    classifier: Classifier,
    dataset: Dataset,
    spec: Attack,
    *,
    batch_size: int | None = None,
    compile: str = "auto",
    attempted: np.ndarray | None = None,
    judged: ThreatModel | None = None,
    per_image: PerImage | None = None,
    unfinished: Path | None = None,
    progress: bool | None = None,
) -> AttackResult:
    """Run an attack: one adversarial example for each image of a data set.

    Args:
        classifier: Of the same image shape and classes as the data set.
        dataset: The images, float32 ``(n, h, w, c)`` in [0, 1].
        spec: What to run.
        batch_size: Images at a time; None: by the size of the model.
        compile: ``auto``, ``xla`` or ``graph``.
        attempted: bool ``(n,)``, the images to attack; the others count as not robust. None: all.
        judged: The threat model under which the bar counts successes; None: that of ``spec``.
        per_image: What differs from image to image, whose digest ``spec`` has.
        unfinished: A file that keeps the work where it is interrupted, and from which it continues; None keeps nothing.
        progress: Whether to show a bar; None: on a terminal.

    Raises:
        InvalidValue: For options out of range, a target that the classifier does not have.
        Mismatch: Where classifier and data set, or unfinished work and this call, do not belong together.
    """
    if compile not in COMPILE:
        raise unknown("compile mode", compile, COMPILE)
    if batch_size is not None:
        batch_size = as_int("batch_size", batch_size, 1)
    classifier.check(dataset)
    require_memory(classifier, len(dataset), batch_size)
    refuse_targets(spec, classifier.classes)
    if attempted is not None and (np.shape(attempted) != (len(dataset),) or np.asarray(attempted).dtype != bool):
        raise InvalidValue(
            f"attempted must be a bool array of shape ({len(dataset)},), one for each image. "
            f"Got {np.asarray(attempted).dtype} {np.shape(attempted)}."
        )
    if classifier.backward and not spec.backward:
        spec = spec.with_backward(classifier.backward)
    classifier = classifier.with_backward(spec.backward)
    method = spec.craft or import_module(f"advlab.methods.{spec.method}").craft
    given = per_image or PerImage()
    if given.target is not None and (highest := given.target.max()) >= classifier.classes:
        raise InvalidValue(f"Each target must be a class in 0..{classifier.classes - 1}. Got {highest}.")
    if given.digest != spec.threat.per_image or (spec.threat.targets == GIVEN and given.target is None):
        raise Mismatch("The attack names other masks, epsilons or targets than those given. Use advlab.attack.")

    whole = Task(dataset, spec, batch_size, compile, attempted, judged, given)

    def spec_of(rows: slice) -> Attack:
        return _spec_of(spec, given.take(rows))

    def task(images: Dataset, rows: slice) -> Task:
        scope = None if attempted is None else attempted[rows]
        return whole._replace(dataset=images, spec=spec_of(rows), attempted=scope, per_image=given.take(rows))

    def run_on(images: Dataset, rows: slice, place: str = "") -> AttackResult:
        label = ", ".join(filter(None, (f"{spec.method} on {classifier.name}", place)))
        return _run(classifier, task(images, rows), method, unfinished, progress, label)

    loop, executor = steps.plan(method, spec, dataset.shape), current()

    def specification(rows: slice) -> dict[str, Any]:
        return {"attack": spec_of(rows).to_dict(), "classifier_digest": classifier.digest}

    # The random draws of another library depend on the batch, and one perturbation of all images needs all of them.
    if executor is not None and isinstance(loop, Loop):
        steps_of_image = spec.restarts * loop.steps * spec.passes
        rows = slices_of(classifier, dataset, attempted, worth_sending(classifier, steps_of_image))
        shared = shared_classifier(classifier) if len(rows) > 1 and can_travel(spec) else None
        if shared is not None:
            total = len(dataset) * steps_of_image
            in_turn = (
                compile if compile != "auto" else "xla" if xla_pays(classifier, total // executor.workers) else "graph"
            )
            longest = max(part.stop - part.start for part in rows)
            whole = whole._replace(compile=in_turn, rows=longest if in_turn == "xla" else None)
            label = f"{spec.method} on {classifier.name}"
            result = craft_in_slices(
                shared, dataset, rows, executor, craft_slice, task, unfinished, specification, progress, label
            )
            return replace(result, attack=spec)
    if fits_in_memory(dataset.x.shape) or isinstance(loop, UniversalLoop):
        return run_on(dataset, slice(None))
    return replace(craft_in_parts(dataset, run_on, unfinished, specification), attack=spec)


def craft_slice(classifier: Classifier, task: Task) -> AttackResult:
    """What a worker does with some images; the clean ones are where the task came from."""
    classifier = classifier.with_backward(task.spec.backward)
    method = import_module(f"advlab.methods.{task.spec.method}").craft
    result = _run(classifier, task, method, None, False, "")
    return replace(result, x=result.x[:0])


def _run(
    classifier: Classifier, task: Task, method: Craft, unfinished: Path | None, progress: bool | None, label: str
) -> AttackResult:
    plan = make_plan(
        classifier,
        task.dataset,
        method,
        task.spec,
        task.batch_size,
        task.compile,
        task.attempted,
        task.judged,
        task.per_image,
        task.rows,
    )
    run = Run(plan)

    def keep_finished(partial: Path, images: int) -> None:
        with contextlib.suppress(AdvlabError):  # it must not cost the result
            _result(run, images).save(workspace.finished_path(partial), force=True)

    run.execute(unfinished, progress, label, keep_finished)
    return _result(run)


def _spec_of(spec: Attack, per_image: PerImage) -> Attack:
    """The same attack on some of its images, which names what was given for those."""
    if not spec.threat.per_image:
        return spec
    # Targets that the attack chooses itself are named by it, not by their digest.
    given = replace(per_image, target=None) if spec.threat.targets in NAMED_TARGETS else per_image
    return spec.replace(threat=replace(spec.threat, per_image=given.digest))


def _result(run: Run, images: int | None = None) -> AttackResult:
    """The result on the first ``images``, None for all: re-predicted on the stored ones, bounds checked in float64."""
    plan, rows = run.plan, slice(images)
    classifier, dataset, best = plan.classifier, plan.dataset, {name: array[rows] for name, array in run.best.items()}
    given, spec = plan.per_image, plan.spec
    if images is not None:
        dataset, given = dataset.take(images), given.take(rows)
        spec = _spec_of(spec, given)
    x, x_adv = np.asarray(dataset.x), best["x"] if images is None else best["x"].copy()
    if spec.goal == "minimal":
        # A sample that is still robust gets its clean image back: there is no smallest perturbation to show.
        failed = ~best["success"]
        x_adv[failed] = x[failed]
    _refuse_outside(spec, given, x, x_adv)
    words = steps.words_of(classifier)
    diagnostics = Diagnostics(
        loss_trace=best["loss_trace"],
        trace_steps=plan.trace_steps,
        first_success=best["first_success"],
        zero_gradient=best["zero_gradient"],
        nonfinite=best["nonfinite"],
        unchanged=np.all(x_adv == x, axis=(1, 2, 3)),
        repeat_difference=plan.repeat_difference,
        similarity=None if words is None else words.similarity(x, x_adv),
    )
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
        clean_probabilities=plan.clean_probabilities[rows],
        adversarial_probabilities=classifier.probabilities(x_adv),
        attempted=plan.attempted[rows],
        forward_passes=best["forward"],
        backward_passes=best["backward"],
        seconds=round(run.seconds, 3),
        versions=versions(),
        command=command_line(),
        per_image=given,
        patch=run.patch,
        execution=run.execution,
        notes=classifier.notes,
        provenance=dataset.provenance,
        vocabulary=dataset.vocabulary,
        diagnostics=diagnostics,
    )


def _refuse_outside(spec: Attack, per_image: PerImage, x: np.ndarray, x_adv: np.ndarray) -> None:
    # Not "below 0 or above 1", so that NaN is outside too.
    outside = ~((x_adv.min((1, 2, 3)) >= 0) & (x_adv.max((1, 2, 3)) <= 1))
    if spec.threat.norm != "none":
        sizes = distance(x, x_adv, spec.threat.norm)
        epsilon = spec.threat.epsilon if per_image.epsilon is None else per_image.epsilon
        outside |= exceeds(sizes, spec.threat.norm, epsilon)
    outside |= per_image.outside(x, x_adv)
    if np.any(outside):
        raise AdvlabError(
            f"Method '{spec.method}' left its ball ({spec.threat.norm}, epsilon {spec.threat.epsilon_text}), its mask "
            f"or the box [0, 1] on {outside.sum()} of {len(x)} images. Let it end each update with "
            "problem.ball.project(x)."
        )
