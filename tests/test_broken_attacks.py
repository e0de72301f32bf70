"""An attack or defence that is broken on purpose raises its finding, or its error where the engine refuses it."""

import dataclasses

import numpy as np
import pytest
from broken import Noisy, Rounded, beyond, downhill, downhill_last, guarded, saturated, timid, wandering

import advlab
from advlab.errors import AdvlabError, InvalidValue

FEW = 150


@pytest.fixture(scope="module")
def few(digits):
    return digits.take(FEW)


def crafted(classifier, data, method, **options):
    # Not compiled: on so few images that would take longer than the attack.
    return advlab.evaluate(advlab.attack(classifier, data, method, compile="graph", progress=False, **options))


def codes(findings):
    return {finding.code for finding in findings}


@pytest.mark.parametrize(
    ("method", "options", "raised"),
    [
        (downhill, {}, "loss-decreases"),
        (downhill, {"epsilon": 0.21}, "perturbed-equals-clean"),
        (downhill_last, {}, "loss-decreases"),
        (wandering, {}, "last-iterate"),
        (timid, {}, "step-budget-too-small"),
        ("pgd", {"steps": 1}, "loss-still-rising"),
        ("pgd", {"steps": 3, "relative_step_size": 0.9}, "loss-still-rising"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_broken_attack_raises_its_finding(trained, few, method, options, raised):
    assert raised in codes(crafted(trained, few, method, **options).findings)


@pytest.mark.parametrize("method", ["fgsm", "pgd", "bim", "mim", "apgd", "square"])
def test_a_sound_attack_raises_none_of_them(trained, few, method):
    options = {"steps": 500} if method == "square" else {}
    assert codes(crafted(trained, few, method, **options).findings) <= {"few-samples"}


@pytest.mark.parametrize(
    ("defence", "raised"),
    [
        (lambda classifier: guarded(classifier, Rounded()), "zero-gradients"),
        pytest.param(
            lambda classifier: guarded(classifier, Noisy()), "unstable-predictions", marks=pytest.mark.thorough
        ),
        pytest.param(saturated, "log-probabilities", marks=pytest.mark.thorough),
        (lambda classifier: advlab.Classifier.from_keras(classifier.keras_model, scale=1 / 255), "clean-near-chance"),
    ],
    ids=["rounded", "noisy", "saturated", "0-1 for 0-255"],
)
def test_a_broken_defence_raises_its_finding(trained, few, defence, raised):
    assert raised in codes(crafted(defence(trained), few, "pgd", steps=5).findings)


def test_images_of_the_training_set_raise_their_finding(trained):
    data = advlab.load_dataset("digits", split="train", limit=50)
    assert "training-images" in codes(crafted(trained, data, "fgsm").findings)


def test_an_attack_with_its_sign_flipped_is_no_better_than_noise(trained, few):
    found = advlab.cross_findings([crafted(trained, few, method, epsilon=0.25) for method in (downhill, "noise")])
    assert "no-better-than-noise" in codes(found)


def test_fewer_steps_than_needed_are_found_by_comparison_with_more(trained, few):
    found = [crafted(trained, few, "pgd", epsilon=0.08, steps=steps) for steps in (1, 20)]
    assert codes(advlab.cross_findings(found)) == {"not-converged"}


@pytest.mark.thorough
def test_a_masked_gradient_is_found_by_comparison_with_a_black_box(trained, few):
    masked = guarded(trained, Rounded())
    found = [crafted(masked, few, "pgd", epsilon=0.5), crafted(masked, few, "square", epsilon=0.5, steps=500)]
    assert "weaker-than-black-box" in codes(advlab.cross_findings(found))


@pytest.mark.parametrize(
    ("doctored", "raised"),
    [
        (lambda r: {"x_adv": np.clip(255 * r.x + 8 * np.sign(r.x_adv - r.x), 0, 255)}, {"budget", "box"}),
        (lambda r: {"x_adv": r.x + 8 * np.sign(r.x_adv - r.x)}, {"budget", "box"}),
        (lambda r: {"x_adv": np.clip(r.x + 0.2 * np.sign(r.x_adv - r.x), 0, 1)}, {"budget"}),
    ],
    ids=["0-255 images", "epsilon of 8", "twice epsilon"],
)
def test_an_archive_from_elsewhere_in_the_wrong_unit_raises_its_findings(trained, few, doctored, raised):
    honest = advlab.attack(trained, few, "fgsm", progress=False)
    result = dataclasses.replace(honest, **{k: v.astype(np.float32) for k, v in doctored(honest).items()})
    assert codes(advlab.evaluate(result).findings) & {"budget-exceeded", "box-exceeded"} == {
        f"{name}-exceeded" for name in raised
    }


def test_the_engine_refuses_epsilon_in_0_255(trained, few):
    with pytest.raises(InvalidValue, match="8/255"):
        advlab.attack(trained, few, "pgd", epsilon=8, progress=False)


def test_a_data_set_refuses_images_in_0_255(few):
    with pytest.raises(InvalidValue, match="divide by 255"):
        advlab.Dataset.from_arrays(255 * few.x, few.y)


def test_the_engine_refuses_an_attack_that_leaves_its_ball(trained, few):
    with pytest.raises(AdvlabError, match="left its ball"):
        advlab.attack(trained, few, beyond, progress=False)


def test_best_keeping_hides_nothing_that_a_last_iterate_hides(trained, few):
    def keeping_best(problem, *, steps: int = 20):
        return wandering(problem, steps=steps)._replace(keep="best")

    best, last = crafted(trained, few, keeping_best), crafted(trained, few, wandering)
    assert best.robust_accuracy.count < last.robust_accuracy.count
    assert "last-iterate" not in codes(best.findings)
