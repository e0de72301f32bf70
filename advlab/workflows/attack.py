"""Attack a saved classifier by its name, and save the archive."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from advlab import workspace
from advlab.data.loading import load_dataset
from advlab.declarations.methods import load_method
from advlab.results.result import AttackResult, refuse_other
from advlab.workflows.inputs import class_number, training_dataset


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
    early_stop: bool = False,
    precision: str = "float32",
    batch_size: int | None = None,
    progress: bool | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> tuple[AttackResult, Path]:
    """Attack a saved classifier on the first ``samples`` test images and save the archive; returns both.

    ``dataset`` None means the one that the model card names; ``epsilon`` may be written ``"8/255"`` and ``target`` may
    be the name of a class. Bad input is refused before TensorFlow is loaded: unknown names and parameters, values out
    of range, another result at the path of the archive.
    """
    declaration = load_method(method)
    options: dict[str, Any] = {
        "epsilon": epsilon,
        "norm": norm,
        "seed": seed,
        "restarts": restarts,
        "early_stop": early_stop,
        "precision": precision,
    }
    declaration.attack(parameters=parameters, **options)
    weights = workspace.find_weights(model)
    data = load_dataset(dataset or training_dataset(model), limit=samples)
    options["target"] = class_number(target, data)
    spec = declaration.attack(parameters=parameters, **options)
    path = workspace.archive_path(weights.stem, spec.slug) if output is None else _with_suffix(output)
    workspace.require_writable(path)
    refuse_other(path, {} if force else {"attack": spec.to_dict(), "dataset_digest": data.digest})

    from advlab.classifiers.classifier import load_classifier
    from advlab.engine.attack import attack

    classifier = load_classifier(model, trust=trust).rescaled(scale, offset)
    if force:
        workspace.partial_path(classifier.name, spec.slug).unlink(missing_ok=True)
    else:
        refuse_other(path, {"classifier_digest": classifier.digest})
    result = attack(classifier, data, method, **options, batch_size=batch_size, progress=progress, **(parameters or {}))
    return result, result.save(path, force=force)


def _with_suffix(output: str | PathLike[str]) -> Path:
    path = Path(output)
    return path if path.suffix in (".h5", ".hdf5") else path.with_name(f"{path.name}.h5")
