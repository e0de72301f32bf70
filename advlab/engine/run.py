"""The host's half of the engine: batches, restarts, repacking, progress, and keeping unfinished work."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from advlab import workspace
from advlab.classifiers.classifier import Classifier
from advlab.data.dataset import Dataset
from advlab.engine import best, resume, steps
from advlab.engine.compile import shares, xla_pays
from advlab.engine.external import run_external
from advlab.engine.resume import Work
from advlab.engine.universal import UniversalRun
from advlab.errors import InvalidValue
from advlab.problem import random
from advlab.problem.problem import Craft, ExternalLoop, Loop, Problem, UniversalLoop
from advlab.progress import Progress, patient_interrupt
from advlab.threat import Attack

_CHUNK_STEPS = 500
_CHUNK_WORK = 5e8  # activations: a second or so of dense or convolutional layers on a processor
_KEEP_AFTER = 5.0  # seconds of work that are worth an unfinished archive
_KEEP_EVERY = 60.0


class Crafting:
    """One attack on one slice of data: the work, and what it has found so far (one row for each image)."""

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
        self.targets = min(int(spec.parameters.get("n_target_classes") or 0), classifier.classes - 1)
        self.rounds = spec.restarts * max(self.targets, 1)
        planned = steps.plan(craft, spec, dataset.x.shape[1:])
        self.on_host, self.sweeps = isinstance(planned, ExternalLoop), isinstance(planned, UniversalLoop)
        if self.sweeps and spec.early_stop:
            raise InvalidValue(
                f"Method '{spec.method}' looks for one perturbation of all images; none can stop by itself. "
                "Got early_stop, as the curve of a bounded method needs it; leave it out, or choose another method."
            )
        if self.on_host and spec.precision != "float32":
            raise InvalidValue(
                f"Method '{spec.method}' runs in another library, in float32. Got precision '{spec.precision}'; "
                "leave it out."
            )
        self.steps = (
            planned.steps if isinstance(planned, Loop) else planned.epochs if isinstance(planned, UniversalLoop) else 0
        )
        self.trace_steps = steps.trace_steps(self.steps if isinstance(planned, Loop) else 0)
        self.xla = compile == "xla" or (compile == "auto" and xla_pays(classifier, n * self.rounds * self.steps))
        most = batch_size or int(np.clip(2**24 // classifier.activation_size, 16, 1000))
        self.clean = classifier.probabilities(dataset.x)
        self.correct = self.clean.argmax(1) == self.labels
        self.waiting = self.attempted & ~self._succeeds_unchanged()
        self.batches = max(1, math.ceil(self.waiting.sum() / most))
        self.shares = shares(math.ceil(self.waiting.sum() / self.batches), self.xla and not self.sweeps)
        self.size = self.shares.size
        self.repeat_difference = classifier.repeat_difference(dataset.x, self.clean)
        self.streams: dict[int, np.ndarray] = {}  # by restart
        self.settings = {
            "batch_size": self.size,
            "compile": "host" if self.on_host else "xla" if self.xla and not self.sweeps else "graph",
            "model": classifier.source,
            "scale": classifier.scale.tolist(),
            "offset": classifier.offset.tolist(),
            "goal": goal,
        }
        self.found = best.nothing(dataset.x, len(self.trace_steps))
        for name, value in {"success": True, "distance": 0, "first_success": 0}.items():
            self.found[name][self.attempted & ~self.waiting] = value
        self.seconds = 0.0
        self.finished = 0  # steps taken, over all samples
        self.place = {"batch": 0, "restart": 0, "step": 0, "computed": 0}
        self.rows = np.zeros(0, np.int64)  # those in hand
        self.carry: dict[str, Any] | None = None  # and how far they are, between two chunks

    def run(self, progress: bool | None, label: str) -> None:
        """Do what is left of the work, keeping it where it is interrupted."""
        partial = workspace.partial_path(self.classifier.name, self.name)
        self._continue_from(partial)
        began = kept = time.perf_counter()
        before = self.seconds
        total = int(self.waiting.sum()) * self.rounds * max(self.steps, 1)
        try:
            with Progress(total, label, show=progress) as bar, patient_interrupt(not self.on_host) as asked:
                shown = 0
                for _ in self._work():
                    now = time.perf_counter()
                    self.seconds = before + now - began
                    shown, moved = self.finished, self.finished - shown
                    bar.advance(moved, robust=f"{self._robust_so_far():.1%}")
                    if asked.is_set():
                        raise KeyboardInterrupt
                    if now - kept > _KEEP_EVERY:
                        self._keep(partial)
                        kept = now
        except KeyboardInterrupt:
            if self.seconds > _KEEP_AFTER and self._keep(partial):
                raise KeyboardInterrupt(f"What is done is kept in '{partial}'; the same command continues.") from None
            raise
        self.seconds = before + time.perf_counter() - began
        if self.goal == "minimal":
            # A sample that did not fall gets its clean image back: there is no smallest perturbation to show.
            failed = ~self.found["success"]
            self.found["x"][failed] = self.dataset.x[failed]
        with suppress(OSError):
            partial.unlink(missing_ok=True)

    @property
    def computed_fraction(self) -> float:
        """How much of all work was done; the rest was saved by rows that left early."""
        return self.place["computed"] / max(self.size * self.batches * self.rounds * self.steps, 1)

    def _work(self) -> Iterator[None]:
        """Go through batches and restarts; yields wherever an interruption may be kept."""
        if self.sweeps:
            yield from self._sweep()
            return
        resume = (self.place["batch"], self.place["restart"])
        for batch, rows in enumerate(np.array_split(np.flatnonzero(self.waiting), self.batches)):
            for restart in range(self.rounds):
                finished = self.finished + len(rows) * max(self.steps, 1)
                if (batch, restart) >= resume:
                    self.place |= {"batch": batch, "restart": restart}
                    todo = rows[~(self.found["success"][rows] & (self.spec.early_stop))]
                    if len(todo):
                        done = (
                            self._on_host(todo, restart) if self.on_host else (yield from self._in_graph(todo, restart))
                        )
                        best.merge(self.found, self.goal, *done)
                    self.place |= {"restart": restart + 1, "step": 0}
                    self.carry = None
                self.finished = finished
                yield

    def _sweep(self) -> Iterator[None]:
        """Look for one perturbation of all images, as often as there are restarts; not continued once interrupted."""
        rows = np.flatnonzero(self.attempted)
        if not len(rows):
            return
        # Rows are repeated to fill the last batch: every batch then has one shape.
        padded = np.resize(rows, self.size * self.batches).reshape(self.batches, -1)
        for restart in range(self.spec.restarts):
            batches = [self._batch(part, self.size, restart) for part in padded]
            sweeping = UniversalRun(self.classifier, self.craft, self.spec, batches, len(rows))
            for _ in sweeping.epochs():
                self.finished += len(rows)
                yield
            better = sweeping.found["success"].sum() > self.found["success"].sum()
            best.merge(self.found, self.goal, rows, sweeping.found, whole=better or not restart)

    def _succeeds_unchanged(self) -> np.ndarray:
        """bool ``(n,)``: images that are their own best, where the nearest or first success is wanted, at no cost."""
        wanted = self.goal == "minimal" or self.spec.early_stop
        predicted = self.clean.argmax(1)
        return wanted & np.where(self.target >= 0, predicted == self.target, predicted != self.labels)

    def _on_host(self, rows: np.ndarray, restart: int) -> tuple[np.ndarray, Mapping[str, Any]]:
        problem = self._problem(self._batch(rows, len(rows), restart))
        host = self.craft(problem, **self.spec.parameters)
        return rows, run_external(host, problem)

    def _in_graph(self, rows: np.ndarray, restart: int) -> Generator[None, None, tuple[np.ndarray, Mapping[str, Any]]]:
        """Take all steps, chunk by chunk; returns the rows that are left at the end, and their carry."""
        traced = steps.compiled(self.classifier, self.craft, self.spec, self.goal, self.xla)
        epsilon = tf.constant(self.spec.threat.epsilon, tf.float64)
        floats = {n: tf.constant(v, tf.float32) for n, v in self.spec.parameters.items() if isinstance(v, float)}
        first, size = self.place["step"], self.size
        if self.carry is None:
            batch = self._batch(rows, size, restart)
            carry = traced.begin(self.shares.rows, batch, epsilon, floats)
        else:
            rows, size = self.rows, len(self.carry["success"])
            batch = self._batch(rows, size, restart)
            carry = {name: tf.constant(value) for name, value in self.carry.items()}
        may_leave = self.spec.early_stop or "state/done" in carry
        while True:
            # By work, not by time: where rows leave must not depend on how fast the machine is today.
            most = np.clip(_CHUNK_WORK // (size * self.classifier.activation_size), 1, _CHUNK_STEPS)
            last = min(first + int(min(most, max(first, 10)) if may_leave else most), self.steps)
            carry = traced.run(self.shares.rows, batch, epsilon, floats, carry, tf.constant(first), tf.constant(last))
            idle = steps.idle(carry, self.spec.early_stop).numpy()[: len(rows)]
            self.finished += len(rows) * (last - first)
            self.place["computed"] += size * (last - first)
            if last == self.steps:
                return rows, carry
            left = np.flatnonzero(~idle)
            smaller = self._smaller(len(left), size)
            if smaller < size:
                # Idle rows leave; the others move into a batch of one of a few fixed sizes.
                gone = np.flatnonzero(idle)
                broken = {name: tf.gather(value, gone) for name, value in carry.items()}
                if not len(left):
                    return rows, broken
                best.merge(self.found, self.goal, rows[gone], broken)
                rows, size = rows[left], smaller
                batch = self._batch(rows, size, restart)
                carry = {name: tf.gather(value, np.resize(left, size)) for name, value in carry.items()}
            self.rows, self.carry, self.place["step"] = rows, carry, last
            yield
            first = last

    def _problem(self, batch: steps.Batch) -> Problem:
        epsilon = tf.constant(self.spec.threat.epsilon, tf.float64)
        return steps.problem_of(batch, self.spec.threat.norm, epsilon, self.classifier.logits)

    def _smaller(self, left: int, size: int) -> int:
        """The smallest of the fixed batch sizes that holds ``left`` rows; 0 for none."""
        return min(s for s in (*self.shares.sizes, size) if s >= left) if left else 0

    def _batch(self, rows: np.ndarray, size: int, restart: int) -> steps.Batch:
        """The rows as tensors, repeated up to ``size`` so that every batch has a shape that is compiled already."""
        padded = np.resize(rows, size)
        target = self.target[padded]
        if restart not in self.streams:
            self.streams[restart] = random.streams(self.spec.seed, restart, tf.constant(self.dataset.indices)).numpy()
        aim = self._likely_wrong(padded, restart % self.targets) if self.targets else target
        return steps.Batch(
            x=tf.constant(self.dataset.x[padded]),
            labels=tf.constant(self.labels[padded]),
            aim=tf.constant(aim),
            target=tf.constant(target),
            streams=tf.constant(self.streams[restart][padded]),
        )

    def _likely_wrong(self, rows: np.ndarray, rank: int) -> np.ndarray:
        """int32: for each row the class that, its label aside, comes at ``rank`` (from 0) on the clean image."""
        order = np.argsort(-self.clean[rows], axis=1, kind="stable")
        wrong = order[order != self.labels[rows, None]].reshape(len(rows), -1)
        return wrong[:, rank].astype(np.int32)

    def _robust_so_far(self) -> float:
        return float(np.mean(self.correct & ~self.found["success"]))

    def _specification(self) -> dict[str, Any]:
        return {
            "attack": self.spec.to_dict(),
            "classifier_digest": self.classifier.digest,
            "dataset": self.dataset.name,
            "dataset_digest": self.dataset.digest,
            "size": self.size,
        }

    def _keep(self, partial: Path) -> bool:
        work = Work(self.place, self.seconds, self.found, self.rows, self.carry)
        return resume.keep(partial, self._specification(), work)

    def _continue_from(self, partial: Path) -> None:
        work = resume.take_up(partial, self._specification())
        if work is not None:
            self.place, self.seconds, self.found, self.rows, self.carry = work


def _digest(rows: np.ndarray) -> str:
    return hashlib.sha256(np.packbits(rows).tobytes()).hexdigest()[:8]
