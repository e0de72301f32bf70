"""What an evaluation counts, on results small enough to count by hand."""

import json
import math
import sys
import time

import numpy as np
import pytest
from results import build, many, one_hot_like

from advlab.errors import AdvlabError, InvalidValue, Mismatch
from advlab.evaluation import records
from advlab.evaluation.evaluation import evaluate, table, worst_case


class Stub:
    """A classifier that predicts the same class everywhere."""

    def __init__(self, predicted=1, k=3, digest="e" * 64, name="other"):
        self.predicted, self.k, self.digest, self.name = predicted, k, digest, name

    def probabilities(self, x):
        if x.shape[1:] != (4, 4, 1):
            raise ValueError("wants (4, 4, 1)")
        return one_hot_like(np.full(len(x), self.predicted), self.k)


def test_robust_means_correct_on_the_clean_and_on_the_perturbed_image():
    evaluation = evaluate(build([0, 1, 2, 0], clean=[0, 1, 0, 1], adversarial=[0, 0, 2, 0]))
    assert evaluation.robust.tolist() == [True, False, False, False]
    assert evaluation.clean_accuracy.value == 0.5
    assert evaluation.robust_accuracy.value == 0.25
    assert (evaluation.success_rate.count, evaluation.success_rate.total) == (1, 2)


def test_targeted_success_leaves_out_samples_of_the_target_class_and_other_errors():
    evaluation = evaluate(build([0, 1, 1, 2, 0], clean=[0, 1, 1, 2, 1], adversarial=[2, 2, 0, 2, 2], target=2))
    assert (evaluation.success_rate.count, evaluation.success_rate.total) == (2, 3)


def test_confidence_shift_is_of_the_label_on_initially_correct_samples():
    evaluation = evaluate(build([0, 1, 2], clean=[0, 1, 0], adversarial=[1, 1, 2]))
    assert evaluation.shift.mean == pytest.approx((0.05 - 0.9 + 0) / 2)
    assert evaluation.shift_predicted.mean == pytest.approx(2 * (0.05 - 0.9) / 3)


def test_distances_are_over_successful_initially_correct_samples():
    result = build([0, 0, 0, 0], clean=[0, 0, 0, 1], adversarial=[1, 1, 0, 1], change=[0.25, 0.125, 0.375, 0.5])
    linf = evaluate(result).distances["linf"]
    assert linf == (0.1875, 0.1875, 0.25)


@pytest.mark.parametrize(
    ("adversarial", "median"),
    [([1, 1, 1, 0], 0.25), ([1, 1, 0, 0], math.inf), ([0, 0, 0, 0], math.inf), ([1, 1, 1, 1], 0.1875)],
)
def test_median_distance_of_a_minimal_attack_counts_what_is_still_robust_as_infinitely_far(adversarial, median):
    change = [0.125, 0.25, 0.25, 0.0625 if adversarial[3] else 0]
    result = build([0] * 5, [0] * 4 + [1], [*adversarial, 1], change=[*change, 0.5], norm="l2", epsilon=math.inf)
    expected = np.median(np.where(np.array(adversarial) == 1, change, math.inf))
    assert evaluate(result).median_distance == pytest.approx(expected)
    assert median == pytest.approx(expected, abs=0.1)


def test_per_class_and_transitions():
    evaluation = evaluate(build([0, 0, 1], clean=[0, 0, 1], adversarial=[1, 0, 2]))
    first = evaluation.per_class[0]
    assert (first.name, first.clean_accuracy.value, first.robust_accuracy.value) == ("a", 1.0, 0.5)
    assert first.shift == pytest.approx(-0.425)
    assert math.isnan(evaluation.per_class[2].clean_accuracy.value)
    assert evaluation.transitions.tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_flow_has_the_median_distance_in_the_norm_of_the_threat_among_successes():
    change = [0.25, 0.125, 0.375, 0.5]
    evaluation = evaluate(build([0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 0, 1], change=change, norm="l2", epsilon=math.inf))
    assert evaluation.transitions[0].tolist() == [1, 2, 0]
    assert evaluation.flow_distance[0, 1] == 0.1875
    assert np.isnan(evaluation.flow_distance).sum() == 8
    assert np.isnan(evaluate(build([0], [0], [1], norm="none", epsilon=math.inf)).flow_distance).all()


def test_histograms_count_the_shift_of_the_label_and_of_the_class_predicted_before():
    evaluation = evaluate(build([0, 1, 2], clean=[0, 1, 0], adversarial=[1, 1, 2]))
    bins = [np.flatnonzero(h).tolist() for h in (evaluation.shift_histogram, evaluation.shift_predicted_histogram)]
    assert bins == [[3, 20], [3, 20]]
    assert [evaluation.shift_histogram.sum(), evaluation.shift_predicted_histogram.sum()] == [2, 3]


