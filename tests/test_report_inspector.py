"""What the page embeds for its inspector, and which sections it has when."""

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


def attacked(broken=60, **fields):
    """The images from number ``broken`` on hold."""
    adversarial = np.where(np.arange(100) < broken, (LABELS + 1) % 3, LABELS)
    return evaluate(build(LABELS, LABELS, adversarial, **fields))


def minimal(**fields):
    """Image ``i`` falls at ``(i + 1) / 400``; the last ten never do."""
    return attacked(90, method="fmn", epsilon=math.inf, change=(np.arange(100) + 1) / 400, **fields)


def data_of(text):
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)[1])


def sections(text):
    return set(re.findall(r'<section[^>]* aria-labelledby="(\w+)"', text))


def test_the_sample_is_the_same_for_every_attack_and_the_page_says_that_it_is_one():
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


def test_an_entry_says_what_the_classifier_answered_and_how_sure_it_was():
    samples = data_of(report(attacked(60)))["choices"][0]["samples"]
    for sample in samples:
        label = LABELS[sample["position"]]
        after = (label + 1) % 3 if sample["position"] < 60 else label
        assert sample["label"] == label
        assert sample["predicted"] == [label, after]
        assert sample["outcome"] == ("fooled" if sample["position"] < 60 else "held")
        assert sample["bars"] == [0, 1, 2]
        assert sample["before"] == pytest.approx([0.9 if c == label else 0.05 for c in range(3)])
        assert sample["after"] == pytest.approx([0.9 if c == after else 0.05 for c in range(3)])
        assert sample["amplified"] == 5


def test_of_many_classes_the_likeliest_have_bars_and_always_the_label_and_the_answers():
    clean = one_hot_like(np.zeros(3, int), 50)
    result = build([40] * 3, [0] * 3, [30] * 3, k=50, clean_probabilities=clean)
    for sample in data_of(report(evaluate(result)))["choices"][0]["samples"]:
        assert len(sample["bars"]) == 10
        assert {0, 30, 40} <= set(sample["bars"])
        assert sample["outcome"] == "wrong"


def test_what_an_earlier_part_of_a_cascade_broke_did_not_hold():
    attempted = np.arange(100) >= 50
    adversarial = np.where(np.arange(100) < 50, LABELS, (LABELS + 1) % 3)
    samples = data_of(report(evaluate(build(LABELS, LABELS, adversarial, attempted=attempted))))["choices"][0][
        "samples"
    ]
    assert {s["outcome"] for s in samples if s["position"] < 50} == {"earlier"}
    assert {s["outcome"] for s in samples if s["position"] >= 50} == {"fooled"}


def test_the_slider_looks_up_the_curve_and_says_where_each_image_falls():
    choice = data_of(report(minimal()))["choices"][0]
    curve = choice["curve"]
    assert len(curve["epsilon"]) == len(curve["accuracy"]) == 201
    assert (curve["epsilon"][0], curve["epsilon"][-1]) == (0, pytest.approx(0.225))
    for epsilon, (value, low, high) in zip(curve["epsilon"], curve["accuracy"], strict=True):
        held = 1 - min(math.floor(epsilon * 400 + 1e-4), 90) / 100
        assert value == pytest.approx(held, abs=0.0101)  # an image on the edge may round to either side
        assert low <= value <= high
    for sample in choice["samples"]:
        at = sample["position"]
        assert sample["falls"] == (None if at >= 90 else pytest.approx((at + 1) / 400, abs=1e-6))


def test_several_attacks_in_one_norm_make_one_curve_of_each_images_smallest_change():
    far = attacked(100, method="deepfool", epsilon=math.inf, change=np.full(100, 0.125))
    choices = data_of(report([minimal(), far]))["choices"]
    assert [choice["name"] for choice in choices] == ["any epsilon, L∞", "fmn linf", "deepfool linf"]
    assert [choice["curve"] is None for choice in choices] == [False, True, True]
    both, near, other = (choice["samples"] for choice in choices)
    for one, two, three in zip(both, near, other, strict=True):
        first = one["position"] < 50  # 50 / 400 = 0.125, and NumPy takes the first of equals
        assert one["falls"] == pytest.approx(min((one["position"] + 1) / 400, 0.125), abs=1e-6)
        assert one["adversarial"] == (two if first else three)["adversarial"]


