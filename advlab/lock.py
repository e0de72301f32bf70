"""A lock on a place in the workspace: two processes that would write the same results do not work side by side."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from advlab.errors import AdvlabError


@contextlib.contextmanager
def exclusive(place: Path | None) -> Iterator[None]:
    """Hold ``<place>.lock`` for the length of a block; raises ``AdvlabError`` where another process holds it.

    The operating system frees it with its process, however that ends. None, and a folder that cannot be written, where
    nothing is kept either, need no lock.
    """
    missing = [] if place is None else [folder for folder in place.parents if not folder.exists()]
    file = None if place is None else _locked(place, place.with_name(f"{place.name}.lock"))
    if file is None:
        yield
        return
    with file:
        try:
            yield
        finally:
            # Before it is freed, so that the next owner never locks a file that is about to go.
            Path(file.name).unlink(missing_ok=True)
            # What was refused leaves no empty folder.
            with contextlib.suppress(OSError):
                for folder in missing:
                    folder.rmdir()


def _locked(place: Path, path: Path) -> IO[str] | None:
    """The open file, once it is ours and still the one under its name; None where there can be none."""
    import fcntl

    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+")
        except FileNotFoundError:
            continue  # whoever held it removed the folder in between
        except OSError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            if not isinstance(error, BlockingIOError):
                return None  # a file system without locks
            raise AdvlabError(
                f"'{place}' is being worked on by {holder}. Wait until it is done, or end it; the same command then "
                "continues."
            ) from None
        if _is_at(path, file):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {os.uname().nodename}")
            file.flush()
            return file
        file.close()


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
