"""The contract of every method, whatever its file: one suite over the folder."""

from __future__ import annotations

import ast
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import tensorflow as tf

import advlab
from advlab.declarations import methods
from advlab.declarations.attack import Attack
from advlab.declarations.methods import load_method, method_names
from advlab.distances import distances
from advlab.engine import steps
from advlab.errors import InvalidValue, UnknownName
from advlab.methods import fgsm
from advlab.problem.losses import LOSSES
from advlab.workflows.attack import attack

QUICK = {
    "alma": {"steps": 60},
    "apgd": {"steps": 20},
    "boundary": {"steps": 3, "trials": 3},
    "carlini_wagner": {"steps": 40, "searches": 3, "learning_rate": 0.05, "constant": 1.0},
    "ddn": {"steps": 40},
    "ead": {"steps": 30, "searches": 3, "constant": 1.0},
    "fab": {"steps": 20},
    "fmn": {"steps": 40},
    "hopskipjump": {"steps": 3, "queries": 20},
    "naive": {"size": 2.0},
    "newtonfool": {"steps": 20, "eta": 0.05},
    "patch": {"epochs": 5},
    "pgd": {"steps": 10},
    "sigma_zero": {"steps": 40},
    "spatial": {"angles": 3, "shifts": 1},
    "square": {"steps": 40},
    "universal": {"epochs": 5},
    "zoo": {"steps": 15, "searches": 1, "coordinates": 512, "learning_rate": 0.1, "constant": 30.0},
}
LONGER = {
    "alma": 100,
    "apgd": 100,
    "carlini_wagner": 100,
    "ead": 80,
    "fab": 80,
    "fmn": 80,
    "hotflip": 110,
    "jsma": 90,
    "sigma_zero": 70,
    "square": 70,
    "trigger": 75,
}  # lines: the papers' own machinery
UNTARGETED = {"newtonfool", "spatial"}
DETERMINISTIC = {"alma", "bim", "carlini_wagner", "ddn", "deepfool", "ead", "fgsm", "fmn", "jsma", "mim", "sigma_zero"}
SHARED = {"patch", "universal"}  # one perturbation of all images: nothing holds sample by sample
UNPUBLISHED = {"naive", "newtonfool", "noise", "random_words"}  # without an arXiv number
SLOW = {"boundary", "hopskipjump", "newtonfool", "spatial", "zoo"}  # another library, a call for each query
EVERY = [
    pytest.param(name, norm, marks=pytest.mark.thorough if name in SLOW else ())
    for name in method_names()
    if load_method(name).data == "images"  # those of texts: test_text_attacks.py
    for norm in load_method(name).norms
]
NATIVE = [case for case in EVERY if load_method(case.values[0]).native and case.values[0] not in SHARED]
every = pytest.mark.parametrize(("name", "norm"), EVERY)
native = pytest.mark.parametrize(("name", "norm"), NATIVE)


@pytest.fixture(scope="module")
def few(digits):
    return digits.take(24)


def run(trained, data, name, norm, **options):
    if not load_method(name).native:
        data = data.take(12)  # other libraries take their time
    options = {**QUICK.get(name, {}), **options}
    return attack(trained, data, name, norm=norm, progress=False, **options)


RESULTS: dict[tuple[str, str], object] = {}


def once(trained, few, name, norm):
    """The result of the method on the few images, crafted once for all tests that use it."""
    if (name, norm) not in RESULTS:
        RESULTS[name, norm] = run(trained, few, name, norm)
    return RESULTS[name, norm]


def sizes(result) -> np.ndarray:
    norm = result.attack.threat.norm
    return getattr(distances(result.x, result.x_adv), "l2" if norm == "none" else norm)


@every
def test_the_result_is_complete_inside_its_ball_and_as_predicted(trained, few, name, norm):
    result = once(trained, few, name, norm)
    assert result.x_adv.dtype == np.float32
    assert result.x_adv.shape == result.x.shape
    assert result.x_adv.min() >= 0
    assert result.x_adv.max() <= 1
    assert np.all(sizes(result) <= result.attack.threat.epsilon)
    np.testing.assert_allclose(result.adversarial_probabilities, trained.probabilities(result.x_adv), atol=1e-6)
    np.testing.assert_array_equal(result.success, result.adversarial_probabilities.argmax(1) != result.labels)
    assert np.all(result.forward_passes[result.correct] > 0)
    assert result.attempted.all()


@every
def test_the_same_seed_gives_the_same_images(trained, few, name, norm):
    again = run(trained, few, name, norm, seed=0)
    np.testing.assert_array_equal(again.x_adv, once(trained, few, name, norm).x_adv)


@every
def test_a_minimal_method_finds_what_succeeds_and_a_bounded_one_uses_its_budget(trained, few, name, norm):
    result = once(trained, few, name, norm)
    if load_method(name).goal == "minimal":
        assert result.success.mean() > (
            0.7 if name == "newtonfool" else 0.9
        )  # which makes no progress where the model is sure
        np.testing.assert_array_equal(sizes(result)[~result.correct | ~result.success], 0)
    elif norm != "none":
        assert np.all(sizes(result) > 0)
        assert sizes(result).max() > 0.5 * result.attack.threat.epsilon


