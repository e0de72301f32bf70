"""More images than memory holds: read lazily, crafted in parts, and each step gives what it gives for few."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import advlab
from advlab import lazy, load_dataset, workspace
from advlab.engine.attack import craft
from advlab.errors import AdvlabError, AdvlabWarning, FileExists, InvalidFile, InvalidValue
from advlab.lazy import LazyImages, Spool
from advlab.results.combine import smallest, within, worst_case
from advlab.results.result import load_result

ATTACK = advlab.Attack("pgd", norm="linf", epsilon=0.1, steps=3)


def limit_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, images in {"MOST_IN_MEMORY": 13, "_PART_BYTES": 6, "_BATCH_BYTES": 4}.items():
        monkeypatch.setattr(lazy, name, images * 36 * 4)


@pytest.fixture
def few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory holds 13 of the images of 6 x 6; 6 are attacked at a time, and 4 read."""
    limit_memory(monkeypatch)


def arrays(result) -> dict[str, np.ndarray]:
    names = ("x", "x_adv", "labels", "indices", "clean_probabilities", "adversarial_probabilities", "attempted")
    return {name: np.asarray(getattr(result, name)) for name in (*names, "forward_passes", "backward_passes")}


def assert_equal(one, other) -> None:
    for (name, array), expected in zip(arrays(one).items(), arrays(other).values(), strict=True):
        np.testing.assert_allclose(array, expected, atol=1e-6, err_msg=name)
    assert one.diagnostics.arrays().keys() == other.diagnostics.arrays().keys()
    np.testing.assert_array_equal(one.diagnostics.unchanged, other.diagnostics.unchanged)
    np.testing.assert_allclose(one.diagnostics.loss_trace, other.diagnostics.loss_trace, atol=1e-5)


# Lazy images


def test_lazy_images_are_indexed_like_an_array():
    x = np.random.default_rng(0).random((10, 3, 4, 1)).astype(np.float32)
    images = LazyImages(x.shape, lambda rows: x[rows])
    assert (images.shape, images.ndim, images.size, images.nbytes, len(images)) == (x.shape, 4, 120, 480, 10)
    for key in (3, -1, np.int64(2), slice(2, 7), slice(None, None, -2), [4, 1, 1], np.arange(10) > 6, slice(5, 5)):
        np.testing.assert_array_equal(images[key], x[key])
    np.testing.assert_array_equal(np.asarray(images), x)
    np.testing.assert_array_equal(images.select(x[:, 0, 0, 0] > 0.5)[[1, 0]], x[x[:, 0, 0, 0] > 0.5][[1, 0]])
    for result, expected in ((images - x, 0), (x - images, 0), (np.abs(2 * images), 2 * x), (images == x, True)):
        np.testing.assert_array_equal(result, expected)
    with pytest.raises(IndexError):
        images[10]


def test_a_spool_gives_back_what_was_written_in_any_order():
    x = np.random.default_rng(0).integers(0, 256, (9, 2, 3, 1), np.uint8)
    spool = Spool(9, x.shape[1:], np.uint8)
    spool.append(x[:4])
    spool.append(x[4:])
    rows = np.array([8, 0, 1, 2, 5, 5])
    np.testing.assert_array_equal(spool.read(rows), x[rows])
    np.testing.assert_array_equal(spool.images(9)[:], x / np.float32(255))


def test_a_disk_without_room_is_refused_before_any_work():
    with pytest.raises(AdvlabError, match=r"images need .* GB in '.*', which has .* GB free.*TMPDIR"):
        Spool(10**9, (1000, 1000, 3), np.float32)


# Data sets


def test_an_npz_file_of_many_images_is_read_lazily_to_the_same_data_set(few_bytes, tmp_path: Path):
    levels = np.random.default_rng(0).integers(0, 256, (40, 6, 6), np.uint8)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "own.npz", x=levels, y=np.arange(40) % 4)
        with pytest.warns(AdvlabWarning, match="divided by 255"):
            data = load_dataset(tmp_path / "own.npz")
        assert isinstance(data.x, LazyImages)
        assert data.digest == advlab.Dataset.from_arrays(levels / np.float32(255), np.arange(40) % 4).digest
        assert isinstance(data.take(20).x, LazyImages)
        assert isinstance(data.take(10).x, np.ndarray)
        assert data.take(20, seed=3).digest == replace(data, x=np.asarray(data.x)).take(20, seed=3).digest


