"""Data sets from the user's files, and the official ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from advlab import load_dataset
from advlab.data.images import load_image
from advlab.data.official import SOURCES
from advlab.errors import AdvlabWarning, InvalidFile, InvalidValue, UnknownName
from tests.test_datasets import small_dataset

MNIST_TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
MNIST_TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]

# The user's own arrays


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    return tmp_path / "own.npz"


def test_npz_of_images_labels_and_class_names(npz: Path):
    data = small_dataset()
    np.savez(npz, x=data.x[..., 0], y=data.y.astype(np.uint8), classes=["cat", "dog", "Äffin"])
    dataset = load_dataset(npz, limit=6)
    assert (dataset.name, dataset.split, dataset.classes) == (str(npz), "test", ("cat", "dog", "Äffin"))
    assert dataset.digest == data.take(6).digest


def test_npz_with_both_splits_counts_classes_over_both(npz: Path):
    data = small_dataset()
    np.savez_compressed(npz, x_train=data.x, y_train=data.y, x_test=data.x[:2], y_test=data.y[:2])
    assert len(load_dataset(npz, split="train")) == 20
    test = load_dataset(npz)
    assert (len(test), test.classes) == (2, ("0", "1", "2"))


def test_npz_without_splits_is_never_both_trained_and_tested_on(npz: Path):
    np.savez(npz, x=small_dataset().x, y=small_dataset().y)
    with pytest.raises(InvalidFile, match=r"no train split, only x, y.*x_train"):
        load_dataset(npz, split="train")


def test_npz_of_integers_is_divided_and_of_other_ranges_asked_about(npz: Path):
    np.savez(npz, x=np.full((2, 4, 5), 51, np.uint8), y=[0, 1])
    with pytest.warns(AdvlabWarning, match="uint8 are taken as 0-255"):
        assert load_dataset(npz).x.max() == np.float32(0.2)
    np.savez(npz, x=np.full((2, 4, 5), 255.0), y=[0, 1])
    with pytest.raises(InvalidValue, match="divide by 255"):
        load_dataset(npz)
    assert load_dataset(npz, value_range=(0, 510)).x.max() == 0.5


def test_npz_of_one_hot_labels_or_names(npz: Path):
    names = np.array(["owl", "cat", "owl"])
    for y, classes in ((np.eye(3)[[1, 0, 1]], ("0", "1", "2")), (names, ("cat", "owl"))):
        np.savez(npz, x_train=np.zeros((3, 4, 5)), y_train=y, x_test=np.zeros((1, 4, 5)), y_test=y[:1])
        dataset = load_dataset(npz)
        assert (dataset.y.tolist(), dataset.classes) == ([1], classes)
    assert load_dataset(npz, classes=["owl", "dog", "cat"], split="train").y.tolist() == [0, 2, 0]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros(3), "y": np.zeros(3, int)}, "no test split, only a, y"),
        ({"x": np.array([{}, []], object), "y": np.zeros(2, int)}, "holds objects, not numbers"),
    ],
)
def test_npz_without_the_expected_arrays_is_refused(npz: Path, arrays: dict[str, np.ndarray], message: str):
    np.savez(npz, **arrays)
    with pytest.raises(InvalidFile, match=rf"{message}.*numpy\.savez"):
        load_dataset(npz)


def test_a_truncated_damaged_or_foreign_npz_is_refused(npz: Path):
    np.savez(npz, x=small_dataset().x, y=small_dataset().y)
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
    path = tmp_path / "images"
    path.mkdir()
    return path


def picture(path: Path, value: int = 0, mode: str = "L", size: tuple[int, int] = (5, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = value if mode in ("L", "I;16", "P", "1") else (value,) * len(mode)
    Image.new(mode, size, colour).save(path)
    return path


def test_classes_of_a_folder_alternate(folder: Path):
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
    picture(folder / "a" / "1.png", 255, mode)
    assert load_dataset(folder).shape == (4, 5, channels)


def test_transparent_parts_become_white_with_a_warning(folder: Path):
    picture(folder / "a" / "1.png", 0, "RGBA")
    with pytest.warns(AdvlabWarning, match="1 of 1 images .*transparent parts made white"):
        assert load_dataset(folder).x.min() == 1


def test_folders_called_by_whole_numbers_are_the_labels(folder: Path):
    for number in (*range(13), 42):
        picture(folder / str(number) / "1.png", number)
    dataset = load_dataset(folder)
    assert dataset.y.tolist() == [*range(13), 42], "by number and not by text"
    np.testing.assert_array_equal(np.rint(255 * dataset.x[:, 0, 0, 0]), dataset.y)
    assert len(dataset.classes) == 43


def test_a_folder_with_some_of_the_numbers_keeps_them(folder: Path):
    for number in ("00007", "00009"):
        picture(folder / number / "1.png")
    assert load_dataset(folder).y.tolist() == [7, 9]
    dataset = load_dataset(folder, classes=[f"sign {number}" for number in range(12)])
    assert (dataset.y.tolist(), dataset.classes[9]) == ([7, 9], "sign 9")


def test_a_folder_with_some_of_the_classes_has_the_numbers_of_the_model(folder: Path):
    for name in ("truck", "bird"):
        picture(folder / name / "1.png")
    classes = ["plane", "car", "bird", "truck"]
    assert load_dataset(folder, classes=classes).y.tolist() == [2, 3]
    picture(folder / "brid" / "1.png")
    with pytest.raises(UnknownName, match=r"'brid'\. Did you mean 'bird'"):
        load_dataset(folder, classes=classes)


def test_images_of_a_folder_are_made_to_fit_a_model_with_a_warning(folder: Path):
    picture(folder / "a" / "1.png", 51, size=(8, 8))
    picture(folder / "a" / "2.png", 51, "RGB", size=(9, 7))
    picture(folder / "a" / "3.png", 51, size=(5, 4))
    with pytest.warns(AdvlabWarning, match=r"2 of 3 images of .*: resized to 5 x 4 pixels, such as .*1\.png"):
        dataset = load_dataset(folder, shape=(4, 5, 1))
    assert dataset.shape == (4, 5, 1)
    np.testing.assert_allclose(dataset.x, 0.2, atol=1e-6)
    with pytest.raises(InvalidFile, match=r"9 x 7 pixels, the first image 8 x 8.*shape="):
        load_dataset(folder, shape=(None, None, 1))


def test_photos_of_a_folder_are_turned_upright_as_single_ones_are(folder: Path):
    path, exif = picture(folder / "a" / "1.png", size=(5, 4)), Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    Image.fromarray(np.arange(20, dtype=np.uint8).reshape(4, 5)).save(path, exif=exif)
    dataset = load_dataset(folder)
    assert dataset.shape == (5, 4, 1)
    np.testing.assert_array_equal(dataset.x[0], load_image(path, (None, None, 1))[0])


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
