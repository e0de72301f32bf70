"""Data sets: labelled images in one fixed form, from scikit-learn, the official files, or the user's own."""

from __future__ import annotations

import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from advlab import workspace
from advlab.data import arrays, official
from advlab.data.dataset import MOST_CLASSES, Dataset, choose, default_class_names
from advlab.data.noise import TRAINING_DISTRIBUTIONS, UNKNOWN, noise_images
from advlab.data.official import DATASETS, WITH_NOISE
from advlab.errors import DAMAGE, InvalidFile, InvalidValue
from advlab.progress import Progress

SPLITS = ("train", "test")
IMAGES_PER_NOISE = 10  # real images before each noise image of a data set ``<dataset>+noise``

# Far from the seeds that people choose: noise that a classifier was trained on would flatter it.
_NOISE_SEEDS = {"train": 1_000_000_007, "test": 1_000_000_009}
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")  # no others: a PostScript file would start another program
_MOST_PIXELS = 50_000_000
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}
_GREY = {"1", "L", "LA"}
_T = TypeVar("_T")


def load_dataset(
    name: str | os.PathLike[str], *, split: str = "test", limit: int | None = None, seed: int | None = None
) -> Dataset:
    """A data set by name or path, cut to ``limit`` samples as ``Dataset.take(limit, seed)`` does.

    The names are ``digits``, ``fashion-mnist`` and ``mnist``. A path leads to a ``.npz`` file with ``x``, ``y`` and
    perhaps ``classes``, or to a folder ``<class>/<image>``. These have a test split only; both splits come as
    ``x_train``, ``y_train``, ``x_test``, ``y_test`` or as folders ``train/<class>/`` and ``test/<class>/``. The classes
    of a folder alternate, so that the first n are balanced. ``<name>+noise`` is any of these with a noise image after
    every ten, of the additional last class ``unknown``. Raises ``UnknownName``, ``InvalidValue``, ``InvalidFile``, and
    ``AdvlabError`` where nothing can be downloaded.
    """
    name = os.fspath(name)
    if split not in SPLITS:
        raise InvalidValue(f"Unknown split '{split}' of data set '{name}'. Choose one of: {', '.join(SPLITS)}.")
    if name.endswith(WITH_NOISE) and not Path(name).exists():
        return _with_noise(name, split, limit, seed)
    if name == "digits":
        return _digits(split).take(limit, seed)
    if name in DATASETS:
        pixels, labels = official.load(name, split)
        rows = choose(len(pixels), limit, seed)
        x = np.divide(pixels[rows], np.float32(255), dtype=np.float32)
        return Dataset(name, split, x, labels[rows], rows, official.SOURCES[name].classes)
    path = workspace.find_data(name, DATASETS)
    if path.is_dir():
        return _folder(path, name, split, limit, seed)
    if not path.is_file():
        raise InvalidFile(f"'{path}' is neither a file nor a folder. Give a .npz file, or a folder of images by class.")
    return _npz(path, name, split).take(limit, seed)


