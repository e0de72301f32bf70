"""Run a suite: several attacks on one classifier, evaluated together."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from advlab import archive, workspace
from advlab.datasets import load_dataset
from advlab.evaluation import Evaluation, evaluate
from advlab.recipes import load_suite
from advlab.samples import Dataset

if TYPE_CHECKING:
    from advlab.classifier import Classifier


def run(
    suite: str | PathLike[str],
    classifier: Classifier | str | PathLike[str],
    dataset: Dataset | str | None = None,
    *,
    samples: int = 1000,
    save: bool = False,
    force: bool = False,
    trust: bool = False,
    progress: bool | None = None,
) -> list[Evaluation]:
    """Attack a classifier with every attack of a suite (a name, or a path to a TOML file) and evaluate each.

    ``classifier`` and ``dataset`` may be names or paths; None means the data set that the model card names. Of a data
    set that is loaded here, the first ``samples`` test images are used. ``save`` writes each archive as soon as it is
    there; ``force`` lets it replace an archive of something else. ``trust`` is ``load_classifier``'s.
    """
    chosen = load_suite(str(suite))

    from advlab.classifier import Classifier, load_classifier
    from advlab.engine import attack

    if not isinstance(classifier, Classifier):
        classifier = load_classifier(classifier, trust=trust)
    data = dataset if isinstance(dataset, Dataset) else load_dataset(dataset or classifier.dataset, limit=samples)
    if save:
        for entry in chosen.attacks:
            spec = entry.attack()
            place = workspace.archive_path(classifier.name, spec.slug)
            workspace.require_writable(place)
            if not force:
                known = {"classifier_digest": classifier.digest, "dataset_digest": data.digest}
                archive.refuse_other(place, {"attack": spec.to_dict(), **known})
    evaluations = []
    for entry in chosen.attacks:
        result = attack(
            classifier,
            data,
            entry.method,
            norm=entry.norm,
            epsilon=entry.epsilon,
            target=entry.target,
            stop=entry.stop,
            restarts=entry.restarts,
            seed=entry.seed,
            progress=progress,
            **entry.parameters,
        )
        if save:
            result.save(force=force)
        evaluations.append(evaluate(result))
    return evaluations
