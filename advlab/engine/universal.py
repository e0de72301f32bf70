"""Methods that look for one perturbation of all images: epochs over the batches, the best perturbation kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from advlab.classifiers.classifier import Classifier
from advlab.engine.steps import Batch, problem_of
from advlab.problem.problem import Craft, Problem, UniversalLoop
from advlab.threat import Attack

Found = dict[str, np.ndarray]


class UniversalRun:
    """One sweep over batches of one shape, traced once. ``found`` has ``rows`` rows; what follows fills the batch."""

    def __init__(self, classifier: Classifier, craft: Craft, spec: Attack, batches: Sequence[Batch], rows: int):
        self.classifier, self.craft, self.spec, self.batches, self.rows = classifier, craft, spec, batches, rows
        self.epsilon = tf.constant(spec.threat.epsilon, tf.float64)
        self.floats = {n: tf.constant(v, tf.float32) for n, v in spec.parameters.items() if isinstance(v, float)}
        self.found: Found = {}
        self.step = tf.function(self._step, autograph=False)
        self.look = tf.function(self._look, autograph=False)

    def epochs(self) -> Iterator[None]:
        """Go through the images again and again; yields after each time."""
        _, sweep = self._setting(self.batches[0])
        state = sweep.start()
        flags = {name: np.array(False) for name in ("zero_gradient", "nonfinite")}
        best = (-1, -np.inf)
        total = sweep.epochs * len(self.batches)
        for epoch in range(sweep.epochs):
            parts = []
            for number, batch in enumerate(self.batches):
                share = tf.constant((epoch * len(self.batches) + number) / total, tf.float32)
                state, seen = self.step(batch, state, share)
                parts.append(seen)
            flags = {name: flags[name] | self._joined(parts, name) for name in flags}
            looks = [self.look(batch, state["delta"]) for batch in self.batches]
            success, loss = self._joined(looks, "success"), self._joined(looks, "loss")
            # More images fooled is better, and of two that fool as many the one that pushes harder.
            if (score := (int(success.sum()), float(loss.mean()))) > best:
                best = score
                self.found = {"x": self._joined(looks, "x"), "loss": loss, "success": success}
            yield
        passes = {"forward": 2 * sweep.epochs, "backward": sweep.epochs}
        self.found |= flags | {name: np.full(self.rows, count, np.int32) for name, count in passes.items()}
        self.found["loss_trace"] = self.found["loss"][:, None]

    def _setting(self, batch: Batch) -> tuple[Problem, UniversalLoop]:
        fixed = {name: v for name, v in self.spec.parameters.items() if not isinstance(v, float)}
        problem = problem_of(batch, self.spec.threat.norm, self.epsilon, self.classifier.logits)
        return problem, self.craft(problem, **fixed, **self.floats)

    def _step(self, batch: Batch, state: dict, share: tf.Tensor) -> tuple[dict, dict]:
        problem, sweep = self._setting(batch)
        query = problem.query(problem.ball.project(problem.x + state["delta"]), sweep.loss)
        size = tf.reduce_sum(tf.abs(query.gradient), [1, 2, 3])
        lost = ~tf.math.is_finite(size)
        query = query._replace(gradient=tf.where(lost[:, None, None, None], tf.zeros_like(query.x), query.gradient))
        return sweep.update(state, query, share), {"zero_gradient": size == 0, "nonfinite": lost}

    def _look(self, batch: Batch, delta: tf.Tensor) -> dict:
        problem, sweep = self._setting(batch)
        query = problem.query(problem.ball.project(problem.x + delta), sweep.loss, gradient=False)
        return {"x": query.x, "loss": query.loss, "success": query.success}

    def _joined(self, parts: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
        return np.concatenate([part[name].numpy() for part in parts])[: self.rows]
