"""Predicting images: from files, arrays and data sets, as a function and as a command."""

from __future__ import annotations

import re

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import advlab
from advlab.cli import main
from advlab.data.dataset import Dataset
from advlab.data.images import load_image
from advlab.errors import InvalidFile, InvalidValue, Mismatch, UnknownName


def saved(folder, pixels, name="a.png", mode=None):
    path = folder / name
    Image.fromarray(np.asarray(pixels, np.uint8), mode).save(path)
    return path


def test_an_image_that_fits_is_read_as_it_is(tmp_path):
    levels = np.arange(24).reshape(4, 6)
    x, conversions = load_image(saved(tmp_path, levels), (4, 6, 1))
    assert (x.dtype, x.shape, conversions) == (np.float32, (4, 6, 1), ())
    np.testing.assert_array_equal(x[..., 0], (levels / 255).astype(np.float32))


def test_an_image_is_converted_and_resized_with_a_note(tmp_path):
    colours = np.zeros((40, 20, 3))
    colours[..., 0] = 255
    x, conversions = load_image(saved(tmp_path, colours), (4, 6, 1))
    assert conversions == ("colours made grey", "resized from 20 x 40 to 6 x 4 pixels")
    assert x == pytest.approx(0.299, abs=0.003)  # the weight of red in ITU-R 601
    x, conversions = load_image(tmp_path / "a.png", (None, None, 3))
    assert (x.shape, conversions) == ((40, 20, 3), ())
    assert (x[..., 0].min(), x[..., 1:].max()) == (1, 0)


def test_grey_saved_as_colours_loses_nothing(tmp_path):
    x, conversions = load_image(saved(tmp_path, np.full((4, 6, 3), 51)), (4, 6, 1))
    assert conversions == ()
    assert x == pytest.approx(0.2)


def test_transparent_parts_become_white(tmp_path):
    pixels = np.zeros((4, 6, 4))
    pixels[0, ..., 3] = 255  # a black line; what is below it is transparent black
    x, conversions = load_image(saved(tmp_path, pixels), (4, 6, 1))
    assert conversions == ("transparent parts made white",)
    assert (x[0].max(), x[1:].min()) == (0, 1)


def test_a_photo_is_turned_upright(tmp_path):
    image, exif = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6)), Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    image.save(tmp_path / "a.png", exif=exif)
    assert load_image(tmp_path / "a.png", (None, None, 1))[0].shape == (6, 4, 1)


