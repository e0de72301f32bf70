"""What the attacks on words share: what may take the place of a word, and the loss of a text once it has."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from advlab.problem.problem import Problem
from advlab.problem.words import Words, as_numbers, replaced

NO = tf.float32.min  # of a replacement that is none


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
    """What may take the place of each word of the clean texts."""
    clean = as_numbers(problem.x)
    return Offer(clean, tf.gather(tf.convert_to_tensor(words.neighbours(candidates, edit, protect, vectors)), clean))


def budget_of(problem: Problem) -> tf.Tensor:
    """int32 ``(1, 1)``, or ``(b, 1)`` where texts differ in it: how many words may change."""
    return tf.reshape(tf.cast(tf.floor(problem.ball.epsilon), tf.int32), [-1, 1])


def losses_of(
    problem: Problem, words: Words, numbers: tf.Tensor, positions: tf.Tensor, replacements: tf.Tensor
) -> tf.Tensor:
    """float32 ``(b, t)``: the loss of each text ``(b, l)`` with one of t replacements, int32 ``(b, t)``, at a time."""

    def loss(pair: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        return problem.loss_of(words.logits(words.vectors(replaced(numbers, *pair))))

    pairs = tf.transpose(positions), tf.transpose(replacements)
    found = tf.map_fn(loss, pairs, fn_output_signature=tf.float32, parallel_iterations=1)
    return tf.ensure_shape(tf.transpose(found), [None, positions.shape[1]])
