"""For all long work: a progress bar, shown on a terminal and silent in a pipe, and a patient Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Progress:
    """A bar over ``total`` units of work; use it as a context manager.

    ``show`` is True, False, or None for "on a terminal and in a notebook". tqdm is imported only when shown.
    Without a ``unit`` the bar shows only its percentage.
    """

    def __init__(self, total: int | None, label: str, unit: str = "", show: bool | None = None):
        self._bar = None
        self._prints = show is not False
        if sys.stderr.isatty() or in_notebook() if show is None else show:
            from tqdm import tqdm

            bar_format = None if unit else "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
            self._bar = tqdm(total=total, desc=label, unit=unit, bar_format=bar_format, leave=False, dynamic_ncols=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, amount: int = 1, **postfix: Any) -> None:
        """Move the bar by ``amount`` and show ``postfix`` (such as ``loss=0.31``) behind it."""
        if self._bar is not None:
            if postfix:
                self._bar.set_postfix(postfix, refresh=False)
            self._bar.update(amount)

    def say(self, line: str) -> None:
        """Print a line on standard error, above any bars; nothing with ``show`` False."""
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        elif self._prints:
            print(line, file=sys.stderr, flush=True)


def say(line: str, show: bool | None = None) -> None:
    """Print a line on standard error; nothing with ``show`` False."""
    if show is not False:
        print(line, file=sys.stderr, flush=True)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    return "ipykernel" in sys.modules and "IPython" in sys.modules


@contextmanager
def patient_interrupt(patient: bool) -> Iterator[threading.Event]:
    """The first Ctrl-C only sets the event, so that the work stops where it can be saved; the second stops at once.

    So does SIGTERM where it ends like Ctrl-C, as on the command line. Without ``patient``, or outside the main thread,
    both stop at once as usual.
    """
    stop_requested = threading.Event()
    if not patient or threading.current_thread() is not threading.main_thread():
        yield stop_requested
        return
    # What is ignored stays ignored, and what ends a program of its own goes on doing so.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    previous = {number: handler for number, handler in handlers.items() if callable(handler)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def request_stop(number: int, frame: Any) -> None:
        stop_requested.set()
        restore()

    for number in previous:
        signal.signal(number, request_stop)
    try:
        yield stop_requested
    finally:
        restore()
