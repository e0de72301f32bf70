"""The evidence for each finding about several results, a function each; an empty text where nothing is wrong.

``advlab.evaluation.findings.cross`` has the table that says what each of them means.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from advlab.declarations.attack import Attack
from advlab.distances import exceeds
from advlab.evaluation.findings.evidence import LEAST, epsilon_is_large, unstable
from advlab.evaluation.significance import POINT, SIGNIFICANCE, mcnemar, significantly_more
from advlab.formatting import printable
from advlab.threat import ThreatModel

if TYPE_CHECKING:
    from advlab.evaluation.evaluation import Evaluation

NOISE = ("noise", "naive", "random_words")
LEFT_BY_WHITE_BOX = 0.002  # of all images: what the reference AutoAttack warns of where Square still succeeds on more
FAR = 0.10  # of all images: far more than a minimal and a bounded attack with the same gradients differ by
STILL_ROBUST = 0.10  # of the clean accuracy: where fewer images are still robust, more successes are not expected
LISTED = 2  # comparisons that the evidence names in full
_SMALLER = 0.99  # a perturbation counts as smaller than another below this fraction of it


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
    def images(self) -> str:
        """The images and the classifier that a count is of."""
        return f"of {len(self.evaluation):,} images on {printable(self.evaluation.classifier)}"

    @property
    def white_box(self) -> bool:
        """Whether it used gradients of the classifier that it is evaluated on."""
        return self.evaluation.transfer_from is None and bool(self.evaluation.result.backward_passes.any())

    @property
    def is_part(self) -> bool:
        """Whether it is a later part of a cascade, which attacked only what was still robust after those before it."""
        return bool(self.evaluation.result.left_out.any())

    @property
    def success(self) -> np.ndarray:
        """bool ``(n,)``: it turned a correct prediction into an error itself, within its own epsilon."""
        result = self.evaluation.result
        return np.asarray(result.correct & result.attempted & result.success)

    @property
    def is_noise(self) -> bool:
        """Whether it is random noise: a baseline that every attack must beat."""
        return self.attack.method in NOISE

    @property
    def black_box(self) -> bool:
        """Whether it searched without gradients."""
        return self.evaluation.transfer_from is None and not self.white_box and not self.is_noise

    @property
    def last_query(self) -> int:
        """The number of its last query: 1 for a single step, 0 where no loss trace is stored."""
        steps = self.evaluation.result.diagnostics.trace_steps
        return int(steps.max(initial=0)) if steps is not None and self.white_box else 0

    def required_size(self, threat: ThreatModel) -> np.ndarray:
        """float64 ``(n,)``: what this attack needs to succeed on each sample under a threat model, inf where it fails.

        Under a finite epsilon 0 for success; under an infinite one the size of the perturbation.
        """
        result = self.evaluation.result
        success = result.correct & result.success
        if self.sizes is None:
            return np.where(success, 0.0, np.inf)
        if math.isfinite(threat.epsilon):
            return np.where(success & ~exceeds(self.sizes, threat.norm, threat.epsilon), 0.0, np.inf)
        return np.where(success, self.sizes, np.inf)


Group = tuple[Member, ...]
Predicate = Callable[[Member], bool]


def _would_show(images: int, total: int) -> bool:
    """Whether so many images, all on one side, would be a significant difference of attacks on ``total`` images."""
    return images >= max(LEAST, POINT * total)


def _can_improve(correct: np.ndarray, success: np.ndarray) -> bool:
    """Whether enough images are still robust for a stronger attack to show itself."""
    robust = int(np.count_nonzero(correct & ~success))
    return robust > STILL_ROBUST * int(np.count_nonzero(correct)) and _would_show(robust, len(correct))


def _whole(group: Group) -> Group:
    """Those that attacked every image in scope."""
    return tuple(member for member in group if not member.is_part)


def _by_threat_model(group: Group) -> Iterator[tuple[ThreatModel, Group]]:
    """Each threat model with a ball, and the attacks that can be evaluated under it: its own, and minimal ones."""
    for threat in dict.fromkeys(member.attack.threat for member in group):
        unlimited = replace(threat, epsilon=math.inf)
        if threat.norm != "none":
            yield threat, tuple(member for member in group if member.attack.threat in (threat, unlimited))


def _outperformed(group: Group, strong: Predicate, weak: Predicate, together: bool = False) -> str:
    """Where an attack that ought to be weaker succeeds on clearly more images than each strong one, or all together."""
    comparisons = []
    for threat, members in _by_threat_model(_whole(group)):
        strong_members = [member for member in members if strong(member)]
        rivals = [strong_members] if together and strong_members else [[member] for member in strong_members]
        for weaker in filter(weak, members):
            weak_size = weaker.required_size(threat)
            for rival in rivals:
                strong_size = np.min([member.required_size(threat) for member in rival], axis=0)
                if significantly_more(weak_size < _SMALLER * strong_size, strong_size < _SMALLER * weak_size):
                    comparisons.append(_comparison(weaker, weak_size, rival, strong_size, threat))
    return _listed(list(dict.fromkeys(comparisons)))


def _comparison(
    weaker: Member, weak_size: np.ndarray, rival: list[Member], strong_size: np.ndarray, threat: ThreatModel
) -> str:
    names = rival[0].name if len(rival) == 1 else f"{len(rival)} attacks with gradients together"
    if math.isinf(threat.epsilon):
        smaller = int(np.count_nonzero(weak_size < _SMALLER * strong_size))
        return f"{weaker.name} finds a smaller change than {names} for {smaller:,} {weaker.images}"
    weak, strong = np.isfinite(weak_size), np.isfinite(strong_size)
    missed = int(np.count_nonzero(weak & ~strong))
    return (
        f"{weaker.name} succeeds on {weak.sum():,} {weaker.images}, {names} on {strong.sum():,}; "
        f"only the former on {missed:,}"
    )


def weaker_than_single_step(group: Group) -> str:
    return _outperformed(
        group, lambda m: m.last_query > 1 and not m.evaluation.result.minimal, lambda m: m.last_query == 1
    )


def weaker_than_black_box(group: Group) -> str:
    return _outperformed(group, lambda m: m.white_box, lambda m: m.black_box, together=True)


def weaker_than_transfer(group: Group) -> str:
    return _outperformed(group, lambda m: m.white_box, lambda m: m.evaluation.transfer_from is not None, together=True)


def black_box_after_white_box(group: Group) -> str:
    """Only for parts of a cascade; where all attack the same images, ``weaker-than-black-box`` compares them."""

    def black_box_part(member: Member) -> bool:
        return member.is_part and (member.black_box or member.is_noise)

    return _only_by(group, black_box_part, lambda m: m.white_box, LEFT_BY_WHITE_BOX, "all attacks with gradients")


def weaker_than_minimal(group: Group) -> str:
    def minimal(member: Member) -> bool:
        return member.white_box and member.evaluation.result.minimal

    def bounded(member: Member) -> bool:
        return member.white_box and not minimal(member) and member.last_query != 1

    return _only_by(group, minimal, bounded, FAR, "all bounded attacks")


def weaker_than_bounded(group: Group) -> str:
    """Of FAB alone: other minimal methods, such as DeepFool, are weaker than bounded ones on any classifier."""

    def fab(member: Member) -> bool:
        return member.white_box and member.attack.method == "fab"

    def bounded(member: Member) -> bool:
        return member.white_box and not member.evaluation.result.minimal

    return "" if _random(group) else _only_by(group, bounded, fab, FAR, "FAB")


def _random(group: Group) -> bool:
    """Whether the classifier that all were run on differed from one query to the next, in any of them."""
    return any(unstable(member.evaluation.result) for member in group)


def _only_by(group: Group, strong: Predicate, others: Predicate, fraction: float, names: str) -> str:
    """Where an attack succeeds on more images than a fraction, and significantly many, on which the others failed.

    An image counts where the one succeeded and each of the others tried and failed; subtracted are those where the
    one tried and failed and any of the others succeeded, which a cascade leaves out.
    """
    comparisons = []
    for threat, members in _by_threat_model(group):
        bounded = [m for m in members if m.attack.threat == threat and math.isfinite(threat.epsilon) and others(m)]
        for member in filter(strong, members) if bounded else ():
            result = member.evaluation.result
            success = member.success & np.isfinite(member.required_size(threat))
            failed_others = np.all([m.evaluation.result.attempted & ~m.success for m in bounded], axis=0)
            success_others = np.any([m.success for m in bounded], axis=0)
            test = mcnemar(success & failed_others, result.attempted & ~success & success_others)
            more = test.only_first - test.only_second
            if more > fraction * len(success) and test.p_value < SIGNIFICANCE:
                comparisons.append(
                    f"{member.name} succeeds on {test.only_first:,} {member.images} on which {names} had failed"
                )
    return _listed(list(dict.fromkeys(comparisons)))


def no_better_than_noise(group: Group) -> str:
    """Not where the attack is better by a little, or where noise and a small epsilon leave nothing to tell them by."""
    comparisons = []
    for threat, members in _by_threat_model(_whole(group)):
        baselines = [member for member in members if member.is_noise and math.isfinite(threat.epsilon)]
        for baseline in baselines:
            result, by_noise = baseline.evaluation.result, np.isfinite(baseline.required_size(threat))
            n, correct = len(by_noise), result.correct
            equal = [
                (member, success)
                for member in members
                if (member.white_box or member.black_box)
                and (success := np.isfinite(member.required_size(threat))).sum() - by_noise.sum() < POINT * n
            ]
            # What works succeeds on twice as many as noise does, and on many where epsilon is large.
            if (
                equal
                and _can_improve(correct, by_noise)
                and (_would_show(by_noise.sum(), n) or epsilon_is_large(result))
            ):
                comparisons += [
                    f"{member.name} succeeds on {success.sum():,} {member.images}, "
                    f"{baseline.name} on {by_noise.sum():,}"
                    for member, success in equal
                ]
    return _listed(comparisons)


def _listed(comparisons: list[str]) -> str:
    """The first comparisons in full, and how many more there are."""
    more = [f"and {len(comparisons) - LISTED} more"] if len(comparisons) > LISTED else []
    return "; ".join([*comparisons[:LISTED], *more])


def _series(group: Group, key: Callable[[Attack], object], size: Callable[[Attack], float]) -> Iterator[Group]:
    """Bounded attacks that are equal by ``key``, in the order of ``size``."""
    series: dict[object, list[Member]] = {}
    for member in _whole(group):
        if math.isfinite(member.attack.threat.epsilon) and not member.is_noise:
            series.setdefault((member.evaluation.transfer_from, key(member.attack)), []).append(member)
    return (tuple(sorted(members, key=lambda m: size(m.attack))) for members in series.values() if len(members) > 1)


def flat_in_epsilon(group: Group) -> str:
    def key(attack: Attack) -> object:
        threat = attack.threat
        return attack.variant, threat.norm, threat.target, threat.targets, threat.per_image, threat.top, attack.code

    comparisons = []
    for series in _series(group, key, lambda attack: attack.threat.epsilon):
        for small, large in pairwise(series):
            small_success, large_success = (np.isfinite(m.required_size(m.attack.threat)) for m in (small, large))
            correct = large.evaluation.result.correct
            if large.attack.threat.epsilon == small.attack.threat.epsilon:
                continue
            is_flat = (
                large.attack.threat.epsilon >= 2 * small.attack.threat.epsilon
                and large_success.sum() <= small_success.sum()
                and _can_improve(correct, large_success)
                and epsilon_is_large(large.evaluation.result)
            )
            if is_flat or significantly_more(small_success, large_success):
                comparisons.append(
                    f"{small.name} succeeds on {small_success.sum():,} {small.images}, "
                    f"{large.name} on {large_success.sum():,}"
                )
    return _listed(comparisons)


def not_converged(group: Group) -> str:
    def key(attack: Attack) -> object:
        rest = tuple(sorted((n, v) for n, v in attack.parameters.items() if n != "steps"))
        return attack.method, attack.threat, rest, attack.seed, attack.code

    def work(attack: Attack) -> float:
        return float(attack.parameters.get("steps") or 1) * attack.restarts

    comparisons = []
    for series in _series(group, key, work):
        for short, long in pairwise(series):
            short_success, long_success = (np.isfinite(m.required_size(m.attack.threat)) for m in (short, long))
            if work(long.attack) > work(short.attack) and significantly_more(long_success, short_success):
                comparisons.append(
                    f"{short.name} succeeds on {short_success.sum():,} {short.images}, "
                    f"with {work(long.attack) / work(short.attack):.3g} times the steps on {long_success.sum():,}"
                )
    return _listed(comparisons)


def attacks_disagree(group: Group) -> str:
    """Not on a random classifier, where each further attack succeeds on a few more images by luck."""
    comparisons = []
    for threat, members in _by_threat_model(_whole(group)):
        attacks = [member for member in members if not member.is_noise]
        if len(attacks) < 2 or math.isinf(threat.epsilon) or _random(group):
            continue
        successes = [np.isfinite(member.required_size(threat)) for member in attacks]
        together = np.any(successes, axis=0)
        strongest = int(np.argmax([success.sum() for success in successes]))
        if significantly_more(together, successes[strongest]):
            comparisons.append(
                f"{attacks[strongest].name} succeeds on {successes[strongest].sum():,} {attacks[strongest].images}, "
                f"{len(attacks)} attacks together on {together.sum():,}"
            )
    return _listed(comparisons)
