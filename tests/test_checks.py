"""Each finding is raised by the archive that earns it, and by no other."""

import math

import numpy as np
import pytest
from results import build, one_hot_like

from advlab.evaluation.evaluation import evaluate
from advlab.evaluation.findings import trace
from advlab.evaluation.findings.checks import CHECKS, SEVERITIES
from advlab.results.diagnostics import SelfTestCounts
from advlab.text import encode

N = 500
LABELS = np.arange(N) % 3
WRONG = (LABELS + 1) % 3
PERTURBED = np.where(np.arange(N) < 100, LABELS, WRONG)


def result(adversarial=PERTURBED, clean=LABELS, **fields):
    return build(LABELS, clean, adversarial, **fields)


def codes(result):
    return [finding.code for finding in evaluate(result).findings]


def leading(fraction):
    return np.arange(N) < fraction * N


def nan_probabilities():
    probabilities = one_hot_like(PERTURBED, 3)
    probabilities[7] = math.nan
    return probabilities


def nan_image():
    images = result().x_adv.copy()
    images[3, 0, 0, 0] = math.nan
    return images


PARTLY_UNCHANGED = np.where(np.arange(N) < 100, 0, 0.05)
STEPS = {"parameters": {"steps": 10, "relative_step_size": 2.5}}


def loss_trace(*loss, last=None, first=-1):
    """A loss trace of queries 0 to 10; ``last`` is how many images end at the last of them in ``loss``."""
    losses = np.tile(np.asarray(loss, np.float32), (N, 1))
    if last is not None:
        losses[last:, -1] = losses[last:, :-1].max(1) + 1
    steps = np.linspace(0, 10, len(loss)).round().astype(np.int32)
    return {"loss_trace": losses, "trace_steps": steps, "first_success": np.full(N, first, np.int32)}


def log_odds(adversarial=PERTURBED):
    """The log-odds against the label in the probabilities of a result."""
    label_probability = one_hot_like(adversarial, 3)[np.arange(N), LABELS].astype(np.float64)
    return np.log((1 - label_probability) / label_probability)


def returned_last(lower):
    """A trace whose last query is the returned image, below an earlier one for a fraction ``lower`` of the images."""
    higher = np.where(leading(lower), log_odds() + 1, log_odds() - 1)
    losses = np.stack([log_odds() - 2, higher, log_odds()], 1).astype(np.float32)
    return {"loss_trace": losses, "trace_steps": np.array([0, 5, 10], np.int32)}


