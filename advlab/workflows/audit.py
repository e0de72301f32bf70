"""An audit: run everything that two checklists of the field ask of an evaluation, and answer them."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from advlab import workspace
from advlab.declarations.attack import Attack
from advlab.declarations.methods import load_method
from advlab.errors import InvalidValue
from advlab.evaluation.evaluation import Evaluation, evaluate
from advlab.evaluation.findings.checklists import TITLES, VERDICTS, Answer, AuditRun, answers
from advlab.evaluation.findings.checks import Finding, gravest_first
from advlab.evaluation.findings.cross import cross_findings
from advlab.evaluation.findings.evidence import PLANTED_FRACTION
from advlab.evaluation.metrics import Rate
from advlab.evaluation.recovery import Recovery
from advlab.evaluation.table import labels
from advlab.formatting import Grid, Page, printable
from advlab.results import combine
from advlab.results.result import AttackResult
from advlab.threat import DEFAULT_EPSILON, ThreatModel, parse_epsilon
from advlab.validation import invalid, is_number
from advlab.workflows import recovery
from advlab.workflows.inputs import require_archive, resolve_classifier, resolve_dataset
from advlab.workflows.selftest import SelfTest, selftest

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier
    from advlab.workflows.inputs import ClassifierLike, DatasetLike

SCHEMA = 3
DISTILLED = "distilled"  # in place of a surrogate: one that is distilled on the spot
SECOND_NORM = {"linf": "l2", "l2": "linf", "l1": "l2"}  # norm -> the one tried as well
NOISE_RESTARTS, PGD_RESTARTS, SQUARE_QUERIES = 100, 5, 5000
# Role -> images; Square takes thousands of queries for each.
SELFTESTED = {"pgd": 20, "apgd": 20, "fab": 20, "square": 10}


@dataclass(frozen=True, eq=False)
class Audit:
    """What was run on a classifier, and the answers to two checklists.

    ``evaluations``: role -> evaluation, of the attacks at ``threat``, at half, double and unbounded epsilon, and of a
    minimal attack in a second norm. ``selftests``: role -> self-test, of the attacks that ``SELFTESTED`` names.
    ``findings`` has each code once, gravest first; ``robust_accuracy`` is against the worst attack of each image, those
    of the ``recovery`` among them, which followed a finding that gradients are masked (None: there was none).
    """

    classifier: str
    threat: ThreatModel
    evaluations: Mapping[str, Evaluation]
    selftests: Mapping[str, SelfTest]
    robust_accuracy: Rate
    answers: tuple[Answer, ...]
    findings: tuple[Finding, ...]
    recovery: Recovery | None = None

    def counts(self, source: str | None = None) -> dict[str, int]:
        """Verdict -> how many answers, of one checklist or of both."""
        counts = Counter(answer.verdict for answer in self.answers if source in (None, answer.source))
        return {verdict: counts[verdict] for verdict in VERDICTS}

    def table(self) -> str:
        """The recovery and both checklists as text of at most 100 columns: verdict, question, evidence."""
        parts: list[Grid | str] = [*self.recovery.table().parts, ""] if self.recovery else []
        for number, source in enumerate(TITLES):
            rows = [
                (_verdict_text(answer.verdict), answer.question, printable(answer.evidence))
                for answer in self.answers
                if answer.source == source
            ]
            parts += [*([""] if number else []), self._heading(source), Grid((), rows, wraps=True)]
        return Page.of(*parts)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; NaN and infinity are null."""
        return {
            "schema": SCHEMA,
            "classifier": {"name": self.classifier, "digest": self._result.classifier_digest},
            "threat": {"norm": self.threat.norm, "epsilon": self.threat.epsilon, "target": None},
            "samples": len(self._result),
            "robust_accuracy": vars(self.robust_accuracy),
            "recovery": self.recovery and self.recovery.to_dict(),
            "answers": [answer._asdict() for answer in self.answers],
            "findings": [finding._asdict() for finding in self.findings],
            "selftests": {role: test.to_dict() for role, test in self.selftests.items()},
            "evaluations": {role: evaluation.to_dict() for role, evaluation in self.evaluations.items()},
        }

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in self.counts().items())
        return f"Audit of {self.classifier} at {self.threat.norm} {self.threat.epsilon_text}: {counts}"

    def _repr_html_(self) -> str:
        parts = [f"<p>{html.escape(repr(self))}</p>"]
        if self.recovery:
            parts.append(f"<pre>{html.escape(self.recovery.table())}</pre>")
        for source in TITLES:
            rows = "".join(
                f"<tr><td>{_verdict_text(a.verdict)}</td>"
                f'<th scope="row" style="text-align:left">{html.escape(a.question)}</th>'
                f'<td style="text-align:left">{html.escape(a.evidence)}</td></tr>'
                for a in self.answers
                if a.source == source
            )
            parts.append(f"<table><caption>{html.escape(self._heading(source))}</caption><tbody>{rows}</tbody></table>")
        return "".join(parts)

    @property
    def _result(self) -> AttackResult:
        return self.evaluations["pgd"].result

    def _heading(self, source: str) -> str:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in self.counts(source).items())
        return f"{TITLES[source]} ({source}): {counts}"


