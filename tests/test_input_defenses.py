"""Input defences: each is the known operation, is saved with its classifier, and does not hide what it is."""

import io

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image
from scipy import ndimage

import advlab
from advlab import load_classifier
from advlab.classifiers.classifier import Classifier
from advlab.classifiers.input_defenses import DEFENSES, JPEG, BitDepth, MedianSmoothing, RandomResizing, TotalVariation
from advlab.errors import InvalidFile, InvalidValue, UnknownName

RNG = np.random.default_rng(3)
PHOTO = ndimage.gaussian_filter(RNG.random((3, 21, 18, 3)), (0, 2, 2, 0)).astype(np.float32)


def colour_classifier(shape=(6, 6, 3), **settings):
    model = keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(3, activation="softmax")])
    return Classifier.from_keras(model, name="colours", **settings)


def test_bit_depth_leaves_as_many_values_and_moves_no_pixel_farther_than_half_a_step():
    for bits in (1, 2, 5):
        y = BitDepth(bits)(PHOTO).numpy()
        assert set(np.unique(np.round(y * (2**bits - 1)))) <= set(range(2**bits))
        assert np.abs(y - PHOTO).max() <= 0.5 / (2**bits - 1) + 1e-6


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_median_smoothing_is_the_median_filter_of_scipy(size):
    expected = ndimage.median_filter(PHOTO, (1, size, size, 1), mode="reflect")
    np.testing.assert_array_equal(MedianSmoothing(size)(PHOTO).numpy(), expected)


@pytest.mark.parametrize("quality", [10, 50, 75, 95])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_that_of_pillow(quality, channels):
    """To a step of 8 bits: a codec computes in integers, which now and then rounds a coefficient the other way."""
    pixels = np.round(255 * (PHOTO[0] - PHOTO.min()) / np.ptp(PHOTO)).astype(np.uint8)[:, :, :channels]
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, "JPEG", quality=quality, subsampling=0)
    expected = np.asarray(Image.open(buffer), float).reshape(pixels.shape)
    ours = 255 * JPEG(quality)((pixels / 255).astype(np.float32)[None]).numpy()[0]
    assert np.abs(ours - expected).mean() < 0.5
    assert np.mean(np.abs(ours - expected) <= 2) > 0.95


def test_total_variation_moves_the_two_levels_of_a_step_by_the_weight_over_their_width():
    """In closed form for a step between 4 and 8 columns: rows alike, each level moves towards the other."""
    x = np.zeros((1, 5, 12, 1), np.float32)
    x[:, :, 4:] = 1
    y = TotalVariation(weight=0.4, steps=200)(x).numpy()[0, :, :, 0]
    np.testing.assert_allclose(y[:, :4], 0.4 / 4, atol=0.01)
    np.testing.assert_allclose(y[:, 4:], 1 - 0.4 / 8, atol=0.01)


def test_random_resizing_draws_another_size_and_place_for_each_image_and_each_call():
    layer = RandomResizing(0.5)
    white = np.ones((40, 20, 16, 1), np.float32)
    first, second = layer(white).numpy(), layer(white).numpy()
    assert not np.array_equal(first, second)
    assert set(np.unique(first)) <= {0.0, 1.0}
    heights = (first.max((2, 3)) > 0).sum(1)
    assert heights.min() >= 10
    assert heights.max() <= 20
    assert len(set(heights)) > 5


def test_random_resizing_keeps_what_it_shows():
    """A smooth image stays as bright on average within the frame."""
    x = np.tile(np.linspace(0, 1, 20, dtype=np.float32)[None, :, None, None], (8, 1, 20, 1))
    y = RandomResizing(0.6)(x).numpy()
    for image in y:
        shown = image[:, image.max((0, 2)) > 0][image.max((1, 2)) > 0]
        assert np.all(np.diff(shown[:, 0, 0]) > -1e-6)
        assert shown.mean() == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("name", DEFENSES)
def test_images_stay_in_the_box_and_keep_their_shape(name):
    x = (PHOTO - PHOTO.min()) / np.ptp(PHOTO)
    y = DEFENSES[name]()(x).numpy()
    assert y.shape == x.shape
    assert y.dtype == np.float32
    assert y.min() >= -1e-6
    assert y.max() <= 1 + 1e-6


@pytest.mark.parametrize("name", DEFENSES)
def test_gradients_are_finite_and_those_of_rounding_are_zero(name):
    x = tf.constant(np.concatenate([PHOTO, np.zeros_like(PHOTO)]))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(DEFENSES[name]()(x) ** 2)
    gradient = tape.gradient(y, x, unconnected_gradients="zero").numpy()
    assert np.isfinite(gradient).all()
    assert np.any(gradient) == (name not in ("bit-depth", "jpeg"))


@pytest.mark.parametrize("name", DEFENSES)
def test_a_defended_classifier_is_saved_and_opened_with_its_defence(name, trained, digits, tmp_path):
    defended = trained.with_defense(name)
    path = defended.save(tmp_path / "defended.h5")
    opened = load_classifier(path)
    assert opened.digest == defended.digest != trained.digest
    assert opened.dataset == trained.dataset
    assert opened.classes == trained.classes
    assert opened.image_shape == digits.shape
    if name != "random-resizing":
        np.testing.assert_array_equal(opened.probabilities(digits.x[:20]), defended.probabilities(digits.x[:20]))


def test_settings_are_saved_too_and_tell_classifiers_apart(trained, tmp_path):
    coarse, fine = trained.with_defense("bit-depth"), trained.with_defense("bit-depth", bits=5)
    assert coarse.digest != fine.digest
    assert load_classifier(fine.save(tmp_path / "fine.h5")).digest == fine.digest


