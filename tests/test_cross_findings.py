"""What several attacks show about each other: each finding is raised by the set that earns it, and by no other."""

import math
from dataclasses import replace

import numpy as np
import pytest
from results import build

import advlab
from advlab.evaluation.evaluation import evaluate
from advlab.evaluation.findings import checks
from advlab.evaluation.findings.cross import CROSS_CHECKS, cross_findings

N = 400
LABELS = np.arange(N) % 3
WRONG = (LABELS + 1) % 3


def attack(successes, method="pgd", steps=40, source=None, first=0, **fields):
    """The evaluation of an attack that succeeds on ``successes`` of 400 images, from image ``first`` on."""
    rows = (np.arange(N) >= first) & (np.arange(N) < first + successes)
    queries = np.array([0, {"fgsm": 1, "noise": 0}.get(method, steps)], np.int32)
    if method in ("noise", "naive", "square", "boundary"):
        fields["backward_passes"] = np.zeros(N, np.int32)
    if method not in ("fgsm", "noise") and "attack" not in fields:
        fields["attack"] = {"parameters": {"steps": steps}}
    adversarial = np.where(rows, WRONG, LABELS)
    result = build(LABELS, LABELS, adversarial, method=method, diagnostics={"trace_steps": queries}, **fields)
    return evaluate(result, source) if source else evaluate(result)


class Other:
    """Another classifier on which images are scored: it misclassifies the first ``n`` of them."""

    name, digest = "stub", "c" * 64

    def __init__(self, n):
        self.n = n

    def probabilities(self, x):
        clean = build(LABELS, LABELS, np.where(np.arange(N) < self.n, WRONG, LABELS))
        return clean.clean_probabilities if np.all(x == 0.5) else clean.adversarial_probabilities


def transferred(successes, crafted_on="elsewhere"):
    return attack(0, source=Other(successes), classifier=crafted_on, classifier_digest="e" * 64)


def minimal(method, size, successes=N):
    """A method that finds a change of that size in one pixel, in L2."""
    sizes = np.full(N, size) if np.ndim(size) == 0 else size
    return attack(successes, method, norm="l2", epsilon=math.inf, change=sizes, goal="minimal")


RAISED = {
    "weaker-than-single-step": [[attack(100), attack(120, "fgsm")], [attack(0), attack(8, "fgsm")]],
    "weaker-than-black-box": [
        [attack(100), attack(120, "square")],
        [attack(100), attack(100, "apgd"), attack(130, "square")],
        [minimal("ddn", 0.2), minimal("boundary", 0.1)],
        [attack(50, norm="l2", epsilon=0.3, change=0.01), minimal("boundary", 0.1)],
    ],
    "black-box-after-white-box": [
        [attack(100, "apgd"), attack(20, "square", first=100, attempted=np.arange(N) >= 100)],
    ],
    "weaker-than-minimal": [[attack(100), attack(200, "fab", goal="minimal")]],
    "weaker-than-bounded": [[attack(141, "apgd"), attack(100, "fab", goal="minimal")]],
    "weaker-than-transfer": [[attack(100), transferred(120)]],
    "no-better-than-noise": [
        [attack(100), attack(100, "noise")],
        [attack(103), attack(100, "noise")],
        [attack(100, "square"), attack(100, "noise")],
        [attack(8), attack(8, "noise")],
        [attack(0, apart=0.2), attack(0, "noise", apart=0.2)],
        [attack(3, apart=0.2, epsilon=0.05), attack(0, "noise", apart=0.2, epsilon=0.05)],
    ],
    "flat-in-epsilon": [
        [attack(100, epsilon=0.05), attack(90, epsilon=0.06)],
        [attack(100, epsilon=0.025, apart=0.2), attack(100, epsilon=0.05, apart=0.2)],
        [attack(0, epsilon=0.1, apart=0.2), attack(0, epsilon=0.3, apart=0.2)],
    ],
    "not-converged": [
        [attack(100), attack(110, steps=80)],
        [attack(100), attack(110, attack={"parameters": {"steps": 40}, "restarts": 5})],
    ],
    "attacks-disagree": [
        [attack(100), attack(58, "square", first=50)],
        [attack(100), attack(50, "apgd", first=54), attack(50, "square", first=58)],
    ],
}


def codes(evaluations):
    return [finding.code for finding in cross_findings(evaluations)]


def test_every_code_has_a_set_of_attacks_here_that_raises_it():
    assert sorted(RAISED) == sorted(check.code for check in CROSS_CHECKS)
    own = {check.code for check in checks.CHECKS}
    assert not own & set(RAISED)


@pytest.mark.parametrize(("code", "case"), [(code, case) for code, cases in RAISED.items() for case in cases])
def test_raised_with_evidence_that_names_the_classifier(code, case):
    for order in (case, case[::-1]):
        found = {finding.code: finding for finding in cross_findings(order)}
        assert code in found
        assert "stub" in found[code].evidence


