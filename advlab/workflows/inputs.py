"""What people give, resolved once: a classifier, data, a class, an attack, and whether a file may be written."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from advlab import workspace, writing
from advlab.classifiers.card import card_if_any
from advlab.data.conversion import ValueRange
from advlab.data.dataset import Dataset
from advlab.data.images import load_image
from advlab.data.loading import load_dataset
from advlab.data.official import DATASETS
from advlab.data.text_files import SUFFIXES as TEXT_SUFFIXES
from advlab.declarations.attack import Attack
from advlab.errors import AdvlabWarning, InvalidFile, InvalidValue, unknown
from advlab.results.per_image import PerImage, as_epsilons, as_mask, as_targets
from advlab.results.result import AttackResult, refuse_other
from advlab.threat import GIVEN, NAMED_TARGETS
from advlab.user_code import run_file
from advlab.validation import is_count
from advlab.workflows.model_file import ModelFile, load_classifier

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from advlab.classifiers.classifier import Classifier

    ClassifierLike: TypeAlias = Classifier | keras.Model | str | PathLike[str]
    DatasetLike: TypeAlias = Dataset | str | PathLike[str] | tuple[Any, Any] | tf.data.Dataset

MethodLike: TypeAlias = "str | PathLike[str] | Callable[..., Any] | Attack"


def resolve_classifier(classifier: ClassifierLike, trust: bool = False) -> Classifier:
    """The classifier itself, one around a Keras model, or the saved one of that name, path or ``ModelFile``.

    ``trust`` is ``load_classifier``'s. Raises ``InvalidValue`` for anything else.
    """
    from advlab.classifiers.classifier import Classifier

    if isinstance(classifier, Classifier):
        return classifier
    if isinstance(classifier, str | PathLike):
        return load_classifier(classifier, trust=trust)
    return Classifier.from_keras(classifier)


def recorded_classifier(result: AttackResult, model: ClassifierLike | None, trust: bool = False) -> Classifier:
    """The classifier of a result, as it was fed and read then; ``model`` None: the file that it was loaded from."""
    from advlab.classifiers.settings import Settings

    execution = result.execution
    if model is None:
        model = execution.model or result.classifier
    if isinstance(model, str | PathLike):
        file = model if isinstance(model, ModelFile) else ModelFile(model)
        settings = Settings(output=execution.output or None, output_layer=execution.output_layer or None)
        if execution.preprocess:
            settings = replace(settings, preprocess=execution.preprocess)
        else:
            settings = replace(settings, scale=execution.scale, offset=execution.offset)
        model = file.over(settings)
    return resolve_classifier(model, trust)


def resolve_dataset(dataset: DatasetLike | None, classifier: Classifier, samples: int | None) -> Dataset:
    """The data set itself, or the first ``samples`` images of what is named or given; None: the one of the card.

    Given may be ``(x, y)``, arrays of images and labels, or a ``tf.data.Dataset`` of such pairs, batched or not; that
    of ``keras.utils.image_dataset_from_directory`` is in 0-255 and divided, with an ``AdvlabWarning``. Raises
    ``InvalidValue`` for anything else.
    """
    if isinstance(dataset, Dataset):
        return dataset
    if dataset is None or isinstance(dataset, str | PathLike):
        return load_fitting(dataset or classifier.dataset, classifier, samples)
    if hasattr(dataset, "element_spec"):
        x, y = _pairs(dataset, samples)
        # What keras.utils.image_dataset_from_directory returns says which files it reads; nothing made from it does.
        names = getattr(dataset, "class_names", None)
        if hasattr(dataset, "file_paths") and names:
            warnings.warn(
                "Images of image_dataset_from_directory are in 0-255; they are divided by 255.", AdvlabWarning, 3
            )
            return Dataset.from_arrays(x, y, names, value_range=(0, 255)).take(samples)
        dataset = x, y
    if isinstance(dataset, tuple | list) and len(dataset) == 2:
        return Dataset.from_arrays(dataset[0], dataset[1]).take(samples)
    raise InvalidValue(
        f"Data is a name, a path, a pair (x, y) of images and labels, a tf.data.Dataset of such pairs, or an "
        f"advlab.Dataset. Got {type(dataset).__name__}. With arrays: advlab.attack(classifier, (x, y), 'pgd')."
    )


def load_fitting(
    name: str | PathLike[str],
    classifier: Classifier,
    limit: int | None = None,
    value_range: ValueRange | None = None,
    split: str = "test",
) -> Dataset:
    """A data set by name or path; a folder of images is made to fit a classifier in size, colours and labels.

    The other arguments are ``load_dataset``'s. Raises ``InvalidValue`` for a folder with some of the classes where
    nothing tells which.
    """
    if classifier.vocabulary and str(name) not in DATASETS:
        words, shape = classifier.vocabulary, classifier.image_shape
        names, length = classifier.card.get("class_names"), None if shape is None else shape[1]
        return load_dataset(name, split=split, limit=limit, classes=names, vocabulary=words, length=length)
    if not must_fit(name):
        return load_dataset(name, split=split, limit=limit, value_range=value_range)
    shape, classes = classifier.image_shape, classifier.card.get("class_names")
    fits = shape is not None and shape[2] in (1, 3)
    shape = shape if fits else None
    data = load_dataset(name, split=split, limit=limit, shape=shape, classes=classes, value_range=value_range)
    if classes is None and len(data.classes) < classifier.classes and not all(c.isdecimal() for c in data.classes):
        raise InvalidValue(
            f"Folder '{name}' has {len(data.classes)} classes, model '{classifier.name}' has {classifier.classes}: "
            "their numbers are not known. Call the folders by the numbers of their classes, or name all classes in the "
            "model's order: --classes FILE (class_names= in Python)."
        )
    return data


def must_fit(name: str | PathLike[str]) -> bool:
    """Whether a data set is a folder or texts of the user's, which are made to fit a classifier."""
    path = Path(name).expanduser()
    return str(name) not in DATASETS and (path.is_dir() or path.suffix in TEXT_SUFFIXES)