def audit(
    classifier: ClassifierLike,
    dataset: DatasetLike | None = None,
    *,
    epsilon: float | str | None = None,
    norm: str = "linf",
    samples: int = 200,
    seed: int = 0,
    surrogate: ClassifierLike | None = None,
    recover_seconds: float = recovery.SECONDS,
    save: bool = False,
    trust: bool = False,
    progress: bool | None = None,
) -> Audit:
    """Run every attack that two checklists ask for, and answer them.

    After a finding that gradients are masked it goes on for at most ``recover_seconds`` (0: not at all) and looks for
    the number behind the mask, see ``workflows/recovery.py``; the headline is then the number that it recovered.

    ``classifier``, ``dataset`` and ``surrogate`` (another classifier: images crafted on it are evaluated on this one)
    may be names or paths; the surrogate ``distilled`` is trained in the recovery on what this classifier predicts. The
    first ``samples`` images are used. ``norm`` is linf, l2 or l1; ``epsilon`` None means linf 0.1, l2 1.5, l1 10.
    ``save`` writes the archives to their own folder, ``attacks/<classifier>/audit-linf-0.1/``.
    Raises ``InvalidValue`` before any work.
    """
    if norm not in SECOND_NORM:
        raise InvalidValue(
            f"An audit needs attacks with and without gradients in its norm. Got '{norm}'; choose one of: "
            f"{', '.join(SECOND_NORM)}."
        )
    if not is_number(recover_seconds) or not 0 <= recover_seconds < math.inf:
        raise invalid("recover_seconds", recover_seconds, "a number of seconds, 0 for no recovery")
    radius = parse_epsilon(epsilon)
    threat = ThreatModel(norm, DEFAULT_EPSILON[norm] if radius is None else radius)
    if not 0 < threat.epsilon < math.inf:
        raise InvalidValue(f"epsilon must be a number above 0 for an audit. Got {threat.epsilon_text}. Try 0.1.")

    from advlab.engine.attack import craft

    classifier = resolve_classifier(classifier, trust)
    classifier.require_images("An audit")
    distilled = isinstance(surrogate, str) and surrogate == DISTILLED
    surrogate = None if surrogate is None or distilled else resolve_classifier(surrogate, trust)
    data = resolve_dataset(dataset, classifier, samples).take(samples)
    specs = _specs(threat, classifier.classes, math.prod(data.shape), seed)
    folder = f"audit-{norm}-{threat.epsilon_text}"
    # What FAB leaves in this norm is judged within epsilon, as in a cascade.
    recorded = {**specs, "fab": specs["fab"].replace(threat=threat)}
    paths = {role: workspace.archive_path(classifier.name, spec.slug, folder) for role, spec in recorded.items()}
    for role in recorded if save else ():
        require_archive(paths[role], recorded[role], data, classifier.digest, force=False)

    def run(target: Classifier, spec: Attack) -> AttackResult:
        # On so few images, most of which are dropped early, XLA would never repay its compilation.
        return craft(target, data, spec, compile="graph", progress=progress)

    results = {role: run(classifier, spec) for role, spec in specs.items()}
    results["fab"] = combine.within(results["fab"], threat)
    selftests = {
        role: selftest(
            classifier,
            data,
            specs[role] if role == "fab" else specs[role].replace(early_stop=True),
            epsilon=threat.epsilon if role == "fab" else None,
            samples=samples,
            progress=progress,
        )
        for role, samples in SELFTESTED.items()
    }
    for role, test in selftests.items():
        results[role] = replace(results[role], selftest=test.counts)
    for role in results if save else ():
        results[role].save(paths[role])
    evaluations = {role: evaluate(result) for role, result in results.items()}
    if surrogate is not None:
        evaluations["transfer"] = evaluate(run(surrogate, specs["pgd"]), classifier)
    findings = joint_findings(list(evaluations.values()))
    recovered = None
    if recover_seconds and recovery.needed(classifier, data, findings):
        evaluations, recovered = recovery.recover(
            classifier, data, evaluations, threat, recover_seconds, seed, distilled, progress
        )
    done = AuditRun(evaluations, findings, {role: test.counts for role, test in selftests.items()})
    return Audit(classifier.name, threat, evaluations, selftests, done.worst, answers(done), findings, recovered)


