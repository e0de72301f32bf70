"""Recovering the number: after a finding that gradients are masked, the attacks that see through what masks them.

Each step attacks the images that are still robust after those before it, by what was measured of the classifier itself;
what counts is always judged by the classifier as it stands. Carlini et al. 2019, arXiv:1902.06705, sections 3 and 4;
Athalye, Carlini, Wagner 2018, arXiv:1802.00420.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from advlab.data.dataset import Dataset, subset
from advlab.declarations.attack import Attack
from advlab.evaluation.evaluation import Evaluation, evaluate, worst_case
from advlab.evaluation.findings.checks import Finding
from advlab.evaluation.findings.evidence import unstable
from advlab.evaluation.metrics import Rate
from advlab.evaluation.recovery import Recovery, Step
from advlab.lazy import Images
from advlab.progress import Progress
from advlab.results import combine
from advlab.results.diagnostics import Diagnostics
from advlab.results.result import AttackResult
from advlab.threat import ThreatModel

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier

# Findings that a masked gradient explains.
MASKED = frozenset(
    {
        *("zero-gradients", "unchanged-images", "non-finite", "log-probabilities", "loss-decreases", "above-clean"),
        *("perturbed-equals-clean", "survives-unbounded", "selftest-failed", "unstable-predictions"),
        *("weaker-than-single-step", "weaker-than-black-box", "weaker-than-minimal", "weaker-than-transfer"),
        *("black-box-after-white-box", "no-better-than-noise", "flat-in-epsilon"),
        *("attacks-disagree", "weaker-than-bounded"),
    }
)
SECONDS = 120.0
PASSES, JUDGED_PASSES = 20, 30
SQUARE_QUERIES = 20_000
FIRST_CHUNK = 5  # images until the first look at the clock; then twice as many each time, as far as time allows


class Judge(NamedTuple):
    """The classifier as success is judged: a random one by the mean of many predictions."""

    classifier: Classifier
    passes: int

    @property
    def name(self) -> str:
        """The classifier's."""
        return self.classifier.name

    @property
    def digest(self) -> str:
        """The classifier's."""
        return self.classifier.digest

    def probabilities(self, x: Images, /) -> np.ndarray:
        """float32 ``(n, k)``, the mean over ``passes`` predictions."""
        return np.stack([self.classifier.probabilities(x) for _ in range(self.passes)]).mean(0)


def needed(classifier: Classifier, data: Dataset, findings: Iterable[Finding]) -> bool:
    """Whether a finding says that gradients may be masked, or a layer is found whose gradient is of no use."""
    from advlab.classifiers.masking import IMAGES, blind_layers

    if any(finding.code in MASKED for finding in findings):
        return True
    return bool(blind_layers(classifier, data.x[:IMAGES]).stand_ins)


def recover(
    classifier: Classifier,
    data: Dataset,
    evaluations: dict[str, Evaluation],
    threat: ThreatModel,
    seconds: float,
    seed: int = 0,
    distil: bool = False,
    progress: bool | None = None,
) -> tuple[dict[str, Evaluation], Recovery]:
    """See through what masks the gradients of a classifier, within so many seconds.

    Returns the evaluations, those at ``threat`` of a random classifier judged anew by the mean of 30 predictions and
    those of the recovery added, and what was done. A step that runs out of time leaves images untried, and says so; the
    attack under way then is not cut off.
    """
    with Progress(6 + distil, f"recovery on {classifier.name}", show=progress) as bar:
        attacker = _Recovery(classifier, data, evaluations, threat, seconds, seed, 6 + distil, bar)
        before = attacker.accuracy
        attacker.white_box()
        attacker.square()
        attacker.labels_only()
        if distil:
            attacker.surrogate()
    recovery = Recovery(
        tuple(attacker.steps), before, attacker.accuracy, attacker.unknown(distil), seconds, attacker.judge.passes
    )
    return attacker.evaluations, recovery


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


