"""Saved classifiers: what this Keras writes, what older generations wrote, and what is refused with a clear error."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from legacy_files import DENSE, dense_weights, sequential, write_old

from advlab.classifiers import card, files
from advlab.errors import AdvlabError, InvalidFile, InvalidValue

FIXTURES = Path(__file__).parent / "fixtures"
X = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")


def small_model(**last: Any) -> keras.Model:
    layers = [
        keras.Input((4,), name="in"),
        keras.layers.Dense(3, name="hidden"),
        keras.layers.Dense(2, name="last", **last),
    ]
    return keras.Sequential(layers, name="small")


def predictions(path: Path, x: np.ndarray = X, **options: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(files.read_model(path, **options)(x, training=False))


class TestWriting:
    def test_round_trip_keeps_every_bit_of_the_weights_and_the_card(self, tmp_path):
        model, path = small_model(activation="softmax"), tmp_path / "m.h5"
        model.compile("adam", "mse")
        files.write_model(model, path, {"name": "fashion", "accuracy": 0.87})
        loaded = files.read_model(path)
        assert [w.tobytes() for w in model.get_weights()] == [w.tobytes() for w in loaded.get_weights()]
        assert card.read_card(path) == {"name": "fashion", "accuracy": 0.87}
        assert not loaded.compiled
        with h5py.File(path) as file:
            assert "optimizer_weights" not in file

    def test_the_file_opens_in_plain_keras_as_probabilities(self, tmp_path):
        model, path = small_model(activation="softmax"), tmp_path / "m.h5"
        files.write_model(model, path, {})
        output = keras.models.load_model(path).predict(X, verbose=0)
        np.testing.assert_allclose(output.sum(1), 1, rtol=1e-6)
        np.testing.assert_array_equal(output, predictions(path))

    def test_models_inside_models_come_back(self, tmp_path):
        image = keras.Input((4,))
        inner_image = keras.Input((4,))
        frozen = keras.layers.Dense(4, trainable=False)
        inner = keras.Model(inner_image, keras.layers.Dense(4)(frozen(inner_image)), name="inner")
        head = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)], name="head")
        end_image = keras.Input((4,))
        end = keras.Model(end_image, keras.layers.Softmax()(end_image), name="end")
        hidden = keras.layers.Add()([inner(image), inner(head(image)), head(keras.layers.ReLU()(image))])
        model = keras.Model(image, end(head(hidden)))
        files.write_model(model, tmp_path / "m.h5", {})
        expected = keras.ops.convert_to_numpy(model(X, training=False))
        np.testing.assert_array_equal(predictions(tmp_path / "m.h5"), expected)

    def test_equal_models_give_equal_bytes(self, tmp_path):
        model = small_model()
        for name in ("a.h5", "b.h5"):
            files.write_model(model, tmp_path / name, {"b": 1, "a": 2})
        assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()

    def test_keras_does_not_advise_against_the_format(self, tmp_path, caplog, capfd):
        files.write_model(small_model(), tmp_path / "m.h5", {})
        assert not caplog.records
        assert "legacy" not in "".join(capfd.readouterr())

    def test_a_failure_leaves_the_old_file_and_nothing_else(self, tmp_path):
        path = tmp_path / "m.h5"
        files.write_model(small_model(), path, {})
        before = path.read_bytes()
        with pytest.raises(InvalidValue, match="JSON"):
            files.write_model(small_model(), path, {"x": X})
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.glob("*.h5")] + [p.name for p in tmp_path.glob(".*")] == ["m.h5"]

    def test_a_full_disk_is_reported_and_leaves_nothing(self, tmp_path, monkeypatch):
        def full(*_: object, **__: object) -> None:
            raise RuntimeError("Can't decrement id ref count (errno = 28, error message = 'No space left on device')")

        monkeypatch.setattr(keras.saving, "save_model", full)
        with pytest.raises(AdvlabError, match=r"m\.h5.*No space left"):
            files.write_model(small_model(), tmp_path / "m.h5", {})
        assert not list(tmp_path.rglob("*.h5"))

    @pytest.mark.parametrize(
        ("model", "name", "message"),
        [
            (small_model(), "m.keras", "end the name in .h5"),
            (keras.Sequential([keras.layers.Dense(2)]), "m.h5", "model.build"),
            (type("Own", (keras.Model,), {"call": lambda self, x: x})(), "m.h5", "class 'Own'"),
        ],
    )
    def test_what_hdf5_cannot_hold_is_refused(self, tmp_path, model, name, message):
        with pytest.raises(InvalidValue, match=message):
            files.write_model(model, tmp_path / name, {})


class Doubling(keras.layers.Layer):
    """A layer of the user's own."""

    def call(self, x):
        return 2 * x


def own_activation(x):
    return 3 * x


