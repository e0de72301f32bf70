"""Archives for other programs: CSV of every sample, images as PNG, and the ``.npy`` of MNIST's public challenge."""

from __future__ import annotations

import csv
import io
import math
import warnings
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from advlab import figures, writing
from advlab.data.conversion import as_file_name
from advlab.data.images import encode_png, to_levels
from advlab.errors import AdvlabWarning, FileExists, InvalidFile, InvalidValue, Mismatch, UnknownName
from advlab.evaluation import records
from advlab.evaluation.evaluation import evaluate
from advlab.lazy import LazyImages, as_float, batches
from advlab.results.result import AttackResult, load_result
from advlab.workflows.inputs import recorded_classifier

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier

PRINTED_SIDE = 512  # pixels of a patch, at least
_PathLike = str | PathLike[str]


def export(
    result: AttackResult | _PathLike,
    *,
    csv: _PathLike | None = None,
    png: _PathLike | None = None,
    npy: _PathLike | None = None,
    patch: _PathLike | None = None,
    samples: int = 100,
    with_clean: bool = False,
    quantize: bool = False,
    model: Classifier | _PathLike | None = None,
    trust: bool = False,
    force: bool = False,
) -> tuple[Path, ...]:
    """Write an archive (a result, or its path) in formats of other programs.

    PNG has 256 levels, and rounding can undo a small change: what is written is predicted again, names and the table
    state that prediction, and an ``AdvlabWarning`` says how many images no longer fool the classifier.

    Args:
        result: The archive.
        csv: A file with one row for each sample, the columns of ``Evaluation.to_frame``; together with ``png`` also
            ``png``, the name of its file, ``predicted_png`` and ``p_png``, the confidence in the label there (empty
            where there is no file or no classifier).
        png: A folder for the first ``samples`` perturbed images, as ``<index>-<label>-<predicted>.png``, grey or RGB.
        npy: The perturbed images in the layout of MNIST's public attack challenge
            (github.com/MadryLab/mnist_challenge): float32 ``(n, h * w * c)`` in [0, 1], in the order of the test split.
        patch: The adversarial patch as a PNG to print, each of its pixels a square so large that the side has at least
            512.
        samples: Images as PNG.
        with_clean: Writes the clean image and the change (grey is unchanged) of each as well, as ``...-clean.png`` and
            ``...-change.png``.
        quantize: Rounds pixels of ``png`` and ``npy`` towards the clean image instead of to the nearest level, so that
            the budget is kept.
        model: The classifier, its name or path; None: as recorded. Without it the names state no prediction.
        trust: Allows code in the model file to run.
        force: Replaces existing files.

    Returns:
        The paths written. Each file is written whole or not at all.

    Raises:
        InvalidValue: Where nothing to write is named, or ``samples`` is below 1.
        FileExists: Where a file is in the way, unless ``force``.
        Mismatch: For ``npy`` where the images are not the first n of a test split; for another ``model``.
    """
    if csv is None and png is None and npy is None and patch is None:
        raise InvalidValue(
            "Name what to write: csv, png, npy or patch (on the command line --csv, --png, --npy or --patch)."
        )
    if samples < 1:
        raise InvalidValue(f"samples must be an int in the range [1, inf). Got {samples}.")
    if not isinstance(result, AttackResult):
        result = load_result(result)
    if result.vocabulary and (png is not None or patch is not None):
        raise InvalidValue("Texts are no pictures. Write them with csv or npy, or read them in a report.")
    csv_path, png_folder, npy_path, patch_path = (
        None if path is None else Path(path) for path in (csv, png, npy, patch)
    )
    for path in (csv_path, npy_path, patch_path):
        if path is not None:
            writing.refuse_existing(path, force, "an export")
    if png_folder is not None and png_folder.is_file():
        raise FileExists(f"'{png_folder}' is a file. Name a folder for the images.")
    if png_folder is not None and not force and png_folder.is_dir() and any(png_folder.iterdir()):
        raise FileExists(f"'{png_folder}' holds files that images could replace. Name an empty folder, or use --force.")
    picture = None if patch_path is None else _printable_patch(result)
    images = None if npy_path is None else challenge_layout(result, quantize)
    columns = {} if csv_path is None else records.per_sample(evaluate(result))
    if png_folder is not None:
        written = _images(result, samples, quantize, _classifier(result, model, trust))
        _write_images(png_folder, result, written, with_clean)
        _warn_of_survivors(result, written, quantize)
        columns |= written.columns(result) if columns else {}
    if csv_path is not None:
        _write(csv_path, _csv_text(columns).encode())
    if npy_path is not None and images is not None:
        _write_npy(npy_path, images)
    if patch_path is not None and picture is not None:
        _write(patch_path, encode_png(picture))
    return tuple(path for path in (csv_path, png_folder, npy_path, patch_path) if path is not None)


class _Images(NamedTuple):
    """The first perturbed images of a result as a file holds them: uint8, names, and predictions where known."""

    levels: LazyImages
    stems: tuple[str, ...]
    probabilities: np.ndarray | None

    def columns(self, result: AttackResult) -> dict[str, np.ndarray]:
        """The columns of the table that are about the files, with empty cells for samples that have none."""
        n = len(self.stems)
        cells = {key: np.full(len(result), "", object) for key in ("png", "predicted_png", "p_png")}
        cells["png"][:n] = [f"{stem}.png" for stem in self.stems]
        if self.probabilities is not None:
            cells["predicted_png"][:n] = self.probabilities.argmax(1)
            cells["p_png"][:n] = self.probabilities[np.arange(n), result.labels[:n]]
        return cells