def test_an_hdf5_file_is_read_like_an_npz_file_and_lazily_where_it_has_many_images(tmp_path: Path, monkeypatch):
    x, y = np.random.default_rng(0).random((40, 6, 6), np.float32), np.arange(40) % 3
    np.savez(tmp_path / "own.npz", x_train=x[:9], y_train=y[:9], x_test=x, y_test=y, classes=["a", "b", "c"])
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file.update({"x_train": x[:9], "y_train": y[:9], "y_test": y})
        file.create_dataset("x_test", data=x, compression="gzip")
        file.attrs["classes"] = ["a", "b", "c"]
    expected, data = load_dataset(tmp_path / "own.npz"), load_dataset(tmp_path / "own.h5")
    limit_memory(monkeypatch)
    lazy_data = load_dataset(tmp_path / "own.h5")
    assert isinstance(lazy_data.x, LazyImages)
    assert data.digest == lazy_data.digest == expected.digest
    assert data.classes == lazy_data.classes == ("a", "b", "c")


def test_an_hdf5_file_without_images_or_damaged_is_refused(tmp_path: Path):
    path = tmp_path / "own.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros((3, 6, 6))
        file["group/y"] = [0, 1, 2]
    with pytest.raises(InvalidFile, match="no test split, only group, x"):
        load_dataset(path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InvalidFile, match="truncated or damaged HDF5"):
        load_dataset(path)


@pytest.mark.parametrize(
    ("x", "value_range", "message"),
    [
        (np.full((40, 6, 6), 2.0), None, r"pixels from 2 to 2, not in \[0, 1\]"),
        (
            np.where(np.arange(40)[:, None, None] == 33, np.nan, np.zeros((40, 6, 6))),
            None,
            "NaN pixels, first in image 33",
        ),
        (np.full((40, 6, 6), 300, np.uint16), None, "whole-numbered pixels from 300 to 300"),
        (np.full((40, 6, 6), 9.0), (0, 8), "not in"),
    ],
)
def test_pixels_of_many_images_are_checked_too(few_bytes, tmp_path: Path, x, value_range, message: str):
    np.savez(tmp_path / "own.npz", x=x, y=np.arange(40) % 4)
    with pytest.raises(InvalidValue, match=message):
        load_dataset(tmp_path / "own.npz", value_range=value_range)


def test_a_folder_of_many_images_is_read_lazily_to_the_same_data_set(few_bytes, tmp_path: Path, monkeypatch):
    for row, levels in enumerate(np.random.default_rng(0).integers(0, 256, (20, 6, 6), np.uint8)):
        path = tmp_path / "abcd"[row % 4] / f"{row:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(levels).save(path)
    data = load_dataset(tmp_path)
    assert isinstance(data.x, LazyImages)
    monkeypatch.setattr(lazy, "MOST_IN_MEMORY", 1 << 27)
    assert load_dataset(tmp_path).digest == data.digest


# Attacks


@pytest.mark.parametrize("spec", [ATTACK, advlab.Attack("ddn", steps=4)], ids=lambda spec: spec.method)
def test_crafting_in_parts_gives_what_crafting_at_once_gives(linear, grey, spec, monkeypatch):
    data, attempted = grey_in_two_classes(grey), np.arange(40) % 5 > 0
    whole = craft(linear, data, spec, attempted=attempted)
    limit_memory(monkeypatch)
    result = craft(linear, data, spec, attempted=attempted)
    assert isinstance(result.x_adv, LazyImages)
    assert_equal(result, whole)
    assert result.specification() == whole.specification()
    assert 1 < result.execution.batch_size <= 6