@native
def test_a_sample_does_not_depend_on_its_neighbours(trained, few, name, norm):
    whole, batches = once(trained, few, name, norm), run(trained, few, name, norm, batch_size=8)
    assert np.mean(whole.success == batches.success) >= 0.95
    third = replace(few, x=few.x[1::3], y=few.y[1::3], indices=few.indices[1::3])
    part = run(trained, third, name, norm)
    differs = np.abs(whole.x_adv[1::3] - part.x_adv) > 1e-4
    assert differs.mean() < 0.01


@native
def test_the_best_iterate_of_each_sample_is_kept(trained, few, name, norm):
    result = once(trained, few, name, norm)
    planned = steps.plan(import_module(f"advlab.methods.{name}").craft, result.attack, few.shape)
    loss = LOSSES[planned.loss](trained.logits(tf.constant(result.x_adv)), tf.constant(few.y, tf.int32)).numpy()
    eligible = result.diagnostics.trace_steps >= planned.counts_from
    best = np.nanmax(result.diagnostics.loss_trace[:, eligible], axis=1)
    if load_method(name).goal == "bounded":
        np.testing.assert_allclose(loss, best, rtol=1e-3, atol=1e-3)


@native
def test_more_restarts_never_help_the_defender_and_repeat_nothing(trained, few, name, norm):
    one = once(trained, few, name, norm)
    if name in DETERMINISTIC:
        with pytest.raises(InvalidValue, match=f"'{name}' draws nothing at random.*Got 3 restarts; leave them out"):
            run(trained, few, name, norm, restarts=3)
        return
    three = run(trained, few, name, norm, restarts=3)
    assert np.all(three.success >= one.success)
    goal = load_method(name).goal
    # Rows of `naive` leave at a step that is a matter of luck, and those of the refinement under l0 when it is done.
    if name != "naive" and (goal == "bounded" or norm != "l0"):
        refinement = np.where(one.forward_passes > 0, 31 if goal == "minimal" else 0, 0)  # once, after all restarts
        assert np.all(three.forward_passes - refinement == 3 * (one.forward_passes - refinement))


@native
def test_a_bounded_method_with_no_budget_changes_nothing(trained, few, name, norm):
    if load_method(name).goal == "bounded" and norm != "none":
        np.testing.assert_array_equal(run(trained, few, name, norm, epsilon=0).x_adv, few.x)


@every
def test_a_target_is_reached_or_refused(trained, few, name, norm):
    if name in UNTARGETED:
        with pytest.raises(InvalidValue, match="no targeted variant"):
            run(trained, few, name, norm, target=3)
        return
    result = run(trained, few, name, norm, target=3)
    np.testing.assert_array_equal(result.success, result.attempted & (result.adversarial_probabilities.argmax(1) == 3))
    np.testing.assert_array_equal(result.attempted, result.labels != 3)
    np.testing.assert_array_equal(result.x_adv[~result.attempted], result.x[~result.attempted])


@pytest.mark.parametrize("name", method_names())
def test_a_specification_is_read_as_it_was_written(name):
    values = {parameter: value for parameter, value in load_method(name).parameters.items() if value is not None}
    spec = Attack(name, **values)
    assert Attack.from_dict(spec.to_dict()) == spec


def test_a_function_keeps_the_names_of_its_parameters_whatever_ours_were_once_called(trained, few, tmp_path):
    def own(problem, *, share: float = 0.5, kind: str = "a", targets: int = 1, step: float = 2.0):
        return fgsm.craft(problem)

    result = attack(trained, few, own)
    result.save(tmp_path / "own.h5")
    assert advlab.load_result(tmp_path / "own.h5").attack.parameters == result.attack.parameters
    assert set(result.attack.parameters) == {"share", "kind", "targets", "step"}


@pytest.mark.parametrize("name", method_names())
def test_a_method_file_is_short_named_after_its_source_and_imports_little(name):
    path = methods.FOLDER / f"{name}.py"
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    document = ast.get_docstring(tree)
    assert document
    assert "arXiv:" in document or name in UNPUBLISHED
    described = load_method(name).descriptions
    assert len(text.splitlines()) - len(described) - 2 <= LONGER.get(name, 60)  # what describes a parameter is no code
    allowed = (
        "advlab.problem",
        "advlab.methods",
    )
    for node in ast.walk(tree):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules = [f"advlab.{alias.name}" for alias in node.names] if modules == ["advlab"] else modules
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        assert not [m for m in modules if m.startswith("advlab") and not m.startswith(allowed)], modules


@pytest.mark.parametrize("name", method_names())
def test_every_parameter_is_described_in_a_sentence(name):
    method = load_method(name)
    assert list(method.descriptions) == list(method.parameters)
    assert all(text[0].isupper() and text.endswith(".") for text in method.descriptions.values())


@pytest.mark.parametrize("name", method_names())
def test_an_unknown_parameter_is_refused_with_those_that_exist(trained, few, name):
    with pytest.raises(UnknownName, match=f"Unknown parameter of method '{name}': 'wobble'") as caught:
        attack(trained, few, name, wobble=1)
    assert all(parameter in str(caught.value) for parameter in load_method(name).parameters)
