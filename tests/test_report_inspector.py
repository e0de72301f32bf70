"""The data that the page embeds for its inspector, and the sections of a page."""

import json
import math
import re

import numpy as np
import pytest
from results import build, many, one_hot_like

from advlab.evaluation.evaluation import evaluate
from advlab.reporting.report import report

LABELS = np.arange(100) % 3
NASTY = "</script><script>alert(1)</script>&\u2028<!--"


def attacked(successes=60, **fields):
    """The first ``successes`` images are adversarial, the others still robust."""
    adversarial = np.where(np.arange(100) < successes, (LABELS + 1) % 3, LABELS)
    return evaluate(build(LABELS, LABELS, adversarial, **fields))


def minimal(**fields):
    """Image ``i`` is adversarial from ``(i + 1) / 400`` on, the last ten never."""
    return attacked(90, method="fmn", epsilon=math.inf, change=(np.arange(100) + 1) / 400, **fields)


def data_of(text):
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)[1])


def sections(text):
    return set(re.findall(r'<section[^>]* aria-labelledby="(\w+)"', text))


def test_the_sample_is_the_same_for_every_attack():
    text = report([attacked(), attacked(30, method="fgsm")])
    first, second = ([s["position"] for s in choice["samples"]] for choice in data_of(text)["choices"])
    assert first == second == sorted(set(first))
    assert len(first) == 40
    assert "A sample: 40 of 100 test images of digits" in " ".join(text.split())


def test_attacks_share_the_pictures_of_clean_images():
    draw = np.random.default_rng(0)
    x = draw.random((100, 4, 4, 1), np.float32)
    data = data_of(report([attacked(x=x, x_adv=x + c * (0.5 - x)) for c in (np.float32(0.1), np.float32(0.2))]))
    first, second = (choice["samples"] for choice in data["choices"])
    assert [s["clean"] for s in first] == [s["clean"] for s in second]
    assert [s["adversarial"] for s in first] != [s["adversarial"] for s in second]
    assert len(set(data["pictures"])) == len(data["pictures"])


def test_an_entry_has_predictions_and_confidences():
    samples = data_of(report(attacked(60)))["choices"][0]["samples"]
    for sample in samples:
        label = LABELS[sample["position"]]
        after = (label + 1) % 3 if sample["position"] < 60 else label
        assert sample["label"] == label
        assert sample["predicted"] == [label, after]
        assert sample["outcome"] == ("adversarial" if sample["position"] < 60 else "robust")
        assert sample["bars"] == [0, 1, 2]
        assert sample["before"] == pytest.approx([0.9 if c == label else 0.05 for c in range(3)])
        assert sample["after"] == pytest.approx([0.9 if c == after else 0.05 for c in range(3)])
        assert sample["amplified"] == 5


def test_of_many_classes_the_likeliest_have_bars_and_always_the_label_and_the_predictions():
    clean = one_hot_like(np.zeros(3, int), 50)
    result = build([40] * 3, [0] * 3, [30] * 3, k=50, clean_probabilities=clean)
    for sample in data_of(report(evaluate(result)))["choices"][0]["samples"]:
        assert len(sample["bars"]) == 10
        assert {0, 30, 40} <= set(sample["bars"])
        assert sample["outcome"] == "misclassified"


def test_images_that_a_part_of_a_cascade_skips_are_not_robust():
    attempted = np.arange(100) >= 50
    adversarial = np.where(np.arange(100) < 50, LABELS, (LABELS + 1) % 3)
    samples = data_of(report(evaluate(build(LABELS, LABELS, adversarial, attempted=attempted))))["choices"][0][
        "samples"
    ]
    assert {s["outcome"] for s in samples if s["position"] < 50} == {"skipped"}
    assert {s["outcome"] for s in samples if s["position"] >= 50} == {"adversarial"}


