"""A worker process: reads tasks from its standard input, writes what they return to its standard output.

Started by ``processes.py`` with its number of threads in the environment, before TensorFlow is imported. What it reads
was pickled by the process that started it and by nothing else.
"""

from __future__ import annotations

import os
import pickle
import queue
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from advlab.errors import AdvlabError, AdvlabWarning


class Job(NamedTuple):
    """A function's module and name, the file with what all tasks share and its key, and the pickled task."""

    module: str
    name: str
    key: str
    shared: Path
    task: bytes


class Failure(NamedTuple):
    """What a task raised: the error itself where advlab raised it on purpose, else its traceback."""

    error: AdvlabError | None
    text: str


_opened: dict[str, Any] = {}


BEGUN = "begun"  # what a worker says before a task's own work: from then on its death may be the task's fault


def call(
    module: str,
    name: str,
    key: str,
    content: Callable[[], bytes],
    task: bytes,
    begun: Callable[[], None] = lambda: None,
) -> Any:
    """Run a function on a task; ``content()`` gives what is shared, pickled, and is opened once for each key."""
    from importlib import import_module

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdvlabWarning)  # the process that asks has said it
        function = getattr(import_module(module), name)
        if key not in _opened:
            _opened.clear()
            _opened[key] = pickle.loads(content())
        begun()
        return function(_opened[key], pickle.loads(task))


def failure_of(error: Exception) -> Failure:
    """An error in a form that reaches the process that asked."""
    return Failure(error if isinstance(error, AdvlabError) else None, traceback.format_exc())


def main() -> None:
    """Work until standard input is closed: then the process that asks is gone, and so is the reason to go on."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not be taken for a result
    jobs: queue.Queue[Job] = queue.Queue()
    threading.Thread(target=_read, args=(source, jobs), daemon=True).start()

    def say(what: Any) -> None:
        pickle.dump(what, sink, protocol=pickle.HIGHEST_PROTOCOL)
        sink.flush()

    while True:
        job = jobs.get()
        try:
            say(call(job.module, job.name, job.key, job.shared.read_bytes, job.task, partial(say, BEGUN)))
        except Exception as error:  # noqa: BLE001
            say(failure_of(error))


def _read(source: BinaryIO, jobs: queue.Queue[Job]) -> None:
    while True:
        try:
            jobs.put(pickle.load(source))
        except (EOFError, OSError):
            sys.stderr.flush()
            os._exit(0)
