"""Two checklists of the field, answered from what an audit ran: pass, fail or not tested, each with its evidence.

``EVALUATION``: Carlini et al. 2019, "On evaluating adversarial robustness", arXiv:1902.06705, section 4.
``INDICATORS``: Pintor et al. 2021, "Indicators of attack failure", arXiv:2106.09947, the six of section 3.
The questions are worded again. What no software can decide is not tested, and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from advlab.evaluation.evaluation import Evaluation, worst_case
from advlab.evaluation.findings import trace
from advlab.evaluation.findings.checks import Finding
from advlab.evaluation.metrics import Rate

EVALUATION = "arXiv:1902.06705"
INDICATORS = "arXiv:2106.09947"
TITLES = {EVALUATION: "How to evaluate robustness", INDICATORS: "Indicators of attack failure"}
VERDICTS = ("pass", "fail", "not tested")


class Answer(NamedTuple):
    """One row: ``verdict`` is ``pass``, ``fail`` or ``not tested``; ``source`` is the paper with the checklist."""

    code: str
    question: str
    verdict: str
    evidence: str
    source: str


class Ran(NamedTuple):
    """What an audit ran, by role, and what was found; ``planted`` and ``found`` are those of its self-test."""

    evaluations: Mapping[str, Evaluation]
    findings: tuple[Finding, ...]
    planted: int
    found: int

    def robust(self, role: str) -> str:
        """Robust accuracy under the attack of that role, in per cent."""
        return f"{self.evaluations[role].robust_accuracy.value:.1%}"

    def broken(self, role: str) -> int:
        """How many images it broke."""
        evaluation = self.evaluations[role]
        return evaluation.clean_accuracy.count - evaluation.robust_accuracy.count

    @property
    def main(self) -> Evaluation:
        """The attack at the epsilon in question that all others are held against."""
        return self.evaluations["pgd"]

    @property
    def worst(self) -> Rate:
        """Robust accuracy against the worst of all attacks at that epsilon, image by image."""
        threat = self.main.attack.threat
        return worst_case([e for e in self.evaluations.values() if e.attack.threat == threat]).accuracy


class Item(NamedTuple):
    """One question; ``look`` gives the verdict and its evidence."""

    code: str
    question: str
    look: Callable[[Ran], tuple[str, str]]


def answered(ran: Ran) -> tuple[Answer, ...]:
    """Both checklists, in the order of their papers."""
    return tuple(
        Answer(item.code, item.question, *item.look(ran), source) for source, items in ITEMS.items() for item in items
    )


def _stated(evidence: Callable[[Ran], str]) -> Callable[[Ran], tuple[str, str]]:
    """Passed by every audit, since it does this itself."""
    return lambda ran: ("pass", evidence(ran))


def _open(why: str) -> Callable[[Ran], tuple[str, str]]:
    return lambda ran: ("not tested", why)


def _unless(codes: tuple[str, ...], evidence: Callable[[Ran], str]) -> Callable[[Ran], tuple[str, str]]:
    """Failed where one of these findings was raised, with its evidence."""

    def look(ran: Ran) -> tuple[str, str]:
        raised = [finding.evidence for finding in ran.findings if finding.code in codes]
        return ("fail", raised[0]) if raised else ("pass", evidence(ran))

    return look


def _reaches_all(ran: Ran) -> tuple[str, str]:
    roles = ("half", "pgd", "double", "unbounded")
    points = {ran.evaluations[role].attack.threat.epsilon: ran.robust(role) for role in roles}
    text = ", ".join(f"{share} at {epsilon:.4g}" for epsilon, share in sorted(points.items()))
    left = ran.evaluations["unbounded"].robust_accuracy.value
    return ("pass" if left <= 0.01 else "fail"), f"robust accuracy {text}"


def _transfers(ran: Ran) -> tuple[str, str]:
    if "transfer" not in ran.evaluations:
        return "not tested", "no second classifier was given to craft on (surrogate)"
    return _unless(("weaker-than-transfer",), _shown_transfer)(ran)


def _shown_transfer(ran: Ran) -> str:
    if "transfer" not in ran.evaluations:
        return "every gradient was taken from this classifier itself, no other stands between"
    other = ran.evaluations["transfer"].transfer_from
    return f"images crafted on {other} break {ran.broken('transfer'):,} here, pgd {ran.broken('pgd'):,}"


def _plants(ran: Ran) -> tuple[str, str]:
    if not ran.planted:
        return "not tested", "no adversarial example could be planted in the features of this model"
    found = f"pgd finds {ran.found} of {ran.planted} planted adversarial examples"
    return _unless(("selftest-failed",), lambda ran: found)(ran)


def _threat(ran: Ran) -> str:
    threat = ran.main.attack.threat
    return f"any wrong class, full knowledge of the model, {threat.norm} at most {threat.epsilon:.4g} of pixels in 0..1"


def _described(ran: Ran) -> str:
    return f"{len(ran.evaluations)} attacks, every parameter and seed of each in the JSON"


def _published(ran: Ran) -> tuple[str, str]:
    result = ran.main.result
    return "not tested", f"software cannot see what is published; the model's digest is {result.classifier_digest}"


def _clean(ran: Ran) -> str:
    rate = ran.main.clean_accuracy
    return f"{rate.value:.1%} [{rate.low:.1%}, {rate.high:.1%}] of {ran.main.images}"


def _black(ran: Ran) -> str:
    return f"square breaks {ran.broken('square'):,} images, pgd {ran.broken('pgd'):,}, apgd {ran.broken('apgd'):,}"


def _steady(ran: Ran) -> str:
    difference = ran.main.result.diagnostics["repeat_difference"].max(initial=0)
    return f"two predictions of the same image differ by at most {difference:.2g}"


def _slopes(ran: Ran) -> str:
    diagnostics, attempted = ran.main.result.diagnostics, ran.main.result.attempted
    seen = int(np.count_nonzero(attempted & ~diagnostics["zero_gradient"].astype(bool)))
    return f"{seen:,} of {attempted.sum():,} images have a gradient other than zero at every look"


def _converged(ran: Ran) -> str:
    steps = ran.main.attack.parameters["steps"]
    return f"{steps} steps break {ran.broken('pgd'):,} images, twice as many {ran.broken('longer'):,}"


def _settled(ran: Ran) -> str:
    late = trace.late_rise(ran.main.result)
    return _converged(ran) if np.isnan(late) else f"{late:.1%} of the loss's rise in the last tenth; {_converged(ran)}"


def _restarted(ran: Ran) -> str:
    times = ran.evaluations["restarted"].attack.restarts
    return f"random starts: one breaks {ran.broken('pgd'):,} images, {times} break {ran.broken('restarted'):,}"


def _noise(ran: Ran) -> str:
    draws = ran.evaluations["noise"].attack.restarts
    return f"{draws} draws for each image break {ran.broken('noise'):,}, pgd {ran.broken('pgd'):,}"


def _per_image(ran: Ran) -> str:
    worst = ran.worst
    return f"worst case of each image: {worst.value:.1%} [{worst.low:.1%}, {worst.high:.1%}] stay right"


def _kept(ran: Ran) -> str:
    passed = int(trace.passed_by(ran.main.result).sum())
    return f"{passed} of {len(ran.main):,} images were broken on the way and lost"


_WEAKER = ("weaker-than-black-box", "weaker-than-transfer", "no-better-than-noise")
_GRADIENT = ("zero-gradients", "unchanged-images", "non-finite", "log-probabilities")
_PATH = ("not-converged", "loss-still-rising")

ITEMS: dict[str, tuple[Item, ...]] = {
    EVALUATION: (
        Item("threat-model", "Is the threat model precise?", _stated(_threat)),
        Item(
            "adaptive-attacks",
            "Were attacks made for this defence?",
            _open("only who knows the defence can design them; these had the whole model"),
        ),
        Item("published", "Are model and code published?", _published),
        Item("clean-accuracy", "Is clean accuracy reported?", _unless(("clean-near-chance",), _clean)),
        Item(
            "steps-beat-one-step",
            "Do many steps beat one?",
            _unless(
                ("weaker-than-single-step", "loss-decreases", "above-clean"),
                lambda ran: f"pgd breaks {ran.broken('pgd'):,} images, fgsm {ran.broken('fgsm'):,}",
            ),
        ),
        Item(
            "budget-helps",
            "Does a larger epsilon break more?",
            _unless(
                ("flat-in-epsilon",),
                lambda ran: (
                    f"half: {ran.broken('half'):,}, whole: {ran.broken('pgd'):,}, "
                    f"double: {ran.broken('double'):,} images"
                ),
            ),
        ),
        Item(
            "unbounded-reaches-chance",
            "Is nothing left at unbounded epsilon?",
            _unless(("survives-unbounded",), lambda ran: f"robust accuracy {ran.robust('unbounded')}"),
        ),
        Item("curve-reaches-all", "Does success over epsilon reach 100%?", _reaches_all),
        Item("white-box-is-best", "Is the white box the strongest?", _unless(_WEAKER, _black)),
        Item("attacks-described", "Are all hyperparameters listed?", _stated(_described)),
        Item(
            "diverse-attacks",
            "Are the attacks of several kinds?",
            _stated(lambda ran: "gradients of log-odds and of logit ratios, random search, random noise"),
        ),
        Item(
            "gradient-free",
            "Do gradient-free attacks break fewer?",
            _unless(("weaker-than-black-box",), _black),
        ),
        Item("hard-label", "Was a label-only attack tried?", _open("slow; run 'boundary' or 'hopskipjump'")),
        Item("transfer", "Do transferred images break fewer?", _transfers),
        Item("randomness", "Is the classifier deterministic?", _unless(("unstable-predictions",), _steady)),
        Item("differentiable", "Is every part differentiable?", _unless(_GRADIENT, _slopes)),
        Item("converged", "Does doubling steps change nothing?", _unless(("not-converged",), _converged)),
        Item("random-starts", "Do random restarts change nothing?", _unless(("not-converged",), _restarted)),
        Item("prior-work", "Is it compared with prior work?", _open("that is for a person to do")),
        Item(
            "broader-threats",
            "Were other threat models tried?",
            _open("one norm; see --norm, and the methods 'spatial' and 'noise'"),
        ),
        Item("provable", "Was a provable bound looked for?", _open("advlab attacks; it does not prove")),
        Item("random-noise", "Does random noise break fewer?", _unless(("no-better-than-noise",), _noise)),
        Item(
            "targeted",
            "Were targeted attacks used as well?",
            _stated(
                lambda ran: (
                    f"apgd aims at {ran.evaluations['apgd'].attack.parameters['n_target_classes']} wrong classes"
                )
            ),
        ),
        Item("ablation", "Was the defence also taken off?", _open("needs the undefended model: audit it")),
        Item("attacks-validated", "Do the attacks find what is planted?", _plants),
        Item("other-domains", "Was other data than images tried?", _open("advlab is about images")),
        Item("per-image", "Is the worst taken image by image?", _stated(_per_image)),
    ),
    INDICATORS: (
        Item("unavailable-gradients", "Are gradients there?", _unless(_GRADIENT, _slopes)),
        Item("unstable-predictions", "Are predictions stable?", _unless(("unstable-predictions",), _steady)),
        Item("silent-success", "Was every success kept?", _unless(("last-iterate",), _kept)),
        Item("incomplete-optimization", "Had the attack come to its end?", _unless(_PATH, _settled)),
        Item("transfer-failure", "Was the right model attacked?", _unless(("weaker-than-transfer",), _shown_transfer)),
        Item(
            "unconstrained-failure",
            "Does it succeed without a bound?",
            _unless(("survives-unbounded",), lambda ran: f"robust accuracy {ran.robust('unbounded')}"),
        ),
    ),
}
