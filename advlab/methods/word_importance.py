"""Greedy by importance (texts, L0): the words that matter most to the loss are replaced first, without a gradient.

Jin, Jin, Zhou, Szolovits 2020, "Is BERT really robust? A strong baseline for natural language attack on text
classification and entailment", arXiv:1907.11932, algorithm 1, as TextFooler does it: a word is as important as the loss
rises once it is unknown. In that order each word gets the neighbour that raises the loss most, where one does. The
similarity of whole sentences, and parts of speech, are not looked at.
"""

from __future__ import annotations

import tensorflow as tf

from advlab.methods._words import NO, budget_of, losses_of, offer
from advlab.problem.problem import Loop, Problem, Query, State
from advlab.problem.words import UNKNOWN, as_images, as_numbers, replaced

NORMS = ("l0",)
GOAL = "bounded"
DATA = "texts"
CHOICES = {"edit": ("substitute", "typo", "delete", "any", "insert")}


def craft(
    problem: Problem,
    *,
    candidates: int = 50,
    edit: str = "substitute",
    protect: str = "",
    vectors: str = "",
    share: float = 1.0,
) -> Loop:
    """One position of each text is looked at in each step, until epsilon words differ.

    Args:
        candidates: Neighbours of a word that may take its place.
        edit: A neighbour in place of a word, an unknown one (a typo), nothing, any of these; or words before the text.
        protect: Words that stay, with commas between them.
        vectors: File of vectors that say which words are neighbours; "" for those of the model.
        share: Of the words of each text at most this share changes, besides epsilon; 1 for no such bound.
    """
    length = problem.x.shape[2]

    def start() -> State:
        words = problem.words_or_refuse()
        offered = offer(problem, words, candidates, edit, protect, vectors)
        everywhere = tf.broadcast_to(tf.range(length)[None], tf.shape(offered.clean))
        importance = losses_of(problem, words, offered.clean, everywhere, tf.fill(tf.shape(everywhere), UNKNOWN))
        importance = tf.where(tf.reduce_any(offered.words >= 0, -1), importance, NO)
        order = tf.argsort(importance, direction="DESCENDING", stable=True)
        return {"x": problem.x, "order": order, "done": tf.zeros_like(problem.labels, tf.bool)}

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        words = problem.words_or_refuse()
        offered, numbers = offer(problem, words, candidates, edit, protect, vectors), as_numbers(state["x"])
        position = tf.gather(state["order"], step, axis=1)
        allowed = tf.gather(offered.allowed(numbers, budget_of(problem, share)), position, batch_dims=1)
        near = tf.gather(offered.words, position, batch_dims=1)
        places = tf.broadcast_to(position[:, None], tf.shape(near))
        losses = tf.where(allowed, losses_of(problem, words, numbers, places, tf.maximum(near, 0)), NO)
        best = tf.gather(near, tf.argmax(losses, -1), batch_dims=1)
        is_better = tf.reduce_max(losses, -1) > query.loss
        count = tf.reduce_sum(tf.cast(numbers != offered.clean, tf.int32), -1)
        is_over = count >= budget_of(problem, share)[:, 0]  # and what is there was queried
        numbers = tf.where((is_better & ~is_over)[:, None], replaced(numbers, position, best), numbers)
        return {"x": as_images(numbers), "order": state["order"], "done": is_over}

    return Loop(length, start, update, gradient=False, extra=(candidates, 0), first_passes=length)
