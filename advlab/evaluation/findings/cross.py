"""Findings about several attacks at once: what the results on one classifier and the same samples say of each other.

Attacks are compared sample by sample, never by their averages alone: Carlini et al. 2019, "On evaluating adversarial
robustness", arXiv:1902.06705, section 5. A difference counts when McNemar's exact test does not take it for chance and
it is at least one point of accuracy; the parts of a cascade are compared on the images that both attacked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from advlab.distances import distance
from advlab.evaluation.findings import cross_evidence
from advlab.evaluation.findings.checks import Check, Finding, gravest_first, raised
from advlab.evaluation.findings.cross_evidence import Group, Member
from advlab.evaluation.significance import POINT
from advlab.evaluation.table import as_evaluations, labels
from advlab.formatting import printable

if TYPE_CHECKING:
    from advlab.evaluation.evaluation import Evaluation


def cross_findings(evaluations: Evaluation | Iterable[Evaluation]) -> tuple[Finding, ...]:
    """What evaluations show about each other, gravest first; each one's own findings are not repeated.

    Compared are those on one classifier and the same samples. Joined results stay out. The later parts of a cascade
    attack only the images that are still robust after the parts before them, and are compared on these alone.
    """
    evaluations = as_evaluations(evaluations)
    groups: dict[tuple[str, str], list[tuple[str, Evaluation]]] = {}
    for evaluation, name in zip(evaluations, labels(evaluations), strict=True):
        result = evaluation.result
        if len(evaluation) and not evaluation.joins:
            key = (result.classifier_digest, result.dataset_digest)
            groups.setdefault(key, []).append((printable(name), evaluation))
    comparable = [tuple(_member(*pair) for pair in group) for group in groups.values() if len(group) > 1]
    return gravest_first([raised(check, group) for group in comparable for check in CROSS_CHECKS])


def _member(name: str, evaluation: Evaluation) -> Member:
    result, threat = evaluation.result, evaluation.attack.threat
    bounded = math.isfinite(threat.epsilon) or threat.norm == "none"
    sizes = None if bounded else distance(result.x, result.x_adv, threat.norm)
    return Member(name, evaluation, sizes)


CROSS_CHECKS: tuple[Check[Group], ...] = (
    Check(
        "weaker-than-single-step",
        "warning",
        "a single step succeeds on clearly more images than many steps do",
        "Many steps can do all that one can, so the optimisation failed: masked gradients, or a bad step size.",
        "Check the sign and size of the steps and take more of them; try an attack without gradients.",
        cross_evidence.weaker_than_single_step,
    ),
    Check(
        "weaker-than-black-box",
        "warning",
        "an attack without gradients succeeds on clearly more images than all those with gradients together",
        "A white-box attack must not do worse: its gradients mislead it (masked gradients).",
        "Believe the lower number, and look for what masks the gradient: saturation, rounding, randomness.",
        cross_evidence.weaker_than_black_box,
    ),
    Check(
        "black-box-after-white-box",
        "warning",
        f"in a cascade, an attack without gradients succeeds on more than {cross_evidence.LEFT_BY_WHITE_BOX:.1%} of "
        "the images, and significantly many, after all those with gradients had failed",
        "Gradients did not find what a search without them finds: they may be masked, and more images may yet succeed.",
        "Look for what masks the gradient: saturation, rounding, randomness; give the search more queries.",
        cross_evidence.black_box_after_white_box,
    ),
    Check(
        "weaker-than-minimal",
        "warning",
        f"a minimal attack succeeds within epsilon on over {cross_evidence.FAR:.0%} of the images more than all "
        "bounded ones together",
        "Both follow gradients of the same model, so the loss of the bounded ones is masked: it saturates, or is flat.",
        "Believe the lower number; attack with another loss ('dlr'), and look for large logits and saturation.",
        cross_evidence.weaker_than_minimal,
    ),
    Check(
        "weaker-than-bounded",
        "warning",
        f"a bounded attack succeeds on over {cross_evidence.FAR:.0%} of the images more than FAB does within "
        "epsilon (not where predictions are unstable)",
        "FAB steps onto a linear picture of the boundary; far behind, it shows that gradients mislead.",
        "Read the number as an upper bound. Look for jumps or steep slopes in the model; put something smooth there.",
        cross_evidence.weaker_than_bounded,
    ),
    Check(
        "weaker-than-transfer",
        "warning",
        "images crafted on another classifier succeed clearly more often than all white-box attacks together",
        "A white-box attack must not do worse: its gradients mislead it (masked gradients).",
        "Believe the lower number, and look for what masks the gradient: saturation, rounding, randomness.",
        cross_evidence.weaker_than_transfer,
    ),
    Check(
        "no-better-than-noise",
        "warning",
        f"an attack succeeds on under {POINT:.0%} of the images more than random noise of the same size, where noise "
        "succeeds on that many or epsilon is as large as for `perturbed-equals-clean`",
        "It found nothing that chance would not find: a faulty attack or a masked gradient.",
        "Raise epsilon to see whether accuracy ever drops; try more steps and another method.",
        cross_evidence.no_better_than_noise,
    ),
    Check(
        "flat-in-epsilon",
        "warning",
        "a larger epsilon gives clearly fewer successes, or one at twice the size and as large as for "
        "`perturbed-equals-clean` not one more",
        "A larger ball holds the smaller one, so an attack that works gets stronger as it grows.",
        "Tie the step size to epsilon, take more steps, and look for a masked gradient.",
        cross_evidence.flat_in_epsilon,
    ),
    Check(
        "not-converged",
        "warning",
        "the same attack succeeds on clearly more images with more steps or restarts",
        "It was stopped before it converged: the number is that of the step budget, not of the model.",
        "Double the steps, or the restarts, until the number no longer changes.",
        cross_evidence.not_converged,
    ),
    Check(
        "attacks-disagree",
        "warning",
        "all attacks together succeed on clearly more images than the strongest of them alone (not where predictions "
        "are unstable)",
        "Each finds what the others miss, so all together still miss some: the gradient misleads them here and there.",
        "Read the number as an upper bound. Take more steps and restarts; look for jumps or steep slopes in the model.",
        cross_evidence.attacks_disagree,
    ),
)
