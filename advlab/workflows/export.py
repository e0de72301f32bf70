"""Archives for other programs: CSV of every sample, images as PNG, and the ``.npy`` of MNIST's public challenge."""

from __future__ import annotations

import csv
import io
from os import PathLike
from pathlib import Path

import numpy as np

from advlab import figures, workspace
from advlab.errors import FileExists, InvalidValue, Mismatch
from advlab.evaluation import records
from advlab.evaluation.evaluation import evaluate
from advlab.results.result import AttackResult, load_result

_PathLike = str | PathLike[str]


def export(
    result: AttackResult | _PathLike,
    *,
    csv: _PathLike | None = None,
    png: _PathLike | None = None,
    npy: _PathLike | None = None,
    samples: int = 100,
    with_clean: bool = False,
    force: bool = False,
) -> tuple[Path, ...]:
    """Write an archive (a result, or its path) in formats of other programs; returns the paths written.

    ``csv``: a file with one row for each sample, the columns of ``records.per_sample``. ``png``: a folder of the first
    ``samples`` perturbed images as ``<index>-<label>-<predicted>.png``, and ``with_clean`` the clean image and the
    change (grey is unchanged) of each as ``...-clean.png`` and ``...-change.png``; PNG has 256 levels, and rounding can
    undo a small change. ``npy``: the perturbed images in the layout of MNIST's public attack challenge
    (github.com/MadryLab/mnist_challenge), float32 ``(n, h * w * c)`` in [0, 1] in the order of the test split.

    Each file is written whole or not at all. Raises ``InvalidValue``, ``FileExists`` unless ``force``, and ``Mismatch``
    for ``npy`` where the images are not the first n of a test split.
    """
    if csv is None and png is None and npy is None:
        raise InvalidValue("Name what to write: csv, png or npy (on the command line --csv, --png or --npy).")
    if samples < 1:
        raise InvalidValue(f"samples must be an int in the range [1, inf). Got {samples}.")
    if not isinstance(result, AttackResult):
        result = load_result(result)
    csv_path, png_folder, npy_path = (None if path is None else Path(path) for path in (csv, png, npy))
    for path in (csv_path, npy_path):
        if path is not None:
            workspace.refuse_existing(path, force, "an export")
    if png_folder is not None and png_folder.is_file():
        raise FileExists(f"'{png_folder}' is a file. Name a folder for the images.")
    if png_folder is not None and not force and png_folder.is_dir() and any(png_folder.iterdir()):
        raise FileExists(f"'{png_folder}' holds files that images could replace. Name an empty folder, or use --force.")
    array = None if npy_path is None else challenge_layout(result)
    if csv_path is not None:
        _write(csv_path, _csv_text(records.per_sample(evaluate(result))).encode())
    if png_folder is not None:
        _write_images(png_folder, result, samples, with_clean)
    if npy_path is not None and array is not None:
        buffer = io.BytesIO()
        np.save(buffer, array)
        _write(npy_path, buffer.getvalue())
    return tuple(path for path in (csv_path, png_folder, npy_path) if path is not None)


def challenge_layout(result: AttackResult) -> np.ndarray:
    """The perturbed images as float32 ``(n, h * w * c)``, row i the i-th of the test split.

    Raises ``Mismatch`` if they are not the first n.
    """
    order = np.argsort(result.indices, kind="stable")
    if result.split != "test" or not np.array_equal(result.indices[order], np.arange(len(result))):
        raise Mismatch(
            f"The .npy layout holds the first images of a test split, in their order. Got {len(result):,} "
            f"{result.split} images of {result.dataset} that are not the first. Attack the first N with --samples N."
        )
    return result.x_adv[order].reshape(len(result), -1).astype(np.float32)


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


def _write_images(folder: Path, result: AttackResult, samples: int, with_clean: bool) -> None:
    threat = result.attack.threat
    scale = threat.epsilon if threat.norm == "linf" and 0 < threat.epsilon <= 1 else None
    names = [_file_name(name) for name in result.classes]
    predicted = result.adversarial_probabilities.argmax(1)
    width = len(str(result.indices.max(initial=0)))
    for row in range(min(samples, len(result))):
        # A model may know more classes than the data set names.
        label, prediction = (names[c] if c < len(names) else str(c) for c in (result.labels[row], predicted[row]))
        stem = f"{result.indices[row]:0{width}}-{label}-{prediction}"
        x, x_adv = result.x[row], result.x_adv[row]
        _write(folder / f"{stem}.png", figures.png(x_adv))
        if with_clean:
            _write(folder / f"{stem}-clean.png", figures.png(x))
            _write(folder / f"{stem}-change.png", figures.png(figures.perturbation_image(x, x_adv, scale)))


def _file_name(name: str) -> str:
    """A class name as a part of a file name on every system."""
    return "".join(c if c.isalnum() or c in "_." else "_" for c in name)[:40] or "_"


def _write(path: Path, content: bytes) -> None:
    with workspace.atomic_write(path) as temporary:
        temporary.write_bytes(content)
