"""Findings: what an archive itself shows about whether its number can be believed.

``CHECKS``, and ``CROSS_CHECKS`` of ``advlab.crosschecks`` for what several archives show together, are the one table
of codes that code, report and documentation share. A code never changes its meaning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from advlab import walks
from advlab.archive import AttackResult
from advlab.comparison import mcnemar
from advlab.metrics import Distances, Rate, exceeds
from advlab.threat import DEFAULT_EPSILON

SEVERITIES = ("error", "warning", "info")
ZERO_GRADIENT_SHARE = 0.05
REPEAT_TOLERANCE = 1e-3
WIDTH = 0.10
PLANTED_FOUND = 0.95
STILL_RISING = 0.05
PASSED_BY = 0.01
ENDED_LOWER = 0.10
SIGNIFICANT = 0.01  # of the two-sided exact test: what is no longer taken for chance
Seen = TypeVar("Seen")


class Finding(NamedTuple):
    """One fault or caution: ``error`` (the number is wrong), ``warning`` (doubt it) or ``info`` (know it)."""

    code: str
    severity: str
    raised_if: str
    means: str
    do: str
    evidence: str


class Facts(NamedTuple):
    """What a check may look at. ``transfer``: the images were crafted against another classifier."""

    result: AttackResult
    distances: Distances
    clean_accuracy: Rate
    robust_accuracy: Rate
    transfer: bool = False

    @property
    def by_gradient(self) -> bool:
        """Whether the attack used gradients of this very classifier."""
        return not self.transfer and bool(self.result.backward_passes.any())

    @property
    def classes(self) -> int:
        """How many the classifier tells apart."""
        return max(self.result.clean_probabilities.shape[1], 2)

    @property
    def climbs(self) -> bool:
        """Whether it climbed the loss of this very classifier inside a ball, as minimal methods do not."""
        return self.by_gradient and self.result.settings.get("kind") != "minimal"


class Check(NamedTuple, Generic[Seen]):
    """One row of the table; ``look`` returns the evidence, or an empty text where nothing is wrong."""

    code: str
    severity: str
    raised_if: str
    means: str
    do: str
    look: Callable[[Seen], str]


def findings(facts: Facts) -> tuple[Finding, ...]:
    """What the checks raise, gravest first."""
    return gravest_first([raised(check, facts) for check in CHECKS])


def raised(check: Check[Seen], seen: Seen) -> Finding | None:
    """The finding of one check, or None."""
    evidence = check.look(seen)
    return Finding(*check[:-1], evidence) if evidence else None


def gravest_first(found: Iterable[Finding | None]) -> tuple[Finding, ...]:
    """Those that were raised: errors, then warnings, then notes."""
    return tuple(sorted(filter(None, found), key=lambda finding: SEVERITIES.index(finding.severity)))


def _budget(facts: Facts) -> str:
    threat = facts.result.attack.threat
    if threat.norm == "none" or not math.isfinite(threat.epsilon):
        return ""
    sizes: np.ndarray = getattr(facts.distances, threat.norm)
    over = exceeds(sizes, threat.norm, threat.epsilon)
    if not over.any():
        return ""
    return f"{_images(over)} exceed epsilon {threat.epsilon:g}; the largest {threat.norm} distance is {sizes.max():.6g}"


def _box(facts: Facts) -> str:
    x_adv = facts.result.x_adv
    outside = np.any(np.logical_not((x_adv >= 0) & (x_adv <= 1)), axis=(1, 2, 3))
    values = f"{x_adv.min():.6g} to {x_adv.max():.6g}"
    return f"{_images(outside)} leave [0, 1]: values from {values}" if np.any(outside) else ""


def _non_finite(facts: Facts) -> str:
    result = facts.result
    bad = ~np.isfinite(result.clean_probabilities).all(1) | ~np.isfinite(result.adversarial_probabilities).all(1)
    flagged = result.diagnostics.get("nonfinite", np.zeros(len(result), bool)).astype(bool)
    return f"{_images(bad | flagged)} met NaN or infinity" if (bad | flagged).any() else ""


def _zero_gradients(facts: Facts) -> str:
    attempted = facts.result.attempted
    zero = facts.result.diagnostics.get("zero_gradient")
    if zero is None or not attempted.any():
        return ""
    zero = zero.astype(bool)[attempted]
    return f"{_images(zero)} met a gradient of exactly zero" if zero.mean() > ZERO_GRADIENT_SHARE else ""


def _unchanged(facts: Facts) -> str:
    result = facts.result
    minimal = result.settings.get("kind") == "minimal"  # where it fails it returns the clean image on purpose
    if minimal or not facts.by_gradient or not 0 < result.attack.threat.epsilon < math.inf:
        return ""
    held = result.robust & result.attempted
    still = facts.distances.l0[held] == 0
    few = still.sum() < 0.01 * len(result)
    return "" if few or still.mean() <= 0.5 else f"{_images(still)} that stayed correct came back unchanged"


def _unstable(facts: Facts) -> str:
    difference = facts.result.diagnostics.get("repeat_difference", np.zeros(1))
    differs = difference > REPEAT_TOLERANCE
    return f"{_images(differs)} differ at a second look, by up to {difference.max():.3g}" if differs.any() else ""


def _near_chance(facts: Facts) -> str:
    chance = 1 / facts.classes
    clean = facts.clean_accuracy.value
    return f"clean accuracy is {clean:.1%} with {facts.classes} classes" if clean < chance + 0.1 * (1 - chance) else ""


def _equals_clean(facts: Facts) -> str:
    threat = facts.result.attack.threat
    large = threat.epsilon >= DEFAULT_EPSILON.get(threat.norm, math.inf)
    clean, robust = facts.clean_accuracy, facts.robust_accuracy
    if not (facts.by_gradient and large and threat.target is None and clean.count):
        return ""
    equal = clean.count - robust.count <= 0.01 * clean.total
    return f"clean {clean.value:.1%}, perturbed {robust.value:.1%} at {threat.norm} {threat.epsilon:g}" if equal else ""


def _few(facts: Facts) -> str:
    low, high, n = facts.robust_accuracy.low, facts.robust_accuracy.high, facts.robust_accuracy.total
    return f"{n:,} images: robust accuracy lies between {low:.1%} and {high:.1%}" if high - low > WIDTH else ""


def _training(facts: Facts) -> str:
    return f"split '{facts.result.split}' of {facts.result.dataset}" if facts.result.split == "train" else ""


def _short_walk(facts: Facts) -> str:
    attack = facts.result.attack
    walks = facts.result.settings.get("kind") == "bounded" and {"steps", "step"} <= attack.parameters.keys()
    reach = float(attack.parameters["step"] or 0) if walks else 1.0
    return f"all {attack.parameters['steps']} steps together reach {reach:.3g} epsilon" if reach < 1 else ""


def _planted(facts: Facts) -> str:
    test = facts.result.settings.get("selftest")
    if not test or not test["planted"] or test["found"] >= PLANTED_FOUND * test["planted"]:
        return ""
    return f"{test['found']} of {test['planted']} planted adversarial examples were found"


def _rising(facts: Facts) -> str:
    standing = int(np.count_nonzero(facts.result.robust & facts.result.attempted))
    share = walks.late_rise(facts.result) if facts.climbs and standing >= 0.01 * len(facts.result) else 0
    if not ("steps" in facts.result.attack.parameters and share > STILL_RISING):
        return ""
    return f"{share:.0%} of the rise of the loss came in the last tenth of the steps, on {standing:,} standing images"


def _last_iterate(facts: Facts) -> str:
    if facts.transfer or facts.result.settings.get("kind") == "minimal":
        return ""
    passed = walks.passed_by(facts.result)
    if passed.sum() > PASSED_BY * facts.result.attempted.sum():
        return f"{_images(passed)} were broken on the way, and not where the attack ended"
    lower, compared = walks.ended_lower(facts.result)
    few = lower <= ENDED_LOWER * compared
    return "" if few else f"{lower:,} of {compared:,} images were returned below the highest loss seen on their way"


def _falls(facts: Facts) -> str:
    fell, walked = walks.fell(facts.result) if facts.climbs else (0, 0)
    return f"{fell:,} of {walked:,} images end at a lower loss than they began with" if fell > walked / 2 else ""


def _above_clean(facts: Facts) -> str:
    result = facts.result
    among = result.attempted
    if facts.transfer or result.attack.method == "noise" or not among.any():
        return ""
    clean = result.correct[among]
    perturbed = (result.adversarial_probabilities.argmax(1) == result.labels)[among]
    higher = perturbed.mean() > clean.mean() and mcnemar(perturbed, clean).p_value < SIGNIFICANT
    return f"accuracy {perturbed.mean():.1%} on the perturbed images, {clean.mean():.1%} on the clean" if higher else ""


def _unbounded(facts: Facts) -> str:
    result, threat = facts.result, facts.result.attack.threat
    height, width, channels = result.x.shape[1:]
    size = height * width * channels
    # So large that every image can be turned into the same grey one, where any classifier is right by chance at most.
    grey = {"linf": 0.5, "l2": 0.5 * size**0.5, "l1": 0.5 * size, "l0": height * width}.get(threat.norm, math.inf)
    if not facts.by_gradient or threat.target is not None or not grey <= threat.epsilon < math.inf:
        return ""
    chance = max(np.bincount(result.labels).max(initial=0) / max(len(result), 1), 1 / facts.classes)
    robust = facts.robust_accuracy
    if robust.low <= chance:
        return ""
    return f"robust accuracy is {robust.value:.1%}, and chance {chance:.1%}, where epsilon is {threat.epsilon:.4g}"


def _noted(code: str) -> Callable[[Facts], str]:
    return lambda facts: f"noted when '{facts.result.classifier}' was loaded" if code in facts.result.notes else ""


def _images(flags: np.ndarray) -> str:
    count = int(np.count_nonzero(flags))
    return f"{count:,} of {len(flags):,} images"


CHECKS: tuple[Check[Facts], ...] = (
    Check(
        "budget-exceeded",
        "error",
        "a perturbation is larger than epsilon",
        "The attack broke its own rule, so its success proves nothing about this budget.",
        "Craft the archive again; if it came from elsewhere, ask for images inside the budget.",
        _budget,
    ),
    Check(
        "box-exceeded",
        "error",
        "a perturbed pixel lies outside [0, 1]",
        "These are not images: no camera or file could hand them to the classifier.",
        "Craft the archive again with an attack that clips to [0, 1].",
        _box,
    ),
    Check(
        "non-finite",
        "error",
        "a gradient, logit or probability is NaN or infinite",
        "Arithmetic broke down, and an argmax over NaN is no prediction.",
        "Look for overflow in the model: a logarithm of zero, a division, exploding weights.",
        _non_finite,
    ),
    Check(
        "zero-gradients",
        "warning",
        f"more than {ZERO_GRADIENT_SHARE:.0%} of the attempted images meet a gradient of exactly zero",
        "The gradient is masked: the attack was blind there and the model only looks robust.",
        "Attack the logits before saturation, and confirm with an attack that needs no gradient, such as 'boundary'.",
        _zero_gradients,
    ),
    Check(
        "unchanged-images",
        "warning",
        "a gradient method returns more than half of the images that stayed correct without any change",
        "The attack did not move, so these images were not tested.",
        "Check that the model is differentiable from input to logits, and that the step size is not zero.",
        _unchanged,
    ),
    Check(
        "unstable-predictions",
        "warning",
        f"two predictions of the same image differ by more than {REPEAT_TOLERANCE:g}",
        "The classifier is random at test time; one look can pass or fail by luck.",
        "Switch dropout or noise off at test time, or attack the mean over many looks.",
        _unstable,
    ),
    Check(
        "clean-near-chance",
        "warning",
        "clean accuracy is less than a tenth of the way from guessing to perfect",
        "The model hardly classifies at all, so robustness cannot be read from it.",
        "It may expect 0-255 or standardised pixels: try --scale and --offset. Check the order of the classes.",
        _near_chance,
    ),
    Check(
        "perturbed-equals-clean",
        "warning",
        "a gradient attack with a large budget costs one point of accuracy or less",
        "Ordinary networks do not withstand this; more often the attack has failed.",
        "Try more steps, restarts, another method, and an attack without gradients.",
        _equals_clean,
    ),
    Check(
        "log-probabilities",
        "warning",
        "the softmax of the model could not be stripped",
        "The attack worked on log p instead of logits; once p rounds to 1 its gradient is lost.",
        "Save the model with a last layer that is plain or ends in softmax, so that its logits can be reached.",
        _noted("log-probabilities"),
    ),
    Check(
        "training-images",
        "warning",
        "the images come from the training split",
        "Classifiers know these images; accuracy on them flatters.",
        "Attack images of the test split.",
        _training,
    ),
    Check(
        "short-walk",
        "warning",
        "steps times step size is below epsilon",
        "The attack cannot reach the edge of its ball, so the budget was not used.",
        "Raise step to at least 1 (its unit is epsilon / steps); 2.5 crosses the ball in any direction.",
        _short_walk,
    ),
    Check(
        "loss-falls",
        "warning",
        "more than half of the images end at a lower loss than they began with",
        "The steps lead the wrong way: a flipped sign, or catastrophic overfitting of the model to single steps.",
        "Check the sign of the loss. Attack with more and smaller steps, such as 'pgd' with steps=100.",
        _falls,
    ),
    Check(
        "above-clean",
        "warning",
        "accuracy on the perturbed images is above clean accuracy, by more than chance",
        "No attack does this on purpose: a flipped sign, or catastrophic overfitting of the model to single steps.",
        "Check the sign of the loss. Attack with more and smaller steps, such as 'pgd' with steps=100.",
        _above_clean,
    ),
    Check(
        "last-iterate",
        "warning",
        f"more than {PASSED_BY:.0%} of the images were broken on the way and returned unbroken, or more than "
        f"{ENDED_LOWER:.0%} were returned below their highest loss",
        "The attack returned the last image of its walk, not the best, and so hides what it found.",
        "Keep the best image of each walk, as the engine does unless a method says keep='last'.",
        _last_iterate,
    ),
    Check(
        "survives-unbounded",
        "warning",
        "robust accuracy stays above chance where epsilon is so large that all images could be made equal",
        "Every classifier falls there, so the attack has failed, here and surely at smaller epsilons.",
        "Look for a masked gradient; try an attack without gradients, such as 'square'.",
        _unbounded,
    ),
    Check(
        "selftest-failed",
        "warning",
        f"the attacks find fewer than {PLANTED_FOUND:.0%} of the adversarial examples planted for them",
        "They miss what is certainly there, so what they left standing proves little.",
        "Look for a masked gradient or a random layer in the model; raise steps and restarts.",
        _planted,
    ),
    Check(
        "loss-still-rising",
        "warning",
        f"on standing images, more than {STILL_RISING:.0%} of the rise of the loss came in the last tenth of the steps",
        "The attack had not come to its end, so more steps may break more.",
        "Attack again with twice the steps: the number should not change.",
        _rising,
    ),
    Check(
        "few-samples",
        "info",
        f"the 95% interval of robust accuracy is wider than {100 * WIDTH:.0f} points",
        "Another draw of images could give a clearly different number.",
        "Use at least 400 images; 1,000 bring the interval below 7 points.",
        _few,
    ),
    Check(
        "independent-sigmoids",
        "info",
        "the model ends in one sigmoid for each class",
        "Its probabilities need not add up to 1; the largest counts as the prediction.",
        "Read confidence as that of one class alone.",
        _noted("independent-sigmoids"),
    ),
)
