"""Each finding is raised by the archive that earns it, and by no other."""

import math

import numpy as np
import pytest
from results import build, one_hot_like

from advlab.evaluation.evaluation import evaluate
from advlab.evaluation.findings import trace
from advlab.evaluation.findings.checks import CHECKS, SEVERITIES

N = 500
LABELS = np.arange(N) % 3
WRONG = (LABELS + 1) % 3
HELD = np.where(np.arange(N) < 100, LABELS, WRONG)


def result(adversarial=HELD, clean=LABELS, **fields):
    return build(LABELS, clean, adversarial, **fields)


def codes(result):
    return [finding.code for finding in evaluate(result).findings]


def share(fraction):
    return np.arange(N) < fraction * N


def nan_probabilities():
    probabilities = one_hot_like(HELD, 3)
    probabilities[7] = math.nan
    return probabilities


def nan_image():
    images = result().x_adv.copy()
    images[3, 0, 0, 0] = math.nan
    return images


STILL = np.where(np.arange(N) < 100, 0, 0.05)
STEPS = {"parameters": {"steps": 10, "relative_step_size": 2.5}}


def walk(*loss, last=None, first=-1):
    """A loss trace of looks 0 to 10; ``last`` is how many images end at the last of them in ``loss``."""
    losses = np.tile(np.asarray(loss, np.float32), (N, 1))
    if last is not None:
        losses[last:, -1] = losses[last:, :-1].max(1) + 1
    steps = np.linspace(0, 10, len(loss)).round().astype(np.int32)
    return {"loss_trace": losses, "trace_steps": steps, "first_success": np.full(N, first, np.int32)}


def odds(adversarial=HELD):
    """The log-odds against the label in the probabilities of a result."""
    own = one_hot_like(adversarial, 3)[np.arange(N), LABELS].astype(np.float64)
    return np.log((1 - own) / own)


def returned_last(lower):
    """A walk whose last look is the returned image, below an earlier look for a share ``lower`` of the images."""
    higher = np.where(share(lower), odds() + 1, odds() - 1)
    losses = np.stack([odds() - 2, higher, odds()], 1).astype(np.float32)
    return {"loss_trace": losses, "trace_steps": np.array([0, 5, 10], np.int32)}


RAISED = {
    "budget-exceeded": [
        result(change=0.11),
        result(norm="l2", epsilon=0.3, change=0.1),
        result(norm="l1", epsilon=1.5, change=0.1),
        result(norm="l0", epsilon=15, change=0.1),
        result(x_adv=nan_image()),
    ],
    "box-exceeded": [result(epsilon=0.9, change=0.6), result(epsilon=0.9, change=-0.6), result(x_adv=nan_image())],
    "non-finite": [
        result(diagnostics={"nonfinite": share(0.002)}),
        result(adversarial_probabilities=nan_probabilities()),
        result(clean_probabilities=nan_probabilities()),
    ],
    "zero-gradients": [result(diagnostics={"zero_gradient": share(0.06)})],
    "unchanged-images": [result(change=STILL)],
    "unstable-predictions": [result(diagnostics={"repeat_difference": np.full(N, 0.01, np.float32)})],
    "clean-near-chance": [result(clean=np.where(share(0.35), LABELS, WRONG))],
    "perturbed-equals-clean": [
        result(adversarial=LABELS),
        result(adversarial=LABELS, norm="l2", epsilon=1.5),
        result(adversarial=LABELS, norm="l2", epsilon=math.inf),
    ],
    "log-probabilities": [result(notes=("log-probabilities",))],
    "independent-sigmoids": [result(notes=("independent-sigmoids",))],
    "training-images": [result(split="train")],
    "step-budget-too-small": [
        result(attack={"parameters": {"steps": 10, "relative_step_size": 0.5}}, settings={"goal": "bounded"}),
    ],
    "loss-decreases": [result(diagnostics=walk(2, 1, last=251))],
    "above-clean": [
        result(adversarial=LABELS, clean=np.where(np.arange(N) < 490, LABELS, WRONG)),
        result(adversarial=LABELS, clean=np.where(share(0.5), LABELS, WRONG), backward_passes=np.zeros(N, np.int32)),
    ],
    "last-iterate": [
        result(adversarial=LABELS, epsilon=0.01, diagnostics=walk(0, 1, first=3)),
        result(diagnostics=returned_last(0.11)),
    ],
    "survives-unbounded": [
        result(np.where(np.arange(N) < 200, LABELS, WRONG), epsilon=0.5, change=0.4),
        result(np.where(np.arange(N) < 200, LABELS, WRONG), norm="l2", epsilon=2, change=0.4),
        result(np.where(np.arange(N) < 200, LABELS, WRONG), norm="l1", epsilon=8, change=0.4),
        result(np.where(np.arange(N) < 200, LABELS, WRONG), norm="l0", epsilon=16, change=0.4),
    ],
    "loss-still-rising": [
        result(attack=STEPS, diagnostics=walk(*range(11))),
        result(attack={"parameters": {"steps": 1}}, diagnostics=walk(0, 1)),
    ],
    "selftest-failed": [result(settings={"selftest": {"planted": 100, "found": 94, "random": 1}})],
    "few-samples": [build([0, 1, 2] * 20, [0, 1, 2] * 20, [0, 1, 0] * 20)],
}


def test_every_code_has_an_archive_here_that_raises_it():
    assert sorted(RAISED) == sorted(check.code for check in CHECKS)
    assert {check.severity for check in CHECKS} == set(SEVERITIES)


@pytest.mark.parametrize(("code", "case"), [(code, case) for code, cases in RAISED.items() for case in cases])
def test_raised_with_evidence(code, case):
    found = {finding.code: finding for finding in evaluate(case).findings}
    assert code in found
    assert found[code].evidence


