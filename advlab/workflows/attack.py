"""Attack a classifier: the public function, from whatever people have at hand to a result or an archive."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from advlab import remote, workspace
from advlab.data.dataset import Dataset
from advlab.data.loading import load_dataset
from advlab.errors import InvalidValue
from advlab.lazy import LazyImages
from advlab.lock import exclusive
from advlab.results.result import AttackResult, load_result
from advlab.workflows.cost import require_room
from advlab.workflows.inputs import (
    MethodLike,
    for_each_image,
    must_fit,
    require_archive,
    resolve_attack,
    resolve_classifier,
    resolve_dataset,
    training_dataset,
)
from advlab.workflows.kept import from_archive, require_archive_to_keep, require_independent

if TYPE_CHECKING:
    from advlab.workflows.inputs import ClassifierLike, DatasetLike

Epsilon = float | str


@overload
def attack(
    classifier: ClassifierLike,
    dataset: DatasetLike | None = None,
    method: MethodLike = "fgsm",
    *,
    epsilon: Epsilon | None = None,
    norm: str | float | None = None,
    target: int | str | np.ndarray | Sequence[int] | None = None,
    mask: np.ndarray | str | PathLike[str] | None = None,
    epsilon_per_image: np.ndarray | Sequence[float] | None = None,
    top: int | None = None,
    seed: int | None = None,
    restarts: int | None = None,
    early_stop: bool | None = None,
    precision: str | None = None,
    passes: int | None = None,
    backward: Mapping[str, str | Callable[..., Any]] | None = None,
    samples: int | None = None,
    batch_size: int | None = None,
    compile: str = "auto",
    attempted: np.ndarray | None = None,
    save: bool = False,
    output: str | PathLike[str] | None = None,
    force: bool = False,
    trust: bool = False,
    progress: bool | None = None,
    **parameters: Any,
) -> AttackResult: ...


@overload
def attack(
    classifier: ClassifierLike,
    dataset: DatasetLike | None = None,
    method: MethodLike = "fgsm",
    *,
    epsilon: Sequence[Epsilon] | np.ndarray,
    **options: Any,
) -> list[AttackResult]: ...


def attack(
    classifier: ClassifierLike,
    dataset: DatasetLike | None = None,
    method: MethodLike = "fgsm",
    *,
    epsilon: Any = None,
    norm: str | float | None = None,
    target: int | str | np.ndarray | Sequence[int] | None = None,
    mask: np.ndarray | str | PathLike[str] | None = None,
    epsilon_per_image: np.ndarray | Sequence[float] | None = None,
    top: int | None = None,
    seed: int | None = None,
    restarts: int | None = None,
    early_stop: bool | None = None,
    precision: str | None = None,
    passes: int | None = None,
    backward: Mapping[str, str | Callable[..., Any]] | None = None,
    samples: int | None = None,
    batch_size: int | None = None,
    compile: str = "auto",
    attempted: np.ndarray | None = None,
    save: bool = False,
    output: str | PathLike[str] | None = None,
    force: bool = False,
    trust: bool = False,
    progress: bool | None = None,
    **parameters: Any,
) -> AttackResult | list[AttackResult]:
    """Craft an adversarial example for each image of a data set.

    Args:
        classifier: A ``Classifier``, a Keras model, or the name or path of a saved one.
        dataset: A ``Dataset``, a pair ``(x, y)``, a ``tf.data.Dataset``, or a name or path. None: the test images that
            the classifier's card names.
        method: A name, a function ``craft(problem, *, ...)``, the path of a ``.py`` file that defines one, which is
            run, or an ``advlab.Attack``, which says all but ``target``, ``mask`` and ``epsilon_per_image``.
        epsilon: In pixel units of a [0, 1] image, such as 0.1 or ``"8/255"``; None: linf 0.1, l2 1.5, l1 10, l0 20. Of
            a list of them each gives a result.
        norm: ``linf``, ``l2``, ``l1``, ``l0`` or ``none``; None: the method's first.
        target: The class to reach, by number or name; ``"least-likely"``, that of each clean image, or ``"random"``, a
            wrong one drawn for each; an int for each image. None: any wrong one. An image whose label is its target is
            out of scope.
        mask: Where pixels may change: bool or 0 and 1, ``(h, w)`` or ``(h, w, c)``, or with ``(n, ...)`` for each
            image; or the path of a picture, white where they may, black elsewhere. None: everywhere.
        epsilon_per_image: float ``(n,)``, instead of one epsilon of all images.
        top: Without a target an image counts as misclassified where its label is not among so many likeliest classes,
            in attack and evaluation; None: 1.
        seed: Of all random draws, in [0, 2**64); None: 0.
        restarts: Attacks on each image; None: 1.
        early_stop: Whether each image ends at its first success; None: no.
        precision: Of gradients, ``float32`` or ``bfloat16``; None: ``float32``.
        passes: Of a random classifier, forward (and backward) passes that each query averages; None: 1.
        backward: Name of a layer -> ``identity``, ``smoothed`` or a function of its inputs that its gradient is taken
            from.
        samples: The first so many images; None: all.
        batch_size: Images at a time; None: by the size of the model.
        compile: ``auto``, ``xla`` or ``graph``.
        attempted: bool ``(n,)``, the images to attack, the others count as not robust; None: all.
        save: Whether to write the archive. An attack that is interrupted then keeps its work, and the same call
            continues it. Of an archive that is there the images are kept: only missing ones are crafted, and fewer are
            taken from it, unless they depend on one another.
        output: The archive's path; None: ``attacks/<classifier>/<attack>.h5`` in the workspace. Of a URL such as
            ``s3://bucket/a.h5`` that archive is a copy.
        force: Whether to craft all images again, and to replace an archive of something else.
        trust: Whether code in a model file may run.
        progress: Whether to show a bar; None: on a terminal.
        **parameters: Those of the method, such as ``steps=100``; for a bounded method also ``loss``, a TensorFlow
            function ``(logits, labels)`` -> float32 ``(n,)`` to raise in place of its own, see ``advlab.Attack``.

    Returns:
        The result; for a list of epsilons a list of results.

    Raises:
        UnknownName: For a name that does not exist.
        InvalidValue: For a value out of range.
        Mismatch: Where classifier and data do not belong together.
        FileExists: Where an archive of something else is in the way.
    """
    settings: dict[str, Any] = {"norm": norm, "top": top, "seed": seed, "restarts": restarts, "early_stop": early_stop}
    settings |= {"precision": precision, "passes": passes, "backward": backward}
    if epsilon is not None and epsilon_per_image is not None:
        raise InvalidValue("Give one of the two: epsilon, or epsilon_per_image.")
    if isinstance(epsilon, list | tuple | np.ndarray) and np.ndim(epsilon):
        if output is not None:
            raise InvalidValue("Several epsilons have several archives. Leave output out, or call once for each.")
        network = resolve_classifier(classifier, trust)
        images = resolve_dataset(dataset, network, samples)
        options: dict[str, Any] = {"target": target, "mask": mask, "samples": samples, "batch_size": batch_size}
        options |= {"compile": compile, "attempted": attempted, "save": save, "force": force, "progress": progress}
        options |= {**settings, **parameters}
        results = []
        for value in np.asarray(epsilon, object):
            single: AttackResult = attack(network, images, method, epsilon=value, **options)
            results.append(single)
        return results
    # Whatever can be refused is refused before TensorFlow is loaded.
    url = os.fspath(output) if output is not None and remote.is_url(output) else None
    if url is not None:
        remote.require(url)
        output, save = None, True
    spec = resolve_attack(method, {**settings, "epsilon": epsilon}, parameters)
    path = None if output is None else _with_suffix(output)
    if isinstance(classifier, str | PathLike) and (dataset is None or isinstance(dataset, str | PathLike)):
        weights = workspace.find_weights(str(classifier))
        dataset = dataset or training_dataset(classifier)
        # What a folder of images holds is known only with the classifier, whose size and classes it takes.
        if not must_fit(dataset):
            dataset = load_dataset(dataset, limit=samples)
            asked, _ = for_each_image(spec, dataset, target, mask, epsilon_per_image)
            if save or path is not None:
                archive = path or workspace.archive_path(weights.stem, asked.slug)
                require_archive_to_keep(archive, asked, dataset, None, force)

    from advlab.engine.attack import craft

    network = resolve_classifier(classifier, trust)
    images = resolve_dataset(dataset, network, samples).take(samples)
    spec, per_image = for_each_image(spec, images, target, mask, epsilon_per_image)
    place = path or workspace.archive_path(network.name, spec.slug)
    saves = save or path is not None
    unfinished = workspace.partial_path(network.name, spec.slug) if saves else None

    def craft_images(chosen: Dataset, rows: slice) -> AttackResult:
        return craft(
            network,
            chosen,
            spec,
            batch_size=batch_size,
            compile=compile,
            attempted=attempted if attempted is None or rows == slice(None) else attempted[rows],
            per_image=per_image.take(rows),
            unfinished=unfinished,
            progress=progress,
        )

    if not saves:
        return craft_images(images, slice(None))
    with exclusive(unfinished):
        stored = require_archive_to_keep(place, spec, images, network.digest, force)
        require_independent(place, spec, images, stored)
        require_room(place, len(images), images.shape, network.classes)
        if force and unfinished is not None:
            workspace.forget_unfinished(unfinished)
        result = from_archive(place, images, stored, craft_images, attempted, progress) if stored else None
        if result is None:
            # Where others of the same images were attempted they are attacked again, and the archive is replaced.
            require_archive(place, spec, images, network.digest, force)
            result = craft_images(images, slice(None))
        if result.location is None:
            result = finish(result, place, unfinished, force or bool(stored))
    if url is not None:
        remote.upload(result.path, url)
    return result


def finish(result: AttackResult, path: Path, unfinished: Path | None, force: bool) -> AttackResult:
    """Save a result, and only then forget the unfinished work; the result knows its path.

    Lazy images are from then on read from the archive, so that their temporary files can go.
    """
    result.save(path, force=force)
    if unfinished is not None:
        workspace.forget_unfinished(unfinished)
    return load_result(path) if isinstance(result.x_adv, LazyImages) else replace(result, location=path)


def _with_suffix(output: str | PathLike[str]) -> Path:
    path = Path(output)
    return path if path.suffix in (".h5", ".hdf5") else path.with_name(f"{path.name}.h5")
