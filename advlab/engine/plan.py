"""What a run will do, decided before any work: batches, restarts, compilation, what is left to attack."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from advlab.classifiers.classifier import Classifier
from advlab.classifiers.devices import device_name
from advlab.data.dataset import Dataset
from advlab.declarations.attack import Attack
from advlab.engine import steps
from advlab.engine.compile import Slices, rows_at_once, slices, xla_pays
from advlab.engine.refusals import refuse_impossible
from advlab.errors import AdvlabError
from advlab.problem.problem import Craft, ExternalLoop, Loop, UniversalLoop
from advlab.results.per_image import PerImage
from advlab.threat import ThreatModel


class Refinement(NamedTuple):
    """The steps along the boundary with which a minimal method ends."""

    craft: Craft
    spec: Attack
    steps: int


@dataclass(frozen=True, eq=False)
class Plan:
    """One attack on ``n`` images of one data set, and how it is divided.

    Attributes:
        classifier: What is attacked.
        dataset: The images.
        craft: The method.
        spec: What was asked.
        loop: ``Loop``, ``UniversalLoop`` or ``ExternalLoop``: the class of what the method returns.
        steps: Of one restart, 0 where another library counts them.
        rounds: Restarts, times the classes to aim at one after the other.
        refinement: The round after all others, which begins at the nearest success of each image; None for none.
        per_image: Mask and epsilon of each image where they differ, and the target of each where it has one.
        n_target_classes: How many likeliest wrong classes are aimed at, 0 for none.
        attempted: bool ``(n,)``, the images in scope.
        judged: The threat model that successes are reported under, where a suite's is another one than the method's.
        pending: bool ``(n,)``, those of them that there is something to do for.
        clean_probabilities: float32 ``(n, k)``.
        repeat_difference: float32, see ``results.diagnostics.Diagnostics``.
        xla: Whether XLA compiles the steps.
        batches: How many there are.
        slices: How a batch is divided between cores.
    """

    classifier: Classifier
    dataset: Dataset
    craft: Craft
    spec: Attack
    loop: type[Loop | UniversalLoop | ExternalLoop]
    steps: int
    rounds: int
    refinement: Refinement | None
    per_image: PerImage
    n_target_classes: int
    attempted: np.ndarray
    judged: ThreatModel | None
    pending: np.ndarray
    clean_probabilities: np.ndarray
    repeat_difference: np.ndarray
    xla: bool
    batches: int
    slices: Slices

    @property
    def is_external(self) -> bool:
        """Whether another library runs it."""
        return self.loop is ExternalLoop

    @property
    def is_universal(self) -> bool:
        """Whether it seeks one perturbation of all images."""
        return self.loop is UniversalLoop

    @property
    def total_steps(self) -> int:
        """Of all rounds, for one image."""
        return self.rounds * max(self.steps, 1) + (self.refinement.steps if self.refinement else 0)

    @property
    def size(self) -> int:
        """Rows of a full batch."""
        return self.slices.size

    @property
    def trace_steps(self) -> np.ndarray:
        """int32 ``(t,)``: the queries whose loss is stored."""
        return steps.trace_steps(self.steps if self.loop is Loop else 0)

    @property
    def labels(self) -> np.ndarray:
        """int32 ``(n,)``."""
        return self.dataset.y.astype(np.int32)

    @property
    def target(self) -> np.ndarray:
        """int32 ``(n,)``: the class that counts as success, -1 for any but the label."""
        return _as_rows(self.per_image.target, self.spec.threat.target, len(self.dataset))

    def mask(self, rows: np.ndarray) -> np.ndarray | None:
        """bool ``(b, h, w, d)``: where the pixels of the rows may change, None for everywhere."""
        mask = self.per_image.mask
        return None if mask is None else mask[rows if len(mask) > 1 else np.zeros_like(rows)]

    def epsilon(self, rows: np.ndarray) -> np.ndarray | float:
        """float64: the radius of all rows, or ``(b, 1, 1, 1)`` where each has its own."""
        epsilon = self.per_image.epsilon
        return self.spec.threat.epsilon if epsilon is None else epsilon[rows, None, None, None]

    @property
    def left_out(self) -> np.ndarray:
        """bool ``(n,)``: not attempted, because an earlier attack of a suite had succeeded; see ``AttackResult``."""
        return ~self.attempted & (self.dataset.y != self.target)

    @property
    def correct(self) -> np.ndarray:
        """bool ``(n,)``: the clean image is classified as its label."""
        return self.spec.threat.accepts(self.clean_probabilities, self.dataset.y)


def make_plan(
    classifier: Classifier,
    dataset: Dataset,
    craft: Craft,
    spec: Attack,
    batch_size: int | None,
    compile: str,
    attempted: np.ndarray | None,
    judged: ThreatModel | None,
    given: PerImage,
    fixed_rows: int | None = None,
) -> Plan:
    """Decide how an attack is run; raises ``InvalidValue`` for what its method cannot do.

    ``fixed_rows`` are the rows of each batch, however few images there are; None: as many as are needed.
    """
    n = len(dataset)
    loop = steps.plan(craft, spec, dataset.x.shape[1:])
    count = loop.steps if isinstance(loop, Loop) else loop.epochs if isinstance(loop, UniversalLoop) else 0
    classes = min(int(spec.parameters.get("n_target_classes") or 0), classifier.classes - 1)
    refuse_impossible(classifier, dataset, craft, spec, loop, given)

    clean = classifier.probabilities(dataset.x)
    per_image = replace(given, target=_choose_targets(spec, given.target, dataset, clean))
    target = _as_rows(per_image.target, spec.threat.target, n)
    in_scope = (dataset.y != target) & (True if attempted is None else attempted)
    # Images that are their own best, where the nearest or first success is wanted, cost nothing.
    succeeds = np.where(target >= 0, clean.argmax(1) == target, ~spec.threat.accepts(clean, dataset.y))
    pending = in_scope & ~(succeeds & (spec.goal == "minimal" or spec.early_stop))
    rounds = spec.restarts * max(classes, 1)
    xla = compile == "xla" or (compile == "auto" and xla_pays(classifier, n * rounds * count * spec.passes))
    one_pass = isinstance(loop, Loop) and loop.extra == (0, 0)
    max_rows = fixed_rows or batch_size or rows_at_once(classifier, dataset.shape, one_pass)
    batches = max(1, math.ceil(pending.sum() / max_rows))
    rows = fixed_rows or max(1, math.ceil(pending.sum() / batches))
    return Plan(
        classifier=classifier,
        dataset=dataset,
        craft=craft,
        spec=spec,
        loop=type(loop),
        steps=count,
        rounds=rounds,
        refinement=_refinement(spec, loop),
        per_image=per_image,
        n_target_classes=classes,
        attempted=in_scope,
        judged=judged,
        pending=pending,
        clean_probabilities=clean,
        repeat_difference=classifier.repeat_difference(dataset.x, clean),
        xla=xla,
        batches=batches,
        slices=slices(rows, xla and not isinstance(loop, UniversalLoop)),
    )


def in_smaller_batches(plan: Plan, finished: int, cause: Exception) -> Plan:
    """The rest of a plan, after so many finished batches, with half as many images at a time.

    Raises ``AdvlabError`` where that cannot help: a single image, or images that share one perturbation.
    """
    if plan.size == 1 or plan.is_universal:
        kind = f"method '{plan.spec.method}' on {plan.size} images at a time"
        raise AdvlabError(
            f"The memory of {device_name()} is too small for {kind} of model '{plan.classifier.name}'. Choose "
            + ("a smaller --batch-size." if plan.size > 1 else "another --device, or a smaller model.")
        ) from cause
    rows = np.array_split(np.flatnonzero(plan.pending), plan.batches)[finished:]
    pending = np.zeros_like(plan.pending)
    pending[np.concatenate(rows)] = True
    size = math.ceil(plan.size / 2)
    batches = math.ceil(pending.sum() / size)
    rows_each = math.ceil(pending.sum() / batches)
    return replace(plan, pending=pending, batches=batches, slices=slices(rows_each, plan.xla))


def _refinement(spec: Attack, loop: Any) -> Refinement | None:
    module = import_module("advlab.methods._refine")
    if not isinstance(loop, Loop) or spec.goal != "minimal" or not loop.refine or spec.early_stop:
        return None
    if spec.threat.norm not in module.STEPS:
        return None
    refine = spec.replace(parameters={"confidence": float(loop.confidence)}, overrides=())
    return Refinement(module.craft, refine, module.STEPS[spec.threat.norm])


def _as_rows(targets: np.ndarray | None, target: int | None, n: int) -> np.ndarray:
    """int32 ``(n,)``: the class that counts as success, -1 for any but the label."""
    return np.full(n, -1 if target is None else target, np.int32) if targets is None else targets.astype(np.int32)


def _choose_targets(spec: Attack, given: np.ndarray | None, dataset: Dataset, clean: np.ndarray) -> np.ndarray | None:
    """int64 ``(n,)``: the target of each image, None where all have the same; never the label unless given so."""
    labels, classes = dataset.y.astype(np.int64), clean.shape[1]
    if spec.threat.targets == "least-likely":
        likely = clean.astype(np.float64)
        likely[np.arange(len(labels)), labels] = np.inf
        return likely.argmin(1)
    if spec.threat.targets == "random":
        draws = [np.random.default_rng([spec.seed, int(i)]).integers(classes - 1) for i in dataset.indices]
        return (labels + 1 + np.array(draws, np.int64)) % classes
    return given