def test_the_slider_has_the_curve_and_the_smallest_change_of_each_image():
    choice = data_of(report(minimal()))["choices"][0]
    curve = choice["curve"]
    assert len(curve["epsilon"]) == len(curve["accuracy"]) == 201
    assert (curve["epsilon"][0], curve["epsilon"][-1]) == (0, pytest.approx(0.225))
    for epsilon, (value, low, high) in zip(curve["epsilon"], curve["accuracy"], strict=True):
        robust = 1 - min(math.floor(epsilon * 400 + 1e-4), 90) / 100
        assert value == pytest.approx(robust, abs=0.0101)  # an image on the edge may round to either side
        assert low <= value <= high
    for sample in choice["samples"]:
        position = sample["position"]
        assert sample["distance"] == (None if position >= 90 else pytest.approx((position + 1) / 400, abs=1e-6))


def test_several_attacks_in_one_norm_make_one_curve_of_each_images_smallest_change():
    far = attacked(100, method="deepfool", epsilon=math.inf, change=np.full(100, 0.125))
    choices = data_of(report([minimal(), far]))["choices"]
    assert [choice["name"] for choice in choices] == ["any epsilon, L∞", "fmn linf", "deepfool linf"]
    assert [choice["curve"] is None for choice in choices] == [False, True, True]
    joint, fmn, deepfool = (choice["samples"] for choice in choices)
    for one, two, three in zip(joint, fmn, deepfool, strict=True):
        first = one["position"] < 50  # 50 / 400 = 0.125, and NumPy takes the first of equals
        assert one["distance"] == pytest.approx(min((one["position"] + 1) / 400, 0.125), abs=1e-6)
        assert one["adversarial"] == (two if first else three)["adversarial"]


def test_a_bisection_makes_a_curve_up_to_its_limit():
    bisected = attacked(40, epsilon=0.5, change=(np.arange(100) + 1) / 400, goal="minimal")
    curve = data_of(report(bisected))["choices"][0]["curve"]
    assert curve["epsilon"][-1] == 0.5
    assert curve["accuracy"][-1][0] == pytest.approx(0.6)


def test_epsilon_counts_whole_pixels_in_l0():
    curve = data_of(report(minimal(norm="l0")))["choices"][0]["curve"]
    assert curve["epsilon"] == [0, 1]
    assert [value for value, *_ in curve["accuracy"]] == pytest.approx([1, 0.1])


def test_one_attack_at_several_epsilons_has_a_slider_over_what_was_crafted_for_each():
    sweep = [attacked(count, epsilon=epsilon) for count, epsilon in ((60, 0.2), (30, 0.1))]
    other = attacked(40, epsilon=0.3, method="bim")
    choices = data_of(report([*sweep, other]))["choices"]
    assert [choice["name"] for choice in choices] == [
        "pgd linf 0.1 to 0.2",
        "pgd linf 0.2",
        "pgd linf 0.1",
        "bim linf 0.3",
    ]
    curve = choices[0]["curve"]
    assert curve["epsilon"] == [0, 0.1, 0.2]
    assert [value for value, *_ in curve["accuracy"]] == pytest.approx([1, 0.7, 0.4])
    assert [choices[step]["name"] for step in curve["steps"]] == ["pgd linf 0.1", "pgd linf 0.1", "pgd linf 0.2"]
    assert [choice["curve"] for choice in choices[1:]] == [None] * 3


def test_steps_count_from_behind_the_curves():
    choices = data_of(report([minimal(), attacked(60, epsilon=0.2), attacked(30, epsilon=0.1)]))["choices"]
    steps = choices[1]["curve"]["steps"]
    assert [choices[step]["name"] for step in steps] == ["pgd linf 0.1", "pgd linf 0.1", "pgd linf 0.2"]


@pytest.mark.parametrize(
    "other",
    [
        {"attack": {"seed": 1}},
        {"classifier_digest": "e" * 64},
        {"dataset_digest": "e" * 64},
        {"goal": "minimal"},
        {"epsilon": 0.1},
    ],
)
def test_what_differs_in_more_than_epsilon_has_no_common_slider(other):
    choices = data_of(report([attacked(epsilon=0.1), attacked(**{"epsilon": 0.2} | other)]))["choices"]
    assert not [choice for choice in choices if choice["curve"] and "steps" in choice["curve"]]


