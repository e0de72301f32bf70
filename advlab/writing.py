"""Files are written whole or not at all, and whether they can be is known before any work."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import logging
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from advlab.errors import AdvlabError, FileExists, InvalidValue

_LOG = logging.getLogger(__name__)
_TEMPORARY = re.compile(r"\..*?-(?:([0-9a-f]{6})-(\d+)-)?[0-9a-f]{8}(\.\w+)?")
_LEFTOVER_SECONDS = 3600


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a whole file or none: yields a temporary path in the same folder, moved into place at the end.

    The temporary name keeps the suffix. Whatever interrupts the block, no incomplete file appears under ``path``.
    """
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        yield temporary
        os.replace(temporary, path)
        _LOG.info("wrote '%s'", path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise AdvlabError(
                f"Cannot write '{path}': the name is too long for this file system. Choose a shorter one."
            ) from error
        raise AdvlabError(
            f"Cannot write '{path}': {error.strerror or error}. Nothing was changed. "
            "Free some space, or choose another place with --output, --workspace or ADVLAB_WORKSPACE."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def require_writable(path: Path) -> None:
    """Raise ``AdvlabError`` where ``path`` could not be written, before any work that would be lost."""
    _require_name(path)
    if not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
        existing = [folder for folder in path.parents if folder.exists()]
        with atomic_write(path.with_suffix(".probe")) as temporary:
            temporary.touch()
        path.with_suffix(".probe").unlink()
        for folder in path.parents:
            if folder in existing:
                break
            folder.rmdir()


def refuse_existing(path: Path, force: bool, what: str) -> None:
    """Raise ``FileExists`` where ``path`` exists, unless ``force``; ``what`` would overwrite it."""
    if path.exists() and not force:
        raise FileExists(f"'{path}' exists and would be overwritten by {what}. Use --force to replace it.")


def _require_name(path: Path) -> None:
    if not path.name:
        raise InvalidValue(f"'{path}' names no file to write. Give the path of a file.")


def temporary_path(path: Path) -> Path:
    """A hidden name beside ``path`` that no other process uses, with the same suffix; it tells who writes it."""
    _require_name(path)
    return path.with_name(f".{path.stem[:100]}-{_machine()}-{os.getpid()}-{os.urandom(4).hex()}{path.suffix}")


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that killed runs left in a folder: of this machine, or older than an hour."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _TEMPORARY.fullmatch(entry.name)
            if found and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    if _is_orphan(found[1], found[2]) or is_older(Path(entry.path), _LEFTOVER_SECONDS):
                        os.unlink(entry.path)


@functools.cache
def _machine() -> str:
    """Six hexadecimal digits for the machine, or the container, whose process numbers are those of this process."""
    try:
        processes = os.readlink("/proc/self/ns/pid")
    except OSError:
        processes = ""
    return hashlib.sha256(f"{platform.node()} {processes}".encode()).hexdigest()[:6]


def _is_orphan(machine: str | None, process: str | None) -> bool:
    """Whether the process that wrote a temporary file ran here, and has ended."""
    if machine != _machine() or process is None:
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False  # it is someone else's
    return False


def free_bytes(path: Path) -> int:
    """What is free on the disk where ``path`` would be written."""
    existing = next(folder for folder in path.absolute().parents if folder.is_dir())
    return shutil.disk_usage(existing).free


def is_older(path: Path, seconds: float) -> bool:
    """Whether a file was last written more than so many seconds ago."""
    return time.time() - path.stat().st_mtime > seconds
