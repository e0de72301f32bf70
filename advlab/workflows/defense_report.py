"""Is a defended classifier sturdier, or has it only learnt yesterday's images? Both numbers, from one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from advlab.declarations.attack import IDENTITY, Attack
from advlab.errors import Mismatch
from advlab.evaluation.defense import DefenseReport
from advlab.evaluation.evaluation import evaluate
from advlab.workflows.audit import audit
from advlab.workflows.inputs import resolve_classifier, resolve_dataset

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier
    from advlab.results.result import AttackResult
    from advlab.workflows.inputs import ClassifierLike, DatasetLike

_PASSES = 10  # over which gradients of a random input defence are averaged
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

    Where it is behind an input defence (``Classifier.with_defense``), the attacker who knows it lets gradients pass
    straight through that layer (BPDA), and averages them over what a random one, or a random ensemble, draws (EOT).

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

    from advlab.classifiers.input_defenses import defenses_of
    from advlab.classifiers.mixture import mixtures_of
    from advlab.engine.attack import craft

    def crafted(target: Classifier, method: str, **settings: Any) -> AttackResult:
        spec = Attack(method, norm=norm, epsilon=audited.threat.epsilon, seed=seed, **settings)
        return craft(target, data, spec, compile="graph", progress=progress)

    static, momentum = (crafted(base, method) for method in ("pgd", "mim"))
    layers = defenses_of(defended.keras_model)
    backward = {layer.name: IDENTITY for layer in layers}
    mixtures = mixtures_of(defended.keras_model)
    is_random = any(layer.random for layer in layers) or any(mixture.random for mixture in mixtures)
    passes = _PASSES if is_random else 1
    recovered = [e for role, e in audited.evaluations.items() if role.startswith("recovery-")]
    through = [evaluate(crafted(defended, "pgd", backward=backward, passes=passes))] if layers or is_random else []
    return DefenseReport(
        base_evaluation=evaluate(static),
        evaluations={
            "none": (evaluate(static, defended),),
            "transfer": (evaluate(momentum, defended),),
            "black box": tuple(audited.evaluations[role] for role in BLACK_BOX),
            "full": (*(audited.evaluations[role] for role in WHITE_BOX), *recovered, *through),
        },
        findings=audited.findings,
    )
