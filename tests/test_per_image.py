"""Masks, epsilons and targets of each image: what an attack may change, how much, and what it has to reach."""

from __future__ import annotations

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
import tensorflow as tf

from advlab.cli import main
from advlab.declarations.methods import load_method, method_names
from advlab.distances import distance
from advlab.errors import AdvlabError, InvalidFile, InvalidValue, UnknownName
from advlab.evaluation.curve import SecurityCurve
from advlab.evaluation.evaluation import evaluate
from advlab.evaluation.table import label
from advlab.problem import random
from advlab.problem.balls import BALLS
from advlab.results.per_image import PerImage, as_mask
from advlab.results.result import load_result
from advlab.workflows.attack import attack
from advlab.workflows.verify import verify
from tests.test_balls import EPSILON, size
from tests.test_linear import direction, margin_drop, smallest
from tests.test_methods import NATIVE, QUICK

LONG_TO_TRACE = ("alma", "ead", "fab")


def marks(name: str, norm: str) -> tuple:
    """Minimal methods take long to trace: each under its first norm every time, under the others thoroughly."""
    method = load_method(name)
    is_long = name in LONG_TO_TRACE or (method.goal == "minimal" and norm != method.norms[0])
    return (pytest.mark.thorough,) if is_long else ()


CASES = [pytest.param(*case.values, marks=marks(*case.values)) for case in NATIVE]
native = pytest.mark.parametrize(("name", "norm"), CASES)


@pytest.fixture(scope="module")
def few(digits):
    return digits.take(12)


@pytest.fixture(scope="module")
def halves(few):
    """For each image another mask: the upper or the lower two thirds."""
    mask = np.zeros((len(few), 28, 28), bool)
    mask[::2, :19], mask[1::2, 9:] = True, True
    return mask


@native
def test_pixels_outside_the_mask_are_those_of_the_clean_image_bit_for_bit(trained, few, halves, name, norm):
    result = attack(trained, few, name, norm=norm, mask=halves, progress=False, **QUICK.get(name, {}))
    np.testing.assert_array_equal(result.x_adv[~halves], result.x[~halves])
    assert np.any(result.x_adv[halves] != result.x[halves])
    if load_method(name).goal == "minimal":
        assert result.success.mean() > 0.7
    elif norm != "none":
        sizes = distance(result.x, result.x_adv, norm)
        assert np.all(sizes <= result.attack.threat.epsilon)
        assert sizes.max() > 0.5 * result.attack.threat.epsilon