def _specs(threat: ThreatModel, classes: int, size: int, seed: int) -> dict[str, Attack]:
    """Role -> attack."""
    norm, epsilon = threat.norm, threat.epsilon
    largest_epsilon = {"linf": 1.0, "l2": math.sqrt(size), "l1": float(size)}[norm]
    steps = load_method("pgd").parameters["steps"]
    wrong_classes, likeliest = min(9, classes - 1), min(3, classes - 1)

    def spec(
        method: str, radius: float = epsilon, early_stop: bool = False, restarts: int = 1, **parameters: Any
    ) -> Attack:
        return Attack(
            method,
            norm=norm,
            epsilon=min(radius, largest_epsilon),
            seed=seed,
            early_stop=early_stop,
            restarts=restarts,
            **parameters,
        )

    return {
        "noise": spec("noise", early_stop=True, restarts=NOISE_RESTARTS),
        "fgsm": spec("fgsm"),
        "pgd": spec("pgd"),
        "longer": spec("pgd", steps=2 * int(steps or 0)),
        "restarted": spec("pgd", restarts=PGD_RESTARTS),
        "apgd": spec("apgd", early_stop=True, loss="dlr", n_target_classes=wrong_classes),
        "fab": Attack("fab", norm=norm, seed=seed, n_target_classes=wrong_classes),
        "square": spec("square", early_stop=True, steps=SQUARE_QUERIES),
        "half": spec("pgd", epsilon / 2),
        "double": spec("pgd", 2 * epsilon),
        "unbounded": spec("pgd", largest_epsilon),
        "second": Attack("fab", norm=SECOND_NORM[norm], seed=seed, n_target_classes=likeliest),
    }


def joint_findings(evaluations: Sequence[Evaluation]) -> tuple[Finding, ...]:
    """Each code once: of the comparison of the attacks, else of the first attack that raises it.

    What one attack with gradients finds of the planted examples is not masked; then that another misses it, as FAB does
    where features bend, says nothing of the worst case of all.
    """
    planted_found = any(
        (test := evaluation.result.selftest) is not None
        and evaluation.result.backward_passes.any()
        and test.found >= max(PLANTED_FRACTION * test.planted, 1)
        for evaluation in evaluations
    )
    findings: dict[str, Finding] = {}
    for finding in cross_findings(evaluations):
        findings.setdefault(finding.code, finding)
    for evaluation, name in zip(evaluations, labels(evaluations), strict=True):
        for finding in evaluation.findings:
            if finding.code == "selftest-failed" and planted_found:
                continue
            findings.setdefault(finding.code, finding._replace(evidence=f"{name}: {finding.evidence}"))
    return gravest_first(findings.values())


def _verdict_text(verdict: str) -> str:
    return {"pass": "pass", "fail": "FAIL", "not tested": "not tested"}[verdict]
