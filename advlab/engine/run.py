"""The half of the engine outside the graph: batches, restarts, repacking, progress, and saving unfinished work."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from advlab.classifiers.devices import device_name
from advlab.distances import exceeds
from advlab.engine import best, resume, steps
from advlab.engine.external import run_external
from advlab.engine.plan import Plan, in_smaller_batches
from advlab.engine.resume import Checkpoint
from advlab.engine.universal import UniversalRun
from advlab.problem import random
from advlab.problem.problem import Problem
from advlab.progress import Progress, patient_interrupt
from advlab.results.execution import Execution

_LOG = logging.getLogger(__name__)
_CHUNK_STEPS = 500
_CHUNK_WORK = 5e8  # activations: a second or so of dense or convolutional layers on a processor
_SAVE_AFTER = 5.0  # seconds of work that are worth an unfinished archive
_SAVE_EVERY = 8.0  # the most that a sudden death costs, unless saving itself takes a tenth of that


class Run:
    """A plan under way: how far it is, and the best of each image so far (rows first)."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.best = best.empty(plan.dataset.x, len(plan.trace_steps))
        for name, value in {"success": True, "distance": 0, "first_success": 0}.items():
            self.best[name][plan.attempted & ~plan.pending] = value
        self.patch: np.ndarray | None = None  # what lies on all images
        self.seconds = 0.0
        self.position = {"batch": 0, "restart": 0, "step": 0, "computed": 0}
        self.rows = np.zeros(0, np.int64)  # those in progress
        self.carry: dict[str, Any] | None = None  # and their state, between two chunks
        self._steps_done = 0  # over all samples
        self._finished = 0  # samples that were, when batches were made smaller
        self._streams: dict[int, np.ndarray] = {}  # by restart

    def execute(
        self,
        unfinished: Path | None,
        progress: bool | None,
        label: str,
        keep_finished: Callable[[Path, int], None],
    ) -> None:
        """Do the remaining work, keeping it in a file where it is interrupted.

        ``keep_finished`` is given that file and the number of first images that are finished, whenever it has grown.
        """
        plan = self.plan
        _LOG.info(
            "%s: %s of %s images, batches: %s of at most %s, %s steps each, %s, on %s",
            label,
            f"{int(plan.pending.sum()):,}",
            f"{len(plan.dataset):,}",
            plan.batches,
            plan.size,
            f"{plan.total_steps:,}",
            "by another library" if plan.is_external else "compiled by XLA" if plan.xla else "as a graph",
            device_name(),
        )
        file = unfinished
        if file is not None:
            self._resume_from(file)
        started = last_saved = time.perf_counter()
        interval = _SAVE_EVERY
        earlier_seconds, kept_images = self.seconds, 0
        total = int(plan.pending.sum()) * plan.total_steps
        # Between two chunks the state is whole; a second Ctrl-C, which ends at once, may find it half merged.
        is_whole = False
        try:
            with Progress(total, label, show=progress) as bar, patient_interrupt(not plan.is_external) as interrupt:
                shown_steps = 0
                for _ in self._work_through_in_memory():
                    is_whole = True
                    if self.plan is not plan:
                        file = None  # a position in these batches is none in those that the next call begins with
                    now = time.perf_counter()
                    self.seconds = earlier_seconds + now - started
                    shown_steps, new_steps = self._steps_done, self._steps_done - shown_steps
                    bar.advance(new_steps, robust=f"{self._robust_fraction():.1%}")
                    if interrupt.is_set():
                        raise KeyboardInterrupt
                    if file is not None and now - last_saved > interval:
                        self._save(file)
                        if (images := self._finished_images) > kept_images:
                            keep_finished(file, images)
                            kept_images = images
                        last_saved = time.perf_counter()
                        interval = max(_SAVE_EVERY, 10 * (last_saved - now))
                    is_whole = plan.is_external
        except KeyboardInterrupt:
            if file is not None and is_whole and self.seconds > _SAVE_AFTER and self._save(file):
                raise KeyboardInterrupt(f"The work so far is saved in '{file}'; the same command continues.") from None
            raise
        self.seconds = earlier_seconds + time.perf_counter() - started

    @property
    def execution(self) -> Execution:
        """How it was run."""
        plan = self.plan
        work = plan.size * plan.batches * plan.total_steps if plan.steps else 0
        computed = min(self.position["computed"] / max(work, 1), 1)
        return Execution(
            batch_size=plan.size,
            compile="host" if plan.is_external else "xla" if plan.xla and not plan.is_universal else "graph",
            device=device_name(),
            computed_fraction=round(computed, 4),
            **plan.classifier.record,
        )

    @property
    def _finished_images(self) -> int:
        """How many first images need no more work."""
        plan = self.plan
        if plan.is_universal:
            return 0
        is_last = self.position["restart"] == plan.rounds + bool(plan.refinement)
        batches = np.array_split(np.flatnonzero(plan.pending), plan.batches)
        remaining = batches[self.position["batch"] + is_last :]
        return int(remaining[0][0]) if remaining and len(remaining[0]) else len(plan.dataset)

    def _work_through_in_memory(self) -> Iterator[None]:
        """Go through all batches; where one does not fit into memory, go on with half as many images at a time."""
        while True:
            try:
                yield from self._work_through()
                return
            except tf.errors.ResourceExhaustedError as error:
                before = int(self.plan.pending.sum())
                self.plan = in_smaller_batches(self.plan, self.position["batch"], error)
                self._finished += before - int(self.plan.pending.sum())
                self._steps_done = self._finished * self.plan.total_steps
                self.position |= {"batch": 0, "restart": 0, "step": 0}
                self.carry = None

    def _work_through(self) -> Iterator[None]:
        """Go through batches and restarts; yields wherever the work may be interrupted and saved."""
        plan = self.plan
        if plan.is_universal:
            yield from self._run_universal()
            return
        first = (self.position["batch"], self.position["restart"])
        for batch, rows in enumerate(np.array_split(np.flatnonzero(plan.pending), plan.batches)):
            for restart in range(plan.rounds + bool(plan.refinement)):
                is_refinement = restart == plan.rounds
                round_steps = plan.refinement.steps if plan.refinement and is_refinement else max(plan.steps, 1)
                steps_done = self._steps_done + len(rows) * round_steps
                if (batch, restart) >= first:
                    self.position |= {"batch": batch, "restart": restart}
                    success = self.best["success"][rows]
                    remaining = rows[success if is_refinement else ~(success & plan.spec.early_stop)]
                    if len(remaining):
                        if plan.is_external:
                            result = self._run_external(remaining, restart)
                        else:
                            result = yield from self._run_in_graph(remaining, restart)
                        self._merge(restart, *result)
                    self.position |= {"restart": restart + 1, "step": 0}
                    self.carry = None
                self._steps_done = steps_done
                yield

    def _run_universal(self) -> Iterator[None]:
        """Seek one perturbation of all images, once for each restart; starts again if interrupted."""
        plan = self.plan
        rows = np.flatnonzero(plan.attempted)
        if not len(rows):
            return
        for restart in range(self.position["restart"], plan.spec.restarts):
            universal_run = self._universal_run(rows, restart)
            if self.carry is not None:
                universal_run.restore(self.carry, self.position["step"])
                self.patch = self.carry.get("earlier_patch") if restart else None
            self._steps_done = len(rows) * (restart * plan.steps + universal_run.epoch)
            for _ in universal_run.epochs():
                self.carry = self._universal_carry(universal_run)
                self.position["step"] = universal_run.epoch
                self._steps_done += len(rows)
                yield
            is_better = not restart or universal_run.best["success"].sum() > self.best["success"].sum()
            best.merge(self.best, plan.spec.goal, rows, universal_run.best, replace_all=is_better)
            self.patch = universal_run.patch if is_better else self.patch
            self.position |= {"restart": restart + 1, "step": 0}
            self.carry = None

    def _universal_carry(self, universal_run: UniversalRun) -> dict[str, np.ndarray]:
        """What the next epoch needs, and the patch that earlier restarts left."""
        if universal_run.patch is None:
            return universal_run.carry()
        earlier = universal_run.patch if self.patch is None else self.patch
        return universal_run.carry() | {"earlier_patch": earlier}

    def _universal_run(self, rows: np.ndarray, restart: int) -> UniversalRun:
        plan = self.plan
        # Rows are repeated to fill the last batch: every batch then has one shape.
        padded = np.resize(rows, plan.size * plan.batches).reshape(plan.batches, -1)
        batches = [self._batch(part, plan.size, restart)[0] for part in padded]
        return UniversalRun(plan.classifier, plan.craft, plan.spec, batches, len(rows))

    def _run_external(self, rows: np.ndarray, restart: int) -> tuple[np.ndarray, Mapping[str, Any]]:
        problem = self._problem(*self._batch(rows, len(rows), restart))
        loop = self.plan.craft(problem, **self.plan.spec.parameters)
        return rows, run_external(loop, problem)

    def _run_in_graph(
        self, rows: np.ndarray, restart: int
    ) -> Generator[None, None, tuple[np.ndarray, Mapping[str, Any]]]:
        """Take all steps, chunk by chunk; returns the rows of the last batch, and their carry."""
        plan = self.plan
        craft, spec, total_steps = plan.craft, plan.spec, plan.steps
        if plan.refinement and restart == plan.rounds:
            craft, spec, total_steps = plan.refinement
        compiled = steps.compile_method(plan.classifier, craft, spec, plan.spec.goal, plan.xla)
        floats = {n: tf.constant(v, tf.float32) for n, v in spec.parameters.items() if isinstance(v, float)}
        first, size = self.position["step"], plan.size
        if self.carry is None:
            batch, epsilon = self._batch(rows, size, restart)
            carry = compiled.begin(plan.slices.rows, batch, epsilon, floats)
        else:
            rows, size = self.rows, len(self.carry["success"])
            batch, epsilon = self._batch(rows, size, restart)
            carry = {name: tf.constant(value) for name, value in self.carry.items()}
        rows_may_leave = plan.spec.early_stop or "state/done" in carry
        while True:
            # By work, not by time: where rows leave must not depend on how fast the machine is today.
            chunk_steps = np.clip(_CHUNK_WORK // (size * plan.classifier.activation_size), 1, _CHUNK_STEPS)
            last = min(first + int(min(chunk_steps, max(first, 10)) if rows_may_leave else chunk_steps), total_steps)
            carry = compiled.run(plan.slices.rows, batch, epsilon, floats, carry, tf.constant(first), tf.constant(last))
            idle = steps.is_idle(carry, plan.spec.early_stop).numpy()[: len(rows)]
            self._steps_done += len(rows) * (last - first)
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
                batch, epsilon = self._batch(rows, size, restart)
                carry = {name: tf.gather(value, np.resize(active_rows, size)) for name, value in carry.items()}
            self.rows, self.carry, self.position["step"] = rows, carry, last
            yield
            first = last

    def _merge(self, restart: int, rows: np.ndarray, carry: Mapping[str, Any]) -> None:
        """Keep the better of this round and those before; a trace is that of the method, not of its refinement."""
        omitted = ("loss_trace", "first_success") if restart == self.plan.rounds else ()
        kept = {name: value for name, value in carry.items() if name not in omitted}
        best.merge(self.best, self.plan.spec.goal, rows, kept)

    def _problem(self, batch: steps.Batch, epsilon: tf.Tensor) -> Problem:
        plan = self.plan
        return steps.build_problem(batch, plan.spec.threat.norm, epsilon, plan.classifier.logits, plan.spec.threat.top)

    def _repacked_size(self, count: int, size: int) -> int:
        """The smallest of the fixed batch sizes that holds ``count`` rows; 0 for none."""
        return min(s for s in (*self.plan.slices.sizes, size) if s >= count) if count else 0

    def _batch(self, rows: np.ndarray, size: int, restart: int) -> tuple[steps.Batch, tf.Tensor]:
        """The rows as tensors, and their epsilon; repeated up to ``size``, a shape that is compiled already."""
        plan = self.plan
        padded = np.resize(rows, size)
        target = plan.target[padded]
        if restart not in self._streams:
            self._streams[restart] = random.streams(plan.spec.seed, restart, tf.constant(plan.dataset.indices)).numpy()
        # In the refinement the nearest boundary will do.
        has_aim = plan.n_target_classes and restart < plan.rounds
        aim = self._likely_wrong_classes(padded, restart % plan.n_target_classes) if has_aim else target
        succeeded = self.best["success"][padded, None, None, None]
        mask = plan.mask(padded)
        batch = steps.Batch(
            x=tf.constant(plan.dataset.x[padded]),
            labels=tf.constant(plan.labels[padded]),
            aim=tf.constant(aim),
            target=tf.constant(target),
            streams=tf.constant(self._streams[restart][padded]),
            restart=tf.fill([size], restart // max(plan.n_target_classes, 1)),
            nearest=tf.constant(np.where(succeeded, self.best["x"][padded], plan.dataset.x[padded])),
            mask=() if mask is None else tf.constant(mask),
        )
        return batch, tf.constant(plan.epsilon(padded), tf.float64)

    def _likely_wrong_classes(self, rows: np.ndarray, rank: int) -> np.ndarray:
        """int32: for each row the class that, its label aside, comes at ``rank`` (from 0) on the clean image."""
        order = np.argsort(-self.plan.clean_probabilities[rows], axis=1, kind="stable")
        wrong = order[order != self.plan.labels[rows, None]].reshape(len(rows), -1)
        return wrong[:, rank].astype(np.int32)

    def _robust_fraction(self) -> float:
        """What the table will print: images left out do not count, nor does a success beyond the epsilon judged."""
        plan, success = self.plan, self.best["success"]
        if plan.judged is not None and plan.spec.goal == "minimal":
            success = success & ~exceeds(self.best["distance"], plan.judged.norm, plan.judged.epsilon)
        return float(np.mean(plan.correct & ~plan.left_out & ~success))

    def _specification(self) -> dict[str, Any]:
        plan = self.plan
        return {
            "attack": plan.spec.to_dict(),
            "classifier_digest": plan.classifier.digest,
            "dataset": plan.dataset.name,
            "dataset_digest": plan.dataset.digest,
            "size": plan.size,
        }

    def _save(self, partial: Path) -> bool:
        checkpoint = Checkpoint(self.position, self.seconds, self.best, self.rows, self.carry)
        return resume.save(partial, self._specification(), checkpoint)

    def _resume_from(self, partial: Path) -> None:
        plan = self.plan
        longest = max(plan.steps, plan.refinement.steps if plan.refinement else 0)
        end = {"batch": plan.batches, "restart": plan.rounds + 1, "step": longest, "computed": math.inf}
        carry = None
        if plan.is_universal and plan.attempted.any() and partial.exists():
            carry = self._universal_carry(self._universal_run(np.flatnonzero(plan.attempted), 0))
        checkpoint = resume.load(partial, self._specification(), self.best, end, carry)
        if checkpoint is not None:
            _LOG.info("continues from '%s'", partial)
            self.position, self.seconds, self.best, self.rows, self.carry = checkpoint
