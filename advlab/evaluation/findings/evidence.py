"""The evidence for each finding about one result, a function each; an empty text where nothing is wrong.

``advlab.evaluation.findings.checks`` has the table that says what each of them means.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

import numpy as np

from advlab.distances import Distances, exceeds, nearest_other_class
from advlab.evaluation.findings import trace
from advlab.evaluation.metrics import Rate
from advlab.evaluation.significance import SIGNIFICANCE, at_most, mcnemar
from advlab.lazy import by_batches
from advlab.results.result import AttackResult
from advlab.text import START, UNKNOWN, as_numbers

ZERO_GRADIENT_FRACTION = 0.05
REPEAT_TOLERANCE = 1e-3
INTERVAL_WIDTH = 0.10
PLANTED_FRACTION = 0.95
LATE_RISE = 0.05
MISSED_SUCCESSES = 0.01
BELOW_HIGHEST_LOSS = 0.10
LEAST = next(n for n in count(1) if 2 / 2**n < SIGNIFICANCE)  # images on one side only, that are not taken for chance
UNKNOWN_WORDS = 0.10  # of all words of the clean texts
LARGE_EPSILON = 0.25  # of the way to the nearest image of another class; at 0.5 no classifier can be robust at both


class Facts(NamedTuple):
    """What a check may use. ``transfer``: the images were crafted against another classifier."""

    result: AttackResult
    distances: Distances
    clean_accuracy: Rate
    robust_accuracy: Rate
    transfer: bool = False

    @property
    def uses_gradients(self) -> bool:
        """Whether the attack used gradients of this very classifier."""
        return not self.transfer and bool(self.result.backward_passes.any())

    @property
    def classes(self) -> int:
        """How many the classifier tells apart."""
        return max(self.result.clean_probabilities.shape[1], 2)

    @property
    def maximizes_loss(self) -> bool:
        """Whether it maximised the loss of this very classifier inside a ball, as minimal methods do not."""
        return self.uses_gradients and not self.result.minimal


def epsilon_is_large(result: AttackResult) -> bool:
    """Whether epsilon is at least a quarter of the median distance between an image and the nearest of another class.

    That is half of the way to the point in the middle of both, which no classifier can call by both labels: an ordinary
    one gives way long before. Unknown, and so False, where all images have one label, the threat model has no norm, or
    a mask or an epsilon of each image confines it.
    """
    threat = result.attack.threat
    if threat.norm == "none" or threat.per_image:
        return False
    middle = np.median(nearest_other_class(result.x, result.labels, threat.norm))
    return math.isfinite(middle) and bool(threat.epsilon >= LARGE_EPSILON * middle)


def unstable(result: AttackResult) -> bool:
    """Whether two predictions of the same image differed."""
    difference = result.diagnostics.repeat_difference
    return difference is not None and bool(np.any(difference > REPEAT_TOLERANCE))


def budget_exceeded(facts: Facts) -> str:
    threat = facts.result.attack.threat
    if threat.any_of:
        outside = np.all([exceeds(getattr(facts.distances, b.norm), b.norm, b.epsilon) for b in threat.any_of], axis=0)
        return f"{_images(outside)} lie in none of the balls {threat.text}" if outside.any() else ""
    if threat.norm == "none" or not math.isfinite(threat.epsilon):
        return ""
    sizes: np.ndarray = getattr(facts.distances, threat.norm)
    exceeding = exceeds(sizes, threat.norm, facts.result.epsilons)
    if not exceeding.any():
        return ""
    largest = f"the largest {threat.norm} distance is {sizes.max():.6g}"
    return f"{_images(exceeding)} exceed epsilon {threat.epsilon_text}; {largest}"


def box_exceeded(facts: Facts) -> str:
    lows_and_highs = by_batches(lambda x: np.stack([x.min((1, 2, 3)), x.max((1, 2, 3))], 1), facts.result.x_adv)
    low, high = lows_and_highs.T
    outside = np.logical_not((low >= 0) & (high <= 1))
    values = f"{low.min(initial=math.inf):.6g} to {high.max(initial=-math.inf):.6g}"
    return f"{_images(outside)} leave [0, 1]: values from {values}" if np.any(outside) else ""


def non_finite(facts: Facts) -> str:
    result = facts.result
    nonfinite = ~np.isfinite(result.clean_probabilities).all(1) | ~np.isfinite(result.adversarial_probabilities).all(1)
    if result.diagnostics.nonfinite is not None:
        nonfinite |= result.diagnostics.nonfinite.astype(bool)
    return f"{_images(nonfinite)} met NaN or infinity" if nonfinite.any() else ""


def zero_gradients(facts: Facts) -> str:
    attempted = facts.result.attempted
    zero = facts.result.diagnostics.zero_gradient
    if zero is None or not attempted.any():
        return ""
    zero = zero.astype(bool)[attempted]
    return f"{_images(zero)} met a gradient of exactly zero" if zero.mean() > ZERO_GRADIENT_FRACTION else ""


def unchanged_images(facts: Facts) -> str:
    result = facts.result
    minimal = result.minimal  # where it fails it returns the clean image on purpose
    if minimal or not facts.uses_gradients or not 0 < result.attack.threat.epsilon < math.inf:
        return ""
    unchanged = facts.distances.l0[result.robust & result.attempted] == 0
    few = unchanged.sum() < 0.01 * len(result)
    return "" if few or unchanged.mean() <= 0.5 else f"{_images(unchanged)} that stayed correct came back unchanged"


def unstable_predictions(facts: Facts) -> str:
    difference = facts.result.diagnostics.repeat_difference
    if difference is None:
        return ""
    differing = difference > REPEAT_TOLERANCE
    return f"{_images(differing)} differ at a second query, by up to {difference.max():.3g}" if differing.any() else ""


def clean_near_chance(facts: Facts) -> str:
    chance = 1 / facts.classes
    clean = facts.clean_accuracy.value
    return f"clean accuracy is {clean:.1%} with {facts.classes} classes" if clean < chance + 0.1 * (1 - chance) else ""


def perturbed_equals_clean(facts: Facts) -> str:
    threat = facts.result.attack.threat
    clean, robust = facts.clean_accuracy, facts.robust_accuracy
    if not (facts.uses_gradients and not threat.targeted and clean.count >= LEAST):
        return ""
    equal = clean.count - robust.count <= 0.01 * clean.total
    if not equal or not epsilon_is_large(facts.result):
        return ""
    return f"clean {clean.value:.1%}, perturbed {robust.value:.1%} at {threat.norm} {threat.epsilon_text}"


def few_samples(facts: Facts) -> str:
    low, high, n = facts.robust_accuracy.low, facts.robust_accuracy.high, facts.robust_accuracy.total
    return (
        f"{n:,} samples: robust accuracy lies between {low:.1%} and {high:.1%}" if high - low > INTERVAL_WIDTH else ""
    )


def training_images(facts: Facts) -> str:
    return f"split '{facts.result.split}' of {facts.result.dataset}" if facts.result.split == "train" else ""


def step_budget_too_small(facts: Facts) -> str:
    attack = facts.result.attack
    parameters, epsilon = attack.parameters, attack.threat.epsilon
    if facts.result.minimal or "relative_step_size" not in parameters or not epsilon:
        return ""
    steps = float(parameters.get("steps") or parameters.get("epochs") or 0)
    absolute = parameters.get("step_size")
    reach = float(parameters["relative_step_size"] or 0) if absolute is None else steps * float(absolute) / epsilon
    return f"all {steps:g} steps together reach {reach:.3g} epsilon" if reach < 1 else ""


def selftest_failed(facts: Facts) -> str:
    test = facts.result.selftest
    if not test or at_most(test.found, test.planted, PLANTED_FRACTION) >= SIGNIFICANCE:
        return ""
    return f"{test.found} of {test.planted} planted adversarial examples were found"


def loss_still_rising(facts: Facts) -> str:
    robust = int(np.count_nonzero(facts.result.robust & facts.result.attempted))
    fraction = trace.late_rise(facts.result) if facts.maximizes_loss and robust >= 0.01 * len(facts.result) else 0
    if not ("steps" in facts.result.attack.parameters and fraction > LATE_RISE):
        return ""
    return f"{fraction:.0%} of the rise of the loss came in the last tenth of the steps, on {robust:,} robust images"


def last_iterate(facts: Facts) -> str:
    # A random classifier misclassifies an image at one query and not at the next.
    if facts.transfer or facts.result.minimal or unstable(facts.result):
        return ""
    missed = trace.missed_successes(facts.result)
    if missed.sum() > MISSED_SUCCESSES * facts.result.attempted.sum():
        return f"{_images(missed)} were misclassified at an earlier iterate, but not where the attack ended"
    lower, compared = trace.below_highest_loss(facts.result)
    few = lower <= BELOW_HIGHEST_LOSS * compared
    return "" if few else f"{lower:,} of {compared:,} images were returned below the highest loss of their trace"


def loss_decreases(facts: Facts) -> str:
    lower, compared = trace.decreased(facts.result) if facts.maximizes_loss else (0, 0)
    ended_lower = np.arange(compared) < lower
    most = lower > compared / 2 and mcnemar(ended_lower, ~ended_lower).p_value < SIGNIFICANCE
    return f"{lower:,} of {compared:,} images end at a lower loss than they began with" if most else ""


def above_clean(facts: Facts) -> str:
    result = facts.result
    among = result.attempted
    if facts.transfer or result.attack.method == "noise" or not among.any():
        return ""
    clean = result.correct[among]
    perturbed = result.attack.threat.accepts(result.adversarial_probabilities, result.labels)[among]
    higher = perturbed.mean() > clean.mean() and mcnemar(perturbed, clean).p_value < SIGNIFICANCE
    return f"accuracy {perturbed.mean():.1%} on the perturbed images, {clean.mean():.1%} on the clean" if higher else ""


def survives_unbounded(facts: Facts) -> str:
    result, threat = facts.result, facts.result.attack.threat
    height, width, channels = result.x.shape[1:]
    size = height * width * channels
    # So large that every image can be turned into the same grey one, where any classifier is right by chance at most.
    grey_epsilon = {"linf": 0.5, "l2": 0.5 * size**0.5, "l1": 0.5 * size, "l0": height * width}.get(
        threat.norm, math.inf
    )
    restricted = threat.targeted or threat.per_image
    if not facts.uses_gradients or restricted or not grey_epsilon <= threat.epsilon < math.inf:
        return ""
    chance = max(np.bincount(result.labels).max(initial=0) / max(len(result), 1), 1 / facts.classes)
    robust = facts.robust_accuracy
    if robust.low <= chance:
        return ""
    return f"robust accuracy is {robust.value:.1%}, and chance {chance:.1%}, where epsilon is {threat.epsilon_text}"


def noted(code: str) -> Callable[[Facts], str]:
    return lambda facts: f"noted when '{facts.result.classifier}' was loaded" if code in facts.result.notes else ""


def altered_data(facts: Facts) -> str:
    return facts.result.provenance


def unknown_words(facts: Facts) -> str:
    result = facts.result
    if not result.vocabulary:
        return ""
    numbers = as_numbers(np.asarray(result.x))
    count, total = int((numbers == UNKNOWN).sum()), int((numbers > START).sum())
    return f"{count:,} of {total:,} words are unknown" if count > UNKNOWN_WORDS * total else ""


def unchecked_neighbours(facts: Facts) -> str:
    result = facts.result
    parameters = result.attack.parameters
    if not result.vocabulary or parameters.get("vectors") != "" or parameters.get("edit") not in ("substitute", "any"):
        return ""
    changed = int((as_numbers(np.asarray(result.x)) != as_numbers(np.asarray(result.x_adv))).sum())
    return f"{changed:,} words were replaced" if changed else ""


def _images(flags: np.ndarray) -> str:
    count = int(np.count_nonzero(flags))
    return f"{count:,} of {len(flags):,} images"
