"""What a file or folder is that was given as a model and is not one that opens, and what to do with it."""

from __future__ import annotations

import zipfile
from pathlib import Path

from advlab.errors import DAMAGE, InvalidFile
from advlab.validation import json_object

_HDF5 = b"\x89HDF\r\n\x1a\n"
_MAX_ARCHITECTURE = 1 << 24  # bytes; that of a network of a thousand layers takes a tenth
_HEAD = 4096  # bytes that tell formats apart
_ZIP_CONTENTS = {
    "model.weights.h5": "a Keras archive under another name. End its name in .keras",
    "data.pkl": "a PyTorch file, which Keras cannot read. Convert the model to Keras",
    "word/document.xml": "a document, not a model. Give the file that model.save('model.keras') wrote",
}


def require_hdf5(path: Path) -> None:
    """Raise ``InvalidFile``, with what else it is and the next step, unless a file begins as HDF5 does."""
    if path.is_file():
        try:
            with path.open("rb") as stream:
                if stream.read(len(_HDF5)) == _HDF5:
                    return
        except OSError:
            pass  # said below
    raise InvalidFile(f"'{path}' {describe(path)}.")


def describe(path: Path) -> str:
    """The end of a sentence that begins with the path: what is there, and the next step, without a full stop."""
    if not path.exists():
        return "does not exist. Give the path of a saved model: .h5, .keras, or a SavedModel folder"
    try:
        return f"is {_folder(path) if path.is_dir() else _file(path)}"
    except OSError as error:
        return f"cannot be read: {error.strerror}. Change its permissions"


def _folder(path: Path) -> str:
    if (path / "saved_model.pb").is_file():
        return (
            "a folder with a TensorFlow SavedModel, a graph that can read and write files of this machine. If you "
            "trust its origin, use --trust (trust=True in Python)"
        )
    if (path / "model.json").is_file() and any(path.glob("*.bin")):
        return "a folder with a TensorFlow.js model. Give the .h5 or .keras file from which it was converted"
    if (path / "checkpoint").is_file() or any(path.glob("*.index")):
        return _CHECKPOINT
    models = sorted(file.name for suffix in ("h5", "hdf5", "keras") for file in path.glob(f"*.{suffix}"))
    if models:
        return f"a folder. Give one of the models in it, such as '{path / models[0]}'"
    return "a folder without a model. Give the path of a saved model: .h5, .keras, or a SavedModel folder"


_CHECKPOINT = (
    "a TensorFlow checkpoint: weights without their network. Build the model in Python, call model.load_weights(path) "
    "and model.save('model.h5'), and give that file"
)
_BEGINNINGS: list[tuple[bytes, str]] = [
    (
        b"version https://git-lfs",
        "a Git LFS pointer: 130 bytes that stand for a model which was not downloaded. Run git lfs pull in the "
        "repository it came from, or download the file itself",
    ),
    (
        b"<!doctype html",
        "a web page: the download saved a page about the file. Download the file itself (its raw link)",
    ),
    (b"<html", "a web page: the download saved a page about the file. Download the file itself (its raw link)"),
    (b"\x1f\x8b", "a gzip file. Unpack it with gunzip or tar, and give the model inside"),
    (b"7z\xbc\xaf", "a 7z archive. Unpack it, and give the model inside"),
    (b"Rar!", "a RAR archive. Unpack it, and give the model inside"),
    (b"\x93NUMPY", "an array of NumPy, not a model. Give a .h5 or .keras file"),
]


def _file(path: Path) -> str:
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    if not head:
        return "empty. Copy, download or train it again"
    for beginning, description in _BEGINNINGS:
        if head[: len(beginning)].lower() == beginning.lower():
            return description
    if head[4:8] == b"TFL3":
        return (
            "a TensorFlow Lite file, which has no gradients. Give the .h5, .keras or SavedModel from which it was "
            "converted"
        )
    if head.startswith(_HDF5):
        return "a truncated or damaged HDF5 file. Copy, download or train it again"
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                names = [name.rpartition("/")[2] for name in archive.namelist()]
        except (*DAMAGE, zipfile.BadZipFile):
            return "a damaged zip file. Download it again"
        known = (description for name, description in _ZIP_CONTENTS.items() if name in names)
        return next(known, "a zip file. Unpack it, and give the model inside")
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return (
            "a Python pickle, which runs any code of its author when opened and is not read. Load it where you "
            "trust it and call model.save('model.h5')"
        )
    if b"onnx" in head[:200].lower():
        return "an ONNX file under another name. End its name in .onnx"
    if path.suffix in (".pb", ".pbtxt"):
        return (
            "a TensorFlow graph. Give its folder if that is a SavedModel (saved_model.pb and variables/), else the "
            "Keras model it was made from"
        )
    if path.suffix in (".index", ".ckpt") or ".data-0" in path.name:
        return _CHECKPOINT
    if head.lstrip()[:1] == b"{" and is_architecture(path):
        return "the architecture of a model without its weights. Give the file of the weights, and keep this beside it"
    return "not an HDF5 file, nor any other that advlab reads. Give a file that model.save('model.h5') wrote"


def is_architecture(path: Path) -> bool:
    """Whether a JSON file is what ``model.to_json()`` wrote."""
    try:
        if not path.is_file() or path.stat().st_size > _MAX_ARCHITECTURE:
            return False
        return {"class_name", "config"} <= json_object(path.read_bytes(), "the architecture").keys()
    except (OSError, ValueError):
        return False
