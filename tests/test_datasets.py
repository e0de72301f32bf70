"""The type ``Dataset``, and the data sets that come with the library."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from advlab import load_dataset
from advlab.data.loading import Dataset
from advlab.data.official import DATASETS
from advlab.errors import AdvlabWarning, InvalidValue, UnknownName


def small_dataset(x: object = None, y: object = None, n: int = 20) -> Dataset:
    """A small valid data set of three classes, with ``x`` or ``y`` replaced."""
    x = np.random.default_rng(0).random((n, 4, 5, 1), np.float32) if x is None else x
    return Dataset.from_arrays(x, np.arange(n) % 3 if y is None else y, ["a", "b", "c"])


# The type


def test_arrays_are_normalised_and_read_only():
    x, y = np.full((3, 4, 5), 0.5), np.array([[0], [2], [1]], np.uint8)
    dataset = small_dataset(x, y)
    assert dataset.x.dtype == np.float32
    assert dataset.x.shape == (3, 4, 5, 1)
    assert (dataset.y.dtype, dataset.y.tolist()) == (np.int64, [0, 2, 1])
    assert (dataset.indices.dtype, dataset.indices.tolist()) == (np.int64, [0, 1, 2])
    for array in (dataset.x, dataset.y, dataset.indices):
        assert array.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_the_callers_arrays_stay_writable_and_are_not_shared():
    x = np.zeros((3, 4, 5, 1), np.float32)
    dataset = small_dataset(x, [0, 1, 2])
    x[:] = 1
    assert dataset.x.max() == 0


def test_a_transposed_array_is_made_contiguous():
    x = np.random.default_rng(0).random((5, 4, 3), np.float32)
    x.flags.writeable = False
    dataset = small_dataset(x.T, [0, 1, 2])
    assert dataset.x.flags.c_contiguous
    np.testing.assert_array_equal(dataset.x[..., 0], x.T)


def test_repr_and_shape():
    assert repr(small_dataset()) == "Dataset arrays test: 20 images 4x5x1, 3 classes"
    assert small_dataset().shape == (4, 5, 1)
    assert len(small_dataset()) == 20


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones((20, 4, 5), np.uint8), r"pixels 0 and 1 alone.*value_range=\(0, 255\)"),
        (np.full((20, 4, 5), 60_000, np.uint16), r"from 60000 to 60000.*value_range=\(0, 65535\)"),
        (np.full((20, 4, 5), 255.0), r"from 255 to 255.*0-255: divide by 255.*value_range=\(0, 255\)"),
        (np.full((20, 4, 5), -0.5), r"from -0.5 to -0.5.*standardised"),
        (np.full((20, 4, 5), 1e300), r"to inf, not in \[0, 1\]"),
        (np.where(np.arange(20)[:, None, None] == 7, np.nan, np.zeros((20, 4, 5))), r"NaN.*first in image 7"),
        (np.zeros((0, 4, 5)), r"shape \(0, 4, 5\).*at least one"),
        (np.zeros((20, 4)), r"shape \(20, 4\).*\(n, h, w\)"),
        (np.float32(1), r"shape \(\)"),
        (np.zeros((19, 4, 5)), r"19 images, 20 labels"),
    ],
)
def test_bad_images_are_refused_with_the_likely_cause(x: np.ndarray, message: str):
    with pytest.raises(InvalidValue, match=message):
        small_dataset(x)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.arange(20) % 5, r"label 3 at index 3, outside 0\.\.2"),
        (np.arange(20) % 3 - 1, r"label -1 at index 0, outside 0\.\.2"),
        (np.full((20, 3), 1 / 3), r"shape \(20, 3\).*one-hot"),
        (np.full(20, 0.5), r"type float64"),
        (np.arange(20) % 2 * 2 - 1, r"label -1 at index 0.*\(y \+ 1\) // 2"),
        (np.zeros(19, int), r"20 images, 19 labels"),
    ],
)
def test_bad_labels_are_refused_with_the_first_one_named(y: np.ndarray, message: str):
    with pytest.raises(InvalidValue, match=message):
        small_dataset(y=y)


def test_without_class_names_the_labels_name_the_classes():
    assert Dataset.from_arrays(np.zeros((2, 4, 5)), [0, 3]).classes == ("0", "1", "2", "3")
    with pytest.raises(InvalidValue, match="label 999999999"):
        Dataset.from_arrays(np.zeros((2, 4, 5)), [0, 999_999_999])


NUMBERS = np.arange(20) % 3
FORMS_OF_LABELS = {
    "whole floating point": NUMBERS.astype(float),
    "a column": NUMBERS[:, None],
    "one-hot": np.eye(3)[NUMBERS],
    "numbers as text": NUMBERS.astype(str),
    "names": np.array(["cat", "dog", "owl"])[NUMBERS],
    "names as objects": np.array(["cat", "dog", "owl"], object)[NUMBERS],
    "names as bytes": np.array([b"cat", b"dog", b"owl"])[NUMBERS],
}


@pytest.mark.parametrize("form", FORMS_OF_LABELS)
def test_labels_in_every_form_that_means_one_thing(form: str):
    dataset = Dataset.from_arrays(np.zeros((20, 4, 5)), FORMS_OF_LABELS[form])
    assert dataset.y.tolist() == NUMBERS.tolist()
    assert dataset.classes == (("cat", "dog", "owl") if "names" in form else ("0", "1", "2"))


def test_names_have_the_numbers_of_the_classes_that_are_given():
    dataset = Dataset.from_arrays(np.zeros((3, 4, 5)), ["owl", "cat", "owl"], ["owl", "dog", "cat"])
    assert (dataset.y.tolist(), dataset.classes) == ([0, 2, 0], ("owl", "dog", "cat"))
    with pytest.raises(UnknownName, match=r"Unknown class of data set 'arrays': 'owls'. Did you mean 'owl'\?"):
        Dataset.from_arrays(np.zeros((1, 4, 5)), ["owls"], ["owl", "dog"])


def test_one_hot_rows_tell_how_many_classes_there_are():
    assert Dataset.from_arrays(np.zeros((1, 4, 5)), [[0, 1, 0, 0]]).classes == ("0", "1", "2", "3")


@pytest.mark.parametrize("dtype", ["uint8", "int64"])
def test_integers_up_to_255_are_divided_with_a_warning(dtype: str):
    x = np.arange(40).reshape(2, 4, 5).astype(dtype)
    with pytest.warns(AdvlabWarning, match=f"{dtype} are taken as 0-255 and divided by 255"):
        dataset = Dataset.from_arrays(x, [0, 1])
    np.testing.assert_array_equal(dataset.x[..., 0], (x / 255).astype(np.float32))


@pytest.mark.parametrize(("value_range", "low"), [((-1, 1), -1.0), ((0, 255), 0.0), ((0, 65535), 0.0), ((0, 1), 0.0)])
def test_the_range_of_the_pixels_may_be_said(value_range: tuple[float, float], low: float):
    x = np.full((2, 4, 5), low)
    x[1] = value_range[1]
    dataset = Dataset.from_arrays(x, [0, 1], value_range=value_range)
    assert (dataset.x[0].max(), dataset.x[1].min()) == (0, 1)
    with pytest.raises(InvalidValue, match="the lower first"):
        Dataset.from_arrays(x, [0, 1], value_range=(1, 0))


def test_black_and_white_pixels_are_0_and_1():
    assert Dataset.from_arrays(np.ones((1, 4, 5), bool), [0]).x.max() == 1


def test_take_is_the_first_n():
    dataset = small_dataset()
    assert dataset.take(5).indices.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(dataset.take(5).x, dataset.x[:5])


def test_take_with_a_seed_draws_without_replacement_in_order_and_nested():
    dataset = small_dataset()
    few, many = dataset.take(5, seed=1), dataset.take(12, seed=1)
    assert few.indices.tolist() == sorted(set(few.indices.tolist())) != [0, 1, 2, 3, 4]
    assert set(few.indices) < set(many.indices)
    assert few.indices.tolist() == dataset.take(5, seed=1).indices.tolist() != dataset.take(5, seed=2).indices.tolist()
    np.testing.assert_array_equal(few.x, dataset.x[few.indices])
    np.testing.assert_array_equal(few.y, dataset.y[few.indices])


def test_indices_keep_pointing_into_the_full_split():
    dataset = small_dataset()
    drawn = dataset.take(12, seed=1)
    assert drawn.take(3).indices.tolist() == drawn.indices[:3].tolist()


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("n", [None, 20, 1000])
def test_take_of_more_than_there_is_gives_everything(n: int | None, seed: int | None):
    assert small_dataset().take(n, seed).indices.tolist() == list(range(20))


@pytest.mark.parametrize(("n", "seed"), [(0, None), (-1, None), (2.5, None), (True, None), (3, -1), (3, "x")])
def test_take_refuses_invalid_numbers_of_samples_and_seeds(n: object, seed: object):
    with pytest.raises(InvalidValue, match="must be an int"):
        small_dataset().take(n, seed)


def test_digest_depends_on_images_labels_and_indices_only_and_on_each():
    dataset = small_dataset()
    x, y = dataset.x.copy(), dataset.y.copy()
    x[3, 2, 1], y[3] = 0, 1
    changed = [small_dataset(x), small_dataset(y=y), small_dataset(dataset.x.reshape(20, 5, 4)), dataset.take(19)]
    shifted = Dataset("arrays", "test", dataset.x, dataset.y, dataset.indices + 1, dataset.classes)
    assert len({data.digest for data in (dataset, shifted, *changed)}) == 6
    assert dataset.digest == Dataset("other", "train", dataset.x, dataset.y, dataset.indices, ("x", "y", "z")).digest
    assert len(dataset.digest) == 16


# The embedded digits


def test_digits_are_a_fixed_split_of_all_images_of_scikit_learn():
    train, test = load_dataset("digits", split="train"), load_dataset("digits")
    assert (len(train), len(test)) == (1348, 449)
    assert train.shape == test.shape == (28, 28, 1)
    assert test.classes == tuple("0123456789")
    # The labels of scikit-learn's images 3, 7, 11, 15 and of 0, 1, 2, 4.
    assert (test.y[:4].tolist(), train.y[:4].tolist()) == ([3, 7, 1, 5], [0, 1, 2, 4])


def test_digits_use_the_whole_range_in_256_grey_levels():
    x = load_dataset("digits").x
    assert (x.min(), x.max()) == (0, 1)
    np.testing.assert_array_equal(np.round(x * 255).astype(np.float32) / np.float32(255), x)


def test_digits_still_look_like_the_originals():
    from sklearn.datasets import load_digits

    small = load_dataset("digits").x.reshape(-1, 28, 28).reshape(-1, 4, 7, 4, 7).mean((2, 4))
    original = load_digits().images[3::4].reshape(-1, 4, 2, 4, 2).mean((2, 4)) / 16
    assert np.abs(small - original).mean() < 0.05


def test_digits_are_the_same_everywhere():
    assert load_dataset("digits").digest == "93f69909c950beaf"


# Names, splits and limits


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(UnknownName, match=r"data set 'fashion-minst'. Did you mean 'fashion-mnist'\?.*digits.*\.npz"):
        load_dataset("fashion-minst")


@pytest.mark.parametrize("name", [*DATASETS, "some/path.npz"])
def test_an_unknown_split_is_refused_before_anything_is_read(name: str):
    with pytest.raises(InvalidValue, match=r"Unknown split 'val'.*train, test"):
        load_dataset(name, split="val")


def test_limit_and_seed_are_those_of_take():
    whole = load_dataset("digits")
    for seed in (None, 4):
        assert load_dataset("digits", limit=30, seed=seed).digest == whole.take(30, seed).digest


def test_listing_the_names_loads_no_other_library():
    code = "import sys, advlab.data.loading; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "advlab.data.loading" in loaded
    assert not loaded & {"h5py", "sklearn", "PIL", "tqdm", "tensorflow", "keras", "http.client", "ssl"}
