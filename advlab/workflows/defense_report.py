"""Is a defended classifier sturdier, or has it only learnt yesterday's images? Both numbers, from one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advlab.declarations.attack import Attack
from advlab.errors import Mismatch
from advlab.evaluation.defense import DefenseReport
from advlab.evaluation.evaluation import evaluate
from advlab.workflows.audit import audit
from advlab.workflows.inputs import resolve_classifier, resolve_dataset

if TYPE_CHECKING:
    from advlab.workflows.inputs import ClassifierLike, DatasetLike

BLACK_BOX, WHITE_BOX = ("noise", "square"), ("fgsm", "pgd", "longer", "restarted", "apgd", "fab")


def defense_report(
    base: ClassifierLike,
    defended: ClassifierLike,
    dataset: DatasetLike | None = None,
    *,
    epsilon: float | str | None = None,
    norm: str = "linf",
    samples: int = 200,
    seed: int = 0,
    trust: bool = False,
    progress: bool | None = None,
) -> DefenseReport:
    """Attack a defended classifier with images crafted on its undefended base, and then by all that is known of it.

    Args:
        base: The classifier before the defence: the images of an attacker without knowledge are crafted on it.
        defended: The classifier after it; it is audited.
        dataset: The images; None: what the defended classifier was trained on.
        epsilon: In pixel units; None means linf 0.1, l2 1.5, l1 10.
        norm: linf, l2 or l1.
        samples: The first so many images.
        seed: Of all random draws.
        trust: ``load_classifier``'s, for both.
        progress: Whether to show bars; None: on a terminal.

    Raises ``Mismatch`` where both are one classifier or do not fit the data, ``InvalidValue`` as ``advlab.audit``.
    """
    base, defended = resolve_classifier(base, trust), resolve_classifier(defended, trust)
    if base.digest == defended.digest:
        raise Mismatch(
            f"'{base.name}' and '{defended.name}' are the same classifier (digest {base.digest}). "
            "Give the undefended one first and the defended one second."
        )
    data = resolve_dataset(dataset, defended, samples).take(samples)
    base.check(data)
    audited = audit(
        defended,
        data,
        epsilon=epsilon,
        norm=norm,
        samples=samples,
        seed=seed,
        surrogate=base,
        progress=progress,
    )

    from advlab.engine.attack import craft

    def on_base(method: str) -> Attack:
        return Attack(method, norm=norm, epsilon=audited.threat.epsilon, seed=seed)

    static = craft(base, data, on_base("pgd"), compile="graph", progress=progress)
    momentum = craft(base, data, on_base("mim"), compile="graph", progress=progress)
    return DefenseReport(
        base_evaluation=evaluate(static),
        evaluations={
            "none": (evaluate(static, defended),),
            "transfer": (evaluate(momentum, defended),),
            "black box": tuple(audited.evaluations[role] for role in BLACK_BOX),
            "full": tuple(audited.evaluations[role] for role in WHITE_BOX),
        },
        findings=audited.findings,
    )
