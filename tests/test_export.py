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

from advlab import Dataset, attack, load_dataset
from advlab.cli import main
from advlab.errors import AdvlabWarning, FileExists, InvalidValue, Mismatch
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


def crafted(linear, grey, **options):
    """A result whose classifier is given, of a method that stops on the boundary."""
    labels = linear.probabilities(grey.x).argmax(1)
    data = Dataset("grey", "test", grey.x, labels, grey.indices, ("T-shirt/top", "../b"))
    return attack(linear, data, **{"method": "ddn", "steps": 20, "progress": False, **options})


def survivors(folder, linear):
    """Index -> label in the name, prediction in the name, and what the classifier says of the pixels in the file."""
    found = {}
    for path in sorted(folder.iterdir()):
        index, label, predicted = path.stem.split("-")
        image = Image.open(path)
        assert image.mode == "L"
        x = np.asarray(image, np.float32)[None, ..., None] / np.float32(255)
        found[int(index)] = (label, predicted, NAMES[linear.probabilities(x).argmax()])
    return found


NAMES = ("T_shirt_top", ".._b")


def test_names_of_png_state_what_the_classifier_sees_in_the_file(linear, grey, tmp_path):
    result = crafted(linear, grey)
    with pytest.warns(AdvlabWarning, match=r"\d+ of \d+ images that fool 'linear' still do rounded to 256 levels"):
        assert export(result, png=tmp_path / "images", model=linear) == (tmp_path / "images",)
    found = survivors(tmp_path / "images", linear)
    assert len(found) == len(result)
    assert all(predicted == seen for _, predicted, seen in found.values())
    assert any(label == predicted for label, predicted, _ in found.values()), "rounding has undone some"
    assert [found[i][0] for i in sorted(found)] == [NAMES[label] for label in result.labels]


def test_the_table_beside_png_states_the_same(linear, grey, tmp_path):
    with pytest.warns(AdvlabWarning, match="still do"):
        export(crafted(linear, grey), png=tmp_path / "images", csv=tmp_path / "a.csv", samples=30, model=linear)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text("utf-8"))))
    found = survivors(tmp_path / "images", linear)
    assert [NAMES[int(row["predicted_png"])] for row in rows[:30]] == [found[i][2] for i in range(30)]
    assert all((tmp_path / "images" / row["png"]).is_file() for row in rows[:30])
    assert {(row["png"], row["predicted_png"], row["p_png"]) for row in rows[30:]} == {("", "", "")}


def test_quantized_images_lie_on_the_levels_between_the_clean_and_the_perturbed_image(linear, grey, tmp_path):
    clean = np.rint(255 * grey.x) / np.float32(255)
    data = Dataset("grey", "test", clean.astype(np.float32), grey.y, grey.indices, grey.classes)
    result = crafted(linear, data)
    with pytest.warns(AdvlabWarning, match=r"still do rounded towards the clean image"):
        export(result, png=tmp_path / "images", npy=tmp_path / "a.npy", quantize=True, model=linear)
    array = np.load(tmp_path / "a.npy").reshape(result.x.shape)
    np.testing.assert_allclose(255 * array, np.rint(255 * array), atol=1e-4)
    assert np.all(np.abs(array - result.x) <= np.abs(result.x_adv - result.x) + 1e-5), "no change has grown"
    assert np.all(np.abs(result.x_adv - array) < 1 / 255), "none has lost a whole level"
    survivors(tmp_path / "images", linear)


def test_png_of_a_classifier_that_is_not_at_hand_state_no_prediction(tmp_path):
    result = small(indices=np.array([5, 70, 9]), classes=("T-shirt/top", "a b", "../c"))
    with pytest.warns(AdvlabWarning, match="state no prediction.*'stub'.*--model"):
        export(result, png=tmp_path / "images")
    names = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert names == ["05-T_shirt_top.png", "09-.._c.png", "70-a_b.png"]
    pixels = np.asarray(Image.open(tmp_path / "images" / names[0]))
    np.testing.assert_array_equal(pixels, np.full((4, 4), round(255 * 0.6)))


def test_another_classifier_is_refused(linear, grey, tmp_path):
    with pytest.raises(Mismatch, match="crafted against 'linear': 'digits' is another one"):
        export(crafted(linear, grey), png=tmp_path / "images", model="digits")


def test_png_with_clean_has_clean_image_and_change_and_stops_after_samples(linear, grey, tmp_path):
    folder = tmp_path / "images"
    result = crafted(linear, grey, epsilon=0.05, norm="linf", method="pgd")
    export(result, png=folder, samples=1, with_clean=True, model=linear)
    stem = min(path.stem for path in folder.iterdir())
    assert sorted(path.name for path in folder.iterdir()) == [f"{stem}-change.png", f"{stem}-clean.png", f"{stem}.png"]
    np.testing.assert_allclose(
        np.asarray(Image.open(folder / f"{stem}-clean.png")), 255 * result.x[0, ..., 0], atol=0.5
    )
    assert set(np.unique(np.asarray(Image.open(folder / f"{stem}-change.png")))) <= {*range(8), *range(248, 256)}


def test_colours_stay_colours(rgb, tmp_path):
    classifier, data = rgb
    export(attack(classifier, data, "noise", epsilon=0.01, progress=False), png=tmp_path / "images", model=classifier)
    assert {Image.open(path).mode for path in (tmp_path / "images").iterdir()} == {"RGB"}


def test_what_is_exported_is_read_again(linear, grey, tmp_path):
    with pytest.warns(AdvlabWarning, match="still do"):
        export(crafted(linear, grey), png=tmp_path / "images" / "0", model=linear)
    data = load_dataset(tmp_path / "images")
    assert data.shape == grey.shape
    (tmp_path / "images" / "0").rename(tmp_path / "images" / "T_shirt_top")
    assert set(load_dataset(tmp_path / "images", classes=["b", "T-shirt/top"]).y) == {1}
    assert attack(linear, data, "noise", epsilon=0.001, progress=False).x.shape == data.x.shape


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


@pytest.mark.filterwarnings("ignore:The names of the images state no prediction")
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
    with pytest.raises(InvalidValue, match="csv, png, npy or patch"):
        export(small())
    with pytest.raises(InvalidValue, match="samples must be an int"):
        export(small(), png=tmp_path / "a", samples=0)


def test_the_command_prints_the_paths_written(tmp_path):
    result = call("export", REFERENCE, "--csv", tmp_path / "a.csv", "--png", tmp_path / "images", "--samples", 2)
    assert result.stdout.splitlines() == [str(tmp_path / "a.csv"), str(tmp_path / "images")]
    assert len(list((tmp_path / "images").iterdir())) == 2