class OwnNet(keras.Model):
    """A model of the user's own, which a functional model wraps."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.dense = keras.layers.Dense(2, activation="softmax")

    def call(self, x):
        return self.dense(x)


def with_own(layer: Any) -> keras.Model:
    image = keras.Input((4,))
    return keras.Model(image, keras.layers.Dense(2)(layer(image)))


OWN = {
    "Doubling": (lambda: with_own(Doubling()), {"Doubling": Doubling}),
    "own_activation": (
        lambda: with_own(keras.layers.Dense(3, activation=own_activation)),
        {"own_activation": own_activation},
    ),
    "OwnNet": (lambda: with_own(OwnNet()), {"OwnNet": OwnNet}),
    "a function in a Lambda": (
        lambda: with_own(keras.layers.Lambda(own_activation)),
        {"own_activation": own_activation},
    ),
}


@pytest.mark.parametrize("name", OWN)
class TestCodeOfTheUser:
    @pytest.mark.parametrize("suffix", [".h5", ".keras"])
    def test_is_given_by_name(self, name, suffix, tmp_path):
        make, custom_objects = OWN[name]
        model, path = make(), tmp_path / f"m{suffix}"
        model.save(path)
        with pytest.raises(InvalidFile, match=r"custom_objects=\{'\w+'"):
            files.read_model(path)
        expected = keras.ops.convert_to_numpy(model(X))
        np.testing.assert_array_equal(predictions(path, custom_objects=custom_objects), expected)

    def test_is_not_saved_where_it_would_not_open_again(self, name, tmp_path):
        with pytest.raises(InvalidValue, match=r"would not open again.*register_keras_serializable"):
            files.write_model(OWN[name][0](), tmp_path / "m.h5", {})
        assert list(tmp_path.glob("*.h5")) == []


@keras.saving.register_keras_serializable("mine")
class Registered(keras.layers.Layer):
    """A layer of the user's own, registered with Keras."""

    def call(self, x):
        return 2 * x


@keras.saving.register_keras_serializable("mine")
def registered_activation(x):
    return 3 * x


@pytest.mark.parametrize(
    "make", [Registered, lambda: keras.layers.Dense(3, activation=registered_activation)], ids=["layer", "activation"]
)
def test_registered_code_is_saved_and_opens_where_it_is_trusted(make, tmp_path):
    model = with_own(make())
    files.write_model(model, tmp_path / "m.h5", {})
    with pytest.raises(InvalidFile, match="custom_objects"):
        files.read_model(tmp_path / "m.h5")
    np.testing.assert_array_equal(predictions(tmp_path / "m.h5", trust=True), keras.ops.convert_to_numpy(model(X)))


class TestKeras2:
    @pytest.mark.parametrize("path", sorted(FIXTURES.glob("keras2_*.h5")), ids=lambda p: p.stem)
    def test_a_genuine_file_predicts_what_keras_2_predicted(self, path):
        with h5py.File(path) as file:
            x, expected = file["x"][()], file["probabilities"][()]
        np.testing.assert_allclose(predictions(path, x), expected, atol=2e-6)

    @pytest.mark.parametrize("path", sorted(FIXTURES.glob("keras2_*.h5")), ids=lambda p: p.stem)
    def test_it_survives_a_round_trip(self, path, tmp_path):
        model = files.read_model(path)
        x = np.random.default_rng(0).normal(size=(3, *model.input_shape[1:])).astype("float32")
        files.write_model(model, tmp_path / "copy.h5", {})
        np.testing.assert_array_equal(
            predictions(tmp_path / "copy.h5", x), keras.ops.convert_to_numpy(model(x, training=False))
        )

    def test_there_are_genuine_files(self):
        assert len(list(FIXTURES.glob("keras2_*.h5"))) == 7


class TestKerasArchives:
    def test_opens(self, tmp_path):
        model, path = small_model(activation="softmax"), tmp_path / "m.keras"
        model.compile("adam", loss="sparse_categorical_crossentropy")
        model.save(path)
        np.testing.assert_array_equal(predictions(path), keras.ops.convert_to_numpy(model(X)))

    def test_code_is_refused_unless_trusted(self, tmp_path):
        path = tmp_path / "m.keras"
        keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x + 1, name="add")]).save(path)
        with pytest.raises(InvalidFile, match=r"'add' \(Lambda\).*--trust"):
            files.read_model(path)
        np.testing.assert_allclose(predictions(path, trust=True), X + 1)

    def test_a_truncated_file_is_refused(self, tmp_path):
        small_model().save(tmp_path / "m.keras")
        cut = tmp_path / "cut.keras"
        cut.write_bytes((tmp_path / "m.keras").read_bytes()[:2000])
        with pytest.raises(InvalidFile, match=r"cut\.keras"):
            files.read_model(cut)

    def test_another_zip_is_refused(self, tmp_path):
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "a.txt").write_text("a")
        shutil.make_archive(str(tmp_path / "other"), "zip", tmp_path / "folder")
        for name in ("other.zip", "other.keras"):
            target = shutil.copy(tmp_path / "other.zip", tmp_path / f"copy-{name}")
            with pytest.raises(InvalidFile, match=f"copy-{name}"):
                files.read_model(Path(target))


class TestCard:
    def test_a_foreign_file_has_an_empty_one(self, tmp_path):
        assert card.read_card(write_old(tmp_path / "m.h5", sequential(DENSE), dense_weights())) == {}

    @pytest.mark.parametrize("text", ["{", "[1]"])
    def test_a_damaged_one_is_refused(self, tmp_path, text):
        with h5py.File(tmp_path / "m.h5", "w") as file:
            file.attrs["advlab"] = text
        with pytest.raises(InvalidFile, match="card"):
            card.read_card(tmp_path / "m.h5")
