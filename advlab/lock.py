"""A lock on a place in the workspace: two processes that would write the same results do not work side by side."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from advlab.errors import AdvlabError


@contextlib.contextmanager
def exclusive(place: Path) -> Iterator[None]:
    """Hold ``<place>.lock`` for the length of a block; raises ``AdvlabError`` where another process holds it.

    The operating system frees it with its process, however that ends.
    """
    import fcntl

    path = place.with_name(f"{place.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise AdvlabError(
                f"'{place}' is being worked on by {holder}. Wait until it is done, or end it; the same command then "
                "continues."
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
