"""What people try first: each call works, or its error says what to write."""

from __future__ import annotations

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import advlab
from advlab.errors import InvalidValue, UnknownName

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def few(digits):
    return digits.take(8)


@pytest.fixture(scope="module")
def expected(trained, few):
    return advlab.attack(trained, few, "fgsm").x_adv


def test_a_classifier_is_given_as_itself_a_keras_model_a_name_or_a_path(trained, few, expected, tmp_path):
    path = trained.save(tmp_path / "net.h5")
    for classifier in (trained, trained.keras_model, "digits", path, str(path)):
        np.testing.assert_array_equal(advlab.attack(classifier, few, "fgsm").x_adv, expected)
    with pytest.raises(InvalidValue, match=r"needs a keras\.Model"):
        advlab.attack(few, few)


@pytest.mark.parametrize("batch", [None, 3])
def test_data_is_given_as_itself_a_name_arrays_or_a_tf_dataset(trained, few, expected, batch, tmp_path):
    pairs = tf.data.Dataset.from_tensor_slices((few.x, few.y))
    np.savez(tmp_path / "few.npz", x=few.x, y=few.y)
    given = (few, (few.x, few.y), [few.x, few.y], pairs if batch is None else pairs.batch(batch), tmp_path / "few.npz")
    for data in given:
        np.testing.assert_array_equal(advlab.attack(trained, data, "fgsm").x_adv, expected)
    np.testing.assert_array_equal(advlab.attack(trained, "digits", "fgsm", samples=8).x_adv, expected)
    with pytest.raises(InvalidValue, match=r"a pair \(x, y\).*Got ndarray.*advlab.attack\(classifier, \(x, y\)"):
        advlab.attack(trained, few.x)


def test_a_specification_says_all_and_is_handed_on(trained, few):
    spec = advlab.Attack("pgd", norm="Linf", epsilon="8/255", steps=3)
    assert (spec.goal, spec.threat.epsilon, spec.slug) == ("bounded", 8 / 255, "pgd-linf-8/255-steps=3")
    assert advlab.Attack.from_dict(spec.to_dict()) == spec
    first = advlab.attack(trained, few, spec)
    assert first.attack is spec
    np.testing.assert_array_equal(first.x_adv, advlab.attack(trained, few, "pgd", epsilon=8 / 255, steps=3).x_adv)
    with pytest.raises(InvalidValue, match=r"says all about an attack.*epsilon besides"):
        advlab.attack(trained, few, spec, epsilon=0.1)


def test_a_minimal_method_and_a_function_are_specified_in_the_same_way(trained, few):
    def unchanged(problem, *, times: int = 1):
        return advlab.Loop(0, lambda: {"x": problem.x}, lambda state, query, step: state)

    assert advlab.Attack("ddn").goal == "minimal"
    own = advlab.Attack(unchanged, times=2)
    assert (own.method, own.parameters, own.overrides) == ("unchanged", {"times": 2}, ("times",))
    assert np.array_equal(advlab.attack(trained, few, own).x_adv, few.x)


def test_a_list_of_epsilons_gives_a_list_of_results(trained, few):
    results = advlab.attack(trained, few, "fgsm", epsilon=[0.05, "8/255"])
    assert [result.attack.threat.epsilon for result in results] == [0.05, 8 / 255]
    assert len(advlab.attack(trained, few, "fgsm", epsilon=np.array([0.1, 0.2]))) == 2


@pytest.mark.parametrize(
    ("word", "here"),
    [
        ("eps", "epsilon"),
        ("num_steps", "steps"),
        ("max_iter", "steps"),
        ("alpha", "step_size"),
        ("eps_step", "step_size"),
    ],
)
def test_words_of_other_libraries_are_answered_with_the_name_here(trained, few, word, here):
    with pytest.raises(UnknownName, match=f"Here it is called '{here}'") as error:
        advlab.attack(trained, few, "pgd", **{word: 0.1})
    assert "Did you mean" not in str(error.value)


@pytest.mark.parametrize(("norm", "here"), [("Linf", "linf"), (np.inf, "linf"), (2, "l2"), ("L1", "l1"), (2.0, "l2")])
def test_norms_are_taken_as_they_are_written_elsewhere(norm, here):
    assert advlab.Attack("pgd", norm=norm).threat.norm == here


def test_a_step_size_is_absolute_or_relative_and_not_both(trained, few):
    absolute = advlab.attack(trained, few, "pgd", epsilon=0.1, steps=10, step_size=0.025)
    relative = advlab.attack(trained, few, "pgd", epsilon=0.1, steps=10, relative_step_size=2.5)
    np.testing.assert_allclose(absolute.x_adv, relative.x_adv, atol=1e-6)
    with pytest.raises(InvalidValue, match="not both"):
        advlab.Attack("pgd", step_size=0.1, relative_step_size=2.5)


def test_nothing_is_written_unless_asked(trained, few, workspace):
    advlab.attack(trained, few, "pgd", steps=3)
    advlab.curve(trained, few, "ddn", steps=3)
    advlab.run(trained, few, "quick")
    assert list(workspace.rglob("*")) == []
    saved = advlab.attack(trained, few, "pgd", steps=3, save=True)
    assert saved.path.is_file()
    assert advlab.evaluate(saved.path).robust_accuracy == advlab.evaluate(saved).robust_accuracy


def test_a_report_and_a_table_take_any_iterable_of_evaluations(trained, few, tmp_path):
    result = advlab.attack(trained, few, "fgsm")
    by_name = {"fgsm": advlab.evaluate(result)}
    assert advlab.table(by_name.values()) == advlab.table(by_name["fgsm"])
    assert "fgsm" in advlab.report(by_name.values(), tmp_path / "report.html").lower()
    for wrong in (result, [result], "a.h5"):
        with pytest.raises(InvalidValue, match=r"advlab\.evaluate\(result\)"):
            advlab.report(wrong)


def test_the_typed_example_uses_every_public_function():
    text = (ROOT / "examples" / "typed_api.py").read_text("utf-8")
    used = set(re.findall(r"advlab\.(\w+)", text))
    left_out = {name for name in advlab.__all__ if name not in used}
    assert left_out <= {
        *("available", "demo", "study", "load_study", "load_suite", "load_classifier", "StudyResult"),
        *("ExternalLoop", "UniversalLoop", "START", "ThreatModel", "track", "docs_address"),
        *("AdvlabError", "AdvlabWarning", "FileExists", "InvalidFile", "InvalidValue", "Mismatch"),
    }


@pytest.mark.thorough
def test_the_typed_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import typed_api

    typed_api.main(tmp_path)
    assert "Here it is called 'epsilon'" in capsys.readouterr().out
    assert (tmp_path / "report.html").is_file()


def test_keras_models_are_recognised_by_keras_itself(few):
    model = keras.Sequential([keras.Input((28, 28)), keras.layers.Flatten(), keras.layers.Dense(10)])
    assert len(advlab.attack(model, few, "noise")) == len(few)
