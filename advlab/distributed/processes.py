"""Processes of this machine that share its cores, its memory and its GPUs; one that dies is replaced."""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from advlab.distributed.worker import BEGUN, Failure, Job
from advlab.engine.executor import Shared
from advlab.errors import AdvlabError, InvalidValue

MOST_DEATHS = 3  # of workers at one task: then it is the task that ends them
_MOST_STARTS = 10  # of workers that end before they begin it
_BYTES_EACH = 900 * 2**20  # of a worker at work: TensorFlow, a network of some millions of weights, a batch
_STOP_SECONDS = 2.0


class Processes:
    """An executor of ``workers`` processes, started when there is work and ended by ``close``.

    Each has an equal number of this machine's cores as threads, and of several GPUs one. Raises ``InvalidValue`` where
    the memory that is free is too small for so many.
    """

    def __init__(self, workers: int):
        free = _free_memory()
        if free is not None and workers * _BYTES_EACH > free:
            fitting = max(free // _BYTES_EACH, 1)
            raise InvalidValue(
                f"{workers} workers need about {workers * _BYTES_EACH / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory "
                f"are free. Choose --workers {fitting} (workers={fitting} in Python)."
            )
        self._folder = tempfile.TemporaryDirectory(prefix="advlab-")
        self._workers = [
            _Worker(number, _environment(number, workers), Path(self._folder.name) / f"worker-{number}.log")
            for number in range(workers)
        ]

    @property
    def workers(self) -> int:
        """How many there are."""
        return len(self._workers)

    def map(
        self,
        function: Callable[[Any, Any], Any],
        shared: Shared,
        numbers: Iterable[int],
        task: Callable[[int], Any],
        say: Callable[[str], None],
    ) -> Iterator[tuple[int, Any]]:
        """As ``engine.executor.Executor`` says."""
        path = Path(self._folder.name) / shared.key
        if not path.exists():
            path.write_bytes(shared.content)
        remaining, lock, answers = iter(numbers), threading.Lock(), queue.Queue[Any]()
        stopped = threading.Event()

        def work(worker: _Worker) -> None:
            try:
                while not stopped.is_set():
                    with lock:
                        number = next(remaining, None)
                        if number is None:
                            return
                        content = pickle.dumps(task(number), protocol=pickle.HIGHEST_PROTOCOL)
                    job = Job(function.__module__, function.__name__, shared.key, path, content)
                    answers.put((number, worker.ask(job, number, say)))
            except BaseException as error:  # noqa: BLE001
                answers.put(error)
            finally:
                answers.put(None)

        threads = [threading.Thread(target=work, args=(worker,), daemon=True) for worker in self._workers]
        for thread in threads:
            thread.start()
        working = len(threads)
        try:
            while working:
                answer = answers.get()
                if answer is None:
                    working -= 1
                elif isinstance(answer, BaseException):
                    raise answer
                else:
                    yield answer
        finally:
            stopped.set()
            if working:  # interrupted: what they are at is of no use any more
                self._end(at_once=True)
            for thread in threads:
                thread.join(_STOP_SECONDS)

    def close(self) -> None:
        """End the processes."""
        self._end(at_once=False)
        self._folder.cleanup()

    def _end(self, at_once: bool) -> None:
        for worker in self._workers:
            worker.end(at_once)


class _Worker:
    """One process, started by its first task, in a session of its own: Ctrl-C reaches the process that asks alone."""

    def __init__(self, number: int, environment: dict[str, str], log: Path):
        self.number = number
        self._log = log  # what TensorFlow and the operating system say, of interest only where the process dies
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._is_over = False

    def ask(self, job: Job, number: int, say: Callable[[str], None]) -> Any:
        """What a task returns; its process is replaced where it dies."""
        deaths = starts = 0
        while True:
            process, begun = self._started(), False
            try:
                pickle.dump(job, process.stdin, protocol=pickle.HIGHEST_PROTOCOL)  # type: ignore[arg-type]
                process.stdin.flush()  # type: ignore[union-attr]
                while isinstance(answer := pickle.load(process.stdout), str) and answer == BEGUN:  # type: ignore[arg-type]
                    begun = True
            except (EOFError, OSError, pickle.UnpicklingError):
                code = process.wait()
                self._process = None
                if self._is_over:
                    raise AdvlabError("The workers were ended.") from None
                deaths, starts = deaths + begun, starts + (not begun)
                if deaths == MOST_DEATHS or starts == _MOST_STARTS:
                    raise AdvlabError(
                        f"Slice {number + 1} ended {deaths + starts} processes, the last one {self._why(code)}. Where "
                        "memory ran out, choose fewer --workers or a smaller --batch-size."
                    ) from None
                say(f"worker {self.number + 1} ended ({self._why(code)}); slice {number + 1} is repeated")
                continue
            if isinstance(answer, Failure):
                raise answer.error or RuntimeError(f"In worker {self.number + 1}:\n{answer.text}")
            return answer

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._is_over = False
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from advlab.distributed.worker import main; main()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log.open("wb"),
                env=self._environment,
                start_new_session=True,
            )
        return self._process

    def _why(self, code: int) -> str:
        if code < 0:
            return f"killed by signal {-code}"
        lines = self._log.read_text("utf-8", "replace").strip().splitlines()
        return f"exit code {code}: {lines[-1]}" if lines else f"exit code {code}"

    def end(self, at_once: bool) -> None:
        """End the process: at once, or as soon as it reads that nothing more comes."""
        self._is_over = True
        process, self._process = self._process, None
        if process is None:
            return
        if at_once:
            process.kill()
        elif process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment(number: int, workers: int) -> dict[str, str]:
    """What a worker finds before it imports TensorFlow: its threads, its GPU, and where advlab is."""
    threads = str(max(len(os.sched_getaffinity(0)) // workers, 1))
    names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    here = str(Path(__file__).parents[2])
    paths = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
    said = {**os.environ, **dict.fromkeys(names, threads), "PYTHONPATH": paths}
    said.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    gpus = _gpus()
    return {**said, "CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else said


def _gpus() -> list[str]:
    """The GPUs of this process by the names that CUDA_VISIBLE_DEVICES has for them."""
    if "tensorflow" not in sys.modules:
        return []
    found = sys.modules["tensorflow"].config.get_visible_devices("GPU")
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[: len(found)] or [str(number) for number in range(len(found))]


def _free_memory() -> int | None:
    """Bytes that new processes may take; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    kilobytes = next((line.split()[1] for line in lines if line.startswith("MemAvailable")), None)
    return None if kilobytes is None else int(kilobytes) * 1024
