"""Commands that die: a process that forks one for each line of JSON it is given, and kills it where it is told to.

A line is ``{"words": [...], "folder": "...", "fault": null | {"kind": "...", "number": n}}``; the answer is one line as
well, with the exit code (negative: the signal), the number of writes and what went to standard error. Every write is
numbered: the beginning of a temporary file, what is put into it, and its move into place. At the n-th the process is
killed (``SIGKILL``), asked to end (``SIGTERM``), loses power in the middle (``short``), or finds this write and all
that follow refused by a full disk (``full``).
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow  # noqa: F401  so that a child need not load it

from advlab import hdf5_output, writing
from advlab.certification import unfinished
from advlab.cli.main import main
from advlab.engine import run
from advlab.workflows import curve


class Fault:
    """Counts the writes, and does at the chosen one what it was made for."""

    def __init__(self, kind: str = "", number: int = 0):
        self.kind, self.number, self.count = kind, number, 0

    def meet(self, shorten: Callable[[], object] | None = None) -> None:
        """One write is about to happen; ``shorten`` does half of it."""
        self.count += 1
        if self.kind == "full" and self.count >= self.number:
            raise OSError(errno.ENOSPC, "No space left on device")
        if self.count != self.number:
            return
        if self.kind == "short" and shorten is not None:
            shorten()
        os.kill(os.getpid(), signal.SIGTERM if self.kind == "SIGTERM" else signal.SIGKILL)


def install(fault: Fault) -> None:
    """Number every write of the library, and keep unfinished work as often as possible."""

    def counted(write: Callable[..., Any], half: Callable[..., Any] | None = None) -> Callable[..., Any]:
        def meet_and_write(*arguments: Any, **options: Any) -> Any:
            fault.meet(None if half is None else lambda: half(write, *arguments, **options))
            return write(*arguments, **options)

        return meet_and_write

    def half_content(write: Callable[..., Any], target: Any, content: Any, *rest: Any, **options: Any) -> None:
        write(target, content[: len(content) // 2], *rest, **options)

    def half_file(write: Callable[..., Any], model: Any, path: Any, *rest: Any, **options: Any) -> None:
        write(model, path, *rest, **options)
        os.truncate(path, os.path.getsize(path) // 2)

    os.replace = counted(os.replace)
    Path.write_bytes = counted(Path.write_bytes, half_content)
    Path.write_text = counted(Path.write_text, half_content)
    hdf5_output.OnDisk.write = counted(hdf5_output.OnDisk.write)
    keras.saving.save_model = counted(keras.saving.save_model, half_file)
    temporary_path = writing.temporary_path
    writing.temporary_path = counted(temporary_path)
    run._SAVE_AFTER = run._SAVE_EVERY = unfinished.SAVE_AFTER = unfinished.SAVE_EVERY = curve._WORTH = -1.0
    run._CHUNK_WORK = 1e6


def child(order: dict[str, Any], answer: int) -> None:
    """Run one command and answer; never returns."""
    folder = Path(order["folder"])
    os.chdir(folder)
    os.environ["ADVLAB_WORKSPACE"] = str(folder)
    for name in ("stdout", "stderr"):
        setattr(sys, name, open(folder.parent / name, "w", encoding="utf-8"))  # noqa: SIM115  open to the end
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    fault = Fault(**(order["fault"] or {}))
    install(fault)
    code: Any = 1
    try:
        main(order["words"])
    except SystemExit as end:
        code = end.code or 0
    except BaseException:  # noqa: BLE001  whatever it is, it is reported
        traceback.print_exc()
        code = 99
    os.write(answer, json.dumps({"code": code, "writes": fault.count}).encode())
    sys.stderr.flush()
    os._exit(0)


def serve() -> None:
    """Answer every line of standard input."""
    for line in sys.stdin:
        order = json.loads(line)
        read, write = os.pipe()
        process = os.fork()
        if not process:
            os.close(read)
            child(order, write)
        os.close(write)
        with open(read, "rb") as pipe:
            answered = pipe.read()
        _, status = os.waitpid(process, 0)
        said = json.loads(answered) if answered else {"code": -os.WTERMSIG(status), "writes": 0}
        errors = (Path(order["folder"]).parent / "stderr").read_text("utf-8")
        print(json.dumps({**said, "errors": errors}), flush=True)


if __name__ == "__main__":
    print("ready", flush=True)
    serve()
