"""Image files as arrays, read in one way wherever images are taken from files."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from advlab.data.conversion import class_numbers
from advlab.data.dataset import Dataset, choose
from advlab.errors import DAMAGE, AdvlabWarning, InvalidFile
from advlab.lazy import Spool, as_float, fits_in_memory
from advlab.progress import Progress

ImageShape = tuple[int | None, int | None, int | None]
SPLITS = ("train", "test")
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")  # no others: a PostScript file would start another program
_MOST_PIXELS = 50_000_000
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}
_GREY = {"1", "L", "LA"}
_ROTATED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_ORIENTATION = 0x0112
_T = TypeVar("_T")


def load_image(path: str | os.PathLike[str], shape: ImageShape) -> tuple[np.ndarray, tuple[str, ...]]:
    """One image file as float32 ``shape``, ``(h, w, c)`` in [0, 1] with c 1 or 3, and the changes that made it fit.

    None in ``shape`` keeps the file's own height or width. A photo is turned upright by its EXIF orientation;
    transparent parts become white; then colours are converted and the image is resized, whatever its proportions
    (bicubic). Raises ``InvalidFile``.
    """
    file = Path(path)
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise InvalidFile(f"The image '{file}' {what}. Give a PNG, JPEG, BMP, GIF or WebP file.")
    pixels, changes = _read(file, partial(_fit_to_shape, shape=shape))
    return as_float(pixels), changes


def to_levels(x: np.ndarray, towards: np.ndarray | None = None) -> np.ndarray:
    """Images in [0, 1] as uint8, the 256 levels of image files: each pixel rounded, to the nearest level by default.

    ``towards`` are images of the same shape, the clean ones: each pixel is rounded in their direction, so that no
    change grows and a budget that was kept remains kept.
    """
    levels = 255 * np.clip(np.nan_to_num(x.astype(np.float64)), 0, 1)
    nearest = np.rint(levels)
    if towards is not None:
        directed = np.where(x > towards, np.floor(levels), np.ceil(levels))
        # A pixel that lies on a level, but for the rounding of float32, stays there.
        nearest = np.where(np.abs(levels - nearest) < 1e-3, nearest, directed)
    return nearest.astype(np.uint8)


def encode_png(levels: np.ndarray) -> bytes:
    """An image uint8 ``(h, w, c)`` as PNG: grey with one channel, RGB with three; others are averaged to grey."""
    from PIL import Image

    if levels.shape[-1] not in (1, 3):
        levels = np.rint(levels.mean(-1, keepdims=True)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels).save(buffer, format="PNG")
    return buffer.getvalue()


def load_folder(
    path: Path,
    name: str,
    split: str,
    limit: int | None,
    seed: int | None,
    shape: ImageShape | None = None,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """The images of a folder ``<class>/<image>`` or ``<split>/<class>/<image>``; the classes alternate.

    Folders that are all called by whole numbers have these as labels. Else a folder's label is its place in
    ``classes``, and without them in the sorted names. ``shape`` is what each image is made to fit, with an
    ``AdvlabWarning`` that says how; None takes images of one size, and channels None colour where one file has it.
    Raises ``InvalidFile`` and ``UnknownName``.
    """
    bases = {base: path / base for base in SPLITS if _inside(path / base, folders=True)} or {"test": path}
    found = (folder for base in bases.values() for folder in _inside(base, folders=True))
    folders = sorted({folder.name for folder in found if _inside(folder, folders=False)})
    numbers, names = class_numbers(folders, classes, f"folder '{path}'")
    # By number and not by text, so that of 0, 1, 10, 2 the first images are 0, 1, 2.
    files = sorted(
        (number, label, file)
        for label, folder in zip(numbers, folders, strict=True)
        for number, file in enumerate(_inside(bases[split] / folder, folders=False) if split in bases else ())
    )
    if not files:
        example = (path / split if split == "train" else bases.get(split, path)) / "<class>" / "1.png"
        raise InvalidFile(
            f"'{path}' has no images of the {split} split. Put them into one folder a class: '{example}'."
        )
    if shape is None or shape[2] is None:
        shape = _common_shape([file for _, _, file in files], shape)
    rows = choose(len(files), limit, seed)
    images: list[np.ndarray] = []
    spool: Spool | None = None
    changed: dict[tuple[str, ...], list[Path]] = {}
    size: tuple[int, ...] = ()
    with Progress(len(rows), "Reading images", "image") as bar:
        for row in rows:
            file = files[row][2]
            pixels, changes = _read(file, partial(_fit_to_shape, shape=shape))
            size = size or pixels.shape
            if pixels.shape != size:
                raise InvalidFile(_of_another_size(file, pixels.shape[1::-1], size[1::-1]))
            if spool is None and not fits_in_memory((len(rows), *size)):
                spool = Spool(len(rows), size, np.uint8)
            if spool is None:
                images.append(pixels)
            else:
                spool.append(pixels)
            if changes:
                changed.setdefault(tuple(change.partition(" from ")[0] for change in changes), []).append(file)
            bar.advance()
    for changes, of_files in changed.items():
        to_size = f" to {size[1]} x {size[0]} pixels" if "resized" in changes else ""
        subject = f"{len(of_files):,} of {len(rows):,} images of '{name}'"
        warnings.warn(f"{subject}: {'; '.join(changes)}{to_size}, such as {of_files[0]}.", AdvlabWarning, stacklevel=3)
    labels = np.array([files[row][1] for row in rows])
    x = as_float(np.stack(images)) if spool is None else spool.images(len(rows))
    return Dataset(name, split, x, labels, rows, tuple(names))


def _common_shape(files: Sequence[Path], shape: ImageShape | None) -> ImageShape:
    """The size of all files, upright, where ``shape`` has none; three channels where one of them has colours."""
    headers = [_read(file, _header) for file in files]
    for file, (size, mode) in zip(files, headers, strict=True):
        if mode.startswith(("I", "F")):
            raise InvalidFile(f"'{file}' has pixels of type {mode}. Save it with 8 bits, grey or RGB.")
        if shape is None and size != headers[0][0]:
            raise InvalidFile(_of_another_size(file, size, headers[0][0]))
    height, width = headers[0][0][::-1] if shape is None else shape[:2]
    return height, width, 1 if all(mode in _GREY for _, mode in headers) else 3


def _of_another_size(file: Path, size: tuple[int, ...], first: tuple[int, ...]) -> str:
    return (
        f"'{file}' is {size[0]} x {size[1]} pixels, the first image {first[0]} x {first[1]}. Bring all to one size, "
        "or say the one that they are to have: --resize 32x48, height and width (in Python shape=(32, 48, 3))."
    )


def _header(image: Any) -> tuple[tuple[int, int], str]:
    width, height = image.size
    return ((height, width) if image.getexif().get(_ORIENTATION) in _ROTATED else (width, height)), image.mode


def _fit_to_shape(image: Any, shape: ImageShape) -> tuple[np.ndarray, tuple[str, ...]]:
    """The pixels uint8 ``(h, w, c)``, and what was changed."""
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
    return np.asarray(image).reshape(size[1], size[0], -1), tuple(changes)


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
