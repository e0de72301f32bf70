"""HotFlip (texts, L0): the word whose replacement raises the loss most by its gradient, one after the other.

Ebrahimi, Rao, Lowd, Dou 2018, "HotFlip: white-box adversarial examples for text classification", arXiv:1712.06751,
equations 8 to 10 with beam search: replacing the vector ``e`` of a word by ``e'`` raises the loss by
``(e' - e) . gradient``. Where the model takes the maximum over positions, most have no gradient; so a word is also
ranked by the gradients of all positions together. The most promising are queried, and the best of them is kept.
"""

from __future__ import annotations

import tensorflow as tf

from advlab.methods._words import NO, Offer, budget_of, losses_of, offer
from advlab.problem.problem import Loop, Problem, Query, State
from advlab.problem.words import Words, as_images, as_numbers, replaced

NORMS = ("l0",)
GOAL = "bounded"
DATA = "texts"
CHOICES = {"edit": ("substitute", "typo", "delete", "any", "insert")}
_POSITIONS = 32  # of the largest gradients, at which replacements are ranked one by one


def craft(
    problem: Problem,
    *,
    candidates: int = 50,
    tries: int = 32,
    beam: int = 1,
    revisions: int = 5,
    edit: str = "substitute",
    protect: str = "",
    vectors: str = "",
    share: float = 1.0,
) -> Loop:
    """One word of each text, and of each beam, changes at each step, until epsilon words differ.

    Args:
        candidates: Neighbours of a word that may take its place.
        tries: Replacements of a text that are queried at each step.
        beam: Texts that are followed side by side.
        revisions: Steps after the last word, in which words that were replaced are replaced again.
        edit: A neighbour in place of a word, an unknown one (a typo), nothing, any of these; or words before the text.
        protect: Words that stay, with commas between them.
        vectors: File of vectors that say which words are neighbours; "" for those of the model.
        share: Of the words of each text at most this share changes, besides epsilon; 1 for no such bound.
    """

    def start() -> State:
        beams = tf.repeat(as_numbers(problem.x)[:, None], beam, 1)
        return {"x": problem.x, "beams": beams, "done": tf.zeros_like(problem.labels, tf.bool)}

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        words = problem.words_or_refuse()
        offered = offer(problem, words, candidates, edit, protect, vectors)
        budget = budget_of(problem, share)
        followed, losses = [], []
        for number in range(beam):
            numbers = state["beams"][:, number]
            loss, positions, replacements = promising(problem, words, offered, numbers, budget, max(tries // beam, 2))
            found = losses_of(problem, words, numbers, positions, tf.maximum(replacements, 0))
            losses += [loss[:, None], tf.where(replacements >= 0, found, NO)]
            texts = [replaced(numbers, positions[:, i], replacements[:, i]) for i in range(positions.shape[1])]
            followed += [numbers[:, None], tf.stack(texts, 1)]
        _, order = tf.math.top_k(without_repetitions(tf.concat(losses, 1)), beam)
        beams = tf.gather(tf.concat(followed, 1), order, batch_dims=1)
        is_stuck = tf.reduce_all(beams == state["beams"], [1, 2])
        is_over = step >= budget[:, 0] + revisions
        return {"x": as_images(beams[:, 0]), "beams": beams, "done": is_stuck | is_over}

    return Loop(problem.x.shape[2], start, update, gradient=False, extra=(tries + beam, beam))


def promising(
    problem: Problem, words: Words, offered: Offer, numbers: tf.Tensor, budget: tf.Tensor, count: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The loss ``(b,)``, and the positions and words, int32 ``(b, count)``, of the likeliest replacements; -1: none."""
    vectors = words.vectors(numbers)
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        loss = problem.loss_of(words.logits(vectors))
    gradient = tape.gradient(loss, vectors)
    own = tf.reduce_sum(gradient * vectors, -1)
    allowed = offered.allowed(numbers, budget)
    # By the gradient of the position, where it has one.
    _, places = tf.math.top_k(tf.norm(gradient, axis=-1), min(_POSITIONS, numbers.shape[1]))
    near = tf.gather(offered.words, places, batch_dims=1)
    new = words.vectors(tf.maximum(near, 0))
    gain = tf.einsum("bpmd,bpd->bpm", new, tf.gather(gradient, places, batch_dims=1))
    gain -= tf.gather(own, places, batch_dims=1)[..., None]
    gain = tf.where(tf.gather(allowed, places, batch_dims=1), gain, NO)
    first = best_of(gain, near, places, count // 2)
    # By the gradients of all positions together.
    everywhere = tf.matmul(tf.reduce_sum(gradient, 1), tf.convert_to_tensor(words.table), transpose_b=True)
    summed = tf.gather(everywhere, tf.maximum(offered.words, 0), batch_dims=1) - own[..., None]
    all_places = tf.broadcast_to(tf.range(numbers.shape[1])[None], tf.shape(numbers))
    second = best_of(tf.where(allowed, summed, NO), offered.words, all_places, count - count // 2)
    positions, replacements = (tf.concat(pair, 1) for pair in zip(first, second, strict=True))
    return loss, positions, replacements


def best_of(gain: tf.Tensor, words: tf.Tensor, places: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The places and words, int32 ``(b, count)``, of the largest gains ``(b, p, m)``; -1 where there is none."""
    offered = gain.shape[2]
    flat = tf.reshape(gain, [-1, gain.shape[1] * offered])
    value, index = tf.math.top_k(flat, min(count, flat.shape[1]))
    chosen = tf.gather(tf.reshape(words, [-1, flat.shape[1]]), index, batch_dims=1)
    return tf.gather(places, index // offered, batch_dims=1), tf.where(value > NO, chosen, -1)


def without_repetitions(losses: tf.Tensor) -> tf.Tensor:
    """float32 ``(b, t)``: a loss that stood before, as that of the same text reached by another way, counts as none."""
    earlier = tf.linalg.band_part(losses[:, None] == losses[:, :, None], -1, 0)
    earlier = tf.linalg.set_diag(earlier, tf.zeros_like(losses, tf.bool))
    return tf.where(tf.reduce_any(earlier, -1), NO, losses)
