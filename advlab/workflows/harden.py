"""Harden a finished classifier: some minutes of adversarial training, with both numbers before and after."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from advlab import workspace, writing
from advlab.declarations.adversaries import ADVERSARY_NORMS, Adversary
from advlab.evaluation.evaluation import Evaluation
from advlab.evaluation.html_table import html_table
from advlab.formatting import Grid, Page, plain, printable
from advlab.provenance import versions
from advlab.threat import DEFAULT_EPSILON, ThreatModel, parse_epsilon, parse_norm
from advlab.validation import invalid, is_number, require_choice, require_int
from advlab.workflows.inputs import load_fitting, resolve_classifier
from advlab.workflows.run_suite import run

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier
    from advlab.workflows.inputs import ClassifierLike

SCHEMA = 1
METHODS = ("fgsm-rs", "pgd")
_SUITE = "standard"
_HEADS = ("model", "clean % [95%]", "robust % [95%]")


@dataclass(frozen=True, eq=False)
class Hardened:
    """A classifier before and after hardening: the worst case of the suite ``standard`` on the same test images.

    ``classifier`` is the hardened one, in the file ``path`` (None: not saved). ``steps`` and ``seconds`` are those of
    its training.
    """

    classifier: Classifier
    before: Evaluation
    after: Evaluation
    steps: int
    seconds: float
    path: Path | None

    @property
    def threat(self) -> ThreatModel:
        """What it was hardened and attacked under."""
        return self.before.attack.threat

    def rows(self) -> list[tuple[str, str, str]]:
        """Name, clean and robust accuracy in percent, before and after."""
        return [
            (printable(e.classifier), e.clean_accuracy.text, e.robust_accuracy.text) for e in (self.before, self.after)
        ]

    def table(self) -> str:
        """Both numbers before and after, as text."""
        return Page.of(Grid(_HEADS, self.rows(), left=_HEADS[:1]), "", self.caption())

    def caption(self) -> str:
        """What the numbers are."""
        return (
            f"Suite {_SUITE}, {self.threat.norm} {self.threat.epsilon_text}, {self.before.images}; "
            f"{self.steps:,} steps in {self.seconds:.0f} s."
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        digests = (self.before.result.classifier_digest, self.classifier.digest)
        return plain(
            {
                "schema": SCHEMA,
                "before": {"name": self.before.classifier, "digest": digests[0]},
                "after": {"name": self.classifier.name, "digest": digests[1]},
                "path": None if self.path is None else str(self.path),
                "threat": {"norm": self.threat.norm, "epsilon": self.threat.epsilon, "target": None},
                "samples": len(self.before),
                "clean_accuracy_before": self.before.clean_accuracy,
                "robust_accuracy_before": self.before.robust_accuracy,
                "clean_accuracy_after": self.after.clean_accuracy,
                "robust_accuracy_after": self.after.robust_accuracy,
                "steps": self.steps,
                "seconds": self.seconds,
            }
        )

    def __repr__(self) -> str:
        before, after = (e.robust_accuracy.value for e in (self.before, self.after))
        return f"Hardened {self.classifier.name}: robust accuracy {before:.1%} before, {after:.1%} after"

    def _repr_html_(self) -> str:
        return html_table(self.caption(), _HEADS, self.rows())


def harden(
    classifier: ClassifierLike,
    dataset: str | PathLike[str] | None = None,
    *,
    minutes: float = 5.0,
    epsilon: float | str | None = None,
    norm: str = "linf",
    method: str = "pgd",
    learning_rate: float = 1e-3,
    samples: int = 200,
    seed: int = 0,
    output: str | PathLike[str] | None = None,
    save: bool = True,
    force: bool = False,
    trust: bool = False,
    progress: bool | None = None,
) -> Hardened:
    """Fine-tune a classifier on adversarial images for some minutes, and measure it before and after.

    Args:
        classifier: A ``Classifier``, a Keras model, or the name or path of a saved one; it is not changed.
        dataset: A data set with both splits, by name or path; None: the one that the model card names.
        minutes: Of training; measuring comes on top.
        epsilon: In pixel units; None means linf 0.1, l2 1.5.
        norm: linf or l2.
        method: ``pgd``, in 7 steps, or ``fgsm-rs``, which takes more train steps in the same time and may overfit.
        learning_rate: The highest, of Adam.
        samples: The first so many test images are attacked.
        seed: Of all random draws.
        output: The HDF5 file to write; None: ``models/<name>-hardened.h5`` in the workspace.
        save: Whether to write it.
        force: Whether an existing file is replaced.
        trust: ``load_classifier``'s.
        progress: Whether to show bars; None: on a terminal.

    Raises:
        InvalidValue, UnknownName: For settings out of range, before any work.
        Mismatch: Where data and classifier do not fit.
        FileExists: Where a file is in the way.
        AdvlabError: Where the loss becomes NaN or infinite at once.
    """
    require_choice("method", method, METHODS)
    require_choice("norm", parse_norm(norm), ADVERSARY_NORMS)
    require_int("samples", samples, 1)
    for name, value in (("minutes", minutes), ("learning_rate", learning_rate)):
        if not (is_number(value) and 0 < value < math.inf):
            raise invalid(name, value, "a number above 0")
    radius = parse_epsilon(epsilon)
    radius = DEFAULT_EPSILON[parse_norm(norm)] if radius is None else radius
    adversary = Adversary(method, radius, norm, steps=7 if method == "pgd" else None)

    from advlab.training import harden as training

    classifier = resolve_classifier(classifier, trust)
    classifier.require_images("Hardening")
    source = classifier.dataset if dataset is None else dataset
    data, test = (load_fitting(source, classifier, split=split) for split in ("train", "test"))
    for part in (data, test):
        classifier.check(part)
    path = Path(output) if output else workspace.weights_path(f"{workspace.as_file_name(classifier.name)}-hardened")
    if save:
        writing.refuse_existing(path, force, f"the hardened '{classifier.name}' (in Python: force=True)")
        writing.require_writable(path)

    def measured(each: Classifier) -> Evaluation:
        found = run(
            each, test.take(samples), _SUITE, norm=norm, epsilon=radius, selftest=0, trust=trust, progress=progress
        )
        return found[-1]

    before = measured(classifier)
    found = training.harden(
        classifier, data, adversary, seconds=60 * minutes, learning_rate=learning_rate, seed=seed, progress=progress
    )
    hardened = found.classifier
    kept = {key: value for key, value in classifier.card.items() if key in ("class_names", "classes", "parameters")}
    hardened.card = kept | {
        "name": hardened.name,
        "dataset": data.name,
        "hardened": {**asdict(adversary), "from": classifier.digest, "steps": found.steps, "seed": seed},
        "seconds": round(found.seconds, 2),
        "test_accuracy": float(np.mean(hardened.probabilities(test.x).argmax(1) == test.y)),
        "versions": versions(),
    }
    after = measured(hardened)
    if save:
        hardened.save(path)
    return Hardened(hardened, before, after, found.steps, found.seconds, path if save else None)
