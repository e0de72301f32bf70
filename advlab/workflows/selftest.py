"""Test an attack: adversarial examples are planted, and the attack must find them.

Zimmermann et al. 2022, "Increasing confidence in adversarial robustness evaluations", arXiv:2206.13991. For each image
a new linear head of two classes is put on the classifier's own features: it separates one point on the edge of the ball
from the clean image and from many other points, so closely that the point is only just adversarial. An attack that
misses it has a fault, or the features mask their gradient; if a random search finds it, the task was easy.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from advlab.data.dataset import Dataset
from advlab.declarations.attack import Attack
from advlab.declarations.methods import describe, load_method
from advlab.errors import InvalidValue
from advlab.progress import Progress
from advlab.results import combine
from advlab.results.diagnostics import SelfTestCounts
from advlab.results.result import AttackResult
from advlab.threat import DEFAULT_EPSILON, ThreatModel, parse_epsilon
from advlab.workflows.inputs import (
    MethodLike,
    for_each_image,
    resolve_attack,
    resolve_classifier,
    resolve_dataset,
    resolve_method,
)

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier
    from advlab.workflows.inputs import ClassifierLike, DatasetLike

SCHEMA = 1
INNER_POINTS, EDGE_POINTS = 500, 499  # inside the ball and on its edge, that the head must call clean
RANDOM_POINTS = 1000  # on the edge, predicted by the random search
CLOSENESS = 0.999  # position of the boundary between the nearest clean point and the planted one
MAX_TRIES = 5  # planted points to draw until one can be separated from the others


class SelfTest(NamedTuple):
    """How many planted adversarial examples an attack found, and how many a random search.

    ``samples`` images were requested; around ``planted`` of them the features can separate an edge point from the
    others.
    """

    attack: str
    classifier: str
    threat: ThreatModel
    samples: int
    planted: int
    found: int
    random: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.attack} found {self.found} of {self.planted} planted adversarial examples; "
            f"{RANDOM_POINTS:,} random points found {self.random}"
        )

    @property
    def counts(self) -> SelfTestCounts:
        """What a result keeps of it."""
        return SelfTestCounts(self.planted, self.found, self.random)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            "schema": SCHEMA,
            **self._asdict(),
            "threat": {"norm": self.threat.norm, "epsilon": self.threat.epsilon},
        }


def selftest(
    classifier: ClassifierLike,
    dataset: DatasetLike | None = None,
    method: MethodLike = "pgd",
    *,
    norm: str | float | None = None,
    epsilon: float | str | None = None,
    mask: np.ndarray | str | PathLike[str] | None = None,
    samples: int = 100,
    seed: int | None = None,
    trust: bool = False,
    progress: bool | None = None,
    **parameters: Any,
) -> SelfTest:
    """Plant an adversarial example around each image, and let an attack look for it.

    Args:
        classifier: A ``Classifier``, a Keras model, or the name or path of a saved one.
        dataset: As ``advlab.attack`` takes it.
        method: A name, a function, or an ``advlab.Attack``.
        norm: ``linf``, ``l2``, ``l1`` or ``l0``; None: the method's first.
        epsilon: In pixel units; None: linf 0.1, l2 1.5, l1 10, l0 20. What a minimal method finds counts within it.
        mask: As ``advlab.attack`` takes it: what is planted differs from the image there alone.
        samples: The first so many images.
        seed: Of all random draws; None: 0.
        trust: Whether code in a model file may run.
        progress: Whether to show a bar; None: on a terminal.
        **parameters: Those of the method.

    Raises:
        InvalidValue: For a norm without a ball, or a value out of range.
    """
    settings = {"norm": norm, "seed": seed}
    method = resolve_method(method)
    if isinstance(method, Attack):
        spec = resolve_attack(
            method, {**settings, "epsilon": epsilon if method.goal == "bounded" else None}, parameters
        )
    else:
        declaration = load_method(method) if isinstance(method, str) else describe(method)
        bounded = declaration.goal == "bounded"
        settings |= {"epsilon": epsilon if bounded else None, "early_stop": bounded}
        spec = resolve_attack(method, settings, parameters)
    threat = spec.threat
    if threat.norm not in DEFAULT_EPSILON:
        raise InvalidValue(
            f"A self-test needs a ball of some norm. Got norm '{threat.norm}'; choose one of: linf, l2, l1, l0."
        )
    if spec.goal == "minimal":
        radius = parse_epsilon(epsilon)
        threat = ThreatModel(threat.norm, DEFAULT_EPSILON[threat.norm] if radius is None else radius)

    from advlab.engine.attack import craft

    classifier = resolve_classifier(classifier, trust)
    classifier.require_images("The self-test")
    data = resolve_dataset(dataset, classifier, samples)

    data = data.take(samples)
    masks = for_each_image(spec, data, mask=mask)[1].mask

    def run(head: Classifier, image: Dataset, mask: np.ndarray | None) -> AttackResult:
        masked, given = for_each_image(within_layers(spec, head), image, mask=mask)
        return craft(head, image, masked, per_image=given, progress=False)

    return run_selftest(classifier, data, threat, run, spec.method, spec.seed, progress, masks)


def within_layers(spec: Attack, head: Classifier) -> Attack:
    """The attack with the stand-ins for layers that a self-test's classifier has: it lacks the last ones."""
    from advlab.classifiers.backward import operations_of

    layers = operations_of(head.keras_model)
    return spec.replace(backward={layer: stand_in for layer, stand_in in spec.backward.items() if layer in layers})


