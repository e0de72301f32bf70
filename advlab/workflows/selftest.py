"""Does an attack find what is there to be found? Adversarial examples are planted, and the attack must find them.

Zimmermann et al. 2022, "Increasing confidence in adversarial robustness evaluations", arXiv:2206.13991. For each
image a new linear head of two classes is put on the classifier's own features: it parts one point on the edge of the
ball from the clean image and from many other points, so closely that the point is only just adversarial. An attack that
misses it has a fault, or the features mask their gradient; a random search that finds it says that the task was easy.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from advlab.data.dataset import Dataset
from advlab.declarations.methods import load_method
from advlab.errors import InvalidValue
from advlab.progress import Progress
from advlab.results import combine
from advlab.results.result import AttackResult
from advlab.threat import DEFAULT_EPSILON, ThreatModel, parse_epsilon
from advlab.workflows.inputs import resolve_classifier, resolve_dataset

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier

SCHEMA = 1
INNER, EDGE = 500, 499  # points inside the ball and on its edge that the head must call clean
SEARCH = 1000  # random points on the edge that the control looks at
CLOSENESS = 0.999  # where, between the nearest clean point and the planted one, the boundary lies
TRIES = 5  # planted points to draw until one can be parted from the others


class SelfTest(NamedTuple):
    """How many planted adversarial examples an attack found, and how many a random search.

    ``samples`` images were asked for; around ``planted`` of them the features can tell an edge point from inner ones.
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
            f"{SEARCH:,} random points found {self.random}"
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            "schema": SCHEMA,
            **self._asdict(),
            "threat": {"norm": self.threat.norm, "epsilon": self.threat.epsilon},
        }


def selftest(
    classifier: Classifier | str,
    method: str = "pgd",
    dataset: Dataset | str | None = None,
    *,
    norm: str | None = None,
    epsilon: float | str | None = None,
    samples: int = 100,
    seed: int = 0,
    trust: bool = False,
    progress: bool | None = None,
    parameters: dict[str, Any] | None = None,
) -> SelfTest:
    """Plant an adversarial example around each of the first ``samples`` images and let a method look for it.

    ``classifier`` and ``dataset`` may be names or paths. ``epsilon`` None means linf 0.1, l2 1.5, l1 10, l0 20; what a
    minimal method finds counts within it. ``parameters`` are the method's own.
    """
    declared = load_method(method)
    norm = norm or declared.norms[0]
    radius = parse_epsilon(epsilon) if isinstance(epsilon, str) else epsilon
    aim = radius if declared.goal == "bounded" else None
    declared.attack(norm=norm, epsilon=aim, seed=seed, parameters=parameters)
    if norm not in DEFAULT_EPSILON:
        raise InvalidValue(f"A self-test needs a ball to plant in. Got norm '{norm}'; choose one of: linf, l2, l1, l0.")
    threat = ThreatModel(norm, DEFAULT_EPSILON[norm] if radius is None else radius)

    from advlab.engine.attack import attack

    classifier = resolve_classifier(classifier, trust)
    data = resolve_dataset(dataset, classifier, samples)
    early_stop = declared.goal == "bounded"

    def run(head: Classifier, one: Dataset) -> AttackResult:
        return attack(
            head,
            one,
            method,
            norm=norm,
            epsilon=aim,
            seed=seed,
            early_stop=early_stop,
            progress=False,
            **(parameters or {}),
        )

    return planted(classifier, data.take(samples), threat, run, method, seed, progress)


