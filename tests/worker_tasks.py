"""What the workers of tests do: it needs no TensorFlow, so that they start at once."""

from __future__ import annotations

import os
import time
from pathlib import Path

from advlab.errors import InvalidValue


def double(shared: int, task: int) -> int:
    return shared * task


def die_once(shared: str, task: int) -> int:
    """Ends its process the first time it gets each tenth task."""
    marker = Path(shared) / str(task)
    if task % 10 == 3 and not marker.exists():
        marker.touch()
        os._exit(7)
    return task


def die(shared: str, task: int) -> int:
    os._exit(9)


def refuse(shared: object, task: int) -> int:
    raise InvalidValue(f"not {task}")


def stumble(shared: object, task: int) -> int:
    raise KeyError(task)


def rest(shared: str, task: int) -> int:
    """Says which process it is, and sleeps."""
    (Path(shared) / str(os.getpid())).touch()
    time.sleep(60)
    return task


def threads(shared: object, task: int) -> tuple[str, bool]:
    import sys

    return os.environ["TF_NUM_INTRAOP_THREADS"], "tensorflow" in sys.modules