def _classifier(result: AttackResult, model: Classifier | _PathLike | None, trust: bool) -> Classifier | None:
    """The classifier of a result; None, with a warning, where none is named and the recorded one is not at hand."""
    try:
        classifier = recorded_classifier(result, model, trust)
        if classifier.digest == result.classifier_digest:
            return classifier
        reason = f"'{classifier.name}' is another one (digest {classifier.digest}, not {result.classifier_digest})"
    except (InvalidFile, UnknownName, InvalidValue) as error:
        if model is not None:
            raise
        reason = str(error)
    if model is not None:
        raise Mismatch(f"The archive was crafted against '{result.classifier}': {reason}. Name the right file.")
    warnings.warn(
        f"The names of the images state no prediction, since the classifier is not at hand: {reason} Give its file "
        "with --model (model=... in Python).",
        AdvlabWarning,
        stacklevel=3,
    )
    return None


def _images(result: AttackResult, samples: int, quantize: bool, classifier: Classifier | None) -> _Images:
    shape = (min(samples, len(result)), *result.x.shape[1:])
    levels = LazyImages(shape, lambda rows: _levels(result, rows, quantize), np.uint8)
    images = LazyImages(shape, lambda rows: as_float(levels[rows]))
    probabilities = None if classifier is None else classifier.probabilities(images)
    names = [as_file_name(name) for name in result.classes]
    width = len(str(result.indices.max(initial=0)))
    stems = []
    for row in range(len(levels)):
        numbers = [result.labels[row], *([] if probabilities is None else [probabilities[row].argmax()])]
        # A model may know more classes than the data set names.
        described = [names[c] if c < len(names) else str(c) for c in numbers]
        stems.append("-".join([f"{result.indices[row]:0{width}}", *described]))
    return _Images(levels, tuple(stems), probabilities)


def _warn_of_survivors(result: AttackResult, written: _Images, quantize: bool) -> None:
    if written.probabilities is None:
        return
    fooled = result.success[: len(written.stems)]
    predicted = written.probabilities.argmax(1)
    labels, targets = result.labels[: len(predicted)], result.targets[: len(predicted)]
    accepted = result.attack.threat.accepts(written.probabilities, labels)
    still = fooled & np.where(targets < 0, ~accepted, predicted == targets)
    if still.sum() < fooled.sum():
        way = "rounded towards the clean image" if quantize else "rounded to 256 levels"
        warnings.warn(
            f"{still.sum()} of {fooled.sum()} images that fool '{result.classifier}' still do {way}. Names and table "
            "state what it predicts for the files.",
            AdvlabWarning,
            stacklevel=3,
        )


def _levels(result: AttackResult, rows: np.ndarray, quantize: bool) -> np.ndarray:
    return to_levels(result.x_adv[rows], result.x[rows] if quantize else None)


def challenge_layout(result: AttackResult, quantize: bool = False) -> LazyImages:
    """The perturbed images in the order of the test split: row i is its i-th.

    ``quantize`` rounds them towards the clean images, to 256 levels. Raises ``Mismatch`` if they are not the first n.
    """
    order = np.argsort(result.indices, kind="stable")
    if result.split != "test" or not np.array_equal(result.indices[order], np.arange(len(result))):
        raise Mismatch(
            f"The .npy layout holds the first images of a test split, in their order. Got {len(result):,} "
            f"{result.split} images of {result.dataset} that are not the first. Attack the first N with --samples N."
        )
    read = (lambda rows: as_float(_levels(result, rows, True))) if quantize else result.x_adv.__getitem__
    return LazyImages(result.x.shape, read).select(order)


def _write_npy(path: Path, images: LazyImages) -> None:
    """The images flat, as float32 ``(n, h * w * c)``."""
    layout = {"descr": "<f4", "fortran_order": False, "shape": (len(images), math.prod(images.shape[1:]))}
    with writing.atomic_write(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, layout)
        for rows in batches(images):
            file.write(images[rows].astype("<f4").tobytes())


def _printable_patch(result: AttackResult) -> np.ndarray:
    """uint8: the patch, each pixel repeated; raises ``InvalidValue`` where the attack made none."""
    if result.patch is None:
        raise InvalidValue(
            f"'{result.attack.slug}' has no patch to print. Make one with the method 'patch', or leave patch out."
        )
    times = -(-PRINTED_SIDE // len(result.patch))
    return to_levels(result.patch).repeat(times, 0).repeat(times, 1)


def _csv_text(columns: dict[str, np.ndarray]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    # str of a NumPy number is the shortest text that reads back as the same number.
    cells = ([_cell(value) for value in column] for column in columns.values())
    writer.writerows(zip(*cells, strict=True))
    return text.getvalue()


def _cell(value: object) -> str:
    """The text of a value; a name that a spreadsheet would take for a formula gets an apostrophe."""
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _write_images(folder: Path, result: AttackResult, written: _Images, with_clean: bool) -> None:
    threat = result.attack.threat
    scale = threat.epsilon if threat.norm == "linf" and 0 < threat.epsilon <= 1 else None
    for row, stem in enumerate(written.stems):
        _write(folder / f"{stem}.png", encode_png(written.levels[row]))
        if with_clean:
            change = figures.perturbation_image(result.x[row], as_float(written.levels[row]), scale)
            _write(folder / f"{stem}-clean.png", encode_png(to_levels(result.x[row])))
            _write(folder / f"{stem}-change.png", encode_png(to_levels(change)))


def _write(path: Path, content: bytes) -> None:
    with writing.atomic_write(path) as temporary:
        temporary.write_bytes(content)