class _Recovery:
    """A recovery under way: the evaluations so far, and the network climbed in place of the classifier's own."""

    def __init__(
        self,
        classifier: Classifier,
        data: Dataset,
        evaluations: dict[str, Evaluation],
        threat: ThreatModel,
        seconds: float,
        seed: int,
        planned: int,
        bar: Progress,
    ):
        self.classifier, self.data, self.threat, self.seed = classifier, data, threat, seed
        self.base = evaluations["pgd"].result
        self.is_random = unstable(self.base)
        self.judge = Judge(classifier, JUDGED_PASSES if self.is_random else 1)
        self.evaluations = {role: self._judged(evaluation) for role, evaluation in evaluations.items()}
        self.network = classifier
        self.planned, self.bar = planned, bar
        self.steps: list[Step] = []
        self.missed: list[str] = []
        self.end = time.perf_counter() + seconds

    @property
    def at_threat(self) -> list[Evaluation]:
        """The evaluations that the number is read from."""
        return [e for e in self.evaluations.values() if e.attack.threat == self.threat]

    @property
    def robust(self) -> np.ndarray:
        """bool ``(n,)``: what no attack has got wrong yet."""
        return worst_case(self.at_threat).robust

    @property
    def accuracy(self) -> Rate:
        """Robust accuracy so far."""
        return worst_case(self.at_threat).accuracy

    def _judged(self, evaluation: Evaluation) -> Evaluation:
        if not self.is_random or evaluation.attack.threat != self.threat or evaluation.transfer_from:
            return evaluation
        return evaluate(evaluation.result, self.judge)

    def white_box(self) -> None:
        """Inner logits, layers passed straight through or smoothed, the mean over passes: each on top of the others."""
        from advlab.classifiers.masking import IMAGES, blind_layers, inner_logits, jumping_layers

        inner = inner_logits(self.classifier, self.data.x[:200])
        if inner is None:
            self._skip("inner-logits", "the logits that were attacked are the last ones")
        else:
            self.network = inner
            self._climb("inner-logits", "attacked the logits in front of the last layers")
        bare, some = self.network, self.data.x[:IMAGES]
        blind = blind_layers(bare, some)
        self.missed += [f"layer '{name}' has no useful gradient, and nothing stands in for it" for name in blind.others]
        if blind.stand_ins:
            self.network = bare.with_backward(blind.stand_ins)
            self._climb("straight-through", f"passed the gradient straight through {_quoted(blind.stand_ins)}")
        else:
            self._skip("straight-through", "no layer was found without a useful gradient")
        smoothed = [name for name, way in blind.stand_ins.items() if way == "identity"]
        smoothed += [name for name in jumping_layers(bare, some) if name not in smoothed]
        if self.is_random:
            self._skip("smoothed", "predictions are random, and the mean over passes is smooth")
        elif smoothed:
            network = bare.with_backward(blind.stand_ins | dict.fromkeys(smoothed, "smoothed"))
            self._climb("smoothed", f"followed the measured slopes of {_quoted(smoothed)}", network=network)
        else:
            self._skip("smoothed", "no layer was found that jumps or is flat")
        if self.is_random:
            self._climb("mean-of-passes", f"followed the mean of {PASSES} passes", passes=PASSES)
        else:
            self._skip("mean-of-passes", "predictions are not random")

    def square(self) -> None:
        """A random search with more queries, on the logits that were found."""
        spec = self._spec("square", steps=SQUARE_QUERIES, early_stop=True)
        self._run("square", f"searched at random with {SQUARE_QUERIES:,} queries", [spec])

    def labels_only(self) -> None:
        """A decision-based attack, which needs nothing but the predicted class."""
        if self.threat.norm == "l1":
            self._skip("labels-only", "no decision-based attack is of the norm l1")
            return
        spec = Attack("hopskipjump", norm=self.threat.norm, seed=self.seed)
        did = "followed the boundary by predicted classes alone (hopskipjump)"
        self._run("labels-only", did, [spec], network=self.classifier)

    def surrogate(self) -> None:
        """A network distilled on the spot, whose adversarial images are tried on the classifier."""
        from advlab.workflows.surrogate import distil

        if not self.robust.any():
            self._skip("surrogate", "no image is still robust")
            return
        began = time.perf_counter()
        self.network = distil(self.classifier, self.data, self.threat, (self.end - began) / 2, self.seed)
        self._climb("surrogate", "attacked a network distilled from its predictions", began=began)

    def unknown(self, distilled: bool) -> tuple[str, ...]:
        """What may still bring the number down."""
        if not self.robust.any():
            return ()
        rest = [
            f"{s.name} ran out of time: {s.images - s.tried:,} of {s.images:,} images were not tried"
            for s in self.steps
        ]
        rest = [text for text, step in zip(rest, self.steps, strict=True) if step.tried < step.images]
        if not distilled:
            rest.append("no surrogate was distilled (surrogate='distilled')")
        return (*self.missed, *rest, "whoever knows the defence may attack it in ways that these steps do not have")

    def _spec(self, method: str, **settings: Any) -> Attack:
        return Attack(method, norm=self.threat.norm, epsilon=self.threat.epsilon, seed=self.seed, **settings)

    def _climb(
        self,
        name: str,
        did: str,
        passes: int = 1,
        began: float | None = None,
        network: Classifier | None = None,
    ) -> None:
        """Both losses of AutoAttack, the second towards each likely class where a pass is cheap."""
        aims = min(9, self.classifier.classes - 1)
        settings: dict[str, Any] = {"passes": passes, "early_stop": not self.is_random, "steps": 100}
        first = self._spec("apgd", loss="ce", **settings)
        second = self._spec("apgd", loss="dlr", **({} if passes > 1 else {"n_target_classes": aims}), **settings)
        self._run(name, did, [first, second], began, network)

    def _skip(self, name: str, why: str) -> None:
        self._done(Step(name, f"nothing to do: {why}", 0, 0, self.accuracy, self.accuracy, 0.0))

    def _done(self, step: Step) -> None:
        self.steps.append(step)
        self.bar.advance(1, robust=f"{step.after.value:.1%}")

    def _run(
        self,
        name: str,
        did: str,
        specs: Sequence[Attack],
        began: float | None = None,
        network: Classifier | None = None,
    ) -> None:
        """One step: the attacks one after another, in chunks of the images still robust, until its time is over."""
        before, began = self.accuracy, began or time.perf_counter()
        if not self.robust.any():
            self._skip(name, "no image is still robust")
            return
        # An equal part of the time left; what a step does not take is left to the others.
        deadline = time.perf_counter() + (self.end - time.perf_counter()) / (self.planned - len(self.steps))
        images, tried = int(self.robust.sum()), 0
        for number, spec in enumerate(specs):
            rows = np.flatnonzero(self.robust)
            # Of two attacks of one step the first leaves time to the second.
            share = deadline if number == len(specs) - 1 else (time.perf_counter() + deadline) / 2
            result, count = self._attack(spec, rows, share, network)
            tried = max(tried, count)
            if result is not None:
                role = f"recovery-{name}" + (f"-{number + 1}" if number else "")
                self.evaluations[role] = evaluate(result, self.judge)
        taken = round(time.perf_counter() - began, 1)
        self._done(Step(name, did, images, tried, before, self.accuracy, taken))

    def _attack(
        self, spec: Attack, rows: np.ndarray, deadline: float, network: Classifier | None = None
    ) -> tuple[AttackResult | None, int]:
        """An attack on some of the images, as a result on all of them; and how many were reached in time."""
        from advlab.engine.attack import craft

        parts: list[AttackResult] = []
        tried, size, network = 0, FIRST_CHUNK, network or self.network
        while tried < len(rows) and (now := time.perf_counter()) < deadline:
            chunk = rows[tried : tried + size]
            images = subset(self.data, chunk)
            result = craft(network, images, spec, compile="graph", progress=False)
            parts.append(combine.within(result, self.threat))
            tried += len(chunk)
            affordable = len(chunk) * (deadline - time.perf_counter()) / (time.perf_counter() - now)
            size = int(np.clip(affordable, 1, 2 * size))
        return (self._whole(network, parts, rows[:tried]) if parts else None), tried

    def _whole(self, network: Classifier, parts: Sequence[AttackResult], tried: np.ndarray) -> AttackResult:
        """Results on the images tried, as one on all that are still robust; the others have their image of PGD."""
        x_adv = np.array(self.base.x_adv)
        x_adv[tried] = np.concatenate([part.x_adv for part in parts])
        forward, backward = np.zeros((2, len(x_adv)), np.int32)
        forward[tried] = np.concatenate([part.forward_passes for part in parts])
        backward[tried] = np.concatenate([part.backward_passes for part in parts])
        return replace(
            self.base,
            attack=parts[0].attack,
            classifier=network.name,
            classifier_digest=network.digest,
            x_adv=x_adv,
            attempted=self.robust,
            forward_passes=forward,
            backward_passes=backward,
            seconds=round(sum(part.seconds for part in parts), 3),
            diagnostics=Diagnostics(),
            selftest=None,
            location=None,
        )