@pytest.mark.parametrize(
    "sound",
    [
        [],
        [attack(100)],
        [attack(100), attack(100, "fgsm"), attack(20, "noise"), attack(60, "square"), transferred(50)],
        [attack(100), attack(107, "fgsm")],
        [attack(100), attack(107, "square")],
        [attack(100), attack(107, "apgd"), attack(110, "square")],
        [attack(100), attack(57, "square", first=50)],
        [attack(140), attack(100, "fab", goal="minimal")],
        [attack(200), attack(100, "deepfool", goal="minimal")],
        [attack(100), attack(103, steps=80), attack(103, attack={"parameters": {"steps": 40}, "restarts": 5})],
        [attack(380), attack(380, "noise")],
        [attack(100, attack={"seed": 1}), attack(50)],
        [attack(50, epsilon=0.05), attack(100, epsilon=0.1), attack(390, epsilon=0.3), attack(395, epsilon=0.9)],
        [attack(0, epsilon=0.001, apart=0.2), attack(0, epsilon=0.002, apart=0.2)],
        [attack(0, epsilon=0.02, apart=0.2), attack(0, epsilon=0.049, apart=0.2)],
        [attack(0, epsilon=0.1), attack(0, epsilon=0.3)],
        [attack(7), attack(0, "noise")],
        [attack(9, epsilon=0.01, apart=0.2), attack(2, "noise", epsilon=0.01, apart=0.2)],
        [attack(2, epsilon=0.01, apart=0.2), attack(2, "noise", epsilon=0.01, apart=0.2)],
        [attack(7, apart=0.2), attack(0, "noise", apart=0.2)],
        [attack(395, epsilon=0.1), attack(395, epsilon=0.3)],
        [minimal("deepfool", 0.2, successes=0), attack(100, "fgsm", norm="l2", epsilon=0.3, change=0.01)],
        [minimal("ddn", 0.1), minimal("boundary", 0.2)],
        [minimal("ddn", 0.1), minimal("boundary", 0.0995)],
    ],
)
def test_a_sound_set_of_attacks_raises_nothing(sound):
    assert codes(sound) == []


@pytest.mark.parametrize(
    "unlike",
    [
        [attack(0), attack(200, "fgsm", classifier_digest="x" * 64)],
        [attack(0), attack(200, "fgsm", dataset_digest="x" * 64)],
        [attack(0), attack(200, "fgsm", epsilon=0.2)],
        [attack(0), attack(200, "fgsm", target=1)],
        [attack(0, norm="none", epsilon=math.inf), attack(200, "square", norm="none", epsilon=math.inf)],
    ],
)
def test_only_attacks_on_one_classifier_the_same_samples_and_one_threat_model_are_compared(unlike):
    assert codes(unlike) == []


def test_white_boxes_are_taken_together_image_by_image():
    together = [attack(100), attack(100, "apgd", first=100), attack(150, "square")]
    assert codes(together) == ["attacks-disagree"]
    assert codes(together[::2]) == ["weaker-than-black-box"]


def after(*parts):
    """The images that the next part of a cascade attacks: still robust after all of these."""
    return {"attempted": np.all([part.robust for part in parts], axis=0)}


def minimal_part(successes, first=0, **fields):
    """FAB as part of a cascade: a minimal method whose result was taken within epsilon."""
    return attack(successes, "fab", first=first, goal="minimal", **fields)


def test_a_black_box_part_that_still_succeeds_after_the_white_boxes_is_a_finding():
    """8 of 400 images are more than 0.2 points, and have p = 2 / 2**8 = 0.008; 7 have p = 0.016."""
    apgd = attack(100, "apgd")
    fab = minimal_part(20, first=100, **after(apgd))
    found = cross_findings([apgd, fab, attack(8, "square", first=120, **after(apgd, fab))])
    assert [finding.code for finding in found] == ["black-box-after-white-box"]
    assert found[0].evidence == (
        "square linf 0.1 succeeds on 8 of 400 images on stub on which all attacks with gradients had failed"
    )
    assert codes([apgd, fab, attack(7, "square", first=120, **after(apgd, fab))]) == []
    assert codes([apgd, fab, attack(8, "noise", first=120, **after(apgd, fab))]) == ["black-box-after-white-box"]


def test_significantly_many_must_be_more_than_a_fifth_of_a_point():
    """Of 5,000 images 10 are 0.2 points, and not by chance."""
    labels, rows = np.arange(5000) % 3, np.arange(5000)

    def part(first, successes, **fields):
        rowwise = np.where((rows >= first) & (rows < first + successes), (labels + 1) % 3, labels)
        return evaluate(build(labels, labels, rowwise, **fields))

    apgd = part(0, 500, method="apgd")
    search = {"method": "square", "backward_passes": np.zeros(5000, np.int32), "attempted": apgd.robust}
    assert codes([apgd, part(500, 10, **search)]) == []
    assert codes([apgd, part(500, 11, **search)]) == ["black-box-after-white-box"]


