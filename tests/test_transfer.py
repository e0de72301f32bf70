"""Sources by targets: what the matrix counts, how it is shown, and that nothing is crafted or predicted twice."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from results import build, one_hot_like

from advlab.cli import main
from advlab.errors import InvalidValue, Mismatch
from advlab.evaluation.evaluation import evaluate
from advlab.evaluation.transfer import transfer_matrix
from advlab.workflows.transfer import transfer

LABELS = [0, 0, 1, 1]


class Stub:
    """A classifier that gives fixed answers to clean and to perturbed images."""

    def __init__(self, clean, adversarial, name="other", digest="o" * 16):
        self.answers, self.name, self.digest = (clean, adversarial), name, digest

    def probabilities(self, x):
        return one_hot_like(np.asarray(self.answers[int((x != 0.5).any())]), 3)


def white_box(**fields):
    return build(LABELS, clean=LABELS, adversarial=[1, 1, 1, 2], **fields)


def test_a_cell_counts_success_among_what_the_target_classifies_correctly():
    other = Stub(clean=[0, 1, 1, 1], adversarial=[0, 1, 2, 1])
    matrix = transfer_matrix([evaluate(white_box()), evaluate(white_box(), other)])
    white_box_cell, transfer_cell = matrix.cells[0]
    assert (white_box_cell.robust_accuracy.count, white_box_cell.robust_accuracy.total, white_box_cell.white_box) == (
        1,
        4,
        True,
    )
    assert (white_box_cell.success_rate.count, white_box_cell.success_rate.total) == (3, 4)
    assert (transfer_cell.robust_accuracy.count, transfer_cell.robust_accuracy.total, transfer_cell.white_box) == (
        2,
        4,
        False,
    )
    assert (transfer_cell.success_rate.count, transfer_cell.success_rate.total) == (1, 3)


def test_the_diagonal_is_the_white_box_and_the_rest_is_none_where_nothing_was_measured():
    one, two = white_box(), white_box(classifier="second", classifier_digest="2" * 16)
    matrix = transfer_matrix([evaluate(one), evaluate(two), evaluate(one, Stub(LABELS, LABELS))])
    assert [source.classifier for source in matrix.sources] == ["stub", "second"]
    assert [target.classifier for target in matrix.targets] == ["stub", "second", "other"]
    assert [[cell and cell.white_box for cell in row] for row in matrix.cells] == [
        [True, None, False],
        [None, True, None],
    ]
    assert repr(matrix) == "TransferMatrix: 2 sources by 3 targets, 3 of 6 pairs measured"


def test_a_source_needs_no_white_box_of_its_own():
    matrix = transfer_matrix([evaluate(white_box(), Stub(LABELS, LABELS))])
    assert matrix.sources[0].digest == "c" * 64
    assert [target.classifier for target in matrix.targets] == ["other"]
    assert matrix.sources[0].classifier == "stub"


def test_two_classifiers_of_one_name_stay_two():
    twin = Stub(LABELS, LABELS, name="stub", digest="9" * 16)
    matrix = transfer_matrix([evaluate(white_box()), evaluate(white_box(), twin)])
    assert [target.digest[0] for target in matrix.targets] == ["c", "9"]
    assert matrix.names[1] == ["stub (cccccc)", "stub (999999)"]
    assert "Different classifiers are called 'stub'" in " ".join(matrix.table().split())


def test_attacks_that_differ_in_a_parameter_only_are_named_in_full():
    more = {"parameters": {"steps": 100}, "overrides": ("steps",)}
    matrix = transfer_matrix([evaluate(white_box()), evaluate(white_box(attack=more))])
    assert [source.attack for source in matrix.sources] == ["pgd linf 0.1", "pgd linf 0.1 steps=100"]
    assert len(matrix.targets) == 1


def test_other_samples_are_another_source_and_said_to_be():
    matrix = transfer_matrix([evaluate(white_box()), evaluate(white_box(dataset="mnist", dataset_digest="m" * 16))])
    assert matrix.names[0] == ["stub: pgd linf 0.1 on 4 of digits", "stub: pgd linf 0.1 on 4 of mnist"]
    assert "not directly comparable" in " ".join(matrix.table().split())


def test_parts_of_a_cascade_are_left_out():
    part = white_box(attempted=np.array([True, True, False, True]))
    with pytest.raises(InvalidValue, match="archive of its worst case"):
        transfer_matrix([evaluate(part)])
    assert len(transfer_matrix([evaluate(part), evaluate(white_box())]).evaluations) == 1
    with pytest.raises(Mismatch, match="attacked only 3 of 4 images"):
        transfer([part], ["digits"])


def test_nothing_to_show_or_to_show_it_to_is_an_error():
    for archives, models in (([], ["digits"]), ([white_box()], [])):
        with pytest.raises(InvalidValue, match="at least one archive and one classifier"):
            transfer(archives, models)


def test_the_text_holds_both_rates_and_fits_in_100_columns():
    result = white_box(classifier="a-model-with-a-long-name-of-somebody-else-entirely")
    others = [Stub(LABELS, LABELS, f"a-rather-long-target-name-{i}", str(i) * 16) for i in range(9)]
    text = transfer_matrix([evaluate(result), *(evaluate(result, other) for other in others)]).table()
    assert max(map(len, text.splitlines())) <= 100
    assert "25.0 / 75.0*" in text
    assert text.count("100.0 / 0.0") == 9
    assert "\x1b" not in transfer_matrix([evaluate(white_box(classifier="\x1b[31m"))]).table()


def test_the_caption_says_how_far_the_widest_interval_reaches():
    cell = transfer_matrix([evaluate(white_box())]).cells[0][0]
    reach = 100 * max(cell.robust_accuracy.high - 0.25, 0.75 - cell.success_rate.low)
    assert f"at most {reach:.1f} points" in transfer_matrix([evaluate(white_box())]).caption()


def test_json_is_strict_and_null_where_nothing_was_measured_or_nothing_can_be_counted():
    nothing_right = Stub([2, 2, 2, 2], [2, 2, 2, 2])
    two = white_box(classifier="second", classifier_digest="2" * 16)
    matrix = transfer_matrix([evaluate(white_box()), evaluate(white_box(), nothing_right), evaluate(two)])
    data = json.loads(json.dumps(matrix.to_dict(), allow_nan=False))
    assert data["schema"] == 1
    assert data["cells"][0][2]["success_rate"] == {"value": None, "low": 0.0, "high": 1.0, "count": 0, "total": 0}
    assert data["cells"][1][0] is None
    assert data["sources"][0]["attack"] == "pgd linf 0.1"
    assert data["targets"][2] == {"classifier": "other", "digest": "o" * 16}


def test_notebooks_get_a_table_with_names_escaped():
    html = transfer_matrix([evaluate(white_box(classifier="<script>"))])._repr_html_()
    assert "&lt;script&gt;: pgd" in html
    assert "<script>" not in html


@pytest.fixture(scope="module")
def dense():
    """Two small dense classifiers of the digits, hardly trained, and what FGSM does to the first."""
    import keras

    from advlab.classifiers.classifier import Classifier
    from advlab.data.loading import load_dataset
    from advlab.workflows.attack import attack

    data = load_dataset("digits", split="train")
    classifiers = []
    for seed in (0, 1):
        keras.utils.set_random_seed(seed)
        model = keras.Sequential([keras.Input((28, 28)), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(data.x[..., 0], data.y, epochs=3, verbose=0)
        classifiers.append(Classifier.from_keras(model, name=f"dense-{seed}"))
    test = load_dataset("digits", limit=60)
    results = [attack(classifiers[0], test, method, epsilon=0.1, progress=False) for method in ("noise", "fgsm")]
    return classifiers, results


def test_transfer_predicts_the_clean_images_once_for_each_model_and_never_the_white_box(dense):
    (source, target), results = dense
    batches = []
    probabilities = target.probabilities
    target.probabilities = lambda x: batches.append(len(x)) or probabilities(x)
    source.probabilities = lambda x: pytest.fail("the white box is read as recorded")
    # As read from two files: equal images, two arrays.
    matrix = transfer([results[0], replace(results[1], x=results[1].x.copy())], [source, target])
    del target.probabilities, source.probabilities
    assert batches == [60, 60, 60]
    expected = [evaluate(result, target) for result in results]
    assert [row[1].robust_accuracy for row in matrix.cells] == [one.robust_accuracy for one in expected]
    assert [row[0].white_box for row in matrix.cells] == [True, True]


def test_the_command_reads_archives_and_model_files(dense, tmp_path, workspace):
    (_, target), results = dense
    target.save(tmp_path / "target.h5")
    path = results[1].save()
    page = tmp_path / "page.html"
    words = ["transfer", str(path), "--model", str(tmp_path / "target.h5"), "--output", str(page)]
    outcome = CliRunner().invoke(main, words)
    assert outcome.exit_code == 0, outcome.output
    assert outcome.stdout.splitlines()[0].split() == ["crafted", "against", "dense-0", "target"]
    assert page.exists()
    data = json.loads(CliRunner().invoke(main, [*words[:4], "--json"]).stdout)
    assert [cell["white_box"] for cell in data["cells"][0]] == [True, False]


def test_an_unknown_model_is_named(dense, tmp_path):
    path = dense[1][0].save(tmp_path / "a.h5")
    outcome = CliRunner().invoke(main, ["transfer", str(path), "--model", "digit"])
    assert outcome.exit_code == 1
    assert "Did you mean 'digits'?" in outcome.stderr
