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


class UniversalRun:
    """A universal perturbation of batches of one shape, traced once; ``best`` has the first ``rows`` of their rows.

    ``patch``, float32 ``(s, s, c)``, is the picture that lies on them, None where there is none.
    """

    def __init__(self, classifier: Classifier, craft: Craft, spec: Attack, batches: Sequence[Batch], rows: int):
        self.classifier, self.craft, self.spec, self.batches, self.rows = classifier, craft, spec, batches, rows
        self.epsilon, self.words = tf.constant(spec.threat.epsilon, tf.float64), words_of(classifier)
        self.floats = {n: tf.constant(v, tf.float32) for n, v in spec.parameters.items() if isinstance(v, float)}
        self.best: dict[str, np.ndarray] = {}
        self.patch: np.ndarray | None = None
        self.step = tf.function(self._step, autograph=False)
        self.query = tf.function(self._query, autograph=False)

    def epochs(self) -> Iterator[None]:
        """Go through all images in each epoch; yields after each."""
        _, loop = self._build_loop(self.batches[0])
        state = loop.start()
        flags = {name: np.array(False) for name in ("zero_gradient", "nonfinite")}
        best_score = (-1, -np.inf)
        total = loop.epochs * len(self.batches)
        for epoch in range(loop.epochs):
            parts = []
            for number, batch in enumerate(self.batches):
                progress = tf.constant((epoch * len(self.batches) + number) / total, tf.float32)
                state, batch_flags = self.step(batch, state, progress)
                parts.append(batch_flags)
            flags = {name: flags[name] | self._concatenate(parts, name) for name in flags}
            shown = state | {"step": tf.constant(START)} if loop.show else state
            queries = [self.query(batch, shown) for batch in self.batches]
            success, loss = self._concatenate(queries, "success"), self._concatenate(queries, "loss")
            # More images fooled is better, and of two that fool as many the one of higher loss.
            if (score := (int(success.sum()), float(loss.mean()))) > best_score:
                best_score = score
                self.best = {"x": self._concatenate(queries, "x"), "loss": loss, "success": success}
                self.patch = state["delta"].numpy()[0] if loop.show else None
            yield
        epoch_passes = loop.epochs * self.spec.passes
        passes = {"forward": 2 * epoch_passes, "backward": epoch_passes}
        self.best |= flags | {name: np.full(self.rows, count, np.int32) for name, count in passes.items()}
        self.best["loss_trace"] = self.best["loss"][:, None]

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