def test_what_is_no_image_of_eight_bits_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(InvalidFile, match="Cannot read the image"):
        load_image(tmp_path / "a.png", (4, 6, 1))
    Image.fromarray(np.zeros((4, 6), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(InvalidFile, match="not 8 bits"):
        load_image(tmp_path / "deep.png", (4, 6, 1))
    with pytest.raises(InvalidFile, match="is a folder"):
        load_image(tmp_path, (4, 6, 1))
    with pytest.raises(InvalidFile, match="does not exist"):
        load_image(tmp_path / "none.png", (4, 6, 1))


def test_a_data_set_is_predicted_with_its_labels(trained, digits):
    predictions = advlab.predict(trained, digits.take(20))
    np.testing.assert_array_equal(predictions.labels, digits.y[:20])
    np.testing.assert_allclose(predictions.probabilities, trained.probabilities(digits.x[:20]), atol=1e-6)
    assert (predictions.sources[3], predictions.class_names, predictions.notes) == ("digits:3", tuple("0123456789"), ())
    train = advlab.predict(trained, advlab.load_dataset("digits", split="train", limit=1))
    assert train.sources == ("digits train:0",)


def test_arrays_have_no_label(trained, digits):
    for array in (digits.x[:4], digits.x[:4, ..., 0], list(digits.x[:4])):
        predictions = advlab.predict(trained, array)
        np.testing.assert_array_equal(predictions.x, digits.x[:4])
        assert (predictions.labels.tolist(), predictions.sources) == ([-1] * 4, ("0", "1", "2", "3"))


def test_indices_ranges_and_files_are_predicted_in_the_order_given(trained, digits, tmp_path):
    path = saved(tmp_path, np.rint(255 * digits.x[7, ..., 0]))
    predictions = advlab.predict("digits", [9, "digits:2", path, "4-6"])
    np.testing.assert_array_equal(predictions.x, digits.x[[9, 2, 7, 4, 5, 6]])
    assert predictions.sources == ("digits:9", "digits:2", str(path), "digits:4", "digits:5", "digits:6")
    np.testing.assert_array_equal(predictions.labels, [*digits.y[[9, 2]], -1, *digits.y[4:7]])
    assert advlab.predict(trained, 9).labels.tolist() == [digits.y[9]]


def test_a_file_named_like_an_index_is_a_file(trained, digits, tmp_path, monkeypatch):
    saved(tmp_path, np.rint(255 * digits.x[7, ..., 0])).rename(tmp_path / "3")
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(advlab.predict(trained, "3").x[0], digits.x[7])
    (tmp_path / "4").mkdir()
    assert advlab.predict(trained, "4").sources == ("digits:4",)


def test_ink_on_paper_is_inverted_only_with_invert(trained, digits, tmp_path):
    dark = saved(tmp_path, 255 - np.rint(255 * digits.x[7, ..., 0]))
    as_is, inverted = advlab.predict(trained, dark), advlab.predict(trained, dark, invert=True)
    assert re.fullmatch(r".*a\.png: light at its border, .* light on black; try --invert .*", as_is.notes[0])
    np.testing.assert_allclose(inverted.x[0], digits.x[7], atol=1e-6)
    assert inverted.notes == ()
    light = saved(tmp_path, np.rint(255 * digits.x[7, ..., 0]), "light.png")
    assert "leave out --invert" in advlab.predict(trained, light, invert=True).notes[0]


def test_files_with_the_same_conversion_have_one_note(trained, tmp_path):
    paths = [saved(tmp_path, np.zeros((5, 7)), f"{i}.png") for i in range(5)]
    (note,) = advlab.predict(trained, paths).notes
    assert note == f"{paths[0]}, {paths[1]}, {paths[2]} and 2 more: resized from 7 x 5 to 28 x 28 pixels."


def test_a_class_of_another_data_set_is_known_by_its_name(trained, tmp_path):
    x = np.zeros((3, 28, 28), np.float32)
    predictions = advlab.predict(trained, Dataset.from_arrays(x, [0, 1, 2], ["7", "cat", "3"]))
    assert predictions.labels.tolist() == [7, -1, 3]
    assert predictions.notes == (
        "Model 'digits' has no class called 'cat': the true class of these images is not known.",
    )


def test_a_model_without_a_card_takes_the_names_of_the_data_where_they_fit(linear, grey):
    two = Dataset.from_arrays(grey.x[:2], [0, 1], ["cat", "dog"])
    assert advlab.predict(linear, two).class_names == ("cat", "dog")
    assert advlab.predict(linear, grey).class_names == ("0", "1")
    with pytest.raises(InvalidValue, match="Name it, such as fashion-mnist:6"):
        advlab.predict(linear, "6")


def test_colour_models_read_colour_files(rgb, tmp_path):
    classifier, data = rgb
    path = saved(tmp_path, np.rint(255 * data.x[0]))
    np.testing.assert_allclose(advlab.predict(classifier, path).x[0], data.x[0], atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize(("shape", "image"), [((49,), (7, 7, 1)), ((147,), (7, 7, 3)), ((4, 6), (4, 6, 1))])
def test_inputs_without_channels_or_sides_are_of_grey_or_square_images(shape, image, tmp_path):
    assert advlab.predict(dense(shape), saved(tmp_path, np.zeros((4, 6)))).x.shape == (1, *image)


@pytest.mark.parametrize("shape", [(50,), (4, 6, 2)])
def test_a_file_is_not_given_to_a_model_whose_inputs_are_no_images(shape, tmp_path):
    with pytest.raises(Mismatch, match="Give an array of images"):
        advlab.predict(dense(shape), saved(tmp_path, np.zeros((4, 6))))


def dense(shape):
    import keras

    layers = [keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    return advlab.Classifier.from_keras(keras.Sequential(layers))


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        ([], InvalidValue, "no image"),
        ("digits:449", InvalidValue, "Got index 449; give 0 to 448"),
        ("5-2", InvalidValue, "goes up"),
        ("nope:3", UnknownName, "Unknown data set 'nope'"),
        ("none.png", InvalidFile, "does not exist"),
        (np.zeros((1, 5, 5), np.float32), Mismatch, "takes inputs of shape"),
        (np.zeros((1, 28, 28), np.uint8), InvalidValue, "value_range"),
        (np.zeros((28, 28), np.float32), InvalidValue, "Give at least one, as"),
        ([np.zeros((28, 28)), np.zeros((27, 27))], InvalidValue, "must have one shape"),
        (None, InvalidValue, "images"),
    ],
)
def test_images_that_cannot_be_predicted_are_refused(images, error, words, trained):
    with pytest.raises(error, match=words):
        advlab.predict(trained, images)


def test_the_command_prints_the_table_and_puts_notes_on_standard_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, np.zeros((5, 7)))
    words = ["predict", "digits", "0-1", "a.png", "--top", "1", "--figure", "out.svg"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["image", "digits:0", "digits:1", "a.png"]
    assert "next" not in result.stdout
    assert result.stderr == "warning: a.png: resized from 7 x 5 to 28 x 28 pixels.\nWrote out.svg.\n"
    assert (tmp_path / "out.svg").read_text("utf-8").count("✓") >= 1


@pytest.mark.real_data
def test_test_image_6_of_fashion_mnist_is_a_coat_as_the_source_found():
    (image,) = advlab.predict("fashion", "fashion-mnist:6").to_dict()["images"]
    assert (image["name"], image["label"], image["correct"]) == ("Coat", 4, True)
    assert image["confidence"] > 0.9  # the source prints 0.9887
