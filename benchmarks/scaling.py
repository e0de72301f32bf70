"""How far an attack spreads: workers against one process, deaths, and where the driver becomes the limit.

    python benchmarks/scaling.py speed|kills|ray|driver|passes|plan

Ratios are of runs that take turns; the machine should have nothing else to do. ``docs/scaling.md`` has the numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = 3
STEPS = 40
NETS = {  # model -> its data, images and steps that keep one core busy for some seconds
    "fashion": ("fashion-mnist", 8192, 400),
    "mnist": ("mnist", 512, 40),
    "mnist-rnn": ("mnist", 512, 40),
    "cifar10": ("cifar10", 256, 40),
}
MEASURED = 1.01  # passes for each robust image over those counted: what the others cost, in the benchmark of the zoo
# What a machine costs for an hour, in dollars: parameters, see docs/scaling.md for where they come from.
PRICES = {"16 cores": 0.68, "GPU": 2.49}


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "kills", "ray", "driver", "passes", "plan", "run"])
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--model", choices=NETS, default="mnist")
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--robust", type=float, default=0.4, help="Fraction that is robust in the end.")
    parser.add_argument("--core", type=float, default=0.0403, help="Seconds of a pass on one core: see passes.")
    parser.add_argument("--gpu", type=float, default=1000, help="Passes per second of a GPU, an assumption.")
    arguments = parser.parse_args()
    if arguments.what == "run":
        print(json.dumps(attacked(arguments.model, arguments.workers, arguments.ray)))
    elif arguments.what == "plan":
        plan(arguments.images, arguments.robust, arguments.core, arguments.gpu)
    else:
        {"speed": speed, "kills": kills, "ray": ray, "driver": driver, "passes": passes}[arguments.what]()


def attacked(model: str, workers: int, with_ray: bool) -> tuple[float, float]:
    """Seconds of an attack, once everything is loaded and compiled, and its seconds of processor time."""
    import contextlib

    import advlab
    from advlab.engine import executor

    name, samples, steps = NETS[model]
    classifier = advlab.load_classifier(model)
    data = advlab.load_dataset(name, limit=samples)
    spec = advlab.Attack("pgd", epsilon=0.1, steps=steps)
    chosen: Any = advlab.use_workers(ray="local") if with_ray else contextlib.nullcontext()
    chosen = advlab.use_workers(workers) if workers else chosen
    with chosen:
        advlab.attack(classifier, data, spec, progress=False)
        pool: Any = executor.current()
        processes = [worker._process.pid for worker in pool._workers] if workers else []
        start, used = time.perf_counter(), _processor_seconds(processes)
        advlab.attack(classifier, data, spec, progress=False)
        return time.perf_counter() - start, _processor_seconds(processes) - used


def _processor_seconds(processes: list[int]) -> float:
    """Of this process and the given ones."""
    stats = [Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split() for process in processes]
    ticks = sum(int(stat[11]) + int(stat[12]) for stat in stats)
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def in_process(*words: str, cores: str = "") -> tuple[float, float]:
    """What ``run`` prints in a process of its own, held to some cores."""
    command = ["taskset", "-c", cores] * bool(cores) + [sys.executable, __file__, "run", *words]
    seconds, used = json.loads(subprocess.run(command, check=True, capture_output=True).stdout.splitlines()[-1])
    return seconds, used


def speed() -> None:
    """Two workers against one that is held to one core, and against one process on all cores.

    Other work on the machine changes the seconds of processor time less than those of the clock.
    """
    kinds = {
        "one worker, one core": (("--workers", "1"), "0"),
        "two workers": (("--workers", "2"), ""),
        "one": ((), ""),
    }
    for model in NETS:
        measured: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
        for _ in range(ROUNDS):
            for kind, (words, cores) in kinds.items():
                measured[kind].append(in_process("--model", model, *words, cores=cores))
        for number, what in enumerate(("seconds", "processor seconds")):
            best = {kind: min(pair[number] for pair in pairs) for kind, pairs in measured.items()}
            print(f"{model}, {what}:", {kind: round(value, 2) for kind, value in best.items()}, flush=True)


def ray() -> None:
    """Ray against the processes of this machine: the same slices, and what starting and ending it takes."""
    pairs = [(in_process("--workers", "2")[0], in_process("--ray")[0]) for _ in range(ROUNDS)]
    start = time.perf_counter()
    from advlab.distributed.cluster import Cluster

    Cluster("local", 2).close()
    print("workers, ray:", [(round(a, 2), round(b, 2)) for a, b in pairs])
    print(f"starting and ending Ray: {time.perf_counter() - start:.1f} s")


class Killing:
    """The processes of this machine, of which one is killed at random after so many slices."""

    def __init__(self, pool: Any, every: int):
        self.pool, self.every, self.workers, self.killed = pool, every, pool.workers, 0

    def map(self, *arguments: Any) -> Iterator[tuple[int, Any]]:
        """As ``engine.executor.Executor`` says."""
        draw = random.Random(0)
        for done, answer in enumerate(self.pool.map(*arguments), 1):
            if done % self.every == 0:
                running = [worker._process for worker in self.pool._workers if worker._process is not None]
                os.kill(draw.choice(running).pid, signal.SIGKILL)
                self.killed += 1
            yield answer


def kills(every: int = 10, slices: int = 200) -> None:
    """Kill a random worker after every tenth of so many slices: is the result the same?"""
    import advlab
    from advlab.distributed.processes import Processes
    from advlab.engine import executor
    from advlab.engine import slices as cut

    classifier = advlab.load_classifier("mnist-dense-sgd")
    data = advlab.load_dataset("mnist", split="train", limit=64 * slices)
    spec = advlab.Attack("pgd", epsilon=0.05, steps=STEPS, seed=1)
    cut._SLICES = slices
    pool = Killing(Processes(2), every)
    start = time.perf_counter()
    with executor.using(pool):
        together = advlab.attack(classifier, data, spec, progress=False, compile="graph")
    seconds = time.perf_counter() - start
    pool.pool.close()
    alone = advlab.attack(classifier, data, spec, progress=False, compile="graph")
    differing = int((alone.robust != together.robust).sum())
    print(f"{pool.killed} kills in {seconds:.0f} s over {slices} slices: {differing} of {len(data):,} flags differ")


class Sleeping:
    """An executor of workers that only sleep: what is left is what the driver does."""

    def __init__(self, workers: int, seconds: float, answer: Callable[[Any], Any]):
        self.workers, self.seconds, self.answer = workers, seconds, answer

    def map(
        self, function: Any, shared: Any, numbers: Iterable[int], task: Callable[[int], Any], say: Any
    ) -> Iterator[tuple[int, Any]]:
        """As ``engine.executor.Executor`` says; tasks and answers are pickled, as if they were sent."""
        loop, draw = asyncio.new_event_loop(), random.Random(0)
        answers: asyncio.Queue[Any] = asyncio.Queue()
        remaining = iter(numbers)

        async def work() -> None:
            for number in remaining:
                pickle.dumps(task(number))
                await asyncio.sleep(draw.expovariate(1 / self.seconds))
                await answers.put(number)
            await answers.put(None)

        workers = [loop.create_task(work()) for _ in range(self.workers)]
        running = len(workers)
        while running:
            answer = loop.run_until_complete(answers.get())
            if answer is None:
                running -= 1
            else:
                yield answer, self.answer(answer)
        loop.close()


def driver() -> None:
    """A thousand sleeping workers: processor time of the driver for each slice, its memory, and what is written."""
    import advlab
    from advlab.data.dataset import Dataset
    from advlab.engine import slices as cut
    from advlab.engine.attack import craft_slice
    from advlab.engine.executor import Shared
    from advlab.lazy import LazyImages
    from advlab.results.per_image import PerImage

    for title, shape, classes, rows, count in (
        ("28 x 28 x 1, 10 classes", (28, 28, 1), 10, 48, 1000),
        ("224 x 224 x 3, 1,000 classes", (224, 224, 3), 1000, 16, 64),
    ):
        n = rows * count
        x = LazyImages((n, *shape), partial(_grey, shape))
        names = tuple(map(str, range(classes)))
        data = Dataset("noise", "test", x, np.arange(n) % classes, np.arange(n), names)
        spec = advlab.Attack("noise", epsilon=0.1)
        first = replace(data, x=np.asarray(x[:rows]), y=data.y[:rows], indices=data.indices[:rows])
        model = _linear(shape, classes)
        template = craft_slice(model, cut.Task(first, spec, None, "graph", None, None, PerImage()))

        memory: list[float] = []

        def answer(number: int, template: Any = template, memory: list[float] = memory) -> Any:
            memory.append(_resident())
            return pickle.loads(pickle.dumps(template))

        folder = Path(tempfile.mkdtemp())

        def task(images: Dataset, part: slice, spec: Any = spec) -> Any:
            return cut.Task(images, spec, None, "graph", None, None, PerImage())

        edges = [slice(start, start + rows) for start in range(0, n, rows)]
        start, used = time.perf_counter(), time.process_time()

        def subject_of(rows: slice, attack: advlab.Attack = spec, digest: str = model.digest) -> dict[str, object]:
            return {"attack": attack.to_dict(), "classifier_digest": digest}

        cut.craft_in_slices(
            Shared("", b""),
            data,
            edges,
            Sleeping(1000, 0.5, answer),
            craft_slice,
            task,
            folder / "a.partial.h5",
            subject_of,
            False,
            "",
        )
        wall, cpu = time.perf_counter() - start, time.process_time() - used
        size = sum(path.stat().st_size for path in folder.iterdir())
        shutil.rmtree(folder)
        print(
            f"{title}: {count} slices of {rows}: {1000 * cpu / count:.1f} ms of the driver for each, {wall:.1f} s in "
            f"all; {size / n / 1e3:.1f} kB an image on disk; memory {memory[0]:.0f} MB at the first slice, "
            f"{memory[len(memory) // 2]:.0f} at the middle one, {memory[-1]:.0f} at the last, "
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} at most"
        )


def _grey(shape: tuple[int, ...], rows: np.ndarray) -> np.ndarray:
    return np.full((len(rows), *shape), 0.5, np.float32)


def _linear(shape: tuple[int, ...], classes: int) -> Any:
    import keras

    import advlab

    layers = [keras.Input(shape), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(classes)]
    return advlab.Classifier.from_keras(keras.Sequential(layers), name="linear")


def _resident() -> float:
    """Megabytes of this process that lie in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def passes() -> None:
    """Seconds of one forward or backward pass of ResNet-50 on a picture of 224 x 224, on the cores of this process."""
    import keras

    import advlab
    from advlab.engine.cost import seconds_per_pass

    network = keras.applications.ResNet50(weights=None)
    classifier = advlab.Classifier.from_keras(network, preprocess="caffe")
    data = advlab.Dataset.from_arrays(
        np.full((16, 224, 224, 3), 0.5, np.float32), np.arange(16), list(map(str, range(1000)))
    )
    print(f"{len(os.sched_getaffinity(0))} cores: {1000 * seconds_per_pass(classifier, data):.1f} ms a pass")


