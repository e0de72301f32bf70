"""Evaluate a detector: against attacks that do not know it, and against one that does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from advlab.data.dataset import Dataset, subset
from advlab.errors import InvalidValue
from advlab.evaluation.detection import Detection, attacked
from advlab.evaluation.metrics import rate
from advlab.threat import DEFAULT_EPSILON, ThreatModel, parse_epsilon, parse_norm
from advlab.validation import require_choice, require_int
from advlab.workflows.inputs import resolve_classifier, resolve_dataset

if TYPE_CHECKING:
    from advlab.defenses.detector import Detector
    from advlab.workflows.inputs import ClassifierLike, DatasetLike

_NORMS = ("linf", "l2", "l1")
_FITTED_ON = 2000  # images at most, where the detector is given by its name


def evaluate_detector(
    classifier: ClassifierLike,
    detector: str | Detector,
    dataset: DatasetLike | None = None,
    *,
    attacks: Sequence[str] = ("fgsm", "pgd", "apgd"),
    epsilon: float | str | None = None,
    norm: str = "linf",
    steps: int = 100,
    passes: int = 1,
    false_positive_rate: float = 0.05,
    samples: int = 200,
    seed: int = 0,
    trust: bool = False,
    progress: bool | None = None,
) -> Detection:
    """Does a detector tell adversarial images, also when the attacker attacks it?

    Args:
        classifier: What it watches over.
        detector: A fitted ``Detector``, or the name of one, which is fitted on up to 2,000 images after those attacked.
        dataset: The images; None: what the classifier was trained on.
        attacks: Bounded methods that know only the classifier. The attack on both is run besides.
        epsilon: In pixel units; None means linf 0.1, l2 1.5, l1 10.
        norm: linf, l2 or l1.
        steps: Of the attack on both.
        passes: Of the attack on both: over so many draws its gradients of a random detector are averaged.
        false_positive_rate: Of a detector given by its name.
        samples: The first so many images.
        seed: Of all random draws.
        trust: ``load_classifier``'s.
        progress: Whether to show bars; None: on a terminal.

    Raises:
        Mismatch: For a detector fitted on another classifier.
        InvalidValue, UnknownName: For settings out of range, and a detector or method that there is not.
    """
    require_choice("norm", parse_norm(norm), _NORMS)
    for name, value in (("steps", steps), ("passes", passes), ("samples", samples)):
        require_int(name, value, 1)
    radius = parse_epsilon(epsilon)
    threat = ThreatModel(parse_norm(norm), DEFAULT_EPSILON[parse_norm(norm)] if radius is None else radius)
    if not 0 < threat.epsilon < math.inf:
        raise InvalidValue(f"epsilon must be a number above 0. Got {threat.epsilon_text}. Try 0.1.")

    from advlab.declarations.attack import Attack
    from advlab.defenses.adaptive import craft_joint
    from advlab.defenses.detector import Detector
    from advlab.engine.attack import craft

    specs = [Attack(method, norm=threat.norm, epsilon=threat.epsilon, seed=seed) for method in attacks]
    classifier = resolve_classifier(classifier, trust)
    classifier.require_images("A detector")
    images = resolve_dataset(dataset, classifier, samples + _FITTED_ON)
    classifier.check(images)
    data = images.take(samples)
    if isinstance(detector, str):
        detector = Detector(detector).fit(classifier, _after(images, samples), false_positive_rate)
    detector.require(classifier)

    x = np.asarray(data.x)
    clean = detector.score(x)[classifier.probabilities(x).argmax(1) == data.y]
    crafted = {spec.variant: np.asarray(craft(classifier, data, spec, progress=progress).x_adv) for spec in specs}
    crafted["adaptive"] = craft_joint(detector, data, threat, steps=steps, passes=passes, seed=seed, progress=progress)
    misclassified = {name: classifier.probabilities(x).argmax(1) != data.y for name, x in crafted.items()}
    scores = {name: detector.score(x) for name, x in crafted.items()}
    # Of each image the least suspicious error that any attack made.
    misclassified["all"] = np.any(list(misclassified.values()), axis=0)
    scores["all"] = np.min([np.where(misclassified[name], scores[name], np.inf) for name in crafted], axis=0)
    return Detection(
        detector=detector.name,
        settings=detector.settings,
        classifier=classifier.name,
        digest=classifier.digest,
        threat=threat,
        threshold=detector.threshold,
        false_positives=rate(clean > detector.threshold),
        attacks=tuple(attacked(name, misclassified[name], scores[name], clean, detector.threshold) for name in scores),
    )


def _after(data: Dataset, samples: int) -> Dataset:
    """The images after the first so many; raises ``InvalidValue`` where there are none."""
    if len(data) <= samples:
        raise InvalidValue(
            f"A detector given by its name is fitted on the images after the {samples:,} attacked ones, but data set "
            f"'{data.name}' has {len(data):,}. Take fewer samples, or fit a detector: "
            "advlab.Detector('energy').fit(classifier, data)."
        )
    return subset(data, slice(samples, None))
