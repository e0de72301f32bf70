"""Downloads: resumed where they were interrupted, checked by checksum, moved into place when whole."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import logging
import os
import zlib
from pathlib import Path

from advlab import writing
from advlab.errors import AdvlabError, InvalidFile
from advlab.progress import Progress

_LOG = logging.getLogger(__name__)
_TIMEOUT = 30.0
_BLOCK = 1 << 16
MOST_BYTES = 1 << 28  # the largest official file has 170 million


def fetch(url: str, target: Path, md5: str, sha256: str | None = None, *, unpack: bool = True) -> Path:
    """Download ``url`` to ``target``, whole and with the right content or not at all; returns ``target``.

    The checksums are those of the content, with ``unpack`` of the uncompressed one. An interrupted download leaves
    ``<target>.part``, from which the next call resumes; one with a wrong checksum is deleted. Processes that download
    the same do not disturb each other: each collects its own part.
    """
    import http.client
    import ssl
    import urllib.error

    shared, own = target.with_name(f"{target.name}.part"), writing.temporary_path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for part in (shared, *_abandoned(target)):
            with contextlib.suppress(FileNotFoundError):
                os.replace(part, own)
                break
        try:
            _transfer(url, own)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 416 or not own.exists():
                raise
            # The file ends where the part does: it is complete, or longer than the file and therefore wrong.
            if not _has_checksum(own, md5, sha256, unpack):
                own.unlink()
                _transfer(url, own)
        if not _has_checksum(own, md5, sha256, unpack):
            own.unlink()
            raise InvalidFile(
                f"The content downloaded from '{url}' has the wrong checksum (expected MD5 {md5}"
                f"{f' and SHA-256 {sha256}' if sha256 else ''}{' after decompression' if unpack else ''}), so it was "
                "deleted. Repeat the command to download it again."
            )
        os.replace(own, target)
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or error
        raise AdvlabError(
            f"The download of '{url}' failed: {reason}. "
            "Connect to the network and repeat the command: it resumes where it stopped."
        ) from error
    except OSError as error:
        raise AdvlabError(
            f"Cannot write '{target}': {error.strerror or error}. "
            "Free some space, or set XDG_CACHE_HOME to a folder that can be written."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            os.replace(own, shared)
    return target


def _abandoned(target: Path) -> list[Path]:
    """What processes collected that were killed: a living one writes at least every half minute."""
    parts = target.parent.glob(f".{target.stem}-*{target.suffix}")
    return [part for part in parts if writing.is_older(part, 2 * _TIMEOUT)]


def _transfer(url: str, part: Path) -> None:
    """Request what ``part`` lacks and append it; start again where the server sends the whole file regardless."""
    from urllib.request import Request, urlopen

    size = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"Range": f"bytes={size}-"} if size else {})
    with urlopen(request, timeout=_TIMEOUT) as response:
        if response.status != 206:
            size = 0
        total = None if response.length is None else (size + response.length) // 1024
        name = url.rsplit("/", 1)[-1]
        with part.open("ab" if size else "wb") as file, Progress(total, f"Downloading {name}", "KiB") as bar:
            bar.advance(size // 1024)
            while block := response.read(_BLOCK):
                if file.tell() > MOST_BYTES:
                    raise ConnectionError(f"the server sends more than {MOST_BYTES:,} bytes")
                file.write(block)
                bar.advance(len(block) // 1024)
        # http.client reports no error when the connection ends early; it only knows how many bytes are missing.
        if response.length:
            raise ConnectionError(f"the connection broke {response.length} bytes before the end")


def read(path: Path, unpack: bool = True) -> bytes:
    """The bytes of a file, by default decompressed where they are gzip's, whatever its name, up to a limit."""
    _LOG.info("reads '%s'", path)
    try:
        with path.open("rb") as raw:
            packed = unpack and raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            content = (gzip.GzipFile(fileobj=raw) if packed else raw).read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidFile(
            f"Cannot read '{path}': {getattr(error, 'strerror', None) or error}. The file is truncated or damaged: "
            "delete it and repeat the command to download it again, or put a complete copy there."
        ) from error
    if len(content) > MOST_BYTES:
        raise InvalidFile(
            f"'{path}' holds more than {MOST_BYTES:,} bytes, which no official file does. Delete it and repeat the "
            "command to download it again."
        )
    return content


def is_official(content: bytes, md5: str, sha256: str | None) -> bool:
    """Whether content has the checksums that its authors published."""
    return md5_of(content) == md5 and sha256 in (None, hashlib.sha256(content).hexdigest())


def md5_of(content: bytes) -> str:
    """The MD5 in hexadecimal, which nothing here relies on for safety."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _has_checksum(path: Path, md5: str, sha256: str | None, unpack: bool) -> bool:
    try:
        return is_official(read(path, unpack), md5, sha256)
    except InvalidFile:
        return False
