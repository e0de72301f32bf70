"""Archives for other programs and back: every number survives, nothing is half written, bad files are named."""

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
from advlab.errors import FileExists, InvalidFile, InvalidValue, Mismatch
from advlab.evaluation.evaluation import evaluate
from advlab.evaluation.records import per_sample
from advlab.results.result import load_result
from advlab.workflows.export import export
from advlab.workflows.import_images import import_images

REFERENCE = next((Path(__file__).parent.parent / "attacks" / "reference").glob("*.h5"))


def small(**fields):
    return build([0, 1, 2], clean=[0, 1, 2], adversarial=[1, 1, 0], **fields)


def call(*words: object, code: int = 0):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done


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


def test_png_shows_clean_image_and_change_beside_and_stops_after_samples(tmp_path):
    folder = tmp_path / "images"
    export(small(), png=folder, samples=1, beside=True)
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


def test_files_that_are_there_are_replaced_only_with_force(tmp_path):
    places = {"csv": tmp_path / "a.csv", "npy": tmp_path / "a.npy", "png": tmp_path / "images"}
    paths = export(small(), **places)
    assert set(paths) == set(places.values())
    for kind, place in places.items():
        with pytest.raises(FileExists, match="--force"):
            export(small(), **{kind: place})
    export(small(), **places, force=True)


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    def full(self, data):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    message = call("export", REFERENCE, "--csv", tmp_path / "out" / "a.csv", code=1).stderr
    assert "No space left on device. Nothing was changed." in message
    assert list((tmp_path / "out").iterdir()) == []


def test_saying_nothing_to_write_or_no_samples_is_an_error(tmp_path):
    with pytest.raises(InvalidValue, match="csv, png or npy"):
        export(small())
    with pytest.raises(InvalidValue, match="samples must be an int"):
        export(small(), png=tmp_path / "a", samples=0)


def test_the_command_prints_the_paths_that_it_wrote(tmp_path):
    done = call("export", REFERENCE, "--csv", tmp_path / "a.csv", "--png", tmp_path / "images", "--samples", 2)
    assert done.stdout.splitlines() == [str(tmp_path / "a.csv"), str(tmp_path / "images")]
    assert len(list((tmp_path / "images").iterdir())) == 2


@pytest.fixture(scope="module")
def crafted(trained, digits):
    """Forty digits under PGD, and their challenge layout."""
    from advlab.engine.attack import attack

    result = attack(trained, digits.take(40), "pgd", epsilon=0.1, progress=False)
    return result, result.x_adv.reshape(40, 784)


def test_an_archive_survives_export_and_import(crafted, tmp_path, workspace):
    result, _ = crafted
    path = result.save(tmp_path / "pgd.h5")
    call("export", path, "--npy", tmp_path / "attack.npy")
    done = call("import", tmp_path / "attack.npy", "--model", "digits", "--epsilon", "0.1")
    made = workspace / "attacks" / "digits" / "imported-linf-0.1.h5"
    assert "imported linf 0.1" in done.stdout
    assert "Next: advlab report" in done.stderr
    again = load_result(made)
    np.testing.assert_array_equal(again.x_adv, result.x_adv)
    np.testing.assert_array_equal(again.adversarial_probabilities, result.adversarial_probabilities)
    assert (again.dataset_digest, again.classifier_digest) == (result.dataset_digest, result.classifier_digest)
    assert evaluate(again).robust_accuracy == evaluate(result).robust_accuracy
    assert "It holds." in call("verify", made).stdout


@pytest.mark.parametrize("shape", [(40, 784), (40, 28, 28), (40, 28, 28, 1)])
def test_images_are_taken_flat_or_in_their_shape(crafted, trained, shape):
    result, flat = crafted
    imported = import_images(flat.astype(np.float64).reshape(shape), trained, epsilon=0.1)
    np.testing.assert_array_equal(imported.x_adv, result.x_adv)
    assert imported.attack.method == "imported"


def test_images_beyond_their_budget_are_a_finding_and_no_error(crafted, trained):
    _, flat = crafted
    codes = [f.code for f in evaluate(import_images(flat, trained, epsilon="8/255")).findings]
    assert "budget-exceeded" in codes
    codes = [f.code for f in evaluate(import_images(flat + np.float32(0.05), trained, epsilon=0.2)).findings]
    assert "box-exceeded" in codes
    assert "budget-exceeded" not in codes


def test_other_images_are_another_result_and_need_force(crafted, trained, tmp_path):
    _, flat = crafted
    import_images(flat, trained, save=True)
    import_images(flat, trained, save=True)
    with pytest.raises(FileExists, match="differs in: attack"):
        import_images(1 - flat, trained, save=True)
    import_images(1 - flat, trained, save=True, force=True)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda a: a[:, :700], Mismatch, r"shape \(700,\) each"),
        (lambda a: a[0], InvalidValue, "have shape"),
        (lambda a: a[:0], InvalidValue, "have shape"),
        (lambda a: (255 * a).astype(np.uint8), InvalidValue, "type uint8.*divide by 255"),
        (lambda a: 255 * a, InvalidValue, "images in 0-255: divide by 255"),
        (lambda a: 2 * a - 1, InvalidValue, "standardised images"),
        (lambda a: np.where(np.arange(40)[:, None] == 7, np.nan, a), InvalidValue, "first in image 7"),
        (lambda a: np.where(np.arange(40)[:, None] == 8, np.inf, a), InvalidValue, "first in image 8"),
        (lambda a: np.tile(a, (12, 1)), Mismatch, "480 images to import, but digits has 449"),
    ],
)
def test_arrays_that_are_no_such_images(crafted, trained, change, error, message):
    with pytest.raises(error, match=message):
        import_images(change(crafted[1]), trained)


def test_files_that_are_no_such_images(tmp_path):
    np.savez(tmp_path / "several.npz", x=np.zeros(3))
    (tmp_path / "text.npy").write_text("hello")
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}]), allow_pickle=True)
    expected = {
        "several.npz": "several arrays",
        "text.npy": "not a complete .npy",
        "objects.npy": "not a complete .npy",
    }
    for name, message in (expected | {"missing.npy": "No images at"}).items():
        with pytest.raises(InvalidFile, match=message):
            import_images(tmp_path / name, "digits")


def test_a_model_without_a_card_needs_a_data_set(crafted, tmp_path, trained):
    trained.keras_model.save(tmp_path / "bare.keras")
    np.save(tmp_path / "a.npy", crafted[1])
    words = ["import", tmp_path / "a.npy", "--model", tmp_path / "bare.keras", "--output", tmp_path / "made.h5"]
    assert "Name one with --dataset" in call(*words, code=1).stderr
    call(*words, "--dataset", "digits")
    assert len(load_result(tmp_path / "made.h5")) == 40


@pytest.mark.real_data
def test_ten_thousand_images_of_mnist_go_out_and_come_back(tmp_path):
    from advlab.data.loading import load_dataset

    x = load_dataset("mnist").x
    np.save(tmp_path / "attack.npy", np.clip(x + 0.3 * np.where(x < 0.5, 1, -1), 0, 1).reshape(10_000, 784))
    result = import_images(tmp_path / "attack.npy", "mnist", epsilon=0.3)
    assert "budget-exceeded" not in [finding.code for finding in evaluate(result).findings]
    export(result, npy=tmp_path / "again.npy")
    array = np.load(tmp_path / "again.npy")
    assert (array.shape, array.dtype) == ((10_000, 784), np.float32)
    np.testing.assert_array_equal(array, np.load(tmp_path / "attack.npy").astype(np.float32))
