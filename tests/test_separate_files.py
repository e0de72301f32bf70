"""Models in more than one file: weights with their architecture beside them, and SavedModel folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from legacy_files import DENSE, dense_weights, sequential, write_old

from advlab.classifiers import files
from advlab.errors import InvalidFile
from advlab.workflows.model_file import load_classifier

FIXTURES = Path(__file__).parent / "fixtures"
X = np.random.default_rng(0).random((5, 6, 6, 1)).astype("float32")


def shared_and_nested() -> keras.Model:
    """A model with a layer that is called twice, a model in a model, and an operation."""
    inner = keras.Sequential([keras.Input((6, 6, 1)), layers.Conv2D(2, 3), layers.BatchNormalization()], name="inner")
    shared = layers.Dense(4, activation="relu", name="shared")
    image = keras.Input((6, 6, 1))
    hidden = shared(layers.Flatten()(inner(image / 2.0)))
    model = keras.Model(image, layers.Dense(3, activation="softmax")(shared(layers.Dense(32)(hidden)) + hidden))
    draw = np.random.default_rng(1)
    model.set_weights([draw.uniform(0.1, 0.6, w.shape) for w in model.get_weights()])
    return model


def outputs(model: keras.Model) -> np.ndarray:
    return np.asarray(model(X, training=False))


class TestWeightsOnly:
    @pytest.mark.parametrize("weights", ["weights.h5", "net.weights.h5"], ids=["the older layout", "of Keras 3"])
    @pytest.mark.parametrize("architecture", ["model.json", "any-other-name.json"])
    def test_the_architecture_beside_them_is_found(self, weights, architecture, tmp_path):
        model = shared_and_nested()
        save_weights(model, tmp_path / weights)
        (tmp_path / architecture).write_text(model.to_json())
        (tmp_path / "package.json").write_text("{}")
        np.testing.assert_array_equal(outputs(files.read_model(tmp_path / weights)), outputs(model))

    def test_the_architecture_is_given_as_a_file_or_a_model(self, tmp_path):
        model = shared_and_nested()
        save_weights(model, tmp_path / "w.h5")
        (tmp_path / "far").mkdir()
        (tmp_path / "far" / "net.json").write_text(model.to_json())
        for architecture in (tmp_path / "far" / "net.json", shared_and_nested()):
            found = files.read_model(tmp_path / "w.h5", architecture=architecture)
            np.testing.assert_array_equal(outputs(found), outputs(model))

    def test_the_pair_of_keras_2_opens(self, tmp_path):
        whole = write_old(tmp_path / "whole.h5", sequential(DENSE), dense_weights(), "2.2.4")
        expected = files.read_model(whole).get_weights()
        with files.open_hdf5(whole) as file, files.h5py.File(tmp_path / "weights.h5", "w") as target:
            for name in file["model_weights"]:
                file.copy(f"model_weights/{name}", target)
            target.attrs.update(file["model_weights"].attrs)
        (tmp_path / "model.json").write_text(json.dumps(sequential(DENSE) | {"keras_version": "2.2.4"}))
        found = files.read_model(tmp_path / "weights.h5").get_weights()
        for before, after in zip(expected, found, strict=True):
            np.testing.assert_array_equal(after, before)

    def test_of_several_architectures_one_must_be_named(self, tmp_path):
        model = shared_and_nested()
        save_weights(model, tmp_path / "w.h5")
        for name in ("a.json", "b.json"):
            (tmp_path / name).write_text(model.to_json())
        with pytest.raises(InvalidFile, match=r"Beside it lie a\.json, b\.json: .*architecture="):
            files.read_model(tmp_path / "w.h5")

    def test_the_architecture_of_another_model_is_refused(self, tmp_path):
        save_weights(shared_and_nested(), tmp_path / "w.h5")
        other = keras.Sequential([keras.Input((6, 6, 1)), layers.Flatten(), layers.Dense(3)])
        (tmp_path / "model.json").write_text(other.to_json())
        with pytest.raises(InvalidFile, match=r"do not fit '.*model\.json'"):
            files.read_model(tmp_path / "w.h5")
        with pytest.raises(InvalidFile, match=r"'none\.json' does not exist"):
            files.read_model(tmp_path / "w.h5", architecture=Path("none.json"))

    def test_code_in_the_architecture_is_refused(self, tmp_path):
        model = keras.Sequential([keras.Input((6, 6, 1)), layers.Lambda(lambda x: x), layers.Dense(3)])
        save_weights(model, tmp_path / "w.h5")
        (tmp_path / "model.json").write_text(model.to_json())
        with pytest.raises(InvalidFile, match=r"\(Lambda\).*--trust"):
            files.read_model(tmp_path / "w.h5")


def save_weights(model: keras.Model, path: Path) -> None:
    """Weights in the layout that the name has in Keras; this Keras writes the older one only with whole models."""
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
        return
    keras.saving.save_model(model, path.with_name("whole.h5"), include_optimizer=False)
    with files.h5py.File(path.with_name("whole.h5")) as file, files.h5py.File(path, "w") as target:
        for name in file["model_weights"]:
            file.copy(f"model_weights/{name}", target)
        target.attrs.update(file["model_weights"].attrs)
    path.with_name("whole.h5").unlink()


WAYS_TO_SAVE: dict[str, Callable[[keras.Model, Path], object]] = {
    "model.export": lambda model, path: model.export(path, verbose=False),
    "tf.saved_model.save": lambda model, path: tf.saved_model.save(
        model,
        str(path),
        signatures=tf.function(
            lambda image: {"probabilities": model(image, training=False)},
            input_signature=[tf.TensorSpec((None, 6, 6, 1), name="image")],
        ),
    ),
}


@pytest.mark.parametrize("way", WAYS_TO_SAVE)
class TestSavedModel:
    def test_it_opens_only_where_it_is_trusted(self, way, tmp_path):
        model = shared_and_nested()
        WAYS_TO_SAVE[way](model, tmp_path / "folder")
        with pytest.raises(InvalidFile, match=r"SavedModel.*--trust"):
            load_classifier(tmp_path / "folder")
        found = load_classifier(tmp_path / "folder", trust=True)
        np.testing.assert_allclose(found.probabilities(X), outputs(model), atol=1e-6)

    def test_it_has_the_gradients_of_the_model(self, way, tmp_path):
        model = shared_and_nested()
        WAYS_TO_SAVE[way](model, tmp_path / "folder")
        found = load_classifier(tmp_path / "folder", trust=True)
        gradients = []
        for function in (model, lambda x: tf.nn.softmax(found.logits(x))):
            x = tf.constant(X)
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = function(x)[:, 0]
            gradients.append(tape.gradient(y, x).numpy())
        np.testing.assert_allclose(gradients[1], gradients[0], atol=1e-6)


def test_a_folder_of_something_else_is_refused_although_it_is_trusted(tmp_path):
    with pytest.raises(InvalidFile, match="a folder without a model"):
        files.read_model(tmp_path, trust=True)
    (tmp_path / "saved_model.pb").write_bytes(b"nothing")
    with pytest.raises(InvalidFile, match="Cannot open"):
        files.read_model(tmp_path, trust=True)


class TestFolderOfKeras2:
    """The genuine folders lack the graph, so whatever opens them has rebuilt the model."""

    @pytest.fixture(params=["nested", "normalized", "recurrent"])
    def folder(self, request, tmp_path) -> Path:
        return Path(shutil.copytree(FIXTURES / f"keras2_{request.param}", tmp_path / f"keras2_{request.param}"))

    def test_it_is_rebuilt_without_trust_and_predicts_what_keras_2_predicted(self, folder):
        with files.h5py.File(FIXTURES / f"{folder.name}.h5") as file:
            x, expected = file["x"][()], file["probabilities"][()]
        model = files.read_model(folder)
        np.testing.assert_allclose(np.asarray(model(x, training=False)), expected, atol=2e-6)
        classifier = load_classifier(folder)
        assert classifier.notes == (), "its softmax is stripped"
        np.testing.assert_allclose(classifier.probabilities(x[..., None], in_box=False), expected, atol=2e-6)

    @pytest.mark.parametrize("change", ["cut the description", "cut the variables", "remove the variables"])
    def test_a_damaged_one_is_refused_with_what_to_do(self, folder, change):
        file = folder / ("keras_metadata.pb" if "description" in change else "variables/variables.data-00000-of-00001")
        content = file.read_bytes()
        file.unlink()
        if not change.startswith("remove"):
            file.write_bytes(content[: len(content) // 2])
        with pytest.raises(
            InvalidFile, match=r"Cannot open '.*keras2_.* cannot be read: .*Copy or save the folder again"
        ):
            files.read_model(folder)

    def test_the_variables_of_another_model_are_refused(self, folder):
        other = FIXTURES / ("keras2_nested" if "recurrent" in folder.name else "keras2_recurrent")
        shutil.rmtree(folder / "variables")
        shutil.copytree(other / "variables", folder / "variables")
        with pytest.raises(InvalidFile, match=r"Cannot open"):
            files.read_model(folder)

    def test_how_it_was_trained_is_known(self, folder):
        assert files.read_loss(folder) == ""
        assert files.read_loss(folder / "nothing") == ""

    def test_a_model_that_cannot_be_rebuilt_opens_as_its_graph_where_it_is_trusted(self, tmp_path):
        model = shared_and_nested()
        WAYS_TO_SAVE["model.export"](model, tmp_path / "folder")
        (tmp_path / "folder" / "keras_metadata.pb").write_bytes(b"nothing")
        with pytest.raises(InvalidFile, match=r"its graph can be run as it is: --trust"):
            load_classifier(tmp_path / "folder")
        found = load_classifier(tmp_path / "folder", trust=True)
        np.testing.assert_allclose(found.probabilities(X), outputs(model), atol=1e-6)
