"""Resolve what a user names: a classifier, its data set, a class."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from advlab import workspace
from advlab.classifiers.card import read_card
from advlab.data.dataset import Dataset
from advlab.data.loading import load_dataset
from advlab.data.official import DATASETS
from advlab.errors import InvalidValue, unknown

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier


def resolve_classifier(classifier: Classifier | str | PathLike[str], trust: bool = False) -> Classifier:
    """The classifier as given, or the saved one of that name or path; ``trust`` is ``load_classifier``'s."""
    from advlab.classifiers.classifier import Classifier, load_classifier

    return classifier if isinstance(classifier, Classifier) else load_classifier(classifier, trust=trust)


def resolve_dataset(dataset: Dataset | str | None, classifier: Classifier, samples: int | None) -> Dataset:
    """The data set as given, or the first ``samples`` test images of that name or path; None: its card's."""
    return dataset if isinstance(dataset, Dataset) else load_dataset(dataset or classifier.dataset, limit=samples)


def training_dataset(model: str) -> str:
    """The data set that the card of a saved classifier names; raises ``InvalidValue`` if it names none."""
    path = workspace.find_weights(model)
    card = read_card(path) if path.suffix != ".keras" else {}
    if "dataset" not in card:
        raise InvalidValue(
            f"Model '{model}' does not say which data set it was trained on. Name one with --dataset: "
            f"{', '.join(DATASETS)}, a .npz file or a folder of images by class."
        )
    return card["dataset"]


def class_number(target: int | str | None, data: Dataset) -> int | None:
    """The number of a class given by number or name; None stays None."""
    if target is None or isinstance(target, int):
        return target
    if target.isdecimal():
        return int(target)
    if target not in data.classes:
        raise unknown(f"class of data set '{data.name}'", target, data.classes)
    return data.classes.index(target)
