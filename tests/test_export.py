"""Archives for other programs: every number survives, and files are written whole or not at all."""

from __future__ import annotations

import csv
import errno
import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from results import build, many

from advlab.cli import main
from advlab.errors import FileExists, InvalidValue, Mismatch
from advlab.evaluation.evaluation import evaluate
from advlab.evaluation.records import per_sample
from advlab.workflows.export import export

REFERENCE = next((Path(__file__).parent.parent / "attacks" / "reference").glob("*.h5"))


def small(**fields):
    return build([0, 1, 2], clean=[0, 1, 2], adversarial=[1, 1, 0], **fields)


def call(*words: object, code: int = 0):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def test_csv_gives_back_every_number_of_every_sample(tmp_path):
    result = many(50)
    export(result, csv=tmp_path / "samples.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "samples.csv").read_text("utf-8"))))
    expected = per_sample(evaluate(result))
    assert list(rows[0]) == list(expected)
    for name, column in expected.items():
        texts = [row[name] for row in rows]
        read = np.array([t == "True" for t in texts]) if column.dtype == bool else np.array(texts).astype(column.dtype)
        np.testing.assert_array_equal(read, column)


def test_png_is_named_for_index_label_and_prediction_and_holds_the_pixels(tmp_path):
    result = small(indices=np.array([5, 70, 9]), classes=("T-shirt/top", "a b", "../c"))
    assert export(result, png=tmp_path / "images") == (tmp_path / "images",)
    names = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert names == ["05-T_shirt_top-a_b.png", "09-.._c-T_shirt_top.png", "70-a_b-a_b.png"]
    pixels = np.asarray(Image.open(tmp_path / "images" / names[0]).convert("L"))
    np.testing.assert_array_equal(pixels, np.full((4, 4), round(255 * 0.6)))


def test_png_with_clean_has_clean_image_and_change_and_stops_after_samples(tmp_path):
    folder = tmp_path / "images"
    export(small(), png=folder, samples=1, with_clean=True)
    assert sorted(path.name for path in folder.iterdir()) == ["0-a-b-change.png", "0-a-b-clean.png", "0-a-b.png"]
    assert np.asarray(Image.open(folder / "0-a-b-clean.png").convert("L")).max() == 128
    assert np.asarray(Image.open(folder / "0-a-b-change.png").convert("L")).min() == 255


def test_png_names_classes_that_the_data_set_does_not_know_by_number(tmp_path):
    export(small(classes=("a",)), png=tmp_path / "images")
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["0-a-1.png", "1-1-1.png", "2-2-a.png"]


def test_npy_is_the_layout_of_the_public_challenge_in_the_order_of_the_test_split(tmp_path):
    draw = np.random.default_rng(0)
    x_adv = draw.random((3, 28, 28, 1)).astype(np.float32)
    shuffled = small(shape=(28, 28, 1), x_adv=x_adv, indices=np.array([2, 0, 1]))
    export(shuffled, npy=tmp_path / "attack.npy")
    array = np.load(tmp_path / "attack.npy", allow_pickle=False)
    assert (array.dtype, array.shape) == (np.float32, (3, 784))
    np.testing.assert_array_equal(array, x_adv.reshape(3, 784)[[1, 2, 0]])


@pytest.mark.parametrize("fields", [{"indices": np.array([0, 1, 3])}, {"split": "train"}])
def test_npy_refuses_images_that_are_not_the_first_of_a_test_split(tmp_path, fields):
    with pytest.raises(Mismatch, match="not the first"):
        export(small(**fields), npy=tmp_path / "attack.npy", csv=tmp_path / "samples.csv")
    assert list(tmp_path.glob("*.*")) == []


def test_existing_files_are_replaced_only_with_force(tmp_path):
    paths = {"csv": tmp_path / "a.csv", "npy": tmp_path / "a.npy", "png": tmp_path / "images"}
    assert set(export(small(), **paths)) == set(paths.values())
    for option, path in paths.items():
        with pytest.raises(FileExists, match="--force"):
            export(small(), **{option: path})
    export(small(), **paths, force=True)


def test_a_full_disk_leaves_no_incomplete_file(tmp_path, monkeypatch):
    def full(self, data):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    message = call("export", REFERENCE, "--csv", tmp_path / "out" / "a.csv", code=1).stderr
    assert "No space left on device. Nothing was changed." in message
    assert list((tmp_path / "out").iterdir()) == []


def test_nothing_to_write_and_no_samples_are_errors(tmp_path):
    with pytest.raises(InvalidValue, match="csv, png or npy"):
        export(small())
    with pytest.raises(InvalidValue, match="samples must be an int"):
        export(small(), png=tmp_path / "a", samples=0)


def test_the_command_prints_the_paths_written(tmp_path):
    result = call("export", REFERENCE, "--csv", tmp_path / "a.csv", "--png", tmp_path / "images", "--samples", 2)
    assert result.stdout.splitlines() == [str(tmp_path / "a.csv"), str(tmp_path / "images")]
    assert len(list((tmp_path / "images").iterdir())) == 2
