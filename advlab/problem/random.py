"""One random stream for each sample: its draws depend on the seed and its index, never on its neighbours.

Threefry-2x32 with 20 rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a keyed bijection of
a counter. The key is the sample's stream, the counter says which number of which draw at which step.
"""

from __future__ import annotations

import math

import tensorflow as tf

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_DRAWS = 64  # separate draws that a method may make at one step


def threefry(key: tf.Tensor, counter: tf.Tensor) -> tf.Tensor:
    """The Threefry-2x32-20 block function: uint32 ``(..., 2)`` from keys and counters of that shape (broadcast)."""
    keys = [key[..., 0], key[..., 1]]
    keys.append(tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(keys[0], keys[1]), tf.constant(0x1BD11BDA, tf.uint32)))
    a, b = counter[..., 0] + keys[0], counter[..., 1] + keys[1]
    for block in range(5):
        for rotation in _ROTATIONS[block % 2]:
            a = a + b
            left = tf.bitwise.left_shift(b, tf.constant(rotation, tf.uint32))
            right = tf.bitwise.right_shift(b, tf.constant(32 - rotation, tf.uint32))
            b = tf.bitwise.bitwise_xor(tf.bitwise.bitwise_or(left, right), a)
        a = a + keys[(block + 1) % 3]
        b = b + keys[(block + 2) % 3] + tf.constant(block + 1, tf.uint32)
    return tf.stack([a, b], -1)


_threefry_any_shape = tf.function(threefry, autograph=False, reduce_retracing=True)
_threefry_by_shape = tf.function(threefry, autograph=False)  # once for each shape, however many draws a graph has


def streams(seed: int, restart: int | tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """uint32 ``(n, 2)``: the key of each sample, from the seed, the restart and its index in the full split."""
    key = tf.constant([seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF], tf.uint32)
    index = tf.cast(indices, tf.uint32)
    return _threefry_any_shape(key, tf.stack([index, tf.fill(tf.shape(index), tf.cast(restart, tf.uint32))], -1))


def bits(key: tf.Tensor, step: tf.Tensor | int, draw: int, count: int) -> tf.Tensor:
    """uint32 ``(n, count)``: the first ``count`` words of draw ``draw`` (below 64) at ``step`` (from -1)."""
    element = tf.range((count + 1) // 2, dtype=tf.int32)
    draw_number = (tf.cast(step, tf.int32) + 1) * _DRAWS + draw
    counter = tf.stack([element, tf.fill(tf.shape(element), draw_number)], -1)
    words = _threefry_by_shape(key[:, None, :], tf.cast(counter, tf.uint32)[None])
    return tf.reshape(words, [-1, 2 * ((count + 1) // 2)])[:, :count]


def uniform(key: tf.Tensor, step: tf.Tensor | int, draw: int, count: int) -> tf.Tensor:
    """float32 ``(n, count)``, uniform in [0, 1), multiples of 2**-24."""
    words = tf.bitwise.right_shift(bits(key, step, draw, count), tf.constant(8, tf.uint32))
    return tf.cast(tf.cast(words, tf.int32), tf.float32) * 2.0**-24


def normal(key: tf.Tensor, step: tf.Tensor | int, draw: int, count: int) -> tf.Tensor:
    """float32 ``(n, count)``, standard normal (Box and Muller 1958)."""
    even_count = count + count % 2
    pairs = tf.reshape(uniform(key, step, draw, even_count), [-1, even_count // 2, 2])
    radius = tf.sqrt(-2.0 * tf.math.log1p(-pairs[..., 0]))
    angle = 2 * math.pi * pairs[..., 1]
    numbers = tf.stack([radius * tf.cos(angle), radius * tf.sin(angle)], -1)
    return tf.reshape(numbers, [-1, even_count])[:, :count]
