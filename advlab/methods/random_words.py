"""Random words (texts, L0): neighbours in place of epsilon words drawn at random, the control every attack must beat.

A new text is drawn at each step, and the best is kept; the model is asked for nothing else.
"""

from __future__ import annotations

import tensorflow as tf

from advlab.methods._words import budget_of, offer
from advlab.problem.problem import START, Loop, Problem, Query, State
from advlab.problem.words import as_images

NORMS = ("l0",)
GOAL = "bounded"
DATA = "texts"
CHOICES = {"edit": ("substitute", "typo", "delete", "any", "insert")}


def craft(
    problem: Problem,
    *,
    steps: int = 10,
    candidates: int = 50,
    edit: str = "substitute",
    protect: str = "",
    vectors: str = "",
    share: float = 1.0,
) -> Loop:
    """Draw a text at each step.

    Args:
        steps: Texts that are drawn after the first.
        candidates: Neighbours of a word that may take its place.
        edit: A neighbour in place of a word, an unknown one (a typo), nothing, any of these; or words before the text.
        protect: Words that stay, with commas between them.
        vectors: File of vectors that say which words are neighbours; "" for those of the model.
        share: Of the words of each text at most this share changes, besides epsilon; 1 for no such bound.
    """

    def draw(step: tf.Tensor | int) -> tf.Tensor:
        offered = offer(problem, problem.words_or_refuse(), candidates, edit, protect, vectors)
        count = tf.reduce_sum(tf.cast(offered.words >= 0, tf.int32), -1)
        order = tf.where(count > 0, problem.random(step, 0)[:, 0, :, 0], 2.0)
        rank = tf.argsort(tf.argsort(order, stable=True), stable=True)
        is_chosen = (rank < budget_of(problem, share)) & (count > 0)
        choice = tf.cast(problem.random(step, 1)[:, 0, :, 0] * tf.cast(count, tf.float32), tf.int32)
        new = tf.gather(offered.words, tf.clip_by_value(choice, 0, tf.maximum(count - 1, 0)), batch_dims=2)
        return as_images(tf.where(is_chosen, new, offered.clean))

    def start() -> State:
        return {"x": draw(START)}

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        return {"x": draw(step)}

    return Loop(steps, start, update, gradient=False)
