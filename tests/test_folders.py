"""Folders of image files in an attack: read as a single image is, and made to fit the classifier."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import advlab
from advlab.errors import AdvlabWarning, InvalidFile, InvalidValue, UnknownName

QUARTER_TURN = 6  # the EXIF orientation of a camera that was turned by a quarter


def written(folder: Path, data, change, **options) -> Path:
    """The images of a data set as files by class, each changed on its way."""
    for x, label, index in zip(data.x, data.y, data.indices, strict=True):
        image = change(Image.fromarray(np.rint(255 * x[..., 0]).astype("uint8")), index)
        path = folder / str(label) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, **options)
    return folder


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = QUARTER_TURN
    return exif


WAYS = {
    "grey files": (lambda image, _: image, {}, None),
    "grey as colours": (lambda image, _: image.convert("RGB"), {}, None),
    "another size": (lambda image, _: image.resize((64, 64)), {}, "40 of 40 images .*resized to 28 x 28"),
    "mixed sizes": (lambda image, i: image.resize((28 + i % 3, 28)), {}, r"26 of 40 images .*resized to 28 x 28"),
    "a turned camera": (lambda image, _: image.rotate(90, expand=True), {"exif": turned()}, None),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_attack_sees_what_predict_sees(way, trained, digits, tmp_path):
    change, options, warning = WAYS[way]
    folder = written(tmp_path / "images", digits.take(40), change, **options)
    attack = {"method": "noise", "epsilon": 0.001, "progress": False}
    if warning is None:
        result = advlab.attack("digits", folder, **attack)
    else:
        with pytest.warns(AdvlabWarning, match=warning):
            result = advlab.attack("digits", folder, **attack)
    files = [folder / str(label) / name for label, name in named_files(folder)]
    single = advlab.predict(trained, files)
    np.testing.assert_allclose(np.sort(result.clean_probabilities, 0), np.sort(single.probabilities, 0), atol=1e-6)
    assert np.mean(result.clean_probabilities.argmax(1) == result.labels) > 0.9


def named_files(folder: Path) -> list[tuple[str, str]]:
    return [(path.parent.name, path.name) for path in sorted(folder.glob("*/*.png"))]


def test_folders_called_by_number_are_attacked_with_these_labels(tmp_path):
    draw = np.random.default_rng(0)
    y = np.arange(36) % 12
    x = np.clip(draw.random((12, 6, 6, 1))[y] + draw.normal(0, 0.01, (36, 6, 6, 1)), 0, 1).astype("float32")
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(12)
    network = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), dense])
    centres = np.stack([x[y == label].mean(0).ravel() for label in range(12)], 1)
    dense.set_weights([20 * centres, -10 * (centres**2).sum(0)])
    classifier = advlab.Classifier.from_keras(network)
    for name, labels in (("all", range(12)), ("some", (7, 9))):
        data = advlab.Dataset.from_arrays(x, y)
        rows = np.isin(y, labels)
        part = advlab.Dataset(data.name, "test", x[rows], y[rows], np.flatnonzero(rows), data.classes)
        folder = written(tmp_path / name, part, lambda image, _: image)
        result = advlab.attack(classifier, folder, "noise", epsilon=0.001, progress=False)
        assert sorted(set(result.labels.tolist())) == list(labels)
        assert np.mean(result.clean_probabilities.argmax(1) == result.labels) == 1


def test_folders_called_by_name_have_the_numbers_of_the_card(linear, tmp_path):
    Image.new("L", (6, 6)).save(tmp_path / "ignored.png")
    (tmp_path / "dog").mkdir()
    Image.new("L", (6, 6)).save(tmp_path / "dog" / "1.png")
    with pytest.raises(InvalidValue, match=r"has 1 classes, model 'linear' has 2: their numbers are not known"):
        advlab.attack(linear, tmp_path, "noise", epsilon=0.001, progress=False)
    named = advlab.Classifier.from_keras(linear.keras_model, class_names=["cat", "dog"])
    result = advlab.attack(named, tmp_path, "noise", epsilon=0.001, progress=False)
    assert (result.labels.tolist(), result.classes) == ([1], ("cat", "dog"))
    other = advlab.Classifier.from_keras(linear.keras_model, class_names=["cat", "cow"])
    with pytest.raises(UnknownName, match="'dog'"):
        advlab.attack(other, tmp_path, "noise", epsilon=0.001, progress=False)


def as_directory(folder: Path, data) -> Path:
    """Files called so that Keras, which sorts them, keeps their order."""
    for number, (x, label) in enumerate(zip(data.x, data.y, strict=True)):
        path = folder / data.classes[label] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(255 * x[..., 0]).astype("uint8")).save(path)
    return folder


@pytest.mark.parametrize("label_mode", ["int", "categorical"])
def test_what_keras_reads_from_a_folder_is_divided_and_that_is_said(label_mode, trained, digits, tmp_path):
    folder = as_directory(tmp_path / "images", digits.take(40))
    batches = keras.utils.image_dataset_from_directory(
        folder, label_mode=label_mode, color_mode="grayscale", image_size=(28, 28), shuffle=False, verbose=False
    )
    with pytest.warns(AdvlabWarning, match=r"image_dataset_from_directory are in 0-255; they are divided by 255"):
        result = advlab.attack(trained, batches, "noise", epsilon=0.001, progress=False)
    assert result.x.max() == 1
    assert result.classes == digits.classes
    assert np.mean(result.clean_probabilities.argmax(1) == result.labels) > 0.9
    with pytest.raises(InvalidValue, match=r"pixels from 0 to 255, not in \[0, 1\]"):
        advlab.attack(trained, batches.prefetch(1), "noise", epsilon=0.001, progress=False)


class TestTraining:
    @pytest.fixture
    def mixed(self, thirds, tmp_path) -> Path:
        """A folder of both splits, of grey and colour images in several sizes, some by a turned camera."""
        for split in ("train", "test"):
            data = advlab.load_dataset(thirds, split=split, limit=60)
            for x, label, i in zip(data.x, data.y, data.indices, strict=True):
                image = Image.fromarray(np.rint(255 * x[..., 0]).astype("uint8")).resize((30 + i % 3, 28))
                image = image.convert("RGB") if i % 2 else image.rotate(90, expand=True)
                path = tmp_path / "mixed" / split / data.classes[label] / f"{i:03}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save(path, **({} if i % 2 else {"exif": turned()}))
        return tmp_path / "mixed"

    def test_it_fits_the_images_of_both_splits_as_an_attack_does(self, mixed, workspace):
        with pytest.raises(InvalidFile, match=r"pixels, the first image .*--resize 32x48"):
            advlab.train("digits", dataset=mixed, epochs=1, progress=False)
        with pytest.warns(AdvlabWarning, match="resized to 14 x 12"):
            classifier = advlab.train("digits", dataset=mixed, epochs=3, resize=(12, 14), progress=False)
        assert classifier.image_shape == (12, 14, 3)
        with pytest.warns(AdvlabWarning, match="resized to 14 x 12"):
            result = advlab.attack(classifier, mixed, "noise", epsilon=0.001, progress=False)
        accuracy = np.mean(result.clean_probabilities.argmax(1) == result.labels)
        assert accuracy == pytest.approx(classifier.card["test_accuracy"]) == pytest.approx(1, abs=0.1)

    def test_a_size_is_for_folders_and_a_range_for_arrays(self, mixed):
        with pytest.raises(InvalidValue, match=r"is for folders of image files, and 'digits' is none"):
            advlab.train("digits", resize=(12, 14), save=False, progress=False)
        with pytest.raises(InvalidValue, match=r"says what the pixels of a \.npz file are"):
            advlab.train("digits", dataset=mixed, value_range=(0, 255), save=False, progress=False)

    def test_arrays_of_another_range_are_trained_on(self, thirds, tmp_path):
        stored = dict(np.load(thirds))
        scaled = {key: 2.0 * value - 1 if key.startswith("x") else value for key, value in stored.items()}
        np.savez(tmp_path / "signed.npz", **scaled)
        options = {"epochs": 1, "save": False, "progress": False, "name": "same"}
        plain = advlab.train("digits", dataset=thirds, **options)
        signed = advlab.train("digits", dataset=tmp_path / "signed.npz", value_range=(-1, 1), **options)
        assert signed.card["test_accuracy"] == pytest.approx(plain.card["test_accuracy"], abs=0.05)