def test_only_images_that_each_white_box_tried_count_for_a_black_box_part():
    square = attack(100, "square")
    apgd = attack(20, "apgd", first=100, **after(square))
    assert codes([square, apgd]) == []
    assert codes([attack(100, "apgd"), attack(0, "square", first=100, **after(attack(100, "apgd")))]) == []


@pytest.mark.parametrize(
    ("bounded", "fab"),
    [
        (attack(100, "apgd"), minimal_part(41, first=100, **after(attack(100, "apgd")))),
        (attack(100, "apgd"), minimal_part(141)),
        (attack(100, "apgd"), minimal_part(191, first=50)),
        (attack(100, norm="l2", epsilon=0.3, change=0.01), minimal("fab", np.where(np.arange(N) < 141, 0.2, 0.4))),
    ],
    ids=["cascade", "all images", "not a superset", "in its own norm without epsilon"],
)
def test_a_minimal_attack_far_stronger_than_the_bounded_ones_is_a_finding(bounded, fab):
    found = {finding.code: finding.evidence for finding in cross_findings([bounded, fab])}
    assert "weaker-than-minimal" in found
    assert "on which all bounded attacks had failed" in found["weaker-than-minimal"]


@pytest.mark.parametrize(
    "sound",
    [
        [attack(100, "apgd"), minimal_part(40, first=100, **after(attack(100, "apgd")))],
        [attack(100, "apgd"), minimal_part(140)],
        [attack(100, "apgd"), minimal_part(140, first=100)],
        [attack(100, "apgd"), attack(40, "apgd", first=100), minimal_part(180)],
        [attack(100, "fgsm"), minimal_part(300)],
        [minimal_part(300), attack(10, "apgd", first=300, **after(minimal_part(300)))],
        [attack(100, norm="l2", epsilon=0.3, change=0.01), minimal("fab", 0.4)],
    ],
    ids=["10 points", "10 points of all", "as many others", "two together", "one step", "before", "beyond epsilon"],
)
def test_a_minimal_attack_as_strong_as_the_bounded_ones_is_none(sound):
    assert "weaker-than-minimal" not in codes(sound)


def test_attacks_that_each_find_what_the_others_miss_are_a_finding_unless_the_classifier_is_random():
    """Of 400 images 8 found by one alone have p = 2 / 2**8 = 0.008; 7 have p = 0.016."""
    pair = [attack(100), attack(58, "square", first=50)]
    assert [finding.evidence for finding in cross_findings(pair)] == [
        "pgd linf 0.1 succeeds on 100 of 400 images on stub, 2 attacks together on 108"
    ]
    square = pair[1].result
    diagnostics = replace(square.diagnostics, repeat_difference=np.full(N, 0.1, np.float32))
    assert codes([pair[0], evaluate(replace(square, diagnostics=diagnostics))]) == []


def test_the_parts_of_a_cascade_enter_no_other_comparison():
    part = attack(200, attempted=np.arange(N) < 300, first=100)
    assert codes([attack(0), part]) == []
    assert codes([attack(0), attack(200, "fgsm", attempted=np.arange(N) < 300)]) == []


def test_joined_results_are_not_compared():
    joined = build(LABELS, LABELS, LABELS, method="standard", diagnostics={"misclassified_by": np.full(N, -1)})
    assert evaluate(joined).joins
    assert codes([evaluate(joined), attack(200, "square")]) == []


def test_the_evidence_counts_what_only_one_of_both_succeeds_on():
    found = cross_findings([attack(100), attack(160, "square", first=50)])
    assert (
        found[0].evidence
        == "square linf 0.1 succeeds on 160 of 400 images on stub, pgd linf 0.1 on 100; only the former on 110"
    )


def test_long_evidence_is_cut_short():
    weak = [attack(0, name) for name in ("pgd", "bim", "mim", "apgd")]
    found = {
        finding.code: finding.evidence
        for finding in cross_findings([*weak, attack(100, "fgsm"), attack(150, "square")])
    }
    assert found["weaker-than-single-step"].count(";") == 4
    assert found["weaker-than-single-step"].endswith("; and 2 more")
    assert "5 attacks with gradients together on 100; only the former on 50" in found["weaker-than-black-box"]


def test_a_difference_must_be_a_point_and_more_than_chance():
    """Of 400 images a point is 4; 7 to 0 has p = 0.016 in the exact test, 8 to 0 has p = 0.008."""
    assert codes([attack(100), attack(107, "fgsm")]) == []
    assert codes([attack(100), attack(108, "fgsm")]) == ["weaker-than-single-step"]


def test_names_from_files_do_not_steer_the_terminal():
    name = "a\x1b[2J"
    for pair in (
        [attack(100, classifier=name), attack(120, "fgsm", classifier=name)],
        [attack(100), transferred(120, crafted_on=name)],
    ):
        evidence = cross_findings(pair)[0].evidence
        assert "a?[2J" in evidence
        assert "\x1b" not in evidence


def test_it_is_public():
    assert advlab.cross_findings is cross_findings