@pytest.mark.parametrize(
    "sound",
    [
        result(),
        result(norm="l2", epsilon=1.5),
        result(norm="l0", epsilon=16, change=0.01),
        result(epsilon=0.5),
        result(norm="none", epsilon=math.inf, change=0.4),
        result(diagnostics={"zero_gradient": share(0.04), "nonfinite": share(0)}),
        result(diagnostics={"repeat_difference": np.full(N, 1e-6, np.float32)}),
        result(diagnostics={"loss_trace": np.zeros((N, 4), np.float32), "trace_steps": np.arange(4, dtype=np.int32)}),
        result(attack=STEPS, diagnostics=walk(0, 5, 8, 9, 9.5, 10, 10, 10, 10, 10, 10.1)),
        result(attack=STEPS, diagnostics=walk(0, math.nan)),
        result(diagnostics=walk(2, 1, last=250)),
        result(diagnostics=returned_last(0.1)),
        result(diagnostics={"first_success": np.where(HELD == LABELS, -1, 1).astype(np.int32)}),
        result(norm="l2", epsilon=1.99, change=0.4, adversarial=np.where(np.arange(N) < 200, LABELS, WRONG)),
    ],
)
def test_a_sound_archive_raises_nothing(sound):
    assert codes(sound) == []


@pytest.mark.parametrize(
    ("code", "excused"),
    [
        ("unchanged-images", result(change=STILL, method="noise", backward_passes=np.zeros(N, np.int32))),
        ("unchanged-images", result(change=STILL, norm="l2", epsilon=math.inf)),
        ("unchanged-images", result(change=STILL, settings={"goal": "minimal"})),
        (
            "step-budget-too-small",
            result(attack={"parameters": {"steps": 10, "relative_step_size": 1.0}}, settings={"goal": "bounded"}),
        ),
        (
            "step-budget-too-small",
            result(attack={"parameters": {"steps": 10, "relative_step_size": 0.5}}, settings={"goal": "minimal"}),
        ),
        ("selftest-failed", result(settings={"selftest": {"planted": 100, "found": 95, "random": 1}})),
        ("unchanged-images", result(change=np.where(np.arange(N) < 49, 0, 0.05))),
        ("unchanged-images", result(np.where(np.arange(N) < 4, LABELS, WRONG), change=STILL)),
        ("perturbed-equals-clean", result(adversarial=LABELS, epsilon=0.01)),
        ("perturbed-equals-clean", result(adversarial=LABELS, backward_passes=np.zeros(N, np.int32))),
        ("perturbed-equals-clean", result(adversarial=LABELS, target=1)),
        ("loss-still-rising", result(diagnostics=walk(0, 1))),
        ("loss-still-rising", result(WRONG, attack=STEPS, diagnostics=walk(*range(11)))),
        ("loss-still-rising", result(attack=STEPS, diagnostics=walk(*range(11)), settings={"goal": "minimal"})),
        ("loss-decreases", result(diagnostics=walk(2, 1), settings={"goal": "minimal"})),
        ("loss-decreases", result(diagnostics=walk(2, 1), backward_passes=np.zeros(N, np.int32))),
        ("last-iterate", result(adversarial=LABELS, diagnostics=walk(0, 1, first=3), settings={"goal": "minimal"})),
        ("above-clean", result(adversarial=LABELS, clean=np.where(np.arange(N) < 493, LABELS, WRONG))),
        ("above-clean", result(LABELS, np.where(share(0.5), LABELS, WRONG), method="noise")),
        ("survives-unbounded", result(adversarial=LABELS, norm="l2", epsilon=math.inf)),
        ("survives-unbounded", result(adversarial=LABELS, epsilon=0.5, backward_passes=np.zeros(N, np.int32))),
        ("survives-unbounded", result(adversarial=LABELS, epsilon=0.5, target=1)),
    ],
)
def test_what_is_natural_for_an_attack_is_not_held_against_it(code, excused):
    assert code not in codes(excused)


def test_zero_gradients_are_counted_among_attempted_samples_only():
    out_of_scope = result(target=0, diagnostics={"zero_gradient": LABELS == 0})
    assert "zero-gradients" not in codes(out_of_scope)


def test_the_late_rise_is_that_of_standing_images_at_their_highest_loss_so_far():
    loss = walk(0, 4, 8, 7, 7, 7, 7, 7, 7, 9, 10)["loss_trace"]
    loss[100:] = 99  # broken images do not count
    steps = {"trace_steps": np.arange(11, dtype=np.int32), "loss_trace": loss}
    assert trace.late_rise(result(diagnostics=steps)) == pytest.approx(1 / 10)
    assert math.isnan(trace.late_rise(result(WRONG, diagnostics=steps)))
    assert math.isnan(trace.late_rise(result()))


def test_only_samples_that_walked_to_the_end_are_looked_at():
    loss = walk(2, 1, 0)["loss_trace"]
    loss[:7, 2] = math.nan  # they left early
    seen = result(diagnostics={"loss_trace": loss, "trace_steps": np.arange(3)}, attempted=np.arange(N) != 9)
    assert trace.traced(seen)[0].tolist() == [7, 8, *range(10, N)]
    assert trace.fell(seen) == (N - 8, N - 8)


def test_evidence_counts_the_images():
    finding = evaluate(result(diagnostics={"zero_gradient": share(0.5)})).findings[0]
    assert finding.evidence.startswith("250 of 500 images")


def test_errors_come_before_warnings_before_notes():
    many = result(change=0.2, split="train", notes=("independent-sigmoids",))
    assert [f.severity for f in evaluate(many).findings] == ["error", "warning", "info"]
