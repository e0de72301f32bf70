"""The files in an archive of a stranger, each of bounded size, whose whole names match."""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from advlab.errors import DAMAGE, InvalidFile


def files_of(raw: IO[bytes], path: Path, names: re.Pattern[str], most: int) -> Iterator[tuple[re.Match[str], bytes]]:
    """The regular files of a ``.tar.gz`` whose whole names match, each of ``most`` bytes, in their order."""
    try:
        with tarfile.open(fileobj=raw, mode="r|gz") as archive:
            for entry in archive:
                name, file = names.fullmatch(entry.name), archive.extractfile(entry) if entry.isfile() else None
                if name and file is not None:
                    if entry.size > most:
                        raise ValueError(f"'{entry.name}' has {entry.size:,} bytes, of which at most {most:,} are read")
                    yield name, file.read()
    except (*DAMAGE, tarfile.TarError, zlib.error) as error:
        raise InvalidFile(f"Cannot read '{path}': {error}. Put a complete copy there, or remove it.") from error
