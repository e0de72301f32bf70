"""Each category of bad file for ``files.read_model``, and what its error must say."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from legacy_files import DENSE, dense_weights, functional, old_layer, sequential, write_old

from advlab.classifiers import files
from advlab.errors import AdvlabError, InvalidFile


def edited(change: Callable[[h5py.File], object]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        write_old(path, sequential(DENSE), dense_weights())
        with h5py.File(path, "r+") as file:
            change(file)

    return apply


def replaced(file: h5py.File, name: str, value: Any) -> None:
    del file[name]
    file[name] = value


def reconfigured(file: h5py.File, config: Any) -> None:
    file.attrs["model_config"] = config if isinstance(config, str) else json.dumps(config)


def only_archive(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["advlab"] = "{}"


def only_weights(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"dense_1"]


def only_weights_of_keras_3(path: Path) -> None:
    weights = path.with_suffix(".weights.h5")
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save_weights(weights)
    weights.rename(path)


def weights_of_keras_0(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["nb_layers"] = 1
        file.create_group("layer_0").attrs["nb_params"] = 1
        file["layer_0/param_0"] = np.zeros((4, 2))


def keras_archive(path: Path) -> None:
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(path.with_suffix(".keras"))
    path.with_suffix(".keras").rename(path)


def zipped(name: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, "content")

    return write


def folder_with(*names: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.mkdir()
        for name in names:
            (path / name).touch()

    return write


def beginning(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def truncated(path: Path) -> None:
    write_old(path, sequential(DENSE), dense_weights())
    path.write_bytes(path.read_bytes()[:-500])


KERNEL = "model_weights/dense_1/dense_1/kernel:0"
BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "does not exist"),
    "folder": (folder_with("notes.txt"), "a folder without a model"),
    "folder of models": (folder_with("a.h5", "b.txt"), "is a folder. Give one of the models in it, such as .*a.h5"),
    "SavedModel": (folder_with("saved_model.pb"), "SavedModel.*--trust"),
    "TensorFlow.js": (folder_with("model.json", "group1-shard1of1.bin"), r"TensorFlow\.js.*\.h5"),
    "a folder of checkpoints": (folder_with("checkpoint", "cp.index"), "checkpoint.*load_weights"),
    "Git LFS pointer": (
        beginning(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 155320408\n"),
        "Git LFS pointer.*git lfs pull",
    ),
    "TensorFlow Lite": (beginning(b"\x1c\x00\x00\x00TFL3" + bytes(64)), "TensorFlow Lite.*no gradients"),
    "web page": (beginning(b"\n<!DOCTYPE html><html>".lstrip()), "web page.*raw link"),
    "gzip": (beginning(b"\x1f\x8b" + bytes(20)), "gunzip"),
    "pickle": (beginning(b"\x80\x04\x95" + bytes(20)), "pickle, which runs any code"),
    "ONNX": (beginning(b"\x08\x07\x12\x07pytorch\x1a onnx"), "ONNX"),
    "NumPy": (beginning(b"\x93NUMPY\x01"), "array of NumPy"),
    "PyTorch": (zipped("archive/data.pkl"), "PyTorch"),
    "another zip": (zipped("a.txt"), "zip file. Unpack it"),
    "a Keras archive called .h5": (keras_archive, r"Keras archive.*End its name in \.keras"),
    "an architecture": (
        beginning(b'{"class_name": "Sequential", "config": {}}'),
        "architecture of a model without its weights",
    ),
    "weights of Keras 0.3": (weights_of_keras_0, "weights of Keras 0.x"),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "text": (lambda path: path.write_text("hello, I am no HDF5"), "not an HDF5 file"),
    "truncated": (truncated, "truncated or damaged"),
    "another HDF5": (lambda path: h5py.File(path, "w").close(), "not of a Keras model"),
    "an archive": (only_archive, "archive of an attack.*advlab evaluate"),
    "weights of Keras 2": (only_weights, r"weights only.*model\.json.*load_weights"),
    "weights of Keras 3": (
        only_weights_of_keras_3,
        r"weights only.*model\.json.*load_weights",
    ),
    "no weights": (edited(lambda f: f.pop("model_weights")), "without its weights"),
    "a layer without weights": (edited(lambda f: f["model_weights"].pop("dense_1")), "no weights 'dense_1'"),
    "a weight missing": (edited(lambda f: f.pop(KERNEL)), "no weights 'dense_1/dense_1/kernel:0'"),
    "too few weights": (
        edited(lambda f: f["model_weights/dense_1"].attrs.__setitem__("weight_names", [b"dense_1/kernel:0"])),
        "'dense_1' needs 2 weights.*holds 1",
    ),
    "another shape": (edited(lambda f: replaced(f, KERNEL, np.zeros((4, 7)))), r"'kernel'.*\(4, 3\).*\(4, 7\)"),
    "text as weights": (edited(lambda f: replaced(f, KERNEL, "words")), "not numbers"),
    "a link": (edited(lambda f: replaced(f, KERNEL, h5py.ExternalLink("other.h5", "x"))), "link"),
    "Theano": (edited(lambda f: f.attrs.__setitem__("backend", b"theano")), "Theano"),
    "Keras 1": (edited(lambda f: f.attrs.__setitem__("keras_version", b"1.2.2")), "Keras 1.2.2"),
    "config no JSON": (edited(lambda f: reconfigured(f, "{")), "not valid JSON"),
    "config a number": (edited(lambda f: reconfigured(f, 3)), "damaged"),
    "config endless": (edited(lambda f: reconfigured(f, "[" * 100_000)), "not valid JSON"),
    "no layers": (edited(lambda f: reconfigured(f, sequential([]))), "no layers"),
    "no input shape": (edited(lambda f: reconfigured(f, sequential(DENSE[1:]))), "'dense_2'.*model.build"),
    "layers that do not fit": (
        edited(lambda f: reconfigured(f, sequential([*DENSE, old_layer("Conv2D", "c", filters=1, kernel_size=3)]))),
        "do not fit",
    ),
    "a setting of the wrong type": (
        edited(lambda f: reconfigured(f, sequential([DENSE[0], old_layer("Dense", "dense_2", units="many")]))),
        "'dense_2'",
    ),
    "a million units": (
        edited(lambda f: reconfigured(f, sequential([DENSE[0], old_layer("Dense", "dense_2", units=1_000_000)]))),
        "announce at least 1,000,003 weights, and the file holds 23",
    ),
    "a recurrent layer of as many": (
        edited(lambda f: reconfigured(f, sequential([DENSE[0], old_layer("LSTM", "long", units=100_000)]))),
        "announce at least 10,000,000,003 weights",
    ),
    "an own layer": (
        edited(lambda f: reconfigured(f, sequential([DENSE[0], old_layer("Wobble", "mine")]))),
        r"'mine'.*'Wobble', which is not one of Keras .*custom_objects=\{'Wobble': Wobble\}",
    ),
    "a loop": (edited(lambda f: reconfigured(f, functional(DENSE, first_input="dense_2"))), "loop"),
    "an unknown reference": (edited(lambda f: reconfigured(f, functional(DENSE, first_input="gone"))), "'gone'"),
}


@pytest.mark.parametrize(("make", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_gets_an_error_with_a_fix(tmp_path, make, message):
    path = tmp_path / "bad.h5"
    make(path)
    with pytest.raises(AdvlabError, match=f"(?s){message}") as caught:
        files.read_model(path)
    assert isinstance(caught.value, InvalidFile)
    assert "bad.h5" in str(caught.value)
