"""Findings about several attacks at once: what the results on one classifier and the same samples say of each other.

Attacks are compared sample by sample, never by their averages alone: Carlini et al. 2019, "On evaluating adversarial
robustness", arXiv:1902.06705, section 5. A difference counts when McNemar's exact test does not take it for chance and
it is at least one point of accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from advlab.distances import distance, exceeds
from advlab.evaluation.findings.checks import Check, Finding, gravest_first, raised
from advlab.evaluation.findings.evidence import SIGNIFICANT
from advlab.evaluation.significance import mcnemar
from advlab.evaluation.table import labels
from advlab.formatting import printable
from advlab.threat import DEFAULT_EPSILON, Attack, ThreatModel

if TYPE_CHECKING:
    from advlab.evaluation.evaluation import Evaluation

NOISE = ("noise", "naive")
POINT = 0.01
STANDING = 0.10  # of the clean accuracy: where fewer images stand, there is nothing left to find
SAID = 2  # so many comparisons are told in full
_CLOSER = 0.99  # a perturbation is smaller than another below this share of it


class Member(NamedTuple):
    """One evaluation and its name in a table of all; ``sizes``: of its perturbations, for a minimal method."""

    name: str
    evaluation: Evaluation
    sizes: np.ndarray | None

    @property
    def attack(self) -> Attack:
        """What was run."""
        return self.evaluation.attack

    @property
    def where(self) -> str:
        """Of which images of which classifier a count is."""
        return f"of {len(self.evaluation):,} images on {printable(self.evaluation.classifier)}"

    @property
    def white_box(self) -> bool:
        """Whether it used gradients of the classifier that it is judged on."""
        return self.evaluation.transfer_from is None and bool(self.evaluation.result.backward_passes.any())

    @property
    def noise(self) -> bool:
        """Whether it is a control that every attack must beat."""
        return self.attack.method in NOISE

    @property
    def black_box(self) -> bool:
        """Whether it searched without gradients."""
        return self.evaluation.transfer_from is None and not self.white_box and not self.noise

    @property
    def looks(self) -> int:
        """The number of the last look of its walk: 1 for a single step, 0 where no walk is stored."""
        steps = self.evaluation.result.diagnostics.get("trace_steps")
        return int(steps.max(initial=0)) if steps is not None and self.white_box else 0

    def needs(self, threat: ThreatModel) -> np.ndarray:
        """float64 ``(n,)``: what it takes this attack to break each sample under a threat model, inf where it fails.

        Under a finite epsilon 0 for success; under an infinite one the size of the perturbation.
        """
        result = self.evaluation.result
        broken = result.correct & result.success
        if self.sizes is None:
            return np.where(broken, 0.0, np.inf)
        if math.isfinite(threat.epsilon):
            return np.where(broken & ~exceeds(self.sizes, threat.norm, threat.epsilon), 0.0, np.inf)
        return np.where(broken, self.sizes, np.inf)


Group = tuple[Member, ...]
Kind = Callable[[Member], bool]


def cross_findings(evaluations: Sequence[Evaluation]) -> tuple[Finding, ...]:
    """What evaluations show about each other, gravest first; each one's own findings are not repeated.

    Compared are those on one classifier and the same samples. Joined results and the parts of a cascade stay out: a
    part is given only what the parts before it left standing.
    """
    groups: dict[tuple[str, str], list[tuple[str, Evaluation]]] = {}
    for evaluation, name in zip(evaluations, labels(evaluations), strict=True):
        result = evaluation.result
        if len(evaluation) and not evaluation.joins and not result.left_out.any():
            key = (result.classifier_digest, result.dataset_digest)
            groups.setdefault(key, []).append((printable(name), evaluation))
    several = [tuple(_member(*pair) for pair in group) for group in groups.values() if len(group) > 1]
    return gravest_first([raised(check, group) for group in several for check in CROSS_CHECKS])


def _member(name: str, evaluation: Evaluation) -> Member:
    result, threat = evaluation.result, evaluation.attack.threat
    limited = math.isfinite(threat.epsilon) or threat.norm == "none"
    sizes = None if limited else distance(result.x, result.x_adv, threat.norm)
    return Member(name, evaluation, sizes)


def _clearly(more: np.ndarray, less: np.ndarray) -> bool:
    """Whether the first, bool ``(n,)``, holds for more samples than the second, by a point and not by chance."""
    test = mcnemar(more, less)
    return test.only_first - test.only_second >= POINT * len(more) and test.p_value < SIGNIFICANT


def _settings(group: Group) -> Iterator[tuple[ThreatModel, Group]]:
    """Each threat model of a ball with the attacks that can be judged under it: its own, and minimal ones."""
    for threat in dict.fromkeys(member.attack.threat for member in group):
        unlimited = replace(threat, epsilon=math.inf)
        if threat.norm != "none":
            yield threat, tuple(member for member in group if member.attack.threat in (threat, unlimited))


def _outdone(group: Group, strong: Kind, weak: Kind, together: bool = False) -> str:
    """Where a kind of attack that ought to be weaker breaks clearly more: than each of the strong, or all together."""
    found = []
    for threat, members in _settings(group):
        strongest = [member for member in members if strong(member)]
        rivals = [strongest] if together and strongest else [[member] for member in strongest]
        for other in filter(weak, members):
            cheap = other.needs(threat)
            for rival in rivals:
                least = np.min([member.needs(threat) for member in rival], axis=0)
                if _clearly(cheap < _CLOSER * least, least < _CLOSER * cheap):
                    found.append(_said(other, cheap, rival, least, threat))
    return _together(list(dict.fromkeys(found)))


def _said(other: Member, cheap: np.ndarray, rival: list[Member], least: np.ndarray, threat: ThreatModel) -> str:
    names = rival[0].name if len(rival) == 1 else f"{len(rival)} attacks with gradients together"
    if math.isinf(threat.epsilon):
        closer = int(np.count_nonzero(cheap < _CLOSER * least))
        return f"{other.name} finds a smaller change than {names} for {closer:,} {other.where}"
    ours, theirs = np.isfinite(cheap), np.isfinite(least)
    missed = int(np.count_nonzero(ours & ~theirs))
    return f"{other.name} breaks {ours.sum():,} {other.where}, {names} {theirs.sum():,}; {missed:,} only the former"


def _single_step(group: Group) -> str:
    return _outdone(group, lambda m: m.looks > 1 and math.isfinite(m.attack.threat.epsilon), lambda m: m.looks == 1)


def _black_box(group: Group) -> str:
    return _outdone(group, lambda m: m.white_box, lambda m: m.black_box, together=True)


def _transfer(group: Group) -> str:
    return _outdone(group, lambda m: m.white_box, lambda m: m.evaluation.transfer_from is not None, together=True)


def _noise(group: Group) -> str:
    found = []
    for threat, members in _settings(group):
        controls = [member for member in members if member.noise and math.isfinite(threat.epsilon)]
        for control in controls:
            broken = np.isfinite(control.needs(threat))
            correct = control.evaluation.result.correct
            room = np.count_nonzero(correct & ~broken) > STANDING * np.count_nonzero(correct)
            for member in members:
                own = np.isfinite(member.needs(threat))
                if room and (member.white_box or member.black_box) and not _clearly(own, broken):
                    found.append(f"{member.name} breaks {own.sum():,} {member.where}, {control.name} {broken.sum():,}")
    return _together(found)


def _together(found: list[str]) -> str:
    """All that was found, in a length that can be read."""
    return "; ".join([*found[:SAID], *([f"and {len(found) - SAID} more"] if len(found) > SAID else [])])


def _series(group: Group, key: Callable[[Attack], object], size: Callable[[Attack], float]) -> Iterator[Group]:
    """Bounded attacks that are alike in all but one thing, in the order of that thing."""
    series: dict[object, list[Member]] = {}
    for member in group:
        if math.isfinite(member.attack.threat.epsilon) and not member.noise:
            series.setdefault((member.evaluation.transfer_from, key(member.attack)), []).append(member)
    return (tuple(sorted(members, key=lambda m: size(m.attack))) for members in series.values() if len(members) > 1)


def _flat(group: Group) -> str:
    def alike(attack: Attack) -> object:
        return attack.variant, attack.threat.norm, attack.threat.target, attack.code

    found = []
    for series in _series(group, alike, lambda attack: attack.threat.epsilon):
        for small, large in pairwise(series):
            less, more = (np.isfinite(m.needs(m.attack.threat)) for m in (small, large))
            correct = large.evaluation.result.correct
            wide = large.attack.threat.epsilon >= max(
                2 * small.attack.threat.epsilon, DEFAULT_EPSILON[large.attack.threat.norm]
            )
            flat = wide and more.sum() <= less.sum()
            room = np.count_nonzero(correct & ~more) > STANDING * np.count_nonzero(correct)
            if (flat and room) or _clearly(less, more):
                found.append(f"{small.name} breaks {less.sum():,} {small.where}, {large.name} {more.sum():,}")
    return _together(found)


def _unfinished(group: Group) -> str:
    def alike(attack: Attack) -> object:
        rest = tuple(sorted((n, v) for n, v in attack.parameters.items() if n != "steps"))
        return attack.method, attack.threat, rest, attack.seed, attack.code

    def work(attack: Attack) -> float:
        return float(attack.parameters.get("steps") or 1) * attack.restarts

    found = []
    for series in _series(group, alike, work):
        for short, long in pairwise(series):
            less, more = (np.isfinite(m.needs(m.attack.threat)) for m in (short, long))
            if work(long.attack) > work(short.attack) and _clearly(more, less):
                found.append(
                    f"{short.name} breaks {less.sum():,} {short.where}, "
                    f"with {work(long.attack) / work(short.attack):.3g} times the steps {more.sum():,}"
                )
    return _together(found)


CROSS_CHECKS: tuple[Check[Group], ...] = (
    Check(
        "weaker-than-single-step",
        "warning",
        "a single step breaks clearly more images than many steps do",
        "Many steps can do all that one can, so the walk is broken: masked gradients, or a bad step size.",
        "Check the sign and size of the steps and take more of them; try an attack without gradients.",
        _single_step,
    ),
    Check(
        "weaker-than-black-box",
        "warning",
        "an attack without gradients breaks clearly more images than all those with gradients together",
        "Who knows the model must not do worse: its gradients mislead the attack (masked gradients).",
        "Believe the lower number, and look for what masks the gradient: saturation, rounding, randomness.",
        _black_box,
    ),
    Check(
        "weaker-than-transfer",
        "warning",
        "images crafted on another classifier break clearly more than all attacks with this one's gradients together",
        "Who knows the model must not do worse: its gradients mislead the attack (masked gradients).",
        "Believe the lower number, and look for what masks the gradient: saturation, rounding, randomness.",
        _transfer,
    ),
    Check(
        "no-better-than-noise",
        "warning",
        "an attack does not break clearly more images than random noise of the same size",
        "It found nothing that chance would not find: a broken attack, a masked gradient, or a very small epsilon.",
        "Raise epsilon to see whether the model ever falls; try more steps and another method.",
        _noise,
    ),
    Check(
        "flat-in-epsilon",
        "warning",
        "a larger epsilon breaks clearly fewer images, or at twice the size and a usual epsilon not one more",
        "A larger ball holds the smaller one, so an attack that works gets stronger as it grows.",
        "Tie the step size to epsilon, take more steps, and look for a masked gradient.",
        _flat,
    ),
    Check(
        "not-converged",
        "warning",
        "the same attack breaks clearly more images with more steps or restarts",
        "It was stopped before its end: the number is that of the budget of steps, not of the model.",
        "Double the steps, or the restarts, until the number no longer changes.",
        _unfinished,
    ),
)
