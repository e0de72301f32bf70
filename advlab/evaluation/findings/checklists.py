"""Two checklists of the field, answered from what an audit ran: pass, fail or not tested, each with its evidence.

``EVALUATION``: Carlini et al. 2019, "On evaluating adversarial robustness", arXiv:1902.06705, section 4.
``INDICATORS``: Pintor et al. 2021, "Indicators of attack failure", arXiv:2106.09947, the six of section 3.
The questions are worded again. What no software can decide is not tested, and says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from advlab.evaluation.evaluation import Evaluation, worst_case
from advlab.evaluation.findings import trace
from advlab.evaluation.findings.checks import Finding
from advlab.evaluation.findings.evidence import LEAST, unstable
from advlab.evaluation.metrics import Rate
from advlab.evaluation.significance import significantly_more
from advlab.results.diagnostics import SelfTestCounts

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


class AuditRun(NamedTuple):
    """What an audit ran, by role, its findings, and the counts of its self-tests by role."""

    evaluations: Mapping[str, Evaluation]
    findings: tuple[Finding, ...]
    selftests: Mapping[str, SelfTestCounts]

    def robust(self, role: str) -> str:
        """Robust accuracy under the attack of that role, in per cent."""
        return f"{self.evaluations[role].robust_accuracy.value:.1%}"

    def successes(self, role: str) -> int:
        """On how many images it succeeded."""
        evaluation = self.evaluations[role]
        return evaluation.clean_accuracy.count - evaluation.robust_accuracy.count

    @property
    def main(self) -> Evaluation:
        """The attack at the epsilon in question that all others are compared with."""
        return self.evaluations["pgd"]

    @property
    def worst(self) -> Rate:
        """Robust accuracy against the worst of all attacks at that epsilon, image by image."""
        threat = self.main.attack.threat
        return worst_case([e for e in self.evaluations.values() if e.attack.threat == threat]).accuracy


Evidence = Callable[[AuditRun], str]
Verdict = Callable[[AuditRun], tuple[str, str]]


class Item(NamedTuple):
    """One question; ``answer`` gives the verdict and its evidence."""

    code: str
    question: str
    answer: Verdict


def answers(run: AuditRun) -> tuple[Answer, ...]:
    """Both checklists, in the order of their papers."""
    return tuple(
        Answer(item.code, item.question, *item.answer(run), source) for source, items in ITEMS.items() for item in items
    )


def _always_pass(evidence: Evidence) -> Verdict:
    """Passed by every audit, since the audit does this itself."""
    return lambda run: ("pass", evidence(run))


def _not_tested(reason: str) -> Verdict:
    return lambda run: ("not tested", reason)


def _fail_if_raised(codes: tuple[str, ...], evidence: Evidence) -> Verdict:
    """Failed where one of these findings was raised, with its evidence."""

    def answer(run: AuditRun) -> tuple[str, str]:
        raised = [finding.evidence for finding in run.findings if finding.code in codes]
        return ("fail", raised[0]) if raised else ("pass", evidence(run))

    return answer


def _fail_if_compared(codes: tuple[str, ...], evidence: Evidence, roles: tuple[str, ...]) -> Verdict:
    """The same of a comparison of successes; not tested where none of the roles has enough to show a difference."""

    def answer(run: AuditRun) -> tuple[str, str]:
        verdict, text = _fail_if_raised(codes, evidence)(run)
        if verdict == "pass" and max(run.successes(role) for role in roles) < LEAST:
            return "not tested", f"{text}; below {LEAST} images a difference may be chance"
        return verdict, text

    return answer


def _stronger_than_noise(codes: tuple[str, ...], evidence: Evidence) -> Verdict:
    """Passed where pgd is significantly stronger than noise; not tested where neither that nor a finding shows."""

    def answer(run: AuditRun) -> tuple[str, str]:
        verdict, text = _fail_if_raised(codes, evidence)(run)
        noise, pgd = (run.main.result.correct & ~run.evaluations[role].robust for role in ("noise", "pgd"))
        if verdict == "pass" and not significantly_more(pgd, noise):
            return "not tested", f"{_noise(run)}: too few to tell them apart; try a larger epsilon or more images"
        return verdict, text

    return answer


def _kept_successes(run: AuditRun) -> tuple[str, str]:
    if unstable(run.main.result):
        return "not tested", "on a random classifier a success at one query need not be one at the next"
    return _fail_if_raised(("last-iterate",), _missed_successes)(run)


def _curve_reaches_all(run: AuditRun) -> tuple[str, str]:
    roles = ("half", "pgd", "double", "unbounded")
    accuracies = {run.evaluations[role].attack.threat.epsilon: run.robust(role) for role in roles}
    text = ", ".join(f"{accuracy} at {epsilon:.4g}" for epsilon, accuracy in sorted(accuracies.items()))
    unbounded = run.evaluations["unbounded"].robust_accuracy.value
    return ("pass" if unbounded <= 0.01 else "fail"), f"robust accuracy {text}"


def _transfer(run: AuditRun) -> tuple[str, str]:
    if "transfer" not in run.evaluations:
        return "not tested", "no second classifier was given to craft on (surrogate)"
    return _fail_if_compared(("weaker-than-transfer",), _transfer_evidence, ("transfer", "pgd"))(run)


def _transfer_evidence(run: AuditRun) -> str:
    if "transfer" not in run.evaluations:
        return "every gradient was taken from this classifier itself, no surrogate was used"
    surrogate = run.evaluations["transfer"].transfer_from
    transferred, own = run.successes("transfer"), run.successes("pgd")
    return f"images crafted on {surrogate} succeed {transferred:,} times here, those of pgd {own:,} times"


def _planted_examples(run: AuditRun) -> tuple[str, str]:
    tested = {role: test for role, test in run.selftests.items() if test.planted}
    if not tested:
        return "not tested", "no adversarial example could be planted in the features of this model"
    counts = ", ".join(f"{role} {test.found} of {test.planted}" for role, test in tested.items())
    evidence = f"planted adversarial examples found: {counts}"
    return _fail_if_raised(("selftest-failed",), lambda run: evidence)(run)


def _hard_label(run: AuditRun) -> tuple[str, str]:
    tried = run.evaluations.get("recovery-labels-only")
    if tried is None:
        return "not tested", "slow; run 'boundary' or 'hopskipjump'"
    result, asked = tried.result, tried.result.forward_passes > 0
    successes = int(np.count_nonzero(asked & result.success))
    return "pass", f"{result.attack.method} succeeds on {successes:,} of {asked.sum():,} images that were still robust"


def _second_norm(run: AuditRun) -> str:
    second = run.evaluations["second"]
    median = f"the median smallest change is {second.median_distance:.3g}"
    successes = f"{second.attack.method} in {second.attack.threat.norm} succeeds on {run.successes('second'):,} images"
    return f"{successes}; {median if math.isfinite(second.median_distance) else 'on fewer than half'}"


def _threat_model(run: AuditRun) -> str:
    threat = run.main.attack.threat
    return (
        f"any wrong class, full knowledge of the model, {threat.norm} at most {threat.epsilon_text} of pixels in 0..1"
    )


def _parameters_listed(run: AuditRun) -> str:
    return f"{len(run.evaluations)} attacks, every parameter and seed of each in the JSON"


def _published(run: AuditRun) -> tuple[str, str]:
    result = run.main.result
    return "not tested", f"software cannot see what is published; the model's digest is {result.classifier_digest}"


def _clean_accuracy(run: AuditRun) -> str:
    rate = run.main.clean_accuracy
    return f"{rate.value:.1%} [{rate.low:.1%}, {rate.high:.1%}] of {run.main.images}"


def _black_box(run: AuditRun) -> str:
    square, pgd, apgd, fab = (run.successes(role) for role in ("square", "pgd", "apgd", "fab"))
    return f"square succeeds on {square:,} images, pgd on {pgd:,}, apgd on {apgd:,}, fab on {fab:,}"


def _repeat_difference(run: AuditRun) -> str:
    differences = run.main.result.diagnostics.repeat_difference
    difference = 0.0 if differences is None else differences.max(initial=0)
    return f"two predictions of the same image differ by at most {difference:.2g}"


def _gradients(run: AuditRun) -> str:
    diagnostics, attempted = run.main.result.diagnostics, run.main.result.attempted
    zero = (
        np.zeros(len(attempted), bool) if diagnostics.zero_gradient is None else diagnostics.zero_gradient.astype(bool)
    )
    with_gradient = int(np.count_nonzero(attempted & ~zero))
    return f"{with_gradient:,} of {attempted.sum():,} images have a nonzero gradient at every query"


def _converged(run: AuditRun) -> str:
    steps = run.main.attack.parameters["steps"]
    return f"{steps} steps succeed on {run.successes('pgd'):,} images, twice as many on {run.successes('longer'):,}"


def _loss_converged(run: AuditRun) -> str:
    late = trace.late_rise(run.main.result)
    return _converged(run) if np.isnan(late) else f"{late:.1%} of the loss's rise in the last tenth; {_converged(run)}"


def _restarts(run: AuditRun) -> str:
    restarts = run.evaluations["restarted"].attack.restarts
    one, several = run.successes("pgd"), run.successes("restarted")
    return f"success on {one:,} images with one random start, on {several:,} with {restarts}"


def _noise(run: AuditRun) -> str:
    draws = run.evaluations["noise"].attack.restarts
    return f"{draws} draws for each image succeed on {run.successes('noise'):,}, pgd on {run.successes('pgd'):,}"


def _per_image(run: AuditRun) -> str:
    worst = run.worst
    return f"worst case of each image: {worst.value:.1%} [{worst.low:.1%}, {worst.high:.1%}] still robust"


def _missed_successes(run: AuditRun) -> str:
    missed = int(trace.missed_successes(run.main.result).sum())
    return f"{missed} of {len(run.main):,} images were misclassified at an earlier iterate only"


_WEAKER = ("weaker-than-black-box", "weaker-than-transfer", "no-better-than-noise")
_GRADIENT = ("zero-gradients", "unchanged-images", "non-finite", "log-probabilities")
_PATH = ("not-converged", "loss-still-rising", "weaker-than-minimal", "weaker-than-bounded", "attacks-disagree")

ITEMS: dict[str, tuple[Item, ...]] = {
    EVALUATION: (
        Item("threat-model", "Is the threat model precise?", _always_pass(_threat_model)),
        Item(
            "adaptive-attacks",
            "Were attacks made for this defence?",
            _not_tested("only someone who knows the defence can design them; these had the whole model"),
        ),
        Item("published", "Are model and code published?", _published),
        Item("clean-accuracy", "Is clean accuracy reported?", _fail_if_raised(("clean-near-chance",), _clean_accuracy)),
        Item(
            "steps-beat-one-step",
            "Do many steps beat one?",
            _fail_if_compared(
                ("weaker-than-single-step", "loss-decreases", "above-clean"),
                lambda run: f"pgd succeeds on {run.successes('pgd'):,} images, fgsm on {run.successes('fgsm'):,}",
                ("pgd", "fgsm"),
            ),
        ),
        Item(
            "budget-helps",
            "Does success grow with epsilon?",
            _fail_if_compared(
                ("flat-in-epsilon",),
                lambda run: (
                    f"half: {run.successes('half'):,}, epsilon: {run.successes('pgd'):,}, "
                    f"double: {run.successes('double'):,} images"
                ),
                ("half", "pgd", "double"),
            ),
        ),
        Item(
            "unbounded-reaches-chance",
            "Does unbounded epsilon reach chance?",
            _fail_if_raised(("survives-unbounded",), lambda run: f"robust accuracy {run.robust('unbounded')}"),
        ),
        Item("curve-reaches-all", "Does success over epsilon reach 100%?", _curve_reaches_all),
        Item("white-box-is-best", "Is the white box the strongest?", _stronger_than_noise(_WEAKER, _black_box)),
        Item("attacks-described", "Are all hyperparameters listed?", _always_pass(_parameters_listed)),
        Item(
            "diverse-attacks",
            "Are the attacks diverse?",
            _always_pass(
                lambda run: (
                    "gradients of log-odds and of logit ratios, the smallest change, random search, random noise"
                )
            ),
        ),
        Item(
            "gradient-free",
            "Are gradient-free attacks weaker?",
            _fail_if_compared(("weaker-than-black-box",), _black_box, ("square", "pgd", "apgd", "fab")),
        ),
        Item("hard-label", "Was a label-only attack tried?", _hard_label),
        Item("transfer", "Are transferred images weaker?", _transfer),
        Item(
            "randomness",
            "Is the classifier deterministic?",
            _fail_if_raised(("unstable-predictions",), _repeat_difference),
        ),
        Item("differentiable", "Is every part differentiable?", _fail_if_raised(_GRADIENT, _gradients)),
        Item(
            "converged",
            "Does doubling steps change nothing?",
            _fail_if_compared(("not-converged",), _converged, ("pgd", "longer")),
        ),
        Item(
            "random-starts",
            "Do random restarts change nothing?",
            _fail_if_compared(("not-converged",), _restarts, ("pgd", "restarted")),
        ),
        Item("prior-work", "Is it compared with prior work?", _not_tested("that is for a person to do")),
        Item(
            "broader-threats",
            "Were other threat models tried?",
            _always_pass(_second_norm),
        ),
        Item("provable", "Was a provable bound looked for?", _not_tested("run advlab certify on the same images")),
        Item("random-noise", "Is random noise weaker?", _stronger_than_noise(("no-better-than-noise",), _noise)),
        Item(
            "targeted",
            "Were targeted attacks used as well?",
            _always_pass(
                lambda run: (
                    f"apgd aims at {run.evaluations['apgd'].attack.parameters['n_target_classes']} wrong classes"
                )
            ),
        ),
        Item(
            "ablation",
            "Was the defence also removed?",
            _not_tested("run advlab defense-report on the undefended model and this one"),
        ),
        Item("attacks-validated", "Do the attacks find what is planted?", _planted_examples),
        Item("other-domains", "Was other data than images tried?", _not_tested("an audit attacks images")),
        Item("per-image", "Is the worst case taken per image?", _always_pass(_per_image)),
    ),
    INDICATORS: (
        Item("unavailable-gradients", "Are gradients available?", _fail_if_raised(_GRADIENT, _gradients)),
        Item(
            "unstable-predictions",
            "Are predictions stable?",
            _fail_if_raised(("unstable-predictions",), _repeat_difference),
        ),
        Item("silent-success", "Was every success kept?", _kept_successes),
        Item("incomplete-optimization", "Had the attack converged?", _fail_if_raised(_PATH, _loss_converged)),
        Item(
            "transfer-failure",
            "Was the right model attacked?",
            _fail_if_raised(("weaker-than-transfer",), _transfer_evidence),
        ),
        Item(
            "unconstrained-failure",
            "Does it succeed without a bound?",
            _fail_if_raised(("survives-unbounded",), lambda run: f"robust accuracy {run.robust('unbounded')}"),
        ),
    ),
}
