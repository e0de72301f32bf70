"""From names to an archive and back: attack a saved classifier, and verify what an archive claims."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from advlab import archive, metrics, modelcard, schema, workspace
from advlab.archive import AttackResult
from advlab.datasets import load_dataset
from advlab.errors import InvalidValue, Mismatch, unknown
from advlab.inventory import DATASETS
from advlab.samples import Dataset

SCHEMA = 1
ALLOWED_FLIPS = 0.001  # the last bit of a logit depends on batch size and machine


class Verification(NamedTuple):
    """What another look at an archive found.

    ``flips`` are the rows whose perturbed image is now classified differently, ``margins`` how far their two highest
    probabilities lie apart now; ``outside`` are the rows beyond the budget or the box. ``holds``: no row is outside and
    at most 0.1 % of the rows flip (one row is always allowed).
    """

    samples: int
    recorded_accuracy: float
    accuracy: float
    flips: np.ndarray
    margins: np.ndarray
    outside: np.ndarray
    largest: float

    @property
    def holds(self) -> bool:
        return not len(self.outside) and len(self.flips) <= max(1, ALLOWED_FLIPS * self.samples)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            **self._asdict(),
            "schema": SCHEMA,
            "flips": self.flips.tolist(),
            "margins": self.margins.tolist(),
            "outside": self.outside.tolist(),
            "holds": self.holds,
        }


def attack_to_archive(
    model: str,
    method: str = "fgsm",
    *,
    dataset: str | None = None,
    samples: int | None = None,
    output: str | PathLike[str] | None = None,
    force: bool = False,
    trust: bool = False,
    scale: float | None = None,
    offset: float | None = None,
    epsilon: float | str | None = None,
    norm: str | None = None,
    target: int | str | None = None,
    seed: int = 0,
    restarts: int = 1,
    stop: str = "never",
    precision: str = "float32",
    batch_size: int | None = None,
    progress: bool | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> tuple[AttackResult, Path]:
    """Attack a saved classifier on the first ``samples`` test images and save the archive; returns both.

    ``dataset`` None means the one that the model card names; ``epsilon`` may be written ``"8/255"`` and ``target``
    may be the name of a class. Whatever can be refused is refused before TensorFlow is loaded: unknown names and
    parameters, values out of range, an archive of something else in the way.
    """
    declared = schema.method(method)
    options: dict[str, Any] = {
        "epsilon": epsilon,
        "norm": norm,
        "seed": seed,
        "restarts": restarts,
        "stop": stop,
        "precision": precision,
    }
    declared.attack(parameters=parameters, **options)
    found = workspace.find_weights(model)
    data = load_dataset(dataset or trained_on(model), limit=samples)
    options["target"] = _class_number(target, data)
    spec = declared.attack(parameters=parameters, **options)
    place = workspace.archive_path(found.stem, spec.slug) if output is None else _as_archive(output)
    workspace.require_writable(place)
    archive.refuse_other(place, {} if force else {"attack": spec.to_dict(), "dataset_digest": data.digest})

    from advlab.classifier import load_classifier
    from advlab.engine import attack

    classifier = load_classifier(model, trust=trust).rescaled(scale, offset)
    if force:
        workspace.partial_path(classifier.name, spec.slug).unlink(missing_ok=True)
    else:
        archive.refuse_other(place, {"classifier_digest": classifier.digest})
    result = attack(classifier, data, method, **options, batch_size=batch_size, progress=progress, **(parameters or {}))
    return result, result.save(place, force=force)


def trained_on(model: str) -> str:
    """The data set that the card of a saved classifier names; raises ``InvalidValue`` where it names none."""
    path = workspace.find_weights(model)
    card = modelcard.read_card(path) if path.suffix != ".keras" else {}
    if "dataset" not in card:
        raise InvalidValue(
            f"Model '{model}' does not say which data set it was trained on. Name one with --dataset: "
            f"{', '.join(DATASETS)}, a .npz file or a folder of images by class."
        )
    return card["dataset"]


def _as_archive(output: str | PathLike[str]) -> Path:
    path = Path(output)
    return path if path.suffix in (".h5", ".hdf5") else path.with_name(f"{path.name}.h5")


def _class_number(target: int | str | None, data: Dataset) -> int | None:
    if target is None or isinstance(target, int):
        return target
    if target.isdecimal():
        return int(target)
    if target not in data.classes:
        raise unknown(f"class of data set '{data.name}'", target, data.classes)
    return data.classes.index(target)


def verify(path: str | PathLike[str], *, model: str | None = None, trust: bool = False) -> Verification:
    """Score the images of an archive again on this machine, and measure its perturbations again.

    ``model`` says where the classifier lies now, when that is not where it was. Raises ``Mismatch`` for another one.
    """
    result = archive.load_result(path)

    from advlab.classifier import load_classifier

    settings = result.settings
    classifier = load_classifier(model or settings.get("model", result.classifier), trust=trust)
    classifier = classifier.rescaled(settings.get("scale"), settings.get("offset"))
    if classifier.digest != result.classifier_digest:
        raise Mismatch(
            f"'{path}' was crafted against another '{result.classifier}' (digest {result.classifier_digest}; this one "
            f"has {classifier.digest}). Name the right file with --model, or craft it again. To see how its images "
            "fare on this model, use: advlab evaluate ARCHIVE --model NAME"
        )
    now = classifier.probabilities(result.x_adv)
    flips = np.flatnonzero(now.argmax(1) != result.adversarial_probabilities.argmax(1))
    highest = np.sort(now[flips], axis=1)
    threat = result.attack.threat
    sizes = metrics.distance(result.x, result.x_adv, "l2" if threat.norm == "none" else threat.norm)
    outside = ~np.all((result.x_adv >= 0) & (result.x_adv <= 1), axis=(1, 2, 3))
    outside |= metrics.exceeds(sizes, threat.norm, threat.epsilon)
    return Verification(
        samples=len(result),
        recorded_accuracy=float(np.mean(result.robust)),
        accuracy=float(np.mean(result.correct & (now.argmax(1) == result.labels) & ~result.left_out)),
        flips=flips,
        margins=highest[:, -1] - highest[:, -2],
        outside=np.flatnonzero(outside),
        largest=float(sizes.max(initial=0)),
    )
