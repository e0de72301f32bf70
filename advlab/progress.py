"""What all long work shares: one progress bar, shown on a terminal and silent in a pipe, and a patient Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Progress:
    """A bar over ``total`` units of work; use it as a context manager.

    ``show`` is True, False, or None for "only when standard error is a terminal". tqdm is imported only when shown.
    Without a ``unit`` worth reading the bar shows its share alone.
    """

    def __init__(self, total: int | None, label: str, unit: str = "", show: bool | None = None):
        self._bar = None
        self._says = show is not False
        if sys.stderr.isatty() if show is None else show:
            from tqdm import tqdm

            form = None if unit else "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
            self._bar = tqdm(total=total, desc=label, unit=unit, bar_format=form, leave=False, dynamic_ncols=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, amount: int = 1, **facts: Any) -> None:
        """Move the bar by ``amount`` and show ``facts`` (such as ``loss=0.31``) behind it."""
        if self._bar is not None:
            if facts:
                self._bar.set_postfix(facts, refresh=False)
            self._bar.update(amount)

    def say(self, line: str) -> None:
        """A line on standard error, above the bars where there are any; nothing with ``show`` False."""
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        elif self._says:
            print(line, file=sys.stderr, flush=True)


@contextmanager
def patient_interrupt(patient: bool) -> Iterator[threading.Event]:
    """The first Ctrl-C only sets the event, so that the work stops where it can be kept; the second stops at once."""
    asked = threading.Event()
    if not patient or threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.getsignal(signal.SIGINT)
    if before in (signal.SIG_IGN, None):
        yield asked
        return

    def ask(number: int, frame: Any) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
