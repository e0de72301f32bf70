"""The images of a recipe: which it is trained and judged on, and whether its settings fit them."""

from __future__ import annotations

import math
from pathlib import Path

from advlab.classifiers.inputs import as_size
from advlab.data.conversion import ValueRange
from advlab.data.dataset import Dataset
from advlab.data.loading import load_dataset
from advlab.declarations.recipes import Recipe, Training
from advlab.errors import InvalidValue, Mismatch


def load_training_data(recipe: Recipe, resize: tuple[int, int] | None, value_range: ValueRange | None) -> Dataset:
    """The training split, and of it as much as the recipe takes; the images to validate on are its last.

    Raises ``InvalidValue`` or ``Mismatch`` where it is not as the recipe needs it.
    """
    settings = recipe.training
    if resize is not None and not Path(recipe.dataset).expanduser().is_dir():
        raise InvalidValue(
            f"resize (--resize) is for folders of image files, and '{recipe.dataset}' is none. Leave it out."
        )
    shape = None if resize is None else (*as_size(resize), None)
    data = load_dataset(recipe.dataset, split="train", shape=shape, value_range=value_range)
    if recipe.classes not in (None, len(data.classes)):
        raise Mismatch(
            f"Recipe '{recipe.name}' is for {recipe.classes} classes, but data set '{data.name}' has "
            f"{len(data.classes)}. Use other data, or set 'classes' in a recipe of your own."
        )
    if settings.train_samples is not None:
        if settings.train_samples > len(data.x):
            raise Mismatch(
                f"training.train_samples is {settings.train_samples}, but data set '{data.name}' has {len(data.x)} "
                f"training images. Set at most {len(data.x)} in recipe '{recipe.name}'."
            )
        data = data.take(settings.train_samples)
    train_count = count_for_training(len(data.x), settings)
    if train_count < 1 or (settings.validation_split and train_count == len(data.x)):
        raise Mismatch(
            f"training.validation_split {settings.validation_split:g} of {len(data.x)} images leaves {train_count} for "
            f"training and {len(data.x) - train_count} for validation. Both need at least one image."
        )
    return data


def load_test_data(recipe: Recipe, data: Dataset, value_range: ValueRange | None) -> Dataset:
    """The test split that belongs to ``data``; raises ``Mismatch`` where its shape or classes are others."""
    test = load_dataset(recipe.dataset, split="test", shape=data.shape, value_range=value_range)
    if test.shape != data.shape or test.classes != data.classes:
        raise Mismatch(
            f"The test split of data set '{data.name}' has images {test.shape} in {len(test.classes)} classes, its "
            f"training split {data.shape} in {len(data.classes)}. Give both splits the same shape and classes."
        )
    return test


def require_fitting(settings: Training, data: Dataset) -> None:
    """Raise ``Mismatch`` for settings of images where there are texts, or the reverse, and for too large an epsilon."""
    adversary = settings.adversary
    of_images = ("gaussian_noise", "random_shift", "random_flip")
    given = next((name for name in of_images if getattr(settings, name)), None)
    if adversary is not None and adversary.norm != "l0":
        given = "adversary.norm"
    if settings.certified is not None and settings.certified.norm != "l0":
        given = "certified.norm"
    if data.vocabulary and given is not None:
        raise Mismatch(
            f"training.{given} is for images, and data set '{data.name}' holds texts. Leave it out; for texts "
            "there are training.word_substitution, training.adversary with method 'hotflip' or 'augment', and "
            "training.certified, the last two with norm 'l0'."
        )
    of_texts = {
        "word_substitution": bool(settings.word_substitution),
        "adversary.norm 'l0'": adversary is not None and adversary.norm == "l0",
        "certified.norm 'l0'": settings.certified is not None and settings.certified.norm == "l0",
    }
    name = next((name for name, is_given in of_texts.items() if is_given), None)
    if not data.vocabulary and name is not None:
        raise Mismatch(f"training.{name} is for texts, and data set '{data.name}' holds images. Leave it out.")
    farthest = math.sqrt(math.prod(data.shape))
    if adversary is not None and adversary.norm == "l2" and adversary.epsilon > farthest:
        raise Mismatch(
            f"training.adversary.epsilon is {adversary.epsilon:g} with norm 'l2', but no two images of data set "
            f"'{data.name}' can be farther apart than {farthest:.4g}. Set less."
        )


def count_for_training(images: int, settings: Training) -> int:
    """How many of so many images are trained on; the others validate."""
    return math.floor(images * (1 - settings.validation_split))
