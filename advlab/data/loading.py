"""Data sets: labelled images in one fixed form, from scikit-learn, the official files, or the user's own."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from advlab import workspace
from advlab.data import arrays, cifar10, imdb, official, sentences, text_files
from advlab.data.conversion import MOST_CLASSES, ValueRange, default_class_names, to_labels
from advlab.data.dataset import Dataset, choose
from advlab.data.images import SPLITS, ImageShape, load_folder
from advlab.data.noise import TRAINING_DISTRIBUTIONS, UNKNOWN, noise_images
from advlab.data.official import DATASETS, WITH_NOISE
from advlab.errors import InvalidFile, InvalidValue

IMAGES_PER_NOISE = 10  # real images before each noise image of a data set ``<dataset>+noise``

# Far from the seeds that people choose: noise that a classifier was trained on would flatter it.
_NOISE_SEEDS = {"train": 1_000_000_007, "test": 1_000_000_009}


def load_dataset(
    name: str | os.PathLike[str],
    *,
    split: str = "test",
    limit: int | None = None,
    seed: int | None = None,
    shape: ImageShape | None = None,
    classes: Sequence[str] | None = None,
    value_range: ValueRange | None = None,
    vocabulary: Sequence[str] | None = None,
    length: int | None = None,
) -> Dataset:
    """A data set by name or path, cut to ``limit`` samples as ``Dataset.take(limit, seed)`` does.

    The names are ``digits``, ``cifar10``, ``fashion-mnist`` and ``mnist``; of texts ``imdb`` and ``sentences``. A path
    leads to a ``.npz`` or HDF5 file with ``x``, ``y`` and perhaps ``classes`` (in HDF5 an attribute), or to a folder
    ``<class>/<image>``. These have a test split only; both splits come as ``x_train``, ``y_train``, ``x_test``,
    ``y_test`` or as folders ``train/<class>/`` and ``test/<class>/``. The classes of a folder alternate, so that the
    first n are balanced. ``<name>+noise`` is any of these with a noise image after every ten, of the additional last
    class ``unknown``. Many images of a file or folder are read lazily: ``numpy.asarray(data.x)`` reads all of them.
    Texts of your own come as CSV or JSON lines with ``text``, ``label`` and perhaps ``split``, or as a folder of
    ``.txt`` files in place of images; each becomes an image one pixel high, see ``advlab.text``.

    Args:
        name: The name or path.
        split: ``train`` or ``test``.
        limit: The most samples; None: all.
        seed: Draws the samples; None takes the first.
        shape: Height, width and channels that the images of a folder are made to fit, with an ``AdvlabWarning`` that
            says how (None in it: the file's own); None takes images of one size.
        classes: The names of all classes, in the order of their numbers, for data that names its classes or has some of
            them only; None: folders called by whole numbers have these as labels, other names are sorted.
        value_range: The pixels that are black and white in a ``.npz`` file, such as ``(-1, 1)``; None: 0 and 1 for
            floating point, 0 and 255 for integers.
        vocabulary: The word of each number, as a model of texts has it; None: by frequency in the training texts.
        length: Of your own texts, how many of the last words are kept; None: 200.

    Raises:
        UnknownName, InvalidValue, InvalidFile: Where the data is not there, damaged, or ambiguous.
        AdvlabError: Where nothing can be downloaded.
    """
    name = os.fspath(name)
    if split not in SPLITS:
        raise InvalidValue(f"Unknown split '{split}' of data set '{name}'. Choose one of: {', '.join(SPLITS)}.")
    if value_range is not None and (Path(name).is_dir() or not workspace.looks_like_path(name)):
        raise InvalidValue(
            f"value_range (--range) says what the pixels of a .npz file are; those of '{name}' are known. Leave it out."
        )
    if name.endswith(WITH_NOISE) and not Path(name).exists():
        return _with_noise(name, split, limit, seed)
    if name == "digits":
        return _digits(split).take(limit, seed)
    if name in ("imdb", "sentences"):
        x, y, words, provenance = imdb.load(split) if name == "imdb" else sentences.load(split)
        return Dataset(name, split, x, y, np.arange(len(y)), imdb.CLASSES, provenance, words).take(limit, seed)
    if name in DATASETS:
        provenance = ""
        if name == "cifar10":
            pixels, labels, provenance = cifar10.load(split)
        else:
            pixels, labels = official.load(name, split)
        rows = choose(len(pixels), limit, seed)
        x = np.divide(pixels[rows], np.float32(255), dtype=np.float32)
        return Dataset(name, split, x, labels[rows], rows, official.SOURCES[name].classes, provenance)
    path = workspace.find_data(name, DATASETS)
    if text_files.is_text(path):
        return text_files.load(path, name, split, limit, seed, classes, vocabulary, length)
    if path.is_dir():
        return load_folder(path, name, split, limit, seed, shape, classes)
    if not path.is_file():
        raise InvalidFile(f"'{path}' is neither a file nor a folder. Give a .npz file, or a folder of images by class.")
    return _of_arrays(path, name, split, classes, value_range).take(limit, seed)


def _digits(split: str) -> Dataset:
    """scikit-learn's 8 x 8 digits of 17 grey levels, bicubic to 28 x 28, clipped and rounded to 256 grey levels.

    Every fourth image is for testing. The rounding makes the data, and its digest, the same on every machine.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    images, y = load_digits(return_X_y=True)
    rows = np.flatnonzero((np.arange(len(y)) % 4 == 3) == (split == "test"))
    small = (Image.fromarray(image) for image in (images[rows] / 16).astype(np.float32).reshape(-1, 8, 8))
    x = np.stack([np.asarray(image.resize((28, 28), Image.Resampling.BICUBIC)) for image in small])
    x = np.round(np.clip(x, 0, 1) * 255).astype(np.float32) / np.float32(255)
    return Dataset("digits", split, x, y[rows], np.arange(len(rows)), official.DIGITS)


def _with_noise(name: str, split: str, limit: int | None, seed: int | None) -> Dataset:
    """The images of a data set with a noise image after every ten, of ``TRAINING_DISTRIBUTIONS`` in turn."""
    base = load_dataset(name.removesuffix(WITH_NOISE), split=split)
    count, group = len(base) // IMAGES_PER_NOISE, IMAGES_PER_NOISE + 1
    if UNKNOWN in base.classes or not count:
        reason = f"fewer than {IMAGES_PER_NOISE} images" if not count else f"a class '{UNKNOWN}' already"
        raise InvalidValue(f"'{name}' cannot be built: data set '{base.name}' has {reason}. Use it as it is.")
    each = -(-count // len(TRAINING_DISTRIBUTIONS))
    by_distribution = [noise_images(each, base.shape, name, _NOISE_SEEDS[split]) for name in TRAINING_DISTRIBUTIONS]
    noise = np.stack(by_distribution, 1).reshape(-1, *base.shape)
    rows = choose(len(base) + count, limit, seed)
    is_noise = rows % group == IMAGES_PER_NOISE
    x, y = np.empty((len(rows), *base.shape), np.float32), np.full(len(rows), len(base.classes))
    real = (rows - rows // group)[~is_noise]
    x[is_noise], x[~is_noise], y[~is_noise] = noise[rows[is_noise] // group], base.x[real], base.y[real]
    return Dataset(name, split, x, y, rows, (*base.classes, UNKNOWN), base.provenance)


def _of_arrays(
    path: Path, name: str, split: str, classes: Sequence[str] | None, value_range: ValueRange | None
) -> Dataset:
    fix = "Write it with numpy.savez(path, x=images, y=labels), or with x_train, y_train, x_test and y_test."
    if not (arrays.is_hdf5(path) or zipfile.is_zipfile(path)):
        raise InvalidFile(f"'{path}' is not a complete .npz or HDF5 file. {fix}")
    names = arrays.array_names(path, fix)
    suffixes = [suffix for suffix in ("", "_train", "_test") if f"x{suffix}" in names and f"y{suffix}" in names]
    suffix = f"_{split}" if f"_{split}" in suffixes else ""
    if suffix not in suffixes or (split == "train" and not suffix):
        raise InvalidFile(f"'{path}' has no {split} split, only {', '.join(names)[:200] or 'nothing'}. {fix}")
    wanted = [f"x{suffix}", *(f"y{suffix}" for suffix in suffixes), *(["classes"] if "classes" in names else [])]
    content = arrays.read_arrays(path, wanted, fix, images=f"x{suffix}")
    if classes is None and "classes" in content:
        classes = _class_names(content["classes"], path, fix)
    # Both splits tell together which classes there are.
    labels = [np.atleast_1d(content[f"y{suffix}"]) for suffix in suffixes]
    if len({y.shape[1:] for y in labels}) > 1:
        raise InvalidFile(f"'{path}' has labels of different shapes in its splits. {fix}")
    y, found = to_labels(np.concatenate(labels), classes, f"data set '{name}'")
    own = suffixes.index(suffix)
    start = sum(map(len, labels[:own]))
    class_names = default_class_names(y, name) if found is None else found
    part = y[start : start + len(labels[own])]
    return Dataset.from_arrays(
        content[f"x{suffix}"], part, class_names, name=name, split=split, value_range=value_range
    )


def _class_names(names: np.ndarray, path: Path, fix: str) -> list[str]:
    if names.dtype.kind not in "SUiu" or names.size > MOST_CLASSES:
        raise InvalidFile(f"Cannot read '{path}': its 'classes' are {names.size:,} of type {names.dtype}. {fix}")
    try:
        return [str(name) for name in np.ravel(names).astype(str).tolist()]
    except ValueError as error:
        raise InvalidFile(f"Cannot read '{path}': its 'classes' are no text. {fix}") from error
