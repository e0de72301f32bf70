"""How attacks are compiled, and batches divided and packed again: sizes, and the same result as without."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from advlab.engine import compile, run
from advlab.engine.compile import Slices, rows_at_once, slices, xla_pays
from advlab.workflows.attack import attack
from advlab.workflows.model_file import load_classifier
from tests.conftest import linear_classifier


def traces(classifier) -> list[str]:
    return [name for one in classifier.compiled.values() for name in one.traces]


@pytest.fixture
def cores(monkeypatch):
    """Lets the machine have so many processor cores, and no GPU."""
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda device_type=None: [])
    return lambda count: monkeypatch.setattr(os, "cpu_count", lambda: count)


@pytest.mark.parametrize(
    ("count", "rows", "expected"),
    [
        (1, 250, Slices(125, 250, (125, 250))),
        (2, 1000, Slices(125, 1000, (125, 250, 500, 750, 1000))),
        (2, 999, Slices(125, 1000, (125, 250, 500, 750, 1000))),
        (2, 449, Slices(113, 452, (113, 226, 452))),
        (2, 60, Slices(30, 60, (30, 60))),
        (2, 20, Slices(20, 20, (20,))),
        (16, 1000, Slices(63, 1008, (63, 1008))),
    ],
)
def test_all_cores_have_slices_of_few_rows_and_few_sizes_are_compiled(cores, count, rows, expected):
    cores(count)
    assert slices(rows, xla=True) == expected


def test_a_plain_graph_divides_its_work_by_itself(cores):
    cores(2)
    assert slices(1000, xla=False) == Slices(1000, 1000, (63, 250, 500, 1000))


def test_a_batch_is_padded_by_less_than_a_row_for_each_slice(cores):
    for count in (2, 3, 8):
        cores(count)
        for rows in range(1, 1001):
            slice_rows, size, sizes = slices(rows, xla=True)
            assert size % slice_rows == 0
            assert rows <= size < rows + size // slice_rows
            assert size == sizes[-1]
            assert list(sizes) == sorted(sizes)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("pgd", {"early_stop": True}),
        ("ddn", {"norm": "l2", "steps": 30}),
    ],
)
@pytest.mark.thorough
def test_images_in_slices_are_attacked_as_in_one(digits, cores, monkeypatch, method, options):
    cores(2)
    divided = attack(load_classifier("digits"), digits, method, compile="xla", progress=False, **options)
    monkeypatch.setattr(compile, "_SLICE_ROWS", 1000)
    whole = attack(load_classifier("digits"), digits, method, compile="xla", progress=False, **options)
    assert np.mean(whole.success == divided.success) >= 0.995
    assert np.mean(np.abs(whole.x_adv - divided.x_adv) > 1e-4) < 0.01


def test_slices_of_one_size_are_compiled_once(digits, cores):
    cores(2)
    classifier = load_classifier("digits")
    attack(classifier, digits, "pgd", epsilon=0.12, steps=60, early_stop=True, compile="xla", progress=False)
    assert sorted(traces(classifier)) == ["advance", "begin"]


def test_images_that_succeed_unchanged_take_no_place_in_a_batch(trained, digits):
    half = digits.take(40)
    half = replace(half, y=np.where(np.arange(40) < 20, (half.y + 1) % 10, half.y))
    result = attack(trained, half, "ddn", steps=5, progress=False)
    assert 10 <= result.correct.sum() <= 20
    assert result.execution.batch_size == result.correct.sum()
    assert not result.forward_passes[~result.correct].any()


@pytest.mark.parametrize("compile", ["graph", "xla"])
def test_five_values_of_epsilon_and_step_size_are_one_compilation(grey, compile):
    classifier = linear_classifier(4)
    for epsilon in (0.01, 0.02, 0.03, 0.04, 0.05):
        attack(classifier, grey, "pgd", epsilon=epsilon, relative_step_size=2 + epsilon, compile=compile, batch_size=16)
    assert sorted(traces(classifier)) == ["advance", "begin"]


def test_graph_and_xla_agree(trained, digits):
    one, other = (attack(trained, digits, "pgd", compile=mode) for mode in ("graph", "xla"))
    assert np.mean(one.success == other.success) >= 0.99
    assert (one.execution.compile, other.execution.compile) == ("graph", "xla")


def test_misclassified_rows_leave_and_the_others_stay_what_they_were(trained, digits, monkeypatch):
    whole = attack(trained, digits, "pgd", epsilon=0.12, steps=64, early_stop=True, restarts=2)
    monkeypatch.setattr(run.Run, "_repacked_size", lambda self, count, size: size)
    unpacked = attack(trained, digits, "pgd", epsilon=0.12, steps=64, early_stop=True, restarts=2)
    assert np.mean(whole.success == unpacked.success) >= 0.995
    same = whole.success == unpacked.success
    np.testing.assert_array_equal(whole.forward_passes[same], unpacked.forward_passes[same])
    assert np.mean(np.abs(whole.x_adv - unpacked.x_adv)[same] > 1e-4) < 0.01


def test_a_gpu_takes_large_batches_and_xla_only_for_much_work(trained, rgb, monkeypatch):
    classifiers = {trained: (28, 28, 1), rgb[0]: (12, 12, 3)}
    assert [rows_at_once(*item) for item in classifiers.items()] == [1000, 1000]
    assert [xla_pays(c, 10**6) for c in classifiers] == [True, False]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["GPU:0"])
    assert [rows_at_once(*item) for item in classifiers.items()] == [10_000, 10_000]
    assert [xla_pays(c, 10**6) for c in classifiers] == [False, False]
    assert [xla_pays(c, 10**8) for c in classifiers] == [True, True]