def load_image(
    path: str | os.PathLike[str], shape: tuple[int | None, int | None, int | None]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """One image file as float32 ``shape``, ``(h, w, c)`` in [0, 1] with c 1 or 3, and the changes that made it fit.

    None in ``shape`` keeps the file's own height or width. A photo is turned upright by its EXIF orientation;
    transparent parts become white; then colours are converted and the image is resized, whatever its proportions
    (bicubic). Raises ``InvalidFile``.
    """
    file = Path(path)
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise InvalidFile(f"The image '{file}' {what}. Give a PNG, JPEG, BMP, GIF or WebP file.")
    return _read(file, lambda image: _fit_to_shape(image, shape))


def _fit_to_shape(image: Any, shape: tuple[int | None, int | None, int | None]) -> tuple[np.ndarray, tuple[str, ...]]:
    from PIL import Image, ImageOps

    if image.mode.startswith(("I", "F")):
        raise ValueError(f"its pixels are of type {image.mode}, not 8 bits grey or RGB")
    changes = []
    image = ImageOps.exif_transpose(image)
    grey = image.mode in _GREY
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        changes += ["transparent parts made white"] if layer.getextrema()[3][0] < 255 else []
    image = image.convert("L" if grey else "RGB")
    if not grey and shape[2] == 1:
        pixels = np.asarray(image)
        changes += ["colours made grey"] if np.any(pixels != pixels[..., :1]) else []
    image = image.convert("L" if shape[2] == 1 else "RGB")
    size = (shape[1] or image.width, shape[0] or image.height)
    if image.size != size:
        changes.append(f"resized from {image.width} x {image.height} to {size[0]} x {size[1]} pixels")
        image = image.resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(image).reshape(size[1], size[0], -1)
    return np.divide(pixels, np.float32(255), dtype=np.float32), tuple(changes)


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
    return Dataset(name, split, x, y, rows, (*base.classes, UNKNOWN))


def _npz(path: Path, name: str, split: str) -> Dataset:
    fix = "Write it with numpy.savez(path, x=images, y=labels), or with x_train, y_train, x_test and y_test."
    if not zipfile.is_zipfile(path):
        raise InvalidFile(f"'{path}' is not a complete .npz file. {fix}")
    names = arrays.npz_names(path, fix)
    suffixes = [suffix for suffix in ("", "_train", "_test") if f"x{suffix}" in names and f"y{suffix}" in names]
    suffix = f"_{split}" if f"_{split}" in suffixes else ""
    if suffix not in suffixes or (split == "train" and not suffix):
        raise InvalidFile(f"'{path}' has no {split} split, only {', '.join(names)[:200] or 'nothing'}. {fix}")
    wanted = [f"x{suffix}", *(f"y{suffix}" for suffix in suffixes), *(["classes"] if "classes" in names else [])]
    content = arrays.read_npz(path, wanted, fix)
    x, y = content[f"x{suffix}"], content[f"y{suffix}"]
    labels = np.concatenate([np.ravel(content[f"y{suffix}"]) for suffix in suffixes])
    classes = _class_names(content["classes"], path, fix) if "classes" in content else None
    return Dataset.from_arrays(x, y, classes or default_class_names(labels, name), name=name, split=split)


def _class_names(names: np.ndarray, path: Path, fix: str) -> list[str]:
    if names.dtype.kind not in "SUiu" or names.size > MOST_CLASSES:
        raise InvalidFile(f"Cannot read '{path}': its 'classes' are {names.size:,} of type {names.dtype}. {fix}")
    try:
        return [str(name) for name in np.ravel(names).astype(str).tolist()]
    except ValueError as error:
        raise InvalidFile(f"Cannot read '{path}': its 'classes' are no text. {fix}") from error


def _folder(path: Path, name: str, split: str, limit: int | None, seed: int | None) -> Dataset:
    bases = {base: path / base for base in SPLITS if _inside(path / base, folders=True)} or {"test": path}
    # The classes of all splits: one that is empty in this split must not shift the labels of the others.
    folders = [folder for base in bases.values() for folder in _inside(base, folders=True)]
    classes = sorted({folder.name for folder in folders if _inside(folder, folders=False)})
    files = sorted(
        (number, label, file)
        for label, class_name in enumerate(classes if split in bases else ())
        for number, file in enumerate(_inside(bases[split] / class_name, folders=False))
    )
    if not files:
        example = (path / split if split == "train" else bases.get(split, path)) / "<class>" / "1.png"
        raise InvalidFile(
            f"'{path}' has no images of the {split} split. Put them into one folder a class: '{example}'."
        )
    headers = [_read(file, lambda image: (image.size, image.mode)) for _, _, file in files]
    for (_, _, file), (size, mode) in zip(files, headers, strict=True):
        if size != headers[0][0] or mode.startswith(("I", "F")):
            raise InvalidFile(
                f"'{file}' is {size[0]} x {size[1]} pixels of type {mode}, the first image {headers[0][0][0]} x "
                f"{headers[0][0][1]} of {headers[0][1]}. Bring all images to one size and 8 bits, grey or RGB."
            )
    mode = "L" if all(mode in _GREY for _, mode in headers) else "RGB"
    rows = choose(len(files), limit, seed)
    pixels = []
    with Progress(len(rows), "Reading images", "image") as bar:
        for row in rows:
            pixels.append(_read(files[row][2], lambda image: np.asarray(image.convert(mode))))
            bar.advance()
    x = np.divide(np.stack(pixels), np.float32(255), dtype=np.float32)
    return Dataset(name, split, x, np.array([files[row][1] for row in rows]), rows, tuple(classes))


def _inside(folder: Path, folders: bool) -> list[Path]:
    """The sub-folders or the images directly in a folder, sorted by name, without hidden ones."""
    return sorted(
        path
        for path in folder.glob("[!.]*")
        if (path.is_dir() if folders else path.is_file() and path.suffix.lower() in _SUFFIXES)
    )


def _read(file: Path, function: Callable[[Any], _T]) -> _T:
    """The result of ``function`` on the opened image."""
    from PIL import Image

    try:
        # Pillow warns of a size that this refuses.
        with warnings.catch_warnings(action="ignore"), Image.open(file, formats=_FORMATS) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise ValueError(f"it has {image.width:,} x {image.height:,} pixels, more than {_MOST_PIXELS:,}")
            return function(image)
    except (*DAMAGE, Image.DecompressionBombError, struct.error, zlib.error) as error:
        cause = "it is no PNG, JPEG, BMP, GIF or WebP" if isinstance(error, Image.UnidentifiedImageError) else error
        raise InvalidFile(f"Cannot read the image '{file}': {cause}. Fix or remove it.") from error
