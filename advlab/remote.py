"""Files elsewhere: what a URL such as ``s3://bucket/model.h5`` leads to, read to this machine or written from it.

Whatever fsspec knows: ``s3://``, ``gs://``, ``https://``, ``memory://``. A file is read once for each version of it and
kept in the user's cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from advlab import workspace
from advlab.errors import AdvlabError, InvalidFile

_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "http": "aiohttp", "https": "aiohttp"}


def is_url(place: object) -> bool:
    """Whether a place is a URL, and no path of this machine."""
    return isinstance(place, str | os.PathLike) and "://" in os.fspath(place)


def fetch(url: str) -> Path:
    """The file or folder of a URL on this machine, read again only where it has changed.

    Raises ``InvalidFile`` where there is none, and ``AdvlabError`` where fsspec or what it needs for this kind of URL
    is not installed, or the place does not answer.
    """
    system, place = _opened(url)
    with _said(url, "read"):
        if not system.exists(place):
            raise InvalidFile(f"Nothing is at '{url}'. Check the address and whether you may read it.")
        is_folder = system.isdir(place)
        version = sorted(system.find(place, detail=True).items()) if is_folder else system.ukey(place)
        key = hashlib.sha256(f"{url}{version}".encode()).hexdigest()[:16]
        path = workspace.cache_folder("remote") / key / _name(url)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=path.parent)) / path.name
            try:
                system.get(f"{place.rstrip('/')}/" if is_folder else place, str(temporary), recursive=is_folder)
                with contextlib.suppress(FileExistsError):  # by another process
                    temporary.rename(path)
            finally:
                shutil.rmtree(temporary.parent, ignore_errors=True)
    return path


def upload(path: Path, url: str) -> None:
    """Write a file, or all files of a folder, to a URL, replacing what is there; raises ``AdvlabError``."""
    system, place = _opened(url)
    with _said(url, "written"):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                target = f"{place.rstrip('/')}/{file.relative_to(path).as_posix()}" if path.is_dir() else place
                system.makedirs(target.rpartition("/")[0], exist_ok=True)
                system.put_file(str(file), target)


@contextlib.contextmanager
def local(place: str | os.PathLike[str]) -> Iterator[Path]:
    """A path of this machine to write to: the place itself, or one that is uploaded at the end of the block."""
    if not is_url(place):
        yield Path(place)
        return
    url = os.fspath(place)
    _opened(url)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / _name(url)
        yield path
        upload(path, url)


def require(url: str) -> None:
    """Raise ``AdvlabError`` where a URL could not be written, for want of a package, before any work."""
    _opened(url)


def _name(url: str) -> str:
    return workspace.as_file_name(url.partition("://")[2].rstrip("/").rpartition("/")[2])


def _opened(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the place in it."""
    try:
        import fsspec
    except ImportError as error:
        raise AdvlabError(
            f"'{url}' is a URL, for which fsspec is needed. Install it: pip install 'advlab[remote]'."
        ) from error
    protocol = url.partition("://")[0]
    try:
        system, place = fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = _PACKAGES.get(protocol, "the package that fsspec names for it")
        raise AdvlabError(f"To open '{url}', {package} is needed ({error}). Install it with pip.") from error
    except ValueError as error:
        raise InvalidFile(f"'{url}' is no URL that fsspec opens: {error}.") from error
    return system, place


@contextlib.contextmanager
def _said(url: str, done: str) -> Iterator[None]:
    try:
        yield
    except AdvlabError:
        raise
    except Exception as error:  # each file system has errors of its own
        raise AdvlabError(f"'{url}' could not be {done}: {type(error).__name__}: {error}.") from error