def texts(clean, perturbed, parameters=None):
    """The same text everywhere; the model knows three words."""
    vocabulary = ("", "<start>", "<unknown>", "<free>", "a", "film", "movie")
    x, x_adv = (np.repeat(encode([text.split()], vocabulary, 6), N, 0) for text in (clean, perturbed))
    attack = {"parameters": parameters or {}}
    return result(x=x, x_adv=x_adv, vocabulary=vocabulary, norm="l0", epsilon=6, attack=attack)


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
        result(diagnostics={"nonfinite": leading(0.002)}),
        result(adversarial_probabilities=nan_probabilities()),
        result(clean_probabilities=nan_probabilities()),
    ],
    "zero-gradients": [result(diagnostics={"zero_gradient": leading(0.06)})],
    "unchanged-images": [result(change=PARTLY_UNCHANGED)],
    "unstable-predictions": [result(diagnostics={"repeat_difference": np.full(N, 0.01, np.float32)})],
    "clean-near-chance": [result(clean=np.where(leading(0.35), LABELS, WRONG))],
    "perturbed-equals-clean": [
        result(adversarial=LABELS, apart=0.2, epsilon=0.05),
        result(adversarial=LABELS, apart=0.2, norm="l2", epsilon=0.2),
        result(adversarial=LABELS, apart=0.2, norm="l1", epsilon=0.8),
        result(adversarial=LABELS, apart=0.2, norm="l0", epsilon=4),
        result(adversarial=LABELS, apart=0.2, norm="l2", epsilon=math.inf),
    ],
    "log-probabilities": [result(notes=("log-probabilities",))],
    "independent-sigmoids": [result(notes=("independent-sigmoids",))],
    "unknown-words": [texts("zzz yyy a film", "zzz yyy a movie"), texts("zzz", "film")],
    "unchecked-neighbours": [texts("a film", "a movie", {"vectors": "", "edit": "substitute"})],
    "altered-data": [result(provenance="every second image was mirrored")],
    "training-images": [result(split="train")],
    "step-budget-too-small": [
        result(attack={"parameters": {"steps": 10, "relative_step_size": 0.5}}, goal="bounded"),
    ],
    "loss-decreases": [result(diagnostics=loss_trace(2, 1, last=280))],
    "above-clean": [
        result(adversarial=LABELS, clean=np.where(np.arange(N) < 490, LABELS, WRONG)),
        result(adversarial=LABELS, clean=np.where(leading(0.5), LABELS, WRONG), backward_passes=np.zeros(N, np.int32)),
    ],
    "last-iterate": [
        result(adversarial=LABELS, epsilon=0.01, diagnostics=loss_trace(0, 1, first=3)),
        result(diagnostics=returned_last(0.11)),
    ],
    "survives-unbounded": [
        result(np.where(np.arange(N) < 200, LABELS, WRONG), epsilon=0.5, change=0.4),
        result(np.where(np.arange(N) < 200, LABELS, WRONG), norm="l2", epsilon=2, change=0.4),
        result(np.where(np.arange(N) < 200, LABELS, WRONG), norm="l1", epsilon=8, change=0.4),
        result(np.where(np.arange(N) < 200, LABELS, WRONG), norm="l0", epsilon=16, change=0.4),
    ],
    "loss-still-rising": [
        result(attack=STEPS, diagnostics=loss_trace(*range(11))),
        result(attack={"parameters": {"steps": 1}}, diagnostics=loss_trace(0, 1)),
    ],
    "selftest-failed": [result(selftest=SelfTestCounts(100, 88, 1)), result(selftest=SelfTestCounts(10, 6, 1))],
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
        result(diagnostics={"zero_gradient": leading(0.04), "nonfinite": leading(0)}),
        result(diagnostics={"repeat_difference": np.full(N, 1e-6, np.float32)}),
        result(diagnostics={"loss_trace": np.zeros((N, 4), np.float32), "trace_steps": np.arange(4, dtype=np.int32)}),
        result(attack=STEPS, diagnostics=loss_trace(0, 5, 8, 9, 9.5, 10, 10, 10, 10, 10, 10.1)),
        result(attack=STEPS, diagnostics=loss_trace(0, math.nan)),
        result(diagnostics=loss_trace(2, 1, last=251)),
        result(diagnostics=loss_trace(2, 1, last=278)),
        result(diagnostics=returned_last(0.1)),
        result(diagnostics={"first_success": np.where(PERTURBED == LABELS, -1, 1).astype(np.int32)}),
        result(norm="l2", epsilon=1.99, change=0.4, adversarial=np.where(np.arange(N) < 200, LABELS, WRONG)),
    ],
)
def test_a_sound_archive_raises_nothing(sound):
    assert codes(sound) == []


