"""``docs/models.md`` says of each kind of model file what happens with it: each is made here and opened."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import onnx
import pytest
from keras import layers
from legacy_files import DENSE, dense_weights, old_layer, sequential, write_old
from test_model_files import FIXTURES, Doubling, OwnNet, own_activation

from advlab.classifiers.classifier import Classifier
from advlab.errors import InvalidFile

ROOT = Path(__file__).parent.parent


def net(*inner) -> keras.Model:
    return keras.Sequential([keras.Input((4,)), *inner, layers.Dense(3, activation="softmax")])


def with_operations() -> keras.Model:
    x = keras.Input((4, 4, 1))
    return keras.Model(x, layers.Dense(3)(layers.Flatten()(x[:, 1:] / 255.0) + 1.0))


def saved(make: Callable[[], keras.Model], name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        make().save(folder / name)
        return folder / name

    return write


def bytes_of(name: str, content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def weights(architecture: str | None) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        model = net()
        model.save_weights(folder / "m.weights.h5")
        if architecture:
            (folder / architecture).parent.mkdir(exist_ok=True)
            (folder / architecture).write_text(model.to_json())
        return folder / "m.weights.h5"

    return write


def old(version: str, *more) -> Callable[[Path], Path]:
    arrays = dense_weights()
    config = sequential([*DENSE, *more])
    return lambda folder: write_old(folder / "m.h5", config, arrays, version)


def folder_of(*names: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "m").mkdir()
        for name in names:
            (folder / "m" / name).touch()
        return folder / "m"

    return write


def keras_0(folder: Path) -> Path:
    with h5py.File(folder / "m.h5", "w") as file:
        file.attrs["nb_layers"] = 1
    return folder / "m.h5"


def saved_model(folder: Path) -> Path:
    net().export(folder / "m", verbose=False)
    return folder / "m"


def subclass(folder: Path) -> Path:
    model = OwnNet()
    model(np.zeros((1, 4)))
    path = write_old(folder / "m.h5", {"class_name": "OwnNet", "config": {"name": "own"}}, {"dense": []})
    return path


def onnx_file(folder: Path) -> Path:
    tensor = onnx.helper.make_tensor_value_info
    image, scores = tensor("X", onnx.TensorProto.FLOAT, [1, 4]), tensor("Y", onnx.TensorProto.FLOAT, [1, 4])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["X"], ["Y"])], "net", [image], [scores])
    onnx.save(onnx.helper.make_model(graph), folder / "m.onnx")
    return folder / "m.onnx"


def pytorch(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "m.pt", "w") as archive:
        archive.writestr("m/data.pkl", "")
    return folder / "m.pt"


def attack_archive(_: Path) -> Path:
    return next((ROOT / "attacks" / "reference").glob("*.h5"))


MAKERS: dict[str, Callable[[Path], Path]] = {
    "HDF5 of Keras 3": saved(net, "m.h5"),
    "HDF5 of Keras 3 with operations (`x / 255`, `a + b`, slices)": saved(with_operations, "m.h5"),
    "HDF5 of Keras 2 and tf.keras": lambda _: FIXTURES / "keras2_functional.h5",
    "HDF5 of TensorFlow 1 and standalone Keras 2": old("2.2.4-tf"),
    "HDF5 of Keras 1": old("1.2.2"),
    "`.keras`": saved(net, "m.keras"),
    "weights with `model.json` beside them": weights("model.json"),
    "weights with the architecture elsewhere": weights("elsewhere/net.json"),
    "weights alone": weights(None),
    "weights of Keras 0.x": keras_0,
    "SavedModel folder of Keras 2 (TensorFlow 2.5 to 2.15)": lambda _: FIXTURES / "keras2_nested",
    "SavedModel folder, any other": saved_model,
    "a layer of your own": saved(lambda: net(Doubling()), "m.h5"),
    "a function of your own as activation": saved(lambda: net(layers.Dense(3, activation=own_activation)), "m.keras"),
    "a Lambda layer": saved(lambda: net(layers.Lambda(lambda x: 2 * x)), "m.h5"),
    "a model of a subclass": subclass,
    "layers that process text": old("2.2.4-tf", old_layer("TextVectorization", "words")),
    "Git LFS pointer": bytes_of("m.h5", b"version https://git-lfs.github.com/spec/v1"),
    "TensorFlow Lite": bytes_of("m.tflite", b"\x1c\x00\x00\x00TFL3" + bytes(64)),
    "TensorFlow.js folder": folder_of("model.json", "group1-shard1of1.bin"),
    "ONNX": onnx_file,
    "PyTorch": pytorch,
    "TensorFlow checkpoint": folder_of("checkpoint", "m.index"),
    "pickle": bytes_of("m.pkl", b"\x80\x04\x95" + bytes(20)),
    "web page in place of a file": bytes_of("m.h5", b"<!DOCTYPE html><html>"),
    "archive of an attack": attack_archive,
}
WITH = {
    "`trust=True`": lambda _: {"trust": True},
    "`architecture=`": lambda path: {"architecture": path.parent / "elsewhere" / "net.json"},
    "`custom_objects=`": lambda _: {"custom_objects": {"Doubling": Doubling, "own_activation": own_activation}},
}


def table() -> dict[str, str]:
    """Kind of file -> what the page says of it."""
    page = (ROOT / "docs" / "models.md").read_text("utf-8").partition("## What the last layer means")[0]
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")][1:]
    return {row[0].strip(): row[1].strip(" |") for row in rows}


def test_the_page_names_every_kind():
    assert table().keys() == MAKERS.keys()


@pytest.mark.parametrize("kind", MAKERS)
def test_what_the_page_says_of_a_kind_of_file_happens(kind, tmp_path):
    path, stated = MAKERS[kind](tmp_path), table()[kind]
    if stated == "opens":
        assert Classifier.load(path).classes > 1
        return
    with pytest.raises(InvalidFile):
        Classifier.load(path)
    if stated != "refused":
        assert Classifier.load(path, **WITH[stated.removeprefix("opens with ")](path)).classes == 3


def test_the_settings_on_the_page_are_valid():
    import tomllib

    from advlab.classifiers.settings import Settings

    page = (ROOT / "docs" / "models.md").read_text("utf-8")
    example = page.partition("```toml\n")[2].partition("```")[0]
    assert json.loads(json.dumps(Settings(**tomllib.loads(example)).to_dict()))["preprocess"] == "caffe"
