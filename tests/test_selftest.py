"""The self-test: what is planted is there, a sound attack finds it, a broken one does not."""

from __future__ import annotations

import numpy as np
import pytest

import advlab
from advlab.errors import InvalidValue, UnknownName
from advlab.threat import ThreatModel
from advlab.workflows.selftest import planted, selftest

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
    from advlab.engine.attack import attack
    from advlab.results import combine

    seen = []

    def look(head, one):
        seen.append(head.probabilities(one.x).argmax(1)[0])
        return attack(head, one, "noise", norm=norm, epsilon=epsilon, progress=False)

    tested = planted(trained, digits.take(FEW), ThreatModel(norm, epsilon), look, "noise")
    assert tested.planted == FEW
    assert seen == [0] * FEW
    assert tested.found <= 2
    assert combine.within(look(trained, digits.take(1)), ThreatModel(norm, epsilon)) is not None


@pytest.mark.parametrize(("method", "options"), [("pgd", {}), ("ddn", {"norm": "l2", "epsilon": 1.5})])
def test_a_sound_attack_finds_what_is_planted_and_a_random_search_does_not(trained, digits, method, options):
    tested = selftest(trained, method, digits, samples=FEW, progress=False, **options)
    assert tested.found == tested.planted == FEW
    assert tested.random <= 2
    assert f"found {FEW} of {FEW} planted" in str(tested)
    assert tested.to_dict()["threat"]["norm"] == options.get("norm", "linf")


def test_an_attack_with_its_sign_flipped_fails(trained, digits):
    from advlab.engine.attack import attack
    from advlab.methods import pgd

    def downhill(problem, *, steps: int = 20):
        loop = pgd.craft(problem, steps=steps)
        return loop._replace(
            update=lambda state, query, step: loop.update(state, query._replace(gradient=-query.gradient), step)
        )

    def run(head, one):
        return attack(head, one, downhill, norm="linf", epsilon=0.1, progress=False)

    tested = planted(trained, digits.take(FEW), ThreatModel("linf", 0.1), run, "downhill")
    assert tested.found < 0.5 * tested.planted


def test_a_standard_suite_reports_its_own_test(trained, digits):
    evaluations = advlab.run("standard", trained, digits.take(6), epsilon=0.1, selftest=4, progress=False)
    assert [e.attack.method for e in evaluations] == ["apgd", "apgd", "fab", "square", "standard"]
    test = evaluations[-1].result.settings["selftest"]
    assert (test["planted"], test["found"]) == (4, 4)


def test_features_are_what_the_last_dense_layer_is_given(rgb):
    from advlab.classifiers.logits import features_of

    classifier, data = rgb
    body = features_of(classifier.keras_model)
    weights, bias = classifier.keras_model.layers[-1].get_weights()
    logits = np.asarray(body(data.x)) @ weights + bias
    np.testing.assert_allclose(logits, classifier.logits(data.x), atol=1e-4)


def test_a_method_or_norm_that_does_not_exist_is_refused(trained, digits):
    with pytest.raises(UnknownName, match="Did you mean 'pgd'"):
        selftest(trained, "pdg", digits)
    with pytest.raises(InvalidValue, match="does not cover norm 'l0'"):
        selftest(trained, "pgd", digits, norm="l0")
    with pytest.raises(InvalidValue, match="needs a ball"):
        selftest(trained, "noise", digits, norm="none")