def test_masks_epsilons_and_targets_of_each_image_are_divided_too(linear, grey, monkeypatch, tmp_path: Path):
    data = grey_in_two_classes(grey)
    given = {"mask": np.random.default_rng(0).random((40, 6, 6)) > 0.5, "target": (np.arange(40) // 2) % 2}
    given |= {"epsilon_per_image": np.linspace(0.01, 0.1, 40)}
    for options in (given, given | {"mask": given["mask"][0]}, {"target": "least-likely"}):
        whole = advlab.attack(linear, data, "pgd", steps=3, **options)
        with monkeypatch.context() as patch:
            limit_memory(patch)
            result = advlab.attack(linear, data, "pgd", steps=3, output=tmp_path / "archive.h5", force=True, **options)
            assert_equal(load_result(tmp_path / "archive.h5"), whole)
        assert_equal(result, whole)
        assert result.per_image.arrays().keys() == whole.per_image.arrays().keys()
        for name, array in whole.per_image.arrays().items():
            np.testing.assert_array_equal(result.per_image.arrays()[name], array)


def test_an_archive_of_many_images_is_read_lazily_and_holds_the_same(linear, grey, few_bytes, tmp_path: Path):
    result = craft(linear, grey_in_two_classes(grey), ATTACK)
    loaded = load_result(result.save(tmp_path / "archive.h5"))
    assert isinstance(loaded.x, LazyImages)
    assert isinstance(loaded.x_adv, LazyImages)
    assert_equal(loaded, result)
    (tmp_path / "archive.h5").unlink()
    assert_equal(loaded, result)


def test_clean_images_of_256_levels_are_stored_as_such_and_perturbed_ones_without_loss(linear, grey, tmp_path: Path):
    levels = np.rint(255 * np.asarray(grey.x)) / np.float32(255)
    result = craft(linear, grey_in_two_classes(replace(grey, x=levels.astype(np.float32))), ATTACK)
    path = result.save(tmp_path / "archive.h5")
    with h5py.File(path) as file:
        assert (file["x"].dtype, file["x_adv"].dtype) == (np.uint8, np.float32)
    loaded = load_result(path)
    np.testing.assert_array_equal(loaded.x, result.x)
    np.testing.assert_array_equal(loaded.x_adv, result.x_adv)
    with h5py.File(craft(linear, grey_in_two_classes(grey), ATTACK).save(tmp_path / "other.h5")) as file:
        assert file["x"].dtype == np.float32


def test_an_altered_archive_of_many_images_is_refused(linear, grey, few_bytes, tmp_path: Path):
    path = craft(linear, grey_in_two_classes(grey), ATTACK).save(tmp_path / "archive.h5")
    with h5py.File(path, "a") as file:
        file["x_adv"][30, 2, 2, 0] += 0.01
    with pytest.raises(InvalidFile, match="'x_adv' is not what was written"):
        load_result(path)


def test_a_disk_that_fills_up_leaves_an_error_and_no_archive(linear, grey, few_bytes, tmp_path: Path):
    """HDF5 would end the process in the middle of a write."""
    result = craft(linear, grey_in_two_classes(grey), ATTACK)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        with pytest.raises(AdvlabError, match=r"Cannot write '.*archive\.h5': File too large.*Free some space"):
            result.save(tmp_path / "archive.h5")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.glob("*archive*")) == []
    assert_equal(load_result(result.save(tmp_path / "archive.h5")), result)


def test_an_interrupted_attack_goes_on_after_its_whole_parts(linear, grey, few_bytes, monkeypatch):
    data, unfinished = grey_in_two_classes(grey), workspace.partial_path("linear", ATTACK.slug)
    whole, calls = craft(linear, data, ATTACK), []

    def part(*arguments, make=advlab.engine.attack.make_plan):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return make(*arguments)

    monkeypatch.setattr(advlab.engine.attack, "make_plan", part)
    with pytest.raises(KeyboardInterrupt, match="3 of 7 parts are saved"):
        craft(linear, data, ATTACK, unfinished=unfinished)
    assert len(list(unfinished.parent.iterdir())) == 3
    assert advlab.available("archives") == {}
    result = advlab.attack(linear, data, ATTACK, save=True)
    assert len(calls) == 4 + 4
    assert_equal(result, whole)
    assert [path.name for path in unfinished.parent.iterdir()] == [f"{ATTACK.slug}.h5"]


def test_a_damaged_part_is_set_aside_and_crafted_again(linear, grey, few_bytes):
    data, unfinished = grey_in_two_classes(grey), workspace.partial_path("linear", ATTACK.slug)
    whole = craft(linear, data, ATTACK, unfinished=unfinished)
    workspace.part_path(unfinished, 2).write_bytes(b"no archive")
    with pytest.warns(AdvlabWarning, match=r"part-0002.*cannot be continued.*moved to"):
        assert_equal(craft(linear, data, ATTACK, unfinished=unfinished), whole)


def test_whole_parts_of_another_attack_are_not_taken(linear, grey, few_bytes):
    data, unfinished = grey_in_two_classes(grey), workspace.partial_path("linear", ATTACK.slug)
    craft(linear, data, ATTACK, unfinished=unfinished)
    with pytest.raises(FileExists, match=r"differs in: attack.*--force"):
        craft(linear, data, ATTACK.replace(seed=1), unfinished=unfinished)


# What is made of archives


def grey_in_two_classes(grey):
    return replace(grey, y=grey.y % 2, classes=("a", "b"))


@pytest.fixture
def both(linear, grey, monkeypatch, tmp_path: Path):
    """The archive of an attack, read as arrays and read lazily."""
    path = craft(linear, grey_in_two_classes(grey), ATTACK).save(tmp_path / "archive.h5")
    whole = load_result(path)
    limit_memory(monkeypatch)
    return whole, load_result(path)


def test_evaluation_and_report_are_the_same(both):
    one, other = map(advlab.evaluate, both)
    assert one.to_dict() == other.to_dict()
    assert advlab.report(one) == advlab.report(other)


def test_joined_attacks_are_the_same(both, linear):
    one, other = both
    for join in (worst_case, smallest):
        assert_joined = join([one, one], "joined"), join([other, other], "joined")
        np.testing.assert_array_equal(*(np.asarray(joined.x_adv) for joined in assert_joined))
    near = advlab.Attack("pgd", norm="linf", epsilon=0.01).threat
    np.testing.assert_array_equal(*(np.asarray(within(result, near).x_adv) for result in both))


def test_transfer_and_exports_are_the_same(both, linear, tmp_path: Path):
    one, other = both
    assert advlab.transfer([one], [linear]).to_dict() == advlab.transfer([other], [linear]).to_dict()
    for result, name in zip(both, "ab", strict=True):
        folder = tmp_path / name
        advlab.export(
            result, csv=f"{folder}.csv", png=folder, npy=f"{folder}.npy", samples=9, with_clean=True, model=linear
        )
    for file in ("{}.csv", "{}.npy"):
        assert (tmp_path / file.format("a")).read_bytes() == (tmp_path / file.format("b")).read_bytes()
    assert np.load(tmp_path / "b.npy").shape == (40, 36)
    pictures = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "ab"]
    assert pictures[0] == pictures[1]
    assert len(pictures[0]) == 27