def test_per_sample_has_a_row_for_each_sample():
    result = build(
        [0, 1, 2], clean=[0, 1, 0], adversarial=[1, 1, 2], change=[0.25, 0, 0.5], indices=np.array([4, 7, 9])
    )
    columns = records.per_sample(evaluate(result))
    assert {name: values.tolist() for name, values in columns.items() if values.dtype.kind != "f"} == {
        "index": [4, 7, 9],
        "label": [0, 1, 2],
        "predicted_clean": [0, 1, 0],
        "predicted_adversarial": [1, 1, 2],
        "attempted": [True, True, True],
        "robust": [False, True, False],
        "queries": result.forward_passes.tolist(),
    }
    assert columns["p_clean"] == pytest.approx([0.9, 0.9, 0.05])
    assert columns["p_adversarial"] == pytest.approx([0.05, 0.9, 0.9])
    assert columns["l2"].tolist() == [0.25, 0, 0.5]
    assert columns["l0"].tolist() == [1, 0, 1]


def test_a_frame_has_the_columns_of_the_samples():
    result = build([0, 1], [0, 1], [1, 1])
    frame = evaluate(result).to_frame()
    assert list(frame.columns) == list(records.per_sample(evaluate(result)))
    assert frame["robust"].tolist() == [False, True]


def test_without_pandas_a_frame_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(AdvlabError, match="pip install pandas"):
        evaluate(build([0], [0], [1])).to_frame()


def test_another_classifier_makes_it_a_transfer_evaluation():
    evaluation = evaluate(build([1, 1, 0], [1, 1, 0], [0, 0, 1]), Stub(predicted=1))
    assert evaluation.transfer_from == "stub"
    assert evaluation.classifier == "other"
    assert evaluation.robust.tolist() == [True, True, False]
    assert "crafted against stub" in repr(evaluation)
    assert "from stub" in table([evaluation])


def test_the_same_classifier_predicts_again_without_becoming_transfer():
    result = build([1, 1], [1, 1], [0, 0], diagnostics={"zero_gradient": np.ones(2, bool)})
    evaluation = evaluate(result, Stub(digest=result.classifier_digest, name="stub"))
    assert evaluation.transfer_from is None
    assert evaluation.robust_accuracy.value == 1
    assert "zero-gradients" in [finding.code for finding in evaluation.findings]


def test_transfer_refuses_other_classes_and_other_image_shapes():
    with pytest.raises(Mismatch, match="5 classes"):
        evaluate(build([0], [0], [0]), Stub(k=5))
    with pytest.raises(Mismatch, match=r"shape is \(2, 2, 3\)"):
        evaluate(build([0], [0], [0], shape=(2, 2, 3)), Stub())


def test_worst_case_counts_a_sample_only_while_no_attack_succeeded():
    labels = [0, 0, 0, 0]
    one = evaluate(build(labels, [0, 0, 0, 1], [0, 1, 0, 1], method="fgsm"))
    two = evaluate(build(labels, [0, 0, 0, 1], [0, 1, 1, 1], method="pgd"))
    worst = worst_case([one, two])
    assert worst.robust.tolist() == [True, False, False, False]
    assert worst.misclassified_by.tolist() == [-1, 0, 1, -1]
    assert worst.accuracy.value == 0.25
    assert [attack.method for attack in worst.attacks] == ["fgsm", "pgd"]


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"classifier_digest": "f" * 64}, "classifier"),
        ({"dataset_digest": "f" * 64}, "samples"),
        ({"epsilon": 0.2}, "threat model"),
        ({"target": 1}, "threat model"),
    ],
)
def test_worst_case_joins_only_what_belongs_together(other, what):
    with pytest.raises(Mismatch, match=f"differ in: {what}"):
        worst_case([evaluate(build([0], [0], [0])), evaluate(build([0], [0], [0], **other))])


def test_nothing_to_join_or_to_tabulate_is_an_error():
    for call in (worst_case, table):
        with pytest.raises(InvalidValue, match="Got none"):
            call([])


def test_to_dict_is_strict_json_with_a_schema_version():
    evaluation = evaluate(build([0, 1], [1, 0], [1, 0], norm="l2", epsilon=math.inf))
    data = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert data["schema"] == 1
    assert data["clean_accuracy"]["value"] == 0
    assert data["shift"]["mean"] is None
    assert data["success_rate"] == {"value": None, "low": 0.0, "high": 1.0, "count": 0, "total": 0}
    assert data["attack"]["epsilon"] is None
    assert data["per_class"][0]["name"] == "a"
    assert data["calibration"]["count"] == [0] * 13 + [2, 0]
    assert data["calibration"]["accuracy"][13:] == [0, None]
    assert data["confidently_wrong"]["total"] == 0
    assert sum(data["shift_predicted_histogram"]) == 2
    assert data["flow_distance"] == [[None] * 3] * 3
    assert data["findings"][0]["code"]


