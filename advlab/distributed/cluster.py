"""Ray as an executor: on this machine for the length of a run, or a cluster that is there already."""

from __future__ import annotations

import logging
import os
import pickle
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from advlab.distributed.worker import Failure, call, failure_of
from advlab.engine.executor import Shared
from advlab.errors import AdvlabError, InvalidValue, Mismatch
from advlab.provenance import versions
from advlab.validation import is_count

LOCAL, AUTO = "local", "auto"
_ANSWER_SECONDS = 10.0  # for an address to answer
_JOIN_SECONDS = 60.0  # for Ray to join what answers
_COMPARED = ("advlab", "tensorflow", "keras")
_MOST_FAILURES = 5  # of one task
_AHEAD = 2  # tasks sent for each that runs


class Cluster:
    """An executor of Ray's tasks; ``workers`` None: as many at a time as there are cores, or GPUs where there are some.

    ``address`` is ``local``, ``auto`` or that of a cluster. Raises ``AdvlabError`` where Ray is not installed,
    ``InvalidValue`` where nothing answers at the address, and ``Mismatch`` where a node has other versions.
    """

    def __init__(self, address: str, workers: int | None = None):
        self._ray = _import_ray()
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if address not in (LOCAL, AUTO):
            _require_answer(address)
        cores = len(os.sched_getaffinity(0))
        options: dict[str, Any] = {"num_cpus": cores, "include_dashboard": False} if address == LOCAL else {}
        self._owned = not self._ray.is_initialized()
        if self._owned:
            self._join(address, options)
        try:
            resources = self._ray.cluster_resources()
            self._gpu = int(resources.get("GPU", 0) > 0)
            room = int(resources.get("GPU" if self._gpu else "CPU", 1))
            self._workers = min(workers or room, max(room, 1))
            self._threads = max(int(resources.get("CPU", 1)) // self._workers, 1) if address == LOCAL else 1
            self._refuse_other_versions()
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> int:
        """How many tasks run at a time."""
        return self._workers

    def map(
        self,
        function: Callable[[Any, Any], Any],
        shared: Shared,
        numbers: Iterable[int],
        task: Callable[[int], Any],
        say: Callable[[str], None],
    ) -> Iterator[tuple[int, Any]]:
        """As ``engine.executor.Executor`` says; what is shared lies in the object store once."""
        ray = self._ray
        content = ray.put(shared.content)
        run = self._remote(_run)
        remaining, waiting, deaths = iter(numbers), dict[Any, int](), dict[int, int]()

        def send(number: int) -> None:
            sent = pickle.dumps(task(number), protocol=pickle.HIGHEST_PROTOCOL)
            reference = run.remote(function.__module__, function.__name__, shared.key, content, sent, self._threads)
            waiting[reference] = number

        try:
            while True:
                while len(waiting) < _AHEAD * self._workers and (following := next(remaining, None)) is not None:
                    send(following)
                if not waiting:
                    return
                (reference, *_), _ = ray.wait(list(waiting), num_returns=1)
                number = waiting.pop(reference)
                try:
                    answer = ray.get(reference)
                except (ray.exceptions.RaySystemError, ray.exceptions.RayError) as error:
                    deaths[number] = deaths.get(number, 0) + 1
                    if deaths[number] == _MOST_FAILURES:
                        raise AdvlabError(
                            f"Slice {number + 1} failed {_MOST_FAILURES} times in the cluster: {_first_line(error)} "
                            "Where memory ran out, choose a smaller --batch-size."
                        ) from error
                    say(f"slice {number + 1} is repeated ({deaths[number]}): {_first_line(error)}")
                    send(number)
                    continue
                if isinstance(answer, Failure):
                    raise answer.error or RuntimeError(f"In a task of the cluster:\n{answer.text}")
                yield number, answer
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)

    def close(self) -> None:
        """Leave the cluster, or end the one that was started."""
        if self._owned:
            self._ray.shutdown()

    def _join(self, address: str, options: dict[str, Any]) -> None:
        """Join in bounded time; what answers at an address need not be Ray."""
        failed: list[BaseException] = []

        def join() -> None:
            try:
                self._ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
            except BaseException as error:  # noqa: BLE001
                failed.append(error)

        if address == LOCAL:
            join()
        else:
            thread = threading.Thread(target=join, daemon=True)
            thread.start()
            thread.join(_JOIN_SECONDS)
            if thread.is_alive():
                failed.append(TimeoutError(f"no answer of Ray within {_JOIN_SECONDS:.0f} s"))
        if failed:
            raise InvalidValue(
                f"No cluster of Ray could be joined at '{address}': {_first_line(failed[0])} Start one with "
                "'ray start --head', or give --ray alone for one on this machine."
            ) from failed[0]

    def _remote(self, function: Callable[..., Any]) -> Any:
        # Repeated by map, which counts and says it.
        options = {"num_cpus": self._threads, "num_gpus": self._gpu, "max_retries": 0}
        return self._ray.remote(**options)(function)

    def _refuse_other_versions(self) -> None:
        """Raise ``Mismatch`` unless every node has the versions of this process."""
        here, strategy = versions(), self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        for node in self._ray.nodes():
            if not node["Alive"]:
                continue
            place = strategy(node["NodeID"], soft=False)
            asked = self._ray.remote(num_cpus=0, max_retries=0)(_versions)
            try:
                there = self._ray.get(asked.options(scheduling_strategy=place).remote(), timeout=_JOIN_SECONDS)
            except self._ray.exceptions.RayError as error:
                raise Mismatch(
                    f"Node {node['NodeManagerAddress']} cannot run advlab: {_first_line(error)} Install this version "
                    f"({here['advlab']}) there."
                ) from error
            differing = [
                f"{name} {there.get(name, 'missing')} (here {here[name]})"
                for name in _COMPARED
                if there.get(name) != here[name]
            ]
            if differing:
                said = f"Node {node['NodeManagerAddress']} has {', '.join(differing)}."
                raise Mismatch(f"{said} Install the same versions everywhere.")


def _versions() -> dict[str, str]:
    return versions()


def _run(module: str, name: str, key: str, content: Any, task: bytes, threads: int) -> Any:
    """A task of the cluster: its threads are set before TensorFlow is imported, which Ray does not know."""
    for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[variable] = str(threads)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        return call(module, name, key, lambda: content, task)
    except Exception as error:  # noqa: BLE001
        return failure_of(error)


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise AdvlabError(
            "Ray is not installed. Install it: pip install 'advlab[ray]', or use --workers N for processes of this "
            "machine."
        ) from error
    return ray


def _require_answer(address: str) -> None:
    """Raise ``InvalidValue`` unless something listens at ``host:port`` or ``ray://host:port``."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not is_count(port) or not 0 < int(port) < 65536:
        raise InvalidValue(
            f"The address of a cluster is host:port, such as 10.0.0.1:6379, or ray://host:10001. Got '{address}'."
        )
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()
    except OSError as error:
        raise InvalidValue(
            f"Nothing answers at '{address}' ({error.strerror or error}). Start a cluster there with 'ray start "
            "--head', or give --ray alone for one on this machine."
        ) from error


def _first_line(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"{line[:200].rstrip('.')}."
