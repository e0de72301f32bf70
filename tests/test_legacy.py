"""Files of TensorFlow 1.x and standalone Keras, and files with code inside, through ``files.read_model``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from legacy_files import DENSE, as_cudnn, dense_weights, functional, old_layer, sequential, softmax, write_old

from advlab.classifiers import files
from advlab.errors import InvalidFile

X = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")


def predictions(path: Path, x: np.ndarray = X, **options: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(files.read_model(path, **options)(x, training=False))


class TestOlderGenerations:
    """Layouts of TensorFlow 1.x and standalone Keras, reconstructed."""

    @pytest.mark.parametrize(
        ("config", "version"),
        [
            (sequential(DENSE, as_list=True), "2.1.6"),
            (sequential(DENSE), "2.2.4-tf"),
            (functional(DENSE), "2.1.6-tf"),
            (functional(DENSE), "2.3.1"),
        ],
        ids=["list", "tf-1.14", "tf-1.13-model", "keras-2.3-model"],
    )
    @pytest.mark.parametrize("as_bytes", [True, False], ids=["bytes", "str"])
    def test_dense_model(self, tmp_path, config, version, as_bytes):
        weights = dense_weights()
        path = write_old(tmp_path / "old.h5", config, weights, version, as_bytes=as_bytes)
        (w1, b1), (w2, b2) = weights["dense_1"], weights["dense_2"]
        expected = softmax(np.maximum(X @ w1 + b1, 0) @ w2 + b2)
        np.testing.assert_allclose(predictions(path), expected, rtol=1e-5)

    def test_batch_normalization_with_a_list_of_axes(self, tmp_path):
        layer = old_layer("BatchNormalizationV1", "bn", batch_input_shape=[None, 4], axis=[1], epsilon=0.01, fused=True)
        gamma, beta, mean, variance = np.random.default_rng(0).random((4, 4)).astype("float32") + 0.5
        path = write_old(tmp_path / "bn.h5", sequential([layer]), {"bn": [gamma, beta, mean, variance]})
        expected = gamma * (X - mean) / np.sqrt(variance + 0.01) + beta
        np.testing.assert_allclose(predictions(path), expected, rtol=1e-4, atol=1e-6)

    def test_hard_sigmoid_has_the_slope_of_keras_2(self, tmp_path):
        layer = old_layer("Activation", "a", batch_input_shape=[None, 4], activation="hard_sigmoid")
        old = write_old(tmp_path / "a.h5", sequential([layer]), {})
        np.testing.assert_allclose(predictions(old), np.clip(0.2 * X + 0.5, 0, 1), rtol=1e-6)
        new = write_old(tmp_path / "b.h5", sequential([layer]), {}, "3.4.0")
        np.testing.assert_allclose(predictions(new), np.clip(X / 6 + 0.5, 0, 1), rtol=1e-6)

    def test_gru_without_reset_after_resets_before(self, tmp_path):
        layer = old_layer(
            "GRU", "g", batch_input_shape=[None, 2, 4], units=3, implementation=1, recurrent_activation="sigmoid"
        )
        shapes = [(4, 9), (3, 9), (9,)]
        weights = [np.random.default_rng(1).normal(size=s).astype("float32") for s in shapes]
        path = write_old(tmp_path / "g.h5", sequential([layer]), {"g": weights}, "2.1.6")
        model = files.read_model(path)
        assert model.layers[0].reset_after is False
        assert model.get_weights()[2].shape == (9,)

    @pytest.mark.parametrize(
        ("old", "new", "gates"), [("CuDNNLSTM", keras.layers.LSTM, 4), ("CuDNNGRU", keras.layers.GRU, 3)]
    )
    def test_cudnn_cells_become_plain_ones(self, tmp_path, old, new, gates):
        plain = keras.Sequential([keras.Input((3, 4)), new(2)])
        rng = np.random.default_rng(2)
        plain.set_weights([rng.normal(size=w.shape).astype("float32") for w in plain.get_weights()])
        layer = old_layer(old, "r", batch_input_shape=[None, 3, 4], units=2, return_sequences=False, stateful=False)
        path = write_old(tmp_path / "r.h5", sequential([layer]), {"r": as_cudnn(*plain.get_weights(), gates)})
        x = rng.normal(size=(5, 3, 4)).astype("float32")
        np.testing.assert_allclose(predictions(path, x), keras.ops.convert_to_numpy(plain(x)), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("name", ["softmax_v2", "softmax"])
    def test_activations_under_their_internal_name(self, tmp_path, name):
        layer = old_layer("Activation", "a", batch_input_shape=[None, 4], activation=name)
        path = write_old(tmp_path / "a.h5", sequential([layer]), {})
        np.testing.assert_allclose(predictions(path), softmax(X), rtol=1e-5)

    def test_an_unknown_initialiser_does_not_matter(self, tmp_path):
        odd = {"class_name": "MyInit", "module": "os", "config": {"dtype": "float32"}}
        layers = [old_layer("Dense", "dense_1", batch_input_shape=[None, 4], units=3, kernel_initializer=odd)]
        path = write_old(tmp_path / "i.h5", sequential(layers), {"dense_1": dense_weights()["dense_1"]})
        weight, bias = dense_weights()["dense_1"]
        np.testing.assert_allclose(predictions(path), X @ weight + bias, rtol=1e-5)


def with_lambda(wrap: Callable[[dict], dict] = lambda layer: layer, **changes: Any) -> dict:
    marker = json.dumps(changes.pop("marker", "unused"))
    source = keras.layers.Lambda(eval(f"lambda x: (open({marker}, 'w').close(), x + 1)[1]"), name="hidden_code")
    config = source.get_config()
    code = config["function"]["config"]
    if changes.pop("old", False):
        config |= {"function": [code["code"], None, None], "function_type": "lambda", "module": "m"}
    layer = {"class_name": "Lambda", "config": config | {"batch_input_shape": [None, 4]}} | changes
    return sequential([wrap(layer)])


def in_time_distributed(layer: dict) -> dict:
    return old_layer("TimeDistributed", "t", batch_input_shape=[None, 2, 4], layer=layer)


class TestEmbeddedCode:
    @pytest.mark.parametrize("old", [False, True], ids=["keras-3", "keras-2"])
    @pytest.mark.parametrize(
        "wrap",
        [lambda layer: layer, in_time_distributed, lambda layer: sequential([layer], name="inner")],
        ids=["plain", "wrapped", "nested"],
    )
    def test_is_refused_by_name_and_never_runs(self, tmp_path, old, wrap):
        marker = tmp_path / "ran"
        path = write_old(tmp_path / "l.h5", with_lambda(wrap, old=old, marker=str(marker)), {})
        with pytest.raises(InvalidFile, match=r"'hidden_code' \(Lambda\).*--trust"):
            files.read_model(path)
        assert not marker.exists()

    @pytest.mark.parametrize("old", [False, True], ids=["keras-3", "keras-2"])
    def test_runs_if_trusted(self, tmp_path, old):
        marker = tmp_path / "ran"
        path = write_old(tmp_path / "l.h5", with_lambda(old=old, marker=str(marker)), {})
        np.testing.assert_allclose(predictions(path, trust=True), X + 1)
        assert marker.exists()

    def test_of_another_python_is_explained(self, tmp_path):
        config = with_lambda()
        config["config"]["layers"][0]["config"]["function"]["config"]["code"] = "AAAA"
        path = write_old(tmp_path / "l.h5", config, {})
        with pytest.raises(InvalidFile, match="another version of Python"):
            files.read_model(path, trust=True)

    @pytest.mark.parametrize(
        "layer",
        [
            old_layer("lambda", "x"),
            old_layer("Evil>Dense", "x", units=2),
            old_layer("Dense", "x", units=2) | {"module": "os.path"},
            old_layer("Dense", "x", units=2) | {"module": "keras_evil"},
            old_layer("Dense", "x", units=2) | {"module": "keras.layers", "registered_name": "Evil>Dense"},
            old_layer("Activation", "x", activation="Evil>act"),
            old_layer("Activation", "x", activation="deserialize"),
            old_layer("Activation", "x", activation={"class_name": "function", "module": "os", "config": "relu"}),
            old_layer("Activation", "x", activation={"class_name": "__lambda__", "config": {"code": "AAAA"}}),
            old_layer("TFSMLayer", "x", filepath="somewhere"),
            old_layer("TFOpLambda", "x", function="io.read_file"),
            old_layer("__class__", "x"),
            old_layer("Input", "x"),
        ],
        ids=lambda layer: f"{layer['class_name']}-{layer.get('module', '')}",
    )
    def test_no_trick_with_names_reaches_other_classes(self, tmp_path, layer):
        config = layer | {"config": layer["config"] | {"batch_input_shape": [None, 4]}}
        path = write_old(tmp_path / "t.h5", sequential([config]), {})
        with pytest.raises(InvalidFile, match=r"is not one of|whose code is not|holds Python code"):
            files.read_model(path)

    def test_a_registered_class_is_built_only_if_trusted(self, tmp_path):
        class Doubling(keras.layers.Layer):
            def call(self, x):
                return 2 * x

        layer = old_layer("Mine>Doubling", "twice")
        layer["config"] = {"name": "twice"}
        first = old_layer("InputLayer", "in", batch_input_shape=[None, 4])
        path = write_old(tmp_path / "c.h5", sequential([first, layer]), {})
        with keras.saving.custom_object_scope({"Mine>Doubling": Doubling}):
            with pytest.raises(InvalidFile, match=r"'twice'.*from_keras"):
                files.read_model(path)
            np.testing.assert_allclose(predictions(path, trust=True), 2 * X)
