"""The one door to other processes: whatever can be cut into slices of images asks here who works on them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol


class Shared(NamedTuple):
    """What all tasks need, pickled: a worker opens it once and knows it by its ``key`` from then on."""

    key: str
    content: bytes


class Executor(Protocol):
    """Runs a function of a module on many tasks, elsewhere; ``distributed/`` has one for processes and one for Ray."""

    @property
    def workers(self) -> int:
        """How many tasks run at a time."""
        ...

    def map(
        self,
        function: Callable[[Any, Any], Any],
        shared: Shared,
        numbers: Iterable[int],
        task: Callable[[int], Any],
        say: Callable[[str], None],
    ) -> Iterator[tuple[int, Any]]:
        """Each number and ``function(what was shared, task(number))``, as they are finished.

        Tasks are made as workers become free, and made again where a worker dies, which ``say`` is told: nobody keeps
        them. Raises what the function raises.
        """
        ...


_current: ContextVar[Executor | None] = ContextVar("executor", default=None)


def current() -> Executor | None:
    """Who works on slices now; None: this process alone."""
    return _current.get()


@contextlib.contextmanager
def using(executor: Executor | None) -> Iterator[None]:
    """Let an executor work on all slices of a ``with`` block; None: this process alone."""
    token = _current.set(executor)
    try:
        yield
    finally:
        _current.reset(token)