def run_selftest(
    classifier: Classifier,
    data: Dataset,
    threat: ThreatModel,
    run: Callable[[Classifier, Dataset, np.ndarray | None], AttackResult],
    name: str,
    seed: int = 0,
    progress: bool | None = None,
    masks: np.ndarray | None = None,
) -> SelfTest:
    """The self-test of any attack: ``run(head, image, mask) -> result`` is called once for each planted example.

    ``masks`` are bool ``(m, h, w, d)``, one for each image or one of all, and ``mask`` is that of the image.
    """
    import keras
    import tensorflow as tf

    from advlab.classifiers.logits import features_of

    began = time.perf_counter()
    body = features_of(classifier.keras_model)
    features = keras.layers.Flatten(name="planted-features")(body.outputs[0])
    head = keras.layers.Dense(2, name="planted-head")
    binary = classifier.with_network(
        keras.Model(body.inputs[0], head(features)), name=f"{classifier.name}-planted", output="logit"
    )
    feature_model = keras.Model(body.inputs[0], features)
    predict = tf.function(lambda x: feature_model(classifier.adapted(x), training=False), autograph=False)

    counts = {"planted": 0, "found": 0, "random": 0}
    with Progress(len(data), f"self-test of {name} on {classifier.name}", show=progress) as bar:
        for row in range(len(data)):
            image, rng = data.x[row], np.random.default_rng([seed, int(data.indices[row])])
            mask = None if masks is None else masks[row % len(masks)]
            weights = _plant(lambda x: predict(tf.constant(x)).numpy(), image, threat, mask, rng)
            if weights is not None:
                head.set_weights(weights)
                dataset = Dataset(
                    name=data.name,
                    split=data.split,
                    x=image[None],
                    y=np.zeros(1, np.int64),
                    indices=data.indices[row : row + 1],
                    classes=("clean", "planted"),
                )
                result = combine.within(run(binary, dataset, None if mask is None else mask[None]), threat)
                random = binary.probabilities(_points(image, threat, mask, RANDOM_POINTS, rng))
                counts["planted"] += 1
                counts["found"] += int(result.success[0])
                counts["random"] += int(np.any(random.argmax(1) == 1))
            bar.advance(1, found=f"{counts['found']}/{counts['planted']}")
    seconds = round(time.perf_counter() - began, 3)
    return SelfTest(name, classifier.name, threat, len(data), **counts, seconds=seconds)


def _plant(
    features: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    threat: ThreatModel,
    mask: np.ndarray | None,
    rng: np.random.Generator,
) -> list[np.ndarray] | None:
    """The weights of a head that calls one point on the edge adversarial; None if the features cannot separate it."""
    from sklearn.linear_model import RidgeClassifier

    inner = _points(image, threat, mask, INNER_POINTS, rng, inside=True)
    edge = _points(image, threat, mask, EDGE_POINTS, rng)
    for _ in range(MAX_TRIES):
        planted = _points(image, threat, mask, 1, rng)
        values = features(np.concatenate([image[None], inner, edge, planted])).astype(np.float64)
        center, spread = values.mean(0), values.std(0) + 1e-6
        labels = np.r_[np.zeros(len(values) - 1), 1]
        # In closed form: the authors' logistic regression takes a hundred times as long.
        plane = RidgeClassifier(alpha=1e-3, class_weight="balanced").fit((values - center) / spread, labels)
        normal = plane.coef_.ravel() / spread
        scores = values @ normal
        nearest, target = scores[:-1].max(), scores[-1]
        if target > nearest:
            # The logit of "planted" is 1 - CLOSENESS at the planted point and -CLOSENESS at the nearest other one.
            normal /= target - nearest
            bias = -(nearest / (target - nearest) + CLOSENESS)
            return [np.stack([0 * normal, normal], 1).astype(np.float32), np.array([0, bias], np.float32)]
    return None


def _points(
    image: np.ndarray,
    threat: ThreatModel,
    mask: np.ndarray | None,
    count: int,
    rng: np.random.Generator,
    inside: bool = False,
) -> np.ndarray:
    """float32 ``(count, h, w, c)``: random points on the edge of the ball or well inside; changed in the mask alone."""
    shape, epsilon = (count, *image.shape), threat.epsilon * (1 - 1e-6)
    free = np.broadcast_to(True if mask is None else mask, image.shape)
    fraction = rng.uniform(0.5, 0.95, (count, 1, 1, 1)) if inside else np.ones((count, 1, 1, 1))
    if threat.norm == "linf":
        change = free * (rng.uniform(-epsilon, epsilon, shape) if inside else rng.choice([-epsilon, epsilon], shape))
        return np.clip(image + change, 0, 1).astype(np.float32)
    if threat.norm == "l2":
        change = free * rng.normal(size=shape)
        change *= epsilon * fraction / np.sqrt((change**2).sum((1, 2, 3), keepdims=True))
        return np.clip(image + change, 0, 1).astype(np.float32)
    free_positions = free.any(-1).ravel()
    order = np.where(free_positions, rng.random((count, free_positions.size)), 1).argsort(1).argsort(1)
    order = order.reshape(count, *image.shape[:2], 1)
    if threat.norm == "l0":
        is_changed = (order < np.floor(fraction * threat.epsilon)) & free
        return np.where(is_changed, rng.random(shape) < 0.5, image).astype(np.float32)
    # Under L1 the budget is spent on a tenth of the positions: spread over all of them it would be lost in rounding.
    change = free * np.where(order < max(free_positions.sum() // 10, 1), rng.laplace(size=shape), 0)
    change *= epsilon * fraction / np.abs(change).sum((1, 2, 3), keepdims=True)
    return np.clip(image + change, 0, 1).astype(np.float32)