def test_table_puts_clean_next_to_robust_accuracy_and_confidence_shift():
    lines = table([evaluate(build([0, 1, 1, 2], [0, 1, 1, 1], [1, 1, 0, 1]))]).splitlines()
    head, row = (" ".join(line.split()) for line in lines[:2])
    assert head == "model attack clean % robust % [95%] success % shift distance passes seconds"
    assert row == "stub pgd linf 0.1 75.0 25.0 [ 4.6, 69.9] 66.7 -56.7 0.1 81 2.5"
    assert lines[3].startswith("4 test images of digits.")


@pytest.mark.parametrize("name", ["fashion", "a-very-long-model-name-of-somebody-else-entirely" * 2])
def test_table_fits_in_100_columns_and_markdown_keeps_names_whole(name):
    evaluations = [
        evaluate(build([0, 0], [0, 0], [0, 1], classifier=name, method="carlini_wagner", norm="l2", epsilon=math.inf)),
        evaluate(build([0, 0], [0, 0], [0, 0], classifier=name, target=1, seconds=12345.6)),
    ]
    assert max(map(len, table(evaluations).splitlines())) <= 100
    assert name in table(evaluations, markdown=True)


def test_table_tells_attacks_apart_that_differ_in_a_parameter_only():
    more = {"parameters": {"steps": 100}, "overrides": ("steps",)}
    text = table([evaluate(build([0], [0], [1])), evaluate(build([0], [0], [1], attack=more))])
    assert "pgd linf 0.1 steps=100" in text


def test_table_tells_attacks_apart_that_differ_in_their_stop_rule_only():
    text = table([evaluate(build([0], [0], [1])), evaluate(build([0], [0], [1], attack={"early_stop": True}))])
    assert "pgd-linf-0.1-early_stop=True" in text


@pytest.mark.parametrize("different", [{"attack": {"early_stop": True}}, {"norm": "l2", "epsilon": math.inf}])
def test_table_marks_shifts_that_cannot_be_compared(different):
    lines = table([evaluate(build([0], [0], [1])), evaluate(build([0], [0], [1], **different))]).splitlines()
    assert "-85.0 " in lines[1]
    assert "-85.0*" in lines[2]
    assert any(line.startswith("* ends where it first succeeds") for line in lines)
    assert "*" not in table([evaluate(build([0], [0], [1]))])


def test_table_fits_a_narrow_terminal_and_leaves_out_what_a_run_cost(monkeypatch):
    evaluations = [evaluate(build([0], [0], [1], classifier="fashion-robust", method="carlini_wagner"))]
    assert "seconds" in table(evaluations)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    text = table(evaluations)
    assert max(map(len, text.splitlines())) <= 80
    assert "fashion-robust carlini_wagner" in text
    assert "seconds" not in text
    assert "robust % [95%]" in text


def test_table_says_when_rows_are_of_other_images():
    text = table([evaluate(build([0], [0], [1])), evaluate(build([0], [0], [1], dataset="mnist"))])
    assert "rows differ in their images" in text


def test_table_of_two_attacks_says_whether_they_differ_by_more_than_chance():
    weak, strong = (evaluate(build([0] * 8, [0] * 8, adversarial)) for adversarial in ([0] * 7 + [1], [1] * 7 + [0]))
    text = " ".join(table([weak, strong]).split())
    assert "Robust in the first row only: 7, in the second only: 1; p = 0.07 by McNemar's exact test." in text
    assert "takes about 78,500 images" in text
    clear = [evaluate(build([0] * 8, [0] * 8, adversarial)) for adversarial in ([0] * 8, [1] * 8)]
    assert "p = 0.0078" in table(clear)
    assert "takes about" not in table(clear)
    assert "McNemar" not in table([weak, strong, weak])
    assert "McNemar" not in table([weak, evaluate(build([0], [0], [1], dataset_digest="e" * 64))])


def test_markdown_table_survives_a_bar_in_a_name():
    lines = table([evaluate(build([0], [0], [1], classifier="a|b"))], markdown=True).splitlines()
    assert lines[2].startswith("| a\\|b | pgd linf 0.1 |")
    assert lines[1].count("|") == lines[0].count("|")


def test_names_cannot_steer_the_terminal():
    assert "\x1b" not in table([evaluate(build([0], [0], [1], classifier="\x1b[31mred"))])


def test_notebooks_get_a_small_table_with_names_escaped():
    html = evaluate(build([0], [0], [1], classifier="<script>"))._repr_html_()
    assert "&lt;script&gt;" in html
    assert "<script>" not in html


def test_ten_thousand_images_take_seconds_at_most():
    result = many()
    begin = time.process_time()
    evaluate(result)
    assert time.process_time() - begin < 2
