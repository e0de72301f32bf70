"""What the attacks on words share: what may take the place of a word, and the loss of a text once it has."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from advlab.problem.problem import Problem
from advlab.problem.words import PADDING, START, Words, as_numbers, replaced

NO = tf.float32.min  # of a replacement that is none
_ROUNDING = 1e-4  # of a share of some hundred words


class Offer(NamedTuple):
    """The words of the clean texts, int32 ``(b, l)``, and what may take their place: ``(b, l, m)``, -1 for nothing."""

    clean: tf.Tensor
    words: tf.Tensor

    def allowed(self, numbers: tf.Tensor, budget: tf.Tensor) -> tf.Tensor:
        """bool ``(b, l, m)``: what may be put there, so that at most ``budget`` words differ from the clean text."""
        changed = numbers != self.clean
        count = tf.reduce_sum(tf.cast(changed, tf.int32), -1, keepdims=True)
        is_free = changed | (count < budget)
        return is_free[..., None] & (self.words >= 0) & (self.words != numbers[..., None])


def offer(problem: Problem, words: Words, candidates: int, edit: str, protect: str, vectors: str) -> Offer:
    """What may take the place of each word of the clean texts; of empty places, of those right before a text."""
    clean = as_numbers(problem.x)
    offered = tf.gather(tf.convert_to_tensor(words.neighbours(candidates, edit, protect, vectors)), clean)
    if edit == "insert":
        empty = tf.cumsum(tf.cast(clean != PADDING, tf.int32), 1) == 0
        before = tf.cumsum(tf.cast(empty, tf.int32), 1, reverse=True)  # 1 for the place right before the text
        is_near = empty & (before <= budget_of(problem))
        offered = tf.where(is_near[..., None], offered, -1)
    return Offer(clean, offered)


def budget_of(problem: Problem, share: float | tf.Tensor = 1.0) -> tf.Tensor:
    """int32 ``(b, 1)``: how many words of each text may change, at most epsilon and this share of those that it has."""
    words = tf.reduce_sum(tf.cast(as_numbers(problem.x) > START, tf.float32), -1, keepdims=True)
    most = tf.cast(tf.floor(share * words + _ROUNDING), tf.int32)
    epsilon = tf.reshape(tf.cast(tf.floor(problem.ball.epsilon), tf.int32), [-1, 1])
    return tf.minimum(epsilon, tf.where(share < 1, most, tf.int32.max))


def losses_of(
    problem: Problem, words: Words, numbers: tf.Tensor, positions: tf.Tensor, replacements: tf.Tensor
) -> tf.Tensor:
    """float32 ``(b, t)``: the loss of each text ``(b, l)`` with one of t replacements, int32 ``(b, t)``, at a time."""

    def loss(pair: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        return problem.loss_of(words.logits(words.vectors(replaced(numbers, *pair))))

    pairs = tf.transpose(positions), tf.transpose(replacements)
    found = tf.map_fn(loss, pairs, fn_output_signature=tf.float32, parallel_iterations=1)
    return tf.ensure_shape(tf.transpose(found), [None, positions.shape[1]])