def test_two_bisections_make_a_curve_and_no_steps():
    choices = data_of(report([attacked(goal="minimal", epsilon=epsilon) for epsilon in (0.1, 0.2)]))["choices"]
    assert ["steps" in (choice["curve"] or {}) for choice in choices] == [False] * 3


def test_what_changes_in_a_text_is_a_number_of_words():
    texts = [attacked(epsilon=float(count), norm="l0", vocabulary=("", "a")) for count in (1, 2)]
    assert data_of(report(texts))["choices"][0]["curve"]["norm"] == "changed words ≤"
    images = [attacked(epsilon=float(count), norm="l0") for count in (1, 2)]
    assert data_of(report(images))["choices"][0]["curve"]["norm"] == "L0"


def test_a_section_appears_only_with_content():
    always = {"findings", "attacks", "shift", "calibration", "images", "sheet", "details"}
    assert sections(report(attacked(0))) == always
    assert sections(report(attacked())) == always | {"flow"}
    assert sections(report(minimal())) == always | {"flow", "curves"}
    assert sections(report([attacked(), transferred(attacked())])) == always | {"flow", "transfer"}


def transferred(evaluation):
    class Other:
        name, digest = "other", "e" * 64

        def probabilities(self, x):
            return one_hot_like(LABELS, 3)

    return evaluate(evaluation.result, Other())


def test_transfer_has_sources_by_targets():
    text = " ".join(re.sub("<[^>]+>", " ", report([attacked(60), transferred(attacked(60))])).split()).replace(
        "\xa0", " "
    )
    assert "crafted against stub other stub: pgd linf 0.1 40.0 % [30.9, 49.8] white box 100.0 % [96.3, 100.0]" in text


def test_calibration_errors_are_in_the_table():
    evaluation = attacked(60)
    text = report(evaluation).replace("\N{NO-BREAK SPACE}", " ")
    assert f"{100 * evaluation.calibration_clean.error:.1f} %" == "10.0 %"
    row = re.search(r"stub: pgd linf 0.1</th>(.*?)</tr>", text)[1]
    assert re.findall(r">([\d.]+) %<", row) == ["10.0", "50.0"]


def test_the_rate_of_confidently_wrong_images_is_reported():
    sure = one_hot_like((LABELS + 1) % 3, 3, 0.95)
    text = " ".join(re.sub("<[^>]+>", " ", report(attacked(60, adversarial_probabilities=sure))).split())
    assert "stub under PGD, L∞ 0.1: 100.0 % [96.3, 100.0] of the images that were correct" in text.replace("\xa0", " ")


def test_the_largest_class_flow_is_also_text():
    assert "stub: c becomes a most often: 20 of 60 changed samples." not in report(attacked(60))
    assert "stub: a becomes b most often: 20 of 60 changed samples." in report(attacked(60))


def test_names_cannot_end_the_data():
    text = report(minimal(classifier=NASTY, classes=(NASTY, "b", "c"), dataset=NASTY))
    assert NASTY not in text
    assert text.count("</script>") == 2
    embedded = re.search(r'type="application/json">(.*)</script>', text)[1]
    assert not set(embedded) & set("<>&\u2028")
    assert data_of(text)["choices"][0]["classes"][0] == NASTY


def test_nan_probabilities_leave_the_data_readable():
    probabilities = np.full((100, 3), np.nan, np.float32)
    data = data_of(report(evaluate(build(LABELS, LABELS, LABELS, adversarial_probabilities=probabilities))))
    assert data["choices"][0]["samples"][0]["after"] == [0, 0, 0]


@pytest.mark.thorough
def test_ten_thousand_images_of_five_attacks_and_a_curve_stay_below_5_megabytes():
    attacks = [evaluate(many(method=method)) for method in ("fgsm", "bim", "pgd", "apgd")]
    text = report([*attacks, evaluate(many(method="fmn", epsilon=math.inf))])
    assert len(text.encode()) < 5_000_000
    assert "A sample: 40 of 10,000 test images" in text.replace("\n     ", "").replace("  ", " ")
