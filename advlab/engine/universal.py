"""Methods that seek one perturbation of all images: epochs over the batches, the best perturbation kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from advlab.classifiers.classifier import Classifier
from advlab.declarations.attack import Attack
from advlab.engine.steps import Batch, build_problem, words_of
from advlab.problem.problem import START, Craft, Problem, State, UniversalLoop

FLAGS = ("zero_gradient", "nonfinite")


class UniversalRun:
    """A universal perturbation of batches of one shape, traced once; ``best`` has the first ``rows`` of their rows.

    ``patch``, float32 ``(s, s, c)``, is the picture that lies on them, None where there is none; ``epoch`` the number
    of epochs done. All that an epoch leaves to the next is in ``carry()``.
    """

    def __init__(self, classifier: Classifier, craft: Craft, spec: Attack, batches: Sequence[Batch], rows: int):
        self.classifier, self.craft, self.spec, self.batches, self.rows = classifier, craft, spec, batches, rows
        self.epsilon, self.words = tf.constant(spec.threat.epsilon, tf.float64), words_of(classifier)
        self.floats = {n: tf.constant(v, tf.float32) for n, v in spec.parameters.items() if isinstance(v, float)}
        _, self.loop = self._build_loop(batches[0])
        self.state = self.loop.start()
        self.epoch, self.score = 0, np.array([-1.0, -np.inf])
        images = np.zeros((rows, *batches[0].x.shape[1:]), np.float32)
        self.best = {"x": images, "loss": np.zeros(rows, np.float32), "success": np.zeros(rows, bool)}
        self.best |= {name: np.zeros(rows, bool) for name in FLAGS}
        self.patch = self.state["delta"].numpy()[0] if self.loop.show else None
        self.step = tf.function(self._step, autograph=False)
        self.query = tf.function(self._query, autograph=False)

    def epochs(self) -> Iterator[None]:
        """Go through all images in each epoch that is left; yields after each."""
        loop, state = self.loop, self.state
        total = loop.epochs * len(self.batches)
        while self.epoch < loop.epochs:
            parts = []
            for number, batch in enumerate(self.batches):
                progress = tf.constant((self.epoch * len(self.batches) + number) / total, tf.float32)
                state, batch_flags = self.step(batch, state, progress)
                parts.append(batch_flags)
            self.best |= {name: self.best[name] | self._concatenate(parts, name) for name in FLAGS}
            shown = state | {"step": tf.constant(START)} if loop.show else state
            queries = [self.query(batch, shown) for batch in self.batches]
            success, loss = self._concatenate(queries, "success"), self._concatenate(queries, "loss")
            # More images fooled is better, and of two that fool as many the one of higher loss.
            if (score := (float(success.sum()), float(loss.mean()))) > tuple(self.score):
                self.score = np.array(score)
                self.best |= {"x": self._concatenate(queries, "x"), "loss": loss, "success": success}
                self.patch = state["delta"].numpy()[0] if loop.show else None
            self.state, self.epoch = state, self.epoch + 1
            yield
        epoch_passes = loop.epochs * self.spec.passes
        passes = {"forward": 2 * epoch_passes, "backward": epoch_passes}
        self.best |= {name: np.full(self.rows, count, np.int32) for name, count in passes.items()}
        self.best["loss_trace"] = self.best["loss"][:, None]

    def carry(self) -> dict[str, np.ndarray]:
        """Name -> array: what ``restore`` continues from."""
        arrays = {f"state/{name}": value.numpy() for name, value in self.state.items()}
        arrays |= {f"best/{name}": value for name, value in self.best.items()} | {"score": self.score}
        return arrays | ({} if self.patch is None else {"patch": self.patch})

    def restore(self, carry: Mapping[str, Any], epoch: int) -> None:
        """Continue after ``epoch`` epochs from what ``carry()`` returned then."""
        self.state = {name: tf.constant(carry[f"state/{name}"]) for name in self.state}
        self.best = {name: np.asarray(carry[f"best/{name}"]) for name in self.best}
        self.score, self.patch, self.epoch = np.asarray(carry["score"]), carry.get("patch"), epoch

    def _build_loop(self, batch: Batch) -> tuple[Problem, UniversalLoop]:
        fixed = {name: v for name, v in self.spec.parameters.items() if not isinstance(v, float)}
        threat = self.spec.threat
        problem = build_problem(batch, threat.norm, self.epsilon, self.classifier.logits, threat.top)
        problem = problem._replace(passes=self.spec.passes, loss=self.spec.loss_function, words=self.words)
        return problem, self.craft(problem, **fixed, **self.floats)

    def _step(self, batch: Batch, state: dict[str, Any], progress: tf.Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
        problem, loop = self._build_loop(batch)
        query = problem.query(_point(problem, loop, state), loop.loss)
        size = tf.reduce_sum(tf.abs(query.gradient), [1, 2, 3])
        is_nonfinite = ~tf.math.is_finite(size)
        gradient = tf.where(is_nonfinite[:, None, None, None], tf.zeros_like(query.x), query.gradient)
        query = query._replace(gradient=gradient)
        return loop.update(state, query, progress), {"zero_gradient": size == 0, "nonfinite": is_nonfinite}

    def _query(self, batch: Batch, state: dict[str, Any]) -> dict[str, Any]:
        problem, loop = self._build_loop(batch)
        query = problem.query(_point(problem, loop, state), loop.loss, gradient=False)
        return {"x": query.x, "loss": query.loss, "success": query.success}

    def _concatenate(self, parts: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
        return np.concatenate([part[name].numpy() for part in parts])[: self.rows]


def _point(problem: Problem, loop: UniversalLoop, state: State) -> tf.Tensor:
    return loop.show(state) if loop.show else problem.ball.project(problem.x + state["delta"])