def _pairs(dataset: Any, samples: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a ``tf.data.Dataset``, as far as they are needed."""
    spec = dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) != 2:
        raise InvalidValue(f"A tf.data.Dataset must give pairs (image, label). Got elements {spec}.")
    if spec[1].shape.rank == 0 or (spec[1].shape.rank == 1 and spec[0].shape.rank in (2, 3) and spec[1].shape[0]):
        dataset = dataset.batch(256)
    images, labels, count = [], [], 0
    for x, y in dataset.as_numpy_iterator():
        images.append(x)
        labels.append(y)
        count += len(x)
        if samples is not None and count >= samples:
            break
    if not images:
        raise InvalidValue("The tf.data.Dataset is empty. Give one with at least one image.")
    return np.concatenate(images), np.concatenate(labels)


def resolve_attack(method: MethodLike, settings: Mapping[str, Any], parameters: Mapping[str, Any]) -> Attack:
    """The specification itself, or the one of a method with its settings (None: the default) and parameters.

    Raises ``InvalidValue`` where a specification comes with settings besides.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    method = resolve_method(method)
    if not isinstance(method, Attack):
        return Attack.from_settings(method, parameters, **given)
    extra = sorted({*given, *parameters})
    if extra:
        raise InvalidValue(
            f"A specification says all about an attack. Got advlab.Attack('{method.method}', ...) and "
            f"{', '.join(extra)} besides; give them to advlab.Attack."
        )
    return method


def resolve_method(method: MethodLike) -> str | Callable[..., Any] | Attack:
    """The method itself, or of the path of a ``.py`` file, which is run, its ``craft`` with NORMS, GOAL and CHOICES."""
    if not isinstance(method, str | PathLike):
        return method
    path = Path(method)
    if path.suffix != ".py":
        return str(method)
    module = run_file(path, "NORMS, GOAL and craft(problem, *, ...)")
    craft = getattr(module, "craft", None)
    if not isinstance(craft, FunctionType):
        raise InvalidFile(f"'{path}' defines no craft(problem, *, ...), which makes a file a method.")
    for constant in ("NORMS", "GOAL", "CHOICES"):
        if hasattr(module, constant):
            setattr(craft, constant, getattr(module, constant))
    craft.__name__ = path.stem
    craft.SOURCE = path.read_text("utf-8")  # type: ignore[attr-defined]
    return craft


def training_dataset(model: str | PathLike[str]) -> str:
    """The data set that the card of a saved classifier names; raises ``InvalidValue`` where it names none."""
    path = workspace.find_weights(str(model))
    card = card_if_any(path)
    if "dataset" not in card:
        raise InvalidValue(
            f"Model '{model}' does not say which data set it was trained on. Name one with --dataset: "
            f"{', '.join(DATASETS)}, a .npz file or a folder of images by class."
        )
    return str(card["dataset"])


def class_number(target: int | str | None, data: Dataset) -> int | None:
    """The number of the class given by its number or name; raises ``UnknownName``."""
    if target is None or not isinstance(target, str):
        return target
    if is_count(target):
        return int(target)
    if target not in data.classes:
        raise unknown(f"class of data set '{data.name}'", target, (*data.classes, *NAMED_TARGETS))
    return data.classes.index(target)


def for_each_image(
    spec: Attack, data: Dataset, target: Any = None, mask: Any = None, epsilon: Any = None
) -> tuple[Attack, PerImage]:
    """The specification with what was given for a data set, and the arrays that it names by their digest.

    ``target`` is a class, by number or name, ``least-likely``, ``random``, or an int for each image; ``mask`` an array
    or the path of a picture that is white where pixels may change; ``epsilon`` a float for each image. Raises
    ``InvalidValue`` where one does not fit.
    """
    if mask is not None and isinstance(mask, str | PathLike):
        mask = load_image(mask, (None, None, 1))[0]
    given = PerImage(
        mask=None if mask is None else as_mask(mask, data.x.shape),
        epsilon=None if epsilon is None else as_epsilons(epsilon, len(data)),
        target=as_targets(target, data.y) if np.ndim(target) else None,
    )
    threat = replace(spec.threat, per_image=given.digest)
    if given.target is not None:
        threat = replace(threat, target=None, targets=GIVEN)
    elif isinstance(target, str) and target in NAMED_TARGETS and target not in data.classes:
        threat = replace(threat, target=None, targets=target)
    elif target is not None:
        threat = replace(threat, target=class_number(target, data), targets="")
    if given.epsilon is not None:
        if spec.goal == "minimal" or threat.norm == "none":
            raise InvalidValue(f"Attack '{spec.slug}' has no epsilon, and so none of each image. Leave it out.")
        for radius in np.unique(given.epsilon):
            threat = replace(threat, epsilon=float(radius))  # the largest comes last; each is checked
    return (spec if threat == spec.threat else spec.replace(threat=threat)), given


def require_archive(path: Path, spec: Attack, dataset: Dataset, digest: str | None, force: bool) -> None:
    """Raise where the archive of an attack could not be written, or would replace another result without ``force``.

    ``digest`` is the classifier's, None where it is not loaded yet.
    """
    writing.require_writable(path)
    specification = {"attack": spec.to_dict(), "dataset_digest": dataset.digest}
    if digest is not None:
        specification["classifier_digest"] = digest
    refuse_other(path, {} if force else specification, samples=len(dataset.x))
