"""Noise images, and the class ``unknown`` that is trained on them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import advlab
from advlab import load_dataset
from advlab.data.dataset import Dataset
from advlab.data.noise import SYNTHETIC_DISTRIBUTIONS, TRAINING_DISTRIBUTIONS, noise_images, shuffled
from advlab.declarations.methods import load_method
from advlab.errors import InvalidFile, InvalidValue, UnknownName

SHAPE = (7, 10, 3)


@pytest.mark.parametrize("distribution", SYNTHETIC_DISTRIBUTIONS)
def test_images_have_256_levels_and_a_row_depends_on_seed_and_number_alone(distribution: str):
    x = noise_images(20, SHAPE, distribution, seed=3)
    assert (x.dtype, x.shape) == (np.float32, (20, *SHAPE))
    assert x.min() >= 0
    assert x.max() <= 1
    np.testing.assert_array_equal(x, (x * 255).round().astype(np.uint8) / np.float32(255))
    np.testing.assert_array_equal(x[:5], noise_images(5, SHAPE, distribution, seed=3))
    assert len(np.unique(x.reshape(20, -1), axis=0)) > 15
    assert (x != noise_images(20, SHAPE, distribution, seed=4)).any((1, 2, 3)).sum() > 15


def test_uniform_and_gaussian_noise_have_their_distributions():
    uniform, gaussian = (
        noise_images(200, (28, 28, 1), distribution).astype(np.float64) for distribution in ("uniform", "gaussian")
    )
    assert stats.kstest(uniform.ravel(), "uniform").statistic < 0.01
    assert (gaussian == 0).mean() == pytest.approx(stats.norm.cdf(-2), abs=0.003)
    inner = gaussian[(gaussian > 0) & (gaussian < 1)]
    expected = stats.truncnorm(-2, 2, loc=0.5, scale=0.25)
    assert stats.kstest(inner, expected.cdf).statistic < 0.01


def test_salt_and_pepper_is_black_or_white_in_all_channels_at_even_odds():
    x = noise_images(100, SHAPE, "salt-and-pepper")
    assert set(np.unique(x)) == {0, 1}
    assert (x == x[..., :1]).all()
    assert x[..., 0].mean() == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(7000))


def test_the_distributions_of_one_seed_are_independent():
    first = np.stack([noise_images(1000, (4, 4, 1), name)[:, 0, 0, 0] for name in SYNTHETIC_DISTRIBUTIONS])
    assert np.abs(np.corrcoef(first) - np.eye(5)).max() < 0.12


def test_a_constant_image_has_one_grey_level():
    x = noise_images(1000, SHAPE, "constant").reshape(1000, -1)
    assert (x == x[:, :1]).all()
    assert stats.kstest(x[:, 0], "uniform").pvalue > 0.01


def test_smooth_noise_is_linear_between_the_points_of_a_4_by_4_grid():
    x = noise_images(50, (7, 10, 3), "smooth").astype(np.float64)  # a grid point at each second row and third column
    level = 1 / 255
    between_rows = (x[:, 0:-1:2] + x[:, 2::2]) / 2
    np.testing.assert_allclose(x[:, 1::2], between_rows, atol=1.01 * level)
    np.testing.assert_allclose(x[:, :, 1:9:3], (2 * x[:, :, 0:9:3] + x[:, :, 3::3]) / 3, atol=1.01 * level)
    assert stats.kstest(x[:, ::2, ::3].ravel(), "uniform").statistic < 0.05


def test_shuffling_keeps_the_colours_of_an_image_and_depends_on_it_alone():
    images = np.random.default_rng(0).random((4, *SHAPE)).astype(np.float32)
    permuted = shuffled(images, seed=1)
    for before, after in zip(images.reshape(4, -1, 3), permuted.reshape(4, -1, 3), strict=True):
        assert sorted(before.tolist()) == sorted(after.tolist())
        assert (before == after).all(1).sum() < 10
    np.testing.assert_array_equal(permuted[:2], shuffled(images[:2], seed=1))
    assert (permuted != shuffled(images, seed=2)).any((1, 2, 3)).all()


def test_the_distributions_have_the_names_of_the_attack_method():
    assert load_method("noise").choices["distribution"] == TRAINING_DISTRIBUTIONS


@pytest.mark.parametrize(("n", "seed"), [(0, 0), (-1, 0), (2.5, 0), (True, 0), (3, -1)])
def test_invalid_numbers_and_seeds_are_refused(n, seed):
    with pytest.raises(InvalidValue, match="must be an int in"):
        noise_images(n, SHAPE, seed=seed)


def test_an_unknown_distribution_gets_the_nearest_one():
    with pytest.raises(UnknownName, match=r"Unknown distribution of noise 'gausian'. Did you mean 'gaussian'\?"):
        noise_images(1, SHAPE, "gausian")
    with pytest.raises(UnknownName, match="smooth"):
        noise_images(1, SHAPE, "shuffled")


# The data sets with an eleventh class


@pytest.fixture(scope="module")
def noisy() -> Dataset:
    return load_dataset("digits+noise")


def test_after_every_ten_images_comes_one_of_the_class_unknown(noisy: Dataset):
    digits = load_dataset("digits")
    unknown = noisy.y == 10
    assert noisy.classes == (*digits.classes, "unknown")
    assert (len(noisy), unknown.sum()) == (449 + 44, 44)
    assert (np.flatnonzero(unknown) == np.arange(10, 493, 11)).all()
    np.testing.assert_array_equal(noisy.x[~unknown], digits.x)
    np.testing.assert_array_equal(noisy.y[~unknown], digits.y)
    assert (noisy.indices == np.arange(493)).all()
    assert noisy.name == "digits+noise"


def test_the_three_distributions_alternate(noisy: Dataset):
    noise = noisy.x[noisy.y == 10]
    assert [len(np.unique(x)) == 2 for x in noise] == [turn % 3 == 2 for turn in range(44)]
    # A Gaussian image is grey more often than a uniform one.
    grey = [(np.abs(x - 0.5) < 0.25).mean() for x in noise]
    assert max(grey[0::3]) < 0.6 < min(grey[1::3])


def test_limit_and_seed_are_those_of_take(noisy: Dataset):
    for limit, seed in ((30, None), (30, 4), (10_000, None)):
        assert load_dataset("digits+noise", limit=limit, seed=seed).digest == noisy.take(limit, seed).digest
    assert np.bincount(noisy.take(110).y)[10] == 10


def test_the_noise_of_training_of_testing_and_of_the_evaluation_differ(noisy: Dataset):
    train = load_dataset("digits+noise", split="train")
    assert np.bincount(train.y)[10] == 1348 // 10
    trained = [x.tobytes() for x in train.x[train.y == 10]]
    tested = [x.tobytes() for x in noisy.x[noisy.y == 10]]
    evaluated = [x.tobytes() for name in TRAINING_DISTRIBUTIONS for x in noise_images(1000, noisy.shape, name)]
    assert len(set(trained + tested + evaluated)) == len(trained) + len(tested) + len(evaluated)


def test_the_users_own_images_get_noise_too(tmp_path: Path):
    x, y = np.random.default_rng(0).random((25, 4, 5, 3)), np.arange(25) % 3
    np.savez(tmp_path / "own.npz", x=x, y=y, classes=["a", "b", "c"])
    own = load_dataset(f"{tmp_path / 'own.npz'}+noise")
    assert (own.shape, own.classes) == ((4, 5, 3), ("a", "b", "c", "unknown"))
    assert np.flatnonzero(own.y == 3).tolist() == [10, 21]


def test_a_file_of_such_a_name_is_read_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with Path("own+noise").open("wb") as file:
        np.savez(file, x=np.zeros((2, 4, 4)), y=np.arange(2))
    assert len(load_dataset("own+noise").classes) == 2


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("fashion-minst+noise", UnknownName, r"Unknown data set 'fashion-minst'. Did you mean 'fashion-mnist'"),
        ("none.npz+noise", InvalidFile, r"No data set at 'none.npz'"),
        ("digits+noise+noise", InvalidValue, "has a class 'unknown' already"),
    ],
)
def test_a_base_that_cannot_get_noise_is_refused(name: str, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        load_dataset(name)


def test_too_few_images_are_refused(tmp_path: Path):
    np.savez(tmp_path / "few.npz", x=np.zeros((9, 4, 4)), y=np.arange(9))
    with pytest.raises(InvalidValue, match="fewer than 10 images"):
        load_dataset(f"{tmp_path / 'few.npz'}+noise")


def test_the_listing_of_data_sets_mentions_them():
    assert "unknown" in advlab.available("datasets")["<dataset>+noise"]


def test_the_recipe_is_that_of_fashion_on_other_data():
    from advlab.declarations.recipes import load_recipe

    base, other = load_recipe("fashion"), load_recipe("fashion-unknown")
    assert other.dataset == f"{base.dataset}+noise"
    same = {"dataset": base.dataset, "name": base.name, "title": base.title, "source": base.source, "classes": None}
    assert replace(other, **same, published=base.published) == base