def plan(images: int, robust: float, core: float, gpu: float) -> None:
    """What many pictures of ImageNet under the suite standard take, from passes, seconds and prices."""
    import advlab
    from advlab.engine.cost import most_passes

    counted = [most_passes(spec, (224, 224, 3), 1000) for spec in advlab.load_suite("standard").under("linf", "4/255")]
    each = sum(sum(passes) for passes in counted if passes)
    total = images * robust * each * MEASURED
    print(f"{each:,} passes for an image that stays robust; {total:.3g} for {images:,}, {robust:.0%} of them robust")
    print("| machine | passes per second | time | dollars |\n|---|--:|--:|--:|")
    for name, count, rate, price in (
        ("one core", 1, 1 / core, PRICES["16 cores"] / 16),
        ("16 cores", 16, 1 / core, PRICES["16 cores"] / 16),
        ("100 workers of one core", 100, 1 / core, PRICES["16 cores"] / 16),
        ("8 GPUs", 8, gpu, PRICES["GPU"]),
    ):
        hours = total / (count * rate) / 3600
        shown = f"{hours / 24:,.1f} days" if hours > 72 else f"{hours:.1f} hours"
        print(f"| {name} | {count * rate:,.0f} | {shown} | {hours * count * price:,.0f} |")


if __name__ == "__main__":
    main()
