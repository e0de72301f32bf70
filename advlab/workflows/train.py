"""Train a classifier into the workspace: its weights, its training curve, and checkpoints on the way."""

from __future__ import annotations

import contextlib
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from advlab import figures, workspace, writing
from advlab.declarations.recipes import Recipe, load_recipe
from advlab.errors import AdvlabError, FileExists, InvalidValue
from advlab.lock import exclusive

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier


def train(
    recipe: str | os.PathLike[str] | Recipe,
    *,
    dataset: str | os.PathLike[str] | None = None,
    name: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    save: bool = True,
    resume: bool = False,
    force: bool = False,
    resize: tuple[int, int] | None = None,
    value_range: tuple[float, float] | None = None,
    progress: bool | None = None,
    tensorboard: str | os.PathLike[str] | None = None,
) -> Classifier:
    """Train the classifier of a recipe (name, path to a TOML file, or ``Recipe``) and return it with its model card.

    ``dataset`` (a name, a ``.npz`` file or a folder of images, with both splits), ``epochs`` and ``seed`` replace the
    recipe's; ``name`` is that of the classifier (None: the recipe's, followed by that of another data set). ``save``
    writes ``models/<name>.h5`` in the workspace, and beside it the training curve as ``.svg``; an existing file is
    refused before training unless ``force``. ``resize`` is the height and width that images of a folder are made to
    have (None: all have one size), ``value_range`` the pixels that are black and white in a ``.npz`` file, such as
    (0, 255) or (-1, 1). ``resume`` continues an interrupted training run from its last checkpoint,
    to the same weights as without the interruption. ``progress``: None shows it on a terminal only. ``tensorboard`` is
    a folder for logs. Equal seeds give bitwise equal weights on one processor; the global generators of Python, NumPy
    and TensorFlow are seeded for it.

    The card holds accuracies as fractions in [0, 1] or None: ``test_accuracy`` of the saved weights, ``train_accuracy``
    and ``validation_accuracy`` as ``fit`` reports them for the epoch whose weights are saved (the training figure is a
    mean over that epoch with dropout active, which is what books print). ``seconds`` times training alone, ``history``
    has the figures of each epoch, and ``ended`` says why a training run ended early (early stopping, or a loss that
    became NaN or infinite: then the last good weights are saved).

    Raises ``UnknownName``, ``InvalidValue``, ``InvalidFile`` or ``Mismatch`` for a recipe, data or checkpoint that does
    not fit, ``FileExists``, and ``AdvlabError`` for a loss that is NaN or infinite in the first epoch: nothing is saved
    then.
    """
    recipe = _adjusted(recipe, dataset, name, epochs, seed)
    if resume and not save:
        raise InvalidValue("Checkpoints are written only with save=True. Leave out save=False, or resume=True.")
    with exclusive(workspace.checkpoint_path(recipe.name) if save else None):
        return _train(recipe, save, resume, force, resize, value_range, progress, tensorboard)


def _train(
    recipe: Recipe,
    save: bool,
    resume: bool,
    force: bool,
    resize: tuple[int, int] | None,
    value_range: tuple[float, float] | None,
    progress: bool | None,
    tensorboard: str | os.PathLike[str] | None,
) -> Classifier:
    path, checkpoint = workspace.weights_path(recipe.name), workspace.checkpoint_path(recipe.name)
    if save:
        action = f"training '{recipe.name}' (in Python: force=True, or save=False to leave the file alone)"
        unfinished = checkpoint.exists()
        writing.refuse_existing(path, force, action)
        if unfinished and not (resume or force):
            raise FileExists(
                f"'{checkpoint}' holds an interrupted training run of '{recipe.name}'. "
                "Use --resume to resume it, or --force to start over."
            )
        writing.require_writable(path)
        if unfinished and not resume:
            checkpoint.unlink()

    from advlab.training.train import fit_recipe

    try:
        classifier = fit_recipe(
            recipe,
            checkpoint_path=checkpoint if save else None,
            resume=resume,
            resize=resize,
            value_range=value_range,
            progress=progress,
            tensorboard=tensorboard,
        )
    except KeyboardInterrupt as error:
        if save and checkpoint.exists():
            options = "--resume --force" if path.exists() else "--resume"
            raise KeyboardInterrupt(f"The last checkpoint is saved in '{checkpoint}'; {options} continues.") from error
        raise
    if save:
        classifier.save(path)
        with contextlib.suppress(OSError):
            checkpoint.unlink(missing_ok=True)
        curve = figures.training_curve(
            classifier.card["history"], title=recipe.name, published=recipe.published.get("test_accuracy")
        )
        try:
            figures.save(curve, path.with_suffix(".svg"))
        except AdvlabError as error:
            warnings.warn(f"The classifier is saved, its training curve is not. {error}", stacklevel=2)
    return classifier


def _adjusted(
    recipe: str | os.PathLike[str] | Recipe,
    dataset: str | os.PathLike[str] | None,
    name: str | None,
    epochs: int | None,
    seed: int | None,
) -> Recipe:
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(os.fspath(recipe))
    settings = recipe.training
    settings = replace(
        settings,
        epochs=settings.epochs if epochs is None else epochs,
        seed=settings.seed if seed is None else seed,
    )
    if dataset is not None and os.fspath(dataset) != recipe.dataset:
        # The source and the published figures of a recipe do not hold for other data.
        data = os.fspath(dataset)
        recipe = replace(
            recipe,
            dataset=data,
            name=f"{recipe.name}-{workspace.as_file_name(Path(data).stem)}",
            title=f"The network of recipe '{recipe.name}' on {data}",
            source="",
            published={},
        )
    name = recipe.name if name is None else workspace.as_file_name(name)
    if name.endswith(".partial"):
        raise InvalidValue(f"Names that end in .partial are those of checkpoints. Got '{name}'; choose another one.")
    return replace(recipe, name=name, training=settings)
