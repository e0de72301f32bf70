"""An unfinished certificate: the answers so far, in a file beside the certificate, from which the same call goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from advlab import storage
from advlab.engine.resume import set_aside
from advlab.errors import AdvlabError, InvalidFile, Mismatch
from advlab.results.layout import ANSWERS
from advlab.storage import Array, Layout

SAVE_AFTER = 5.0  # seconds of work that are worth a file
SAVE_EVERY = 8.0

UNFINISHED = Layout(
    noun="unfinished certificate",
    kind="unfinished certificate",
    fix="Use --force to start over, or delete the file.",
    header={"seconds": (int, float)},
    signed=True,
    arrays={
        **ANSWERS,
        "finished": Array("b", "n"),
    },
)


@dataclass(frozen=True)
class Unfinished:
    """The file of one specification; with the path None nothing is kept."""

    path: Path | None
    specification: Mapping[str, Any]

    def load(self, answers: Mapping[str, np.ndarray]) -> float:
        """Write the answers of an earlier call into ``answers``; returns its seconds, 0 where it left none.

        A damaged file is set aside with a warning; one with other settings raises ``Mismatch``.
        """
        if self.path is None or not self.path.exists():
            return 0.0
        try:
            header, arrays = storage.read(self.path, UNFINISHED)
            differs = [
                name.replace("_", " ") for name, value in self.specification.items() if header.get(name) != value
            ]
            if differs:
                raise Mismatch(
                    f"'{self.path}' is an unfinished certificate with other settings (it differs in: "
                    f"{', '.join(differs)}). Finish that one first, or delete the file; on the command line --force "
                    "starts again."
                )
            if any(arrays[name].shape != answer.shape for name, answer in answers.items()):
                raise InvalidFile("its arrays are of other images")
        except InvalidFile as error:
            set_aside(self.path, error, "certificate")
            return 0.0
        for name, answer in answers.items():
            answer[...] = arrays[name]
        return float(header["seconds"])

    def save(self, answers: Mapping[str, np.ndarray], seconds: float) -> bool:
        """Write the file; False where that cannot be done, since it must not cost the result, or is not worth it."""
        if self.path is None or seconds < SAVE_AFTER:
            return False
        header = {"kind": UNFINISHED.kind, **self.specification, "seconds": seconds}
        try:
            storage.write(self.path, header, answers, compress=False)
        except AdvlabError:
            return False
        return True
