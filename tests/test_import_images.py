"""Images from other programs: archived and evaluated like any other, or refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from advlab.cli import main
from advlab.errors import FileExists, InvalidFile, InvalidValue, Mismatch
from advlab.evaluation.evaluation import evaluate
from advlab.results.result import load_result
from advlab.workflows.export import export
from advlab.workflows.import_images import import_images


def call(*words: object, code: int = 0):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def crafted(trained, digits):
    """Forty digits under PGD, and their challenge layout."""
    from advlab.workflows.attack import attack

    result = attack(trained, digits.take(40), "pgd", epsilon=0.1, progress=False)
    return result, result.x_adv.reshape(40, 784)


def test_an_archive_survives_export_and_import(crafted, tmp_path, workspace):
    result, _ = crafted
    call("export", result.save(tmp_path / "pgd.h5"), "--npy", tmp_path / "attack.npy")
    outcome = call("import", tmp_path / "attack.npy", "--model", "digits", "--epsilon", "0.1")
    path = workspace / "attacks" / "digits" / "imported-linf-0.1.h5"
    assert "imported linf 0.1" in outcome.stdout
    assert "Next: advlab report" in outcome.stderr
    imported = load_result(path)
    np.testing.assert_array_equal(imported.x_adv, result.x_adv)
    np.testing.assert_array_equal(imported.adversarial_probabilities, result.adversarial_probabilities)
    assert (imported.dataset_digest, imported.classifier_digest) == (result.dataset_digest, result.classifier_digest)
    assert evaluate(imported).robust_accuracy == evaluate(result).robust_accuracy
    assert "It holds." in call("verify", path).stdout


@pytest.mark.parametrize("shape", [(40, 784), (40, 28, 28), (40, 28, 28, 1)])
def test_images_may_be_flat_or_in_their_shape(crafted, trained, shape):
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
def test_other_arrays_are_refused(crafted, trained, change, error, message):
    with pytest.raises(error, match=message):
        import_images(change(crafted[1]), trained)


def test_other_files_are_refused(tmp_path):
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
def test_ten_thousand_images_of_mnist_survive_import_and_export(tmp_path):
    from advlab.data.loading import load_dataset

    x = load_dataset("mnist").x
    np.save(tmp_path / "attack.npy", np.clip(x + 0.3 * np.where(x < 0.5, 1, -1), 0, 1).reshape(10_000, 784))
    result = import_images(tmp_path / "attack.npy", "mnist", epsilon=0.3)
    assert "budget-exceeded" not in [finding.code for finding in evaluate(result).findings]
    export(result, npy=tmp_path / "again.npy")
    array = np.load(tmp_path / "again.npy")
    assert (array.shape, array.dtype) == ((10_000, 784), np.float32)
    np.testing.assert_array_equal(array, np.load(tmp_path / "attack.npy").astype(np.float32))
