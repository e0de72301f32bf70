"""Shared fixtures: small classifiers with known outputs, the shipped one, and a workspace of each test's own."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import click
import numpy as np
import pytest

from advlab.cli import main

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    data, thorough = os.environ.get("ADVLAB_DATA"), os.environ.get("ADVLAB_THOROUGH")
    for item in items:
        if item.get_closest_marker("real_data") and not data:
            item.add_marker(pytest.mark.skip(reason="set ADVLAB_DATA to the folder with mnist/ and fashion-mnist/"))
        elif item.get_closest_marker("gallery") and not thorough:
            item.add_marker(pytest.mark.skip(reason="all take half an hour: make thorough, or benchmarks/audit.py"))
        elif item.get_closest_marker("thorough") and not (data or thorough):
            item.add_marker(pytest.mark.skip(reason="slow: runs with ADVLAB_DATA or ADVLAB_THOROUGH"))


def pytest_collection_finish() -> None:
    """TensorFlow's half a million objects live to the end: the garbage collector need not visit them again."""
    gc.freeze()


def commands() -> dict[str, click.Command]:
    """Every command of the command line, by name."""
    context = click.Context(main)
    return {name: main.get_command(context, name) for name in main.list_commands(context)}


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace, so that no test reads or writes the checkout's."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    monkeypatch.setenv("ADVLAB_WORKSPACE", str(folder))
    return folder


@pytest.fixture(scope="session")
def digits():
    """The 449 test images of the embedded digits."""
    from advlab.data.loading import load_dataset

    return load_dataset("digits")


@pytest.fixture(scope="session")
def sentences():
    """The 24 test sentences."""
    from advlab.data.loading import load_dataset

    return load_dataset("sentences")


@pytest.fixture(scope="session")
def tiny():
    """The shipped classifier of the sentences."""
    from advlab.workflows.model_file import load_classifier

    return load_classifier("sentiment-tiny")


@pytest.fixture(scope="session")
def trained():
    """The shipped classifier of the digits."""
    from advlab.workflows.model_file import load_classifier

    return load_classifier("digits")


@pytest.fixture(scope="session")
def grey():
    """Forty images away from the edges of the box: a small epsilon clips no pixel. Labels cycle over 4 classes."""
    from advlab.data.dataset import Dataset

    draw = np.random.default_rng(1)
    x = draw.uniform(0.4, 0.6, (40, 6, 6, 1)).astype(np.float32)
    return Dataset("grey", "test", x, np.arange(40) % 4, np.arange(40), ("a", "b", "c", "d"))


@pytest.fixture(scope="session")
def linear():
    """A linear classifier of two classes on 6 x 6 images, ending in softmax: logits ``x @ weights``."""
    return linear_classifier(2)


@pytest.fixture(scope="session")
def rgb():
    """A small convolutional classifier of 12 x 12 colour images in 3 classes, and ten images."""
    import keras

    from advlab.classifiers.classifier import Classifier
    from advlab.data.dataset import Dataset

    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 12, 3))
    hidden = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, activation="relu")(inputs))
    outputs = keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(hidden))
    x = np.random.default_rng(0).random((10, 12, 12, 3)).astype(np.float32)
    data = Dataset("colours", "test", x, np.arange(10) % 3, np.arange(10), ("a", "b", "c"))
    return Classifier.from_keras(keras.Model(inputs, outputs), name="colours"), data


def linear_classifier(classes: int, size: int = 6, seed: int = 0):
    import keras

    from advlab.classifiers.classifier import Classifier

    weights = np.random.default_rng(seed).normal(size=(size * size, classes)).astype(np.float32)
    dense = keras.layers.Dense(classes, activation="softmax", use_bias=False)
    model = keras.Sequential([keras.Input((size, size)), keras.layers.Flatten(), dense])
    dense.set_weights([weights])
    return Classifier.from_keras(model, name="linear")


@pytest.fixture(scope="session")
def thirds(tmp_path_factory):
    """A file of 300 training and 60 test images in three classes: which third of the image is bright."""
    random = np.random.default_rng(0)

    def draw(n):
        x, y = random.uniform(0, 0.6, (n, 6, 6)).astype("float32"), random.integers(0, 3, n)
        for image, label in zip(x, y, strict=True):
            image[2 * label : 2 * label + 2] += 0.3
        return x, y

    (x_train, y_train), (x_test, y_test) = draw(300), draw(60)
    path = tmp_path_factory.mktemp("data") / "thirds.npz"
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return str(path)


@pytest.fixture
def recipe(thirds):
    """A recipe on the images of thirds, with ``settings`` instead of its own."""
    from advlab.declarations.recipes import Recipe, Training

    def make(architecture=None, **settings):
        settings = {"optimizer": "adam", "batch_size": 20, "epochs": 2} | settings
        return Recipe("thirds", "A test", thirds, architecture or {"name": "mlp", "hidden": [8]}, Training(**settings))

    return make


def weights(classifier):
    """All weights of its network as one vector."""
    return np.concatenate([np.ravel(w) for w in classifier.keras_model.get_weights()])


@pytest.fixture
def last_fifth_wrong(thirds, tmp_path):
    """The images of thirds, where the labels of the last fifth of the training split are all wrong."""
    with np.load(thirds) as arrays:
        changed = dict(arrays)
    changed["y_train"] = np.where(np.arange(300) < 240, changed["y_train"], (changed["y_train"] + 1) % 3)
    path = tmp_path / "last-fifth-wrong.npz"
    np.savez(path, **changed)
    return str(path)
