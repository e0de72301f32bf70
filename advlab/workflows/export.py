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
    beside: bool = False,
    force: bool = False,
) -> tuple[Path, ...]:
    """Write what an archive (a result, or its path) holds for other programs; returns the paths that were asked for.

    ``csv``: a file with one row for each sample, the columns of ``records.per_sample``. ``png``: a folder of the first
    ``samples`` perturbed images as ``<index>-<label>-<predicted>.png``, and with ``beside`` the clean image and the
    change (grey is unchanged) of each as ``...-clean.png`` and ``...-change.png``; PNG has 256 levels, and rounding can
    undo a small change. ``npy``: the perturbed images in the layout of MNIST's public attack challenge
    (github.com/MadryLab/mnist_challenge), float32 ``(n, h * w * c)`` in [0, 1] in the order of the test split.

    Files are whole or not there. Raises ``InvalidValue``, ``FileExists`` unless ``force``, and ``Mismatch`` for
    ``npy`` where the images are not the first n of a test split.
    """
    if csv is None and png is None and npy is None:
        raise InvalidValue("Say what to write: csv, png or npy (on the command line --csv, --png or --npy).")
    if samples < 1:
        raise InvalidValue(f"samples must be an int in the range [1, inf). Got {samples}.")
    given = result if isinstance(result, AttackResult) else load_result(result)
    table, folder, array = (None if path is None else Path(path) for path in (csv, png, npy))
    for place in (table, array):
        if place is not None:
            workspace.refuse_existing(place, force, "an export")
    if folder is not None and folder.is_file():
        raise FileExists(f"'{folder}' is a file. Name a folder for the images.")
    if folder is not None and not force and folder.is_dir() and any(folder.iterdir()):
        raise FileExists(f"'{folder}' holds files that images could replace. Name an empty folder, or use --force.")
    flat = None if array is None else challenge_layout(given)
    if table is not None:
        _whole(table, _csv(records.per_sample(evaluate(given))).encode())
    if folder is not None:
        _images(folder, given, samples, beside)
    if array is not None and flat is not None:
        buffer = io.BytesIO()
        np.save(buffer, flat)
        _whole(array, buffer.getvalue())
    return tuple(place for place in (table, folder, array) if place is not None)


def challenge_layout(result: AttackResult) -> np.ndarray:
    """The perturbed images as float32 ``(n, h * w * c)``, row i the i-th of the test split.

    Raises ``Mismatch`` where they are not the first n.
    """
    order = np.argsort(result.indices, kind="stable")
    if result.split != "test" or not np.array_equal(result.indices[order], np.arange(len(result))):
        raise Mismatch(
            f"The .npy layout holds the first images of a test split, in their order. Got {len(result):,} "
            f"{result.split} images of {result.dataset} that are not the first. Attack the first N with --samples N."
        )
    return result.x_adv[order].reshape(len(result), -1).astype(np.float32)


def _csv(columns: dict[str, np.ndarray]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    # A NumPy number as text is the shortest that reads back as the same number.
    writer.writerows(zip(*([str(value) for value in column] for column in columns.values()), strict=True))
    return text.getvalue()


def _images(folder: Path, result: AttackResult, samples: int, beside: bool) -> None:
    threat = result.attack.threat
    scale = threat.epsilon if threat.norm == "linf" and 0 < threat.epsilon <= 1 else None
    names = [_safe(name) for name in result.classes]
    predicted = result.adversarial_probabilities.argmax(1)
    width = len(str(result.indices.max(initial=0)))
    for row in range(min(samples, len(result))):
        # A model may know more classes than the data set names.
        label, fooled = (names[c] if c < len(names) else str(c) for c in (result.labels[row], predicted[row]))
        stem = f"{result.indices[row]:0{width}}-{label}-{fooled}"
        x, x_adv = result.x[row], result.x_adv[row]
        _whole(folder / f"{stem}.png", figures.png(x_adv))
        if beside:
            _whole(folder / f"{stem}-clean.png", figures.png(x))
            _whole(folder / f"{stem}-change.png", figures.png(figures.perturbation_image(x, x_adv, scale)))


def _safe(name: str) -> str:
    """A class name as a part of a file name on every system."""
    return "".join(c if c.isalnum() or c in "_." else "_" for c in name)[:40] or "_"


def _whole(path: Path, content: bytes) -> None:
    with workspace.written(path) as temporary:
        temporary.write_bytes(content)
