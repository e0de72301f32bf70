"""What a data set is, where it comes from, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from advlab import load_dataset
from advlab.datasets import Dataset
from advlab.download import SOURCES
from advlab.errors import InvalidFile, InvalidValue, UnknownName
from advlab.inventory import DATASETS

MNIST_TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
MNIST_TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def made(x: object = None, y: object = None, n: int = 20) -> Dataset:
    """A small valid data set of three classes, with ``x`` or ``y`` replaced."""
    x = np.random.default_rng(0).random((n, 4, 5, 1), np.float32) if x is None else x
    return Dataset.from_arrays(x, np.arange(n) % 3 if y is None else y, ["a", "b", "c"])


# The type


def test_arrays_are_normalised_and_read_only():
    x, y = np.full((3, 4, 5), 0.5), np.array([[0], [2], [1]], np.uint8)
    dataset = made(x, y)
    assert dataset.x.dtype == np.float32
    assert dataset.x.shape == (3, 4, 5, 1)
    assert (dataset.y.dtype, dataset.y.tolist()) == (np.int64, [0, 2, 1])
    assert (dataset.indices.dtype, dataset.indices.tolist()) == (np.int64, [0, 1, 2])
    for array in (dataset.x, dataset.y, dataset.indices):
        assert array.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_the_callers_arrays_stay_writable_and_apart():
    x = np.zeros((3, 4, 5, 1), np.float32)
    dataset = made(x, [0, 1, 2])
    x[:] = 1
    assert dataset.x.max() == 0


def test_a_transposed_array_is_made_contiguous():
    x = np.random.default_rng(0).random((5, 4, 3), np.float32)
    x.flags.writeable = False
    dataset = made(x.T, [0, 1, 2])
    assert dataset.x.flags.c_contiguous
    np.testing.assert_array_equal(dataset.x[..., 0], x.T)


def test_repr_and_shape():
    assert repr(made()) == "Dataset arrays test: 20 images 4x5x1, 3 classes"
    assert made().shape == (4, 5, 1)
    assert len(made()) == 20


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.full((20, 4, 5), 255, np.uint8), r"type uint8.*0-255: divide by 255"),
        (np.full((20, 4, 5), 255.0), r"from 255 to 255.*0-255: divide by 255"),
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
        made(x)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.arange(20) % 5, r"label 3 at index 3, outside 0\.\.2"),
        (np.arange(20) % 3 - 1, r"label -1 at index 0, outside 0\.\.2"),
        (np.eye(3)[np.arange(20) % 3], r"shape \(20, 3\).*one-hot"),
        (np.zeros(20), r"type float64"),
        (np.zeros(19, int), r"20 images, 19 labels"),
    ],
)
def test_bad_labels_are_refused_with_the_first_one_named(y: np.ndarray, message: str):
    with pytest.raises(InvalidValue, match=message):
        made(y=y)


def test_without_class_names_the_labels_name_the_classes():
    assert Dataset.from_arrays(np.zeros((2, 4, 5)), [0, 3]).classes == ("0", "1", "2", "3")
    with pytest.raises(InvalidValue, match="label 999999999"):
        Dataset.from_arrays(np.zeros((2, 4, 5)), [0, 999_999_999])


def test_take_is_the_first_n():
    dataset = made()
    assert dataset.take(5).indices.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(dataset.take(5).x, dataset.x[:5])


def test_take_with_a_seed_draws_without_replacement_in_order_and_nested():
    dataset = made()
    few, many = dataset.take(5, seed=1), dataset.take(12, seed=1)
    assert few.indices.tolist() == sorted(set(few.indices.tolist())) != [0, 1, 2, 3, 4]
    assert set(few.indices) < set(many.indices)
    assert few.indices.tolist() == dataset.take(5, seed=1).indices.tolist() != dataset.take(5, seed=2).indices.tolist()
    np.testing.assert_array_equal(few.x, dataset.x[few.indices])
    np.testing.assert_array_equal(few.y, dataset.y[few.indices])


def test_indices_keep_pointing_into_the_full_split():
    dataset = made()
    drawn = dataset.take(12, seed=1)
    assert drawn.take(3).indices.tolist() == drawn.indices[:3].tolist()


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("n", [None, 20, 1000])
def test_take_of_more_than_there_is_gives_everything(n: int | None, seed: int | None):
    assert made().take(n, seed).indices.tolist() == list(range(20))


@pytest.mark.parametrize(("n", "seed"), [(0, None), (-1, None), (2.5, None), (True, None), (3, -1), (3, "x")])
def test_take_refuses_what_is_no_number_of_samples_or_seed(n: object, seed: object):
    with pytest.raises(InvalidValue, match="must be a whole number"):
        made().take(n, seed)


def test_digest_depends_on_images_labels_and_indices_only_and_on_each():
    dataset = made()
    x, y = dataset.x.copy(), dataset.y.copy()
    x[3, 2, 1], y[3] = 0, 1
    changed = [made(x), made(y=y), made(dataset.x.reshape(20, 5, 4)), dataset.take(19)]
    moved = Dataset("arrays", "test", dataset.x, dataset.y, dataset.indices + 1, dataset.classes)
    assert len({data.digest for data in (dataset, moved, *changed)}) == 6
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
    code = "import sys, advlab.datasets; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "advlab.datasets" in loaded
    assert not loaded & {"h5py", "sklearn", "PIL", "tqdm", "tensorflow", "keras", "http.client", "ssl"}


# The user's own arrays


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    return tmp_path / "own.npz"


def test_npz_of_images_labels_and_class_names(npz: Path):
    data = made()
    np.savez(npz, x=data.x[..., 0], y=data.y.astype(np.uint8), classes=["cat", "dog", "Äffin"])
    dataset = load_dataset(npz, limit=6)
    assert (dataset.name, dataset.split, dataset.classes) == (str(npz), "test", ("cat", "dog", "Äffin"))
    assert dataset.digest == data.take(6).digest


def test_npz_with_both_splits_counts_classes_over_both(npz: Path):
    data = made()
    np.savez_compressed(npz, x_train=data.x, y_train=data.y, x_test=data.x[:2], y_test=data.y[:2])
    assert len(load_dataset(npz, split="train")) == 20
    test = load_dataset(npz)
    assert (len(test), test.classes) == (2, ("0", "1", "2"))


def test_npz_without_splits_is_never_both_trained_and_tested_on(npz: Path):
    np.savez(npz, x=made().x, y=made().y)
    with pytest.raises(InvalidFile, match=r"no train split, only x, y.*x_train"):
        load_dataset(npz, split="train")


def test_npz_with_255_style_images_names_the_cause(npz: Path):
    np.savez(npz, x=np.full((2, 4, 5), 200, np.uint8), y=[0, 1])
    with pytest.raises(InvalidValue, match="divide by 255"):
        load_dataset(npz)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros(3), "y": np.zeros(3, int)}, "no test split, only a, y"),
        ({"x": np.array([{}, []], object), "y": np.zeros(2, int)}, "allow_pickle|Object arrays"),
    ],
)
def test_npz_without_the_expected_arrays_is_refused(npz: Path, arrays: dict[str, np.ndarray], message: str):
    np.savez(npz, **arrays)
    with pytest.raises(InvalidFile, match=rf"{message}.*numpy\.savez"):
        load_dataset(npz)


def test_a_truncated_damaged_or_foreign_npz_is_refused(npz: Path):
    np.savez(npz, x=made().x, y=made().y)
    whole = npz.read_bytes()
    damaged = bytearray(whole)
    damaged[500] ^= 255
    for content in (whole[:-50], whole[:300], bytes(damaged), b"", b"hello"):
        npz.write_bytes(content)
        with pytest.raises(InvalidFile, match=r"numpy\.savez"):
            load_dataset(npz)


def test_a_path_that_does_not_exist(tmp_path: Path):
    for name in ("absent.npz", "absent/"):
        with pytest.raises(InvalidFile, match=r"No data set at .*digits"):
            load_dataset(f"{tmp_path}/{name}")


# The user's own images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "images"
    made.mkdir()
    return made


def picture(path: Path, value: int = 0, mode: str = "L", size: tuple[int, int] = (5, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = value if mode in ("L", "I;16", "P", "1") else (value,) * len(mode)
    Image.new(mode, size, colour).save(path)
    return path


def test_folder_of_images_by_class_takes_the_classes_in_turn(folder: Path):
    for i in range(3):
        picture(folder / "dog" / f"{i}.png", 100 + i)
    picture(folder / "cat" / "only.PNG", 51)
    (folder / "notes").mkdir()
    (folder / "dog" / ".hidden.png").write_text("no image")
    (folder / "dog" / "notes.txt").write_text("no image")
    dataset = load_dataset(folder)
    assert dataset.classes == ("cat", "dog")
    assert dataset.shape == (4, 5, 1)
    assert dataset.y.tolist() == [0, 1, 1, 1]
    np.testing.assert_array_equal(dataset.x[:, 0, 0, 0], np.float32([51, 100, 101, 102]) / np.float32(255))
    assert load_dataset(folder, limit=2, seed=1).digest == dataset.take(2, seed=1).digest


def test_folder_with_splits_shares_the_classes_between_them(folder: Path):
    for class_name in ("a", "b", "c"):
        picture(folder / "train" / class_name / "1.png")
    picture(folder / "test" / "c" / "1.png")
    train, test = load_dataset(folder, split="train"), load_dataset(folder, split="test")
    assert train.classes == test.classes == ("a", "b", "c")
    assert (train.y.tolist(), test.y.tolist()) == ([0, 1, 2], [2])


def test_a_class_may_be_called_train(folder: Path):
    picture(folder / "train" / "1.png")
    picture(folder / "plane" / "1.png")
    assert load_dataset(folder).classes == ("plane", "train")


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("LA", 1), ("1", 1), ("RGB", 3), ("RGBA", 3), ("P", 3)])
def test_images_are_grey_or_colour(folder: Path, mode: str, channels: int):
    picture(folder / "a" / "1.png", 1, mode)
    assert load_dataset(folder).shape == (4, 5, channels)


def test_one_coloured_image_makes_all_three_channels_whatever_the_limit(folder: Path):
    picture(folder / "a" / "1.png", 7)
    picture(folder / "a" / "2.png", 9, "RGB")
    assert load_dataset(folder, limit=1).x[0, 0, 0].tolist() == [np.float32(7) / np.float32(255)] * 3


def test_images_of_different_sizes_or_16_bits_are_refused_by_name(folder: Path):
    picture(folder / "a" / "1.png")
    odd = picture(folder / "a" / "2.png", size=(6, 4))
    with pytest.raises(InvalidFile, match=r"2\.png' is 6 x 4 pixels.* the first image 5 x 4"):
        load_dataset(folder)
    odd.unlink()
    picture(odd, mode="I;16")
    with pytest.raises(InvalidFile, match=r"2\.png' .*type I.*8 bits"):
        load_dataset(folder)


def test_a_truncated_or_foreign_image_is_refused_by_name(folder: Path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    path = folder / "a" / "1.png"
    path.parent.mkdir()
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    for content in (whole[:600], whole[:20], b"", b"hello"):
        path.write_bytes(content)
        with pytest.raises(InvalidFile, match=r"Cannot read the image '.*1\.png'"):
            load_dataset(folder)


def test_a_folder_without_images_of_the_split_says_where_they_belong(folder: Path):
    with pytest.raises(InvalidFile, match=r"no images of the test split.*one folder a class: '.*/<class>/1\.png'"):
        load_dataset(folder)
    picture(folder / "a" / "1.png")
    with pytest.raises(InvalidFile, match=r"no images of the train split.*'.*/train/<class>/1\.png'"):
        load_dataset(folder, split="train")


# The official files


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "split", "counts"),
    [
        ("mnist", "train", MNIST_TRAIN),
        ("mnist", "test", MNIST_TEST),
        ("fashion-mnist", "train", [6000] * 10),
        ("fashion-mnist", "test", [1000] * 10),
    ],
)
def test_official_label_counts(name: str, split: str, counts: list[int]):
    dataset = load_dataset(name, split=split)
    assert np.bincount(dataset.y).tolist() == counts
    assert dataset.x.shape == (sum(counts), 28, 28, 1)
    assert (dataset.x.min(), dataset.x.max()) == (0, 1)
    assert dataset.classes == SOURCES[name].classes


@pytest.mark.real_data
def test_fashion_test_image_6_is_a_coat():
    dataset = load_dataset("fashion-mnist", limit=7)
    assert dataset.classes[dataset.y[6]] == "Coat"
    assert repr(load_dataset("fashion-mnist")) == "Dataset fashion-mnist test: 10000 images 28x28x1, 10 classes"


@pytest.mark.real_data
def test_a_limited_load_equals_the_start_of_the_whole():
    assert load_dataset("mnist", limit=100, seed=5).digest == load_dataset("mnist").take(100, seed=5).digest