def test_a_bisection_makes_a_curve_as_far_as_it_searched():
    bisected = attacked(40, epsilon=0.5, change=(np.arange(100) + 1) / 400, settings={"goal": "minimal"})
    curve = data_of(report(bisected))["choices"][0]["curve"]
    assert curve["epsilon"][-1] == 0.5
    assert curve["accuracy"][-1][0] == pytest.approx(0.6)


def test_epsilon_counts_whole_pixels_in_l0():
    curve = data_of(report(minimal(norm="l0")))["choices"][0]["curve"]
    assert curve["epsilon"] == [0, 1]
    assert [value for value, *_ in curve["accuracy"]] == pytest.approx([1, 0.1])


def test_a_section_appears_where_there_is_something_to_show():
    always = {"findings", "attacks", "shift", "calibration", "images", "sheet", "made"}
    assert sections(report(attacked(0))) == always
    assert sections(report(attacked())) == always | {"flow"}
    assert sections(report(minimal())) == always | {"flow", "curves"}
    assert sections(report([attacked(), moved(attacked())])) == always | {"flow", "transfer"}


def moved(evaluation):
    class Other:
        name, digest = "other", "e" * 64

        def probabilities(self, x):
            return one_hot_like(LABELS, 3)

    return evaluate(evaluation.result, Other())


def test_transfer_shows_sources_by_targets():
    text = " ".join(re.sub("<[^>]+>", " ", report([attacked(60), moved(attacked(60))])).split()).replace("\xa0", " ")
    assert "crafted against stub other stub: pgd linf 0.1 40.0 % [30.9, 49.8] its own 100.0 % [96.3, 100.0]" in text


def test_calibration_errors_are_in_the_table():
    evaluation = attacked(60)
    text = report(evaluation).replace("\N{NO-BREAK SPACE}", " ")
    assert f"{100 * evaluation.calibration_clean.error:.1f} %" == "10.0 %"
    row = re.search(r"stub: pgd linf 0.1</th>(.*?)</tr>", text)[1]
    assert re.findall(r">([\d.]+) %<", row) == ["10.0", "50.0"]


def test_how_many_end_up_confidently_wrong_is_told():
    sure = one_hot_like((LABELS + 1) % 3, 3, 0.95)
    text = " ".join(re.sub("<[^>]+>", " ", report(attacked(60, adversarial_probabilities=sure))).split())
    assert "stub under PGD, L∞ 0.1: 100.0 % [96.3, 100.0] of the images that were right" in text.replace("\xa0", " ")


def test_the_flow_is_told_in_words_too():
    assert "stub: c becomes a most often: 20 of 60 changed images." not in report(attacked(60))
    assert "stub: a becomes b most often: 20 of 60 changed images." in report(attacked(60))


def test_names_cannot_end_the_data():
    text = report(minimal(classifier=NASTY, classes=(NASTY, "b", "c"), dataset=NASTY))
    assert NASTY not in text
    assert text.count("</script>") == 2
    embedded = re.search(r'type="application/json">(.*)</script>', text)[1]
    assert not set(embedded) & set("<>&\u2028")
    assert data_of(text)["choices"][0]["classes"][0] == NASTY


def test_probabilities_that_are_no_numbers_leave_the_data_readable():
    broken = np.full((100, 3), np.nan, np.float32)
    data = data_of(report(evaluate(build(LABELS, LABELS, LABELS, adversarial_probabilities=broken))))
    assert data["choices"][0]["samples"][0]["after"] == [0, 0, 0]


@pytest.mark.thorough
def test_ten_thousand_images_of_five_attacks_and_a_curve_stay_below_5_megabytes():
    attacks = [evaluate(many(method=method)) for method in ("fgsm", "bim", "pgd", "apgd")]
    text = report([*attacks, evaluate(many(method="fmn", epsilon=math.inf))])
    assert len(text.encode()) < 5_000_000
    assert "A sample: 40 of 10,000 test images" in text.replace("\n     ", "").replace("  ", " ")