@pytest.mark.parametrize(
    "settings",
    [{"scale": 255.0}, {"scale": [2.0, 3.0, 4.0], "offset": [-1.0, 0.0, 0.5]}, {"preprocess": "caffe"}],
    ids=["0-255", "each channel", "caffe"],
)
def test_the_defence_sees_images_in_the_unit_range_whatever_the_model_is_fed(settings, tmp_path):
    plain = colour_classifier(**settings)
    x = RNG.random((5, 6, 6, 3)).astype(np.float32)
    defended = plain.with_defense("bit-depth", bits=2)
    np.testing.assert_allclose(defended.probabilities(x), plain.probabilities(np.round(3 * x) / 3), atol=1e-6)
    opened = load_classifier(defended.save(tmp_path / "defended.h5"))
    np.testing.assert_array_equal(opened.probabilities(x), defended.probabilities(x))


def test_what_is_no_probability_stays_what_it_is(tmp_path):
    model = keras.Sequential([keras.Input((6, 6)), layers.Flatten(), layers.Dense(1)])
    plain = Classifier.from_keras(model, output="score")
    defended = plain.with_defense("jpeg")
    assert defended.classes == 2
    assert load_classifier(defended.save(tmp_path / "score.h5")).settings.output == "score"


def test_two_different_defences_may_follow_each_other_and_one_may_not_come_twice(trained):
    both = trained.with_defense("bit-depth", bits=4).with_defense("median-smoothing")
    assert both.name == "digits-bit-depth-median-smoothing"
    with pytest.raises(InvalidValue, match=r"has the input defence 'bit-depth' already\. Wrap the undefended model"):
        both.with_defense("bit-depth", bits=2)


def test_bad_requests_say_what_is_allowed(trained):
    with pytest.raises(UnknownName, match=r"input defence 'jpg'\. Did you mean 'jpeg'"):
        trained.with_defense("jpg")
    with pytest.raises(UnknownName, match=r"setting of input defence 'jpeg': 'qualty'\. Did you mean 'quality'"):
        trained.with_defense("jpeg", qualty=5)
    for name, settings in (
        ("jpeg", {"quality": 0}),
        ("bit-depth", {"bits": 1.5}),
        ("total-variation", {"weight": -1}),
        ("random-resizing", {"smallest": 1.5}),
    ):
        with pytest.raises(InvalidValue, match=next(iter(settings))):
            trained.with_defense(name, **settings)


def test_images_smaller_than_the_square_are_refused():
    with pytest.raises(InvalidValue, match=r"size must be an int in the range \[2, 13\]\. Got 15"):
        colour_classifier().with_defense("median-smoothing", size=15)


def test_a_file_with_settings_out_of_range_is_refused(trained, tmp_path):
    path = trained.with_defense("bit-depth", bits=3).save(tmp_path / "defended.h5")
    with h5py.File(path, "r+") as file:
        config = file.attrs["model_config"]
        file.attrs["model_config"] = config.replace('"bits": 3', '"bits": 1000000000')
    with pytest.raises(InvalidFile, match=r"layer 'bit_depth' \(advlab>BitDepth\) cannot be built"):
        load_classifier(path)


def test_a_classifier_of_images_of_any_size_is_refused():
    pooled = [layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax")]
    anywhere = Classifier.from_keras(keras.Sequential([keras.Input((None, None, 3)), *pooled]))
    with pytest.raises(InvalidValue, match="needs to know the shape of the images"):
        anywhere.with_defense("jpeg")


def test_a_preprocessor_of_the_toolbox_is_a_defence_without_gradient(trained, digits, tmp_path):
    from art.defences.preprocessor import FeatureSqueezing

    defended = trained.with_defense(FeatureSqueezing(clip_values=(0, 1), bit_depth=1))
    ours = trained.with_defense("bit-depth", bits=1)
    assert defended.name == "digits-art-featuresqueezing"
    finer = trained.with_defense(FeatureSqueezing(clip_values=(0, 1), bit_depth=3))
    assert finer.digest != defended.digest
    np.testing.assert_allclose(defended.probabilities(digits.x[:30]), ours.probabilities(digits.x[:30]), atol=1e-6)
    result = advlab.attack(defended, digits.take(20), "fgsm", epsilon=0.1, compile="auto")
    assert "zero-gradients" in {finding.code for finding in advlab.evaluate(result).findings}
    with pytest.raises(InvalidValue, match="would not open again"):
        defended.save(tmp_path / "art.h5")
    with pytest.raises(InvalidValue, match="Got int"):
        trained.with_defense(3)


def test_a_defended_classifier_is_attacked_in_bfloat16_too(trained, digits):
    defended = trained.with_defense("median-smoothing")
    result = advlab.attack(defended, digits.take(20), "pgd", steps=5, precision="bfloat16", early_stop=True)
    assert advlab.evaluate(result).robust_accuracy.value < 0.5


def test_an_attack_meets_zero_gradients_where_a_defence_rounds(trained, digits):
    from advlab.evaluation.evaluation import evaluate
    from advlab.workflows.attack import attack

    defended = trained.with_defense("bit-depth")
    codes = {f.code for f in evaluate(attack(defended, digits.take(50), "fgsm", epsilon=0.3)).findings}
    assert "zero-gradients" in codes
    random = trained.with_defense("random-resizing")
    codes = {f.code for f in evaluate(attack(random, digits.take(50), "fgsm", epsilon=0.3)).findings}
    assert "unstable-predictions" in codes
