"""The self-test: planted examples are adversarial, a sound attack finds them, a faulty one does not."""

from __future__ import annotations

import numpy as np
import pytest

import advlab
from advlab.distances import distance
from advlab.errors import InvalidValue, UnknownName
from advlab.threat import ThreatModel
from advlab.workflows.selftest import _points, run_selftest, selftest

FEW = 12


@pytest.mark.parametrize(
    ("norm", "epsilon"),
    [
        ("linf", 0.1),
        ("l2", 1.5),
        pytest.param("l1", 10, marks=pytest.mark.thorough),
        pytest.param("l0", 20, marks=pytest.mark.thorough),
    ],
)
def test_the_planted_example_is_adversarial_inside_the_ball_and_the_clean_image_is_not(trained, digits, norm, epsilon):
    from advlab.results import combine
    from advlab.workflows.attack import attack

    clean_predictions = []

    def run(head, image, mask):
        clean_predictions.append(head.probabilities(image.x).argmax(1)[0])
        return attack(head, image, "noise", norm=norm, epsilon=epsilon, progress=False)

    self_test = run_selftest(trained, digits.take(FEW), ThreatModel(norm, epsilon), run, "noise")
    assert self_test.planted == FEW
    assert clean_predictions == [0] * FEW
    assert self_test.found <= 2
    assert combine.within(run(trained, digits.take(1), None), ThreatModel(norm, epsilon)) is not None


@pytest.mark.parametrize(("method", "options"), [("pgd", {}), ("ddn", {"norm": "l2", "epsilon": 1.5})])
def test_a_sound_attack_finds_what_is_planted_and_a_random_search_does_not(trained, digits, method, options):
    self_test = selftest(trained, digits, method, samples=FEW, progress=False, **options)
    assert self_test.found == self_test.planted == FEW
    assert self_test.random <= 2
    assert f"found {FEW} of {FEW} planted" in str(self_test)
    assert self_test.to_dict()["threat"]["norm"] == options.get("norm", "linf")


def test_an_attack_with_its_sign_flipped_fails(trained, digits):
    from advlab.methods import pgd
    from advlab.workflows.attack import attack

    def downhill(problem, *, steps: int = 20):
        loop = pgd.craft(problem, steps=steps)
        return loop._replace(
            update=lambda state, query, step: loop.update(state, query._replace(gradient=-query.gradient), step)
        )

    def run(head, image, mask):
        return attack(head, image, downhill, norm="linf", epsilon=0.1, progress=False)

    self_test = run_selftest(trained, digits.take(FEW), ThreatModel("linf", 0.1), run, "downhill")
    assert self_test.found < 0.5 * self_test.planted


def test_a_standard_suite_reports_its_self_test(trained, digits):
    evaluations = advlab.run(trained, digits.take(6), "standard", epsilon=0.1, selftest=4, progress=False)
    assert [e.attack.method for e in evaluations] == ["apgd", "apgd", "fab", "square", "standard"]
    test = evaluations[-1].result.selftest
    assert (test.planted, test.found) == (4, 4)


def test_features_are_the_inputs_of_the_last_dense_layer(rgb):
    from advlab.classifiers.logits import features_of

    classifier, data = rgb
    feature_model = features_of(classifier.keras_model)
    weights, bias = classifier.keras_model.layers[-1].get_weights()
    logits = np.asarray(feature_model(data.x)) @ weights + bias
    np.testing.assert_allclose(logits, classifier.logits(data.x), atol=1e-4)


def test_a_method_or_norm_that_does_not_exist_is_refused(trained, digits):
    with pytest.raises(UnknownName, match="Did you mean 'pgd'"):
        selftest(trained, digits, "pdg")
    with pytest.raises(InvalidValue, match="does not cover norm 'l0'"):
        selftest(trained, digits, "pgd", norm="l0")
    with pytest.raises(InvalidValue, match="needs a ball"):
        selftest(trained, digits, "noise", norm="none")


@pytest.mark.parametrize(
    ("method", "options"),
    [("pgd", {}), pytest.param("sigma_zero", {"epsilon": 20, "steps": 200}, marks=pytest.mark.thorough)],
)
def test_what_is_planted_in_a_mask_is_found_there(trained, digits, method, options):
    mask = np.zeros((28, 28), bool)
    mask[8:22, 6:22] = True
    self_test = selftest(trained, digits, method, samples=FEW, mask=mask, progress=False, **options)
    assert self_test.planted >= FEW - 2
    assert self_test.found >= self_test.planted - 1


def test_planted_points_lie_in_the_mask_on_the_edge_of_the_ball():
    image, mask = np.full((8, 8, 2), 0.5, np.float32), np.zeros((8, 8, 1), bool)
    mask[2:5, 3:] = True
    for norm, epsilon in (("linf", 0.1), ("l2", 0.5), ("l1", 0.5), ("l0", 5)):
        points = _points(image, ThreatModel(norm, epsilon), mask, 50, np.random.default_rng(0))
        outside = np.broadcast_to(~mask, image.shape)
        assert np.all(points[:, outside] == 0.5)
        sizes = distance(np.broadcast_to(image, points.shape), points, norm)
        np.testing.assert_allclose(sizes, epsilon, rtol=1e-3)
