"""Findings: what an archive itself shows about whether its number can be believed.

``CHECKS``, and ``CROSS_CHECKS`` in ``cross`` for what several archives show together, are the one table of codes that
code, report and documentation share. A code never changes its meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

from advlab.evaluation.findings import evidence
from advlab.evaluation.findings.evidence import Facts

SEVERITIES = ("error", "warning", "info")
Subject = TypeVar("Subject")


class Finding(NamedTuple):
    """One fault or caution: ``error`` (the number is wrong), ``warning`` (doubt it) or ``info`` (know it)."""

    code: str
    severity: str
    raised_if: str
    means: str
    do: str
    evidence: str


class Check(NamedTuple, Generic[Subject]):
    """One row of the table; ``find`` returns the evidence, or an empty text where nothing is wrong."""

    code: str
    severity: str
    raised_if: str
    means: str
    do: str
    find: Callable[[Subject], str]


def findings(facts: Facts) -> tuple[Finding, ...]:
    """What the checks raise, gravest first."""
    return gravest_first([raised(check, facts) for check in CHECKS])


def raised(check: Check[Subject], subject: Subject) -> Finding | None:
    """The finding of one check, or None."""
    text = check.find(subject)
    return Finding(*check[:-1], text) if text else None


def gravest_first(raised_or_none: Iterable[Finding | None]) -> tuple[Finding, ...]:
    """Those that were raised: errors, then warnings, then notes."""
    return tuple(sorted(filter(None, raised_or_none), key=lambda finding: SEVERITIES.index(finding.severity)))


CHECKS: tuple[Check[Facts], ...] = (
    Check(
        "budget-exceeded",
        "error",
        "a perturbation is larger than epsilon",
        "The attack exceeded its budget, so its success proves nothing about that budget.",
        "Craft the archive again; if it came from elsewhere, ask for images inside the budget.",
        evidence.budget_exceeded,
    ),
    Check(
        "box-exceeded",
        "error",
        "a perturbed pixel lies outside [0, 1]",
        "These are not images: no camera or file could hand them to the classifier.",
        "Craft the archive again with an attack that clips to [0, 1].",
        evidence.box_exceeded,
    ),
    Check(
        "non-finite",
        "error",
        "a gradient, logit or probability is NaN or infinite",
        "Arithmetic broke down, and an argmax over NaN is no prediction.",
        "Look for overflow in the model: a logarithm of zero, a division, exploding weights.",
        evidence.non_finite,
    ),
    Check(
        "zero-gradients",
        "warning",
        f"more than {evidence.ZERO_GRADIENT_FRACTION:.0%} of the attempted images meet a gradient of exactly zero",
        "The gradient is masked: the attack was blind there and the model only looks robust.",
        "Attack the logits before saturation, and confirm with an attack that needs no gradient, such as 'boundary'.",
        evidence.zero_gradients,
    ),
    Check(
        "unchanged-images",
        "warning",
        "a gradient method returns more than half of the images that stayed correct without any change",
        "The attack did not move, so these images were not tested.",
        "Check that the model is differentiable from input to logits, and that the step size is not zero.",
        evidence.unchanged_images,
    ),
    Check(
        "unstable-predictions",
        "warning",
        f"two predictions of the same image differ by more than {evidence.REPEAT_TOLERANCE:g}",
        "The classifier is random at test time; one query can succeed or fail by luck.",
        "Switch dropout or noise off at test time, or attack the mean over many queries.",
        evidence.unstable_predictions,
    ),
    Check(
        "clean-near-chance",
        "warning",
        "clean accuracy is less than a tenth of the way from guessing to perfect",
        "The model hardly classifies at all, so robustness cannot be read from it.",
        "It may expect 0-255 or standardised pixels: try --scale and --offset. Check the order of the classes.",
        evidence.clean_near_chance,
    ),
    Check(
        "perturbed-equals-clean",
        "warning",
        f"a gradient attack costs one point of accuracy or less, where epsilon is at least {evidence.LARGE_EPSILON} of "
        "the median distance to the nearest image of another class",
        "Ordinary networks do not withstand this; more often the attack has failed.",
        "Try more steps, restarts, another method, and an attack without gradients.",
        evidence.perturbed_equals_clean,
    ),
    Check(
        "log-probabilities",
        "warning",
        "the softmax of the model could not be stripped",
        "The attack worked on log p instead of logits; once p rounds to 1 its gradient is lost.",
        "Save the model with a last layer that is plain or ends in softmax, so that its logits can be reached.",
        evidence.noted("log-probabilities"),
    ),
    Check(
        "training-images",
        "warning",
        "the images come from the training split",
        "Classifiers know these images; accuracy on them flatters.",
        "Attack images of the test split.",
        evidence.training_images,
    ),
    Check(
        "step-budget-too-small",
        "warning",
        "steps times step size is below epsilon",
        "The attack cannot reach the edge of its ball, so the budget was not used.",
        "Raise relative_step_size to at least 1 (its unit is epsilon / steps); 2.5 crosses the ball in any direction.",
        evidence.step_budget_too_small,
    ),
    Check(
        "loss-decreases",
        "warning",
        "more than half of the images whose gradient is not zero, and significantly many, end at a lower loss than "
        "they began with",
        "The steps lead the wrong way: a flipped sign, or catastrophic overfitting of the model to single steps.",
        "Check the sign of the loss. Attack with more and smaller steps, such as 'pgd' with steps=100.",
        evidence.loss_decreases,
    ),
    Check(
        "above-clean",
        "warning",
        "accuracy on the perturbed images is above clean accuracy, by more than chance",
        "No attack does this on purpose: a flipped sign, or catastrophic overfitting of the model to single steps.",
        "Check the sign of the loss. Attack with more and smaller steps, such as 'pgd' with steps=100.",
        evidence.above_clean,
    ),
    Check(
        "last-iterate",
        "warning",
        f"more than {evidence.MISSED_SUCCESSES:.0%} of the images were misclassified at an earlier iterate but not as "
        f"returned, or more than {evidence.BELOW_HIGHEST_LOSS:.0%} were returned below their highest loss "
        "(not where predictions are unstable)",
        "The attack returned its last iterate, not the best, and so hides adversarial examples that it found.",
        "Return the best iterate of each image, as the engine does unless a method sets keep='last'.",
        evidence.last_iterate,
    ),
    Check(
        "survives-unbounded",
        "warning",
        "robust accuracy stays above chance where epsilon is so large that all images could be made equal",
        "No classifier can be robust there, so the attack has failed, here and surely at smaller epsilons.",
        "Look for a masked gradient; try an attack without gradients, such as 'square'.",
        evidence.survives_unbounded,
    ),
    Check(
        "selftest-failed",
        "warning",
        f"the attacks find fewer than {evidence.PLANTED_FRACTION:.0%} of the adversarial examples planted for them, by "
        "more than chance",
        "They miss what is certainly there, so the images that are still robust prove little.",
        "Look for a masked gradient or a random layer in the model; raise steps and restarts.",
        evidence.selftest_failed,
    ),
    Check(
        "loss-still-rising",
        "warning",
        f"on images still robust, more than {evidence.LATE_RISE:.0%} of the rise of the loss came in the last tenth of "
        "the steps",
        "The attack had not converged, so it may succeed on more images with more steps.",
        "Attack again with twice the steps: the number should not change.",
        evidence.loss_still_rising,
    ),
    Check(
        "few-samples",
        "info",
        f"the 95% interval of robust accuracy is wider than {100 * evidence.INTERVAL_WIDTH:.0f} points",
        "Another draw of samples could give a clearly different number.",
        "Use at least 400 samples; 1,000 bring the interval below 7 points.",
        evidence.few_samples,
    ),
    Check(
        "independent-sigmoids",
        "info",
        "the model ends in one sigmoid for each class",
        "Its probabilities need not add up to 1; the largest counts as the prediction.",
        "Read confidence as that of one class alone.",
        evidence.noted("independent-sigmoids"),
    ),
    Check(
        "altered-data",
        "info",
        "the images are another edition of the data set than the official one",
        "Accuracies on them are not those on the official images.",
        "Put the official files below ADVLAB_DATA before you compare with published figures.",
        evidence.altered_data,
    ),
    Check(
        "unknown-words",
        "warning",
        "more than a tenth of the words of the clean texts are not in the model's vocabulary",
        "The model does not read them: it was trained on other texts, or words are split otherwise.",
        "Read some texts in the report, and take a model whose vocabulary is that of the texts.",
        evidence.unknown_words,
    ),
    Check(
        "unchecked-neighbours",
        "info",
        "words were replaced by neighbours in the model's own vectors",
        "Words that a model treats alike are no synonyms: some replacements change what a text says.",
        "Read some texts in the report before you quote the number, or give other vectors: --set vectors=FILE.",
        evidence.unchecked_neighbours,
    ),
)