def test_a_bisection_is_the_same(linear, grey, monkeypatch):
    whole = advlab.curve(linear, grey_in_two_classes(grey), "fgsm", rounds=3)
    limit_memory(monkeypatch)
    curve = advlab.curve(linear, grey_in_two_classes(grey), "fgsm", rounds=3)
    assert curve.to_dict() == whole.to_dict()


def test_one_perturbation_of_many_images_is_sought_on_all_at_once(linear, grey, few_bytes):
    result = craft(linear, grey_in_two_classes(grey), advlab.Attack("universal", norm="linf", epsilon=0.05, epochs=1))
    assert len(result) == 40


# Memory

PEAK = """
import resource, sys
import numpy as np
import keras
import advlab

n, path = int(sys.argv[1]), sys.argv[2]
inputs = keras.Input((96, 96, 3))
hidden = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 5, 4)(inputs))
model = advlab.Classifier.from_keras(keras.Model(inputs, keras.layers.Dense(4)(hidden)), name="small")
result = advlab.attack(model, path, "fgsm", samples=n, save=True, progress=False)
advlab.report(advlab.evaluate(result.path))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.thorough
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path):
    """Each thousand images of 96 x 96 in colour takes 110 MB as float32, in each of several copies."""
    levels = np.random.default_rng(0).integers(0, 256, (3600, 12, 12, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    np.savez(tmp_path / "own.npz", x=levels, y=np.arange(3600) % 4)
    peaks = []
    for n in (1300, 3600):
        command = [sys.executable, "-W", "ignore", "-c", PEAK, str(n), str(tmp_path / "own.npz")]
        environment = os.environ | {"ADVLAB_WORKSPACE": str(tmp_path / str(n))}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        peaks.append(int(ended.stdout))
    assert peaks[1] - peaks[0] < 100_000