@pytest.mark.parametrize(
    ("code", "excused"),
    [
        ("unchanged-images", result(change=PARTLY_UNCHANGED, method="noise", backward_passes=np.zeros(N, np.int32))),
        ("unchanged-images", result(change=PARTLY_UNCHANGED, norm="l2", epsilon=math.inf)),
        ("unchanged-images", result(change=PARTLY_UNCHANGED, goal="minimal")),
        (
            "step-budget-too-small",
            result(attack={"parameters": {"steps": 10, "relative_step_size": 1.0}}, goal="bounded"),
        ),
        (
            "step-budget-too-small",
            result(attack={"parameters": {"steps": 10, "relative_step_size": 0.5}}, goal="minimal"),
        ),
        ("selftest-failed", result(selftest=SelfTestCounts(100, 89, 1))),
        ("selftest-failed", result(selftest=SelfTestCounts(10, 8, 1))),
        ("selftest-failed", result(selftest=SelfTestCounts(0, 0, 0))),
        ("unchanged-images", result(change=np.where(np.arange(N) < 49, 0, 0.05))),
        ("unchanged-images", result(np.where(np.arange(N) < 4, LABELS, WRONG), change=PARTLY_UNCHANGED)),
        ("perturbed-equals-clean", result(adversarial=LABELS, apart=0.2, epsilon=0.049)),
        ("perturbed-equals-clean", result(adversarial=LABELS, apart=0.2, norm="l2", epsilon=0.19)),
        ("perturbed-equals-clean", result(adversarial=LABELS)),
        ("perturbed-equals-clean", build([0] * 20, [0] * 20, [0] * 20, apart=0.2)),
        ("perturbed-equals-clean", build(LABELS[:7], LABELS[:7], LABELS[:7], apart=0.2)),
        ("perturbed-equals-clean", result(LABELS, apart=0.2, backward_passes=np.zeros(N, np.int32))),
        ("perturbed-equals-clean", result(adversarial=LABELS, apart=0.2, target=1)),
        ("loss-still-rising", result(diagnostics=loss_trace(0, 1))),
        ("loss-still-rising", result(WRONG, attack=STEPS, diagnostics=loss_trace(*range(11)))),
        ("loss-still-rising", result(attack=STEPS, diagnostics=loss_trace(*range(11)), goal="minimal")),
        ("loss-decreases", result(diagnostics=loss_trace(2, 1), goal="minimal")),
        ("loss-decreases", result(diagnostics={**loss_trace(2, 1), "zero_gradient": leading(1)})),
        ("loss-decreases", build(*[LABELS[:7]] * 3, diagnostics={k: v[:7] for k, v in loss_trace(2, 1).items()})),
        ("loss-decreases", result(diagnostics=loss_trace(2, 1), backward_passes=np.zeros(N, np.int32))),
        (
            "last-iterate",
            result(adversarial=LABELS, diagnostics=loss_trace(0, 1, first=3), goal="minimal"),
        ),
        (
            "last-iterate",
            result(diagnostics={**returned_last(0.11), "repeat_difference": np.full(N, 0.01, np.float32)}),
        ),
        ("above-clean", result(adversarial=LABELS, clean=np.where(np.arange(N) < 493, LABELS, WRONG))),
        ("above-clean", result(LABELS, np.where(leading(0.5), LABELS, WRONG), method="noise")),
        ("survives-unbounded", result(adversarial=LABELS, norm="l2", epsilon=math.inf)),
        ("survives-unbounded", result(adversarial=LABELS, epsilon=0.5, backward_passes=np.zeros(N, np.int32))),
        ("survives-unbounded", result(adversarial=LABELS, epsilon=0.5, target=1)),
    ],
)
def test_what_is_natural_for_an_attack_raises_nothing(code, excused):
    assert code not in codes(excused)


def test_a_decrease_is_that_of_images_with_a_gradient():
    """With 150 of 500 images at zero gradients, 350 are left; all of them end higher, then 200 of them lower."""
    diagnostics = {"zero_gradient": leading(0.3)}
    assert trace.decreased(result(diagnostics={**loss_trace(2, 1, last=150), **diagnostics})) == (0, 350)
    found = result(diagnostics={**loss_trace(2, 1, last=350), **diagnostics})
    assert trace.decreased(found) == (200, 350)
    assert "loss-decreases" in codes(found)


def test_zero_gradients_are_counted_among_attempted_samples_only():
    out_of_scope = result(target=0, diagnostics={"zero_gradient": LABELS == 0})
    assert "zero-gradients" not in codes(out_of_scope)


def test_the_late_rise_is_that_of_robust_images_at_their_highest_loss_so_far():
    loss = loss_trace(0, 4, 8, 7, 7, 7, 7, 7, 7, 9, 10)["loss_trace"]
    loss[100:] = 99  # misclassified images do not count
    diagnostics = {"trace_steps": np.arange(11, dtype=np.int32), "loss_trace": loss}
    assert trace.late_rise(result(diagnostics=diagnostics)) == pytest.approx(1 / 10)
    assert math.isnan(trace.late_rise(result(WRONG, diagnostics=diagnostics)))
    assert math.isnan(trace.late_rise(result()))


def test_only_samples_that_ran_all_steps_are_counted():
    loss = loss_trace(2, 1, 0)["loss_trace"]
    loss[:7, 2] = math.nan  # they stopped early
    stopped = result(diagnostics={"loss_trace": loss, "trace_steps": np.arange(3)}, attempted=np.arange(N) != 9)
    assert trace.complete_traces(stopped)[0].tolist() == [7, 8, *range(10, N)]
    assert trace.decreased(stopped) == (N - 8, N - 8)


def test_evidence_counts_the_images():
    finding = evaluate(result(diagnostics={"zero_gradient": leading(0.5)})).findings[0]
    assert finding.evidence.startswith("250 of 500 images")


def test_errors_come_before_warnings_before_notes():
    many = result(change=0.2, split="train", notes=("independent-sigmoids",))
    assert [f.severity for f in evaluate(many).findings] == ["error", "warning", "info"]
