"""The half of the engine outside the graph: batches, restarts, repacking, progress, and saving unfinished work."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from advlab import workspace
from advlab.classifiers.classifier import Classifier
from advlab.data.dataset import Dataset
from advlab.engine import best, resume, steps
from advlab.engine.compile import slices, xla_pays
from advlab.engine.external import run_external
from advlab.engine.resume import Checkpoint
from advlab.engine.universal import UniversalRun
from advlab.errors import InvalidValue
from advlab.problem import random
from advlab.problem.problem import Craft, ExternalLoop, Loop, Problem, UniversalLoop
from advlab.progress import Progress, patient_interrupt
from advlab.threat import Attack

_CHUNK_STEPS = 500
_CHUNK_WORK = 5e8  # activations: a second or so of dense or convolutional layers on a processor
_SAVE_AFTER = 5.0  # seconds of work that are worth an unfinished archive
_SAVE_EVERY = 60.0


class Refinement(NamedTuple):
    """The steps along the boundary with which a minimal method ends."""

    craft: Craft
    spec: Attack
    steps: int


class Run:
    """One attack on one data set: how far it is, and the best of each image so far (rows first)."""

    def __init__(
        self,
        classifier: Classifier,
        dataset: Dataset,
        craft: Craft,
        spec: Attack,
        goal: str,
        batch_size: int | None,
        compile: str,
        attempted: np.ndarray | None = None,
    ):
        self.classifier, self.dataset, self.craft, self.spec, self.goal = classifier, dataset, craft, spec, goal
        n, target = len(dataset), spec.threat.target
        self.labels = dataset.y.astype(np.int32)
        self.target = np.full(n, -1 if target is None else target, np.int32)
        self.attempted = (self.labels != self.target) & (True if attempted is None else attempted)
        self.name = spec.slug if attempted is None else f"{spec.slug}-{_digest(attempted)}"
        # With ``n_target_classes`` a method aims at so many of the likeliest wrong classes, one after the other.
        self.n_target_classes = min(int(spec.parameters.get("n_target_classes") or 0), classifier.classes - 1)
        self.rounds = spec.restarts * max(self.n_target_classes, 1)
        loop = steps.plan(craft, spec, dataset.x.shape[1:])
        self.is_external, self.is_universal = isinstance(loop, ExternalLoop), isinstance(loop, UniversalLoop)
        if self.is_universal and spec.early_stop:
            raise InvalidValue(
                f"Method '{spec.method}' seeks one perturbation of all images; no image can stop by itself. "
                "Got early_stop, as the curve of a bounded method needs it; leave it out, or choose another method."
            )
        if self.is_external and spec.precision != "float32":
            raise InvalidValue(
                f"Method '{spec.method}' runs in another library, in float32. Got precision '{spec.precision}'; "
                "leave it out."
            )
        self.steps = loop.steps if isinstance(loop, Loop) else loop.epochs if isinstance(loop, UniversalLoop) else 0
        self.refine = self._refinement(loop) if isinstance(loop, Loop) and goal == "minimal" else None
        self.total_steps = self.rounds * max(self.steps, 1) + (self.refine.steps if self.refine else 0)
        self.trace_steps = steps.trace_steps(self.steps if isinstance(loop, Loop) else 0)
        self.xla = compile == "xla" or (compile == "auto" and xla_pays(classifier, n * self.rounds * self.steps))
        max_rows = batch_size or int(np.clip(2**24 // classifier.activation_size, 16, 1000))
        self.clean_probabilities = classifier.probabilities(dataset.x)
        self.correct = self.clean_probabilities.argmax(1) == self.labels
        self.pending = self.attempted & ~self._succeeds_unchanged()
        self.batches = max(1, math.ceil(self.pending.sum() / max_rows))
        self.slices = slices(math.ceil(self.pending.sum() / self.batches), self.xla and not self.is_universal)
        self.size = self.slices.size
        self.repeat_difference = classifier.repeat_difference(dataset.x, self.clean_probabilities)
        self.streams: dict[int, np.ndarray] = {}  # by restart
        self.settings = {
            "batch_size": self.size,
            "compile": "host" if self.is_external else "xla" if self.xla and not self.is_universal else "graph",
            "model": classifier.source,
            "scale": classifier.scale.tolist(),
            "offset": classifier.offset.tolist(),
            "goal": goal,
        }
        self.best = best.empty(dataset.x, len(self.trace_steps))
        for name, value in {"success": True, "distance": 0, "first_success": 0}.items():
            self.best[name][self.attempted & ~self.pending] = value
        self.seconds = 0.0
        self.steps_done = 0  # over all samples
        self.position = {"batch": 0, "restart": 0, "step": 0, "computed": 0}
        self.rows = np.zeros(0, np.int64)  # those in progress
        self.carry: dict[str, Any] | None = None  # and their state, between two chunks

    def execute(self, progress: bool | None, label: str) -> None:
        """Do the remaining work, saving it where it is interrupted."""
        partial = workspace.partial_path(self.classifier.name, self.name)
        self._resume_from(partial)
        started = last_saved = time.perf_counter()
        earlier_seconds = self.seconds
        total = int(self.pending.sum()) * self.total_steps
        try:
            with Progress(total, label, show=progress) as bar, patient_interrupt(not self.is_external) as interrupt:
                shown_steps = 0
                for _ in self._work_through():
                    now = time.perf_counter()
                    self.seconds = earlier_seconds + now - started
                    shown_steps, new_steps = self.steps_done, self.steps_done - shown_steps
                    bar.advance(new_steps, robust=f"{self._robust_fraction():.1%}")
                    if interrupt.is_set():
                        raise KeyboardInterrupt
                    if now - last_saved > _SAVE_EVERY:
                        self._save(partial)
                        last_saved = now
        except KeyboardInterrupt:
            if self.seconds > _SAVE_AFTER and self._save(partial):
                raise KeyboardInterrupt(
                    f"The work so far is saved in '{partial}'; the same command continues."
                ) from None
            raise
        self.seconds = earlier_seconds + time.perf_counter() - started
        if self.goal == "minimal":
            # A sample that is still robust gets its clean image back: there is no smallest perturbation to show.
            failed = ~self.best["success"]
            self.best["x"][failed] = self.dataset.x[failed]
        with suppress(OSError):
            partial.unlink(missing_ok=True)

    @property
    def computed_fraction(self) -> float:
        """The fraction of all work that was done; rows that left early saved the rest."""
        return self.position["computed"] / max(self.size * self.batches * self.total_steps, 1) if self.steps else 0.0

    def _work_through(self) -> Iterator[None]:
        """Go through batches and restarts; yields wherever the work may be interrupted and saved."""
        if self.is_universal:
            yield from self._run_universal()
            return
        first = (self.position["batch"], self.position["restart"])
        for batch, rows in enumerate(np.array_split(np.flatnonzero(self.pending), self.batches)):
            for restart in range(self.rounds + bool(self.refine)):
                is_refinement = restart == self.rounds
                round_steps = self.refine.steps if self.refine and is_refinement else max(self.steps, 1)
                steps_done = self.steps_done + len(rows) * round_steps
                if (batch, restart) >= first:
                    self.position |= {"batch": batch, "restart": restart}
                    success = self.best["success"][rows]
                    remaining = rows[success if is_refinement else ~(success & self.spec.early_stop)]
                    if len(remaining):
                        if self.is_external:
                            result = self._run_external(remaining, restart)
                        else:
                            result = yield from self._run_in_graph(remaining, restart)
                        self._merge(restart, *result)
                    self.position |= {"restart": restart + 1, "step": 0}
                    self.carry = None
                self.steps_done = steps_done
                yield

    def _run_universal(self) -> Iterator[None]:
        """Seek one perturbation of all images, once for each restart; starts again if interrupted."""
        rows = np.flatnonzero(self.attempted)
        if not len(rows):
            return
        # Rows are repeated to fill the last batch: every batch then has one shape.
        padded = np.resize(rows, self.size * self.batches).reshape(self.batches, -1)
        for restart in range(self.spec.restarts):
            batches = [self._batch(part, self.size, restart) for part in padded]
            universal_run = UniversalRun(self.classifier, self.craft, self.spec, batches, len(rows))
            for _ in universal_run.epochs():
                self.steps_done += len(rows)
                yield
            is_better = universal_run.best["success"].sum() > self.best["success"].sum()
            best.merge(self.best, self.goal, rows, universal_run.best, replace_all=is_better or not restart)

    def _succeeds_unchanged(self) -> np.ndarray:
        """bool ``(n,)``: images that are their own best, where the nearest or first success is wanted, at no cost."""
        applies = self.goal == "minimal" or self.spec.early_stop
        predicted = self.clean_probabilities.argmax(1)
        return applies & np.where(self.target >= 0, predicted == self.target, predicted != self.labels)

    def _run_external(self, rows: np.ndarray, restart: int) -> tuple[np.ndarray, Mapping[str, Any]]:
        problem = self._problem(self._batch(rows, len(rows), restart))
        loop = self.craft(problem, **self.spec.parameters)
        return rows, run_external(loop, problem)

    def _run_in_graph(
        self, rows: np.ndarray, restart: int
    ) -> Generator[None, None, tuple[np.ndarray, Mapping[str, Any]]]:
        """Take all steps, chunk by chunk; returns the rows of the last batch, and their carry."""
        craft, spec, total_steps = self.craft, self.spec, self.steps
        if self.refine and restart == self.rounds:
            craft, spec, total_steps = self.refine
        compiled = steps.compile_method(self.classifier, craft, spec, self.goal, self.xla)
        epsilon = tf.constant(spec.threat.epsilon, tf.float64)
        floats = {n: tf.constant(v, tf.float32) for n, v in spec.parameters.items() if isinstance(v, float)}
        first, size = self.position["step"], self.size
        if self.carry is None:
            batch = self._batch(rows, size, restart)
            carry = compiled.begin(self.slices.rows, batch, epsilon, floats)
        else:
            rows, size = self.rows, len(self.carry["success"])
            batch = self._batch(rows, size, restart)
            carry = {name: tf.constant(value) for name, value in self.carry.items()}
        rows_may_leave = self.spec.early_stop or "state/done" in carry
        while True:
            # By work, not by time: where rows leave must not depend on how fast the machine is today.
            chunk_steps = np.clip(_CHUNK_WORK // (size * self.classifier.activation_size), 1, _CHUNK_STEPS)
            last = min(first + int(min(chunk_steps, max(first, 10)) if rows_may_leave else chunk_steps), total_steps)
            carry = compiled.run(self.slices.rows, batch, epsilon, floats, carry, tf.constant(first), tf.constant(last))
            idle = steps.is_idle(carry, self.spec.early_stop).numpy()[: len(rows)]
            self.steps_done += len(rows) * (last - first)
            self.position["computed"] += size * (last - first)
            if last == total_steps:
                return rows, carry
            active_rows = np.flatnonzero(~idle)
            next_size = self._repacked_size(len(active_rows), size)
            if next_size < size:
                # Idle rows leave; the others move into a batch of one of a few fixed sizes.
                idle_rows = np.flatnonzero(idle)
                idle_carry = {name: tf.gather(value, idle_rows) for name, value in carry.items()}
                if not len(active_rows):
                    return rows, idle_carry
                self._merge(restart, rows[idle_rows], idle_carry)
                rows, size = rows[active_rows], next_size
                batch = self._batch(rows, size, restart)
                carry = {name: tf.gather(value, np.resize(active_rows, size)) for name, value in carry.items()}
            self.rows, self.carry, self.position["step"] = rows, carry, last
            yield
            first = last

    def _refinement(self, loop: Loop) -> Refinement | None:
        """The round after all others, which begins at the nearest success of each image."""
        module = import_module("advlab.methods._refine")
        if not loop.refine or self.spec.early_stop or self.spec.threat.norm not in module.STEPS:
            return None
        spec = replace(self.spec, parameters={"confidence": float(loop.confidence)})
        return Refinement(module.craft, spec, module.STEPS[self.spec.threat.norm])

    def _merge(self, restart: int, rows: np.ndarray, carry: Mapping[str, Any]) -> None:
        """Keep the better of this round and those before; a trace is that of the method, not of its refinement."""
        omitted = ("loss_trace", "first_success") if restart == self.rounds else ()
        best.merge(self.best, self.goal, rows, {name: value for name, value in carry.items() if name not in omitted})

    def _problem(self, batch: steps.Batch) -> Problem:
        epsilon = tf.constant(self.spec.threat.epsilon, tf.float64)
        return steps.build_problem(batch, self.spec.threat.norm, epsilon, self.classifier.logits)

    def _repacked_size(self, count: int, size: int) -> int:
        """The smallest of the fixed batch sizes that holds ``count`` rows; 0 for none."""
        return min(s for s in (*self.slices.sizes, size) if s >= count) if count else 0

    def _batch(self, rows: np.ndarray, size: int, restart: int) -> steps.Batch:
        """The rows as tensors, repeated up to ``size`` so that every batch has a shape that is compiled already."""
        padded = np.resize(rows, size)
        target = self.target[padded]
        if restart not in self.streams:
            self.streams[restart] = random.streams(self.spec.seed, restart, tf.constant(self.dataset.indices)).numpy()
        # In the refinement the nearest boundary will do.
        has_aim = self.n_target_classes and restart < self.rounds
        aim = self._likely_wrong_classes(padded, restart % self.n_target_classes) if has_aim else target
        succeeded = self.best["success"][padded, None, None, None]
        return steps.Batch(
            x=tf.constant(self.dataset.x[padded]),
            labels=tf.constant(self.labels[padded]),
            aim=tf.constant(aim),
            target=tf.constant(target),
            streams=tf.constant(self.streams[restart][padded]),
            restart=tf.fill([size], restart // max(self.n_target_classes, 1)),
            nearest=tf.constant(np.where(succeeded, self.best["x"][padded], self.dataset.x[padded])),
        )

    def _likely_wrong_classes(self, rows: np.ndarray, rank: int) -> np.ndarray:
        """int32: for each row the class that, its label aside, comes at ``rank`` (from 0) on the clean image."""
        order = np.argsort(-self.clean_probabilities[rows], axis=1, kind="stable")
        wrong = order[order != self.labels[rows, None]].reshape(len(rows), -1)
        return wrong[:, rank].astype(np.int32)

    def _robust_fraction(self) -> float:
        return float(np.mean(self.correct & ~self.best["success"]))

    def _specification(self) -> dict[str, Any]:
        return {
            "attack": self.spec.to_dict(),
            "classifier_digest": self.classifier.digest,
            "dataset": self.dataset.name,
            "dataset_digest": self.dataset.digest,
            "size": self.size,
        }

    def _save(self, partial: Path) -> bool:
        checkpoint = Checkpoint(self.position, self.seconds, self.best, self.rows, self.carry)
        return resume.save(partial, self._specification(), checkpoint)

    def _resume_from(self, partial: Path) -> None:
        checkpoint = resume.load(partial, self._specification())
        if checkpoint is not None:
            self.position, self.seconds, self.best, self.rows, self.carry = checkpoint


def _digest(rows: np.ndarray) -> str:
    return hashlib.sha256(np.packbits(rows).tobytes()).hexdigest()[:8]
