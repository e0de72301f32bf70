"""Universal adversarial trigger (texts, L0): the same few words before every text.

Wallace, Feng, Kandpal, Gardner, Singh 2019, "Universal adversarial triggers for attacking and analyzing NLP",
arXiv:1908.07125, equation 2: one word of the trigger at a time is replaced by one of those that raise the mean loss of
a batch most by its gradient, if the mean loss then really rises. The trigger fills the places right before a text;
where there are none, it stands in place of the first words. With ``epsilon`` below ``length`` it is cut.
"""

from __future__ import annotations

import tensorflow as tf

from advlab.methods._words import budget_of
from advlab.problem.problem import Problem, Query, State, UniversalLoop
from advlab.problem.words import PADDING, Words, as_images, as_numbers

NORMS = ("l0",)
GOAL = "bounded"
DATA = "texts"


def craft(problem: Problem, *, epochs: int = 5, length: int = 3, tries: int = 20, protect: str = "") -> UniversalLoop:
    """One word of the trigger changes at each step.

    Args:
        epochs: Passes over all texts.
        length: Words of the trigger.
        tries: Words that are queried at each step.
        protect: Words that are not used, with commas between them.
    """

    def start() -> State:
        rarest = tf.reduce_max(as_numbers(problem.x))  # of these texts: a word that says little to the model
        return {"delta": as_images(tf.fill([1, length], rarest)), "step": tf.constant(0)}

    def show(state: State) -> tf.Tensor:
        return as_images(with_trigger(problem, as_numbers(state["delta"])[0])[0])

    def update(state: State, query: Query, progress: tf.Tensor) -> State:
        words = problem.words_or_refuse()
        trigger, place = as_numbers(state["delta"])[0], state["step"] % length
        numbers, is_trigger = with_trigger(problem, trigger)
        vectors = words.vectors(numbers)
        with tf.GradientTape() as tape:
            tape.watch(vectors)
            losses = problem.loss_of(words.logits(vectors))
        gradient = tape.gradient(losses, vectors)
        at_place = is_trigger & (tf.cumsum(tf.cast(is_trigger, tf.int32), 1) == place + 1)
        mean = tf.reduce_sum(tf.where(at_place[..., None], gradient, 0.0), [0, 1])
        gain = tf.where(usable(words, protect), tf.linalg.matvec(tf.constant(words.table), mean), tf.float32.min)
        likely = tf.math.top_k(gain, min(tries, len(words.table)))[1]

        def mean_loss(word: tf.Tensor) -> tf.Tensor:
            texts = with_trigger(problem, tf.where(tf.range(length) == place, word, trigger))[0]
            return tf.reduce_mean(problem.loss_of(words.logits(words.vectors(texts))))

        found = tf.map_fn(mean_loss, likely, fn_output_signature=tf.float32, parallel_iterations=1)
        is_better = tf.reduce_max(found) > tf.reduce_mean(losses)
        word = tf.where(is_better, likely[tf.argmax(found)], trigger[place])
        trigger = tf.where(tf.range(length) == place, word, trigger)
        return {"delta": as_images(trigger[None]), "step": state["step"] + 1}

    return UniversalLoop(epochs, start, update, show=show)


def with_trigger(problem: Problem, trigger: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """int32 ``(b, l)``: the texts with the trigger ``(t,)``, and bool ``(b, l)``: where it stands."""
    clean, length = as_numbers(problem.x), trigger.shape[0]
    begins = tf.reduce_sum(tf.cast(tf.cumsum(tf.cast(clean != PADDING, tf.int32), 1) == 0, tf.int32), 1)
    offset = tf.range(clean.shape[1])[None] - tf.maximum(begins - length, 0)[:, None]
    is_trigger = (offset >= 0) & (offset < tf.minimum(length, budget_of(problem)))
    return tf.where(is_trigger, tf.gather(trigger, tf.clip_by_value(offset, 0, length - 1)), clean), is_trigger


def usable(words: Words, protect: str) -> tf.Tensor:
    """bool ``(v,)``: the words that have neighbours, and so are no function words, and are not protected."""
    known = words.neighbours(1, "typo", protect, "")[:, 0] >= 0
    return tf.constant([*known, *[False] * (len(words.table) - len(known))])