@pytest.mark.parametrize("norm", BALLS)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_projection_with_a_mask_is_that_of_the_pixels_that_may_change(norm, channels):
    """The same as to project those pixels alone: the others are cut away, as if the image had never had them."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (20, 4, 4, channels)).astype(np.float32)
    far = x + rng.normal(0, 1, x.shape).astype(np.float32)
    epsilon = tf.constant(EPSILON[norm], tf.float64)
    mask = np.zeros((20, 4, 4, 1), bool)
    mask[:, :, 1:3] = True
    whole = BALLS[norm](tf.constant(x), epsilon, tf.constant(mask)).project(tf.constant(far)).numpy()
    part = BALLS[norm](tf.constant(x[:, :, 1:3]), epsilon).project(tf.constant(far[:, :, 1:3])).numpy()
    np.testing.assert_allclose(whole[:, :, 1:3], part, atol=1e-6)
    np.testing.assert_array_equal(whole[:, :, [0, 3]], x[:, :, [0, 3]])


@pytest.mark.parametrize("norm", BALLS)
def test_random_starts_fill_the_ball_of_the_mask(norm):
    x = np.full((300, 4, 4, 1), 0.5, np.float32)
    key = random.streams(0, 0, tf.range(300))
    mask = np.zeros((300, 4, 4, 1), bool)
    mask[:, 1:, 1:] = True  # not the corner, whose draw no start may depend on

    def draw(number: int, distribution: str) -> tf.Tensor:
        return tf.reshape(getattr(random, distribution)(key, -1, number, 16), x.shape)

    largest = {"linf": 0.1, "l2": 0.3, "l1": 0.3, "l0": 5, "none": 0.5}[norm]
    epsilon = np.inf if norm == "none" else largest
    start = BALLS[norm](tf.constant(x), tf.constant(epsilon, tf.float64), tf.constant(mask)).start(draw).numpy()
    np.testing.assert_array_equal(start[~mask], 0.5)
    sizes = size(start - x, norm)
    assert sizes.max() <= largest
    assert np.mean(sizes) > 0.8 * largest


@pytest.mark.parametrize(("method", "norm"), [("fgsm", "linf"), ("bim", "l2"), ("apgd", "l2"), ("bim", "l1")])
def test_on_a_linear_classifier_a_mask_leaves_the_best_change_of_its_pixels(linear, two, method, norm):
    mask = np.zeros((6, 6), bool)
    mask[2:4, 1:] = True
    result = attack(linear, two, method, norm=norm, epsilon=0.05, mask=mask)
    order = {"linf": 1, "l2": 2, "l1": np.inf}[norm]
    best = 0.05 * np.linalg.norm(direction(linear)[mask.ravel()], ord=order)
    np.testing.assert_allclose(margin_drop(linear, result), best, rtol=1e-3)


@pytest.fixture(scope="module")
def two(grey):
    return replace(grey, y=grey.y % 2, classes=("a", "b"))


@pytest.mark.parametrize(
    ("method", "norm"),
    [("ddn", "l2"), *(pytest.param(*case, marks=pytest.mark.thorough) for case in (("fmn", "linf"), ("fab", "l1")))],
)
def test_a_minimal_method_finds_the_distance_to_the_boundary_within_the_mask(linear, two, method, norm):
    mask = np.zeros((6, 6), bool)
    mask[:, :4] = True
    result = attack(linear, two, method, norm=norm, mask=mask)
    sizes = distance(result.x, result.x_adv, norm)
    reached = np.flatnonzero(result.correct & result.success)
    assert len(reached) >= 8
    for row in reached:
        best = smallest(linear, result.x[row], int(result.labels[row]), norm, mask.ravel())
        assert sizes[row] == pytest.approx(best, rel=0.05)


def test_an_epsilon_of_each_image_bounds_that_image(trained, few):
    epsilon = np.linspace(0.02, 0.2, len(few))
    for name, norm, scale in (("apgd", "l2", 5), ("square", "linf", 1), ("noise", "l0", 100)):
        radii = np.round(epsilon * scale) if norm == "l0" else epsilon * scale
        result = attack(trained, few, name, norm=norm, epsilon_per_image=radii, **QUICK.get(name, {}))
        sizes = distance(result.x, result.x_adv, norm)
        assert np.all(sizes <= radii)
        assert np.all(sizes > 0.5 * radii)
        assert result.attack.threat.epsilon == radii.max()
    single = attack(trained, few.take(1), "pgd", epsilon=float(epsilon[0]), steps=10)
    together = attack(trained, few, "pgd", epsilon_per_image=epsilon, steps=10)
    np.testing.assert_allclose(single.x_adv[0], together.x_adv[0], atol=1e-5)


def test_each_image_has_its_target(trained, few):
    rng = np.random.default_rng(0)
    given = rng.integers(0, 10, len(few))
    given[3] = few.y[3]
    result = attack(trained, few, "pgd", epsilon=0.4, target=given)
    np.testing.assert_array_equal(result.attempted, given != few.y)
    np.testing.assert_array_equal(
        result.success, result.attempted & (result.adversarial_probabilities.argmax(1) == given)
    )
    assert result.success.sum() >= 8
    evaluation = evaluate(result)
    among = result.attempted & result.correct
    assert evaluation.success_rate.value == pytest.approx(result.success[among].mean())


def test_targets_are_chosen_by_the_clean_prediction_or_by_the_seed(trained, few):
    least = attack(trained, few, "fgsm", target="least-likely")
    np.testing.assert_array_equal(least.targets, least.clean_probabilities.argmin(1))
    drawn, again, other = (attack(trained, few, "fgsm", target="random", seed=seed) for seed in (0, 0, 1))
    assert np.all(drawn.targets != few.y)
    np.testing.assert_array_equal(drawn.targets, again.targets)
    assert np.any(drawn.targets != other.targets)
    part = attack(trained, replace(few, x=few.x[5:], y=few.y[5:], indices=few.indices[5:]), "fgsm", target="random")
    np.testing.assert_array_equal(part.targets, drawn.targets[5:])
    assert label(evaluate(drawn)) == "fgsm linf 0.1 target random"


def test_an_archive_keeps_masks_epsilons_and_targets(trained, few, halves, tmp_path):
    epsilon = np.linspace(0.02, 0.2, len(few))
    options = {"mask": halves, "epsilon_per_image": epsilon, "target": "random", "steps": 5}
    result = attack("digits", few, "pgd", output=tmp_path / "a.h5", **options)
    loaded = load_result(tmp_path / "a.h5")
    assert loaded.attack == result.attack
    np.testing.assert_array_equal(loaded.per_image.mask[..., 0], halves)
    np.testing.assert_array_equal(loaded.epsilons, epsilon)
    np.testing.assert_array_equal(loaded.targets, result.targets)
    assert verify(tmp_path / "a.h5").holds
    assert label(evaluate(loaded)) == "pgd linf 0.02-0.2 target random in a mask"
    other = attack("digits", few, "pgd", steps=5, target="random", mask=~halves)
    assert other.attack.slug != result.attack.slug


def test_verify_finds_a_pixel_changed_outside_the_mask(trained, few, halves, tmp_path):
    result = attack("digits", few, "pgd", mask=halves, steps=5)
    x_adv = result.x_adv.copy()
    x_adv[0, 27, 3, 0] += 0.01
    replace(result, x_adv=x_adv).save(tmp_path / "a.h5")
    np.testing.assert_array_equal(verify(tmp_path / "a.h5").outside, [0])


def test_a_mask_that_is_not_the_one_named_is_refused(trained, few, halves, tmp_path):
    result = attack(trained, few, "fgsm", mask=halves)
    replace(result, per_image=PerImage(mask=result.per_image.mask[:1])).save(tmp_path / "a.h5")
    with pytest.raises(InvalidFile, match="are not those that its attack names"):
        load_result(tmp_path / "a.h5")


@pytest.mark.parametrize("name", [n for n in method_names() if not load_method(n).native] + ["universal"])
def test_a_method_that_has_no_place_for_a_mask_says_so(trained, few, halves, name):
    with pytest.raises(InvalidValue, match=f"Method '{name}' .* takes no mask. Leave it out, or choose another"):
        attack(trained, few, name, mask=halves)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.ones((20, 20)), r"shape of an image, \(28, 28\) or \(28, 28, 1\).*Got \(20, 20\)"),
        (np.zeros((28, 28)), "The mask is empty: no pixel may change"),
        (np.ones((12, 28, 28)) * (np.arange(12) != 4)[:, None, None], "of image 4 is empty"),
        (np.full((28, 28), 255), r"0 and 1 .* alone.*Got values from 255 to 255.*mask > 127"),
        (np.full((28, 28), np.nan), "0 and 1"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(trained, few, mask, words):
    with pytest.raises(InvalidValue, match=words):
        attack(trained, few, "fgsm", mask=mask)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3), (7, 4, 5), (7, 4, 5, 3), (4, 5, 1)])
def test_a_mask_is_one_of_all_images_or_of_each_of_all_channels_or_of_each(shape):
    mask = as_mask(np.ones(shape), (7, 4, 5, 3))
    assert np.broadcast_shapes(mask.shape, (7, 4, 5, 3)) == (7, 4, 5, 3)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"epsilon_per_image": [0.1, 0.2]}, InvalidValue, r"each of the 12 images. Got the shape \(2,\)"),
        ({"epsilon_per_image": np.full(12, -0.1)}, InvalidValue, r"range \[0, inf\).*Got values from -0.1"),
        ({"epsilon_per_image": np.full(12, 8.0)}, InvalidValue, "at most 1 with norm 'linf'"),
        ({"epsilon_per_image": np.full(12, 0.1), "epsilon": 0.1}, InvalidValue, "one of the two"),
        ({"target": np.arange(5)}, InvalidValue, "an int for each of the 12 images"),
        ({"target": np.full(12, 10)}, InvalidValue, "class in 0..9. Got 10"),
        ({"target": "leastlikely"}, UnknownName, "Did you mean 'least-likely'"),
    ],
)
def test_epsilons_and_targets_that_do_not_fit_are_refused(trained, few, options, error, words):
    with pytest.raises(error, match=words):
        attack(trained, few, "fgsm", **options)


def test_targets_that_all_equal_the_labels_are_refused(trained, few):
    with pytest.raises(InvalidValue, match="Every target equals its label"):
        attack(trained, few, "fgsm", target=few.y)
    with pytest.raises(InvalidValue, match="has no epsilon"):
        attack(trained, few, "ddn", epsilon_per_image=np.ones(12))


def test_a_curve_needs_one_epsilon(trained, few):
    result = attack(trained, few, "fgsm", epsilon_per_image=np.full(len(few), 0.1))
    with pytest.raises(InvalidValue, match="here each image has its own"):
        SecurityCurve.from_results([result])


def test_the_command_line_takes_a_picture_and_named_targets(tmp_path):
    from click.testing import CliRunner
    from PIL import Image

    mask = np.zeros((28, 28), np.uint8)
    mask[:14] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    words = ["attack", "--model", "digits", "--samples", "8", "--target", "least-likely", "--json"]
    out = str(tmp_path / "a.h5")
    result = CliRunner().invoke(main, [*words, "--mask", str(tmp_path / "mask.png"), "--output", out])
    assert result.exit_code == 0, result.output
    recorded = json.loads(result.stdout)[0]["attack"]
    assert recorded["targets"] == "least-likely"
    with h5py.File(out) as file:
        np.testing.assert_array_equal(file["per_image/mask"][0, :, :, 0], mask > 0)
    Image.fromarray(mask // 2).save(tmp_path / "grey.png")
    with pytest.raises(AdvlabError, match="0 and 1"):
        attack("digits", "digits", "fgsm", samples=8, mask=tmp_path / "grey.png")
