"""Random draws: a known generator, and one stream for each sample."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from advlab.problem import random

KNOWN_ANSWERS = [  # of the generator's authors, for Threefry-2x32 with 20 rounds: counter, key, words
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_threefry_gives_the_published_words(counter, key, words):
    got = random.threefry(tf.constant(key, tf.uint32), tf.constant(counter, tf.uint32))
    assert tuple(got.numpy()) == words


def test_a_stream_depends_on_the_sample_and_not_on_its_neighbours():
    many = random.streams(7, 0, tf.range(100))
    few = random.streams(7, 0, tf.constant([40, 3]))
    np.testing.assert_array_equal(tf.gather(many, [40, 3]), few)
    for distribution in (random.uniform, random.normal):
        np.testing.assert_array_equal(tf.gather(distribution(many, 5, 1, 9), [40, 3]), distribution(few, 5, 1, 9))


def test_seed_restart_sample_step_and_draw_each_change_the_numbers():
    def draw(seed=1, restart=0, index=0, step=0, number=0):
        return random.uniform(random.streams(seed, restart, tf.constant([index])), step, number, 8).numpy()

    base = draw()
    for other in ({"seed": 2}, {"seed": 1 + 2**32}, {"restart": 1}, {"index": 1}, {"step": 1}, {"number": 1}):
        assert not np.any(draw(**other) == base), other


def test_uniform_and_normal_numbers_have_their_moments():
    key = random.streams(0, 0, tf.range(200))
    uniform, normal = random.uniform(key, 0, 0, 1001).numpy(), random.normal(key, 0, 0, 1001).numpy()
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(uniform.mean() - 1 / 2) < 0.003
    assert abs(uniform.var() - 1 / 12) < 0.001
    assert abs(normal.mean()) < 0.01
    assert abs(normal.std() - 1) < 0.005
    assert abs(np.mean(normal**4) - 3) < 0.06
