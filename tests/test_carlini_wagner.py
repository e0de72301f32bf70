"""Carlini & Wagner and EAD: optima known in closed form, and the search over c that both share."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from advlab.methods import _search, carlini_wagner
from advlab.problem.problem import Query
from advlab.workflows.attack import attack
from tests.test_linear import smallest


@pytest.fixture(scope="module")
def two(grey):
    return replace(grey, y=grey.y % 2, classes=("a", "b"))


def distances(result, norm: str) -> np.ndarray:
    change = np.abs(result.x_adv - result.x).reshape(len(result.x), -1).astype(float)
    return {"linf": change.max(1), "l2": np.linalg.norm(change, axis=1), "l1": change.sum(1)}[norm]


@pytest.mark.parametrize(
    ("method", "norm", "within", "parameters"),
    [
        ("carlini_wagner", "l2", 1.005, {}),
        pytest.param("carlini_wagner", "linf", 1.1, {}, marks=pytest.mark.thorough),
        # By default EAD's 2-norm weighs more than its 1-norm.
        pytest.param("ead", "l1", 1.06, {"beta": 0.01}, marks=pytest.mark.thorough),
    ],
)
def test_the_distance_to_the_boundary_is_found(linear, two, method, norm, within, parameters):
    result = attack(linear, two, method, norm=norm, steps=400, progress=False, **parameters)
    sizes, rows = distances(result, norm), np.flatnonzero(result.correct)
    assert result.success.all()
    ratio = [sizes[row] / smallest(linear, result.x[row], result.labels[row], norm) for row in rows]
    assert min(ratio) >= 1 - 1e-5
    assert np.median(ratio) < within


def test_a_pixel_at_the_end_of_the_box_moves_at_once_with_the_gradient_of_tanh_and_never_beyond():
    x = tf.constant([[[[0.0], [1.0], [0.5], [1.0]]]])
    problem = SimpleNamespace(
        x=x, labels=tf.zeros(1, tf.int32), ball=SimpleNamespace(norm="l2"), clearance=lambda logits: 0.0
    )
    loop = carlini_wagner.craft(problem, constant=1.0)
    start = loop.start()
    gradient = tf.constant([[[[1.0], [-1.0], [1.0], [1.0]]]])  # inwards, inwards, up, and beyond white
    query = Query(x=start["x"], logits=None, loss=tf.constant([-1.0]), success=tf.constant([False]), gradient=gradient)
    state = loop.update(start, query, tf.constant(0))
    edge, rate = np.arctanh(0.99), 0.01
    np.testing.assert_allclose(start["x"], x, atol=1e-6)
    np.testing.assert_allclose(np.ravel(state["w"]), [rate - edge, edge - rate, rate, edge], rtol=1e-4)
    np.testing.assert_allclose(np.ravel(state["x"]), np.tanh(np.ravel(state["w"])) / 0.99 / 2 + 0.5, atol=1e-6)
    assert np.all((state["x"] >= 0) & (state["x"] <= 1))
    first = np.ravel(state["first"])
    np.testing.assert_allclose(first / first[2], [1 - 0.99**2, 0.99**2 - 1, 1, 1 - 0.99**2], rtol=1e-3)


def test_black_and_white_pixels_move_from_the_first_steps_on(linear, two):
    edges = replace(two, x=np.round(np.random.default_rng(0).random(two.x.shape)).astype(np.float32))
    result = attack(linear, edges, "carlini_wagner", steps=200, searches=6, progress=False)
    sizes, rows = distances(result, "l2"), np.flatnonzero(result.correct)
    assert len(rows) >= 10
    assert result.success.all()
    ratio = [sizes[row] / smallest(linear, result.x[row], result.labels[row], "l2") for row in rows]
    assert np.median(ratio) < 1.02


@pytest.mark.thorough
def test_early_abort_costs_time_but_not_distance(trained, digits):
    fast, full = (
        attack(trained, digits.take(40), "carlini_wagner", norm="l2", steps=150, abort=abort, progress=False)
        for abort in (True, False)
    )
    ratio = distances(fast, "l2")[fast.correct] / distances(full, "l2")[fast.correct]
    assert np.median(ratio) < 1.01
    assert np.all(full.forward_passes[full.correct] == 9 * 150 + 31)  # and the refinement's
    assert fast.forward_passes[fast.correct].mean() < 0.8 * 9 * 150
    assert len(set(fast.forward_passes[fast.correct])) > 5  # each sample at its own pace


@pytest.mark.thorough
def test_ead_is_nearer_in_l1_and_changes_fewer_pixels(trained, digits):
    data = digits.take(60)
    sparse = attack(trained, data, "ead", steps=200, progress=False)
    dense = attack(trained, data, "carlini_wagner", steps=200, progress=False)
    rows = sparse.correct
    changed = [(result.x_adv != result.x).reshape(len(data), -1).sum(1)[rows] for result in (sparse, dense)]
    assert np.median(distances(sparse, "l1")[rows]) < np.median(distances(dense, "l1")[rows])
    assert np.median(changed[0]) < np.median(changed[1])


def run_searches(thresholds: list[float], searches: int, losses, steps: int = 10, abort: bool = False) -> list[dict]:
    """The states of searches that succeed exactly where c is at least the row's threshold; ``losses``: per query."""
    rows = len(thresholds)
    state = _search.begin(SimpleNamespace(x=tf.zeros((rows, 2, 2, 1)), labels=tf.zeros(rows, tf.int32)), 1e-3)
    states = []
    while not np.all(state["done"]):
        success = state["c"] >= tf.constant(thresholds)
        state, _ = _search.advance(state, losses(len(states)), success, steps, searches, abort)
        states.append({name: value.numpy() for name, value in state.items()})
    return states


def test_each_bracket_closes_on_its_own_threshold():
    last = run_searches([0.0, 0.5, 30.0], 20, lambda query: tf.zeros(3))[-1]
    assert np.all(last["low"] <= [1e-6, 0.5, 30.0])
    assert np.all(last["high"] >= [0.0, 0.5, 30.0])
    np.testing.assert_allclose(last["high"][1:], [0.5, 30.0], rtol=1e-3)
    assert np.all(last["low"] < last["high"])


def test_c_grows_tenfold_until_a_search_succeeds_and_no_further_than_its_limit():
    states = run_searches([np.inf], 15, lambda query: tf.zeros(1))
    weights = [float(state["c"][0]) for state in states[9::10]]
    np.testing.assert_allclose(weights, [min(10.0 ** (power - 2), 1e10) for power in range(15)], rtol=1e-5)


def test_a_row_that_stagnates_is_done_while_its_neighbours_keep_searching():
    def losses(query: int) -> tf.Tensor:
        return tf.constant([1.0 + (query == 0), 100.0 - query, 1.0])  # decreases once, always, never

    states = run_searches([0.0, 0.0, 0.0], 2, losses, steps=40, abort=True)
    ends = [next(query for query, state in enumerate(states) if state["search"][row] == 1) for row in range(3)]
    assert ends == [4, 39, 2]
    assert states[9]["done"].tolist() == [True, False, True]