def planted(
    classifier: Classifier,
    data: Dataset,
    threat: ThreatModel,
    run: Callable[[Classifier, Dataset], AttackResult],
    name: str,
    seed: int = 0,
    progress: bool | None = None,
) -> SelfTest:
    """The test of anything that attacks: ``run(head, one image) -> result``, called once for each planted example."""
    import keras
    import tensorflow as tf

    from advlab.classifiers.classifier import Classifier
    from advlab.classifiers.logits import features_of

    began = time.perf_counter()
    body = features_of(classifier.keras_model)
    features = keras.layers.Flatten(name="planted-features")(body.outputs[0])
    head = keras.layers.Dense(2, name="planted-head")
    binary = Classifier(
        keras.Model(body.inputs[0], head(features)),
        name=f"{classifier.name}-planted",
        scale=classifier.scale,
        offset=classifier.offset,
    )
    seen = keras.Model(body.inputs[0], features)
    see = tf.function(lambda x: seen(classifier.adapted(x), training=False), autograph=False)

    counts = {"planted": 0, "found": 0, "random": 0}
    with Progress(len(data), f"self-test of {name} on {classifier.name}", show=progress) as bar:
        for row in range(len(data)):
            image, draw = data.x[row], np.random.default_rng([seed, int(data.indices[row])])
            weights = _plant(lambda x: see(tf.constant(x)).numpy(), image, threat, draw)
            if weights is not None:
                head.set_weights(weights)
                one = Dataset(
                    name=data.name,
                    split=data.split,
                    x=image[None],
                    y=np.zeros(1, np.int64),
                    indices=data.indices[row : row + 1],
                    classes=("clean", "planted"),
                )
                result = combine.within(run(binary, one), threat)
                search = binary.probabilities(_points(image, threat, SEARCH, draw))
                counts["planted"] += 1
                counts["found"] += int(result.success[0])
                counts["random"] += int(np.any(search.argmax(1) == 1))
            bar.advance(1, found=f"{counts['found']}/{counts['planted']}")
    seconds = round(time.perf_counter() - began, 3)
    return SelfTest(name, classifier.name, threat, len(data), **counts, seconds=seconds)


def _plant(
    features: Callable[[np.ndarray], np.ndarray], image: np.ndarray, threat: ThreatModel, draw: np.random.Generator
) -> list[np.ndarray] | None:
    """The weights of a head that calls one point on the edge adversarial; None where the features cannot tell it."""
    from sklearn.linear_model import RidgeClassifier

    inside, others = _points(image, threat, INNER, draw, inside=True), _points(image, threat, EDGE, draw)
    for _ in range(TRIES):
        planted_one = _points(image, threat, 1, draw)
        seen = features(np.concatenate([image[None], inside, others, planted_one])).astype(np.float64)
        center, spread = seen.mean(0), seen.std(0) + 1e-6
        labels = np.r_[np.zeros(len(seen) - 1), 1]
        # In closed form: the authors' logistic regression takes a hundred times as long to find such a plane.
        plane = RidgeClassifier(alpha=1e-3, class_weight="balanced").fit((seen - center) / spread, labels)
        slope = plane.coef_.ravel() / spread
        heights = seen @ slope
        nearest, highest = heights[:-1].max(), heights[-1]
        if highest > nearest:
            # The logit of "planted" is zero just before the planted point, and one unit away from it at the nearest.
            slope /= highest - nearest
            bias = -(nearest / (highest - nearest) + CLOSENESS)
            return [np.stack([0 * slope, slope], 1).astype(np.float32), np.array([0, bias], np.float32)]
    return None


def _points(
    image: np.ndarray, threat: ThreatModel, count: int, draw: np.random.Generator, inside: bool = False
) -> np.ndarray:
    """float32 ``(count, h, w, c)``: random points on the edge of the ball, or well inside it."""
    shape, epsilon = (count, *image.shape), threat.epsilon * (1 - 1e-6)
    share = draw.uniform(0.5, 0.95, (count, 1, 1, 1)) if inside else np.ones((count, 1, 1, 1))
    if threat.norm == "linf":
        change = draw.uniform(-epsilon, epsilon, shape) if inside else draw.choice([-epsilon, epsilon], shape)
        return np.clip(image + change, 0, 1).astype(np.float32)
    if threat.norm == "l2":
        change = draw.normal(size=shape)
        change *= epsilon * share / np.sqrt((change**2).sum((1, 2, 3), keepdims=True))
        return np.clip(image + change, 0, 1).astype(np.float32)
    positions = image.shape[0] * image.shape[1]
    order = draw.random((count, positions)).argsort(1).argsort(1).reshape(count, *image.shape[:2], 1)
    if threat.norm == "l0":
        return np.where(order < np.floor(share * threat.epsilon), draw.random(shape) < 0.5, image).astype(np.float32)
    # Under L1 a tenth of the positions share the budget: spread over all of them it would be lost in rounding.
    change = np.where(order < max(positions // 10, 1), draw.laplace(size=shape), 0)
    change *= epsilon * share / np.abs(change).sum((1, 2, 3), keepdims=True)
    return np.clip(image + change, 0, 1).astype(np.float32)
