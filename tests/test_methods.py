"""The contract of every method, whatever its file: one suite over the folder."""

from __future__ import annotations

import ast
from importlib import import_module

import numpy as np
import pytest
import tensorflow as tf

from advlab import loop, metrics, schema
from advlab.engine import attack
from advlab.errors import InvalidValue, UnknownName
from advlab.losses import LOSSES

QUICK = {
    "apgd": {"steps": 20},
    "boundary": {"steps": 3, "trials": 3},
    "ddn": {"steps": 40},
    "fmn": {"steps": 40},
    "pgd": {"steps": 10},
    "square": {"steps": 40},
}
LONGER = {"apgd": 100, "fmn": 80, "square": 70}  # lines; their state machines are the paper's own
UNTARGETED = {"deepfool"}
EVERY = [(name, norm) for name in schema.names() for norm in schema.method(name).norms]
NATIVE = [(name, norm) for name, norm in EVERY if schema.method(name).native]
every = pytest.mark.parametrize(("name", "norm"), EVERY)
native = pytest.mark.parametrize(("name", "norm"), NATIVE)


@pytest.fixture(scope="module")
def few(digits):
    return digits.take(24)


def run(trained, data, name, norm, **options):
    options = {**QUICK.get(name, {}), **options}
    return attack(trained, data, name, norm=norm, progress=False, **options)


def sizes(result) -> np.ndarray:
    norm = result.attack.threat.norm
    return getattr(metrics.distances(result.x, result.x_adv), "l2" if norm == "none" else norm)


@every
def test_the_result_is_whole_inside_its_ball_and_as_predicted(trained, few, name, norm):
    result = run(trained, few, name, norm)
    assert result.x_adv.dtype == np.float32
    assert result.x_adv.shape == few.x.shape
    assert result.x_adv.min() >= 0
    assert result.x_adv.max() <= 1
    assert np.all(sizes(result) <= result.attack.threat.epsilon)
    np.testing.assert_allclose(result.adversarial_probabilities, trained.probabilities(result.x_adv), atol=1e-6)
    np.testing.assert_array_equal(result.success, result.adversarial_probabilities.argmax(1) != few.y)
    assert np.all(result.forward_passes[result.correct] > 0)
    assert result.attempted.all()


@every
def test_the_same_seed_gives_the_same_images(trained, few, name, norm):
    first, second = (run(trained, few, name, norm, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.x_adv, second.x_adv)


@every
def test_a_minimal_method_finds_what_succeeds_and_a_bounded_one_uses_its_budget(trained, few, name, norm):
    result = run(trained, few, name, norm)
    if schema.method(name).kind == "minimal":
        assert result.success.mean() > 0.9
        np.testing.assert_array_equal(sizes(result)[~result.correct | ~result.success], 0)
    elif norm != "none":
        assert np.all(sizes(result) > 0)
        assert sizes(result).max() > 0.5 * result.attack.threat.epsilon


@native
def test_a_sample_does_not_depend_on_its_neighbours(trained, digits, name, norm):
    data = digits.take(60)
    whole, batches = run(trained, data, name, norm), run(trained, data, name, norm, batch_size=7)
    assert np.mean(whole.success == batches.success) >= 0.98
    part = run(trained, digits.take(20, seed=1), name, norm)
    both, here, there = np.intersect1d(data.indices, part.indices, return_indices=True)
    assert len(both) > 1
    differs = np.abs(whole.x_adv[here] - part.x_adv[there]) > 1e-4
    assert differs.mean() < 0.01


@native
def test_the_best_look_of_each_sample_is_kept(trained, few, name, norm):
    result = run(trained, few, name, norm)
    planned = loop.plan(import_module(f"advlab.methods.{name}").craft, result.attack, few.shape)
    loss = LOSSES[planned.loss](trained.logits(tf.constant(result.x_adv)), tf.constant(few.y, tf.int32)).numpy()
    best = np.nanmax(result.diagnostics["loss_trace"], axis=1)
    if schema.method(name).kind == "bounded":
        np.testing.assert_allclose(loss, best, rtol=1e-3, atol=1e-3)


@native
def test_more_restarts_never_help_the_defender(trained, few, name, norm):
    one, three = run(trained, few, name, norm), run(trained, few, name, norm, restarts=3)
    assert np.all(three.success >= one.success)
    assert np.all(three.forward_passes == 3 * one.forward_passes)


@native
def test_a_bounded_method_with_no_budget_changes_nothing(trained, few, name, norm):
    if schema.method(name).kind == "bounded" and norm != "none":
        np.testing.assert_array_equal(run(trained, few, name, norm, epsilon=0).x_adv, few.x)


@every
def test_a_target_is_reached_or_refused(trained, few, name, norm):
    if name in UNTARGETED:
        with pytest.raises(InvalidValue, match="no targeted variant"):
            run(trained, few, name, norm, target=3)
        return
    result = run(trained, few, name, norm, target=3)
    np.testing.assert_array_equal(result.success, result.attempted & (result.adversarial_probabilities.argmax(1) == 3))
    np.testing.assert_array_equal(result.attempted, few.y != 3)
    np.testing.assert_array_equal(result.x_adv[few.y == 3], few.x[few.y == 3])


@pytest.mark.parametrize("name", schema.names())
def test_a_method_file_is_short_named_after_its_source_and_imports_little(name):
    path = schema.FOLDER / f"{name}.py"
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    document = ast.get_docstring(tree)
    assert document
    assert "arXiv:" in document or name == "noise"
    assert len(text.splitlines()) <= LONGER.get(name, 60)
    allowed = ("advlab.problem", "advlab.losses", "advlab.geometry", "advlab.random", "advlab.methods")
    for node in ast.walk(tree):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules = [f"advlab.{alias.name}" for alias in node.names] if modules == ["advlab"] else modules
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        assert not [m for m in modules if m.startswith("advlab") and not m.startswith(allowed)], modules


@pytest.mark.parametrize("name", schema.names())
def test_an_unknown_parameter_is_refused_with_those_that_exist(trained, few, name):
    with pytest.raises(UnknownName, match=f"Unknown parameter of method '{name}': 'wobble'") as caught:
        attack(trained, few, name, wobble=1)
    assert all(parameter in str(caught.value) for parameter in schema.method(name).parameters)
