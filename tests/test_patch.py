"""The adversarial patch: how it lies on images, its closed form, what it fools beside random pixels, how it prints."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from advlab.data.dataset import Dataset
from advlab.engine.steps import Batch, build_problem
from advlab.errors import InvalidValue
from advlab.methods._placement import place
from advlab.problem import random
from advlab.results.result import load_result
from advlab.workflows.attack import attack
from advlab.workflows.export import export
from tests.conftest import linear_classifier


def problem_of(x: np.ndarray):
    labels = tf.zeros([len(x)], tf.int32)
    streams = random.streams(0, 0, tf.range(len(x)))
    batch = Batch(tf.constant(x), labels, labels - 1, labels - 1, streams, labels, tf.constant(x))
    return build_problem(batch, "none", tf.constant(np.inf, tf.float64), lambda x: x)


def test_a_patch_neither_turned_nor_scaled_is_copied_to_every_place_where_it_fits():
    x = np.zeros((400, 7, 6, 3), np.float32)
    patch = np.random.default_rng(0).uniform(0.1, 1, (3, 3, 3)).astype(np.float32)
    shown = place(problem_of(x), tf.constant(patch[None]), 0, 0.0, 0.0).numpy()
    corners = set()
    for image in shown:
        rows, columns = np.nonzero(image[..., 0])
        row, column = rows.min(), columns.min()
        np.testing.assert_allclose(image[row : row + 3, column : column + 3], patch, atol=1e-6)
        assert np.count_nonzero(image[..., 0]) == 9
        corners.add((row, column))
    assert corners == {(row, column) for row in range(5) for column in range(4)}


def test_turned_and_scaled_it_keeps_its_area_and_its_colours_and_the_rest_of_the_image():
    x = np.full((200, 40, 40, 1), 0.25, np.float32)
    patch = np.full((1, 12, 12, 1), 0.75, np.float32)
    shown = place(problem_of(x), tf.constant(patch), 3, 45.0, 0.25).numpy()
    assert set(np.unique(shown)) == {np.float32(0.25), np.float32(0.75)}
    sides = np.sqrt((shown == 0.75).sum((1, 2, 3)))
    assert sides.min() == pytest.approx(9, abs=1.2)
    assert sides.max() == pytest.approx(15, abs=1.2)


def test_a_quarter_turn_is_exact():
    """At 90 degrees either way, where the draw says so, the patch is the same as one that was turned before."""
    x, patch = np.zeros((1, 8, 8, 1), np.float32), np.arange(1, 65, dtype=np.float32).reshape(1, 8, 8, 1) / 64
    problem = problem_of(x)
    angle = 2 * random.uniform(problem.streams, 0, 1, 4)[0, 0] - 1
    shown = place(problem, tf.constant(patch), 0, 90.0 / float(angle), 0.0).numpy()
    turned = [np.rot90(patch[0], k)[None] for k in (1, 3)]
    assert min(np.abs(shown - each).max() for each in turned) < 1e-4


def test_where_it_lies_depends_on_nothing_but_seed_index_and_step():
    x, patch = np.zeros((10, 8, 8, 1), np.float32), tf.ones([1, 3, 3, 1])
    whole, part = place(problem_of(x), patch, 5, 20.0, 0.2), place(problem_of(x[:4]), patch, 5, 20.0, 0.2)
    np.testing.assert_array_equal(whole[:4], part)
    assert np.any(place(problem_of(x), patch, 6, 20.0, 0.2) != whole)


def test_on_a_linear_classifier_a_patch_as_large_as_the_image_is_black_and_white_by_the_weights():
    classifier = linear_classifier(2)
    x = np.random.default_rng(0).uniform(0.4, 0.6, (20, 6, 6, 1)).astype(np.float32)
    one_class = Dataset("grey", "test", x, np.zeros(20, np.int64), np.arange(20), ("a", "b"))
    result = attack(classifier, one_class, "patch", side=6, rotation=0.0, scaling=0.0, bound=1e9, epochs=60)
    weights = classifier.keras_model.get_weights()[0]
    expected = (weights[:, 1] > weights[:, 0]).reshape(6, 6, 1).astype(float)
    np.testing.assert_allclose(result.patch, expected, atol=1e-6)
    np.testing.assert_allclose(result.x_adv, np.broadcast_to(expected, x.shape), atol=1e-6)


def test_it_fools_far_more_images_than_random_pixels(trained, digits):
    few, half = digits.take(100), {"side": 14, "epochs": 30}
    patch, control = (attack(trained, few, "patch", **half, **options) for options in ({}, {"learning_rate": 0.0}))
    assert patch.success.mean() > control.success.mean() + 0.25
    assert attack(trained, few, "patch", epochs=1).patch.shape == (11, 11, 1)


def test_it_draws_images_to_a_target(trained, digits):
    options = {"side": 20, "target": 8, "epochs": 30}
    few = digits.take(100)
    patch, control = (attack(trained, few, "patch", **options, **more) for more in ({}, {"learning_rate": 0.0}))
    assert patch.success[patch.attempted].mean() > control.success[patch.attempted].mean() + 0.2


def test_it_is_stored_and_printed(trained, digits, tmp_path):
    result = attack("digits", digits.take(20), "patch", epochs=2, output=tmp_path / "a.h5")
    np.testing.assert_array_equal(load_result(tmp_path / "a.h5").patch, result.patch)
    assert export(tmp_path / "a.h5", patch=tmp_path / "patch.png") == (tmp_path / "patch.png",)
    picture = np.asarray(Image.open(io.BytesIO((tmp_path / "patch.png").read_bytes())))
    assert picture.shape == (517, 517)
    np.testing.assert_array_equal(picture[::47, ::47], np.rint(255 * result.patch[..., 0]))


def test_what_cannot_be_is_refused(trained, digits, tmp_path):
    few = digits.take(4)
    with pytest.raises(InvalidValue, match="larger than the image: its side is 29 pixels, the image's shorter one 28"):
        attack(trained, few, "patch", side=29)
    with pytest.raises(InvalidValue, match="takes no mask"):
        attack(trained, few, "patch", mask=np.ones((28, 28)))
    with pytest.raises(InvalidValue, match=r"has no patch to print\. Make one with the method 'patch'"):
        export(attack(trained, few, "fgsm"), patch=tmp_path / "patch.png")
